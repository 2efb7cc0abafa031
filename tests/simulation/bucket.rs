//! An in-memory store that fails in every way a real one can, as its seed determines, in virtual
//! time.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alleycat::domain::effort::{ClassId, Effort, Output, RaceId, RacerId, Second};
use alleycat::domain::erasure::Erasures;
use alleycat::domain::race_row::RaceRow;
use alleycat::ledger::clock::Clock;
use alleycat::state::table::ClassTable;
use alleycat::storage::history_file::StoredHistory;
use alleycat::storage::{
    ETag, ListEntry, ListScope, ObjectKey, Precondition, PutError, Store, StoreError, StoredObject,
};
use async_trait::async_trait;
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::builders::gunzip;

/// Maximum difference between two instances' clocks, by which one may expire a row earlier.
pub const CLOCK_SKEW_MS: u64 = 5_000;

/// The bucket that all instances share.
#[derive(Debug, Default)]
pub struct Bucket {
    pub(super) objects: Mutex<BTreeMap<String, StoredObject>>,
    /// The bodies that each object of the root has had, oldest first.
    pub(super) bodies: Mutex<BTreeMap<String, Vec<Bytes>>>,
    /// Bodies that were lost before another one replaced them.
    pub(super) lost: Mutex<Vec<Bytes>>,
    /// The undamaged bodies of damaged segments.
    pub(super) damaged: Mutex<BTreeMap<String, Bytes>>,
    /// Whether the bucket has lost anything. Then a segment may be deleted before its reader sees the
    /// loss.
    pub(super) fell_back: AtomicBool,
    /// Time for which race rows are kept, in ms; 0 if they never expire.
    pub races_kept_ms: AtomicU64,
    /// The first violated invariant, and where. The simulation checks it.
    pub violation: Mutex<Option<String>>,
}

impl Bucket {
    pub fn get(&self, path: &str) -> Option<StoredObject> {
        self.objects.lock().unwrap().get(path).cloned()
    }

    pub fn paths(&self) -> Vec<String> {
        self.objects.lock().unwrap().keys().cloned().collect()
    }

    fn list(&self, scope: ListScope) -> Vec<ListEntry> {
        let objects = self.objects.lock().unwrap();
        let listed = objects.iter().filter_map(|(path, object)| {
            let key = ObjectKey::parse(path)?;
            let in_scope = match scope {
                ListScope::Root => !path.contains('/'),
                ListScope::Journal => path.starts_with("journal/"),
            };
            // As some servers do: quoted here, and nowhere else.
            in_scope.then(|| ListEntry {
                key,
                etag: ETag(format!("\"{}\"", object.etag.0)),
            })
        });
        listed.collect()
    }

    pub fn put(&self, key: &ObjectKey, parts: &[Bytes], condition: &Precondition) -> Option<ETag> {
        let mut objects = self.objects.lock().unwrap();
        let current = objects.get(&key.path()).map(|object| &object.etag);
        let holds = match condition {
            Precondition::IfNoneMatch => current.is_none(),
            Precondition::IfMatch(etag) => current == Some(etag),
        };
        if !holds {
            return None;
        }
        let body = Bytes::from(parts.concat());
        if let (ObjectKey::History(class), Some(replaced)) = (key, objects.get(&key.path()))
            && let Err(problem) = keeps(*class, &replaced.body, &body, &self.ever_erased(&objects))
        {
            *self.violation.lock().unwrap() = Some(format!("{key} was replaced and {problem}"));
        }
        if let (ObjectKey::Finishes(_), Some(replaced)) = (key, objects.get(&key.path()))
            && let Err(problem) = keeps_finishes(&replaced.body, &body, &self.ever_erased(&objects))
        {
            *self.violation.lock().unwrap() = Some(format!("{key} was replaced and {problem}"));
        }
        if !key.path().contains('/') {
            let mut bodies = self.bodies.lock().unwrap();
            bodies.entry(key.path()).or_default().push(body.clone());
        }
        let object = stored_object(body);
        let etag = object.etag.clone();
        objects.insert(key.path(), object);
        Some(etag)
    }

    /// Deletes an object, as an operator would.
    pub fn remove(&self, key: &ObjectKey) {
        self.objects.lock().unwrap().remove(&key.path());
    }

    /// Deletes an object. All efforts of a deleted segment must be in the stored snapshots.
    fn delete(&self, key: &ObjectKey, now_ms: u64) {
        let Some(object) = self.objects.lock().unwrap().remove(&key.path()) else {
            return;
        };
        let undamaged = self.damaged.lock().unwrap().remove(&key.path());
        if let ObjectKey::Segment(_) = key
            && !self.fell_back.load(Ordering::Relaxed)
            && let Err(problem) = self.is_covered(&undamaged.unwrap_or(object.body), now_ms)
        {
            *self.violation.lock().unwrap() = Some(format!("{key} was deleted and {problem}"));
        }
    }

    /// Returns the racer's output in the class's snapshot.
    pub fn stored_output(&self, class: u16, racer: RacerId, second: Second) -> Option<Output> {
        let snapshot = self.get(&format!("class-{class}.gz"))?;
        stored_output(&snapshot.body, class, racer, second)
    }

    /// Returns the stored erasures.
    pub fn erasures(&self) -> Erasures {
        erasures_of(&self.objects.lock().unwrap())
    }

    /// Returns the stored erasures, and those that the bucket has lost: instances know them.
    fn ever_erased(&self, objects: &BTreeMap<String, StoredObject>) -> Erasures {
        let mut erasures = erasures_of(objects);
        if self.fell_back.load(Ordering::Relaxed) {
            let bodies = self.bodies.lock().unwrap();
            for body in bodies.get("erasures.gz").into_iter().flatten() {
                erasures.merge(&Erasures::from_json(gunzip(body).as_bytes()).expect("erasures"));
            }
        }
        erasures
    }

    fn is_covered(&self, segment: &[u8], now_ms: u64) -> Result<(), String> {
        let erasures = self.erasures();
        for line in gunzip(segment).lines().skip(1) {
            let line: serde_json::Value = serde_json::from_str(line).expect("a segment's line");
            if line["racesFloor"].is_u64() {
                continue;
            }
            let racer = RacerId(line["racerId"].as_u64().expect("every line has a racer"));
            if let Some(name) = line["name"].as_str() {
                if erasures.any_covers_name(racer, line["at"].as_u64().expect("a time")) {
                    continue;
                }
                let racers = self.get("racers.gz").ok_or("racers.gz is missing")?;
                let racers: serde_json::Value =
                    serde_json::from_str(&gunzip(&racers.body)).expect("names");
                let stored = &racers[racer.to_string()];
                let stored = (stored["at"].as_u64(), stored["name"].as_str());
                if stored < (line["at"].as_u64(), Some(name)) {
                    return Err(format!("the name of {racer} is not covered"));
                }
                continue;
            }
            if line["at"].is_u64() {
                self.is_row_covered(&row_of(&line), &erasures, now_ms)?;
                continue;
            }
            let class = line["classId"].as_u64().expect("a class");
            let second = Second(line["second"].as_u64().expect("a second") as u32);
            let output = Output::new(line["output"].as_f64().expect("an output")).expect("valid");
            let time = line["deviceTimestamp"].as_u64().unwrap_or(0);
            // Ignores `above`: an output over it may have stood in the snapshot and been erased.
            let class_id = ClassId::new(class as u16).expect("from 1");
            let effort = Effort {
                class: class_id,
                second,
                racer,
                output,
                race: None,
                time,
            };
            if erasures.any_covers(&effort, 0) || erasures.any_exposes(&effort, 0) {
                continue;
            }
            let snapshot = self
                .get(&format!("class-{class}.gz"))
                .ok_or(format!("class-{class}.gz is missing"))?;
            let stored = stored_output(&snapshot.body, class as u16, racer, second);
            if stored.is_none_or(|stored| stored < output) {
                return Err(format!(
                    "{output} of {racer} at {second} of class {class} is not covered: {stored:?}"
                ));
            }
        }
        Ok(())
    }

    /// Returns an error if a row of a deleted segment is in no stored object, as it is or beaten.
    fn is_row_covered(
        &self,
        row: &RaceRow,
        erasures: &Erasures,
        now_ms: u64,
    ) -> Result<(), String> {
        if erasures.any_covers(&row.effort(), 0)
            || erasures.any_exposes_rows(row.class, row.racer, 0)
        {
            return Ok(());
        }
        let stored = |kind: &str| {
            let key = format!("{kind}-{}.gz", row.class);
            let object = self.get(&key).ok_or(format!("{key} is missing"))?;
            let text = gunzip(&object.body);
            let mut lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
            let header: serde_json::Value = lines.next().expect("a header");
            let rows: Vec<RaceRow> = lines.map(|line| row_of(&line)).collect();
            let rows = rows.into_iter().filter(|it| it.racer == row.racer);
            Ok::<_, String>((header["floor"].as_u64(), rows.collect::<Vec<_>>()))
        };
        let (floor_ms, rows) = stored("races")?;
        let mut rows = rows.iter();
        let kept_ms = self.races_kept_ms.load(Ordering::Relaxed);
        let has_expired = kept_ms > 0 && row.at_ms + kept_ms <= now_ms + CLOCK_SKEW_MS;
        if row.at_ms >= floor_ms.unwrap_or(0)
            && !has_expired
            && !rows.any(|it| it.race == row.race && it.dominates(row))
        {
            return Err(format!("{row:?} is not covered"));
        }
        if row.is_final {
            let (_, finishes) = stored("finishes")?;
            if !finishes.iter().any(|it| it.finish_order(row).is_ge()) {
                return Err(format!("the finish {row:?} is not covered"));
            }
        }
        Ok(())
    }
}

/// Returns the race row in a line.
fn row_of(line: &serde_json::Value) -> RaceRow {
    let number = |name: &str| line[name].as_u64().expect("a number");
    RaceRow {
        class: ClassId::new(number("classId") as u16).expect("from 1"),
        race: RaceId(number("raceId")),
        racer: RacerId(number("racerId")),
        second: Second(number("second") as u32),
        output: Output::new(line["output"].as_f64().expect("an output")).expect("valid"),
        at_ms: number("at"),
        has_effort_time: line["deviceTimestamp"].is_u64(),
        is_final: line["event"] == "final",
    }
}

/// Returns an object with this body. As on S3, equal bodies have equal ETags.
pub(super) fn stored_object(body: Bytes) -> StoredObject {
    let etag = ETag(format!("{:032x}", xxhash_rust::xxh3::xxh3_128(&body)));
    StoredObject { body, etag }
}

fn erasures_of(objects: &BTreeMap<String, StoredObject>) -> Erasures {
    objects
        .get("erasures.gz")
        .map_or_else(Erasures::default, |object| {
            Erasures::from_json(gunzip(&object.body).as_bytes()).expect("erasures")
        })
}

/// Checks that a snapshot holds everything that its predecessor held, except what may have been
/// erased.
fn keeps(class: ClassId, before: &[u8], after: &[u8], erasures: &Erasures) -> Result<(), String> {
    // An object planted by a test may not be a snapshot.
    let Ok(before) = StoredHistory::open(before) else {
        return Ok(());
    };
    let (before, after) = (before.read(SECOND_MAX).expect("a snapshot"), read(after));
    for effort in before.efforts(class) {
        let Effort {
            second,
            racer,
            output,
            ..
        } = effort;
        let after = output_of(&after, class, racer, second);
        if after.is_none_or(|after| after < output)
            && !erasures.iter().any(|it| it.scope.reaches(&effort))
        {
            return Err(format!(
                "{output} of {racer} at {second} is missing: {after:?}"
            ));
        }
    }
    Ok(())
}

/// Checks the same of finishes.
fn keeps_finishes(before: &[u8], after: &[u8], erasures: &Erasures) -> Result<(), String> {
    let rows = |body: &[u8]| -> Vec<RaceRow> {
        let text = gunzip(body);
        let lines = text.lines().skip(1);
        lines
            .map(|line| row_of(&serde_json::from_str(line).unwrap()))
            .collect()
    };
    let after = rows(after);
    for finish in rows(before) {
        let mut kept = after.iter().filter(|it| it.racer == finish.racer);
        if !kept.any(|it| it.finish_order(&finish).is_ge())
            && !erasures.iter().any(|it| it.scope.reaches(&finish.effort()))
        {
            return Err(format!("{finish:?} is missing"));
        }
    }
    Ok(())
}

const SECOND_MAX: Second = Second(u16::MAX as u32);

fn read(snapshot: &[u8]) -> ClassTable {
    StoredHistory::open(snapshot)
        .expect("a snapshot")
        .read(SECOND_MAX)
        .expect("a snapshot")
}

fn output_of(class: &ClassTable, id: ClassId, racer: RacerId, second: Second) -> Option<Output> {
    class
        .efforts(id)
        .find(|it| it.racer == racer && it.second == second)
        .map(|it| it.output)
}

fn stored_output(snapshot: &[u8], class: u16, racer: RacerId, second: Second) -> Option<Output> {
    output_of(
        &read(snapshot),
        ClassId::new(class).expect("from 1"),
        racer,
        second,
    )
}

/// The share of calls that fail, by kind of fault.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Fails without effect.
    pub failed: f64,
    /// Takes effect, then reports a failure.
    pub lost_response: f64,
    /// Reports a failure, then takes effect later.
    pub late: f64,
    /// Reports a failed precondition, as 409 ConditionalRequestConflict does.
    pub conflict: f64,
    /// Does not respond for a long time.
    pub hang: f64,
    /// Returns half of a body.
    pub cut: f64,
    /// Puts twice, and returns the outcome of the second put.
    pub doubled: f64,
    /// Returns an earlier listing.
    pub stale: f64,
}

/// The maximum time for which a call hangs.
pub const HANG_MAX: Duration = Duration::from_secs(60);

/// The defects of one store.
#[derive(Clone, Debug, Default)]
pub struct Defects {
    /// Reads of these objects fail after [`STALL`].
    pub stalled: Vec<ObjectKey>,
    /// Listings show this object, and reads do not find it.
    pub ghost: Option<ObjectKey>,
    /// Duration of reads of snapshots.
    pub slow_snapshots: Duration,
    /// Time from the effect of a put of a snapshot or segment to its response.
    pub late_responses: Duration,
    /// Time until a listing of the journal is taken.
    pub slow_journal: Duration,
    /// Duration of puts of segments.
    pub slow_segments: Duration,
    /// Deletions are denied.
    pub denies_deletes: bool,
    /// Deletions of this object are denied.
    pub undeletable: Option<ObjectKey>,
    /// These listings fail.
    pub unlistable: Option<ListScope>,
}

/// The time for which a read stalls before it fails.
pub const STALL: Duration = Duration::from_secs(30);

/// One instance's connection to the bucket.
#[derive(Debug)]
pub struct FaultyStore {
    bucket: Arc<Bucket>,
    clock: Arc<SimulatedClock>,
    faults: Mutex<Faults>,
    defects: Mutex<Defects>,
    deletes: AtomicUsize,
    /// Number of listings of the root, and of the journal.
    lists: [AtomicUsize; 2],
    /// The last listing of the root, and that of the journal, that was not stale.
    listings: Mutex<[Vec<ListEntry>; 2]>,
    /// Set once the store cannot be used any more.
    broken: watch::Sender<bool>,
    chance: Mutex<StdRng>,
    /// Remaining steps until the crash.
    crash: Mutex<Option<u32>>,
    pub crashed: watch::Sender<bool>,
}

impl FaultyStore {
    pub fn new(bucket: Arc<Bucket>, clock: Arc<SimulatedClock>, faults: Faults, seed: u64) -> Self {
        Self {
            bucket,
            clock,
            faults: Mutex::new(faults),
            defects: Mutex::default(),
            deletes: AtomicUsize::new(0),
            lists: Default::default(),
            listings: Mutex::default(),
            broken: watch::channel(false).0,
            chance: Mutex::new(StdRng::seed_from_u64(seed)),
            crash: Mutex::new(None),
            crashed: watch::channel(false).0,
        }
    }

    pub fn set_faults(&self, faults: Faults) {
        *self.faults.lock().unwrap() = faults;
    }

    pub fn set_defects(&self, defects: Defects) {
        *self.defects.lock().unwrap() = defects;
    }

    /// Makes the store unusable.
    pub fn break_down(&self) {
        self.broken.send_replace(true);
    }

    /// Counts the deletions that were tried.
    pub fn deletes(&self) -> usize {
        self.deletes.load(Ordering::Relaxed)
    }

    /// Counts the listings of a scope that were tried.
    pub fn lists(&self, scope: ListScope) -> usize {
        self.lists[scope as usize].load(Ordering::Relaxed)
    }

    fn defects(&self) -> Defects {
        self.defects.lock().unwrap().clone()
    }

    /// Crashes at the `steps`-th step from now on.
    pub fn crash_after(&self, steps: u32) {
        *self.crash.lock().unwrap() = Some(steps);
    }

    fn happens(&self, share: f64) -> bool {
        self.chance.lock().unwrap().random_bool(share)
    }

    /// A point at which the process may crash. After a crash, nothing more runs.
    async fn step(&self) {
        let crashes = {
            let mut crash = self.crash.lock().unwrap();
            match &mut *crash {
                Some(0) => true,
                Some(steps) => {
                    *steps -= 1;
                    false
                }
                None => false,
            }
        };
        if crashes {
            self.crashed.send_replace(true);
            std::future::pending::<()>().await;
        }
    }

    async fn network_delay(&self) {
        self.step().await;
        let faults = *self.faults.lock().unwrap();
        let milliseconds = match self.happens(faults.hang) {
            true => self
                .chance
                .lock()
                .unwrap()
                .random_range(1_000..HANG_MAX.as_millis() as u64),
            false => self.chance.lock().unwrap().random_range(1..200),
        };
        self.clock.sleep(Duration::from_millis(milliseconds)).await;
        self.step().await;
    }

    fn failure(&self, operation: &'static str, key: &impl Display) -> StoreError {
        StoreError::new(operation, key, "simulated")
    }
}

#[async_trait]
impl Store for FaultyStore {
    fn location(&self) -> String {
        "memory".to_owned()
    }

    async fn get(&self, key: &ObjectKey) -> Result<Option<StoredObject>, StoreError> {
        let defects = self.defects();
        if defects.stalled.contains(key) {
            self.clock.sleep(STALL).await;
            return Err(self.failure("get", key));
        }
        if defects.ghost.as_ref() == Some(key) {
            self.network_delay().await;
            return Ok(None);
        }
        if matches!(key, ObjectKey::History(_)) {
            self.clock.sleep(defects.slow_snapshots).await;
        }
        self.network_delay().await;
        let object = self.bucket.get(&key.path());
        self.network_delay().await;
        let faults = *self.faults.lock().unwrap();
        if self.happens(faults.failed) {
            return Err(self.failure("get", key));
        }
        let is_cut = self.happens(faults.cut);
        Ok(object.map(|mut object| {
            if is_cut {
                object.body.truncate(object.body.len() / 2);
            }
            object
        }))
    }

    async fn put(
        &self,
        key: &ObjectKey,
        parts: Vec<Bytes>,
        condition: Precondition,
    ) -> Result<ETag, PutError> {
        if matches!(key, ObjectKey::Segment(_)) {
            self.clock.sleep(self.defects().slow_segments).await;
        }
        self.network_delay().await;
        let faults = *self.faults.lock().unwrap();
        if self.happens(faults.failed) {
            return Err(self.failure("put", key).into());
        }
        if self.happens(faults.conflict) {
            return Err(PutError::WriteConflict);
        }
        if self.happens(faults.late) {
            let (bucket, key) = (self.bucket.clone(), key.clone());
            let delay =
                Duration::from_millis(self.chance.lock().unwrap().random_range(100..20_000));
            let failure = self.failure("put", &key);
            tokio::spawn(async move {
                tokio::time::sleep(delay).await; // takes effect even if its sender crashes
                bucket.put(&key, &parts, &condition);
            });
            return Err(failure.into());
        }
        let mut outcome = self.bucket.put(key, &parts, &condition);
        if self.happens(faults.doubled) {
            outcome = self.bucket.put(key, &parts, &condition);
        }
        self.clock.sleep(self.defects().late_responses).await;
        self.network_delay().await;
        if self.happens(faults.lost_response) {
            return Err(self.failure("put", key).into());
        }
        outcome.ok_or(PutError::WriteConflict)
    }

    async fn list(&self, scope: ListScope) -> Result<Vec<ListEntry>, StoreError> {
        self.lists[scope as usize].fetch_add(1, Ordering::Relaxed);
        self.network_delay().await;
        if let ListScope::Journal = scope {
            self.clock.sleep(self.defects().slow_journal).await;
        }
        if self.defects().unlistable == Some(scope) {
            return Err(self.failure("list", &format!("{scope:?}")));
        }
        let mut listed = self.bucket.list(scope);
        if self.happens(self.faults.lock().unwrap().stale) {
            listed = self.listings.lock().unwrap()[scope as usize].clone();
        } else {
            self.listings.lock().unwrap()[scope as usize].clone_from(&listed);
        }
        if let Some(key) = self.defects().ghost
            && (scope == ListScope::Journal) == matches!(key, ObjectKey::Segment(_))
            && listed.iter().all(|listed| listed.key != key)
        {
            let etag = ETag("ghost".to_owned());
            listed.push(ListEntry { key, etag });
        }
        self.network_delay().await; // the listing may be outdated when it arrives
        let faults = *self.faults.lock().unwrap();
        if self.happens(faults.failed) {
            Err(self.failure("list", &format!("{scope:?}")))
        } else {
            Ok(listed)
        }
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        self.deletes.fetch_add(1, Ordering::Relaxed);
        self.network_delay().await;
        let faults = *self.faults.lock().unwrap();
        let defects = self.defects();
        let is_denied = defects.denies_deletes || defects.undeletable.as_ref() == Some(key);
        if self.happens(faults.failed) || is_denied {
            return Err(self.failure("delete", key));
        }
        self.bucket.delete(key, self.clock.wall_ms());
        self.network_delay().await;
        if self.happens(faults.lost_response) {
            Err(self.failure("delete", key))
        } else {
            Ok(())
        }
    }

    async fn broken(&self) -> StoreError {
        let mut broken = self.broken.subscribe();
        let _ = broken.wait_for(|broken| *broken).await; // the sender lives as long as `self`
        self.failure("sync", &"memory")
    }
}

/// An instance's clocks: virtual, skewed, and stopped while the instance is suspended.
#[derive(Debug)]
pub struct SimulatedClock {
    epoch: Instant,
    skew_ms: u64,
    running: watch::Sender<bool>,
    suspended: AtomicBool,
}

/// Start of every simulation, in milliseconds since 1970.
pub const EPOCH_MS: u64 = 1_700_000_000_000;

impl SimulatedClock {
    /// Creates a clock that is `skew_ms` ahead.
    pub fn new(epoch: Instant, skew_ms: u64) -> Self {
        Self {
            epoch,
            skew_ms,
            running: watch::channel(true).0,
            suspended: AtomicBool::new(false),
        }
    }

    /// Suspends the instance: no sleep ends until it resumes.
    pub fn suspend(&self) {
        self.suspended.store(true, Ordering::Relaxed);
        self.running.send_replace(false);
    }

    pub fn resume(&self) {
        self.suspended.store(false, Ordering::Relaxed);
        self.running.send_replace(true);
    }

    pub fn is_suspended(&self) -> bool {
        self.suspended.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Clock for SimulatedClock {
    fn wall_ms(&self) -> u64 {
        EPOCH_MS + self.skew_ms + self.epoch.elapsed().as_millis() as u64
    }

    fn uptime(&self) -> Duration {
        // Not 0 at the start, so that code cannot mistake 0 for "never".
        Duration::from_secs(1_000_000) + self.epoch.elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
        let mut running = self.running.subscribe();
        let _ = running.wait_for(|running| *running).await; // an error means that the instance has ended
    }
}
