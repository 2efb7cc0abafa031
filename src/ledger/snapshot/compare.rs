//! Comparing a stored body with memory, before it is merged. A body that this instance does not know
//! is another instance's, or the store fell back to it.

use std::collections::HashMap;

use crate::domain::effort::RacerId;
use crate::domain::race_row::RaceRow;
use crate::domain::racer_names::RacerName;
use crate::ledger::Inner;
use crate::ledger::fallback::report_fallback;
use crate::ledger::snapshot::load::SnapshotContents;
use crate::ledger::snapshot::state::{KnownBefore, SnapshotTarget};
use crate::ledger::writer_message::WriterSender;
use crate::state::table::StateVersion;
use crate::storage::codec::journal_segment::SegmentContents;

/// The names, race rows or finishes in memory.
enum HeldEntries {
    Rows(Vec<RaceRow>),
    Finishes(Vec<RaceRow>),
    Names(Vec<(RacerId, RacerName)>),
}

impl Inner {
    /// Schedules a rewrite of the snapshot if its body must be compared and lacks what a stored one
    /// held. `before` is the state before the body was requested: one that was requested earlier tells
    /// nothing of the store as it is now.
    ///
    /// At a start, without a writer, it also returns whether the body holds all that memory holds.
    pub(super) async fn compare_with_memory(
        &self,
        target: SnapshotTarget,
        contents: SnapshotContents,
        before: &KnownBefore,
        writer: Option<&WriterSender>,
    ) -> (SnapshotContents, bool) {
        let stored_up_to = {
            let mut snapshots = self.snapshots.lock();
            let state = snapshots.get_mut(target);
            let must_compare = state.must_compare && before.must_compare;
            state.must_compare &= !must_compare;
            must_compare.then_some(state.stored_up_to)
        };
        let up_to = match stored_up_to {
            Some(version) => version,
            None if writer.is_none() => StateVersion::MAX,
            None => return (contents, false),
        };
        let (contents, lacks_some) = self.lacks(target, contents, up_to).await;
        if stored_up_to.is_some() && lacks_some {
            self.write_missing_again(target);
        }
        (contents, stored_up_to.is_none() && !lacks_some)
    }

    fn write_missing_again(&self, target: SnapshotTarget) {
        let key = target.key();
        if let SnapshotTarget::Races(_) = target {
            // No sign of a fall-back: an instance with a shorter --races-kept leaves them out.
            tracing::warn!(%key, "it lacks races that were stored; writing them again");
        } else {
            report_fallback(&key, "it lacks what was stored");
        }
        let now = self.clock.uptime();
        self.snapshots.lock().write_again(target, now);
    }

    /// Returns whether the contents lack something that memory held at `version`.
    async fn lacks(
        &self,
        target: SnapshotTarget,
        contents: SnapshotContents,
        version: StateVersion,
    ) -> (SnapshotContents, bool) {
        match contents {
            SnapshotContents::Class(id, class) => {
                let table = self.table.clone();
                let compare = move || {
                    let lacks_some = table.has_others(id, &class, version);
                    (SnapshotContents::Class(id, class), lacks_some)
                };
                self.offload(compare).await
            }
            SnapshotContents::Entries(entries) => {
                let held = self.entries_up_to(target, &entries, version);
                let Some(held) = held.filter(|held| !held.is_empty()) else {
                    return (SnapshotContents::Entries(entries), false);
                };
                let compare = move || {
                    let lacks_some = held.has_others(&entries);
                    (SnapshotContents::Entries(entries), lacks_some)
                };
                self.offload(compare).await
            }
        }
    }

    /// Returns what memory held of the target at `version`. `None` for efforts.
    fn entries_up_to(
        &self,
        target: SnapshotTarget,
        body: &SegmentContents,
        version: StateVersion,
    ) -> Option<HeldEntries> {
        match target {
            SnapshotTarget::Class(_) => None,
            SnapshotTarget::Races(class) => {
                // Another instance may have expired rows that are still here: its clock is ahead, or
                // it had too many.
                let floors = body.race_floors.iter().map(|&(_, floor_ms)| floor_ms);
                let floor_ms = floors.fold(self.race_floor_ms_with_skew(), u64::max);
                let rows = self.races.rows_up_to(class, floor_ms, version);
                Some(HeldEntries::Rows(rows))
            }
            SnapshotTarget::Finishes(class) => {
                let finishes = self.races.finishes_up_to(class, version);
                Some(HeldEntries::Finishes(finishes))
            }
            SnapshotTarget::RacerNames => {
                let names = self.names.all();
                let is_unchanged = self.names.version() <= version;
                is_unchanged.then_some(HeldEntries::Names(names))
            }
        }
    }

    /// Returns the version of what memory holds of the target.
    pub(super) fn state_version(&self, target: SnapshotTarget) -> StateVersion {
        match target {
            SnapshotTarget::Class(class) => self.table.version(class),
            SnapshotTarget::Races(class) | SnapshotTarget::Finishes(class) => {
                self.races.version(class)
            }
            SnapshotTarget::RacerNames => self.names.version(),
        }
    }
}

impl HeldEntries {
    fn is_empty(&self) -> bool {
        match self {
            Self::Rows(rows) | Self::Finishes(rows) => rows.is_empty(),
            Self::Names(names) => names.is_empty(),
        }
    }

    /// Returns whether there is an entry that the body neither holds nor beats.
    fn has_others(&self, body: &SegmentContents) -> bool {
        match self {
            Self::Rows(rows) => {
                let mut given: HashMap<_, Vec<&RaceRow>> = HashMap::new();
                for row in &body.race_rows {
                    given.entry((row.race, row.racer)).or_default().push(row);
                }
                !rows.iter().all(|row| {
                    let given = given.get(&(row.race, row.racer));
                    given.is_some_and(|given| given.iter().any(|it| it.dominates(row)))
                })
            }
            Self::Finishes(finishes) => {
                let given = body.race_rows.iter().map(|row| (row.racer, row));
                let given: HashMap<_, _> = given.collect();
                !finishes.iter().all(|finish| {
                    let given = given.get(&finish.racer);
                    given.is_some_and(|given| given.finish_order(finish).is_ge())
                })
            }
            Self::Names(names) => {
                let given = body.names.iter().map(|(racer, name)| (racer, name));
                let given: HashMap<_, _> = given.collect();
                !names.iter().all(|(racer, name)| {
                    let given = given.get(racer);
                    given.is_some_and(|given| *given >= name)
                })
            }
        }
    }
}
