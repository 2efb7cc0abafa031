//! Here now, and then the results: who stands where in each of a class's recent races, by each racer's latest second.
//!
//! In memory only, and of this instance's deliveries only. What is heard is merged as the maximum per racer of (second,
//! output), so that retries and records out of order change nothing; what is remembered is bounded. The caller hears
//! what is durable, and nothing else.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;

use crate::domain::effort::{ClassId, Effort, Output, RaceId, RacerId, Second};

/// Races of a class that are remembered: an hour of them, one after the other. The one least recently heard of makes
/// room for the next.
pub const CLASS_RACES_MAX: usize = 12;

/// Racers in all remembered races of a class together, some 5 MB: two races of everyone in the largest class that was
/// planned for. For more, the races least recently heard of are forgotten; a race that is left alone takes no more.
pub const CLASS_RACE_RACERS_MAX: usize = 100_000;

/// An effort in a race, as a delivery tells it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RaceUpdate {
    /// The effort; it names its race.
    pub effort: Effort,
    /// The effort's index in the delivery.
    pub index: usize,
    /// Whether it is the last of its race.
    pub is_final: bool,
}

/// A race in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RaceSummary {
    /// The race.
    pub race: RaceId,
    /// When it started, in milliseconds since 1970: the time of the first effort that was heard of, less its second.
    pub started_ms: u64,
    /// How many racers were heard of.
    pub racers: usize,
    /// The last second that anyone reached.
    pub last_second: Second,
    /// Whether that second was told to be the race's last.
    pub is_finished: bool,
    /// The class's version when something of the race last changed: no two races of a class have the same.
    pub version: u64,
}

/// A racer's place in a race.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RacePosition {
    /// 1 more than there are racers with greater outputs.
    pub rank: usize,
    /// Who.
    pub racer: RacerId,
    /// The output at the racer's latest second.
    pub output: Output,
    /// That second.
    pub second: Second,
}

/// What a delivery's efforts say of races; those without a race say nothing. `finals` has the places, ascending, of
/// those that are the last of their race.
pub fn race_updates(efforts: &[Effort], finals: &[usize]) -> Vec<RaceUpdate> {
    let mut finals = finals.iter().copied().peekable();
    let update = |(index, effort): (usize, &Effort)| {
        let is_final = finals.next_if_eq(&index).is_some();
        effort.race.map(|_| RaceUpdate {
            effort: *effort,
            index,
            is_final,
        })
    };
    let mut updates = Vec::with_capacity(efforts.len()); // mostly all of them
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
    end: Option<Second>,
    latest: HashMap<RacerId, (Second, Output), RandomState>,
    heard: u64,
    changed: u64,
}

impl Races {
    /// No race yet, in classes 1 to `classes`.
    pub fn new(classes: u16) -> Self {
        Self {
            classes: ClassId::all(classes).map(|_| Mutex::default()).collect(),
        }
    }

    /// Hears what a delivery brought, which was received at that time.
    pub fn apply(&self, heard: &[RaceUpdate], receipt_ms: u64) {
        // A delivery mixes classes, so all are taken, in order, rather than one for every effort.
        let mut classes: Vec<_> = ClassId::all(self.classes())
            .map(|class| self.class(class))
            .collect();
        for heard in heard {
            classes[heard.effort.class.index()].apply(heard, receipt_ms);
        }
    }

    /// Forgets a racer whose latest effort is gone, in the races of that class, or of all; and races that have nobody
    /// else.
    pub fn erase(
        &self,
        racer: RacerId,
        of: Option<ClassId>,
        is_gone: impl Fn(Second, Output) -> bool,
    ) {
        for class in ClassId::all(self.classes()) {
            if of.is_none_or(|of| of == class) {
                self.class(class).erase(racer, &is_gone);
            }
        }
    }

    /// Grows whenever something of the class's races changes.
    pub fn version(&self, class: ClassId) -> u64 {
        self.class(class).version
    }

    /// The class's races, the newest first.
    pub fn summaries(&self, class: ClassId) -> Vec<RaceSummary> {
        let mut summaries: Vec<_> = self
            .class(class)
            .races
            .iter()
            .map(TrackedRace::summary)
            .collect();
        summaries.sort_unstable_by_key(|it| std::cmp::Reverse((it.started_ms, it.race.0)));
        summaries
    }

    /// The race in numbers, and its standings: by output descending, then by racer. `None` where it is not remembered.
    pub fn standings(
        &self,
        class: ClassId,
        race: RaceId,
    ) -> Option<(RaceSummary, Vec<RacePosition>)> {
        let (summary, mut standings) = {
            let class = self.class(class);
            let race = class.races.iter().find(|it| it.id == race)?;
            let standing = |(&racer, &(second, output)): (&RacerId, &(Second, Output))| {
                let rank = 0; // until they are in order
                RacePosition {
                    rank,
                    racer,
                    output,
                    second,
                }
            };
            (
                race.summary(),
                race.latest.iter().map(standing).collect::<Vec<_>>(),
            )
        };
        standings.sort_unstable_by(|a, b| b.output.cmp(&a.output).then(a.racer.cmp(&b.racer)));
        let mut before = None;
        for (place, row) in standings.iter_mut().enumerate() {
            row.rank = match before {
                Some((output, rank)) if output == row.output => rank,
                _ => place + 1,
            };
            before = Some((row.output, row.rank));
        }
        Some((summary, standings))
    }

    fn classes(&self) -> u16 {
        self.classes.len().try_into().unwrap_or(u16::MAX)
    }

    fn class(&self, class: ClassId) -> MutexGuard<'_, ClassRaces> {
        self.classes[class.index()]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClassRaces {
    fn apply(&mut self, heard: &RaceUpdate, receipt_ms: u64) {
        let RaceUpdate {
            effort, is_final, ..
        } = heard;
        let Some(race) = effort.race else { return };
        let mut place = self.place(race);
        // A late record of a race that made room long ago must not push out one that is ridden now.
        let is_late =
            |it: &TrackedRace| it.started_ms > TrackedRace::started_ms(effort, receipt_ms);
        if place.is_none() && self.races.len() >= CLASS_RACES_MAX && self.races.iter().all(is_late)
        {
            return;
        }
        while self.racers >= CLASS_RACE_RACERS_MAX
            && place.is_none_or(|it| !self.races[it].latest.contains_key(&effort.racer))
        {
            if !self.forget_oldest(race) {
                return;
            }
            place = self.place(race);
        }
        self.version += 1;
        let place = place.unwrap_or_else(|| {
            if self.races.len() >= CLASS_RACES_MAX {
                self.forget_oldest(race);
            }
            self.races.push(TrackedRace::new(race, effort, receipt_ms));
            self.races.len() - 1
        });
        let race = &mut self.races[place];
        let before = race.latest.len();
        race.heard = self.version;
        if race.apply(effort, *is_final) {
            race.changed = self.version;
        }
        self.racers += race.latest.len() - before;
    }

    fn place(&self, race: RaceId) -> Option<usize> {
        self.races.iter().position(|it| it.id == race)
    }

    /// Forgets the race least recently heard of, but not that one; `false` where there is no other.
    fn forget_oldest(&mut self, but: RaceId) -> bool {
        let others = self.races.iter().enumerate().filter(|(_, it)| it.id != but);
        let Some((oldest, _)) = others.min_by_key(|(_, it)| it.heard) else {
            return false;
        };
        self.racers -= self.races.swap_remove(oldest).latest.len();
        true
    }

    fn erase(&mut self, racer: RacerId, is_gone: impl Fn(Second, Output) -> bool) {
        for race in &mut self.races {
            let latest = race.latest.get(&racer).copied();
            if latest.is_some_and(|(second, output)| is_gone(second, output)) {
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
    /// When the race of that effort started, as far as the effort tells.
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
            heard: 0,
            changed: 0,
        }
    }

    /// Whether that was news.
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
            // A racer who says so early, and is overtaken by the others' clocks, has not ended the race.
            is_finished: self.end.is_some_and(|end| end >= self.last_second),
            version: self.changed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLASS: ClassId = ClassId::new(1).unwrap();

    fn effort(race: u64, racer: u64, second: u32, output: f64) -> Effort {
        let (race, time) = (Some(RaceId(race)), 1_000_000);
        let output = Output::new(output).unwrap();
        Effort {
            class: CLASS,
            second: Second(second),
            racer: RacerId(racer),
            output,
            race,
            time,
        }
    }

    fn apply(races: &Races, efforts: &[Effort], finals: &[usize]) {
        races.apply(&super::race_updates(efforts, finals), 2_000_000);
    }

    fn rows(races: &Races, race: u64) -> Vec<(usize, u64, u32)> {
        let (_, rows) = races.standings(CLASS, RaceId(race)).unwrap();
        rows.iter()
            .map(|row| (row.rank, row.racer.0, row.second.0))
            .collect()
    }

    #[test]
    fn racers_stand_by_the_output_at_their_latest_second_in_whatever_order_it_comes() {
        let efforts = [
            effort(7, 1, 3, 90.0),
            effort(7, 1, 1, 300.0),
            effort(7, 2, 2, 100.0),
            effort(7, 3, 3, 90.0),
            effort(7, 4, 1, 80.0),
            effort(7, 2, 2, 95.0), // the same second again, and no better
        ];
        let mut other_way = efforts;
        other_way.reverse();
        for efforts in [efforts, other_way] {
            for at_once in [1, 2, efforts.len()] {
                let races = Races::new(1);
                for delivery in efforts.chunks(at_once).chain(efforts.chunks(at_once)) {
                    apply(&races, delivery, &[]);
                }
                assert_eq!(
                    rows(&races, 7),
                    [(1, 2, 2), (2, 1, 3), (2, 3, 3), (4, 4, 1)]
                );
                assert_eq!(races.summaries(CLASS)[0].racers, 4);
            }
        }
    }

    #[test]
    fn a_race_is_finished_once_its_last_second_was_told_to_be_the_last() {
        let races = Races::new(1);
        let is_finished = || races.summaries(CLASS)[0].is_finished;
        apply(
            &races,
            &[effort(7, 1, 10, 90.0), effort(7, 2, 12, 90.0)],
            &[0],
        );
        assert!(!is_finished(), "racer 1 left early");
        apply(&races, &[effort(7, 2, 13, 90.0)], &[0]);
        assert!(is_finished());
        apply(&races, &[effort(7, 3, 12, 90.0)], &[]);
        assert!(is_finished(), "a straggler's record changes nothing");
        apply(&races, &[effort(7, 3, 14, 90.0)], &[]);
        assert!(!is_finished());
    }

    #[test]
    fn a_race_started_when_the_first_that_was_heard_of_it_says() {
        let races = Races::new(1);
        let unknown = Effort {
            time: 0,
            ..effort(8, 1, 5, 90.0)
        };
        apply(
            &races,
            &[effort(7, 1, 5, 90.0), unknown, effort(7, 2, 900, 90.0)],
            &[],
        );
        let started: Vec<_> = races
            .summaries(CLASS)
            .iter()
            .map(|it| (it.race.0, it.started_ms))
            .collect();
        assert_eq!(started, [(8, 1_995_000), (7, 995_000)]);
    }

    #[test]
    fn the_race_least_recently_heard_of_falls_out() {
        let races = Races::new(1);
        for race in 0..CLASS_RACES_MAX as u64 {
            apply(&races, &[effort(race, 1, 1, 90.0)], &[]);
        }
        apply(
            &races,
            &[effort(0, 1, 1, 90.0), effort(99, 1, 1, 90.0)],
            &[],
        );
        let mut left: Vec<_> = races.summaries(CLASS).iter().map(|it| it.race.0).collect();
        left.sort_unstable();
        assert_eq!(left, [0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 99]);
    }

    #[test]
    fn racers_are_bounded_and_those_that_are_there_ride_on() {
        let races = Races::new(1);
        let many = |race| {
            (0..CLASS_RACE_RACERS_MAX as u64)
                .map(|racer| effort(race, racer, 1, 90.0))
                .collect::<Vec<_>>()
        };
        apply(&races, &many(1)[..10], &[]);
        apply(&races, &many(2), &[]);
        assert_eq!(
            races
                .summaries(CLASS)
                .iter()
                .map(|it| it.race.0)
                .collect::<Vec<_>>(),
            [2]
        );
        apply(
            &races,
            &[
                effort(2, CLASS_RACE_RACERS_MAX as u64, 2, 90.0),
                effort(2, 5, 2, 95.0),
            ],
            &[],
        );
        let summary = races.summaries(CLASS)[0];
        assert_eq!(
            (summary.racers, rows(&races, 2)[0]),
            (CLASS_RACE_RACERS_MAX, (1, 5, 2))
        );
        apply(&races, &[effort(3, 1, 1, 90.0)], &[]);
        assert_eq!(
            races
                .summaries(CLASS)
                .iter()
                .map(|it| it.race.0)
                .collect::<Vec<_>>(),
            [3]
        );
    }

    #[test]
    fn a_racer_who_is_forgotten_leaves_the_races_of_that_class_and_nobody_elses() {
        let races = Races::new(2);
        let elsewhere = Effort {
            class: ClassId::new(2).unwrap(),
            ..effort(7, 1, 9, 90.0)
        };
        apply(
            &races,
            &[
                effort(7, 1, 9, 90.0),
                effort(7, 2, 4, 90.0),
                effort(8, 1, 9, 90.0),
                elsewhere,
            ],
            &[],
        );
        let before = races.version(CLASS);
        races.erase(RacerId(1), Some(CLASS), |second, _| second > Second(600));
        assert_eq!(races.version(CLASS), before, "what is not gone stands");
        races.erase(RacerId(1), Some(CLASS), |_, _| true);
        assert!(races.version(CLASS) > before);
        assert_eq!(rows(&races, 7), [(1, 2, 4)]);
        let left: Vec<_> = races
            .summaries(CLASS)
            .iter()
            .map(|it| (it.race.0, it.last_second.0))
            .collect();
        assert_eq!(left, [(7, 4)]);
        assert_eq!(races.summaries(elsewhere.class).len(), 1);
        races.erase(RacerId(1), None, |_, _| true);
        assert_eq!(races.summaries(elsewhere.class), []);
    }

    #[test]
    fn efforts_without_a_race_are_in_none() {
        let races = Races::new(1);
        apply(
            &races,
            &[Effort {
                race: None,
                ..effort(0, 1, 1, 90.0)
            }],
            &[0],
        );
        assert_eq!(races.summaries(CLASS), []);
    }

    #[test]
    fn what_is_heard_again_changes_nothing() {
        let races = Races::new(1);
        let efforts = [effort(7, 1, 9, 90.0)];
        apply(&races, &efforts, &[0]);
        let before = races.summaries(CLASS);
        apply(&races, &efforts, &[0]);
        assert_eq!(races.summaries(CLASS), before);
    }
}
