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

use super::problem::Problem;
use super::room::{self, Keeper, KeptBody, Room};

/// Answers that are being sent may have this many bytes together: two thousand pages of the longest kind, or a hundred
/// thousand of the usual one.
const ANSWERS_BYTES_MAX: usize = 1 << 30;

/// The room for answers is counted in this many bytes, and no answer takes less.
const PERMIT_BYTES: usize = 4 << 10;

/// The room for answers that are being sent.
#[derive(Clone)]
pub(super) struct Answers(Room);

impl Default for Answers {
    fn default() -> Self {
        Self(Room::new(ANSWERS_BYTES_MAX, PERMIT_BYTES))
    }
}

impl Answers {
    /// Sends an answer only while there is room for it, which it gives back when it is sent or its client is gone.
    /// Whoever asks for the service's health is always answered: to restart it would help nobody.
    pub(super) fn hold(&self, request: &Request) -> ControlFlow<Response, impl FnOnce(Response) -> Response + use<>> {
        let answers = self.clone();
        let is_health = matches!(request.uri().path(), "/healthz" | "/readyz");
        ControlFlow::Continue(move |response: Response| {
            let bytes = response.body().size_hint().exact().filter(|&bytes| bytes > 0 && !is_health);
            let Some(bytes) = bytes else { return response };
            match answers.0.take(usize::try_from(bytes).unwrap_or(usize::MAX)) {
                Some(room) => response.map(|body| Body::new(KeptBody { body, keeper: Arc::new(room) })),
                None => Problem::unavailable("too many answers are being sent").into_response(),
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
    fn where_there_is_no_room_only_health_is_answered() {
        let answers = Answers(Room::new(0, PERMIT_BYTES));
        for (path, status) in [("/classes", 503), ("/healthz", 200), ("/readyz", 200)] {
            let request = Request::get(path).body(Body::empty()).unwrap();
            let ControlFlow::Continue(after) = answers.hold(&request) else { panic!("it never answers by itself") };
            assert_eq!(after(Response::new(Body::from("text"))).status(), status, "{path}");
        }
    }

    #[tokio::test]
    async fn an_answer_keeps_its_room_until_its_last_byte_is_gone() {
        let answers = Room::new(3 * PERMIT_BYTES, PERMIT_BYTES);
        let room = answers.take(PERMIT_BYTES + 1).unwrap();
        assert!(answers.take(2 * PERMIT_BYTES).is_none());
        assert!(answers.take(1).is_some());
        let mut held = KeptBody { body: Body::from("text"), keeper: Arc::new(room) };
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
