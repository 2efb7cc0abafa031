//! Loading a stored snapshot: read it, then merge it.

use bytes::Bytes;

use crate::domain::effort::{Bounds, ClassId, Second};
use crate::domain::erasure::{self, ErasureVersion};
use crate::gzip::{self, GunzipError};
use crate::ledger::merge::MERGE_EFFORTS_MAX;
use crate::ledger::snapshot::state::{KnownBefore, SnapshotTarget, StoredBody};
use crate::ledger::snapshot::write::hash_parts;
use crate::ledger::unreadable::{
    ApplyError, DAMAGED_OBJECT_READS_MAX, UnreadableCause, UnreadableObject,
};
use crate::ledger::writer_message::WriterSender;
use crate::ledger::{Inner, LedgerOptions};
use crate::observability;
use crate::state::table::ClassTable;
use crate::storage::codec::journal_segment::SegmentContents;
use crate::storage::codec::names;
use crate::storage::codec::race_rows::{self, RowsError, RowsKind};
use crate::storage::history_file::{HistoryError, StoredHistory};
use crate::storage::{ETag, StoredObject};

/// Bytes of a name in `racers.gz`: a hundred characters of four bytes, an id, a time.
const NAME_BYTES_MAX: usize = 512;

/// Minimum bound of the decompressed `racers.gz`, in bytes. It may hold more names than
/// `--max-racers` allows, from an earlier start with a greater value.
const NAMES_BYTES_MAX_MIN: usize = 1 << 30;

/// The decoded contents of a snapshot.
pub(in crate::ledger) enum SnapshotContents {
    Class(ClassId, ClassTable),
    /// Names, or the rows of races.
    Entries(SegmentContents),
}

impl Inner {
    /// Reads a stored snapshot and merges it, through the writer if the commit loop runs. Returns
    /// whether it exists.
    pub(in crate::ledger) async fn load_snapshot(
        &self,
        target: SnapshotTarget,
        writer: Option<&WriterSender>,
    ) -> Result<bool, ApplyError> {
        let key = target.key();
        let before = self.snapshots.lock().known(target);
        let Some(object) = self.store.get(&key).await? else {
            self.note_not_stored(target, &before);
            self.note_readable(&key);
            return Ok(false);
        };
        self.merge_stored(target, object, &before, writer).await?;
        self.note_readable(&key);
        Ok(true)
    }

    /// Merges a body that was read. `before` is the state before it was requested.
    async fn merge_stored(
        &self,
        target: SnapshotTarget,
        object: StoredObject,
        before: &KnownBefore,
        writer: Option<&WriterSender>,
    ) -> Result<(), ApplyError> {
        let key = target.key();
        let required_version = applied_erasure_version(&object.body);
        // If this instance never knew that version, the writer may not have known all erasures that are
        // known here, because the store has lost them. They get new versions then.
        if !self.erasures().has_version(required_version) {
            self.refresh_erasures(writer).await?;
        }
        self.require_erasure_version(&key, required_version, writer)
            .await?;
        let (hash, contents) = self.decode_stored(target, &object.body).await?;
        let (contents, holds_all) = self
            .compare_with_memory(target, contents, before, writer)
            .await;
        let erasure_version = self.erasures().version();
        match contents {
            SnapshotContents::Class(id, class) => {
                self.history_caches[id.index()].note_stored(object.body.len() as u64);
                self.apply_class(id, class, required_version, writer).await;
            }
            SnapshotContents::Entries(entries) => {
                self.apply_entries(entries, writer).await;
            }
        }
        if holds_all {
            self.snapshots.lock().get_mut(target).stored_up_to = self.state_version(target);
        }
        // Erasures that were applied meanwhile may have removed merged efforts again. Then the body
        // does not count as merged. A put of this instance that ended meanwhile is newer.
        let mut snapshots = self.snapshots.lock();
        let is_newest = snapshots.etag(target) == before.merged;
        if is_newest && self.erasures().version() == erasure_version {
            let state = snapshots.get_mut(target);
            state.body = Some(StoredBody {
                etag: object.etag.clone(),
                hash,
                erasure_version: required_version,
            });
            state.must_reload = false;
        }
        drop(snapshots);
        self.note_read(target, &object.etag, hash, before);
        Ok(())
    }

    /// Returns the hash of a stored body, and its contents.
    async fn decode_stored(
        &self,
        target: SnapshotTarget,
        body: &Bytes,
    ) -> Result<(u128, SnapshotContents), ApplyError> {
        let (body, options) = (body.clone(), self.options.clone());
        let decode = move || {
            let contents = decode_snapshot(target, &body, &options);
            (hash_parts(&[body]), contents)
        };
        let (hash, contents) = self.offload(decode).await;
        let contents = self.without_damaged_races(target, contents);
        let contents = contents.map_err(|cause| UnreadableObject {
            key: target.key(),
            cause,
        })?;
        Ok((hash, contents))
    }

    /// Replaces races that are still damaged after all retries by none, and schedules a rewrite
    /// from memory. Their rows expire anyway, so they must not stop the start. Other damage stays
    /// an error.
    fn without_damaged_races(
        &self,
        target: SnapshotTarget,
        contents: Result<SnapshotContents, UnreadableCause>,
    ) -> Result<SnapshotContents, UnreadableCause> {
        if !matches!(target, SnapshotTarget::Races(_)) {
            return contents;
        }
        let mut snapshots = self.snapshots.lock();
        let reads = &mut snapshots.get_mut(target).damaged_reads;
        let Err(UnreadableCause::Damaged(problem)) = &contents else {
            *reads = 0;
            return contents;
        };
        *reads += 1;
        if *reads < DAMAGED_OBJECT_READS_MAX {
            return contents;
        }
        *reads = 0;
        metrics::counter!(observability::CORRUPT_OBJECT_READS_TOTAL).increment(1);
        tracing::error!(key = %target.key(), problem, "stored races are damaged; they are written again from what this instance has");
        snapshots.write_again(target, self.clock.uptime());
        Ok(SnapshotContents::Entries(SegmentContents::default()))
    }

    /// Notes that the store has no such object: nothing covers its segments.
    fn note_not_stored(&self, target: SnapshotTarget, before: &KnownBefore) {
        let mut snapshots = self.snapshots.lock();
        let state = snapshots.get_mut(target);
        state.must_reload = false;
        state.covered = 0;
        state.body = None;
        if state.listed.etag() == before.listed.as_ref() {
            self.note_listed(&mut snapshots, target, None);
        }
    }

    /// Records the ETag that was read, unless a listing or put since `before`, the state before the
    /// read, is newer. A body that is not the merged one resolves this instance's unconfirmed puts:
    /// equal states give equal bytes. If the body's hash is that of such a put, the put succeeded,
    /// and this instance claims the snapshot. If not, the writer of the body owns it, and this
    /// instance releases it.
    fn note_read(&self, target: SnapshotTarget, etag: &ETag, hash: u128, before: &KnownBefore) {
        let mut snapshots = self.snapshots.lock();
        if snapshots.get(target).listed.etag() == before.listed.as_ref() {
            self.note_listed(&mut snapshots, target, Some(etag));
        }
        if before.merged.as_ref() == Some(etag) {
            return; // no other body was put since
        }
        let own = std::mem::take(&mut snapshots.get_mut(target).unconfirmed_puts);
        if own.contains(&hash) {
            snapshots.claim(target);
        } else if !own.is_empty() {
            self.release_snapshot(&mut snapshots, target);
        }
    }

    /// Merges a stored history. During recovery it becomes the table's class as it is, if nothing
    /// was merged there before.
    async fn apply_class(
        &self,
        id: ClassId,
        mut class: ClassTable,
        erasure_version: ErasureVersion,
        writer: Option<&WriterSender>,
    ) {
        let concerning = self.concerning_erasure_version(SnapshotTarget::Class(id));
        if writer.is_none() && concerning <= erasure_version {
            let Some(not_taken) = self.table.insert_if_empty(id, class) else {
                return;
            };
            class = not_taken;
        }
        let mut efforts = class.efforts(id);
        let slices = std::iter::from_fn(|| {
            let efforts: Vec<_> = efforts.by_ref().take(MERGE_EFFORTS_MAX).collect();
            (!efforts.is_empty()).then_some(SegmentContents {
                efforts,
                erasure_version,
                ..SegmentContents::default()
            })
        });
        self.apply_contents(slices, writer).await;
    }

    /// Merges names or race rows, the rows in slices.
    async fn apply_entries(&self, mut entries: SegmentContents, writer: Option<&WriterSender>) {
        let rows = std::mem::take(&mut entries.race_rows);
        let erasure_version = entries.erasure_version;
        // The floor comes first, so that rows under it are not merged only to be removed.
        self.apply_contents([entries], writer).await;
        for rows in rows.chunks(MERGE_EFFORTS_MAX) {
            let slice = SegmentContents {
                race_rows: rows.to_vec(),
                erasure_version,
                ..SegmentContents::default()
            };
            self.apply_contents([slice], writer).await;
        }
    }
}

fn decode_rows(
    kind: RowsKind,
    class: ClassId,
    body: &[u8],
    options: &LedgerOptions,
) -> Result<SegmentContents, UnreadableCause> {
    let second_max = options.bounds.second_max;
    let decoded = race_rows::decode(kind, class, body, options.racers_max);
    let (race_rows, floor_ms) = decoded.map_err(|error| match error {
        RowsError::Newer(_) => UnreadableCause::Newer(error.to_string()),
        RowsError::Gzip(GunzipError::TooLarge(_)) => {
            UnreadableCause::BeyondOptions(format!("{error}: start with a greater --max-racers"))
        }
        error => UnreadableCause::Damaged(error.to_string()),
    })?;
    let last_second = race_rows.iter().map(|row| row.second).max();
    if let Some(second) = last_second.filter(|second| second.0 > second_max) {
        let problem = second_beyond_options(class, second, second_max);
        return Err(UnreadableCause::BeyondOptions(problem));
    }
    Ok(SegmentContents {
        race_rows,
        race_floors: vec![(class, floor_ms)],
        ..SegmentContents::default()
    })
}

/// Returns the contents of a stored snapshot, or why it cannot be used.
pub(in crate::ledger) fn decode_snapshot(
    target: SnapshotTarget,
    body: &[u8],
    options: &LedgerOptions,
) -> Result<SnapshotContents, UnreadableCause> {
    let Bounds {
        classes,
        second_max,
    } = options.bounds;
    if let Some(class) = target.class().filter(|class| class.get() > classes) {
        let problem = class_beyond_options(class, classes);
        return Err(UnreadableCause::BeyondOptions(problem));
    }
    let entries = match target {
        SnapshotTarget::Class(id) => {
            let class = decode_history(id, body, second_max)?;
            return Ok(SnapshotContents::Class(id, class));
        }
        SnapshotTarget::Races(class) => decode_rows(RowsKind::Races, class, body, options)?,
        SnapshotTarget::Finishes(class) => decode_rows(RowsKind::Finishes, class, body, options)?,
        SnapshotTarget::RacerNames => {
            let names_bytes = usize::from(classes) * options.racers_max * NAME_BYTES_MAX;
            let names = names::decode(body, NAMES_BYTES_MAX_MIN.max(names_bytes))
                .map_err(|error| UnreadableCause::Damaged(error.to_string()))?;
            SegmentContents {
                names,
                ..SegmentContents::default()
            }
        }
    };
    Ok(SnapshotContents::Entries(SegmentContents {
        erasure_version: applied_erasure_version(body),
        ..entries
    }))
}

fn decode_history(
    class: ClassId,
    body: &[u8],
    second_max: u32,
) -> Result<ClassTable, UnreadableCause> {
    let read = StoredHistory::open(body).and_then(|stored| stored.read(Second(second_max)));
    read.map_err(|error| match error {
        HistoryError::SecondBeyond(second) => {
            UnreadableCause::BeyondOptions(second_beyond_options(class, second, second_max))
        }
        error => UnreadableCause::Damaged(error.to_string()),
    })
}

/// Returns the problem of a stored class that the options exclude.
pub(in crate::ledger) fn class_beyond_options(class: ClassId, classes: u16) -> String {
    format!(
        "it holds class {class}, but --classes is {classes}: start with --classes {class} or more"
    )
}

/// Returns the problem of a stored second that the options exclude.
pub(in crate::ledger) fn second_beyond_options(
    class: ClassId,
    second: Second,
    second_max: u32,
) -> String {
    let Second(second) = second;
    format!(
        "it holds second {second} of class {class}, but --max-second is {second_max}: start with --max-second \
         {second} or more"
    )
}

/// Returns the erasure version up to which the snapshot's writer had applied erasures, by its gzip
/// header. 0 if the body is no gzip: decoding reports that.
pub(in crate::ledger) fn applied_erasure_version(snapshot: &[u8]) -> ErasureVersion {
    gzip::extra_field(snapshot)
        .and_then(|field| erasure::version_in(&field))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn applied_erasure_version_is_read_from_the_gzip_header() {
        assert_eq!(applied_erasure_version(&names::encode(&[], 7)), 7);
        assert_eq!(applied_erasure_version(b"no gzip"), 0);
    }
}
