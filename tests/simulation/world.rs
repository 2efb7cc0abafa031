//! A world of instances, riders and mishaps, and what must hold in it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alleycat::clock::Clock;
use alleycat::effort::{Bounds, ClassId, Effort, Output, RaceId, RacerId, Second};
use alleycat::ledger::{Ledger, Options, RecoveryError, Submission};
use alleycat::names::Name;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::bucket::{Bucket, Faults, FaultyStore, SimulatedClock, gunzip};

type Key = (ClassId, Second, RacerId);

const CLASSES: u16 = 2;
const SECOND_MAX: u32 = 3;
const RACERS: u64 = 4;

/// What happens in a world.
#[derive(Clone, Debug)]
pub struct Plan {
    pub instances: usize,
    pub faults: Faults,
    /// Deliveries in all.
    pub deliveries: usize,
    /// Crashes and suspensions.
    pub events: usize,
    /// Over how long all that happens.
    pub span: Duration,
    /// A crash of the first instance at that step of its store.
    pub crash_after: Option<u32>,
}

impl Plan {
    pub fn short() -> Self {
        Self {
            instances: 1,
            faults: Faults::default(),
            deliveries: 6,
            events: 0,
            span: Duration::from_secs(100),
            crash_after: None,
        }
    }

    pub fn random(seed: u64) -> Self {
        let mut chance = StdRng::seed_from_u64(seed ^ 0x706c_616e);
        let mut share = |most: f64| if chance.random() { chance.random_range(0.0..most) } else { 0.0 };
        let faults = Faults {
            refused: share(0.3),
            lost_answer: share(0.3),
            late: share(0.2),
            conflict: share(0.3),
            hang: share(0.05),
        };
        Self {
            instances: chance.random_range(1..=3),
            faults,
            deliveries: chance.random_range(5..40),
            events: chance.random_range(0..6),
            span: Duration::from_secs(chance.random_range(20..400)),
            crash_after: None,
        }
    }
}

/// One instance, over its restarts.
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
}

/// What was promised, and what was seen.
#[derive(Default)]
struct Truth {
    sent: BTreeMap<Key, BTreeSet<Output>>,
    acknowledged: BTreeMap<Key, Output>,
    /// By any reader of any instance.
    seen: BTreeMap<Key, Output>,
    names: BTreeMap<RacerId, BTreeSet<Arc<str>>>,
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
    /// Lives the whole schedule and checks it. Whether the planned crash happened.
    pub async fn run(seed: u64, plan: &Plan) -> bool {
        let mut chance = StdRng::seed_from_u64(seed);
        let epoch = Instant::now();
        let instances = (0..plan.instances)
            .map(|number| {
                let skew_ms = if number == 0 { 0 } else { chance.random_range(0..=5_000) };
                Instance { number, clock: Arc::new(SimulatedClock::new(epoch, skew_ms)), running: None }
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
            world.instances[0].running.as_ref().unwrap().store.crash_after(steps);
        }
        world.live().await;
        world.converge().await;
        world.end().await;
        world.crashed
    }

    fn start(&mut self, number: usize, faults: Faults) {
        let options = Options {
            bounds: Bounds { classes: CLASSES, second_max: SECOND_MAX },
            racers_max: 100,
            commit_interval: Duration::from_millis(250),
            snapshot_interval: Duration::from_secs(5),
            sync_interval: Duration::from_secs(2),
        };
        let instance = &mut self.instances[number];
        let store = FaultyStore::new(self.bucket.clone(), instance.clock.clone(), faults, self.chance.next_u64());
        let store = Arc::new(store);
        let mut seed = [0; 32];
        self.chance.fill_bytes(&mut seed);
        let (ledger, worker) = Ledger::new(options, store.clone(), instance.clock.clone(), seed);
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(worker.run(async {
            let _ = stopped.await;
        }));
        instance.running = Some(Running { ledger, store, task, stop, seen: BTreeMap::new() });
    }

    /// Riders deliver, instances crash and are suspended, and readers read.
    async fn live(&mut self) {
        let step = self.plan.span / 100;
        let mut clients: Vec<JoinHandle<()>> = Vec::new();
        let mut deliveries: Vec<u32> = (0..self.plan.deliveries).map(|_| self.chance.random_range(0..100)).collect();
        let mut events: Vec<u32> = (0..self.plan.events).map(|_| self.chance.random_range(0..100)).collect();
        deliveries.sort_unstable();
        events.sort_unstable();
        for tick in 0..100 {
            sleep(step).await;
            while deliveries.first().is_some_and(|&at| at <= tick) {
                deliveries.remove(0);
                clients.push(self.deliver());
            }
            while events.first().is_some_and(|&at| at <= tick) {
                events.remove(0);
                self.mishap();
            }
            self.crash_as_planned();
            self.look();
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

    /// A delivery on its way, tried again as Firehose does until it is acknowledged or the span is over.
    fn deliver(&mut self) -> JoinHandle<()> {
        let now_ms = self.instances[0].clock.wall_ms();
        let count = self.chance.random_range(1..8);
        let efforts: Vec<Effort> = (0..count).map(|_| self.effort(now_ms)).collect();
        let mut truth = self.truth.lock().unwrap();
        for effort in &efforts {
            truth.sent.entry(key(effort)).or_default().insert(effort.output);
        }
        let names: Vec<(RacerId, Name)> = if self.chance.random_bool(0.3) {
            let racer = RacerId(self.chance.random_range(0..RACERS));
            let text: Arc<str> = format!("name {}", self.chance.random_range(0..3)).into();
            truth.names.entry(racer).or_default().insert(text.clone());
            vec![(racer, Name { at_ms: now_ms, text })]
        } else {
            Vec::new()
        };
        drop(truth);
        let number = self.chance.random_range(0..self.instances.len());
        // The handle that the sender reaches at each of its tries; a crashed instance answers nothing.
        let ledgers: Vec<Ledger> =
            self.instances.iter().filter_map(|instance| Some(instance.running.as_ref()?.ledger.clone())).collect();
        let truth = self.truth.clone();
        let mut pause = Duration::from_secs(1);
        tokio::spawn(async move {
            for place in number.. {
                let ledger = &ledgers[place % ledgers.len()];
                let submission = Submission { efforts: efforts.clone(), names: names.clone(), quarantined: Vec::new() };
                let answered = tokio::time::timeout(Duration::from_secs(60), ledger.commit(submission)).await;
                if let Ok(Ok(_)) = answered {
                    for effort in &efforts {
                        let visible = output(ledger, key(effort));
                        assert!(visible >= Some(effort.output), "acknowledged and not visible: {effort:?} {visible:?}");
                        raise(&mut truth.lock().unwrap().acknowledged, key(effort), effort.output);
                    }
                    return;
                }
                sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(120));
            }
        })
    }

    fn effort(&mut self, now_ms: u64) -> Effort {
        Effort {
            class: ClassId::new(self.chance.random_range(1..=CLASSES)).unwrap(),
            second: Second(self.chance.random_range(0..=SECOND_MAX)),
            racer: RacerId(self.chance.random_range(0..RACERS)),
            output: Output::new(f64::from(self.chance.random_range(0..50u32))).unwrap(),
            race: self.chance.random::<bool>().then_some(RaceId(1)),
            time: if self.chance.random_bool(0.9) { now_ms } else { 0 },
        }
    }

    fn mishap(&mut self) {
        let number = self.chance.random_range(0..self.instances.len());
        if self.chance.random() {
            self.crash(number);
        } else {
            let clock = self.instances[number].clock.clone();
            let long = Duration::from_secs(self.chance.random_range(1..120));
            clock.suspend();
            tokio::spawn(async move {
                sleep(long).await;
                clock.resume();
            });
        }
    }

    /// The process is gone from one moment to the next, and starts again.
    fn crash(&mut self, number: usize) {
        let instance = &mut self.instances[number];
        instance.running.take().unwrap().task.abort();
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

    /// What readers see on each instance: never less than before, and nothing that nobody sent.
    fn look(&mut self) {
        let mut truth = self.truth.lock().unwrap();
        for instance in &mut self.instances {
            if instance.clock.is_suspended() {
                continue;
            }
            let running = instance.running.as_mut().unwrap();
            for key in keys() {
                let Some(now) = output(&running.ledger, key) else {
                    assert!(!running.seen.contains_key(&key), "instance {}: {key:?} went away", instance.number);
                    continue;
                };
                assert!(truth.sent.get(&key).is_some_and(|sent| sent.contains(&now)), "{key:?} {now} was never sent");
                let before = running.seen.insert(key, now);
                assert!(before <= Some(now), "instance {}: {key:?} went back to {now}", instance.number);
                raise(&mut truth.seen, key, now);
            }
        }
        if let Some(broken) = self.bucket.broken.lock().unwrap().take() {
            panic!("{broken}");
        }
    }

    /// Once the faults stop, all instances come to agree, on all that was acknowledged or ever seen.
    async fn converge(&mut self) {
        for instance in &self.instances {
            instance.clock.resume();
            instance.running.as_ref().unwrap().store.set_faults(Faults::default());
        }
        // A snapshot that hung for a minute puts the next one off by twenty.
        let deadline = Instant::now() + Duration::from_secs(4000);
        loop {
            sleep(Duration::from_secs(5)).await;
            self.crash_as_planned();
            for number in 0..self.instances.len() {
                // A start that was given up while the store failed is tried again by whoever supervises the process.
                if self.instances[number].running.as_ref().unwrap().task.is_finished() {
                    self.start(number, Faults::default());
                }
            }
            self.look();
            let ready = self.instances.iter().all(|i| i.running.as_ref().unwrap().ledger.ready().is_ok());
            let journal_is_empty = !self.bucket.paths().iter().any(|path| path.starts_with("journal/"));
            if ready && journal_is_empty && self.states().windows(2).all(|pair| pair[0] == pair[1]) {
                break;
            }
            assert!(Instant::now() < deadline, "no convergence: {:?}", self.bucket.paths());
        }
        let truth = self.truth.lock().unwrap();
        for instance in &self.instances {
            check(&truth, &instance.running.as_ref().unwrap().ledger);
        }
    }

    fn states(&self) -> Vec<Vec<Option<Output>>> {
        let states = self.instances.iter().map(|instance| {
            let ledger = &instance.running.as_ref().unwrap().ledger;
            keys().map(|key| output(ledger, key)).collect()
        });
        states.collect()
    }

    /// All stop in good order; a new instance recovers the same from the bucket alone, whose objects say the same.
    async fn end(&mut self) {
        for instance in &mut self.instances {
            let Running { store, task, stop, .. } = instance.running.take().unwrap();
            let _ = stop.send(());
            let mut crashed = store.crashed.subscribe();
            tokio::select! {
                biased;
                ended = task => ended.expect("no panic").expect("no error"),
                _ = crashed.wait_for(|crashed| *crashed) => self.crashed = true,
            }
        }
        self.start(0, Faults::default());
        let running = self.instances[0].running.take().unwrap();
        while running.ledger.ready().is_err() {
            assert!(!running.task.is_finished(), "the new instance gave up");
            sleep(Duration::from_millis(100)).await;
        }
        check(&self.truth.lock().unwrap(), &running.ledger);
        for class in ClassId::all(CLASSES) {
            let stored = self.bucket.get(&format!("class-{class}.gz")).map(|object| gunzip(&object.body));
            let mut naive: BTreeMap<u32, BTreeMap<u64, f64>> = BTreeMap::new();
            for (_, second, racer) in keys().filter(|key| key.0 == class) {
                if let Some(output) = output(&running.ledger, (class, second, racer)) {
                    naive.entry(second.0).or_default().insert(racer.0, output.get());
                }
            }
            let stored: BTreeMap<u32, BTreeMap<u64, f64>> =
                stored.map_or_else(BTreeMap::new, |text| serde_json::from_str(&text).unwrap());
            assert_eq!(stored, naive, "class {class} in the bucket");
        }
        running.task.abort();
    }
}

fn keys() -> impl Iterator<Item = Key> {
    ClassId::all(CLASSES).flat_map(|class| {
        (0..=SECOND_MAX).flat_map(move |second| (0..RACERS).map(move |racer| (class, Second(second), RacerId(racer))))
    })
}

fn key(effort: &Effort) -> Key {
    (effort.class, effort.second, effort.racer)
}

fn output(ledger: &Ledger, (class, second, racer): Key) -> Option<Output> {
    let curve = ledger.table().curve(class, racer);
    curve.into_iter().find(|&(at, _)| at == second).map(|(_, output)| output)
}

fn raise(outputs: &mut BTreeMap<Key, Output>, key: Key, output: Output) {
    let best = outputs.entry(key).or_insert(output);
    *best = output.max(*best);
}

/// Nothing that was acknowledged or seen is missing, and nothing is there that nobody sent.
fn check(truth: &Truth, ledger: &Ledger) {
    for (&key, &best) in truth.acknowledged.iter().chain(&truth.seen) {
        assert!(output(ledger, key) >= Some(best), "{key:?} {best} was acknowledged or seen, and is lost");
    }
    for key in keys() {
        if let Some(output) = output(ledger, key) {
            assert!(truth.sent.get(&key).is_some_and(|sent| sent.contains(&output)), "{key:?} {output} was never sent");
        }
    }
    for racer in (0..RACERS).map(RacerId) {
        if let Some(name) = ledger.names().get(racer) {
            assert!(truth.names.get(&racer).is_some_and(|names| names.contains(&name)), "{name} was never sent");
        }
    }
}
