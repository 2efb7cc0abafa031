//! `racers.gz`: the racers' names as JSON, gzip.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::domain::effort::RacerId;
use crate::domain::erasure::{self, ErasureVersion};
use crate::domain::racer_names::RacerName;
use crate::gzip::{GunzipError, gunzip, gzip_with_extra_field};

#[derive(Serialize, Deserialize)]
struct StoredName {
    name: String,
    at: u64,
}

/// Why a stored `racers.gz` cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NamesError {
    #[error(transparent)]
    Gzip(#[from] GunzipError),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// Serializes the names in the given order, which is by id: serde_json keeps it.
struct NamesById<'a>(&'a [(RacerId, RacerName)]);

impl Serialize for NamesById<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(racer, name)| {
            let stored = StoredName {
                name: name.text.to_string(),
                at: name.at_ms,
            };
            (racer.0, stored)
        }))
    }
}

/// Encodes names in ascending order of their racers' ids. The gzip header carries the version of
/// the erasures that are applied.
pub(crate) fn encode(names: &[(RacerId, RacerName)], erasure_version: ErasureVersion) -> Bytes {
    let json = serde_json::to_vec(&NamesById(names)).expect("names always serialize");
    gzip_with_extra_field(&json, erasure::extra_field(erasure_version)).into()
}

/// Decodes names of at most `bytes_max` bytes when decompressed.
pub(crate) fn decode(
    body: &[u8],
    bytes_max: usize,
) -> Result<Vec<(RacerId, RacerName)>, NamesError> {
    let json = gunzip(body, bytes_max)?;
    let names: BTreeMap<u64, StoredName> = serde_json::from_slice(&json)?;
    let names = names.into_iter().map(|(racer, StoredName { name, at })| {
        let name = RacerName {
            at_ms: at,
            text: name.into(),
        };
        (RacerId(racer), name)
    });
    Ok(names.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_in_order_of_ids() {
        let name = |at_ms, text: &str| RacerName {
            at_ms,
            text: text.into(),
        };
        let names = vec![
            (RacerId(2), name(7, "Ä \"quoted\"")),
            (RacerId(10), name(0, "")),
        ];
        let body = encode(&names, 7);
        let json = gunzip(&body, 1000).expect("gzip");
        let expected = r#"{"2":{"name":"Ä \"quoted\"","at":7},"10":{"name":"","at":0}}"#;
        assert_eq!(String::from_utf8(json).expect("UTF-8"), expected);
        assert_eq!(decode(&body, 1000).expect("valid"), names);
    }
}
