//! Limits of connections: their number, and the timeouts of slow clients.
//!
//! Over HTTP/1.1 a connection either waits for a request head or serves one request. The server's
//! header timeouts bound the wait. A deadline bounds each response with a `Content-Length`, and the
//! write timeout each write. Connections closed for a limit or a timeout are counted by reason. A
//! response to a request whose body was not read says that the connection closes.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::BoxError;
use axum::http::{HeaderMap, HeaderValue, Request, Response, header};
use axum_server::accept::Accept;
use bytes::Bytes;
use futures_util::TryFutureExt;
use futures_util::future::MapOk;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};
use tower::Service;

use crate::config::ServiceLimits;
use crate::observability;

/// Lowest accepted rate at which a client reads a long response, in bytes per second: 262 kbit/s,
/// about the rate of the slowest mobile lines.
const RESPONSE_BYTES_PER_SECOND_MIN: u32 = 32 << 10;

/// Number of bytes after which a connection lets others write, in bytes: some 0.1 ms. The kernel takes
/// up to 4 MiB at once, also from a client that never reads.
const YIELD_BYTES: usize = 256 << 10;

/// Accepts connections up to a limit. Connections over the limit are closed at once, which costs
/// next to nothing.
#[derive(Clone)]
pub(crate) struct LimitedAcceptor {
    permits: Arc<Semaphore>,
    limits: ServiceLimits,
}

impl LimitedAcceptor {
    /// Returns an acceptor of at most `connections_max` connections at a time.
    pub(crate) fn new(connections_max: usize, limits: ServiceLimits) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(connections_max)),
            limits,
        }
    }
}

impl<S> Accept<TcpStream, S> for LimitedAcceptor {
    type Stream = LimitedStream<TcpStream>;
    type Service = TimedService<S>;
    type Future = Ready<io::Result<(Self::Stream, Self::Service)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let Ok(permit) = self.permits.clone().try_acquire_owned() else {
            count_closed("too_many");
            return ready(Err(io::Error::other("connection limit reached")));
        };
        // With Nagle's algorithm the end of a response waits for the client's delayed
        // acknowledgement, 40 ms.
        if let Err(error) = stream.set_nodelay(true) {
            return ready(Err(error));
        }
        let state = Arc::<Mutex<ConnectionState>>::default();
        let service = TimedService {
            service,
            state: state.clone(),
            response_timeout: self.limits.response_timeout,
        };
        let stream = LimitedStream::new(stream, self.limits, state, Some(permit));
        ready(Ok((stream, service)))
    }
}

fn count_closed(reason: &'static str) {
    metrics::counter!(observability::CONNECTIONS_CLOSED_TOTAL, "reason" => reason).increment(1);
}

/// The state of one connection, shared by its stream and its service.
#[derive(Default)]
struct ConnectionState {
    has_had_request: bool,
    /// Whether a request is being handled, or the body of its response is not at its end.
    is_serving: bool,
    /// Whether the body of the request is not at its end.
    is_body_unread: bool,
    /// Time by which the client must have read all responses so far. `None` if nothing is unread, or
    /// the response has no deadline.
    response_deadline: Option<Instant>,
}

/// A stream that fails when its client reads too slowly.
pub(crate) struct LimitedStream<S> {
    stream: S,
    state: Arc<Mutex<ConnectionState>>,
    limits: ServiceLimits,
    accepted: Instant,
    /// Time by which the pending write must progress. `None` while no write is pending.
    write_deadline: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
    /// Bytes written since the connection last waited.
    written: usize,
    /// Set when the client was too slow.
    timeout_reason: Option<&'static str>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl<S: AsyncWrite + Unpin> LimitedStream<S> {
    fn new(
        stream: S,
        limits: ServiceLimits,
        state: Arc<Mutex<ConnectionState>>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Self {
        Self {
            stream,
            state,
            limits,
            accepted: Instant::now(),
            write_deadline: None,
            timer: None,
            written: 0,
            timeout_reason: None,
            _permit: permit,
        }
    }

    /// Writes bytes. Waits once after every [`YIELD_BYTES`], so that the tasks of others run.
    fn poll_bytes(
        &mut self,
        context: &mut Context<'_>,
        poll: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if self.written >= YIELD_BYTES {
            self.written = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let written = self.poll_write_with(context, poll);
        match &written {
            Poll::Ready(Ok(bytes)) => self.written += bytes,
            _ => self.written = 0,
        }
        written
    }

    fn poll_write_with<T>(
        &mut self,
        context: &mut Context<'_>,
        poll: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let written = poll(Pin::new(&mut self.stream), context);
        if written.is_ready() {
            self.write_deadline = None;
            return written;
        }
        let write_deadline = || Instant::now() + self.limits.write_timeout;
        let write_deadline = *self.write_deadline.get_or_insert_with(write_deadline);
        let (deadline, reason) = match self.state.lock().response_deadline {
            Some(deadline) if deadline < write_deadline => (deadline, "response_deadline"),
            _ => (write_deadline, "write_timeout"),
        };
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        timer.as_mut().reset(deadline);
        ready!(timer.as_mut().poll(context));
        self.timeout_reason = Some(reason);
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, reason)))
    }
}

/// Counts a client that was too slow. hyper does not report header timeouts, so the one of the first
/// head is inferred here. A later one is the normal end of a kept-alive connection.
impl<S> Drop for LimitedStream<S> {
    fn drop(&mut self) {
        let is_late = !self.state.lock().has_had_request
            && self.accepted.elapsed() >= self.limits.first_header_timeout;
        if let Some(reason) = self.timeout_reason.or(is_late.then_some("header_timeout")) {
            count_closed(reason);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for LimitedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for LimitedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_bytes(context, |stream, context| stream.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_bytes(context, |stream, context| {
            stream.poll_write_vectored(context, bytes)
        })
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = self.poll_write_with(context, AsyncWrite::poll_flush);
        if let Poll::Ready(Ok(())) = flushed {
            let mut state = self.state.lock();
            if !state.is_serving {
                state.response_deadline = None; // all of the response was written
            }
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_write_with(context, AsyncWrite::poll_shutdown)
    }
}

/// The service of one connection. Notes for the stream when a request begins and a response ends.
#[derive(Clone)]
pub(crate) struct TimedService<S> {
    service: S,
    state: Arc<Mutex<ConnectionState>>,
    response_timeout: Duration,
}

impl<R, S, B> Service<Request<R>> for TimedService<S>
where
    R: Body,
    S: Service<Request<NotedBody<R>>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<axum::body::Body>;
    type Error = Infallible;
    type Future = MapOk<S::Future, Box<dyn FnOnce(Response<B>) -> Self::Response + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: Request<R>) -> Self::Future {
        let mut state = self.state.lock();
        state.has_had_request = true;
        state.is_serving = true;
        state.is_body_unread = !request.body().is_end_stream();
        drop(state);
        let request_state = self.state.clone();
        let request = request.map(|body| NotedBody {
            body,
            state: request_state,
        });
        let (serving, timeout) = (Serving(self.state.clone()), self.response_timeout);
        let timed = Box::new(move |mut response: Response<B>| {
            let mut state = serving.0.lock();
            if state.is_body_unread {
                // The rest of the body would be read as the next request, so the server closes.
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            }
            if let Some(time) = reading_time(response.headers()) {
                let deadline = &mut state.response_deadline;
                // With pipelining, a response adds only its own time to the deadline of the unread ones.
                *deadline = Some(deadline.unwrap_or_else(|| Instant::now() + timeout) + time);
            }
            drop(state);
            response.map(|body| {
                axum::body::Body::new(body.map_frame(move |frame| {
                    let _ = &serving; // dropped with the body
                    frame
                }))
            })
        });
        self.service.call(request).map_ok(timed)
    }
}

/// The body of a request. Notes its end.
pub(crate) struct NotedBody<B> {
    body: B,
    state: Arc<Mutex<ConnectionState>>,
}

impl<B: Body + Unpin> Body for NotedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if frame.is_none() || self.body.is_end_stream() {
            self.state.lock().is_body_unread = false;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Returns the time that the length of a response adds to its deadline. `None` without
/// `Content-Length`: an event stream lasts as long as its client reads, with the write timeout alone.
fn reading_time(headers: &HeaderMap) -> Option<Duration> {
    let bytes = headers.get(header::CONTENT_LENGTH)?.to_str().ok()?;
    let seconds = bytes.parse::<f64>().ok()? / f64::from(RESPONSE_BYTES_PER_SECOND_MIN);
    Some(Duration::from_secs_f64(seconds))
}

/// Ends the serving of a request on drop. hyper drops a body after its last frame.
struct Serving(Arc<Mutex<ConnectionState>>);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.lock().is_serving = false;
    }
}

#[cfg(test)]
mod tests;
