//! `alleycat serve`: the service over its store, and the demo's racers beside it.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures_util::FutureExt;

use crate::cli::healthcheck::{self, HealthcheckOptions};
use crate::cli::simulate;
use crate::config::{ClassNames, Config};
use crate::firehose_client::AccessKey;
use crate::ledger::clock::{Clock, SystemClock};
use crate::ledger::start_retries::StartRetries;
use crate::server;
use crate::storage::{self, SegmentId, Store};

/// Pause between two questions whether the service is ready for the demo.
const READY_INTERVAL: Duration = Duration::from_millis(100);

/// Serves until `shutdown` resolves, and returns after an orderly stop.
///
/// # Errors The options contradict each other, the store is unusable, a port is in use, or the
/// service failed.
pub async fn run(
    mut config: Config,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    config.validate()?;
    let shutdown = shutdown.shared();
    let store = tokio::select! {
        () = shutdown.clone() => return Ok(()),
        store = wait_for_store(&config) => store,
    };
    let store = store.with_context(|| format!("--store {}", config.store))?;
    let listener = server::listen(config.listen).with_context(|| {
        let address = config.listen;
        format!("cannot listen on {address}: stop the process that listens there, or set --listen")
    })?;
    let metrics = server::Metrics::listen(config.metrics_listen)?;
    if let Some(racers) = config.demo {
        if config.class_names == ClassNames::default() {
            config.class_names = ClassNames::new(demo_class_names(config.classes));
        }
        start_demo(&mut config, racers, &listener, shutdown.clone())?;
    }
    server::serve(config, listener, store, Some(metrics), shutdown).await
}

/// The names of the demo's classes, unless `--class-names` gives others.
const DEMO_CLASS_NAMES: [&str; 6] = [
    "Sunrise Spin",
    "Hill Repeats",
    "Lunch Sprint",
    "Tempo Hour",
    "Evening Climb",
    "Midnight Crit",
];

/// Returns names for as many of the classes as there are.
fn demo_class_names(classes: u16) -> &'static [&'static str] {
    &DEMO_CLASS_NAMES[..DEMO_CLASS_NAMES.len().min(usize::from(classes))]
}

/// Opens the store. An outage is waited out, as later in the start. The log names the endpoint at
/// once: it may be a wrong one.
async fn wait_for_store(config: &Config) -> anyhow::Result<Arc<dyn Store>> {
    let mut retries = StartRetries::new(&SystemClock);
    loop {
        match open_store(config).await {
            Err(error) if storage::is_outage(&error) && retries.may_go_on() => {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "store failed at the start; retrying"
                );
            }
            opened => return opened,
        }
        retries.pause().await;
    }
}

/// Opens the store. Unless it is only read, checks that it can be written and respects preconditions.
async fn open_store(config: &Config) -> anyhow::Result<Arc<dyn Store>> {
    if config.read_only {
        return storage::open_read_only(&config.store).await;
    }
    let store = storage::open(&config.store).await?;
    storage::probe(&*store, SegmentId::random(SystemClock.wall_ms())).await?;
    Ok(store)
}

/// Lets simulated racers race in the background, through the service's own endpoint, from when it
/// is ready until `shutdown` resolves.
fn start_demo(
    config: &mut Config,
    racers: u32,
    listener: &TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let listening = listener
        .local_addr()
        .context("the listener has no address")?;
    let address = healthcheck::local_address(listening);
    let url = format!("http://{address}/firehose")
        .parse()
        .expect("an address makes a URL");
    let key = demo_key(config);
    let (classes, second_max) = (config.classes, config.max_second);
    let is_ready = async move {
        let options = HealthcheckOptions {
            listen: address,
            tls_cert: None,
        };
        while healthcheck::run(&options).await.is_err() {
            tokio::time::sleep(READY_INTERVAL).await;
        }
    };
    tokio::spawn(async move {
        let races = async {
            is_ready.await;
            simulate::demo(url, key, racers, classes, second_max).await
        };
        let result = tokio::select! {
            result = races => result,
            () = shutdown => Ok(()),
        };
        if let Err(error) = result {
            tracing::error!(%error, "cannot start the demo");
        }
    });
    Ok(())
}

/// Adds a random access key for the demo, if deliveries need one. The operator's keys may change
/// meanwhile, and none of them leaves this process.
fn demo_key(config: &mut Config) -> Option<AccessKey> {
    if config.access_keys.is_empty() && config.access_key_file.is_none() {
        return None;
    }
    let key = format!("{:032x}", rand::random::<u128>());
    let secret = key.parse().expect("digits are a key");
    config.access_keys.push(secret);
    Some(key.parse().expect("digits can be sent in a header"))
}
