//! Connections: how many there are at a time, and how slow their clients may be.
//!
//! Over HTTP/1.1 a connection either waits for a request head or serves one request. The server's
//! header timeouts bound the wait. A deadline bounds each response, and the write timeout each
//! write. A closed connection is counted by reason.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::http::Response;
use axum_server::accept::Accept;
use futures_util::TryFutureExt;
use futures_util::future::MapOk;
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};
use tokio_io_timeout::TimeoutWriter;
use tower::Service;

use crate::config::ServiceLimits;
use crate::observability;

/// Lowest accepted rate at which a client reads a long response, in bytes per second: 262 kbit/s,
/// about the rate of the slowest mobile lines.
const RESPONSE_BYTES_PER_SECOND_MIN: u32 = 32 << 10;

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
        let exchange = Arc::new(Mutex::new(Exchange::new(self.limits.response_timeout)));
        let service = TimedService {
            service,
            exchange: exchange.clone(),
        };
        ready(Ok((
            LimitedStream::new(stream, self.limits, exchange, Some(permit)),
            service,
        )))
    }
}

fn count_closed(reason: &'static str) {
    metrics::counter!(observability::CONNECTIONS_CLOSED_TOTAL, "reason" => reason).increment(1);
}

/// The state of one connection, shared by its stream and its service.
struct Exchange {
    /// Start of the wait for the next request head; `None` while a request is served.
    waiting_since: Option<Instant>,
    /// Whether the connection has had a request.
    has_had_request: bool,
    /// Time by which the client must have read all responses so far. `None` if nothing is unread.
    response_deadline: Option<Instant>,
    response_timeout: Duration,
}

impl Exchange {
    fn new(response_timeout: Duration) -> Self {
        Self {
            waiting_since: Some(Instant::now()),
            has_had_request: false,
            response_deadline: None,
            response_timeout,
        }
    }

    fn begin_request(&mut self) {
        self.waiting_since = None;
        self.has_had_request = true;
    }

    /// Sets the deadline of a response of that length. A response pipelined behind an unread one
    /// extends its deadline only by its own length.
    fn begin_response(&mut self, bytes: u64) {
        let more = Duration::from_secs_f64(bytes as f64 / f64::from(RESPONSE_BYTES_PER_SECOND_MIN));
        let base = self
            .response_deadline
            .unwrap_or_else(|| Instant::now() + self.response_timeout);
        self.response_deadline = Some(base + more);
    }

    fn end_response(&mut self) {
        self.waiting_since = Some(Instant::now());
    }

    /// Clears the deadline when all of the response was written.
    fn flushed(&mut self) {
        if self.waiting_since.is_some() {
            self.response_deadline = None;
        }
    }
}

/// A stream that fails when its client reads too slowly.
pub(crate) struct LimitedStream<S> {
    stream: Pin<Box<TimeoutWriter<S>>>,
    exchange: Arc<Mutex<Exchange>>,
    limits: ServiceLimits,
    /// Timer of the response deadline; may fire early, and is then reset.
    deadline: Option<Pin<Box<Sleep>>>,
    is_closed: bool,
    _permit: Option<OwnedSemaphorePermit>,
}

impl<S: AsyncWrite> LimitedStream<S> {
    fn new(
        stream: S,
        limits: ServiceLimits,
        exchange: Arc<Mutex<Exchange>>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Self {
        let mut stream = TimeoutWriter::new(stream);
        stream.set_timeout(Some(limits.write_timeout));
        Self {
            stream: Box::pin(stream),
            exchange,
            limits,
            deadline: None,
            is_closed: false,
            _permit: permit,
        }
    }

    fn poll_write_with<T>(
        &mut self,
        context: &mut Context<'_>,
        poll: impl FnOnce(Pin<&mut TimeoutWriter<S>>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match poll(self.stream.as_mut(), context) {
            Poll::Pending => self.poll_deadline(context),
            // An error with an OS number is the kernel's (ETIMEDOUT), not the write timeout.
            Poll::Ready(Err(error))
                if error.kind() == io::ErrorKind::TimedOut && error.raw_os_error().is_none() =>
            {
                Poll::Ready(Err(self.close("write_timeout", "write timeout")))
            }
            written => written,
        }
    }

    /// Returns an error once the response deadline has passed.
    fn poll_deadline<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        // The timer is reset only when it has fired: most responses are sent long before.
        while let Some(deadline) = { self.exchange.lock().response_deadline } {
            if deadline <= Instant::now() {
                return Poll::Ready(Err(
                    self.close("response_deadline", "response deadline passed")
                ));
            }
            let timer = self
                .deadline
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
            if timer.is_elapsed() || timer.deadline() > deadline {
                timer.as_mut().reset(deadline);
            }
            ready!(timer.as_mut().poll(context));
        }
        Poll::Pending
    }

    fn close(&mut self, reason: &'static str, message: &'static str) -> io::Error {
        if !self.is_closed {
            self.is_closed = true;
            count_closed(reason);
        }
        io::Error::new(io::ErrorKind::TimedOut, message)
    }
}

/// Counts a late request head: hyper reports no header timeout, so it is inferred here.
impl<S> Drop for LimitedStream<S> {
    fn drop(&mut self) {
        let exchange = self.exchange.lock();
        let timeout = match exchange.has_had_request {
            false => self.limits.first_header_timeout,
            true => self.limits.keep_alive_timeout,
        };
        let is_late = |since: Instant| since.elapsed() >= timeout;
        if !self.is_closed && exchange.waiting_since.is_some_and(is_late) {
            count_closed("header_timeout");
        }
    }
}

impl<S: AsyncRead + AsyncWrite> AsyncRead for LimitedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_read(context, buffer)
    }
}

impl<S: AsyncWrite> AsyncWrite for LimitedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_with(context, |stream, context| stream.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_with(context, |stream, context| {
            stream.poll_write_vectored(context, bytes)
        })
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = self.poll_write_with(context, AsyncWrite::poll_flush);
        if let Poll::Ready(Ok(())) = flushed {
            self.exchange.lock().flushed();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_write_with(context, AsyncWrite::poll_shutdown)
    }
}

/// The service of one connection. Tells the stream when a request begins and a response ends.
#[derive(Clone)]
pub(crate) struct TimedService<S> {
    service: S,
    exchange: Arc<Mutex<Exchange>>,
}

impl<R, S, B> Service<R> for TimedService<S>
where
    S: Service<R, Response = Response<B>, Error = Infallible>,
    B: Body,
{
    type Response = Response<TimedBody<B>>;
    type Error = Infallible;
    type Future = MapOk<S::Future, Box<dyn FnOnce(Response<B>) -> Self::Response + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: R) -> Self::Future {
        self.exchange.lock().begin_request();
        let exchange = self.exchange.clone();
        let timed = move |body: B| {
            // An event stream has no length, and no deadline: it lasts as long as its client reads.
            if let Some(bytes) = body.size_hint().exact() {
                exchange.lock().begin_response(bytes);
            }
            TimedBody { body, exchange }
        };
        self.service
            .call(request)
            .map_ok(Box::new(|response| response.map(timed)))
    }
}

/// A response's body. hyper drops it after the last frame.
pub(crate) struct TimedBody<B> {
    body: B,
    exchange: Arc<Mutex<Exchange>>,
}

impl<B> Drop for TimedBody<B> {
    fn drop(&mut self) {
        self.exchange.lock().end_response();
    }
}

impl<B: Body + Unpin> Body for TimedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;
