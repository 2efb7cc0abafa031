//! Merging: durable efforts and names enter the table, and their segment enters the journal index.

use std::collections::HashMap;

use tokio::sync::oneshot;

use crate::domain::effort::{ClassId, Effort};
use crate::domain::erasure::{ErasureVersion, Erasures};
use crate::domain::racer_names::RacerName;
use crate::ledger::Inner;
use crate::ledger::commit_loop::{WriterMessage, WriterSender};
use crate::ledger::journal_index::IndexedSegment;
use crate::state::table::StateVersion;
use crate::storage::SegmentId;
use crate::storage::codec::journal_segment::SegmentContents;

/// Maximum number of efforts merged under one lock: about 1 ms.
pub(super) const MERGE_EFFORTS_MAX: usize = 16 * 1024;

/// The versions at which efforts and names had been merged.
#[derive(Debug, Default)]
pub(super) struct MergeVersions {
    pub(super) classes: HashMap<ClassId, StateVersion>,
    pub(super) names: Option<StateVersion>,
    /// Whether the merge changed anything.
    pub(super) changed: bool,
}

impl Inner {
    /// Merges durable contents. Leaves out efforts covered by erasures newer than
    /// `contents.erasure_version`, and erased names.
    pub(super) fn merge(&self, contents: &SegmentContents, versions: &mut MergeVersions) {
        let now_ms = self.clock.wall_ms();
        let erasures = self.erasures();
        let remaining;
        let contents = if erasures.version() > contents.erasure_version {
            remaining = without_erased(contents, &erasures);
            self.erasure_state.note_exposed(
                remaining
                    .efforts
                    .iter()
                    .filter(|it| erasures.expose(it, contents.erasure_version)),
            );
            &remaining
        } else {
            contents
        };
        for efforts in contents.efforts.chunks(MERGE_EFFORTS_MAX) {
            let before: Vec<StateVersion> = self
                .table
                .classes()
                .map(|class| self.table.version(class))
                .collect();
            let merged = self.table.merge(efforts, now_ms);
            let changed = merged
                .iter()
                .any(|&(class, version)| before[class.index()] != version);
            versions.changed |= changed;
            versions.classes.extend(merged);
            if changed {
                let observers = self.merge_observers.read();
                observers.iter().for_each(|observer| observer(efforts));
            }
        }
        if !contents.names.is_empty() {
            for (racer, name) in &contents.names {
                versions.changed |= self.names.merge(*racer, name);
            }
            versions.names = Some(self.names.version());
        }
    }

    /// Merges durable contents through the writer, in bounded slices. Without a writer (during
    /// recovery, and after the commit loop has ended), merges directly.
    pub(super) async fn apply_contents(
        &self,
        contents: impl IntoIterator<Item = SegmentContents>,
        writer: Option<&WriterSender>,
    ) -> MergeVersions {
        let mut versions = MergeVersions::default();
        for contents in contents {
            let Some(writer) = writer else {
                self.merge(&contents, &mut versions);
                continue;
            };
            let (reply, merged) = oneshot::channel();
            let message = WriterMessage::ApplyRemote { contents, reply };
            if writer.send(message).await.is_ok()
                && let Ok(slice) = merged.await
            {
                versions.classes.extend(slice.classes);
                versions.names = slice.names.or(versions.names);
                versions.changed |= slice.changed;
            } else {
                // The commit loop has ended. Never return: the caller would index the segment as
                // merged.
                std::future::pending::<()>().await;
            }
        }
        versions
    }

    /// Adds a merged segment to the journal index, if `erasure_version`, at which it was merged, is
    /// still current. Otherwise it is not indexed, so the next poll merges it again.
    pub(super) fn index_segment(
        &self,
        id: SegmentId,
        versions: MergeVersions,
        erasure_version: ErasureVersion,
    ) {
        let MergeVersions {
            classes,
            names,
            changed,
        } = versions;
        let segment =
            IndexedSegment::new(classes.into_iter().collect(), names, self.clock.uptime());
        let mut journal = self.journal.lock();
        if self.erasures().version() != erasure_version {
            return;
        }
        // An unchanged segment that is indexed already keeps its versions.
        let is_confirmed = !changed && journal.confirm_merged(id);
        if !is_confirmed {
            journal.insert(id, segment);
        }
    }
}

/// Returns the contents that no erasure covers.
pub(super) fn without_erased(contents: &SegmentContents, erasures: &Erasures) -> SegmentContents {
    let SegmentContents {
        efforts,
        names,
        erasure_version,
    } = contents;
    SegmentContents {
        efforts: efforts
            .iter()
            .filter(|effort| !erasures.cover(effort, *erasure_version))
            .copied()
            .collect(),
        names: names
            .iter()
            .filter(|(racer, name)| !erasures.cover_name(*racer, name.at_ms))
            .cloned()
            .collect(),
        erasure_version: erasures.version(),
    }
}

/// Keeps each racer's best effort per class and second, and each racer's latest name.
pub(super) fn keep_best(contents: &mut SegmentContents) {
    let key = |effort: &Effort| (effort.class, effort.second, effort.racer);
    contents.efforts.sort_unstable_by(|a, b| {
        key(a)
            .cmp(&key(b))
            .then_with(|| b.output.cmp(&a.output))
            .then_with(|| b.time.cmp(&a.time))
    });
    contents.efforts.dedup_by_key(|effort| key(effort));
    contents
        .names
        .sort_unstable_by(|(a, a_name): &(_, RacerName), (b, b_name)| {
            a.cmp(b).then_with(|| b_name.cmp(a_name))
        });
    contents.names.dedup_by_key(|(racer, _)| *racer);
}
