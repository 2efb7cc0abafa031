//! How long a start waits for a store that fails.

use std::time::Duration;

use crate::ledger::clock::Clock;

/// Time for which one request is tried while the store fails. Then the start fails. An outage is
/// waited out: a process that ends would only be started again.
const GIVE_UP_AFTER: Duration = Duration::from_secs(600);

/// Back-off before the first retry. It doubles with each one.
const FIRST_BACKOFF: Duration = Duration::from_millis(500);

/// Maximum back-off.
const BACKOFF_MAX: Duration = Duration::from_secs(8);

/// The retries of one request.
pub(crate) struct StartRetries<'c> {
    clock: &'c dyn Clock,
    began: Duration,
    backoff: Duration,
}

impl<'c> StartRetries<'c> {
    pub(crate) fn new(clock: &'c dyn Clock) -> Self {
        Self {
            clock,
            began: clock.uptime(),
            backoff: FIRST_BACKOFF,
        }
    }

    /// Returns whether a failing store may still be tried again.
    pub(crate) fn may_go_on(&self) -> bool {
        self.clock.uptime().saturating_sub(self.began) < GIVE_UP_AFTER
    }

    /// Waits before the next try.
    pub(crate) async fn pause(&mut self) {
        self.clock.sleep(self.backoff).await;
        self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
    }
}
