//! The service as a whole: the ledger and its HTTP face, from start to stop.

pub(crate) mod connections;
pub(crate) mod tls;

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum_server::tls_rustls::RustlsAcceptor;
use axum_server::{Handle, Server};
use futures_util::FutureExt;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpSocket;
use tokio::sync::watch;

use crate::config::{Config, ConnectionLimits};
use crate::domain::effort::Bounds;
use crate::http::{self, AppState, RequestKeys};
use crate::ledger::clock::SystemClock;
use crate::ledger::{Ledger, LedgerOptions};
use crate::observability;
use crate::server::connections::LimitedAcceptor;
use crate::server::tls::Tls;
use crate::storage::{InstrumentedStore, Store};

/// How long what is under way may take once the service stops; then connections are cut.
const GRACE: Duration = Duration::from_secs(8);

/// Maximum size of a request head. Firehose's common attributes may have 64 KB, its key 4 KB. A
/// connection reads no further ahead than this, either.
const REQUEST_HEAD_BYTES_MAX: usize = 128 << 10;

/// Connections that wait to be accepted, at most: a thousand riders' pages come at once before a race, and who finds no
/// room tries again only after a second. The standard library makes room for 128. Linux has a limit of its own, the
/// lesser counts: `net.core.somaxconn`, 4,096 since Linux 5.4 (man 2 listen).
const CONNECTIONS_WAITING_MAX: u32 = 4096;

/// Connections to the metrics' listener at a time: a handful of collectors, and somebody who looks.
const METRICS_CONNECTIONS_MAX: usize = 64;

/// The least time from one draining of what histograms were given to the next: nobody may come to ask for them.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Opens the service's port.
pub fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?; // a service that is started again need not wait for its old connections
    socket.bind(address)?;
    socket.listen(CONNECTIONS_WAITING_MAX)?.into_std()
}

/// Serves on `listener` over `store` until `shutdown` resolves, then finishes what is under way, takes a last snapshot,
/// and returns. The port answers at once; `/readyz` and deliveries wait for the recovery.
pub async fn serve(
    config: Config,
    listener: TcpListener,
    store: Arc<dyn Store>,
    shutdown: impl Future<Output = ()> + Send,
) -> anyhow::Result<()> {
    serve_seen(config, listener, store, None, shutdown).await
}

/// As [`serve`], with `metrics` to be seen by.
pub async fn serve_seen(
    config: Config,
    listener: TcpListener,
    store: Arc<dyn Store>,
    metrics: Option<Metrics>,
    shutdown: impl Future<Output = ()> + Send,
) -> anyhow::Result<()> {
    config.validate()?;
    let keys = RequestKeys::of(&config)?;
    let tls = match (&config.tls_cert, &config.tls_key) {
        (Some(chain), Some(key)) => Some(Tls::open(chain, key).context("--tls-cert, --tls-key")?),
        _ => None,
    };
    listener
        .set_nonblocking(true)
        .context("the listener cannot be used without blocking")?;
    let address = listener
        .local_addr()
        .context("the listener has no address")?;
    let server = axum_server::from_tcp(listener).context("the listener cannot be used")?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let place = store.location();
    let config = Arc::new(config);
    let (ledger, worker) = Ledger::new(
        LedgerOptions::from(&*config),
        Arc::new(InstrumentedStore(store)),
        Arc::new(SystemClock),
        rand::random(),
    );
    let (stop, stopping) = watch::channel(false);
    let app = AppState::new(ledger, config.clone(), keys, stopping.clone());
    if let Some(metrics) = metrics {
        metrics.serve(app.clone())?;
    }
    tracing::info!("listening on {scheme}://{address}, keeping records in {place}");
    let stopped = |mut stopping: watch::Receiver<bool>| async move {
        let _ = stopping.wait_for(|stop| *stop).await; // an error means the sender is gone: stop as well
    };
    let handle = Handle::new();
    let limits = config.limits;
    let server = limited(server, limits.connections_max, limits).handle(handle.clone());
    let service = http::router(app).into_make_service();
    let server = match tls {
        None => server.serve(service).boxed(),
        Some(tls) => {
            let tls_acceptor =
                RustlsAcceptor::new(tls.config()).handshake_timeout(limits.first_header_timeout);
            let mut stopping = stopping.clone();
            tokio::spawn(async move {
                tokio::select! {
                    () = tls.follow() => {}
                    _ = stopping.wait_for(|&stop| stop) => {}
                }
            });
            server
                .map(|limited| tls_acceptor.acceptor(limited))
                .serve(service)
                .boxed()
        }
    };
    let mut working = tokio::spawn(worker.run(stopped(stopping.clone())));
    tokio::pin!(server);
    tokio::select! {
        () = shutdown => {}
        ended = &mut server => ended.context("the server failed")?,
        ended = &mut working => {
            ended.context("the ledger failed")??;
            anyhow::bail!("the ledger ended by itself");
        }
    }
    tracing::info!("stopping");
    stop.send_replace(true);
    handle.graceful_shutdown(Some(GRACE));
    let (served, worked) = tokio::join!(server, tokio::time::timeout(GRACE, working));
    served.context("the server failed")?;
    match worked {
        Ok(ended) => ended.context("the ledger failed")??,
        Err(_) => {
            tracing::warn!("stopped before the last snapshot was done; the journal has everything");
        }
    }
    Ok(())
}

impl From<&Config> for LedgerOptions {
    fn from(config: &Config) -> Self {
        Self {
            bounds: Bounds {
                classes: config.classes,
                second_max: config.max_second,
            },
            racers_max: usize::try_from(config.max_racers).unwrap_or(usize::MAX),
            commit_interval: config.commit_interval,
            snapshot_interval: config.snapshot_interval,
            sync_interval: config.sync_interval,
        }
    }
}

/// Sees that these files hold a certificate chain and its key. When the first of the certificates expires, in seconds
/// since 1970, where one does.
pub(crate) fn check_tls(chain: &Path, key: &Path) -> anyhow::Result<Option<u64>> {
    Tls::open(chain, key).map(|tls| tls.expires_at_s())
}

/// The OpenAPI 3.1 document of the HTTP API, as `openapi/openapi.json` has it.
pub fn openapi() -> String {
    http::document_text()
}

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

    fn serve(self, app: AppState) -> anyhow::Result<()> {
        let upkeep = self.recorded.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(UPKEEP_EVERY).await;
                upkeep.run_upkeep();
            }
        });
        let limits = ConnectionLimits::default();
        let server =
            axum_server::from_tcp(self.listener).context("the metrics' listener cannot be used")?;
        let server = limited(server, METRICS_CONNECTIONS_MAX, limits);
        tokio::spawn(server.serve(http::metrics::router(self.recorded, app).into_make_service()));
        Ok(())
    }
}

/// Configures a server for HTTP/1.1 with these limits. A load balancer or proxy speaks HTTP/2.
fn limited(
    server: Server<SocketAddr>,
    connections_max: usize,
    limits: ConnectionLimits,
) -> Server<SocketAddr, LimitedAcceptor> {
    let mut server = server
        .http1_only()
        .first_request_timeout(limits.first_header_timeout)
        .acceptor(LimitedAcceptor::new(connections_max, limits));
    server
        .http_builder()
        .http1()
        .header_read_timeout(limits.keep_alive_timeout)
        .max_buf_size(REQUEST_HEAD_BYTES_MAX);
    server
}
