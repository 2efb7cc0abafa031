//! The threads that decode deliveries, at a lower priority than the threads that serve readers.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use rayon::{ThreadPool, ThreadPoolBuilder};
use tokio::sync::oneshot;

use crate::ingest::error::{DeliveryError, DeliveryErrorCode};

/// Added niceness of decoding threads. When cores are short, decoding gets a third of the time of
/// the threads that serve readers. Nobody waits for a delivery.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 5;

/// A pool of one thread per core. The memory budget bounds its queue: all work that waits there has
/// a permit.
#[derive(Clone)]
pub(crate) struct DecodePool(Arc<ThreadPool>);

impl DecodePool {
    /// Starts the threads.
    ///
    /// # Panics
    /// The system cannot start the threads.
    pub(crate) fn start() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let pool = ThreadPoolBuilder::new()
            .num_threads(cores)
            .thread_name(|index| format!("decode-{index}"))
            .start_handler(|_| lower_priority())
            .build()
            .expect("the system starts threads");
        Self(Arc::new(pool))
    }

    /// Runs `work` on the pool. It runs to its end even when the caller is gone.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, DeliveryError> {
        let (sender, result) = oneshot::channel();
        self.0.spawn(move || {
            let result = std::panic::catch_unwind(AssertUnwindSafe(work));
            let _ = sender.send(result); // the caller may be gone
        });
        let result = result.await.expect("the pool runs what it is given");
        result.map_err(|panic| {
            tracing::error!(panic = panic_message(&*panic), "decoding panicked");
            DeliveryError::new(DeliveryErrorCode::Internal, "internal server error")
        })
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("unknown")
}

/// Lowers the priority of the current thread. Without the right to do so, it stays as it is.
fn lower_priority() {
    #[cfg(target_os = "linux")] // elsewhere it would be the whole process
    if let Ok(niceness) = rustix::process::getpriority_process(None) {
        let _ = rustix::process::setpriority_process(None, niceness + NICENESS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn panic_is_an_internal_error_and_the_pool_goes_on() {
        let pool = DecodePool::start();
        for _ in 0..20 {
            let error = pool.run(|| panic!("broken")).await.map(|(): ()| ());
            assert_eq!(error.unwrap_err().code, DeliveryErrorCode::Internal);
        }
        assert_eq!(pool.run(|| 1).await.unwrap(), 1);
    }
}
