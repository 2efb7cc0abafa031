//! A simulated world of instances, riders and faults.

mod checks;
mod clients;
mod truth;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alleycat::domain::effort::{Bounds, Output};
use alleycat::ledger::{Ledger, LedgerOptions, RecoveryError};
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::bucket::Bucket;
use crate::clock::SimulatedClock;
use crate::faulty_store::{Faults, FaultyStore};
use truth::{Key, Truth};

const CLASSES: u16 = 2;
const SECOND_MAX: u32 = 3;
const RACERS: u64 = 4;

/// The schedule of a world.
#[derive(Clone, Debug)]
pub struct Plan {
    pub instances: usize,
    pub faults: Faults,
    /// Total number of deliveries.
    pub deliveries: usize,
    /// Total number of erasures.
    pub erasures: usize,
    /// Number of crashes and suspensions.
    pub events: usize,
    /// Duration over which all of these happen.
    pub span: Duration,
    /// Crashes the first instance at this step of its store.
    pub crash_after: Option<u32>,
}

impl Plan {
    pub fn short() -> Self {
        Self {
            instances: 1,
            faults: Faults::default(),
            deliveries: 6,
            erasures: 1,
            events: 0,
            span: Duration::from_secs(100),
            crash_after: None,
        }
    }

    pub fn random(seed: u64) -> Self {
        let mut chance = StdRng::seed_from_u64(seed ^ 0x706c_616e);
        let mut share = |most: f64| {
            if chance.random() {
                chance.random_range(0.0..most)
            } else {
                0.0
            }
        };
        let faults = Faults {
            failed: share(0.3),
            lost_response: share(0.3),
            late: share(0.2),
            conflict: share(0.3),
            hang: share(0.05),
        };
        Self {
            instances: chance.random_range(1..=3),
            faults,
            deliveries: chance.random_range(5..40),
            erasures: if chance.random() {
                chance.random_range(1..5)
            } else {
                0
            },
            events: chance.random_range(0..10),
            span: Duration::from_secs(chance.random_range(20..400)),
            crash_after: None,
        }
    }
}

/// One instance, across its restarts.
struct Instance {
    number: usize,
    clock: Arc<SimulatedClock>,
    running: Option<Running>,
}

struct Running {
    ledger: Ledger,
    store: Arc<FaultyStore>,
    task: JoinHandle<Result<(), RecoveryError>>,
    stop: oneshot::Sender<()>,
    seen: BTreeMap<Key, Output>,
    /// Requests that end with the process.
    requests: Vec<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.requests.iter().for_each(JoinHandle::abort);
    }
}

pub struct World {
    bucket: Arc<Bucket>,
    plan: Plan,
    chance: StdRng,
    instances: Vec<Instance>,
    truth: Arc<Mutex<Truth>>,
    crashed: bool,
}

impl World {
    /// Runs the whole schedule and checks it. Returns whether the planned crash happened.
    pub async fn run(seed: u64, plan: &Plan) -> bool {
        let mut chance = StdRng::seed_from_u64(seed);
        let epoch = Instant::now();
        let instances = (0..plan.instances)
            .map(|number| {
                let skew_ms = if number == 0 {
                    0
                } else {
                    chance.random_range(0..=5_000)
                };
                Instance {
                    number,
                    clock: Arc::new(SimulatedClock::new(epoch, skew_ms)),
                    running: None,
                }
            })
            .collect();
        let mut world = Self {
            bucket: Arc::default(),
            plan: plan.clone(),
            chance,
            instances,
            truth: Arc::default(),
            crashed: false,
        };
        for number in 0..plan.instances {
            world.start(number, plan.faults);
        }
        if let Some(steps) = plan.crash_after {
            world.instances[0]
                .running
                .as_ref()
                .unwrap()
                .store
                .crash_after(steps);
        }
        world.live().await;
        world.converge().await;
        world.end().await;
        world.crashed
    }

    fn start(&mut self, number: usize, faults: Faults) {
        let options = LedgerOptions {
            bounds: Bounds {
                classes: CLASSES,
                second_max: SECOND_MAX,
            },
            racers_max: 100,
            commit_interval: Duration::from_millis(250),
            snapshot_interval: Duration::from_secs(5),
            sync_interval: Duration::from_secs(2),
        };
        let instance = &mut self.instances[number];
        let store = FaultyStore::new(
            self.bucket.clone(),
            instance.clock.clone(),
            faults,
            self.chance.next_u64(),
        );
        let store = Arc::new(store);
        let mut seed = [0; 32];
        self.chance.fill_bytes(&mut seed);
        let (ledger, worker) = Ledger::new(options, store.clone(), instance.clock.clone(), seed);
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(worker.run(async {
            let _ = stopped.await;
        }));
        instance.running = Some(Running {
            ledger,
            store,
            task,
            stop,
            seen: BTreeMap::new(),
            requests: Vec::new(),
        });
    }

    /// Runs deliveries, crashes, suspensions and reads.
    async fn live(&mut self) {
        let step = self.plan.span / 100;
        let mut clients: Vec<JoinHandle<()>> = Vec::new();
        let mut deliveries: Vec<u32> = (0..self.plan.deliveries)
            .map(|_| self.chance.random_range(0..100))
            .collect();
        let mut erasures: Vec<u32> = (0..self.plan.erasures)
            .map(|_| self.chance.random_range(0..100))
            .collect();
        erasures.sort_unstable();
        let mut events: Vec<u32> = (0..self.plan.events)
            .map(|_| self.chance.random_range(0..100))
            .collect();
        deliveries.sort_unstable();
        events.sort_unstable();
        for tick in 0..100 {
            sleep(step).await;
            while deliveries.first().is_some_and(|&at| at <= tick) {
                deliveries.remove(0);
                clients.push(self.deliver());
            }
            while erasures.first().is_some_and(|&at| at <= tick) {
                erasures.remove(0);
                self.erase();
            }
            while events.first().is_some_and(|&at| at <= tick) {
                events.remove(0);
                self.mishap();
            }
            self.crash_as_planned();
            self.read();
        }
        for client in clients {
            client.abort();
            if let Err(error) = client.await
                && error.is_panic()
            {
                std::panic::resume_unwind(error.into_panic());
            }
        }
    }

    fn mishap(&mut self) {
        let number = self.chance.random_range(0..self.instances.len());
        if self.chance.random() {
            self.crash(number);
        } else {
            let clock = self.instances[number].clock.clone();
            let long = Duration::from_secs(self.chance.random_range(1..240));
            clock.suspend();
            tokio::spawn(async move {
                sleep(long).await;
                clock.resume();
            });
        }
    }

    /// Kills the process and starts it again.
    fn crash(&mut self, number: usize) {
        let instance = &mut self.instances[number];
        instance.running.take().unwrap().task.abort(); // aborts its requests too
        instance.clock.resume();
        let faults = self.plan.faults;
        self.start(number, faults);
    }

    fn crash_as_planned(&mut self) {
        for number in 0..self.instances.len() {
            let running = self.instances[number].running.as_ref().unwrap();
            if *running.store.crashed.borrow() {
                self.crashed = true;
                self.crash(number);
            }
        }
    }
}
