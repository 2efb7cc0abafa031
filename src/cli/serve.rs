//! `alleycat serve`: the service over its store, and the demo's racers beside it.

use std::net::TcpListener;
use std::sync::Arc;

use anyhow::Context;
use futures_util::FutureExt;

use crate::cli::simulate;
use crate::config::Config;
use crate::keys::Keys;
use crate::ledger::clock::{Clock, SystemClock};
use crate::server;
use crate::storage::{self, SegmentId, Store};

/// Serves until `shutdown` resolves, and returns after an orderly stop.
///
/// # Errors The options contradict each other, the store is unusable, a port is in use, or the
/// service failed.
pub async fn run(
    config: Config,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    config.validate()?;
    let store = open_store(&config)
        .await
        .with_context(|| format!("--store {}", config.store))?;
    let listener = server::listen(config.listen).with_context(|| {
        let address = config.listen;
        format!("cannot listen on {address}: stop the process that listens there, or set --listen")
    })?;
    let metrics = server::Metrics::listen(config.metrics_listen)?;
    let shutdown = shutdown.shared();
    if let Some(racers) = config.demo {
        start_demo(&config, racers, &listener, shutdown.clone())?;
    }
    server::serve(config, listener, store, Some(metrics), shutdown).await
}

/// Opens the store, and checks that it can be written and respects preconditions.
async fn open_store(config: &Config) -> anyhow::Result<Arc<dyn Store>> {
    let store = storage::open(&config.store).await?;
    storage::probe(&*store, SegmentId::random(SystemClock.wall_ms())).await?;
    Ok(store)
}

/// Lets simulated racers race in the background, through the service's own endpoint, until
/// `shutdown` resolves.
fn start_demo(
    config: &Config,
    racers: u32,
    listener: &TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let address = listener
        .local_addr()
        .context("the listener has no address")?;
    let url = format!("http://{address}/firehose")
        .parse()
        .expect("an address makes a URL");
    let keys = Keys::new(&config.access_keys, config.access_key_file.as_deref())?;
    let key = keys.first().map(|key| {
        key.reveal()
            .parse()
            .expect("a valid key can be sent in a header")
    });
    let classes = config.classes;
    tokio::spawn(async move {
        if let Err(error) = simulate::demo(url, key, racers, classes, shutdown).await {
            tracing::error!(%error, "cannot start the demo");
        }
    });
    Ok(())
}
