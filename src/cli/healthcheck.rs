//! `alleycat healthcheck`: asks the service on this machine whether it is ready, for a container's
//! health check.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use crate::config::socket_address;
use crate::firehose_client::http_client_builder;

/// Maximum time to the response: Docker's health check itself times out after 5 s.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(4);

/// The options of `alleycat healthcheck`: those of `alleycat serve` that say where it listens.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Exit status: 0 when the service is ready, else 1.\n\n\
    Example:\n  alleycat healthcheck --listen 127.0.0.1:8080")]
pub struct HealthcheckOptions {
    /// Address that the service listens on: HOST:PORT, or :PORT.
    #[arg(
        long,
        env = "ALLEYCAT_LISTEN",
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:8080",
        value_parser = socket_address
    )]
    pub listen: SocketAddr,

    /// File of the service's TLS certificate. With it, the check uses HTTPS.
    #[arg(long, env = "ALLEYCAT_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
}

/// Gets `/readyz`.
///
/// # Errors
/// The service does not respond, or is not ready: one line that says why.
pub async fn run(options: &HealthcheckOptions) -> anyhow::Result<()> {
    let response = get(options, "/readyz").await?;
    let status = response.status();
    anyhow::ensure!(
        status.is_success(),
        "not ready: status {status}: {}",
        response.text().await.unwrap_or_default()
    );
    Ok(())
}

/// Returns whether the service runs there, ready or not.
pub(crate) async fn is_running(options: &HealthcheckOptions) -> bool {
    let Ok(response) = get(options, "/healthz").await else {
        return false;
    };
    response.status().is_success() && response.text().await.is_ok_and(|text| text == "ok")
}

/// Returns whether the service's metrics are served at that address.
pub(crate) async fn serves_metrics(listen: SocketAddr) -> bool {
    let options = HealthcheckOptions {
        listen,
        tls_cert: None,
    };
    let Ok(response) = get(&options, "/metrics").await else {
        return false;
    };
    response
        .text()
        .await
        .is_ok_and(|text| text.contains("alleycat_"))
}

async fn get(options: &HealthcheckOptions, path: &str) -> anyhow::Result<reqwest::Response> {
    let address = local_address(options.listen);
    let scheme = if options.tls_cert.is_some() {
        "https"
    } else {
        "http"
    };
    let client = http_client_builder()
        .no_proxy()
        .timeout(RESPONSE_TIMEOUT)
        // No certificate names a loopback address, and no other machine can listen there.
        .tls_danger_accept_invalid_certs(address.ip().is_loopback())
        .build()?;
    let url = format!("{scheme}://{address}{path}");
    client
        .get(&url)
        .send()
        .await
        .map_err(reqwest::Error::without_url)
        .with_context(|| format!("cannot get {url}"))
}

/// Returns the address at which this machine reaches a listener on that address.
pub(crate) fn local_address(mut address: SocketAddr) -> SocketAddr {
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
    fn listener_on_all_addresses_is_reached_on_loopback() {
        for (listen, local) in [
            ("0.0.0.0:80", "127.0.0.1:80"),
            ("[::]:81", "[::1]:81"),
            ("10.0.0.1:82", "10.0.0.1:82"),
        ] {
            let listen = listen.parse().expect(listen);
            assert_eq!(local_address(listen), local.parse().expect(local));
        }
    }
}
