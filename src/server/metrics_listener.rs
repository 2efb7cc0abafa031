//! The port of `/metrics`. It is apart from the service's, so that metrics are never public by
//! accident.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use anyhow::Context;
use metrics_exporter_prometheus::PrometheusHandle;

use crate::config::ServiceLimits;
use crate::http::{self, AppState};
use crate::observability;
use crate::server::listen::http1_server;

/// Maximum number of connections to the metrics port: a handful of collectors, and a person.
const METRICS_CONNECTIONS_MAX: usize = 64;

/// Interval at which recorded durations are moved into their histograms. Without it they would pile
/// up until somebody asks for metrics.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Metrics, recorded from the construction on, and served once there is a service.
pub struct Metrics {
    recorded: PrometheusHandle,
    listener: TcpListener,
}

impl Metrics {
    /// Starts to record metrics, and opens the port on which they will be served.
    ///
    /// # Errors
    /// The address cannot be listened on, or metrics are recorded already.
    pub fn listen(address: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address).with_context(|| {
            format!(
                "cannot serve metrics on {address}: stop the process that listens there, or set \
                 --metrics-listen"
            )
        })?;
        let address = listener
            .local_addr()
            .context("the metrics listener has no address")?;
        let recorded = observability::install_recorder().context("cannot record metrics")?;
        http::metrics::init_counters();
        tracing::info!("metrics on http://{address}/metrics");
        Ok(Self { recorded, listener })
    }

    /// Serves the metrics until the process ends.
    pub(super) fn serve(self, app: AppState) -> anyhow::Result<()> {
        let upkeep = self.recorded.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(UPKEEP_INTERVAL).await;
                upkeep.run_upkeep();
            }
        });
        let limits = ServiceLimits::default();
        let server = http1_server(self.listener, METRICS_CONNECTIONS_MAX, limits)?;
        let router = http::metrics::router(self.recorded, app);
        tokio::spawn(server.serve(router.into_make_service()));
        Ok(())
    }
}
