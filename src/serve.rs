//! The service as a whole: the ledger and its HTTP face, from start to stop.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum_server::Handle;
use tokio::sync::watch;

use crate::clock::SystemClock;
use crate::config::Config;
use crate::http::{self, App};
use crate::ledger::Ledger;
use crate::simulate;
use crate::store::Store;

/// How long what is under way may take once the service stops; then connections are cut.
const GRACE: Duration = Duration::from_secs(8);

/// Serves on `listener` over `store` until `shutdown` resolves, then finishes what is under way, takes a last snapshot,
/// and returns. The port answers at once; `/readyz` and deliveries wait for the recovery.
pub async fn serve(
    config: Config,
    listener: TcpListener,
    store: Arc<dyn Store>,
    shutdown: impl Future<Output = ()> + Send,
) -> anyhow::Result<()> {
    config.validate()?;
    listener.set_nonblocking(true).context("the listener cannot be used without blocking")?;
    let address = listener.local_addr().context("the listener has no address")?;
    let config = Arc::new(config);
    let (ledger, worker) = Ledger::new(config.ledger(), store, Arc::new(SystemClock), rand::random());
    let app = App::new(ledger, config.clone());

    let (stop, stopping) = watch::channel(false);
    let stopped = |mut stopping: watch::Receiver<bool>| async move {
        let _ = stopping.wait_for(|stop| *stop).await; // an error means the sender is gone: stop as well
    };
    let handle = Handle::new();
    let server = axum_server::from_tcp(listener)
        .context("the listener cannot be used")?
        .handle(handle.clone())
        .serve(http::router(app).into_make_service());
    let mut working = tokio::spawn(worker.run(stopped(stopping.clone())));
    if let Some(racers) = config.demo {
        tokio::spawn(demo(config.clone(), address, racers, stopped(stopping.clone())));
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
        Err(_) => tracing::warn!("stopped before the last snapshot was done; the journal has everything"),
    }
    Ok(())
}

/// Races of simulated racers, through the real endpoint.
async fn demo(config: Arc<Config>, address: SocketAddr, racers: u32, stopped: impl Future<Output = ()>) {
    let url = format!("http://{address}/firehose").parse().expect("an address makes a URL");
    let key = config.access_keys.first().map(|key| key.reveal().parse().expect("a key that is taken can be sent"));
    if let Err(error) = simulate::demo(url, key, racers, config.classes, stopped).await {
        tracing::error!(%error, "the demo's racers cannot ride");
    }
}
