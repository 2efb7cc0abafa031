//! Building `races-<N>.gz` and `finishes-<N>.gz`.

use std::collections::HashMap;

use bytes::Bytes;

use crate::domain::effort::{ClassId, RaceId};
use crate::domain::erasure::ErasureVersion;
use crate::ledger::Inner;
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
    /// Returns the parts of `races-<N>.gz`, and the version up to which they are complete.
    pub(super) async fn build_races(
        &self,
        class: ClassId,
        erasure_version: ErasureVersion,
    ) -> (Vec<Bytes>, StateVersion) {
        let mut before = std::mem::take(&mut *self.race_parts[class.index()].lock());
        let known = before.iter();
        let known = known.map(|(&id, part)| (id, part.version)).collect();
        let copy = self.races.copy(class, &known);
        let (version, floor_ms) = (copy.version, copy.shared_floor_ms);
        let encode = move || {
            let races = copy.races.into_iter();
            let parts = races.map(|(id, version, rows)| {
                let part = match rows {
                    None => before.remove(&id).expect("the caller has it"),
                    Some(rows) => RacePart {
                        version,
                        rows: rows.len(),
                        member: race_rows::encode_rows(&rows),
                    },
                };
                (id, part)
            });
            parts.collect::<Vec<_>>()
        };
        let parts = self.offload(encode).await;
        let rows = parts.iter().map(|(_, part)| part.rows).sum();
        let kind = RowsKind::Races;
        let header = race_rows::encode_header(kind, class, rows, floor_ms, erasure_version);
        let members = parts.iter().map(|(_, part)| part.member.clone());
        let body = std::iter::once(header).chain(members).collect();
        *self.race_parts[class.index()].lock() = parts.into_iter().collect();
        (body, version)
    }

    /// Returns the parts of `finishes-<N>.gz`, as [`build_races`](Self::build_races) does.
    pub(super) async fn build_finishes(
        &self,
        class: ClassId,
        erasure_version: ErasureVersion,
    ) -> (Vec<Bytes>, StateVersion) {
        let (version, rows) = self.races.finishes(class);
        let encode = move || {
            let kind = RowsKind::Finishes;
            let header = race_rows::encode_header(kind, class, rows.len(), 0, erasure_version);
            let members = rows.chunks(MEMBER_ROWS).map(race_rows::encode_rows);
            std::iter::once(header).chain(members).collect()
        };
        (self.offload(encode).await, version)
    }
}
