//! Recovery: load everything there is and merge it.
//!
//! The order matters: list the journal, then get the snapshots, then get the segments. A segment that is gone by then
//! was folded into a snapshot that may be newer than the one that was read, so the round starts again.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;

use crate::domain::effort::ClassId;
use crate::ledger::Inner;
use crate::ledger::replication::{FETCHES_MAX, Fetched};
use crate::ledger::snapshot::{Subject, TakeInError, Unreadable};
use crate::storage::{ListScope, ObjectKey, StoreError};

/// How often a store that fails is tried again before the start is given up, and after how long for the first time.
const TRIES_MAX: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// A line of progress after so many segments.
const PROGRESS_SEGMENTS: usize = 100;

/// Why the service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The store fails.
    #[error("the store cannot be read: {0}")]
    Store(#[from] StoreError),
    /// An object does not read.
    #[error(
        "{key} cannot be used: {problem}. If it is damaged, move it to quarantine/{key} and start again; what only it \
         held is then missing until the deliveries of its time are replayed"
    )]
    Unreadable {
        /// The object.
        key: ObjectKey,
        /// What is wrong with it.
        problem: String,
    },
    /// What was erased is not known.
    #[error(
        "{key} cannot be used: {problem}. Put back the newest version of erasures.gz that reads, and nothing is lost; \
         nothing else is damaged. If there is none, put one that says \
         {{\"format\":1,\"version\":V,\"erasures\":[]}}, gzip, with V as great as any object asks for, and erase again \
         what must stay gone"
    )]
    Erasures {
        /// The object.
        key: ObjectKey,
        /// What is wrong with it.
        problem: String,
    },
    /// The store has a class that the options leave out.
    #[error(
        "the store holds {key}, and --classes is {classes}: start with --classes {class} or more"
    )]
    ClassBeyond {
        /// The class's object.
        key: ObjectKey,
        /// The class.
        class: ClassId,
        /// How many classes the options allow.
        classes: u16,
    },
}

impl From<Unreadable> for RecoveryError {
    fn from(
        Unreadable {
            key,
            problem,
            is_damaged,
        }: Unreadable,
    ) -> Self {
        if is_damaged {
            Self::Unreadable { key, problem }
        } else {
            Self::Erasures { key, problem }
        }
    }
}

impl From<TakeInError> for RecoveryError {
    fn from(error: TakeInError) -> Self {
        match error {
            TakeInError::Store(error) => error.into(),
            TakeInError::Unreadable(unreadable) => unreadable.into(),
        }
    }
}

impl Inner {
    /// Merges everything the store holds. Nothing is skipped.
    pub(crate) async fn recover(&self) -> Result<(), RecoveryError> {
        let began = self.clock.uptime();
        let mut failures = 0;
        loop {
            let round = self.clock.uptime();
            match self.recover_once().await {
                Ok(true) => {
                    self.note_listed(round);
                    break;
                }
                Ok(false) => tracing::info!(
                    "a segment was folded or something erased meanwhile; reading again"
                ),
                Err(RecoveryError::Store(error)) if failures < TRIES_MAX => {
                    tracing::warn!(%error, "the store failed; trying again");
                    self.clock.sleep(FIRST_PAUSE * 2u32.pow(failures)).await;
                    failures += 1;
                }
                Err(error) => return Err(error),
            }
        }
        self.table.clear_updated_at();
        self.erasing.take_forgotten(); // all has just been read
        let efforts: u64 = self
            .table
            .classes()
            .map(|class| self.table.summary(class).efforts)
            .sum();
        let took = self.clock.uptime().saturating_sub(began);
        tracing::info!(
            efforts,
            seconds = took.as_secs_f64(),
            "recovered what {} holds",
            self.store.location()
        );
        Ok(())
    }

    /// One round; `false` when a segment was gone before it was read, or something was erased.
    async fn recover_once(&self) -> Result<bool, RecoveryError> {
        self.refresh_erasures(None).await?;
        let erased = self.erasures().version();
        let journal = self.store.list(ListScope::Journal).await?;
        let root = self.store.list(ListScope::Root).await?;
        let mut subjects = Vec::new();
        for listed in root {
            subjects.push(match listed.key {
                ObjectKey::History(class) if !self.table.has(class) => {
                    let classes = self.options.bounds.classes;
                    return Err(RecoveryError::ClassBeyond {
                        key: listed.key,
                        class,
                        classes,
                    });
                }
                ObjectKey::History(class) => Subject::Class(class),
                ObjectKey::Racers => Subject::RacerNames,
                _ => continue,
            });
        }
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        let mut reading =
            stream::iter(subjects)
                .map(|subject| async move {
                    self.take_in_snapshot(subject, None).await.map(|()| subject)
                })
                .buffer_unordered(workers);
        while let Some(read) = reading.next().await {
            let subject = read?;
            tracing::info!(object = %subject.key(), "read a snapshot");
        }
        let count = journal.len();
        let segments = journal.into_iter().filter_map(|listed| match listed.key {
            ObjectKey::Segment(id) => Some(id),
            _ => None,
        });
        let mut fetched = stream::iter(segments)
            .map(|id| async move { (id, self.fetch_segment(id).await) })
            .buffered(FETCHES_MAX);
        let mut read = 0;
        while let Some((id, outcome)) = fetched.next().await {
            let Fetched::Contents { contents, heeded } = outcome? else {
                return Ok(false);
            };
            self.require_erasure_version(&ObjectKey::Segment(id), heeded, None)
                .await?;
            let merged = self.take_in(contents, None).await;
            self.register(id, merged, self.erasures().version());
            read += 1;
            if read % PROGRESS_SEGMENTS == 0 {
                tracing::info!("read {read} of {count} segments");
            }
        }
        // What was learned on the way had it forget.
        Ok(self.erasures().version() == erased)
    }
}
