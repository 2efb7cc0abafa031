//! The simulation's clocks.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use alleycat::ledger::clock::Clock;
use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::Instant;

/// An instance's clocks: virtual, skewed, and stopped while the instance is suspended.
#[derive(Debug)]
pub struct SimulatedClock {
    epoch: Instant,
    skew_ms: u64,
    running: watch::Sender<bool>,
    suspended: AtomicBool,
}

/// Start of every simulation, in milliseconds since 1970.
pub const EPOCH_MS: u64 = 1_700_000_000_000;

impl SimulatedClock {
    /// Creates a clock that is `skew_ms` ahead.
    pub fn new(epoch: Instant, skew_ms: u64) -> Self {
        Self {
            epoch,
            skew_ms,
            running: watch::channel(true).0,
            suspended: AtomicBool::new(false),
        }
    }

    /// Suspends the instance: no sleep ends until it resumes.
    pub fn suspend(&self) {
        self.suspended.store(true, Ordering::Relaxed);
        self.running.send_replace(false);
    }

    pub fn resume(&self) {
        self.suspended.store(false, Ordering::Relaxed);
        self.running.send_replace(true);
    }

    pub fn is_suspended(&self) -> bool {
        self.suspended.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Clock for SimulatedClock {
    fn wall_ms(&self) -> u64 {
        EPOCH_MS + self.skew_ms + self.epoch.elapsed().as_millis() as u64
    }

    fn uptime(&self) -> Duration {
        // Not 0 at the start, so that code cannot mistake 0 for "never".
        Duration::from_secs(1_000_000) + self.epoch.elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
        let mut running = self.running.subscribe();
        // An error means that the instance is gone.
        let _ = running.wait_for(|running| *running).await;
    }
}
