//! The promises about races and finishes, and the checks of an instance's state against them.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use alleycat::domain::effort::{ClassId, RaceId, RacerId};
use alleycat::domain::erasure::Erasures;
use alleycat::domain::race_row::RaceRow;
use alleycat::ledger::Ledger;

use super::CLASSES;
use crate::bucket::CLOCK_SKEW_MS;

/// All rows of an instance: those of races, then the finishes, of every class.
pub type RaceState = Vec<(Vec<RaceRow>, Vec<RaceRow>)>;

/// The rows that clients sent, and those that were acknowledged.
#[derive(Default)]
pub struct RaceTruth {
    sent: BTreeMap<(ClassId, RacerId), Vec<RaceRow>>,
    acknowledged_finals: Vec<RaceRow>,
    kept_ms: u64,
}

impl RaceTruth {
    /// Creates the promises of instances that keep rows for this time.
    pub fn new(kept: Duration) -> Self {
        Self {
            kept_ms: kept.as_millis() as u64,
            ..Self::default()
        }
    }

    pub fn note_sent(&mut self, row: RaceRow) {
        let sent = self.sent.entry((row.class, row.racer)).or_default();
        if !sent.contains(&row) {
            sent.push(row);
        }
    }

    /// Notes an acknowledged final, and expects that it stands on the instance that took it.
    pub fn note_acknowledged(&mut self, ledger: &Ledger, row: RaceRow) {
        self.expect_final(ledger, &row);
        self.acknowledged_finals.push(row);
    }

    /// Expects that the instance holds every acknowledged final, or a better row, and nothing that
    /// was not sent, is erased, or has expired.
    pub fn check(&self, ledger: &Ledger) {
        for row in &self.acknowledged_finals {
            self.expect_final(ledger, row);
        }
        self.check_rows(ledger);
    }

    /// Expects that the instance holds nothing that was not sent, is erased, or has expired.
    pub fn check_rows(&self, ledger: &Ledger) {
        let erasures = ledger.erasures();
        for (class, (rows, finishes)) in ClassId::all(CLASSES).zip(race_state(ledger)) {
            let floor_ms = ledger.races().floor_ms(class);
            for row in rows.iter().chain(&finishes) {
                let sent = self.sent.get(&(row.class, row.racer));
                assert!(
                    sent.is_some_and(|sent| sent.contains(row)),
                    "{row:?} was never sent"
                );
                assert!(!is_erased(&erasures, row), "{row:?} is erased");
            }
            for row in rows {
                assert!(row.at_ms >= floor_ms, "{row:?} has expired at {floor_ms}");
            }
        }
    }

    fn expect_final(&self, ledger: &Ledger, row: &RaceRow) {
        let erasures = ledger.erasures();
        // An erasure also removes rows that another one dominated.
        let is_owed = |is_hidden_by: &dyn Fn(&RaceRow) -> bool| {
            let mut sent = self.sent[&(row.class, row.racer)].iter();
            !sent.any(|other| is_hidden_by(other) && is_erased(&erasures, other))
        };
        let rows = ledger.races().rows_of(row.class, row.racer);
        let repeats = |other: &RaceRow| other.race == row.race && row.repeats(other);
        let expires = |at_ms: u64| at_ms + self.kept_ms <= ledger.now_ms() + CLOCK_SKEW_MS;
        // A record without a time keeps its first receipt, also if that was never acknowledged.
        let sent = &self.sent[&(row.class, row.racer)];
        let has_expired =
            expires(row.at_ms) || sent.iter().any(|it| repeats(it) && expires(it.at_ms));
        // The same record without a time, received before, may stand for this one, with its time.
        let is_as_far = |other: &RaceRow| !row.has_effort_time && other.position_order(row).is_ge();
        let hides =
            |other: &RaceRow| other.race == row.race && (other.dominates(row) || is_as_far(other));
        assert!(
            rows.iter().any(hides) || has_expired || !is_owed(&hides),
            "{row:?} was acknowledged and its position is missing: {rows:?}"
        );
        let beats =
            |other: &RaceRow| other.is_final && (other.finish_order(row).is_ge() || repeats(other));
        let (_, finishes) = ledger.races().finishes(row.class);
        let finish = finishes.iter().find(|it| it.racer == row.racer);
        assert!(
            finish.is_some_and(beats) || !is_owed(&beats),
            "{row:?} was acknowledged and is missing as a finish: {finish:?}"
        );
    }
}

fn is_erased(erasures: &Erasures, row: &RaceRow) -> bool {
    erasures.any_covers(&row.effort(), 0)
}

/// Returns the rows of an instance.
pub fn race_state(ledger: &Ledger) -> RaceState {
    let races = ledger.races();
    let of_class = |class| {
        let copy = races.copy(class, &HashMap::<RaceId, _>::new());
        let rows = copy.races.into_iter();
        let rows = rows.flat_map(|(_, _, rows)| rows.expect("all rows are copied"));
        (rows.collect(), races.finishes(class).1)
    };
    ClassId::all(CLASSES).map(of_class).collect()
}
