//! The service as a whole: the ledger and the HTTP server over it, from start to stop.

pub(crate) mod connections;
mod listen;
mod metrics_listener;
pub(crate) mod tls;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum_server::Handle;
use axum_server::tls_rustls::RustlsAcceptor;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::config::Config;
use crate::domain::effort::Bounds;
use crate::http::{self, AppState, RequestKeys, SharedState, Stopping};
use crate::ledger::clock::SystemClock;
use crate::ledger::{Ledger, LedgerOptions};
use crate::server::listen::http1_server;
use crate::server::tls::Tls;
use crate::storage::{InstrumentedStore, Store};

pub use listen::listen;
pub use metrics_listener::Metrics;

/// Maximum time for requests and the last snapshot once the service stops. Then connections are
/// closed. Orchestrators kill after 10 s or later.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(8);

/// Serves on `listener` over `store` until `shutdown` resolves, and `metrics` on their own port.
/// Then it finishes the running deliveries, takes a last snapshot, closes the port, and returns.
/// The port accepts connections at once; `/readyz` and deliveries wait for recovery. While it
/// stops, `/readyz` is 503, so that a load balancer sends requests elsewhere.
pub async fn serve(
    config: Config,
    listener: TcpListener,
    store: Arc<dyn Store>,
    metrics: Option<Metrics>,
    shutdown: impl Future<Output = ()> + Send,
) -> anyhow::Result<()> {
    config.validate()?;
    let keys = RequestKeys::new(&config)?;
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
    let scheme = if tls.is_some() { "https" } else { "http" };
    let location = store.location();
    let config = Arc::new(config);
    let (ledger, worker) = Ledger::new(
        LedgerOptions::from(&*config),
        Arc::new(InstrumentedStore(store)),
        Arc::new(SystemClock),
        rand::random(),
    );
    let (stop, stopping) = watch::channel(None);
    let app = SharedState::new(ledger, config.clone(), keys, stopping.clone());
    if let Some(metrics) = metrics {
        metrics.serve(app.clone())?;
    }
    let purpose = if app.ledger.is_read_only() {
        "reading records of"
    } else {
        "keeping records in"
    };
    tracing::info!("listening on {scheme}://{address}, {purpose} {location}");
    let handle = Handle::new();
    let admission = app.admission.clone();
    let server = serve_http(app, listener, tls, handle.clone(), stopping.clone())?;
    let mut worker = tokio::spawn(worker.run(http::stopped(stopping).map(drop)));
    tokio::pin!(server);
    tokio::select! {
        () = shutdown => {}
        ended = &mut server => ended.context("the server failed")?,
        ended = &mut worker => {
            ended.context("the ledger failed")??;
            anyhow::bail!("the ledger ended by itself");
        }
    }
    tracing::info!("stopping");
    let stopped_at = Instant::now();
    let deadline = stopped_at + SHUTDOWN_TIMEOUT;
    stop.send_replace(Some(stopped_at));
    let settle = async {
        let settled = async { tokio::join!(worker, admission.deliveries_ended()).0 };
        let worker = tokio::time::timeout_at(deadline, settled).await;
        handle.graceful_shutdown(Some(deadline.duration_since(Instant::now())));
        worker
    };
    let (server, worker) = tokio::join!(server, settle);
    server.context("the server failed")?;
    match worker {
        Ok(ended) => ended.context("the ledger failed")??,
        Err(_) => tracing::warn!("stopped before the last snapshot; the journal has everything"),
    }
    Ok(())
}

/// Serves HTTP, over TLS if there is a certificate.
fn serve_http(
    app: AppState,
    listener: TcpListener,
    tls: Option<Tls>,
    handle: Handle<SocketAddr>,
    stopping: Stopping,
) -> anyhow::Result<BoxFuture<'static, std::io::Result<()>>> {
    let limits = app.config.limits;
    let server = http1_server(listener, limits.connections_max, limits)?.handle(handle);
    let service = http::router(app).into_make_service();
    let Some(tls) = tls else {
        return Ok(server.serve(service).boxed());
    };
    let acceptor = RustlsAcceptor::new(tls.config()).handshake_timeout(limits.first_header_timeout);
    tokio::spawn(async move {
        tokio::select! {
            () = tls.watch() => {}
            _ = http::stopped(stopping) => {}
        }
    });
    let server = server.map(|limited| acceptor.acceptor(limited));
    Ok(server.serve(service).boxed())
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
            races_kept: config.races_kept,
            read_only: config.read_only,
        }
    }
}

/// Returns the OpenAPI 3.1 document of the HTTP API, as in `openapi/openapi.json`.
pub fn openapi() -> String {
    http::document_text()
}
