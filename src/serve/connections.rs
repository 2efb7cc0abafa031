//! How connections are taken: so many at a time, and without waiting for acknowledgements.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum_server::accept::{Accept, NoDelayAcceptor};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::Service;

/// Takes connections up to a limit; what comes beyond is closed at once, which costs next to nothing.
#[derive(Clone)]
pub(super) struct Limited {
    room: Arc<Semaphore>,
}

impl Limited {
    /// At most so many at a time.
    pub(super) fn to(connections_max: usize) -> Self {
        Self { room: Arc::new(Semaphore::new(connections_max)) }
    }
}

impl<S: Send + 'static> Accept<TcpStream, S> for Limited {
    type Stream = TcpStream;
    type Service = Held<S>;
    type Future = BoxFuture<'static, io::Result<(TcpStream, Held<S>)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let room = self.room.clone().try_acquire_owned();
        async move {
            let Ok(room) = room else {
                metrics::counter!("alleycat_connections_refused_total").increment(1);
                return Err(io::Error::other("there are too many connections"));
            };
            // Without it the end of an answer of several pieces waits for the client's delayed acknowledgement, 40 ms.
            let (stream, service) = NoDelayAcceptor.accept(stream, service).await?;
            Ok((stream, Held { service, _room: Arc::new(room) }))
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
