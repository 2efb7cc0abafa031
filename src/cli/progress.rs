//! Progress of long work: a bar on a terminal, a log line every few seconds elsewhere.

use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use parking_lot::Mutex;

/// Interval of log lines where there is no terminal.
pub(crate) const LOG_INTERVAL: Duration = Duration::from_secs(5);

/// Interval at which the bar is drawn, so that its clock runs while the work waits.
const DRAW_INTERVAL: Duration = Duration::from_millis(200);

/// The unit in which work is counted.
#[derive(Clone, Copy)]
pub(crate) enum ProgressUnit {
    Bytes,
    Records,
}

/// The progress of one piece of work. Clones share it.
#[derive(Clone)]
pub(crate) struct Progress {
    bar: ProgressBar,
    logged: Arc<Mutex<Instant>>,
}

impl Progress {
    pub(crate) fn new(total: u64, unit: ProgressUnit) -> Self {
        let position = match unit {
            ProgressUnit::Bytes => "{binary_bytes}/{binary_total_bytes}",
            ProgressUnit::Records => "{human_pos}/{human_len} records",
        };
        let template = format!("{{bar:30}} {position}, {{eta}} left, {{msg}}");
        let style = ProgressStyle::with_template(&template).expect("the template is well formed");
        let bar = ProgressBar::new(total).with_style(style);
        if !bar.is_hidden() {
            bar.enable_steady_tick(DRAW_INTERVAL);
        }
        Self {
            bar,
            logged: Arc::new(Mutex::new(Instant::now())),
        }
    }

    pub(crate) fn advance(&self, amount: u64) {
        self.bar.inc(amount);
    }

    /// Returns the time since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.bar.elapsed()
    }

    /// Shows a message beside the bar, or logs it if the last log line is [`LOG_INTERVAL`] old.
    pub(crate) fn show(&self, message: impl FnOnce() -> String) {
        if !self.bar.is_hidden() {
            self.bar.set_message(message());
            return;
        }
        let mut logged = self.logged.lock();
        if logged.elapsed() >= LOG_INTERVAL {
            *logged = Instant::now();
            drop(logged);
            let (done, total) = (self.bar.position(), self.bar.length().unwrap_or_default());
            let seconds_left = seconds_left(self.elapsed(), done, total);
            tracing::info!(done, total, seconds_left, "{}", message());
        }
    }

    /// Removes the bar from the terminal.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// Returns the time left at the mean speed so far, in seconds; `None` before anything is done.
fn seconds_left(elapsed: Duration, done: u64, total: u64) -> Option<f64> {
    let left = total.saturating_sub(done);
    (done > 0).then(|| (elapsed.as_secs_f64() * left as f64 / done as f64).ceil())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_left_is_by_the_mean_speed_so_far() {
        let elapsed = Duration::from_secs(10);
        assert_eq!(seconds_left(elapsed, 0, 100), None);
        assert_eq!(seconds_left(elapsed, 25, 100), Some(30.0));
        assert_eq!(seconds_left(elapsed, 100, 100), Some(0.0));
        assert_eq!(seconds_left(elapsed, 101, 100), Some(0.0));
    }
}
