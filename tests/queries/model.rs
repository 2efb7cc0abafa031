//! A naive model of the data of random rides.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use crate::support::Service;

/// A naive dataset: the best output of every racer by (class, second).
#[derive(Default)]
pub struct Model(pub BTreeMap<(u64, u64), BTreeMap<u64, f64>>);

impl Model {
    fn ride(&mut self, class: u64, second: u64, racer: u64, output: f64) {
        let best = self
            .0
            .entry((class, second))
            .or_default()
            .entry(racer)
            .or_insert(output);
        *best = best.max(output);
    }

    /// Returns the seconds of a class, ascending.
    pub fn seconds(&self, class: u64) -> Vec<u64> {
        self.0
            .keys()
            .filter(|key| key.0 == class)
            .map(|key| key.1)
            .collect()
    }

    /// Returns (rank, racer, output) at a second.
    pub fn standings(&self, class: u64, second: u64) -> Vec<(u64, u64, f64)> {
        let mut rows: Vec<_> = self
            .0
            .get(&(class, second))
            .into_iter()
            .flatten()
            .map(|(&r, &o)| (r, o))
            .collect();
        rows.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let rank = |output: f64| 1 + rows.iter().filter(|row| row.1 > output).count() as u64;
        rows.iter()
            .map(|&(racer, output)| (rank(output), racer, output))
            .collect()
    }
}

/// Delivers random efforts with many ties, and returns their model.
pub async fn ride_at_random(service: &Service, seed: u64) -> Model {
    let mut chance = StdRng::seed_from_u64(seed);
    let mut model = Model::default();
    for _ in 0..4 {
        let records: Vec<Value> = (0..150)
            .map(|_| {
                let (class, second) = (chance.random_range(1..=2), chance.random_range(0..8));
                let (racer, cadence) = (chance.random_range(1..60_u64), chance.random_range(60..70_u32));
                let resistance = f64::from(chance.random_range(30..33_u32)) / 3.0;
                let output = (f64::from(cadence) + 35.0) * (resistance + 65.0) / 100.0;
                model.ride(class, second, racer, output);
                let record = json!({
                    "classId": class, "second": second, "racerId": racer, "cadence": cadence, "resistance": resistance,
                    "name": format!("Racer {racer}"), "deviceTimestamp": 1,
                });
                record
            })
            .collect();
        service.deliver(&records).await;
    }
    model
}

/// Writes the dataset's JSON naively, with the chosen racers of every second.
pub fn dataset(
    model: &Model,
    class: u64,
    chosen: impl Fn(u64, &[(u64, f64)]) -> Vec<(u64, f64)>,
) -> String {
    let seconds = model.seconds(class).into_iter().filter_map(|second| {
        let racers: Vec<_> = model.0[&(class, second)]
            .iter()
            .map(|(&racer, &output)| (racer, output))
            .collect();
        let chosen = chosen(second, &racers);
        let cells = chosen.iter().map(|(racer, output)| {
            format!("\"{racer}\":{}", ryu_js::Buffer::new().format(*output))
        });
        let cells = cells.collect::<Vec<_>>().join(",");
        (!chosen.is_empty()).then(|| format!("\"{second}\":{{{cells}}}"))
    });
    format!("{{{}}}", seconds.collect::<Vec<_>>().join(","))
}
