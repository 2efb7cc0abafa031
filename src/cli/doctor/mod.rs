//! `alleycat doctor`: checks whether the service would run here with these options, and says what
//! to fix.
//!
//! Each check does what the service will do: files are read, ports are opened and closed, and the
//! store is listed, written under both conditions, read and deleted from, at a key of its own. A
//! folder that the service uses is left as it is. For one that is no store yet, a temporary folder in it, or
//! in the nearest one above it that exists, is used.

mod clock;
mod folder;
mod objects;
mod store;

use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use clap::builder::BoolishValueParser;

use crate::cli::healthcheck::{self, HealthcheckOptions};
use crate::config::Config;
use crate::keys::{self, Keys};
use crate::ledger::clock::{Clock, SystemClock};
use crate::server::tls::Tls;
use crate::storage;

/// Minimum time to a certificate's expiry. By then it should have been renewed: certificates of six
/// days are renewed after four, most others after two thirds of their time.
const EXPIRY_MIN: Duration = Duration::from_hours(36);

/// The options of `alleycat doctor`: those of `alleycat serve`, and its own.
#[derive(clap::Args, Clone, Debug)]
pub struct DoctorOptions {
    /// The options of `alleycat serve`.
    #[command(flatten)]
    pub config: Config,

    /// Read every stored object as the start does, and name those that cannot be read. Nothing is
    /// changed. It takes as long as a start, and is safe beside the service.
    #[arg(long, env = "ALLEYCAT_DOCTOR_READ_OBJECTS", value_parser = BoolishValueParser::new())]
    pub read_objects: bool,
}

/// The result of one check. Its text form is a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The subject of the check.
    pub subject: &'static str,
    /// The result.
    pub verdict: Verdict,
}

/// The result of a check, with an explanation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The service can run with it.
    Pass(String),
    /// The service can run with it, but should not.
    Warn(String),
    /// Not checked, for that reason.
    Skip(String),
    /// The service cannot run with it, or not for long; the text says what to fix.
    Fail(String),
}

impl Finding {
    /// Returns whether the check failed.
    pub fn is_failure(&self) -> bool {
        matches!(self.verdict, Verdict::Fail(_))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, text) = match &self.verdict {
            Verdict::Pass(text) => ("pass", text),
            Verdict::Warn(text) => ("warn", text),
            Verdict::Skip(text) => ("skip", text),
            Verdict::Fail(text) => ("FAIL", text),
        };
        write!(f, "{word}  {:<28} {text}", self.subject)
    }
}

impl Verdict {
    /// Passes with that text, or fails with the error and its causes.
    fn of<T>(result: anyhow::Result<T>, pass: &str) -> Self {
        match result {
            Ok(_) => Self::Pass(pass.to_owned()),
            Err(error) => Self::Fail(format!("{error:#}")),
        }
    }
}

/// Runs all checks, and passes each finding to `report` at once.
pub async fn run(options: &DoctorOptions, mut report: impl FnMut(Finding)) {
    let config = &options.config;
    let mut report = |subject, verdict| report(Finding { subject, verdict });
    report(
        "configuration",
        Verdict::of(config.validate(), "the options agree with each other"),
    );
    let mut kinds = Vec::new();
    for (subject, given, file, without) in [
        (
            "access keys",
            &config.access_keys,
            &config.access_key_file,
            if config.read_only {
                "none: nothing is delivered"
            } else {
                "none: every program on this machine may deliver"
            },
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
            "none: everybody may read",
        ),
    ] {
        let keys = Keys::new(given, file.as_deref());
        report(subject, keys_verdict(&keys, without));
        kinds.extend(keys);
    }
    let kinds: Option<[Keys; 3]> = kinds.try_into().ok();
    if let Some(problem) = kinds.and_then(|kinds| keys::shared_key(kinds.each_ref())) {
        report("keys", Verdict::Warn(problem));
    }
    report("TLS", tls(config));
    let is_running = is_running(config).await;
    report("port", port(config.listen, is_running, "--listen"));
    let serves_metrics = is_running && healthcheck::serves_metrics(config.metrics_listen).await;
    report(
        "metrics port",
        port(config.metrics_listen, serves_metrics, "--metrics-listen"),
    );
    store::check(options, is_running, &mut report).await;
    report("clock", clock::check(&config.store).await);
}

/// Returns whether the service runs with these options. A folder is locked by the service that uses
/// it: without that, another service has the port.
async fn is_running(config: &Config) -> bool {
    let options = HealthcheckOptions {
        listen: config.listen,
        tls_cert: config.tls_cert.clone(),
    };
    let is_locked = match storage::folder_of(&config.store) {
        Ok(Some(path)) => config.read_only || folder::is_locked(path),
        _ => true,
    };
    is_locked && healthcheck::is_running(&options).await
}

fn keys_verdict(keys: &anyhow::Result<Keys>, without: &str) -> Verdict {
    match keys {
        Ok(keys) if keys.are_needed() => Verdict::Pass("required".to_owned()),
        Ok(_) => Verdict::Pass(without.to_owned()),
        Err(error) => Verdict::Fail(format!("{error:#}")),
    }
}

fn tls(config: &Config) -> Verdict {
    let (Some(chain), Some(key)) = (&config.tls_cert, &config.tls_key) else {
        return Verdict::Pass(
            "none: a load balancer or proxy must speak HTTPS, which Firehose requires".to_owned(),
        );
    };
    match Tls::open(chain, key) {
        Ok(tls) => certificate(tls.expires_at_s(), SystemClock.wall_ms() / 1000),
        Err(error) => Verdict::Fail(format!("{error:#}")),
    }
}

/// Checks the time to the first expiry of a certificate chain.
fn certificate(expires_at_s: Option<u64>, now_s: u64) -> Verdict {
    let Some(expires_at_s) = expires_at_s else {
        return Verdict::Pass("the files are readable, and the key fits".to_owned());
    };
    let left = Duration::from_secs(expires_at_s.saturating_sub(now_s));
    let hours = left.as_secs() / (60 * 60);
    if left.is_zero() {
        Verdict::Fail(
            "a certificate of the chain has expired: renew it; the service reads it again without \
             a restart"
                .to_owned(),
        )
    } else if left < EXPIRY_MIN {
        Verdict::Fail(format!(
            "a certificate of the chain expires within {} h: find out why it is not renewed",
            hours + 1
        ))
    } else {
        Verdict::Pass(format!(
            "the files are readable, the key fits, and the chain is valid for {} days",
            hours / 24
        ))
    }
}

fn port(address: SocketAddr, is_running: bool, option: &str) -> Verdict {
    match TcpListener::bind(address) {
        Ok(_) => Verdict::Pass(format!("{address} is free")),
        Err(_) if is_running => Verdict::Pass(format!("{address} is in use by the service")),
        Err(error) => Verdict::Fail(format!(
            "{address}: {error}; stop the process that listens there, or set {option}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificate_that_expires_soon_fails() {
        const DAY_S: u64 = 24 * 60 * 60;
        let now = 1_600_000_000;
        for (expires_at_s, result) in [
            (now + 30 * DAY_S, Ok("30 days")),
            (now + DAY_S, Err("within 25 h")),
            (now - 1, Err("expired")),
        ] {
            match (certificate(Some(expires_at_s), now), result) {
                (Verdict::Pass(text), Ok(part)) | (Verdict::Fail(text), Err(part)) => {
                    assert!(text.contains(part), "{text}");
                }
                (verdict, _) => panic!("{verdict:?}"),
            }
        }
        assert!(matches!(certificate(None, now), Verdict::Pass(_)));
    }
}
