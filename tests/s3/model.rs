//! A model of sent and acknowledged efforts, and the state of a store.

use std::collections::BTreeMap;

use alleycat::state::table::Table;
use bytes::Bytes;
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use crate::CLASSES;
use crate::support::instance::Instance;
use crate::support::test_store::TestStore;
use crate::support::{effort, gunzip};

/// Class, second, racer.
pub type Key = (u16, u32, u64);
pub type State = BTreeMap<Key, f64>;

/// Sent and acknowledged efforts. Any state lies between the two.
#[derive(Default)]
pub struct Model {
    sent: BTreeMap<Key, Vec<f64>>,
    pub acknowledged: State,
}

impl Model {
    pub fn send(&mut self, efforts: &[(Key, f64)]) {
        for &(key, output) in efforts {
            self.sent.entry(key).or_default().push(output);
        }
    }

    pub fn acknowledge(&mut self, efforts: &[(Key, f64)]) {
        for &(key, output) in efforts {
            let best = self.acknowledged.entry(key).or_insert(output);
            *best = best.max(output);
        }
    }

    /// Checks that the state holds every acknowledged effort, and only efforts that were sent.
    pub fn check(&self, state: &State) {
        for (key, best) in &self.acknowledged {
            let found = state.get(key);
            assert!(
                found >= Some(best),
                "{key:?}: {best} was acknowledged, but {found:?} is stored"
            );
        }
        for (key, output) in state {
            let sent = self.sent.get(key).is_some_and(|sent| sent.contains(output));
            assert!(sent, "{key:?}: {output} was never sent");
        }
    }
}

/// Returns `class-N.gz`, if it exists.
pub async fn stored(test_store: &TestStore, class: u16) -> Option<Bytes> {
    test_store.get(&format!("class-{class}.gz")).await
}

/// Reads the state from the stored histories.
pub async fn state_of(test_store: &TestStore) -> State {
    let mut state = State::new();
    for class in 1..=CLASSES {
        state.extend(
            stored(test_store, class)
                .await
                .map(|stored| read(class, &stored))
                .unwrap_or_default(),
        );
    }
    state
}

/// Reads a history, and checks its form: seconds, then racers, in numeric order.
pub fn read(class: u16, gzip: &[u8]) -> State {
    let text = gunzip(gzip);
    let seconds: BTreeMap<u32, BTreeMap<u64, f64>> = serde_json::from_str(&text).unwrap();
    let racer = |(racer, output): (&u64, &f64)| format!("\"{racer}\":{output}");
    let second = |(second, racers): (&u32, &BTreeMap<u64, f64>)| {
        format!(
            "\"{second}\":{{{}}}",
            racers.iter().map(racer).collect::<Vec<_>>().join(",")
        )
    };
    assert_eq!(
        text,
        format!(
            "{{{}}}",
            seconds.iter().map(second).collect::<Vec<_>>().join(",")
        )
    );
    let efforts = seconds.iter().flat_map(|(second, racers)| {
        racers
            .iter()
            .map(move |(racer, output)| ((class, *second, *racer), *output))
    });
    efforts.collect()
}

/// Builds a table of the state.
pub fn table(state: &State) -> Table {
    let effort =
        |(&(class, second, racer), &output): (&Key, &f64)| effort(class, second, racer, output);
    let table = Table::new(6);
    table.merge(&state.iter().map(effort).collect::<Vec<_>>(), 0);
    table
}

/// Returns the `stateHash` of every class, from `/classes`.
pub async fn hashes(instance: &Instance) -> Vec<String> {
    let classes = instance.json("/classes").await;
    classes
        .as_array()
        .unwrap()
        .iter()
        .map(|class| class["stateHash"].as_str().unwrap().to_owned())
        .collect()
}

/// Returns the expected `stateHash` of every class.
pub fn hashes_of(state: &State) -> Vec<String> {
    let table = table(state);
    table
        .classes()
        .map(|class| format!("{:016x}", table.summary(class).state_hash))
        .collect()
}

pub fn records(efforts: &[(Key, f64)]) -> Vec<Value> {
    let mut records = Vec::new();
    for &((class, second, racer), output) in efforts {
        records.push(
            json!({ "classId": class, "second": second, "racerId": racer, "output": output }),
        );
    }
    records
}

/// Returns random efforts over few keys, so that many efforts compete for each.
pub fn some_efforts(chance: &mut StdRng) -> Vec<(Key, f64)> {
    let count = chance.random_range(1..40);
    let effort = |_| {
        let key = (
            chance.random_range(1..=CLASSES),
            chance.random_range(0..12),
            chance.random_range(1..20),
        );
        (key, f64::from(chance.random_range(0..2_000)) / 4.0)
    };
    (0..count).map(effort).collect()
}
