//! Concurrent deliveries, with every outcome recorded in a model.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use alleycat::firehose_client::{Backoff, ClientOptions, FirehoseClient};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::model::{Model, records, some_efforts};
use crate::support::DEADLINE;
use crate::support::instance::Instance;

pub fn sender(instance: &Instance, limits: Duration) -> FirehoseClient {
    let backoff = Backoff {
        first: Duration::from_millis(5),
        max: Duration::from_millis(50),
        total: limits,
    };
    let to = instance.url("/firehose").parse().unwrap();
    FirehoseClient::new(ClientOptions {
        backoff,
        ..ClientOptions::new(to)
    })
    .unwrap()
}

/// Concurrent deliveries until stopped.
pub struct Load {
    pub model: Arc<Mutex<Model>>,
    /// Number of acknowledged deliveries.
    pub acknowledged: watch::Sender<usize>,
    stop: watch::Sender<bool>,
    drivers: JoinSet<()>,
}

impl Load {
    pub fn new() -> Self {
        let (acknowledged, stop) = (watch::Sender::new(0), watch::Sender::new(false));
        Self {
            model: Arc::default(),
            acknowledged,
            stop,
            drivers: JoinSet::new(),
        }
    }

    /// Adds a driver that sends one delivery after another.
    pub fn drive(&mut self, sender: FirehoseClient, seed: u64) {
        let (model, count) = (self.model.clone(), self.acknowledged.clone());
        let (mut others, mut stop) = (self.acknowledged.subscribe(), self.stop.subscribe());
        let mut chance = StdRng::seed_from_u64(seed);
        self.drivers.spawn(async move {
            while !*stop.borrow() {
                let efforts = some_efforts(&mut chance);
                model.lock().unwrap().send(&efforts);
                let records: Vec<_> = records(&efforts).iter().map(ToString::to_string).collect();
                if sender.deliver(records).await.is_ok() {
                    model.lock().unwrap().acknowledge(&efforts);
                    count.send_modify(|count| *count += 1);
                    continue;
                }
                // Given up: its outcome stays unknown. Waits for another driver's success.
                others.mark_unchanged();
                tokio::select! {
                    _ = others.changed() => {}
                    _ = stop.changed() => {}
                }
            }
        });
    }

    /// Waits until `more` further deliveries are acknowledged.
    pub async fn wait_for_acknowledged(&self, more: usize) {
        let mut count = self.acknowledged.subscribe();
        let goal = *count.borrow() + more;
        let reached = tokio::time::timeout(DEADLINE, count.wait_for(|&count| count >= goal));
        reached
            .await
            .unwrap_or_else(|_| panic!("{more} more deliveries are not acknowledged"))
            .unwrap();
    }

    /// Stops the drivers and waits for their last deliveries.
    pub async fn end(self) -> Model {
        self.stop.send_replace(true);
        let ending = self.drivers.join_all();
        tokio::time::timeout(DEADLINE, ending)
            .await
            .expect("the deliveries are settled");
        Arc::into_inner(self.model).unwrap().into_inner().unwrap()
    }
}
