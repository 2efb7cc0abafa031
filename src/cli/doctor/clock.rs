//! The check of the clock, against the `Date` header of the S3 endpoint.

use std::time::Duration;

use crate::cli::doctor::Verdict;
use crate::firehose_client::http_client_builder;
use crate::ledger::clock::{Clock, SystemClock};
use crate::storage;

/// Maximum error of the clock. Erasures reach half a minute ahead, so this is well within it; S3
/// itself refuses requests at a quarter of an hour.
const CLOCK_ERROR_MAX: Duration = Duration::from_secs(5);

/// Maximum time to the response of the endpoint.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) async fn check(store: &str) -> Verdict {
    if !store.starts_with("s3://") {
        return Verdict::Skip("a folder has no clock to compare with".to_owned());
    }
    let endpoint = storage::configured_endpoint().await;
    let endpoint = endpoint.unwrap_or_else(|| "https://s3.amazonaws.com".to_owned());
    match date_ms(&endpoint).await {
        Some(date_ms) => compare(SystemClock.wall_ms(), date_ms, &endpoint),
        None => Verdict::Skip(format!("{endpoint} sends no Date header")),
    }
}

/// Returns the `Date` header of a response of any status, in milliseconds since 1970.
async fn date_ms(endpoint: &str) -> Option<u64> {
    let client = http_client_builder()
        .timeout(RESPONSE_TIMEOUT)
        .build()
        .ok()?;
    let response = client.head(endpoint).send().await.ok()?;
    let date = response
        .headers()
        .get(reqwest::header::DATE)?
        .to_str()
        .ok()?;
    let time = jiff::fmt::rfc2822::parse(date).ok()?;
    u64::try_from(time.timestamp().as_millisecond()).ok()
}

fn compare(clock_ms: u64, date_ms: u64, endpoint: &str) -> Verdict {
    let error = Duration::from_millis(clock_ms.abs_diff(date_ms));
    // The header has whole seconds.
    if error <= CLOCK_ERROR_MAX + Duration::from_secs(1) {
        Verdict::Pass(format!("agrees with {endpoint}"))
    } else {
        Verdict::Fail(format!(
            "differs by {} s from {endpoint}; set the clock, and run NTP",
            error.as_secs()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_may_differ_by_a_few_seconds() {
        let now = 1_600_000_000_000;
        assert!(matches!(compare(now + 6000, now, "s"), Verdict::Pass(_)));
        let verdict = compare(now, now + 6001, "s");
        assert!(
            matches!(&verdict, Verdict::Fail(text) if text.contains("NTP")),
            "{verdict:?}"
        );
    }
}
