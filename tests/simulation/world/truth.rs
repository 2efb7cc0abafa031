//! The promises of a simulated world, and the checks of an instance's state against them.

use std::collections::{BTreeMap, BTreeSet};

use alleycat::domain::effort::{ClassId, Effort, EffortTimeMs, Output, RacerId, Second};
use alleycat::domain::erasure::{Erasure, ErasureScope, Erasures};
use alleycat::domain::racer_names::RacerName;
use alleycat::ledger::Ledger;

use super::races::RaceTruth;
use super::{CLASSES, RACERS, SECOND_MAX};

/// A class, a second of the race, and a racer.
pub type Key = (ClassId, Second, RacerId);

/// An output and its time.
pub type Ride = (Output, EffortTimeMs);

/// The promises made to clients, and the state that readers saw.
#[derive(Default)]
pub struct Truth {
    pub sent: BTreeMap<Key, BTreeSet<Ride>>,
    pub acknowledged: BTreeSet<(Key, Ride)>,
    /// Outputs seen by any reader of any instance.
    pub seen: BTreeSet<(Key, Output)>,
    pub names: BTreeMap<RacerId, BTreeSet<RacerName>>,
    /// Acknowledged erasures.
    pub erased: Vec<Erasure>,
    pub races: RaceTruth,
}

impl Truth {
    /// Returns whether the output was ridden and is not erased.
    pub fn may_stand(&self, erasures: &Erasures, key: Key, output: Output) -> bool {
        self.sent.get(&key).is_some_and(|sent| {
            sent.iter()
                .any(|&ride| ride.0 == output && !erasures.any_covers(&effort_of(key, ride), 0))
        })
    }

    /// Returns whether an acknowledged ride, or a better one, must stand. It need not if it is
    /// erased, or if it was ridden below a better one that was erased before the erasure's time had
    /// passed.
    fn is_owed(&self, erasures: &Erasures, key: Key, ride: Ride) -> bool {
        let stood_above = |other: &Ride| {
            let other_effort = effort_of(key, *other);
            other.0 >= ride.0
                && erasures
                    .iter()
                    .any(|it| it.until_ms >= ride.1 && it.covers(&other_effort))
        };
        !erasures.any_covers(&effort_of(key, ride), 0) && !self.sent[&key].iter().any(stood_above)
    }

    /// Checks that nothing acknowledged or seen is missing, nothing unsent is present, and erased
    /// outputs are gone.
    pub fn check(&self, ledger: &Ledger) {
        let erasures = ledger.erasures();
        self.races.check(ledger);
        for erased in &self.erased {
            let known = erasures
                .find(&erased.scope)
                .map_or(0, |erasure| erasure.until_ms);
            assert!(
                known >= erased.until_ms,
                "an erasure was acknowledged and is missing: {erased:?}"
            );
        }
        for &(key, ride) in &self.acknowledged {
            let stands = output(ledger, key) >= Some(ride.0);
            assert!(
                stands || !self.is_owed(&erasures, key, ride),
                "{key:?} {ride:?} was acknowledged and is missing"
            );
        }
        for &(key, seen) in &self.seen {
            let mut rides = self.sent[&key].iter().filter(|ride| ride.0 == seen);
            let owed = rides.all(|&ride| self.is_owed(&erasures, key, ride));
            assert!(
                output(ledger, key) >= Some(seen) || !owed,
                "{key:?} {seen} was seen and is missing"
            );
        }
        for key in keys() {
            if let Some(output) = output(ledger, key) {
                let allowed = self.may_stand(&erasures, key, output);
                assert!(
                    allowed,
                    "{key:?} {output} was never sent, or is erased: {:?}",
                    self.sent.get(&key)
                );
            }
        }
        for racer in (0..RACERS).map(RacerId) {
            if let Some(name) = ledger.names().get(racer) {
                let mut given = self.names.get(&racer).into_iter().flatten();
                let allowed =
                    given.any(|it| it.text == name && !erasures.any_covers_name(racer, it.at_ms));
                assert!(allowed, "{name} was never sent, or is erased");
            }
        }
    }
}

pub fn keys() -> impl Iterator<Item = Key> {
    ClassId::all(CLASSES).flat_map(|class| {
        (0..=SECOND_MAX).flat_map(move |second| {
            (0..RACERS).map(move |racer| (class, Second(second), RacerId(racer)))
        })
    })
}

pub fn key(effort: &Effort) -> Key {
    (effort.class, effort.second, effort.racer)
}

pub fn output(ledger: &Ledger, (class, second, racer): Key) -> Option<Output> {
    let curve = ledger.table().racer_bests(class, racer);
    curve
        .into_iter()
        .find(|&(at, _)| at == second)
        .map(|(_, output)| output)
}

pub fn effort_of((class, second, racer): Key, (output, time): Ride) -> Effort {
    Effort {
        class,
        second,
        racer,
        output,
        race: None,
        time,
    }
}

/// Returns whether an erasure may concern the racer at that second.
pub fn erasures_touch(erasures: &Erasures, (class, second, racer): Key) -> bool {
    let touches = |scope: &ErasureScope| {
        scope.racer_id == racer && scope.concerns(class) && scope.seconds().contains(&second)
    };
    erasures.iter().any(|erasure| touches(&erasure.scope))
}
