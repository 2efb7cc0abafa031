//! Request bodies of ingestion: read within a memory budget and time limits, or drained.
//!
//! A client reads its response only after it has sent the body. So the body of a refused request is
//! drained, except when the client waits for `100 Continue`: then it reads the response at once.

use std::fmt::Display;
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout, timeout_at};

use crate::ingest::error::{DeliveryError, DeliveryErrorCode};
use crate::memory_budget::{MemoryBudget, MemoryPermit};

/// Minimum memory of a request, in bytes: its task, buffers and response.
const REQUEST_BYTES_MIN: usize = 64 << 10;

/// Number of body bytes that are copied before other tasks run on the thread: about 0.1 ms.
const YIELD_BYTES: usize = 256 << 10;

/// Maximum number of drained bytes: more than the 86 MiB that Firehose sends at most.
const DRAIN_BYTES_MAX: usize = 128 << 20;

/// Limits of a request body.
#[derive(Clone, Copy)]
pub(crate) struct BodyLimits {
    /// Maximum length, in bytes.
    pub(crate) bytes_max: usize,
    /// Maximum pause between two pieces.
    pub(crate) pause_timeout: Duration,
    /// Maximum time from the creation of the [`RequestBody`] to the end of the body.
    pub(crate) total_timeout: Duration,
}

/// A request body that is read once, or drained.
pub(crate) struct RequestBody<B> {
    body: B,
    limits: BodyLimits,
    /// The total timeout's end.
    deadline: Instant,
    /// False while the client waits for `100 Continue`, and after the body timed out.
    can_be_drained: bool,
}

impl<B> RequestBody<B>
where
    B: Body<Data = Bytes, Error: Display> + Unpin,
{
    /// Returns the body of a request. `awaits_continue` tells that the client sent
    /// `Expect: 100-continue`, which the first read answers.
    pub(crate) fn new(body: B, awaits_continue: bool, limits: BodyLimits) -> Self {
        Self {
            body,
            limits,
            deadline: Instant::now() + limits.total_timeout,
            can_be_drained: !awaits_continue,
        }
    }

    /// Reads the body, and acquires its memory from `budget`.
    pub(crate) async fn read(
        &mut self,
        budget: &MemoryBudget,
    ) -> Result<(Bytes, MemoryPermit), DeliveryError> {
        let announced = usize::try_from(self.body.size_hint().lower()).unwrap_or(usize::MAX);
        if announced > self.limits.bytes_max {
            return Err(DeliveryError::too_large(self.limits.bytes_max));
        }
        let permit = budget
            .try_acquire(announced.max(REQUEST_BYTES_MIN))
            .ok_or_else(DeliveryError::memory_limit)?;
        self.can_be_drained = true;
        let deadline = self.deadline;
        let read = timeout_at(deadline, self.read_pieces(announced, permit)).await;
        read.unwrap_or_else(|_| {
            self.can_be_drained = false;
            Err(timed_out(self.limits.total_timeout))
        })
    }

    async fn read_pieces(
        &mut self,
        announced: usize,
        mut permit: MemoryPermit,
    ) -> Result<(Bytes, MemoryPermit), DeliveryError> {
        let BodyLimits {
            bytes_max,
            pause_timeout,
            ..
        } = self.limits;
        let mut bytes = Vec::with_capacity(announced);
        let mut yield_at = YIELD_BYTES;
        loop {
            let Ok(frame) = timeout(pause_timeout, self.body.frame()).await else {
                self.can_be_drained = false;
                return Err(timed_out(pause_timeout));
            };
            let Some(frame) = frame else {
                return Ok((bytes.into(), permit));
            };
            let frame = frame.map_err(|error| {
                let message = format!("incomplete request body: {error}");
                DeliveryError::new(DeliveryErrorCode::BodyIncomplete, message)
            })?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            if bytes.len() + data.len() > bytes_max {
                return Err(DeliveryError::too_large(bytes_max));
            }
            bytes.extend_from_slice(&data);
            permit
                .grow_to(bytes.capacity())
                .ok_or_else(DeliveryError::memory_limit)?;
            if bytes.len() >= yield_at {
                // While the client is fast, the loop would never wait.
                tokio::task::yield_now().await;
                yield_at = bytes.len() + YIELD_BYTES;
            }
        }
    }

    /// Returns the time at which the body has timed out.
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Reads the rest of the body of a refused request, within its limits.
    pub(crate) async fn drain(&mut self) {
        if self.can_be_drained {
            let _ = timeout_at(self.deadline, self.drain_pieces()).await;
        }
    }

    async fn drain_pieces(&mut self) {
        let mut left = DRAIN_BYTES_MAX;
        while let Ok(Some(Ok(frame))) = timeout(self.limits.pause_timeout, self.body.frame()).await
        {
            let length = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(length) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    }
}

fn timed_out(after: Duration) -> DeliveryError {
    let message = format!(
        "request body read timed out after {} s",
        after.as_secs_f64()
    );
    DeliveryError::new(DeliveryErrorCode::BodyTimeout, message)
}

#[cfg(test)]
mod tests;
