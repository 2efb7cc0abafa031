//! The bucket that all instances share, with S3's conditions. It checks the invariants of every put
//! and delete.

use std::collections::BTreeMap;
use std::sync::Mutex;

use alleycat::domain::effort::{ClassId, Effort, Output, RacerId, Second};
use alleycat::domain::erasure::Erasures;
use alleycat::state::table::ClassTable;
use alleycat::storage::history_file::StoredHistory;
use alleycat::storage::{ETag, ListEntry, ListScope, ObjectKey, Precondition, StoredObject};
use bytes::Bytes;

use crate::builders::gunzip;

/// The bucket that all instances share.
#[derive(Debug, Default)]
pub struct Bucket {
    objects: Mutex<BTreeMap<String, StoredObject>>,
    /// The first violated invariant, and where. The simulation checks it.
    pub broken: Mutex<Option<String>>,
}

impl Bucket {
    pub fn get(&self, path: &str) -> Option<StoredObject> {
        self.objects.lock().unwrap().get(path).cloned()
    }

    pub fn paths(&self) -> Vec<String> {
        self.objects.lock().unwrap().keys().cloned().collect()
    }

    pub fn list(&self, scope: ListScope) -> Vec<ListEntry> {
        let objects = self.objects.lock().unwrap();
        let listed = objects.iter().filter_map(|(path, object)| {
            let key = ObjectKey::parse(path)?;
            let there = match scope {
                ListScope::Root => !path.contains('/'),
                ListScope::Journal => path.starts_with("journal/"),
            };
            there.then(|| ListEntry {
                key,
                etag: object.etag.clone(),
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
            && let Err(problem) = keeps(*class, &replaced.body, &body, &erasures_of(&objects))
        {
            *self.broken.lock().unwrap() = Some(format!("{key} was replaced and {problem}"));
        }
        // As on S3, equal bodies have equal ETags.
        let etag = ETag(format!("{:032x}", xxhash_rust::xxh3::xxh3_128(&body)));
        objects.insert(
            key.path(),
            StoredObject {
                body,
                etag: etag.clone(),
            },
        );
        Some(etag)
    }

    /// Deletes an object, as an operator would.
    pub fn remove(&self, key: &ObjectKey) {
        self.objects.lock().unwrap().remove(&key.path());
    }

    /// Deletes an object. All efforts of a deleted segment must be in the stored snapshots.
    pub fn delete(&self, key: &ObjectKey) {
        let Some(object) = self.objects.lock().unwrap().remove(&key.path()) else {
            return;
        };
        if let ObjectKey::Segment(_) = key
            && let Err(problem) = self.is_covered(&object.body)
        {
            *self.broken.lock().unwrap() = Some(format!("{key} was deleted and {problem}"));
        }
    }

    /// Returns the stored erasures.
    pub fn erasures(&self) -> Erasures {
        erasures_of(&self.objects.lock().unwrap())
    }

    fn is_covered(&self, segment: &[u8]) -> Result<(), String> {
        let erasures = self.erasures();
        for line in gunzip(segment).lines().skip(1) {
            let line: serde_json::Value = serde_json::from_str(line).expect("a segment's line");
            let racer = RacerId(line["racerId"].as_u64().expect("every line has a racer"));
            if let Some(name) = line["name"].as_str() {
                if erasures.cover_name(racer, line["at"].as_u64().expect("a time")) {
                    continue;
                }
                let racers = self.get("racers.gz").ok_or("there is no racers.gz")?;
                let racers: serde_json::Value =
                    serde_json::from_str(&gunzip(&racers.body)).expect("names");
                let stored = &racers[racer.to_string()];
                let stored = (stored["at"].as_u64(), stored["name"].as_str());
                if stored < (line["at"].as_u64(), Some(name)) {
                    return Err(format!("the name of {racer} is not covered"));
                }
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
            if erasures.cover(&effort, 0) || erasures.uncover(&effort, 0) {
                continue;
            }
            let snapshot = self
                .get(&format!("class-{class}.gz"))
                .ok_or(format!("there is no class-{class}.gz"))?;
            let stored = stored_output(&snapshot.body, class as u16, racer, second);
            if stored.is_none_or(|stored| stored < output) {
                return Err(format!(
                    "{output} of {racer} at {second} of class {class} is not covered: {stored:?}"
                ));
            }
        }
        Ok(())
    }
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
                "{output} of {racer} at {second} went: there is {after:?}"
            ));
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
