//! How connections are taken: so many at a time, without waiting for acknowledgements, and for as long as their clients
//! ask for anything, and take what they are sent at the least [`Pace`].

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum_server::accept::{Accept, NoDelayAcceptor};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};
use tower::Service;

use crate::config::Patience;
use crate::http::{Pace, Paced};

/// Takes connections up to a limit; what comes beyond is closed at once, which costs next to nothing.
#[derive(Clone)]
pub(super) struct Limited {
    room: Arc<Semaphore>,
    patience: Patience,
}

impl Limited {
    /// At most so many at a time, each for as long as that patience lasts.
    pub(super) fn to(connections_max: usize, patience: Patience) -> Self {
        Self { room: Arc::new(Semaphore::new(connections_max)), patience }
    }
}

impl<S: Send + 'static> Accept<TcpStream, S> for Limited {
    type Stream = Patient<TcpStream>;
    type Service = Held<Paced<S>>;
    type Future = BoxFuture<'static, io::Result<(Patient<TcpStream>, Held<Paced<S>>)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let (room, patience) = (self.room.clone().try_acquire_owned(), self.patience);
        async move {
            let Ok(room) = room else {
                metrics::counter!("alleycat_connections_refused_total").increment(1);
                return Err(io::Error::other("there are too many connections"));
            };
            // Without it the end of an answer of several pieces waits for the client's delayed acknowledgement, 40 ms.
            let (stream, service) = NoDelayAcceptor.accept(stream, service).await?;
            let pace = Pace::of(patience.answer, patience.next_headers);
            let patience = patience.answer;
            let service = Held { service: pace.around(service), _room: Arc::new(room) };
            Ok((Patient { stream, patience, stuck: None, pace, overdue: None }, service))
        }
        .boxed()
    }
}

/// The service of one connection, which holds its room for as long as it lives.
#[derive(Clone)]
pub(super) struct Held<S> {
    service: S,
    _room: Arc<OwnedSemaphorePermit>,
}

impl<R, S: Service<R>> Service<R> for Held<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: R) -> S::Future {
        self.service.call(request)
    }
}

/// A stream that fails once nothing of what is written has been taken for a while, an answer is taken too slowly, or
/// nothing is asked for.
pub(super) struct Patient<S> {
    stream: S,
    patience: Duration,
    /// Since when nothing is taken, as what ends then.
    stuck: Option<Pin<Box<Sleep>>>,
    pace: Pace,
    /// Ends when the client's time does, or before.
    overdue: Option<Pin<Box<Sleep>>>,
}

impl<S: Unpin> Patient<S> {
    /// What comes of waiting: an error, once an answer's time has ended, or that for the next request. An answer whose
    /// client has no window is seen with the next that comes or goes: at the latest the question whether a silent peer
    /// is there.
    fn wait<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        // The timer is set anew only when it has ended: most answers are sent long before.
        while let Some(deadline) = self.pace.deadline() {
            if deadline <= Instant::now() {
                if self.pace.is_idle() {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client asks for nothing")));
                }
                metrics::counter!("alleycat_connections_stuck_total").increment(1);
                return Poll::Ready(Err(too_slow("the client takes what it is sent too slowly")));
            }
            let overdue = self.overdue.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
            if overdue.is_elapsed() || overdue.deadline() > deadline {
                overdue.as_mut().reset(deadline);
            }
            ready!(overdue.as_mut().poll(context));
        }
        Poll::Pending
    }
}

impl<S: AsyncWrite + Unpin> Patient<S> {
    fn poll<T>(
        &mut self,
        context: &mut Context<'_>,
        poll: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if let Poll::Ready(outcome) = poll(Pin::new(&mut self.stream), context) {
            self.stuck = None;
            return Poll::Ready(outcome);
        }
        let stuck = self.stuck.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.patience)));
        if stuck.as_mut().poll(context).is_pending() {
            return self.wait(context);
        }
        metrics::counter!("alleycat_connections_stuck_total").increment(1);
        Poll::Ready(Err(too_slow("the client takes nothing of what it is sent")))
    }
}

fn too_slow(message: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, message)
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_read(context, buffer) {
            Poll::Pending => self.wait(context),
            read => read,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll(context, |stream, context| stream.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll(context, |stream, context| stream.poll_write_vectored(context, bytes))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(context, AsyncWrite::poll_flush)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(context, AsyncWrite::poll_shutdown)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn patient<S>(stream: S, idling: Duration) -> Patient<S> {
        Patient { stream, patience: PATIENCE, stuck: None, pace: Pace::of(PATIENCE, idling), overdue: None }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_over_which_nothing_is_asked_ends() {
        let (stream, _client) = tokio::io::duplex(10);
        let mut patient = patient(stream, Duration::from_secs(75));
        let began = Instant::now();
        assert_eq!(patient.read(&mut [0]).await.unwrap_err().to_string(), "the client asks for nothing");
        assert_eq!(began.elapsed().as_secs(), 75);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_of_which_nothing_is_taken_fails_and_one_that_is_slow_does_not() {
        let (stream, mut client) = tokio::io::duplex(10);
        let mut patient = patient(stream, Duration::from_secs(3600));
        let writing = tokio::spawn(async move { patient.write_all(&[0; 100]).await });
        let mut taken = [0; 10];
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_secs(50)).await;
            client.read_exact(&mut taken).await.unwrap();
        }
        assert!(!writing.is_finished());
        tokio::time::sleep(Duration::from_secs(61)).await;
        assert_eq!(writing.await.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
