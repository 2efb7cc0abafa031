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
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpSocket;
use tokio::sync::watch;

use crate::cli::simulate;
use crate::config::{Config, ConnectionLimits};
use crate::http::{self, AppState, RequestKeys};
use crate::keys::Keys;
use crate::ledger::Ledger;
use crate::ledger::clock::SystemClock;
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

/// The bounds of the durations' buckets, in seconds: from a commit on a fast disk to a delivery's deadline.
const DURATION_BUCKETS_SECONDS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 20.0, 60.0,
];

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
        (Some(chain), Some(key)) => Some(Tls::open(chain, key)?),
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
        config.ledger(),
        Arc::new(InstrumentedStore(store)),
        Arc::new(SystemClock),
        rand::random(),
    );
    let (stop, stopping) = watch::channel(false);
    let app = AppState::new(ledger, config.clone(), keys.clone(), stopping.clone());
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
    if let Some(racers) = config.demo {
        tokio::spawn(demo(
            keys.access,
            config.classes,
            address,
            racers,
            stopped(stopping.clone()),
        ));
    }
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

/// Sees that these files hold a certificate chain and its key. When the first of the certificates expires, in seconds
/// since 1970, where one does.
pub(crate) fn check_tls(chain: &Path, key: &Path) -> anyhow::Result<Option<u64>> {
    Tls::open(chain, key).map(|tls| tls.expires_at_s())
}

/// The OpenAPI 3.1 document of the HTTP API, as `openapi/openapi.json` has it.
pub fn openapi() -> String {
    http::document_text()
}

/// Metrics: recorded from its making on, and served once there is a service.
pub struct Metrics {
    recorded: PrometheusHandle,
    listener: Option<TcpListener>,
}

impl Metrics {
    /// Records metrics from now on, to be served on that address. Where another process has it, the service goes on
    /// without: several instances on one machine share the default.
    pub fn listen(address: SocketAddr) -> anyhow::Result<Self> {
        let recorded = PrometheusBuilder::new()
            .set_buckets(&DURATION_BUCKETS_SECONDS)?
            .install_recorder()
            .context("metrics cannot be recorded")?;
        http::metrics::describe();
        let listener = TcpListener::bind(address);
        match listener.as_ref().map(TcpListener::local_addr) {
            Ok(Ok(address)) => tracing::info!("metrics on http://{address}/metrics"),
            Ok(Err(error)) => return Err(error).context("the metrics' listener has no address"),
            Err(error) => {
                tracing::warn!(%address, %error, "metrics are not served: set --metrics-listen");
            }
        }
        Ok(Self {
            recorded,
            listener: listener.ok(),
        })
    }

    fn serve(self, app: AppState) -> anyhow::Result<()> {
        let upkeep = self.recorded.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(UPKEEP_EVERY).await;
                upkeep.run_upkeep();
            }
        });
        let Some(listener) = self.listener else {
            return Ok(());
        };
        let limits = ConnectionLimits::default();
        let server =
            axum_server::from_tcp(listener).context("the metrics' listener cannot be used")?;
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

/// Races of simulated racers, through the real endpoint.
async fn demo(
    keys: Keys,
    classes: u16,
    address: SocketAddr,
    racers: u32,
    stopped: impl Future<Output = ()>,
) {
    let url = format!("http://{address}/firehose")
        .parse()
        .expect("an address makes a URL");
    let key = keys.any().map(|key| {
        key.reveal()
            .parse()
            .expect("a key that is taken can be sent")
    });
    if let Err(error) = simulate::demo(url, key, racers, classes, stopped).await {
        tracing::error!(%error, "the demo's racers cannot ride");
    }
}
