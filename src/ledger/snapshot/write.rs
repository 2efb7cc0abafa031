//! Writing a snapshot: build it, then put it on the condition that it replaces what was merged.

use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3;

use crate::domain::erasure::ErasureVersion;
use crate::ledger::Inner;
use crate::ledger::snapshot::state::{KnownBefore, SnapshotState, SnapshotTarget, StoredBody};
use crate::ledger::unreadable::ApplyError;
use crate::ledger::writer_message::WriterSender;
use crate::observability;
use crate::state::table::StateVersion;
use crate::storage::codec::names;
use crate::storage::{Precondition, PutError, StoreError};

/// Maximum number of conflicts before a snapshot waits until it is due again.
const PUT_TRIES_MAX: usize = 5;

/// A snapshot that was built and not yet stored.
struct SnapshotBuild {
    parts: Vec<Bytes>,
    hash: u128,
    /// The build holds everything merged up to this version.
    version: StateVersion,
    /// The erasures that are applied in it.
    erasure_version: ErasureVersion,
}

impl Inner {
    /// Writes a snapshot, unless it is being read: the next check finds it due again.
    pub(super) async fn write_snapshot(
        &self,
        target: SnapshotTarget,
        writer: Option<&WriterSender>,
    ) {
        let Some(_lock) = self.snapshot_locks.try_lock(target) else {
            return;
        };
        let began = self.clock.uptime();
        self.snapshots.lock().get_mut(target).write_began = Some(began);
        let outcome = self.replace_snapshot(target, writer).await;
        self.snapshots.lock().get_mut(target).has_failed = outcome.is_err();
        let took = self.clock.uptime().saturating_sub(began);
        metrics::histogram!(observability::SNAPSHOT_DURATION_SECONDS).record(took.as_secs_f64());
        match outcome {
            Ok(()) => {}
            Err(ApplyError::Store(error)) => {
                tracing::warn!(%error, "snapshot failed; retrying");
            }
            Err(ApplyError::Unreadable(object)) => self.note_unreadable_snapshot(target, object),
        }
    }

    async fn replace_snapshot(
        &self,
        target: SnapshotTarget,
        writer: Option<&WriterSender>,
    ) -> Result<(), ApplyError> {
        let key = target.key();
        for _ in 0..PUT_TRIES_MAX {
            self.load_unless_current(target, writer).await?;
            // Read before the build, so that the build holds everything merged with that ETag.
            let known = self.snapshots.lock().get(target).body.clone();
            let SnapshotBuild {
                parts,
                hash,
                version,
                erasure_version,
            } = self.build_snapshot(target).await;
            // An erasure came during the build, or the store fell back. The stored body may hold
            // what the build lacks: a lower output under an erased one.
            if self.snapshots.lock().get(target).must_reload {
                continue;
            }
            let condition = match known {
                // The stored body equals the build, as far as is known: no put is needed.
                Some(body)
                    if body.hash == hash
                        && self.snapshots.lock().etag(target).as_ref() == Some(&body.etag) =>
                {
                    let mut snapshots = self.snapshots.lock();
                    self.note_stored(snapshots.get_mut(target), target, body, version);
                    return Ok(());
                }
                Some(body) => Precondition::IfMatch(body.etag),
                None => Precondition::IfNoneMatch,
            };
            // Before the put: a listing may show its effect before its response is here.
            let before = {
                let mut snapshots = self.snapshots.lock();
                snapshots.get_mut(target).note_put_began(hash);
                snapshots.known(target)
            };
            match self.store.put(&key, parts, condition).await {
                Ok(etag) => {
                    let body = StoredBody {
                        etag,
                        hash,
                        erasure_version,
                    };
                    self.note_put(target, body, version, &before);
                    return Ok(());
                }
                // Another instance was faster, or a put of this instance has succeeded after all:
                // an earlier one, or the first copy of this one, if the network doubled it. Either
                // way: read, merge, try again.
                Err(PutError::WriteConflict) => {
                    self.snapshots.lock().get_mut(target).note_conflict();
                    self.load_snapshot(target, writer).await?;
                }
                Err(PutError::Failed(error)) => return Err(error.into()),
            }
        }
        let problem = format!("{PUT_TRIES_MAX} conflicts in a row, with puts or erasures");
        Err(StoreError::new("put", key, problem).into())
    }

    /// Loads the stored body if it was invalidated, or listings show another one than the merged.
    /// Otherwise the put would only find that its condition does not hold.
    async fn load_unless_current(
        &self,
        target: SnapshotTarget,
        writer: Option<&WriterSender>,
    ) -> Result<(), ApplyError> {
        let is_current = {
            let snapshots = self.snapshots.lock();
            let state = snapshots.get(target);
            !state.must_reload && state.is_listed()
        };
        if !is_current {
            self.load_snapshot(target, writer).await?;
        }
        Ok(())
    }

    /// Notes a put that succeeded. If listings have shown another body meanwhile, this instance is no
    /// owner any more.
    fn note_put(
        &self,
        target: SnapshotTarget,
        body: StoredBody,
        version: StateVersion,
        before: &KnownBefore,
    ) {
        let mut snapshots = self.snapshots.lock();
        let state = snapshots.get_mut(target);
        let write_again_since = state.write_again_since;
        let is_newest = state.listed.note_put(&body.etag, before);
        self.note_stored(state, target, body, version);
        if is_newest {
            state.is_owner = true;
            state.is_confirmed_owner = true;
        } else if write_again_since.is_some() {
            snapshots.write_again(target, self.clock.uptime());
        } else {
            state.must_compare = true;
            state.must_reload = true;
            self.release_snapshot(&mut snapshots, target);
        }
    }

    /// Notes that a body with everything merged up to `version` is stored.
    fn note_stored(
        &self,
        state: &mut SnapshotState,
        target: SnapshotTarget,
        body: StoredBody,
        version: StateVersion,
    ) {
        // An erasure that was applied since the build began invalidated the coverage.
        if body.erasure_version == self.concerning_erasure_version(target) {
            state.covered = version;
            state.covered_by = Some(body.etag.clone());
            state.stored_up_to = version;
            state.must_reload = false;
        }
        state.write_again_since = None;
        state.unconfirmed_puts.clear();
        state.body = Some(body);
    }

    async fn build_snapshot(&self, target: SnapshotTarget) -> SnapshotBuild {
        let began = self.clock.uptime();
        let (parts, version, erasure_version) = loop {
            // An erasure is applied before its version is published. So the parts have applied this
            // version, unless it changes meanwhile.
            let erasure_version = self.concerning_erasure_version(target);
            let (parts, version) = match target {
                SnapshotTarget::Class(class) => {
                    let history = self.current_history(class).await; // it takes the same care
                    let parts = history.chunks().collect();
                    break (parts, history.built_at(), history.erasure_version());
                }
                SnapshotTarget::Races(class) => self.build_races(class, erasure_version).await,
                SnapshotTarget::Finishes(class) => {
                    self.build_finishes(class, erasure_version).await
                }
                SnapshotTarget::RacerNames => {
                    let version = self.names.version();
                    let names = self.names.all();
                    let encode = move || names::encode(&names, erasure_version);
                    (vec![self.offload(encode).await], version)
                }
            };
            if self.concerning_erasure_version(target) == erasure_version {
                break (parts, version, erasure_version);
            }
        };
        let hashed: Vec<Bytes> = parts.clone();
        let hash = self.offload(move || hash_parts(&hashed)).await;
        let took = self.clock.uptime().saturating_sub(began);
        self.snapshots.lock().get_mut(target).build_took = took;
        SnapshotBuild {
            parts,
            hash,
            version,
            erasure_version,
        }
    }
}

/// Returns the hash of a body in parts.
pub(super) fn hash_parts(parts: &[Bytes]) -> u128 {
    let mut hasher = Xxh3::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.digest128()
}
