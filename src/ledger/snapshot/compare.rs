//! Comparing a stored body with memory, before it is merged. A body that this instance does not know
//! is another instance's, or the store fell back to it.

use crate::domain::effort::ClassId;
use crate::ledger::Inner;
use crate::ledger::fallback::report_fallback;
use crate::ledger::snapshot::load::SnapshotContents;
use crate::ledger::snapshot::state::SnapshotTarget;
use crate::ledger::writer_message::WriterSender;
use crate::state::table::StateVersion;
use crate::storage::codec::journal_segment::SegmentContents;

impl Inner {
    /// Has the snapshot written again if the body must be compared and lacks what a stored one held.
    ///
    /// Without a writer nothing else is merged meanwhile. Then it also returns whether the body holds
    /// all that memory holds.
    pub(super) async fn compare_with_memory(
        &self,
        target: SnapshotTarget,
        contents: SnapshotContents,
        writer: Option<&WriterSender>,
    ) -> (SnapshotContents, bool) {
        let held = {
            let mut snapshots = self.snapshots.lock();
            let state = snapshots.get_mut(target);
            std::mem::take(&mut state.must_compare).then_some(state.held)
        };
        let up_to = match held {
            Some(held) => held,
            None if writer.is_none() => StateVersion::MAX,
            None => return (contents, false),
        };
        let (contents, lacks_some) = self.lacks(target, contents, up_to).await;
        if held.is_some() && lacks_some {
            report_fallback(&target.key(), "it lacks what was stored");
            let now = self.clock.uptime();
            self.snapshots.lock().write_again(target, now);
        }
        (contents, held.is_none() && !lacks_some)
    }

    /// Returns whether the contents lack something that memory holds since `version` or earlier.
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
                let lacks_some = match target {
                    SnapshotTarget::Class(_) => false,
                    SnapshotTarget::Races(class) => self.lacks_races(class, &entries, version),
                    SnapshotTarget::Finishes(class) => {
                        let rows = &entries.race_rows;
                        self.races.has_other_finishes(class, rows, version)
                    }
                    SnapshotTarget::RacerNames => self.names.has_others(&entries.names, version),
                };
                (SnapshotContents::Entries(entries), lacks_some)
            }
        }
    }

    fn lacks_races(&self, class: ClassId, body: &SegmentContents, version: StateVersion) -> bool {
        // Another instance may have expired rows that are still here: its clock is ahead, or it had
        // too many.
        let floors = body.race_floors.iter().map(|&(_, floor_ms)| floor_ms);
        let floor_ms = floors.fold(self.race_floor_of_fast_clocks(), u64::max);
        let rows = &body.race_rows;
        self.races.has_others(class, rows, floor_ms, version)
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
