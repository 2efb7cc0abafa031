//! The bodies of deliveries: read within what all deliveries may take up together, and drained where they are refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::http::limits::room::MemoryBudget;
use crate::http::routes::firehose::{DeliveryError, DeliveryErrorCode};

/// What one delivery may take up, in largest bodies: its body, as much again for what of it may have to be quarantined,
/// and what is decoded from it and from what its records gunzip to, at up to three times the text of that.
const DELIVERY_BODIES_MAX: usize = 8;

/// What a delivery takes up at the least, in bytes: its task, buffers, and answer.
const DELIVERY_BYTES_MIN: usize = 64 << 10;

/// The room for deliveries is counted in this many bytes.
const PERMIT_BYTES: usize = 1 << 10;

/// So many bytes of a body are read before others have their turn on the thread: about 0.1 ms of copying.
const BYTES_A_TURN: usize = 256 << 10;

/// What a sender may go on sending after it was refused, in bytes, so that it comes to read the answer: more than the
/// 86 MiB that Firehose sends at most, whatever the cap.
const DRAIN_BYTES_MAX: usize = 128 << 20;

/// What deliveries must pass: the bytes that they take up together, and how many are decoded at a time.
#[derive(Clone)]
pub(crate) struct IngestAdmission {
    room: MemoryBudget,
    decoding: Arc<Semaphore>,
    in_flight: Arc<AtomicUsize>,
}

impl IngestAdmission {
    /// A gate for deliveries of up to `bytes_max` together, or more where one body of up to `max_body_bytes` needs it.
    pub(crate) fn new(bytes_max: usize, max_body_bytes: usize) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let bytes_max = bytes_max.max(max_body_bytes.saturating_mul(DELIVERY_BODIES_MAX));
        Self {
            room: MemoryBudget::new(bytes_max, PERMIT_BYTES),
            decoding: Arc::new(Semaphore::new(cores)),
            in_flight: Arc::default(),
        }
    }

    /// Deliveries that are being read or decoded.
    pub(crate) fn deliveries_in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// What all deliveries under way take up, in bytes, to the limit's own measure.
    pub(crate) fn bytes_in_flight(&self) -> usize {
        self.room.taken_bytes()
    }

    /// Lets in what takes up that many bytes for as long as the permit is held.
    pub(crate) fn admit(&self, bytes: usize) -> Result<OwnedSemaphorePermit, DeliveryError> {
        self.room.take(bytes).ok_or_else(too_many)
    }

    /// Lets in that it has come to take up so many bytes.
    pub(crate) fn admit_more(
        &self,
        permit: &mut OwnedSemaphorePermit,
        bytes: usize,
    ) -> Result<(), DeliveryError> {
        self.room.take_up_to(permit, bytes).ok_or_else(too_many)
    }

    /// Counts a delivery as being read or decoded until what this returns is dropped.
    pub(crate) fn note_in_flight(&self) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(self.in_flight.clone())
    }

    /// Waits for the turn to decode, which lasts until what this returns is dropped.
    pub(crate) async fn turn_to_decode(&self) -> OwnedSemaphorePermit {
        self.decoding
            .clone()
            .acquire_owned()
            .await
            .expect("the semaphore is never closed")
    }
}

/// A delivery that is being read or decoded.
pub(crate) struct InFlight(Arc<AtomicUsize>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Reads a body up to `bytes_max`, with no longer pauses than `limits`, within what the gate lets in. `announced` is
/// its length, where that is told.
pub(crate) async fn read(
    mut body: Body,
    announced: Option<usize>,
    bytes_max: usize,
    limits: Duration,
    gate: &IngestAdmission,
) -> Result<(Bytes, OwnedSemaphorePermit), DeliveryError> {
    let announced = announced.unwrap_or(0);
    if announced > bytes_max {
        return Err(drained(body, limits, over_the_cap(bytes_max)).await);
    }
    let mut permit = match gate.admit(announced.max(DELIVERY_BYTES_MIN)) {
        Ok(permit) => permit,
        Err(refusal) => return Err(drained(body, limits, refusal).await),
    };
    let mut read = Vec::with_capacity(announced);
    let mut turn_ends = BYTES_A_TURN;
    loop {
        let Ok(frame) = tokio::time::timeout(limits, body.frame()).await else {
            let message = format!(
                "nothing more of the body came within {} s",
                limits.as_secs_f64()
            );
            return Err(DeliveryError::bad_request(
                DeliveryErrorCode::BodyTimeout,
                message,
            ));
        };
        let Some(frame) = frame else {
            return Ok((read.into(), permit));
        };
        let frame = frame.map_err(|error| {
            DeliveryError::bad_request(
                DeliveryErrorCode::BodyIncomplete,
                format!("the body did not arrive whole: {error}"),
            )
        })?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if read.len() + data.len() > bytes_max {
            return Err(drained(body, limits, over_the_cap(bytes_max)).await);
        }
        read.extend_from_slice(&data);
        if read.len() >= turn_ends {
            // As long as more of it is there already, nothing else would stop for those who wait.
            tokio::task::yield_now().await;
            turn_ends = read.len() + BYTES_A_TURN;
        }
        if let Err(refusal) = gate.admit_more(&mut permit, read.capacity()) {
            return Err(drained(body, limits, refusal).await);
        }
    }
}

/// The refusal, once the sender has sent what it is sending: only then it reads the answer.
pub(crate) async fn drained(body: Body, limits: Duration, refusal: DeliveryError) -> DeliveryError {
    drain(body, limits).await;
    refusal
}

/// Reads what a refused sender is still sending, up to [`DRAIN_BYTES_MAX`] and with no longer pauses than `limits`.
pub(crate) async fn drain(mut body: Body, limits: Duration) {
    let mut left = DRAIN_BYTES_MAX;
    while let Ok(Some(Ok(frame))) = tokio::time::timeout(limits, body.frame()).await {
        let length = frame.data_ref().map_or(0, Bytes::len);
        match left.checked_sub(length) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

fn too_many() -> DeliveryError {
    DeliveryError::unavailable(
        DeliveryErrorCode::MemoryLimit,
        "too many deliveries are under way",
    )
}

/// The refusal of a body that is longer than is taken, gunzipped or not.
pub(crate) fn over_the_cap(bytes_max: usize) -> DeliveryError {
    let message = format!(
        "the body is over {bytes_max} bytes (--max-body-size): lower the buffer size (BufferingHints.SizeInMBs) of the \
         delivery stream, or raise --max-body-size"
    );
    DeliveryError::bad_request(DeliveryErrorCode::TooLarge, message)
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;

    use super::*;

    const BYTES_MAX: usize = 1 << 20;

    #[test]
    fn deliveries_are_let_in_up_to_their_limit_together_as_they_grow() {
        let gate = IngestAdmission::new(BYTES_MAX, 1);
        let mut first = gate.admit(10).expect("there is room");
        assert!(
            gate.admit_more(&mut first, BYTES_MAX - PERMIT_BYTES)
                .is_ok()
        );
        let mut second = gate.admit(PERMIT_BYTES).expect("there is just enough room");
        let refusal = gate
            .admit_more(&mut second, PERMIT_BYTES + 1)
            .expect_err("there is no more");
        assert_eq!(refusal.status, StatusCode::SERVICE_UNAVAILABLE);
        drop(first);
        assert!(gate.admit_more(&mut second, BYTES_MAX).is_ok());
        let large = IngestAdmission::new(BYTES_MAX, 1 << 30);
        assert!(
            large.admit(8 << 30).is_ok(),
            "the largest body fits, with all that comes of it"
        );
    }
}
