//! Hedged puts of write-once objects: another try starts under a new key once the first is slow or
//! has failed.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use crate::ledger::Inner;
use crate::storage::{ObjectKey, Precondition, PutError, SegmentId, StoreError};

/// A put that takes longer is hedged: another starts under a new key, and the first success wins.
const HEDGE_AFTER: Duration = Duration::from_secs(1);

/// Maximum number of tries, whether started by a failure or by time.
const PUT_TRIES_MAX: usize = 3;

/// Pause before the put that follows a failed one, for a store that asks for fewer requests.
const RETRY_BACKOFF: Duration = Duration::from_millis(100);

/// Maximum duration of all tries together. Well below a delivery's deadline, so that its sender
/// still gets a response.
const PUT_DEADLINE: Duration = Duration::from_secs(30);

/// An object that is being put. While this value exists, replication ignores the object. The owner
/// keeps it until the segment is indexed.
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
        let first_id = self.next_segment_id();
        let mut tries = FuturesUnordered::new();
        tries.push(self.put_once(key, first_id, parts.clone(), Duration::ZERO));
        let mut started = 1;
        let deadline = self.clock.sleep(PUT_DEADLINE);
        tokio::pin!(deadline);
        let mut last_error = None;
        loop {
            let delay = tokio::select! {
                biased;
                outcome = tries.next() => match outcome {
                    Some(Ok(put)) => return Ok(put),
                    Some(Err(error)) => {
                        last_error = Some(error);
                        if started == PUT_TRIES_MAX {
                            continue;
                        }
                        RETRY_BACKOFF
                    }
                    None => return Err(last_error.expect("the last try failed")),
                },
                () = self.clock.sleep(HEDGE_AFTER), if started < PUT_TRIES_MAX => Duration::ZERO,
                () = &mut deadline => {
                    let problem = format!("no response within {} s", PUT_DEADLINE.as_secs());
                    return Err(StoreError::new("put", key(first_id), problem));
                }
            };
            tries.push(self.put_once(key, self.next_segment_id(), parts.clone(), delay));
            started += 1;
        }
    }

    async fn put_once(
        &self,
        key: fn(SegmentId) -> ObjectKey,
        id: SegmentId,
        parts: Vec<Bytes>,
        delay: Duration,
    ) -> Result<InFlightPut<'_>, StoreError> {
        if !delay.is_zero() {
            self.clock.sleep(delay).await;
        }
        let in_flight = InFlightPut::new(self, id);
        let key = key(id);
        match self.store.put(&key, parts, Precondition::IfNoneMatch).await {
            Ok(_) => Ok(in_flight),
            Err(PutError::Failed(error)) => Err(error),
            Err(PutError::WriteConflict) => {
                Err(StoreError::new("put", key, PutError::WriteConflict))
            }
        }
    }
}
