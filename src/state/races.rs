//! The recent races of each class: the positions "here now" by each racer's latest second, and
//! later the results.
//!
//! Races are in memory only, and come from this instance's deliveries only. Updates are merged as
//! the maximum of (second, output) per racer, so retries and records out of order change nothing.
//! The number of races and racers is bounded. Callers apply only durable efforts.

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use foldhash::fast::RandomState;
use parking_lot::{Mutex, MutexGuard};

use crate::domain::effort::{ClassId, Effort, Output, RaceId, RacerId, Second};

/// Maximum number of races per class: an hour of them, one after the other. A new race evicts the
/// least recently updated one.
pub(crate) const CLASS_RACES_MAX: usize = 12;

/// Maximum number of racers in all races of a class together, some 5 MB: two races of everyone in
/// the largest planned class. More racers evict the least recently updated races. A race that is
/// left alone accepts no more racers.
pub(crate) const CLASS_RACE_RACERS_MAX: usize = 100_000;

/// An effort of a delivery that belongs to a race.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RaceUpdate {
    /// The effort, with its race.
    pub effort: Effort,
    /// The effort's index in the delivery.
    pub index: usize,
    /// Whether the effort is the last of its race.
    pub is_final: bool,
}

/// The numbers of a race.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RaceSummary {
    /// The race.
    pub race: RaceId,
    /// Start in milliseconds since 1970: the time of the first effort that was applied, minus its
    /// second.
    pub started_ms: u64,
    /// Number of racers.
    pub racers: usize,
    /// The last second that any racer reached.
    pub last_second: Second,
    /// Whether that second was reported as the race's last.
    pub is_finished: bool,
    /// The class's version at the race's last change. Races of a class have different versions.
    pub version: u64,
}

/// A racer's position in a race.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RacePosition {
    /// The competition rank: 1 + the number of racers with greater outputs.
    pub rank: usize,
    /// The racer.
    pub racer: RacerId,
    /// The output at the racer's latest second.
    pub output: Output,
    /// The racer's latest second.
    pub second: Second,
}

/// Returns the race updates of a delivery's efforts. Efforts without a race are left out. `finals`
/// contains the indices, ascending, of the efforts that are the last of their race.
pub(crate) fn race_updates(efforts: &[Effort], finals: &[usize]) -> Vec<RaceUpdate> {
    let mut finals = finals.iter().copied().peekable();
    let update = |(index, effort): (usize, &Effort)| {
        let is_final = finals.next_if_eq(&index).is_some();
        effort.race.map(|_| RaceUpdate {
            effort: *effort,
            index,
            is_final,
        })
    };
    let mut updates = Vec::with_capacity(efforts.len()); // most efforts have a race
    updates.extend(efforts.iter().enumerate().filter_map(update));
    updates
}

/// The recent races of every class.
#[derive(Debug)]
pub struct Races {
    classes: Box<[Mutex<ClassRaces>]>,
}

#[derive(Debug, Default)]
struct ClassRaces {
    races: Vec<TrackedRace>,
    racers: usize,
    version: u64,
}

#[derive(Debug)]
struct TrackedRace {
    id: RaceId,
    started_ms: u64,
    last_second: Second,
    /// The greatest second that was reported as the last.
    end: Option<Second>,
    latest: HashMap<RacerId, (Second, Output), RandomState>,
    /// The class's version at the last update, whether it changed anything or not.
    updated: u64,
    /// The class's version at the last change.
    changed: u64,
}

impl Races {
    /// Creates an empty set of races for the classes 1 to `classes`.
    pub fn new(classes: u16) -> Self {
        Self {
            classes: ClassId::all(classes).map(|_| Mutex::default()).collect(),
        }
    }

    /// Applies the updates of a delivery.
    pub fn apply(&self, updates: &[RaceUpdate], receipt_ms: u64) {
        // A delivery mixes classes, so all are locked once, in order, instead of one per effort.
        let mut classes: Vec<_> = ClassId::all(self.classes())
            .map(|class| self.class(class))
            .collect();
        for update in updates {
            classes[update.effort.class.index()].apply(update, receipt_ms);
        }
    }

    /// Removes a racer whose latest effort was erased from the races of a class, or of all classes.
    /// Removes races without other racers.
    pub fn erase(
        &self,
        racer: RacerId,
        only: Option<ClassId>,
        is_erased: impl Fn(Second, Output) -> bool,
    ) {
        for class in ClassId::all(self.classes()) {
            if only.is_none_or(|only| only == class) {
                self.class(class).erase(racer, &is_erased);
            }
        }
    }

    /// Returns the version of a class's races. It grows with every change.
    pub fn version(&self, class: ClassId) -> u64 {
        self.class(class).version
    }

    /// Returns the class's races, newest first.
    pub fn summaries(&self, class: ClassId) -> Vec<RaceSummary> {
        let mut summaries: Vec<_> = self
            .class(class)
            .races
            .iter()
            .map(TrackedRace::summary)
            .collect();
        summaries.sort_unstable_by_key(|race| std::cmp::Reverse((race.started_ms, race.race.0)));
        summaries
    }

    /// Returns a race's numbers and its positions, by output descending, then by racer. `None` when
    /// the race is unknown.
    pub fn standings(
        &self,
        class: ClassId,
        race: RaceId,
    ) -> Option<(RaceSummary, Vec<RacePosition>)> {
        let (summary, mut positions) = {
            let class = self.class(class);
            let race = class.races.iter().find(|it| it.id == race)?;
            let position = |(&racer, &(second, output)): (&RacerId, &(Second, Output))| {
                let rank = 0; // set after sorting
                RacePosition {
                    rank,
                    racer,
                    output,
                    second,
                }
            };
            (
                race.summary(),
                race.latest.iter().map(position).collect::<Vec<_>>(),
            )
        };
        positions.sort_unstable_by(|a, b| b.output.cmp(&a.output).then(a.racer.cmp(&b.racer)));
        let mut before = None;
        for (index, row) in positions.iter_mut().enumerate() {
            row.rank = match before {
                Some((output, rank)) if output == row.output => rank,
                _ => index + 1,
            };
            before = Some((row.output, row.rank));
        }
        Some((summary, positions))
    }

    fn classes(&self) -> u16 {
        self.classes.len().try_into().unwrap_or(u16::MAX)
    }

    fn class(&self, class: ClassId) -> MutexGuard<'_, ClassRaces> {
        self.classes[class.index()].lock()
    }
}

impl ClassRaces {
    fn apply(&mut self, update: &RaceUpdate, receipt_ms: u64) {
        let RaceUpdate {
            effort, is_final, ..
        } = update;
        let Some(race) = effort.race else { return };
        let mut index = self.index(race);
        // A late record of a race that was evicted long ago must not evict a current one.
        let is_late =
            |it: &TrackedRace| it.started_ms > TrackedRace::started_ms(effort, receipt_ms);
        if index.is_none() && self.races.len() >= CLASS_RACES_MAX && self.races.iter().all(is_late)
        {
            return;
        }
        while self.racers >= CLASS_RACE_RACERS_MAX
            && index.is_none_or(|it| !self.races[it].latest.contains_key(&effort.racer))
        {
            if !self.evict_oldest(race) {
                return;
            }
            index = self.index(race);
        }
        self.version += 1;
        let index = index.unwrap_or_else(|| {
            if self.races.len() >= CLASS_RACES_MAX {
                self.evict_oldest(race);
            }
            self.races.push(TrackedRace::new(race, effort, receipt_ms));
            self.races.len() - 1
        });
        let race = &mut self.races[index];
        let before = race.latest.len();
        race.updated = self.version;
        if race.apply(effort, *is_final) {
            race.changed = self.version;
        }
        self.racers += race.latest.len() - before;
    }

    fn index(&self, race: RaceId) -> Option<usize> {
        self.races.iter().position(|it| it.id == race)
    }

    /// Evicts the least recently updated race other than `keep`; false when there is no other.
    fn evict_oldest(&mut self, keep: RaceId) -> bool {
        let others = self
            .races
            .iter()
            .enumerate()
            .filter(|(_, it)| it.id != keep);
        let Some((oldest, _)) = others.min_by_key(|(_, it)| it.updated) else {
            return false;
        };
        self.racers -= self.races.swap_remove(oldest).latest.len();
        true
    }

    fn erase(&mut self, racer: RacerId, is_erased: impl Fn(Second, Output) -> bool) {
        for race in &mut self.races {
            let latest = race.latest.get(&racer).copied();
            if latest.is_some_and(|(second, output)| is_erased(second, output)) {
                race.latest.remove(&racer);
                self.version += 1;
                self.racers -= 1;
                race.last_second = race
                    .latest
                    .values()
                    .map(|&(second, _)| second)
                    .max()
                    .unwrap_or(Second(0));
                race.changed = self.version;
            }
        }
        self.races.retain(|race| !race.latest.is_empty());
    }
}

impl TrackedRace {
    /// Returns the start of the race as one of its efforts gives it.
    fn started_ms(effort: &Effort, receipt_ms: u64) -> u64 {
        let ridden_ms = if effort.time == 0 {
            receipt_ms
        } else {
            effort.time
        };
        ridden_ms.saturating_sub(u64::from(effort.second.0) * 1000)
    }

    fn new(id: RaceId, first: &Effort, receipt_ms: u64) -> Self {
        Self {
            id,
            started_ms: Self::started_ms(first, receipt_ms),
            last_second: Second(0),
            end: None,
            latest: HashMap::default(),
            updated: 0,
            changed: 0,
        }
    }

    /// Merges an effort. Returns whether it changed anything.
    fn apply(&mut self, effort: &Effort, is_final: bool) -> bool {
        let ridden = (effort.second, effort.output);
        let end = is_final.then_some(effort.second);
        let mut is_newer = end > self.end;
        self.end = self.end.max(end);
        self.last_second = self.last_second.max(effort.second);
        self.latest
            .entry(effort.racer)
            .and_modify(|latest| {
                is_newer |= ridden > *latest;
                *latest = ridden.max(*latest);
            })
            .or_insert_with(|| {
                is_newer = true;
                ridden
            });
        is_newer
    }

    fn summary(&self) -> RaceSummary {
        RaceSummary {
            race: self.id,
            started_ms: self.started_ms,
            racers: self.latest.len(),
            last_second: self.last_second,
            // A racer whose last second is before the others' latest has left early: the race goes
            // on.
            is_finished: self.end.is_some_and(|end| end >= self.last_second),
            version: self.changed,
        }
    }
}
