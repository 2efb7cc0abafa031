//! What answers take up while they are sent: so many bytes together, however slowly they are read.
//!
//! What is sent piece by piece is made, or shared, as it goes, and has limits of its own; what is counted here are
//! answers that were made whole.

use std::ops::ControlFlow;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body::Body as _;
use tokio::sync::OwnedSemaphorePermit;

use crate::http::error::ApiError;
use crate::http::limits::room::{self, Keeper, KeptBody, MemoryBudget};
use crate::http::respond::conditional::Shared;

/// Answers that are being sent may have this many bytes together: two thousand pages of the longest kind, or a hundred
/// thousand of the usual one.
const ANSWERS_BYTES_MAX: usize = 1 << 30;

/// An answer of no more than this, in bytes, needs no room, so that whoever takes all the room with long ones is in
/// nobody's way who asks for the usual page: over all connections it comes to 1.25 GiB at most.
const SHORT_BYTES_MAX: u64 = 8 << 10;

/// The room for answers is counted in this many bytes.
const PERMIT_BYTES: usize = 4 << 10;

/// The room for answers that are being sent.
#[derive(Clone)]
pub(crate) struct Answers(MemoryBudget);

impl Default for Answers {
    fn default() -> Self {
        Self(MemoryBudget::new(ANSWERS_BYTES_MAX, PERMIT_BYTES))
    }
}

impl Answers {
    /// Sends a long answer only while there is room for it, which it gives back when it is sent or its client is gone.
    pub(crate) fn hold(
        &self,
        _: &Request,
    ) -> ControlFlow<Response, impl FnOnce(Response) -> Response + use<>> {
        let answers = self.clone();
        ControlFlow::Continue(move |response: Response| {
            let is_counted = response.extensions().get::<Shared>().is_none();
            let bytes = response
                .body()
                .size_hint()
                .exact()
                .filter(|&bytes| bytes > SHORT_BYTES_MAX && is_counted);
            let Some(bytes) = bytes else { return response };
            match answers.0.take(usize::try_from(bytes).unwrap_or(usize::MAX)) {
                Some(room) => response.map(|body| {
                    Body::new(KeptBody {
                        body,
                        keeper: Arc::new(room),
                    })
                }),
                None => ApiError::unavailable("too many answers are being sent").into_response(),
            }
        })
    }
}

impl Keeper for Arc<OwnedSemaphorePermit> {
    type Piece = Bytes;

    fn keep(&mut self, piece: Bytes) -> Bytes {
        room::keeping(piece, self.clone())
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[test]
    fn where_there_is_no_room_what_is_short_or_shared_is_sent() {
        let answers = Answers(MemoryBudget::new(0, PERMIT_BYTES));
        let request = Request::new(Body::empty());
        let status = |bytes: u64, is_shared: bool| {
            let ControlFlow::Continue(after) = answers.hold(&request) else {
                panic!("it never answers by itself")
            };
            let mut response =
                Response::new(Body::from("a".repeat(usize::try_from(bytes).unwrap())));
            if is_shared {
                response.extensions_mut().insert(Shared);
            }
            after(response).status().as_u16()
        };
        assert_eq!(status(SHORT_BYTES_MAX, false), 200);
        assert_eq!(status(SHORT_BYTES_MAX + 1, false), 503);
        assert_eq!(status(SHORT_BYTES_MAX + 1, true), 200);
    }

    #[tokio::test]
    async fn an_answer_keeps_its_room_until_its_last_byte_is_gone() {
        let answers = MemoryBudget::new(3 * PERMIT_BYTES, PERMIT_BYTES);
        let room = answers.take(PERMIT_BYTES + 1).unwrap();
        assert!(answers.take(2 * PERMIT_BYTES).is_none());
        assert!(answers.take(1).is_some());
        let mut held = KeptBody {
            body: Body::from("text"),
            keeper: Arc::new(room),
        };
        assert_eq!(held.size_hint().exact(), Some(4));
        let bytes = held.frame().await.unwrap().unwrap().into_data().unwrap();
        drop(held);
        let written = bytes.slice(1..);
        drop(bytes);
        assert!(answers.take(3 * PERMIT_BYTES).is_none());
        drop(written);
        assert!(answers.take(3 * PERMIT_BYTES).is_some());
    }
}
