//! How fast clients must take what they are answered.
//!
//! An answer takes up memory until it is sent, and over HTTP/2 a client that gives no window, or a byte of it now and
//! then, never has it sent, however lively the connection is. So every answer has time: a limits, and more for every
//! byte of it. The time runs while it is the client's turn, and with it the connection ends. What is written of
//! one answer is time for all of the connection's, up to their limits: they share the client's line. What is only
//! handed over is not, nor is a pong, for a client without a window could have these for ever. And a connection over
//! which nothing is asked or answered is not kept for ever, however lively it is.

use parking_lot::Mutex;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::Response;
use bytes::{Buf, Bytes};
use futures_util::TryFutureExt;
use futures_util::future::MapOk;
use http_body::Body;
use tokio::time::Instant;
use tower::Service;

use crate::http::limits::room::{Keeper, KeptBody};

/// What a client must take of an answer, in bytes a second, once its limits is used up: the worst of mobile lines
/// takes 256 kbit/s.
const LEAST_BYTES_A_SECOND: u32 = 32 << 10;

/// What is under way over one connection.
#[derive(Clone)]
pub(crate) struct Pace {
    limits: Duration,
    under_way: Arc<UnderWay>,
}

#[derive(Default)]
struct UnderWay {
    /// How many requests there were.
    asked: AtomicU64,
    /// How many of them have an answer, or are given up.
    answered: AtomicU64,
    /// The answers that are being sent.
    answers: Mutex<Vec<Answer>>,
}

/// An answer that is being sent.
struct Answer {
    /// Which of the connection's it is.
    number: u64,
    /// How much time the client has left.
    left: Duration,
    /// Since when it is the client's turn; `None` while the service has nothing to send.
    since: Option<Instant>,
    /// Whether there is nothing more yet.
    is_waiting: bool,
    /// How many pieces are on their way.
    unsent: usize,
}

impl Answer {
    /// Takes off what the client has used.
    fn settle(&mut self, now: Instant) {
        self.left = self
            .left
            .saturating_sub(self.since.map_or(Duration::ZERO, |since| now - since));
        let is_clients_turn = !self.is_waiting || self.unsent > 0;
        self.since = is_clients_turn.then_some(now);
    }
}

impl Pace {
    /// A connection's, whose client may take nothing for so long.
    pub(crate) fn of(limits: Duration) -> Self {
        Self {
            limits,
            under_way: Arc::default(),
        }
    }

    /// When the client will have taken too long, as it stands.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.under_way
            .answers
            .lock()
            .iter()
            .filter_map(|answer| Some(answer.since? + answer.left))
            .min()
    }

    /// How many requests there were, where none of them is under way any more.
    pub(crate) fn idle(&self) -> Option<u64> {
        let asked = self.under_way.asked.load(Ordering::Relaxed);
        let is_idle = self.under_way.answered.load(Ordering::Relaxed) == asked
            && self.under_way.answers.lock().is_empty();
        is_idle.then_some(asked)
    }

    /// So many bytes of an answer were written to the connection.
    fn written(&self, bytes: usize) {
        let (now, more) = (Instant::now(), time_for(bytes));
        for answer in &mut *self.under_way.answers.lock() {
            answer.settle(now);
            answer.left = answer.left.max(self.limits.min(answer.left + more));
        }
    }

    /// The service of the connection, whose answers are sent at this pace.
    pub(crate) fn around<S>(&self, service: S) -> Paced<S> {
        Paced {
            pace: self.clone(),
            service,
        }
    }

    fn ask(&self) -> Asked {
        self.under_way.asked.fetch_add(1, Ordering::Relaxed);
        Asked(self.clone())
    }

    fn begin(&self) -> Ticket {
        let mut answers = self.under_way.answers.lock();
        let number = answers.last().map_or(0, |last| last.number + 1);
        let since = Some(Instant::now());
        answers.push(Answer {
            number,
            left: self.limits,
            since,
            is_waiting: false,
            unsent: 0,
        });
        Ticket {
            pace: self.clone(),
            number,
        }
    }
}

/// What a client may take for so many bytes.
fn time_for(bytes: usize) -> Duration {
    Duration::from_secs_f64(bytes as f64 / f64::from(LEAST_BYTES_A_SECOND))
}

/// A request that is under way.
struct Asked(Pace);

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.under_way.answered.fetch_add(1, Ordering::Relaxed);
    }
}

/// An answer's place among those of its connection, until all of it is sent.
pub(crate) struct Ticket {
    pace: Pace,
    number: u64,
}

impl Ticket {
    fn change(&self, change: impl FnOnce(&mut Answer)) {
        let mut answers = self.pace.under_way.answers.lock();
        if let Some(answer) = answers
            .iter_mut()
            .find(|answer| answer.number == self.number)
        {
            change(answer);
            answer.settle(Instant::now());
        }
    }

    /// So many more bytes are on their way.
    fn sends(&self, bytes: usize) {
        self.change(|answer| {
            answer.settle(Instant::now());
            answer.unsent += 1;
            answer.is_waiting = false;
            // What is left of a long answer does not add up to hours for its last piece.
            answer.left = answer.left.min(self.pace.limits) + time_for(bytes);
        });
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.pace
            .under_way
            .answers
            .lock()
            .retain(|answer| answer.number != self.number);
    }
}

/// A piece of an answer that is on its way: what is left of it to be written.
pub(crate) struct Piece {
    bytes: Bytes,
    ticket: Option<Arc<Ticket>>,
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, bytes: usize) {
        self.bytes.advance(bytes);
        if let Some(ticket) = &self.ticket {
            ticket.pace.written(bytes);
        }
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        if let Some(ticket) = &self.ticket {
            ticket.change(|answer| answer.unsent -= 1);
        }
    }
}

/// An answer's body, at its connection's pace.
type PacedBody<B> = KeptBody<B, Option<Arc<Ticket>>>;

/// The service of a connection, at its pace.
#[derive(Clone)]
pub(crate) struct Paced<S> {
    pace: Pace,
    service: S,
}

impl<R, S, B> Service<R> for Paced<S>
where
    S: Service<R, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes>,
{
    type Response = Response<PacedBody<B>>;
    type Error = Infallible;
    type Future = MapOk<S::Future, Box<dyn FnOnce(Response<B>) -> Self::Response + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let asked = self.pace.ask();
        let paced = move |body: B| {
            let keeper = (!body.is_end_stream()).then(|| Arc::new(asked.0.begin()));
            KeptBody { body, keeper }
        };
        self.service
            .call(request)
            .map_ok(Box::new(|response| response.map(paced)))
    }
}

/// `None` where there is nothing to be sent.
impl Keeper for Option<Arc<Ticket>> {
    type Piece = Piece;

    fn keep(&mut self, bytes: Bytes) -> Piece {
        if let Some(ticket) = self {
            ticket.sends(bytes.len());
        }
        Piece {
            bytes,
            ticket: self.clone(),
        }
    }

    fn wait(&mut self) {
        if let Some(ticket) = self {
            ticket.change(|answer| answer.is_waiting = true);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, stream};
    use http_body::Frame;
    use http_body_util::{BodyExt, Full, StreamBody};
    use tokio::sync::mpsc;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);
    const SECOND: Duration = Duration::from_secs(1);

    /// How long the client has left.
    fn left(pace: &Pace) -> Option<Duration> {
        pace.deadline().map(|deadline| deadline - Instant::now())
    }

    /// What the slowest client takes in so many seconds.
    fn bytes_for(seconds: usize) -> Bytes {
        Bytes::from(vec![0; seconds * LEAST_BYTES_A_SECOND as usize])
    }

    fn paced<B: Body<Data = Bytes>>(pace: &Pace, body: B) -> PacedBody<B> {
        KeptBody {
            body,
            keeper: Some(Arc::new(pace.begin())),
        }
    }

    async fn next(body: &mut PacedBody<Full<Bytes>>) -> Piece {
        let frame = body
            .frame()
            .await
            .expect("a piece")
            .expect("a body cannot fail");
        frame.into_data().ok().expect("data")
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_has_its_patience_and_time_for_its_bytes_until_its_last_byte_is_sent() {
        let pace = Pace::of(PATIENCE);
        assert_eq!(left(&pace), None);
        let mut body = paced(&pace, Full::new(bytes_for(2)));
        tokio::time::sleep(10 * SECOND).await; // no window
        assert_eq!(left(&pace), Some(50 * SECOND));
        let piece = next(&mut body).await;
        drop(body);
        tokio::time::sleep(10 * SECOND).await;
        assert_eq!(left(&pace), Some(42 * SECOND));
        drop(piece);
        assert_eq!(left(&pace), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_while_nothing_is_asked_or_answered() {
        let pace = Pace::of(PATIENCE);
        assert_eq!(pace.idle(), Some(0));
        let asked = pace.ask();
        assert_eq!(
            (pace.idle(), left(&pace)),
            (None, None),
            "it may take as long as it takes"
        );
        let body = paced(&pace, Full::new(bytes_for(1)));
        drop(asked);
        assert_eq!(pace.idle(), None);
        drop(body);
        assert_eq!(pace.idle(), Some(1));
    }

    #[tokio::test(start_paused = true)]
    async fn while_the_service_has_nothing_to_send_the_clients_time_stands() {
        let pace = Pace::of(PATIENCE);
        let (sender, mut pieces) = mpsc::channel(1);
        let mut body = paced(
            &pace,
            StreamBody::new(stream::poll_fn(move |context| pieces.poll_recv(context))),
        );
        for _ in 0..100 {
            assert!(body.frame().now_or_never().is_none());
            assert_eq!(left(&pace), None);
            tokio::time::sleep(PATIENCE).await;
            sender
                .send(Ok::<_, Infallible>(Frame::data(bytes_for(1))))
                .await
                .expect("it is read");
            let piece = body.frame().await;
            assert!(body.frame().now_or_never().is_none());
            assert!(
                left(&pace).is_some_and(|left| left > PATIENCE),
                "what it sent is on its way"
            );
            drop(piece);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn while_another_answer_of_the_connection_is_taken_an_answer_may_wait() {
        let pace = Pace::of(PATIENCE);
        let waiting = paced(&pace, Full::new(Bytes::from_static(b"waiting")));
        for _ in 0..10 {
            tokio::time::sleep(30 * SECOND).await;
            pace.written(60 * LEAST_BYTES_A_SECOND as usize);
            assert_eq!(left(&pace), Some(PATIENCE));
        }
        drop(waiting);
        assert_eq!(left(&pace), None);
    }

    #[tokio::test(start_paused = true)]
    async fn answers_that_were_handed_over_whole_have_their_time_as_long_as_their_line_is_not_too_slow()
     {
        let pace = Pace::of(PATIENCE);
        let whole = || paced(&pace, Full::new(bytes_for(16)));
        let mut bodies: Vec<_> = (0..16).map(|_| whole()).collect();
        let mut pieces = Vec::new();
        for body in &mut bodies {
            pieces.push(next(body).await);
        }
        drop(bodies);
        for mut piece in pieces {
            while piece.has_remaining() {
                tokio::time::sleep(SECOND).await;
                piece.advance(LEAST_BYTES_A_SECOND as usize);
                assert!(left(&pace).is_some_and(|left| left >= PATIENCE));
            }
        }
        assert_eq!(left(&pace), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_handed_over_and_never_taken_is_no_time_for_the_others() {
        let pace = Pace::of(PATIENCE);
        let _held = paced(&pace, Full::new(Bytes::from_static(b"held")));
        for _ in 0..6 {
            tokio::time::sleep(10 * SECOND).await;
            paced(&pace, Full::new(bytes_for(60))).frame().await; // and reset
        }
        assert_eq!(left(&pace), Some(Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_quick_client_saves_is_no_credit() {
        let pace = Pace::of(PATIENCE);
        let (sender, mut pieces) = mpsc::channel(1);
        let mut body = paced(
            &pace,
            StreamBody::new(stream::poll_fn(move |context| pieces.poll_recv(context))),
        );
        for _ in 0..10 {
            sender
                .send(Ok::<_, Infallible>(Frame::data(bytes_for(1))))
                .await
                .expect("it is read");
            body.frame().await;
            assert!(left(&pace).is_some_and(|left| left <= PATIENCE + SECOND));
        }
    }
}
