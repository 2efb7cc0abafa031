//! Hedged puts of write-once objects: a second try starts under a new key while the first is
//! pending.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use crate::ledger::Inner;
use crate::storage::{ObjectKey, Precondition, SegmentId, StoreError};

/// A put that takes longer is hedged: another starts under a new key, and the first success wins.
const HEDGE_AFTER: Duration = Duration::from_secs(1);

/// Maximum number of puts for one object, hedges included.
const PUT_TRIES_MAX: usize = 3;

/// Pause before the put that follows a failed one: a store that asks for fewer requests gets time.
const RETRY_BACKOFF: Duration = Duration::from_millis(100);

/// Maximum time for all puts of one object; after that they fail. Well below a delivery's own
/// deadline, so that its sender still gets a response.
const PUT_DEADLINE: Duration = Duration::from_secs(30);

/// Marks an object as in flight until dropped. Until then, replication does not apply it as another
/// instance's.
pub(super) struct InFlightPut<'a> {
    inner: &'a Inner,
    pub(super) id: SegmentId,
}

impl<'a> InFlightPut<'a> {
    fn new(inner: &'a Inner, id: SegmentId) -> Self {
        inner.journal.lock().begin_put(id);
        Self { inner, id }
    }
}

impl Drop for InFlightPut<'_> {
    fn drop(&mut self) {
        self.inner.journal.lock().end_put(self.id);
    }
}

impl Inner {
    /// Puts a write-once object, with retries and hedges. A put's outcome may be unknown, so every
    /// try has its own key. The object may then exist more than once, which merging allows.
    pub(super) async fn put_hedged(
        &self,
        key: fn(SegmentId) -> ObjectKey,
        parts: Vec<Bytes>,
    ) -> Result<InFlightPut<'_>, StoreError> {
        let mut tries = FuturesUnordered::new();
        let mut left = PUT_TRIES_MAX;
        let mut start = |tries: &mut FuturesUnordered<_>, delay| {
            left -= 1;
            tries.push(self.put_once(key, parts.clone(), delay));
            left
        };
        let mut left = start(&mut tries, Duration::ZERO);
        let deadline = self.clock.sleep(PUT_DEADLINE);
        tokio::pin!(deadline);
        let mut last_error = None;
        loop {
            tokio::select! {
                biased;
                outcome = tries.next() => match outcome {
                    Some(Ok(put)) => return Ok(put),
                    Some(Err(error)) => {
                        last_error = Some(error);
                        if left > 0 {
                            left = start(&mut tries, RETRY_BACKOFF);
                        }
                    }
                    None => return Err(last_error.expect("the last try failed")),
                },
                () = self.clock.sleep(HEDGE_AFTER), if left > 0 => {
                    left = start(&mut tries, Duration::ZERO);
                }
                () = &mut deadline => {
                    let problem = format!("no response within {} s", PUT_DEADLINE.as_secs());
                    return Err(StoreError::new("put", key(self.next_segment_id()), problem));
                }
            }
        }
    }

    async fn put_once(
        &self,
        key: fn(SegmentId) -> ObjectKey,
        parts: Vec<Bytes>,
        delay: Duration,
    ) -> Result<InFlightPut<'_>, StoreError> {
        if !delay.is_zero() {
            self.clock.sleep(delay).await;
        }
        let id = self.next_segment_id();
        let in_flight = InFlightPut::new(self, id);
        let key = key(id);
        match self.store.put(&key, parts, Precondition::IfNoneMatch).await {
            Ok(_) => Ok(in_flight),
            Err(error) => Err(StoreError::new("put", key, error)),
        }
    }
}
