//! Building `races-<N>.gz` and `finishes-<N>.gz`.

use std::collections::HashMap;

use bytes::Bytes;

use crate::domain::effort::{ClassId, RaceId};
use crate::domain::erasure::ErasureVersion;
use crate::ledger::Inner;
use crate::ledger::snapshot::SnapshotTarget;
use crate::state::races::RacesVersion;
use crate::state::table::StateVersion;
use crate::storage::codec::race_rows::{self, RowsKind};

/// Number of rows of a gzip member of `finishes-<N>.gz`: some 10 ms of work.
const MEMBER_ROWS: usize = 16 * 1024;

/// The races of a class as they were built last. A race that has not changed is not encoded again.
pub(in crate::ledger) type RaceParts = HashMap<RaceId, RacePart>;

/// A race as a gzip member.
#[derive(Clone, Debug)]
pub(in crate::ledger) struct RacePart {
    version: RacesVersion,
    rows: usize,
    member: Bytes,
}

impl Inner {
    /// Returns the parts of `races-<N>.gz`, the version up to which they are complete, and the
    /// applied erasure version.
    pub(super) async fn build_races(
        &self,
        class: ClassId,
    ) -> (Vec<Bytes>, StateVersion, ErasureVersion) {
        let target = SnapshotTarget::Races(class);
        loop {
            let erasure_version = self.concerning_erasure_version(target);
            let mut before = std::mem::take(&mut *self.race_parts[class.index()].lock());
            let known = before
                .iter()
                .map(|(&id, part)| (id, part.version))
                .collect();
            let copy = self.races.copy(class, &known);
            let (version, floor_ms) = (copy.version, copy.shared_floor_ms);
            let parts = self.offload(move || {
                let races = copy.races.into_iter();
                races
                    .map(|(id, version, rows)| {
                        let part = match rows {
                            None => before.remove(&id).expect("the caller has it"),
                            Some(rows) => RacePart {
                                version,
                                rows: rows.len(),
                                member: race_rows::encode_rows(&rows),
                            },
                        };
                        (id, part)
                    })
                    .collect::<Vec<_>>()
            });
            let parts = parts.await;
            let rows = parts.iter().map(|(_, part)| part.rows).sum();
            let kind = RowsKind::Races;
            let header = race_rows::encode_header(kind, class, rows, floor_ms, erasure_version);
            let members = parts.iter().map(|(_, part)| part.member.clone());
            let body = std::iter::once(header).chain(members).collect();
            *self.race_parts[class.index()].lock() = parts.into_iter().collect();
            if self.concerning_erasure_version(target) == erasure_version {
                return (body, version, erasure_version);
            }
        }
    }

    /// Returns the parts of `finishes-<N>.gz`, as [`build_races`](Self::build_races) does.
    pub(super) async fn build_finishes(
        &self,
        class: ClassId,
    ) -> (Vec<Bytes>, StateVersion, ErasureVersion) {
        let target = SnapshotTarget::Finishes(class);
        loop {
            let erasure_version = self.concerning_erasure_version(target);
            let (version, rows) = self.races.finishes(class);
            let body = self.offload(move || {
                let kind = RowsKind::Finishes;
                let header = race_rows::encode_header(kind, class, rows.len(), 0, erasure_version);
                let members = rows.chunks(MEMBER_ROWS).map(race_rows::encode_rows);
                std::iter::once(header).chain(members).collect()
            });
            let body = body.await;
            if self.concerning_erasure_version(target) == erasure_version {
                return (body, version, erasure_version);
            }
        }
    }
}
