//! `erasures.gz`: the erasures as JSON, gzip.

use bytes::Bytes;

use crate::domain::erasure::Erasures;
use crate::gzip::{gunzip, gzip};

/// Maximum size of the decompressed `erasures.gz`, in bytes: more than [`ERASURES_MAX`] erasures
/// with reasons of the maximum length need.
///
/// [`ERASURES_MAX`]: crate::domain::erasure::ERASURES_MAX
const ERASURES_BYTES_MAX: usize = 1 << 30;

pub(crate) fn encode(erasures: &Erasures) -> Bytes {
    gzip(&erasures.to_json()).into()
}

pub(crate) fn decode(body: &[u8]) -> Result<Erasures, String> {
    let json = gunzip(body, ERASURES_BYTES_MAX).map_err(|error| error.to_string())?;
    Erasures::from_json(&json)
}
