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

use crate::config::ConnectionLimits;
use crate::http::{Pace, Paced};

/// Takes connections up to a limit; what comes beyond is closed at once, which costs next to nothing.
#[derive(Clone)]
pub(crate) struct Limited {
    room: Arc<Semaphore>,
    limits: ConnectionLimits,
}

impl Limited {
    /// At most so many at a time, each for as long as that limits lasts.
    pub(crate) fn to(connections_max: usize, limits: ConnectionLimits) -> Self {
        Self {
            room: Arc::new(Semaphore::new(connections_max)),
            limits,
        }
    }
}

impl<S: Send + 'static> Accept<TcpStream, S> for Limited {
    type Stream = Patient<TcpStream>;
    type Service = Held<Paced<S>>;
    type Future = BoxFuture<'static, io::Result<(Patient<TcpStream>, Held<Paced<S>>)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let (room, limits) = (self.room.clone().try_acquire_owned(), self.limits);
        async move {
            let Ok(room) = room else {
                metrics::counter!("alleycat_connections_closed_total", "reason" => "too_many")
                    .increment(1);
                return Err(io::Error::other("there are too many connections"));
            };
            // Without it the end of an answer of several pieces waits for the client's delayed acknowledgement, 40 ms.
            let (stream, service) = NoDelayAcceptor.accept(stream, service).await?;
            let pace = Pace::of(limits.answer);
            let service = Held {
                service: pace.around(service),
                _room: Arc::new(room),
            };
            Ok((Patient::new(stream, limits, pace), service))
        }
        .boxed()
    }
}

/// The service of one connection, which holds its room for as long as it lives.
#[derive(Clone)]
pub(crate) struct Held<S> {
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
pub(crate) struct Patient<S> {
    stream: S,
    limits: Duration,
    /// Since when nothing is taken, as what ends then.
    stuck: Option<Pin<Box<Sleep>>>,
    pace: Pace,
    /// Ends when an answer's time does, or before.
    overdue: Option<Pin<Box<Sleep>>>,
    idling: Idling,
}

/// How long nothing has been asked.
struct Idling {
    /// Ends when it is time to look.
    look: Option<Pin<Box<Sleep>>>,
    every: Duration,
    /// How many requests there had been at the last look.
    asked: u64,
    /// At how many looks there had been no more, one after the other.
    quiet: u32,
}

/// So many looks find nothing asked before a connection is closed: it has been idle for that long, and up to one more.
const QUIET_LOOKS: u32 = 4;

impl Idling {
    fn new(limits: Duration) -> Self {
        Self {
            look: None,
            every: limits / QUIET_LOOKS,
            asked: 0,
            quiet: 0,
        }
    }

    /// Whether nothing has been asked for too long. It looks now and then, for to note every request would be dear.
    fn is_over(&mut self, pace: &Pace, context: &mut Context<'_>) -> bool {
        if self.look.as_ref().is_some_and(|look| !look.is_elapsed()) {
            return false; // whoever polls this is woken when it has
        }
        let every = self.every;
        let look = self
            .look
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(every)));
        while look.as_mut().poll(context).is_ready() {
            match pace.idle() {
                Some(asked) if asked == self.asked => self.quiet += 1,
                Some(asked) => (self.asked, self.quiet) = (asked, 0),
                None => self.quiet = 0,
            }
            if self.quiet == QUIET_LOOKS {
                return true;
            }
            look.as_mut().reset(Instant::now() + every);
        }
        false
    }
}

impl<S> Patient<S> {
    fn new(stream: S, limits: ConnectionLimits, pace: Pace) -> Self {
        let idling = Idling::new(limits.next_headers);
        Self {
            stream,
            limits: limits.answer,
            stuck: None,
            pace,
            overdue: None,
            idling,
        }
    }
}

impl<S: Unpin> Patient<S> {
    /// What comes of waiting: an error, once an answer's time has ended, or that for the next request. An answer whose
    /// client has no window is seen with the next that comes or goes: at the latest the question whether a silent peer
    /// is there.
    fn wait<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if self.idling.is_over(&self.pace, context) {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the client asks for nothing",
            )));
        }
        // The timer is set anew only when it has ended: most answers are sent long before.
        while let Some(deadline) = self.pace.deadline() {
            if deadline <= Instant::now() {
                metrics::counter!("alleycat_connections_closed_total", "reason" => "write_timeout")
                    .increment(1);
                return Poll::Ready(Err(too_slow("the client takes what it is sent too slowly")));
            }
            let overdue = self
                .overdue
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
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
        let stuck = self
            .stuck
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(self.limits)));
        if stuck.as_mut().poll(context).is_pending() {
            return self.wait(context);
        }
        metrics::counter!("alleycat_connections_closed_total", "reason" => "write_timeout")
            .increment(1);
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
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll(context, |stream, context| stream.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll(context, |stream, context| {
            stream.poll_write_vectored(context, bytes)
        })
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

    fn patient<S>(stream: S, idling: Duration) -> Patient<S> {
        let limits = ConnectionLimits {
            next_headers: idling,
            ..ConnectionLimits::default()
        };
        Patient::new(stream, limits, Pace::of(limits.answer))
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_over_which_nothing_is_asked_ends() {
        let (stream, _client) = tokio::io::duplex(10);
        let mut patient = patient(stream, Duration::from_secs(75));
        let began = Instant::now();
        assert_eq!(
            patient.read(&mut [0]).await.unwrap_err().to_string(),
            "the client asks for nothing"
        );
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
        assert_eq!(
            writing.await.unwrap().unwrap_err().kind(),
            io::ErrorKind::TimedOut
        );
    }
}
