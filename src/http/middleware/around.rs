//! A layer that looks at a request, and then at its answer: two plain functions around everything within. With a
//! future, as `axum::middleware::from_fn` has one, everything within would be cloned and boxed for every request.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::ops::ControlFlow;
use std::task::{Context, Poll};

use axum::extract::Request;
use axum::response::Response;
use futures_util::TryFutureExt;
use futures_util::future::{Either, MapOk};
use tower::{Layer, Service};

/// What lies within, with `look` around it.
#[derive(Clone)]
pub(crate) struct Around<F, S> {
    look: F,
    within: S,
}

/// The layer that puts `look` around what lies within.
#[derive(Clone)]
pub(crate) struct Looking<F> {
    look: F,
}

/// A layer of `look`, which is shown every request. It answers in its place, or goes on with a function that is given
/// the answer from within.
pub(crate) fn around<F>(look: F) -> Looking<F> {
    Looking { look }
}

impl<F: Clone, S> Layer<S> for Looking<F> {
    type Service = Around<F, S>;

    fn layer(&self, within: S) -> Around<F, S> {
        Around {
            look: self.look.clone(),
            within,
        }
    }
}

impl<F, G, S> Service<Request> for Around<F, S>
where
    F: Fn(&Request) -> ControlFlow<Response, G>,
    G: FnOnce(Response) -> Response,
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<MapOk<S::Future, G>, Ready<Result<Response, Infallible>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.within.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        match (self.look)(&request) {
            ControlFlow::Continue(after) => Either::Left(self.within.call(request).map_ok(after)),
            ControlFlow::Break(answer) => Either::Right(ready(Ok(answer))),
        }
    }
}
