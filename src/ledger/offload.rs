//! Blocking work: on a thread of its own, or inline in the simulation.

use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};

use crate::ledger::Inner;

/// Maximum virtual pause before inline work, and again after it. Long enough for other tasks and a
/// suspension to come in between, and short, because slow builds make snapshots rarer.
const INLINE_WORK_MAX: Duration = Duration::from_millis(100);

impl Inner {
    /// Runs long work on a thread that may block. On a runtime of one thread, such as the
    /// simulation's, it runs inline, between two pauses, so that a schedule depends on its seed
    /// alone.
    pub(super) async fn offload<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        match Handle::current().runtime_flavor() {
            RuntimeFlavor::CurrentThread => {
                // Other tasks run during the pauses, as on a runtime of several threads.
                self.clock.sleep(self.jitter(INLINE_WORK_MAX)).await;
                let output = work();
                self.clock.sleep(self.jitter(INLINE_WORK_MAX)).await;
                output
            }
            _ => match tokio::task::spawn_blocking(work).await {
                Ok(output) => output,
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    // The runtime shuts down, and this task with it.
                    Err(_) => std::future::pending().await,
                },
            },
        }
    }
}
