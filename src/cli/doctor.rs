//! `alleycat doctor`: whether the service would run with these options here, and what to mend where it would not.
//!
//! It asks for all that the service will need, by doing it: files are read, ports are taken and given back, and the
//! store is listed, written to on both conditions, read and deleted from, at a key of its own.

use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use crate::cli::healthcheck::{self, HealthcheckOptions};
use crate::config::Config;
use crate::keys::{Keys, Secret};
use crate::ledger::clock::{Clock, SystemClock};
use crate::server;
use crate::storage::{self, ListScope, SegmentId, Store};

/// How far the clock may be off. Erasures reach half a minute ahead, so this is well within it; S3 itself refuses
/// requests that are a quarter of an hour off.
const CLOCK_OFF_MAX: Duration = Duration::from_secs(5);

/// A certificate that has less time left should have been renewed: those that are made for six days are renewed after
/// four, and most after two thirds of their time.
const EXPIRES_SOON: Duration = Duration::from_secs(36 * 60 * 60);

/// How long the server that the clock is compared with may take.
const TIME_WITHIN: Duration = Duration::from_secs(10);

/// What was found of one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at.
    pub what: &'static str,
    /// What was found.
    pub verdict: Verdict,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is as it should be.
    Fine(String),
    /// It was not looked at, and why.
    NotChecked(String),
    /// It is wrong, and what to do.
    Wrong(String),
}

impl Finding {
    /// Whether the service would not run for it, or not for long.
    pub fn is_wrong(&self) -> bool {
        matches!(self.verdict, Verdict::Wrong(_))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, text) = match &self.verdict {
            Verdict::Fine(text) => ("ok", text),
            Verdict::NotChecked(text) => ("not checked", text),
            Verdict::Wrong(text) => ("WRONG", text),
        };
        write!(f, "{sign:<12} {:<28} {text}", self.what)
    }
}

/// Looks at everything, and gives what it finds to `each` as it finds it.
pub async fn examine(config: &Config, mut each: impl FnMut(Finding)) {
    let mut found = |what, verdict| each(Finding { what, verdict });
    found(
        "configuration",
        verdict(config.validate(), "the options go together"),
    );
    for (what, given, file, without) in [
        (
            "access keys",
            &config.access_keys,
            &config.access_key_file,
            "none: whoever reaches it may deliver",
        ),
        (
            "admin keys",
            &config.admin_keys,
            &config.admin_key_file,
            "none: nothing can be erased",
        ),
        (
            "query keys",
            &config.query_keys,
            &config.query_key_file,
            "none: whoever reaches it may read",
        ),
    ] {
        found(what, keys(given, file.as_deref(), without));
    }
    found(
        "TLS",
        match (&config.tls_cert, &config.tls_key) {
            (Some(chain), Some(key)) => match server::check_tls(chain, key) {
                Ok(expires_at_s) => certificate(expires_at_s, SystemClock.wall_ms() / 1000),
                Err(error) => Verdict::Wrong(format!("{error:#}")),
            },
            _ => Verdict::Fine(
                "none: something before it must bring it, for Firehose speaks HTTPS only"
                    .to_owned(),
            ),
        },
    );
    let runs = healthcheck::is_there(&HealthcheckOptions {
        listen: config.listen,
        tls_cert: config.tls_cert.clone(),
    })
    .await;
    found("port", port(config.listen, runs, "--listen"));
    found(
        "port of the metrics",
        port(config.metrics_listen, runs, "--metrics-listen"),
    );
    match storage::open(&config.store).await {
        Err(error) => found("store", Verdict::Wrong(format!("{error:#}"))),
        Ok(store) => {
            found("store", Verdict::Fine(store.location()));
            examine_store(&*store, &mut found).await;
        }
    }
    found("clock", clock(&config.store).await);
}

fn verdict(outcome: anyhow::Result<()>, fine: &str) -> Verdict {
    match outcome {
        Ok(()) => Verdict::Fine(fine.to_owned()),
        Err(error) => Verdict::Wrong(format!("{error:#}")),
    }
}

fn keys(given: &[Secret], file: Option<&Path>, without: &str) -> Verdict {
    match Keys::new(given, file) {
        Ok(keys) if keys.are_needed() => Verdict::Fine("there are some".to_owned()),
        Ok(_) => Verdict::Fine(without.to_owned()),
        Err(error) => Verdict::Wrong(format!("{error:#}")),
    }
}

/// Whether a certificate that expires then is good for a while yet.
fn certificate(expires_at_s: Option<u64>, now_s: u64) -> Verdict {
    let Some(expires_at_s) = expires_at_s else {
        return Verdict::Fine("the files read, and the key fits".to_owned());
    };
    let left = Duration::from_secs(expires_at_s.saturating_sub(now_s));
    let hours = left.as_secs() / (60 * 60);
    if left.is_zero() {
        Verdict::Wrong(
            "a certificate of the chain has expired: renew it; it is read again without a restart"
                .to_owned(),
        )
    } else if left < EXPIRES_SOON {
        Verdict::Wrong(format!(
            "a certificate of the chain expires within {} h: see why it is not renewed",
            hours + 1
        ))
    } else {
        Verdict::Fine(format!(
            "the files read, the key fits, and the chain is good for {} days",
            hours / 24
        ))
    }
}

fn port(address: SocketAddr, runs: bool, option: &str) -> Verdict {
    match TcpListener::bind(address) {
        Ok(_) => Verdict::Fine(format!("{address} is free")),
        Err(_) if runs => {
            Verdict::Fine(format!("{address} is taken, and the service runs already"))
        }
        Err(error) => Verdict::Wrong(format!(
            "{address}: {error}; end what has it, or set {option}"
        )),
    }
}

/// Does whatever the service does with a store, at a key that nobody else has.
async fn examine_store(store: &dyn Store, found: &mut impl FnMut(&'static str, Verdict)) {
    for (what, scope) in [
        ("store: list", ListScope::Root),
        ("store: list the journal", ListScope::Journal),
    ] {
        let listed = store.list(scope).await;
        found(
            what,
            verdict(
                listed.map(drop).map_err(Into::into),
                "s3:ListBucket is allowed, or the folder reads",
            ),
        );
    }
    let id = SegmentId::random(SystemClock.wall_ms());
    storage::probe_steps(store, id, |step, outcome| {
        found(step, verdict(outcome, "works"));
    })
    .await;
}

/// Compares the clock with S3's.
async fn clock(place: &str) -> Verdict {
    if !place.starts_with("s3://") {
        return Verdict::NotChecked("a folder has no clock to compare with".to_owned());
    }
    let endpoint = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok());
    let server = endpoint.unwrap_or_else(|| "https://s3.amazonaws.com".to_owned());
    match time_of(&server).await {
        Some(time_ms) => compare(SystemClock.wall_ms(), time_ms, &server),
        None => Verdict::NotChecked(format!("{server} does not tell its time")),
    }
}

/// The server's time, in milliseconds since 1970; any answer carries it.
async fn time_of(server: &str) -> Option<u64> {
    let client = reqwest::Client::builder()
        .timeout(TIME_WITHIN)
        .build()
        .ok()?;
    let answer = client.head(server).send().await.ok()?;
    let date = answer.headers().get(reqwest::header::DATE)?.to_str().ok()?;
    let time = jiff::fmt::rfc2822::parse(date).ok()?;
    u64::try_from(time.timestamp().as_millisecond()).ok()
}

fn compare(ours_ms: u64, theirs_ms: u64, server: &str) -> Verdict {
    let off = Duration::from_millis(ours_ms.abs_diff(theirs_ms));
    // The header is cut to whole seconds.
    if off <= CLOCK_OFF_MAX + Duration::from_secs(1) {
        Verdict::Fine(format!("it agrees with that of {server}"))
    } else {
        Verdict::Wrong(format!(
            "it is {} s off that of {server}; set it, and keep it by NTP",
            off.as_secs()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_is_about_to_expire_is_told_of() {
        let now = 1_600_000_000;
        let day = 24 * 60 * 60;
        assert!(
            matches!(certificate(Some(now + 30 * day), now), Verdict::Fine(what) if what.contains("30 days"))
        );
        assert!(
            matches!(certificate(Some(now + day), now), Verdict::Wrong(why) if why.contains("within 25 h"))
        );
        assert!(
            matches!(certificate(Some(now - 1), now), Verdict::Wrong(why) if why.contains("expired"))
        );
        assert!(matches!(certificate(None, now), Verdict::Fine(_)));
    }

    #[test]
    fn a_clock_may_be_seconds_off_and_no_more() {
        let now = 1_600_000_000_000;
        assert!(matches!(compare(now + 6000, now, "s"), Verdict::Fine(_)));
        assert!(
            matches!(compare(now, now + 6001, "s"), Verdict::Wrong(why) if why.contains("NTP"))
        );
    }
}
