//! Merging: durable efforts, race rows and names enter memory, and their segment enters the journal
//! index.

use std::collections::HashMap;

use crate::domain::effort::Effort;
use crate::domain::erasure::{ErasureVersion, Erasures};
use crate::domain::race_row;
use crate::domain::racer_names::RacerName;
use crate::ledger::Inner;
use crate::ledger::journal_index::ListingNumber;
use crate::ledger::snapshot::SnapshotTarget;
use crate::state::table::StateVersion;
use crate::storage::SegmentId;
use crate::storage::codec::journal_segment::SegmentContents;

/// Maximum number of efforts merged under one lock: about 1 ms.
pub(super) const MERGE_EFFORTS_MAX: usize = 16 * 1024;

/// The parts of merged contents, each by the snapshot that will hold it.
#[derive(Debug, Default)]
pub(super) struct MergedParts(HashMap<SnapshotTarget, MergedPart>);

/// The part of merged contents that one snapshot will hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MergedPart {
    /// The version at which the part had been merged.
    pub(super) version: StateVersion,
    /// Whether the merge changed anything.
    pub(super) changed: bool,
    /// The latest time of its race rows, in ms since 1970; 0 if the part is not of races.
    pub(super) rows_until_ms: u64,
}

impl MergedParts {
    fn note(&mut self, target: SnapshotTarget, version: StateVersion, changed: bool) {
        let part = MergedPart {
            version,
            changed,
            rows_until_ms: 0,
        };
        self.note_part(target, part);
    }

    fn note_part(&mut self, target: SnapshotTarget, later: MergedPart) {
        let part = self.0.entry(target).or_insert(later);
        part.version = later.version;
        part.changed |= later.changed;
        part.rows_until_ms = part.rows_until_ms.max(later.rows_until_ms);
    }

    pub(super) fn extend(&mut self, later: Self) {
        for (target, part) in later.0 {
            self.note_part(target, part);
        }
    }
}

impl Inner {
    /// Merges durable contents. Leaves out efforts covered by erasures newer than
    /// `contents.erasure_version`, and erased names.
    pub(super) fn merge(&self, contents: &SegmentContents, parts: &mut MergedParts) {
        let now_ms = self.clock.wall_ms();
        let erasures = self.erasures();
        let remaining;
        let contents = if erasures.version() > contents.erasure_version {
            remaining = without_erased(contents, &erasures, contents.erasure_version);
            self.erasure_state.note_exposed(
                remaining
                    .efforts
                    .iter()
                    .filter(|it| erasures.any_exposes(it, contents.erasure_version)),
            );
            let exposed_rows = remaining.race_rows.iter().filter(|it| {
                erasures.any_exposes_rows(it.class, it.racer, contents.erasure_version)
            });
            self.erasure_state.note_exposed_rows(exposed_rows.copied());
            &remaining
        } else {
            contents
        };
        self.merge_race_rows(contents, parts);
        for efforts in contents.efforts.chunks(MERGE_EFFORTS_MAX) {
            let before: Vec<StateVersion> = self
                .table
                .classes()
                .map(|class| self.table.version(class))
                .collect();
            let mut any_changed = false;
            for (class, version) in self.table.merge(efforts, now_ms) {
                let changed = before[class.index()] != version;
                parts.note(SnapshotTarget::Class(class), version, changed);
                any_changed |= changed;
            }
            if any_changed {
                let observers = self.merge_observers.read();
                observers.iter().for_each(|observer| observer(efforts));
            }
        }
        if !contents.names.is_empty() {
            let mut changed = false;
            for (racer, name) in &contents.names {
                changed |= self.names.merge(*racer, name);
            }
            parts.note(SnapshotTarget::RacerNames, self.names.version(), changed);
        }
    }

    fn merge_race_rows(&self, contents: &SegmentContents, parts: &mut MergedParts) {
        for &(class, floor_ms) in &contents.race_floors {
            self.merge_race_floor(class, floor_ms);
        }
        for rows in contents.race_rows.chunks(MERGE_EFFORTS_MAX) {
            for (class, merge) in self.races.merge(rows) {
                let times = rows.iter().filter(|row| row.class == class);
                let part = MergedPart {
                    version: merge.version,
                    changed: merge.races_changed,
                    rows_until_ms: times.map(|row| row.at_ms).max().unwrap_or(0),
                };
                parts.note_part(SnapshotTarget::Races(class), part);
                if merge.has_finals {
                    let finishes = SnapshotTarget::Finishes(class);
                    parts.note(finishes, merge.finishes_version, merge.finishes_changed);
                }
            }
        }
    }

    /// Adds a segment to the journal index, if `erasure_version`, at which it was merged, is still
    /// current. Otherwise returns false, and the segment must be merged again. `listing` is the first
    /// that could show it.
    pub(super) fn index_segment(
        &self,
        id: SegmentId,
        parts: MergedParts,
        erasure_version: ErasureVersion,
        listing: Option<ListingNumber>,
    ) -> bool {
        let mut journal = self.journal.lock();
        if self.erasures().version() != erasure_version {
            return false;
        }
        let merged_at = self.clock.uptime();
        journal.insert(id, parts.0, erasure_version, merged_at, listing);
        true
    }
}

/// Returns the contents that no erasure with a version over `applied` covers.
pub(super) fn without_erased(
    contents: &SegmentContents,
    erasures: &Erasures,
    applied: ErasureVersion,
) -> SegmentContents {
    let SegmentContents {
        efforts,
        race_rows,
        race_floors,
        names,
        erasure_version: _,
    } = contents;
    SegmentContents {
        efforts: efforts
            .iter()
            .filter(|effort| !erasures.any_covers(effort, applied))
            .copied()
            .collect(),
        race_rows: race_rows
            .iter()
            .filter(|row| !erasures.any_covers(&row.effort(), applied))
            .copied()
            .collect(),
        race_floors: race_floors.clone(),
        names: names
            .iter()
            .filter(|(racer, name)| !erasures.any_covers_name(*racer, name.at_ms))
            .cloned()
            .collect(),
        erasure_version: erasures.version(),
    }
}

/// Keeps each racer's best effort per class and second, each racer's latest name, and the race rows
/// that no other dominates, with all finals.
pub(super) fn keep_best(contents: &mut SegmentContents) {
    let key = |effort: &Effort| (effort.class, effort.second, effort.racer);
    contents.efforts.sort_unstable_by(|a, b| {
        key(a)
            .cmp(&key(b))
            .then_with(|| b.output.cmp(&a.output))
            .then_with(|| b.time.cmp(&a.time))
    });
    contents.efforts.dedup_by_key(|effort| key(effort));
    race_row::keep_undominated(&mut contents.race_rows);
    contents
        .names
        .sort_unstable_by(|(a, a_name): &(_, RacerName), (b, b_name)| {
            a.cmp(b).then_with(|| b_name.cmp(a_name))
        });
    contents.names.dedup_by_key(|(racer, _)| *racer);
}
