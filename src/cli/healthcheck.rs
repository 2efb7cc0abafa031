//! `alleycat healthcheck`: asks the service on this machine whether it is ready, for a container's health check.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

/// Maximum time for the answer: Docker's health check itself times out after 5 s.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);

/// The options of `alleycat healthcheck`: those of `alleycat serve` that say where it is.
#[derive(Args, Clone, Debug)]
pub struct HealthcheckOptions {
    /// The address that the service listens on.
    #[arg(long, env = "ALLEYCAT_LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,

    /// The service's certificate; that there is one says that it speaks TLS.
    #[arg(long, env = "ALLEYCAT_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
}

/// Asks `/readyz`.
///
/// # Errors
/// It does not answer, or is not ready: a sentence for a person.
pub async fn ask(options: &HealthcheckOptions) -> anyhow::Result<()> {
    let answer = get(options, "/readyz").await?;
    let status = answer.status();
    anyhow::ensure!(
        status.is_success(),
        "{status}: {}",
        answer.text().await.unwrap_or_default()
    );
    Ok(())
}

/// Whether the service runs there, ready or not.
pub(crate) async fn is_there(options: &HealthcheckOptions) -> bool {
    let Ok(answer) = get(options, "/healthz").await else {
        return false;
    };
    answer.status().is_success() && answer.text().await.is_ok_and(|text| text == "ok")
}

async fn get(options: &HealthcheckOptions, path: &str) -> anyhow::Result<reqwest::Response> {
    let address = reachable(options.listen);
    let scheme = if options.tls_cert.is_some() {
        "https"
    } else {
        "http"
    };
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(ANSWER_WITHIN)
        // No certificate is for a loopback address, and nobody else can listen there.
        .tls_danger_accept_invalid_certs(address.ip().is_loopback())
        .build()?;
    Ok(client
        .get(format!("{scheme}://{address}{path}"))
        .send()
        .await?)
}

/// Where a listener on that address is reached from this machine.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        let loopback: IpAddr = if address.is_ipv4() {
            Ipv4Addr::LOCALHOST.into()
        } else {
            Ipv6Addr::LOCALHOST.into()
        };
        address.set_ip(loopback);
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_everywhere_is_asked_on_loopback() {
        for (listen, asked) in [
            ("0.0.0.0:80", "127.0.0.1:80"),
            ("[::]:81", "[::1]:81"),
            ("10.0.0.1:82", "10.0.0.1:82"),
        ] {
            assert_eq!(reachable(listen.parse().unwrap()), asked.parse().unwrap());
        }
    }
}
