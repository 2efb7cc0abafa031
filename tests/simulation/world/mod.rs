//! A simulated world of instances, riders and faults, and its invariants.

mod liveness;
mod plan;
mod races;
mod truth;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alleycat::domain::effort::{Bounds, ClassId, Effort, Output, RaceId, RacerId, Second};
use alleycat::domain::erasure::ErasureScope;
use alleycat::domain::racer_names::RacerName;
use alleycat::domain::rejection::RejectionReason;
use alleycat::ledger::clock::Clock;
use alleycat::ledger::{BatchRow, CommitResult, Erased, Ledger, LedgerOptions, RecoveryError};
use alleycat::storage::history_file::StoredHistory;
use metrics_exporter_prometheus::PrometheusBuilder;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use smol_str::format_smolstr;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::bucket::{Bucket, Faults, FaultyStore, SimulatedClock};
use crate::builders::gunzip;
use crate::lapses::fallbacks;
pub use plan::Plan;
use races::{RaceState, RaceTruth, race_state};
use truth::{Key, Truth, erasures_touch, key, keys, output};

const CLASSES: u16 = 2;
const SECOND_MAX: u32 = 3;
const RACERS: u64 = 4;
const SNAPSHOT_INTERVAL: Duration = Duration::from_secs(5);
const SYNC_INTERVAL: Duration = Duration::from_secs(2);
const RACES_KEPT: Duration = Duration::from_secs(24 * 60 * 60);

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
        let recorder = PrometheusBuilder::new().build_recorder();
        let recorded = recorder.handle();
        let _recording = metrics::set_default_local_recorder(&recorder);
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
            bucket: Arc::new(Bucket {
                races_kept_ms: (plan.races_kept.as_millis() as u64).into(),
                ..Bucket::default()
            }),
            plan: plan.clone(),
            chance,
            instances,
            truth: Arc::new(Mutex::new(Truth {
                races: RaceTruth::new(plan.races_kept),
                ..Truth::default()
            })),
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
        if plan.fallbacks == 0 && plan.faults.stale == 0.0 {
            assert_eq!(fallbacks(&recorded), 0, "the store never fell back");
        }
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
            snapshot_interval: SNAPSHOT_INTERVAL,
            sync_interval: SYNC_INTERVAL,
            races_kept: self.plan.races_kept,
            read_only: false,
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
        let mut ticks = |count: usize| -> Vec<u32> {
            let chance = &mut self.chance;
            (0..count).map(|_| chance.random_range(0..100)).collect()
        };
        let (fallbacks, damages) = (ticks(self.plan.fallbacks), ticks(self.plan.damages));
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
                self.crash_or_suspend();
            }
            let now_ms = self.instances[0].clock.wall_ms();
            for _ in fallbacks.iter().filter(|&&at| at == tick) {
                self.bucket.fall_back(now_ms, &mut self.chance);
            }
            for _ in damages.iter().filter(|&&at| at == tick) {
                self.bucket.damage(&mut self.chance);
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

    /// Starts a delivery. Retries it as Firehose does, until it is acknowledged or the
    /// schedule ends.
    fn deliver(&mut self) -> JoinHandle<()> {
        // Device clocks differ, but an effort's time is never after its receipt.
        let device_ms = self.instances[0].clock.wall_ms() + self.chance.random_range(0..6_000);
        let count = self.chance.random_range(1..8);
        let efforts: Vec<Effort> = (0..count).map(|_| self.effort(device_ms)).collect();
        let finals: Vec<usize> = (0..count).filter(|_| self.chance.random()).collect();
        let name = self.chance.random_bool(0.3).then(|| {
            let racer = RacerId(self.chance.random_range(0..RACERS));
            (
                racer,
                format_smolstr!("name {}", self.chance.random_range(0..3)),
            )
        });
        let number = self.chance.random_range(0..self.instances.len());
        // The ledgers that run now. The list is taken once: an instance that crashes does not respond,
        // and the ledger of its restart is not tried.
        let ledgers: Vec<Ledger> = self
            .instances
            .iter()
            .filter_map(|instance| Some(instance.running.as_ref()?.ledger.clone()))
            .collect();
        let truth = self.truth.clone();
        let mut pause = Duration::from_secs(1);
        tokio::spawn(async move {
            for attempt in number.. {
                let ledger = &ledgers[attempt % ledgers.len()];
                let receipt_ms = ledger.now_ms();
                let efforts = efforts.iter().map(|effort| Effort {
                    time: effort.time.min(receipt_ms),
                    ..*effort
                });
                let efforts: Vec<Effort> = efforts.collect();
                let name = name.clone().map(|(racer, text)| {
                    (
                        racer,
                        RacerName {
                            at_ms: device_ms.min(receipt_ms),
                            text,
                        },
                    )
                });
                {
                    let mut truth = truth.lock().unwrap();
                    for effort in &efforts {
                        truth
                            .sent
                            .entry(key(effort))
                            .or_default()
                            .insert((effort.output, effort.time));
                    }
                    if let Some((racer, name)) = &name {
                        truth.names.entry(*racer).or_default().insert(name.clone());
                    }
                }
                let name = name.into_iter().collect();
                let batch = ledger.write_batch(efforts.clone(), &finals, name, receipt_ms);
                let rows = batch.race_positions.iter().chain(&batch.race_finals);
                let rows: Vec<BatchRow> = rows.copied().collect();
                {
                    let mut truth = truth.lock().unwrap();
                    rows.iter().for_each(|it| truth.races.note_sent(it.row));
                }
                let outcome =
                    tokio::time::timeout(Duration::from_secs(60), ledger.commit(batch)).await;
                if let Ok(Ok(CommitResult { rejected, .. })) = outcome {
                    let erasures = ledger.erasures();
                    for (index, reason) in &rejected {
                        assert_eq!(*reason, RejectionReason::Erased);
                        assert!(
                            erasures.any_covers(&efforts[*index], 0),
                            "rejected but not erased: {:?}",
                            efforts[*index]
                        );
                    }
                    for BatchRow { row, index } in rows {
                        if row.is_final && !rejected.iter().any(|&(it, _)| it == index) {
                            let mut truth = truth.lock().unwrap();
                            truth.races.note_acknowledged(ledger, row);
                        }
                    }
                    for effort in &efforts {
                        let visible = output(ledger, key(effort));
                        let stands = visible >= Some(effort.output)
                            || erasures_touch(&erasures, key(effort));
                        assert!(
                            stands,
                            "acknowledged and not visible: {effort:?} {visible:?}"
                        );
                        truth
                            .lock()
                            .unwrap()
                            .acknowledged
                            .insert((key(effort), (effort.output, effort.time)));
                    }
                    return;
                }
                sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(120));
            }
        })
    }

    /// Erases something on one instance, with at most 5 tries while the instance lives.
    fn erase(&mut self) {
        let mut scope = ErasureScope::all(RacerId(self.chance.random_range(0..RACERS)), None);
        if self.chance.random() {
            scope.class_id = ClassId::new(self.chance.random_range(1..=CLASSES));
            if self.chance.random() {
                scope.from = Second(self.chance.random_range(0..=SECOND_MAX));
                scope.to = Second(self.chance.random_range(scope.from.0..=SECOND_MAX));
            }
            if self.chance.random() {
                scope.above = Output::new(f64::from(self.chance.random_range(0..50u32)));
            }
        }
        let number = self.chance.random_range(0..self.instances.len());
        let running = self.instances[number].running.as_mut().unwrap();
        let ledger = running.ledger.clone();
        let truth = self.truth.clone();
        running.requests.push(tokio::spawn(async move {
            for _ in 0..5 {
                if let Ok(Erased { erasure, .. }) = ledger.erase(scope.clone(), None).await {
                    let erasures = ledger.erasures();
                    let mut truth = truth.lock().unwrap();
                    for key in keys() {
                        if let Some(output) = output(&ledger, key) {
                            assert!(
                                truth.may_stand(&erasures, key, output),
                                "{key:?} {output} still stands, but is erased or was never sent"
                            );
                        }
                    }
                    truth.erased.push(erasure);
                    return;
                }
                sleep(Duration::from_secs(5)).await;
            }
        }));
    }

    fn effort(&mut self, device_ms: u64) -> Effort {
        Effort {
            class: ClassId::new(self.chance.random_range(1..=CLASSES)).unwrap(),
            second: Second(self.chance.random_range(0..=SECOND_MAX)),
            racer: RacerId(self.chance.random_range(0..RACERS)),
            output: Output::new(f64::from(self.chance.random_range(0..50u32))).unwrap(),
            race: match self.chance.random_range(0..3u64) {
                0 => None,
                race => Some(RaceId(race)),
            },
            time: if self.chance.random_bool(0.9) {
                device_ms
            } else {
                0
            },
        }
    }

    fn crash_or_suspend(&mut self) {
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
        instance.running.take().unwrap().task.abort(); // dropping `Running` aborts its requests
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

    /// Reads each instance. Outputs never fall, except by an erasure. None is unsent, and none is
    /// covered by an erasure that the instance knows.
    fn read(&mut self) {
        let mut truth = self.truth.lock().unwrap();
        for instance in &mut self.instances {
            if instance.clock.is_suspended() {
                continue;
            }
            let running = instance.running.as_mut().unwrap();
            truth.races.check_rows(&running.ledger);
            let erasures = running.ledger.erasures();
            for key in keys() {
                let now = output(&running.ledger, key);
                if erasures_touch(&erasures, key) {
                    running.seen.remove(&key);
                }
                assert!(
                    now.as_ref() >= running.seen.get(&key),
                    "instance {}: {key:?} went back",
                    instance.number
                );
                let Some(now) = now else { continue };
                let allowed = truth.may_stand(&erasures, key, now);
                let sent = truth.sent.get(&key);
                let number = instance.number;
                assert!(
                    allowed,
                    "instance {number}: {key:?} {now} was never sent, or is erased: {sent:?} {erasures:?}"
                );
                running.seen.insert(key, now);
                truth.seen.insert((key, now));
            }
        }
        if let Some(violation) = self.bucket.violation.lock().unwrap().take() {
            panic!("{violation}");
        }
    }

    /// Stops the faults and waits until all agree and the journal is empty; then checks that nothing
    /// acknowledged or seen is missing.
    async fn converge(&mut self) {
        self.bucket.repair();
        for instance in &self.instances {
            instance.clock.resume();
            instance
                .running
                .as_ref()
                .unwrap()
                .store
                .set_faults(Faults::default());
        }
        // A planned crash may come at any step, also within an expectation.
        if self.plan.crash_after.is_none() {
            self.expect_progress().await;
        }
        // Long enough for hanging puts, failing listings and grace periods one after another.
        let deadline = Instant::now() + Duration::from_secs(10_000);
        loop {
            sleep(Duration::from_secs(5)).await;
            self.crash_as_planned();
            self.restart_ended();
            self.read();
            let ready = self
                .instances
                .iter()
                .all(|i| i.running.as_ref().unwrap().ledger.ready().is_ok());
            let journal_is_empty = !self
                .bucket
                .paths()
                .iter()
                .any(|path| path.starts_with("journal/"));
            if ready
                && journal_is_empty
                && self.erasures_agree()
                && self.states().windows(2).all(|pair| pair[0] == pair[1])
                && self.race_states().windows(2).all(|pair| pair[0] == pair[1])
            {
                break;
            }
            assert!(
                Instant::now() < deadline,
                "no convergence: {}",
                self.describe()
            );
        }
        let truth = self.truth.lock().unwrap();
        for instance in &self.instances {
            truth.check(&instance.running.as_ref().unwrap().ledger);
        }
    }

    /// Starts processes again that have ended, as a supervisor does: their start failed with the
    /// store.
    fn restart_ended(&mut self) {
        for number in 0..self.instances.len() {
            let running = self.instances[number].running.as_ref().unwrap();
            if running.task.is_finished() {
                self.start(number, Faults::default());
            }
        }
    }

    /// Describes the state, to debug a failed convergence.
    fn describe(&self) -> String {
        let mut describe = format!("{:?}", self.bucket.paths());
        for instance in &self.instances {
            let ledger = &instance.running.as_ref().unwrap().ledger;
            describe += &format!("\n{:?}", ledger.ready());
            describe += &format!(
                "\n{}",
                String::from_utf8(ledger.erasures().to_json()).unwrap()
            );
        }
        for class in ClassId::all(CLASSES) {
            let stored = self.bucket.get(&format!("class-{class}.gz"));
            let version = stored.map(|it| StoredHistory::open(&it.body).unwrap().erasure_version());
            describe += &format!("\nclass {class} requires erasure version {version:?}");
        }
        describe
    }

    /// Returns whether all instances and the stored objects have the same erasures.
    fn erasures_agree(&self) -> bool {
        let stored = self.bucket.erasures();
        let knows = |i: &Instance| {
            i.running.as_ref().unwrap().ledger.erasures().to_json() == stored.to_json()
        };
        let version_of = |class: ClassId| {
            let snapshot = self.bucket.get(&format!("class-{class}.gz"));
            snapshot.map_or(0, |it| {
                StoredHistory::open(&it.body).unwrap().erasure_version()
            }) == stored.version_concerning(class)
        };
        self.instances.iter().all(knows) && ClassId::all(CLASSES).all(version_of)
    }

    fn race_states(&self) -> Vec<RaceState> {
        let running = self.instances.iter().map(|it| it.running.as_ref().unwrap());
        running.map(|it| race_state(&it.ledger)).collect()
    }

    fn states(&self) -> Vec<Vec<Option<Output>>> {
        let states = self.instances.iter().map(|instance| {
            let ledger = &instance.running.as_ref().unwrap().ledger;
            keys().map(|key| output(ledger, key)).collect()
        });
        states.collect()
    }

    /// Shuts all instances down. The bucket, and a new instance recovered from it, must hold the
    /// same state.
    async fn end(&mut self) {
        if self.plan.fallbacks > 0 {
            // Everything is in snapshots, whose segments are deleted.
            let now_ms = self.instances[0].clock.wall_ms();
            self.bucket.fall_back(now_ms, &mut self.chance);
            sleep(liveness::OWNER_WRITES_MAX).await;
        }
        let races = self.race_states().swap_remove(0);
        for instance in &mut self.instances {
            let mut running = instance.running.take().unwrap();
            let _ = std::mem::replace(&mut running.stop, oneshot::channel().0).send(());
            let mut crashed = running.store.crashed.subscribe();
            tokio::select! {
                biased;
                ended = &mut running.task => ended.expect("no panic").expect("no error"),
                // The planned crash counts steps of the store, and a shutdown writes to it. The new
                // instance below must recover the same state all the same.
                _ = crashed.wait_for(|crashed| *crashed) => self.crashed = true,
            }
        }
        self.start(0, Faults::default());
        let running = self.instances[0].running.take().unwrap();
        while running.ledger.ready().is_err() {
            assert!(
                !running.task.is_finished(),
                "recovery of the new instance failed"
            );
            sleep(Duration::from_millis(100)).await;
        }
        self.truth.lock().unwrap().check(&running.ledger);
        if self.plan.races_kept == RACES_KEPT {
            assert_eq!(
                race_state(&running.ledger),
                races,
                "races of the new instance"
            );
        }
        for class in ClassId::all(CLASSES) {
            let stored = self
                .bucket
                .get(&format!("class-{class}.gz"))
                .map(|object| gunzip(&object.body));
            let mut naive: BTreeMap<u32, BTreeMap<u64, f64>> = BTreeMap::new();
            for (_, second, racer) in keys().filter(|key| key.0 == class) {
                if let Some(output) = output(&running.ledger, (class, second, racer)) {
                    naive
                        .entry(second.0)
                        .or_default()
                        .insert(racer.0, output.get());
                }
            }
            let stored: BTreeMap<u32, BTreeMap<u64, f64>> =
                stored.map_or_else(BTreeMap::new, |text| serde_json::from_str(&text).unwrap());
            assert_eq!(stored, naive, "class {class} in the bucket");
        }
        running.task.abort();
    }
}
