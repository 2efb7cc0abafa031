//! Following: what other instances wrote, seen by two listings every sync interval and taken in through the writer.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use tokio::sync::mpsc;

use crate::domain::effort::{Bounds, Effort};
use crate::domain::erasure::ErasureVersion;
use crate::ledger::commit_loop::{MERGE_EFFORTS_MAX, WriterMessage};
use crate::ledger::snapshot::{Subject, TakeInError, Unreadable, beyond_options};
use crate::ledger::{Inner, lock};
use crate::storage::codec::journal_segment::{self, Contents};
use crate::storage::{ETag, ListEntry, ListScope, ObjectKey, SegmentId, StoreError};

/// An instance that has not listed for so long may have missed segments that came and went, and reads the snapshots
/// again. Half of the time that a covered segment stays.
const AWAY_MAX: Duration = Duration::from_secs(30);

/// Segments that are fetched at a time.
pub(crate) const FETCHES_MAX: usize = 8;

/// What became of a segment that was to be taken in.
pub(crate) enum Fetched {
    Contents {
        contents: Vec<Contents>,
        /// The erasures that its writer knew of.
        heeded: ErasureVersion,
    },
    /// It has been deleted: whatever it held is in a snapshot.
    Gone,
}

impl Inner {
    /// Looks every sync interval, for ever. The interval counts from the beginning of a look, so that what others wrote
    /// is seen within two of them as long as a look takes no longer than one.
    pub(crate) async fn replicate(&self, adopt: &mpsc::Sender<WriterMessage>) {
        let mut unread = BTreeSet::new();
        let mut due = self.clock.uptime() + self.options.sync_interval;
        loop {
            self.clock
                .sleep(due.saturating_sub(self.clock.uptime()))
                .await;
            let began = self.clock.uptime();
            due = began + self.options.sync_interval;
            match self.poll_once(adopt, &mut unread).await {
                Ok(is_complete) => {
                    self.note_listed(began);
                    if !is_complete {
                        due = began; // at once again
                    }
                }
                Err(error) => {
                    metrics::counter!("alleycat_replication_errors_total").increment(1);
                    tracing::warn!(%error, "could not see what other instances wrote; trying again");
                }
            }
        }
    }

    /// One look; `false` when it had to forget something meanwhile, which the next one reads again. `unread` are
    /// segments that do not read.
    async fn poll_once(
        &self,
        adopt: &mpsc::Sender<WriterMessage>,
        unread: &mut BTreeSet<SegmentId>,
    ) -> Result<bool, StoreError> {
        let away = self.clock.uptime().saturating_sub(self.listed()) > AWAY_MAX;
        let known: Vec<SegmentId> = lock(&self.segments).known().collect();
        let tags = self.tags();
        let (root, journal) = tokio::join!(
            self.store.list(ListScope::Root),
            self.store.list(ListScope::Journal)
        );
        let (root, journal) = (root?, journal?);
        self.compare_tags(&root, &tags);
        let erasures = root
            .iter()
            .find(|listed| listed.key == ObjectKey::Erasures)
            .map(|listed| &listed.etag);
        self.hear_if_changed(erasures, adopt)
            .await
            .map_err(|error| self.note_unread(error))?;
        self.extend_late_erasures(adopt).await?;
        let heeded = self.erasures().version();

        let listed: BTreeSet<SegmentId> = journal
            .iter()
            .filter_map(|listed| segment(&listed.key))
            .collect();
        // What was there before the listing began and is not in it has been deleted.
        {
            let mut segments = lock(&self.segments);
            known
                .iter()
                .filter(|id| !listed.contains(id))
                .for_each(|&id| segments.remove(id));
        }
        unread.retain(|id| {
            let there = listed.contains(id);
            if !there {
                self.note_readable(&ObjectKey::Segment(*id));
                self.erasing.note_forgotten(); // what it held is in a snapshot
            }
            there
        });

        let foreign: Vec<SegmentId> = {
            let segments = lock(&self.segments);
            listed
                .into_iter()
                .filter(|&id| segments.is_foreign(id))
                .collect()
        };
        let mut fetched = stream::iter(foreign)
            .map(|id| async move { (id, self.fetch_segment(id).await) })
            .buffered(FETCHES_MAX);
        while let Some((id, outcome)) = fetched.next().await {
            let outcome = match outcome {
                Ok(Fetched::Contents { contents, heeded }) => {
                    self.take_in_segment(id, contents, heeded, adopt).await
                }
                Ok(Fetched::Gone) => {
                    self.erasing.note_forgotten();
                    continue;
                }
                Err(error) => Err(error),
            };
            match outcome {
                Ok(()) => {
                    self.note_readable(&ObjectKey::Segment(id));
                    unread.remove(&id);
                }
                Err(TakeInError::Store(error)) => return Err(error),
                Err(TakeInError::Unreadable(unreadable)) => {
                    unread.insert(id);
                    self.note_unreadable(&unreadable);
                }
            }
        }
        if self.erasing.take_forgotten() || away {
            let read = self.read_changed_snapshots(adopt).await;
            read.inspect_err(|_| self.erasing.note_forgotten())?;
        }
        self.journal_uncovered(adopt).await?;
        Ok(self.erasures().version() == heeded)
    }

    async fn take_in_segment(
        &self,
        id: SegmentId,
        contents: Vec<Contents>,
        heeded: ErasureVersion,
        adopt: &mpsc::Sender<WriterMessage>,
    ) -> Result<(), TakeInError> {
        self.require_erasure_version(&ObjectKey::Segment(id), heeded, Some(adopt))
            .await?;
        let heeded = self.erasures().version();
        let merged = self.take_in(contents, Some(adopt)).await;
        self.register(id, merged, heeded);
        Ok(())
    }

    /// Counts an object that does not read; what is left is a failure to try again after.
    fn note_unread(&self, error: TakeInError) -> StoreError {
        match error {
            TakeInError::Store(error) => error,
            TakeInError::Unreadable(unreadable) => {
                self.note_unreadable(&unreadable);
                StoreError {
                    operation: "get",
                    key: unreadable.key.path(),
                    problem: unreadable.problem,
                }
            }
        }
    }

    fn tags(&self) -> Vec<(Subject, Option<ETag>)> {
        let mut snapshots = lock(&self.snapshots);
        self.subjects()
            .into_iter()
            .map(|subject| (subject, snapshots.tag(subject)))
            .collect()
    }

    /// Whoever wrote a class last writes it next: where a listing shows a body that is not ours, that is another. Where
    /// it shows none, somebody has deleted it, with what the journal has no more.
    fn compare_tags(&self, root: &[ListEntry], tags: &[(Subject, Option<ETag>)]) {
        for (subject, tag) in tags {
            let key = subject.key();
            let listed = root
                .iter()
                .find(|listed| listed.key == key)
                .map(|listed| &listed.etag);
            let mut snapshots = lock(&self.snapshots);
            if snapshots.tag(*subject) != *tag || listed == tag.as_ref() {
                continue;
            }
            if listed.is_some() {
                snapshots.stand_back(*subject, self.jitter(self.options.snapshot_interval));
            } else {
                tracing::warn!(%key, "it is gone; it will be written again as it is known here");
                snapshots.note_gone(*subject, self.clock.uptime());
            }
        }
    }

    /// Takes in the snapshots that have changed since this instance merged or wrote them, and looks again at what did
    /// not read. What does not read now is looked at again, and keeps the others waiting no longer.
    async fn read_changed_snapshots(
        &self,
        adopt: &mpsc::Sender<WriterMessage>,
    ) -> Result<(), StoreError> {
        let root = self.store.list(ListScope::Root).await?;
        for subject in self.subjects() {
            let listed = root.iter().find(|listed| listed.key == subject.key());
            let changed =
                listed.is_some_and(|listed| lock(&self.snapshots).is_unread(subject, &listed.etag));
            if !changed && !lock(&self.unreadable).contains_key(&subject.key()) {
                continue;
            }
            match self.take_in_snapshot(subject, Some(adopt)).await {
                Ok(()) => {}
                Err(TakeInError::Store(error)) => return Err(error),
                Err(TakeInError::Unreadable(unreadable)) => {
                    self.note_unreadable_snapshot(subject, &unreadable);
                }
            }
        }
        Ok(())
    }

    /// Reads a segment.
    pub(crate) async fn fetch_segment(&self, id: SegmentId) -> Result<Fetched, TakeInError> {
        let key = ObjectKey::Segment(id);
        let Some(object) = self.store.get(&key).await? else {
            return Ok(Fetched::Gone);
        };
        let bounds = self.options.bounds;
        let contents = self
            .offload(move || read_segment(&object.body, &bounds))
            .await;
        let contents = contents.map_err(|problem| Unreadable {
            key,
            problem,
            is_damaged: true,
        })?;
        let heeded = contents
            .iter()
            .map(|contents| contents.heeded)
            .max()
            .unwrap_or(0);
        Ok(Fetched::Contents { contents, heeded })
    }
}

fn segment(key: &ObjectKey) -> Option<SegmentId> {
    match key {
        ObjectKey::Segment(id) => Some(*id),
        _ => None,
    }
}

fn read_segment(object: &[u8], bounds: &Bounds) -> Result<Vec<Contents>, String> {
    let Contents {
        efforts,
        names,
        heeded,
    } = journal_segment::read(object).map_err(|error| error.to_string())?;
    for Effort { class, second, .. } in &efforts {
        if class.get() > bounds.classes {
            return Err(format!(
                "it holds class {class}, and --classes is {}: start with more",
                bounds.classes
            ));
        }
        if second.0 > bounds.second_max {
            return Err(beyond_options(*class, second.0, bounds.second_max));
        }
    }
    let mut slices: Vec<Contents> = efforts
        .chunks(MERGE_EFFORTS_MAX)
        .map(|efforts| Contents {
            efforts: efforts.to_vec(),
            names: Vec::new(),
            heeded,
        })
        .collect();
    slices.push(Contents {
        efforts: Vec::new(),
        names,
        heeded,
    });
    Ok(slices)
}
