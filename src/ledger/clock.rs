//! Time as the ledger sees it: the wall clock, the machine's uptime, and sleeping.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;

/// The clocks of one instance. The simulation has its own: they differ between instances, and stop
/// on demand.
#[async_trait]
pub trait Clock: Send + Sync + fmt::Debug + 'static {
    /// Returns milliseconds since 1970 by the instance's own clock.
    fn wall_ms(&self) -> u64;

    /// Returns the time since the machine started, suspensions included.
    fn uptime(&self) -> Duration;

    /// Returns after the duration.
    async fn sleep(&self, duration: Duration);
}

/// The machine's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    fn wall_ms(&self) -> u64 {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn uptime(&self) -> Duration {
        // Not `Instant`: it stops while the machine is suspended, and an instance must know that it
        // was away.
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Duration::new(
            now.tv_sec.unsigned_abs(),
            u32::try_from(now.tv_nsec).unwrap_or_default(),
        )
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}
