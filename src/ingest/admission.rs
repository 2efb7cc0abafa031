//! Admission control: the memory that requests of ingestion may hold together.

use tokio::sync::watch;

use crate::memory_budget::MemoryBudget;

/// Maximum memory of one delivery, in largest bodies: the body, a copy of what may have to be
/// quarantined, and what is decoded from the body and from its gzipped records, at up to three
/// times their text.
const DELIVERY_BODIES_MAX: usize = 8;

/// Memory budget of all rides, in bytes. A request has at most 256 KiB, and needs up to eight times
/// as much while it is decoded. Rides need no key, so their budget is apart.
const RIDES_BYTES_MAX: usize = 128 << 20;

/// The memory budgets of ingestion, and the number of requests that are read or decoded.
#[derive(Debug)]
pub(crate) struct IngestAdmission {
    /// Budget of deliveries and events.
    pub(crate) deliveries: MemoryBudget,
    /// Budget of rides.
    pub(crate) rides: MemoryBudget,
    /// Every delivery in flight has a receiver.
    in_flight: watch::Sender<()>,
}

/// Counts a delivery as in flight until dropped.
#[derive(Debug)]
pub(crate) struct InFlightGuard(#[expect(dead_code, reason = "held")] watch::Receiver<()>);

impl IngestAdmission {
    /// Returns the budgets. That of deliveries has `bytes_max` bytes, or more if one body of
    /// `max_body_bytes` may need more.
    pub(crate) fn new(bytes_max: usize, max_body_bytes: usize) -> Self {
        let bytes_max = bytes_max.max(max_body_bytes.saturating_mul(DELIVERY_BODIES_MAX));
        Self {
            deliveries: MemoryBudget::new(bytes_max),
            rides: MemoryBudget::new(RIDES_BYTES_MAX),
            in_flight: watch::Sender::default(),
        }
    }

    /// Counts a delivery as being read or decoded until the guard is dropped.
    pub(crate) fn count_in_flight(&self) -> InFlightGuard {
        InFlightGuard(self.in_flight.subscribe())
    }

    /// Returns once no delivery is being read or decoded.
    pub(crate) async fn deliveries_ended(&self) {
        self.in_flight.closed().await;
    }

    /// Returns the number of deliveries that are being read or decoded.
    pub(crate) fn deliveries_in_flight(&self) -> usize {
        self.in_flight.receiver_count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budget_fits_the_largest_delivery() {
        let admission = IngestAdmission::new(1 << 20, 1 << 30);
        assert!(admission.deliveries.try_acquire(8 << 30).is_some());
        let admission = IngestAdmission::new(1 << 20, 1);
        assert!(admission.deliveries.try_acquire(1 << 20).is_some());
        assert!(admission.deliveries.try_acquire((1 << 20) + 1).is_none());
    }

    #[test]
    fn in_flight_deliveries_are_counted_until_dropped() {
        let admission = IngestAdmission::new(1 << 20, 1);
        let guards = [admission.count_in_flight(), admission.count_in_flight()];
        assert_eq!(admission.deliveries_in_flight(), 2);
        drop(guards);
        assert_eq!(admission.deliveries_in_flight(), 0);
    }
}
