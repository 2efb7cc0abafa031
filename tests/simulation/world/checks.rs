//! The checks of a world: what readers see, convergence, and what the bucket holds at the end.

use std::collections::BTreeMap;
use std::time::Duration;

use alleycat::domain::effort::{ClassId, Output};
use alleycat::storage::history_file::StoredHistory;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::truth::{erasures_touch, keys, output};
use super::{CLASSES, Instance, World};
use crate::builders::gunzip;
use crate::faulty_store::Faults;

impl World {
    /// Reads each instance. Outputs never fall, none is unsent, and none is covered by an erasure
    /// that the instance knows.
    pub(super) fn read(&mut self) {
        let mut truth = self.truth.lock().unwrap();
        for instance in &mut self.instances {
            if instance.clock.is_suspended() {
                continue;
            }
            let running = instance.running.as_mut().unwrap();
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
        if let Some(broken) = self.bucket.broken.lock().unwrap().take() {
            panic!("{broken}");
        }
    }

    /// Stops the faults and waits until all instances agree on everything acknowledged or seen.
    pub(super) async fn converge(&mut self) {
        for instance in &self.instances {
            instance.clock.resume();
            instance
                .running
                .as_ref()
                .unwrap()
                .store
                .set_faults(Faults::default());
        }
        // Long enough for hanging puts, failing listings and grace periods one after another.
        let deadline = Instant::now() + Duration::from_secs(10_000);
        loop {
            sleep(Duration::from_secs(5)).await;
            self.crash_as_planned();
            for number in 0..self.instances.len() {
                // A supervisor restarts a process whose start failed with the store.
                if self.instances[number]
                    .running
                    .as_ref()
                    .unwrap()
                    .task
                    .is_finished()
                {
                    self.start(number, Faults::default());
                }
            }
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
            }) == stored.concerning(class)
        };
        self.instances.iter().all(knows) && ClassId::all(CLASSES).all(version_of)
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
    pub(super) async fn end(&mut self) {
        for instance in &mut self.instances {
            let mut running = instance.running.take().unwrap();
            let _ = std::mem::replace(&mut running.stop, oneshot::channel().0).send(());
            let mut crashed = running.store.crashed.subscribe();
            tokio::select! {
                biased;
                ended = &mut running.task => ended.expect("no panic").expect("no error"),
                _ = crashed.wait_for(|crashed| *crashed) => self.crashed = true,
            }
        }
        self.start(0, Faults::default());
        let running = self.instances[0].running.take().unwrap();
        while running.ledger.ready().is_err() {
            assert!(!running.task.is_finished(), "the new instance gave up");
            sleep(Duration::from_millis(100)).await;
        }
        self.truth.lock().unwrap().check(&running.ledger);
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
