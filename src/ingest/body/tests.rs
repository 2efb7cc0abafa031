//! Tests of reading and draining bodies, in virtual time.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const LIMITS: BodyLimits = BodyLimits {
    bytes_max: 100,
    pause_timeout: Duration::from_secs(10),
    total_timeout: Duration::from_secs(60),
};

/// A body that sends each piece after a pause.
struct SlowBody {
    pieces: VecDeque<(Duration, usize)>,
    pause: Option<Pin<Box<Sleep>>>,
    announced: Option<u64>,
    is_polled: bool,
}

impl SlowBody {
    fn new(pieces: impl IntoIterator<Item = (Duration, usize)>) -> Self {
        Self {
            pieces: pieces.into_iter().collect(),
            pause: None,
            announced: None,
            is_polled: false,
        }
    }
}

impl Body for SlowBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.is_polled = true;
        let Some(&(pause, bytes)) = self.pieces.front() else {
            return Poll::Ready(None);
        };
        let timer = self.pause.get_or_insert_with(|| Box::pin(sleep(pause)));
        std::task::ready!(timer.as_mut().poll(context));
        self.pause = None;
        self.pieces.pop_front();
        Poll::Ready(Some(Ok(Frame::data(vec![b'a'; bytes].into()))))
    }

    fn size_hint(&self) -> SizeHint {
        self.announced.map(SizeHint::with_exact).unwrap_or_default()
    }
}

fn budget() -> MemoryBudget {
    MemoryBudget::new(1 << 20)
}

async fn read_error(body: &mut RequestBody<SlowBody>) -> (DeliveryErrorCode, u64) {
    let began = Instant::now();
    let error = body.read(&budget()).await.unwrap_err();
    (error.code, began.elapsed().as_secs())
}

#[tokio::test(start_paused = true)]
async fn slow_body_within_limits_is_read() {
    let pieces = (0..6).map(|_| (9 * SECOND, 10));
    let mut body = RequestBody::new(SlowBody::new(pieces), true, LIMITS);
    let (bytes, permit) = body.read(&budget()).await.unwrap();
    assert_eq!(bytes, "a".repeat(60));
    drop(permit);
}

#[tokio::test(start_paused = true)]
async fn pause_times_out_and_is_not_drained() {
    let pieces = [(SECOND, 1), (1000 * SECOND, 1)];
    let mut body = RequestBody::new(SlowBody::new(pieces), false, LIMITS);
    let (code, seconds) = read_error(&mut body).await;
    assert_eq!(code, DeliveryErrorCode::BodyTimeout);
    assert_eq!(seconds, 11);
    let began = Instant::now();
    body.drain().await;
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn trickling_body_times_out_in_total() {
    let pieces = (0..100).map(|_| (SECOND, 1));
    let mut body = RequestBody::new(SlowBody::new(pieces), false, LIMITS);
    let (code, seconds) = read_error(&mut body).await;
    assert_eq!(code, DeliveryErrorCode::BodyTimeout);
    assert_eq!(seconds, 60);
}

#[tokio::test(start_paused = true)]
async fn body_over_its_limit_is_refused_and_drained() {
    let pieces = (0..30).map(|_| (SECOND, 10));
    let mut body = RequestBody::new(SlowBody::new(pieces), true, LIMITS);
    let (code, seconds) = read_error(&mut body).await;
    assert_eq!(code, DeliveryErrorCode::TooLarge);
    assert_eq!(seconds, 11);
    body.drain().await;
    assert!(body.body.pieces.is_empty());
}

#[tokio::test(start_paused = true)]
async fn refused_body_that_awaits_100_continue_is_not_polled() {
    let too_long = SlowBody {
        announced: Some(101),
        ..SlowBody::new([(SECOND, 101)])
    };
    let mut body = RequestBody::new(too_long, true, LIMITS);
    let (code, seconds) = read_error(&mut body).await;
    assert_eq!(code, DeliveryErrorCode::TooLarge);
    assert_eq!(seconds, 0);
    body.drain().await;
    assert!(!body.body.is_polled);
}

#[tokio::test(start_paused = true)]
async fn body_beyond_the_memory_budget_is_refused() {
    let mut body = RequestBody::new(SlowBody::new([(SECOND, 1)]), true, LIMITS);
    let full = budget();
    let _permit = full.try_acquire(1 << 20);
    let error = body.read(&full).await.unwrap_err();
    assert_eq!(error.code, DeliveryErrorCode::MemoryLimit);
    assert!(!body.body.is_polled);
}
