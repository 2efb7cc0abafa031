//! A memory budget: a bound on the bytes that many tasks hold together.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Size of one semaphore permit, in bytes. A semaphore hands out at most 2^32 permits at once, and a
/// delivery may need over 4 GiB.
const PERMIT_BYTES: usize = 1 << 10;

/// A number of bytes that may be held at the same time. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct MemoryBudget {
    permits: Arc<Semaphore>,
    permits_max: usize,
}

impl MemoryBudget {
    /// Returns a budget of `bytes_max` bytes, rounded down to KiB.
    pub(crate) fn new(bytes_max: usize) -> Self {
        let permits_max = (bytes_max / PERMIT_BYTES).min(Semaphore::MAX_PERMITS);
        Self {
            permits: Arc::new(Semaphore::new(permits_max)),
            permits_max,
        }
    }

    /// Acquires `bytes` without waiting; `None` when fewer are left.
    pub(crate) fn try_acquire(&self, bytes: usize) -> Option<MemoryPermit> {
        try_acquire(&self.permits, bytes).map(MemoryPermit)
    }

    /// Returns the number of acquired bytes.
    pub(crate) fn acquired_bytes(&self) -> usize {
        (self.permits_max - self.permits.available_permits()) * PERMIT_BYTES
    }
}

fn try_acquire(permits: &Arc<Semaphore>, bytes: usize) -> Option<OwnedSemaphorePermit> {
    let count = u32::try_from(bytes.div_ceil(PERMIT_BYTES)).ok()?;
    permits.clone().try_acquire_many_owned(count).ok()
}

/// A share of a memory budget, released on drop.
#[derive(Debug)]
pub(crate) struct MemoryPermit(OwnedSemaphorePermit);

impl MemoryPermit {
    /// Grows to at least `bytes`; `None`, and no change, when the budget has too few left.
    pub(crate) fn grow_to(&mut self, bytes: usize) -> Option<()> {
        let acquired = self.0.num_permits() * PERMIT_BYTES;
        if bytes > acquired {
            let more = try_acquire(self.0.semaphore(), bytes - acquired)?;
            self.0.merge(more);
        }
        Some(())
    }

    /// Shrinks to at most `bytes`, rounded up to KiB.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        let surplus = self
            .0
            .num_permits()
            .saturating_sub(bytes.div_ceil(PERMIT_BYTES));
        drop(self.0.split(surplus));
    }
}

/// Returns the same bytes, which hold `guard` until the last reference to them is dropped.
pub(crate) fn guarded(bytes: Bytes, guard: impl Send + 'static) -> Bytes {
    Bytes::from_owner(GuardedBytes {
        bytes,
        _guard: guard,
    })
}

struct GuardedBytes<G> {
    bytes: Bytes,
    _guard: G,
}

impl<G> AsRef<[u8]> for GuardedBytes<G> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permit_grows_within_budget_and_shrinks() {
        let budget = MemoryBudget::new(10 * PERMIT_BYTES);
        let mut permit = budget.try_acquire(1).expect("the budget is free");
        assert_eq!(budget.acquired_bytes(), PERMIT_BYTES);
        assert!(permit.grow_to(10 * PERMIT_BYTES).is_some());
        assert!(budget.try_acquire(1).is_none());
        assert!(permit.grow_to(10 * PERMIT_BYTES + 1).is_none());
        assert_eq!(budget.acquired_bytes(), 10 * PERMIT_BYTES);
        permit.shrink_to(PERMIT_BYTES + 1);
        assert_eq!(budget.acquired_bytes(), 2 * PERMIT_BYTES);
        drop(permit);
        assert_eq!(budget.acquired_bytes(), 0);
    }

    #[test]
    fn guarded_bytes_release_guard_with_last_slice() {
        let budget = MemoryBudget::new(PERMIT_BYTES);
        let bytes = guarded(Bytes::from("text"), budget.try_acquire(1));
        let slice = bytes.slice(1..);
        drop(bytes);
        assert!(budget.try_acquire(1).is_none());
        drop(slice);
        assert!(budget.try_acquire(1).is_some());
    }
}
