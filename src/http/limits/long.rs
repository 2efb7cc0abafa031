//! What long requests take up until they are answered: so many bytes together.
//!
//! The URI and the headers of a request stay until its answer is made, which may have to wait for its turn, and over
//! HTTP/2 a connection has many of them. What is short is let in uncounted, so that whoever sends long ones is in the
//! way of nobody else.

use std::ops::ControlFlow;

use axum::extract::Request;
use axum::response::{IntoResponse, Response};

use crate::http::error::ApiError;
use crate::http::limits::room::MemoryBudget;

/// A request that takes up no more than this, in bytes, is not counted: a browser's takes some 1 KB.
const SHORT_BYTES_MAX: usize = 4 << 10;

/// Longer ones may take up so many bytes together, until they are answered: 2,000 of the longest that there are.
const LONG_BYTES_MAX: usize = 256 << 20;

/// The room for them is counted in this many bytes.
const PERMIT_BYTES: usize = 1 << 10;

/// What a header takes up beside its name and value, in bytes: its entry of the map.
const HEADER_BYTES: usize = 128;

/// The room for long requests.
#[derive(Clone)]
pub(crate) struct Long(MemoryBudget);

impl Default for Long {
    fn default() -> Self {
        Self(MemoryBudget::new(LONG_BYTES_MAX, PERMIT_BYTES))
    }
}

impl Long {
    /// Lets a long request in only while there is room for it, which it gives back when it is answered.
    pub(crate) fn hold(
        &self,
        request: &Request,
    ) -> ControlFlow<Response, impl FnOnce(Response) -> Response + use<>> {
        let bytes = bytes(request);
        let room = if bytes > SHORT_BYTES_MAX {
            self.0.take(bytes).map(Some)
        } else {
            Some(None)
        };
        match room {
            Some(room) => ControlFlow::Continue(move |response| {
                drop(room);
                response
            }),
            None => ControlFlow::Break(
                ApiError::unavailable("the headers of too many requests are too long")
                    .into_response(),
            ),
        }
    }
}

fn bytes(request: &Request) -> usize {
    let uri = request.uri();
    let authority = uri
        .authority()
        .map_or(0, |authority| authority.as_str().len()); // over HTTP/2 it is no header
    let uri = authority + uri.path().len() + uri.query().map_or(0, str::len);
    let headers = request
        .headers()
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + HEADER_BYTES);
    uri + headers.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::StatusCode;

    use super::*;

    #[test]
    fn where_there_is_no_room_short_requests_are_let_in() {
        let long = Long(MemoryBudget::new(2 * SHORT_BYTES_MAX, PERMIT_BYTES));
        let request = |path: &str, header: usize| {
            Request::get(path)
                .header("a", "a".repeat(header))
                .body(Body::empty())
                .unwrap()
        };
        let held = |request: &Request| match long.hold(request) {
            ControlFlow::Continue(after) => Ok(after),
            ControlFlow::Break(answer) => Err(answer.status()),
        };
        let first = held(&request("/classes", 2 * SHORT_BYTES_MAX - 2 * HEADER_BYTES))
            .expect("there is room");
        let path = format!("/classes?{}", "a".repeat(SHORT_BYTES_MAX));
        for long in [request("/classes", SHORT_BYTES_MAX), request(&path, 1)] {
            assert_eq!(held(&long).err(), Some(StatusCode::SERVICE_UNAVAILABLE));
        }
        assert!(
            held(&request(
                "/classes",
                SHORT_BYTES_MAX - "/classesa".len() - HEADER_BYTES
            ))
            .is_ok()
        );
        first(Response::default());
        assert!(held(&request(&path, 1)).is_ok());
    }
}
