//! The check of stored objects for `alleycat doctor`: each is decoded as a start decodes it.

use crate::domain::erasure::ErasureVersion;
use crate::ledger::LedgerOptions;
use crate::ledger::replication::decode_segment;
use crate::ledger::snapshot::{SnapshotTarget, applied_erasure_version, decode_snapshot};
use crate::ledger::unreadable::UnreadableCause;
use crate::storage::ObjectKey;
use crate::storage::codec::erasures;

/// Decodes a stored object as a start does. Returns the erasure version that it requires, or, of
/// `erasures.gz`, the version that it has.
///
/// # Errors
/// The reason why a start cannot use the object.
pub(crate) fn check_object(
    key: &ObjectKey,
    body: &[u8],
    options: &LedgerOptions,
) -> Result<ErasureVersion, String> {
    let target = match *key {
        ObjectKey::History(_)
        | ObjectKey::Races(_)
        | ObjectKey::Finishes(_)
        | ObjectKey::Racers => SnapshotTarget::of_key(key).expect("it is a snapshot"),
        ObjectKey::Segment(_) => {
            let segment = decode_segment(body, &options.bounds);
            let version = segment.map(|segment| segment.erasure_version);
            return version.map_err(|cause| cause.to_string());
        }
        ObjectKey::Erasures => return erasures::decode(body).map(|erasures| erasures.version()),
        ObjectKey::Quarantine(_) | ObjectKey::Probe(_) => return Ok(0), // a start reads none
    };
    decode_snapshot(target, body, options).map_err(|cause| cause.to_string())?;
    Ok(applied_erasure_version(body))
}

/// Checks that an object's erasure version is not above that of `erasures.gz`.
///
/// # Errors
/// It is: a start cannot use the object.
pub(crate) fn check_erasure_version(
    required: ErasureVersion,
    known: ErasureVersion,
) -> Result<(), String> {
    if required <= known {
        return Ok(());
    }
    Err(UnreadableCause::ErasuresOutdated { required, known }.to_string())
}
