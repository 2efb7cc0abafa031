//! Checks that a store does what the ledger relies on, at a key of its own.

use anyhow::Context;
use bytes::Bytes;

use crate::storage::{ETag, ObjectKey, Precondition, PutError, SegmentId, Store, StoredObject};

const BODY: &[u8] = b"probe";

/// Checks that the store can write, read and delete, and that it honors preconditions.
///
/// # Errors
/// The first check that failed. On a store that ignores preconditions two instances would
/// overwrite each other's writes, so no instance may use it.
pub async fn probe(store: &dyn Store, id: SegmentId) -> anyhow::Result<()> {
    let mut result = Ok(());
    probe_steps(store, id, |_, outcome| {
        if result.is_ok() {
            result = outcome;
        }
    })
    .await;
    result
}

/// Runs the checks of [`probe`] and reports the name and the outcome of each. A failed first put
/// or get ends the checks early: the others would only fail for the same reason. The probe object
/// is deleted in any case.
pub async fn probe_steps(
    store: &dyn Store,
    id: SegmentId,
    mut report: impl FnMut(&'static str, anyhow::Result<()>),
) {
    let key = ObjectKey::Probe(id);
    check_writes(store, &key, &mut report).await;
    let deleted = store.delete(&key).await.with_context(|| {
        format!(
            "{} does not allow deletes; allow s3:DeleteObject",
            store.location()
        )
    });
    report("store: delete", deleted);
}

async fn check_writes(
    store: &dyn Store,
    key: &ObjectKey,
    report: &mut impl FnMut(&'static str, anyhow::Result<()>),
) {
    let location = store.location();
    let put = async |condition| {
        store
            .put(key, vec![Bytes::from_static(BODY)], condition)
            .await
    };

    let written = put(Precondition::IfNoneMatch).await;
    let written = written.with_context(|| format!("{location} does not allow writes"));
    let is_written = written.is_ok();
    report("store: put", written.map(drop));
    if !is_written {
        return;
    }

    let etag = match store.get(key).await {
        Ok(Some(StoredObject { body, etag })) if body == BODY => Ok(etag),
        Ok(_) => Err(anyhow::anyhow!(
            "{location} does not return what was written; use a consistent store"
        )),
        Err(error) => Err(anyhow::Error::from(error))
            .with_context(|| format!("{location} does not allow reads; allow s3:GetObject")),
    };
    let etag = match etag {
        Ok(etag) => {
            report("store: get", Ok(()));
            etag
        }
        Err(error) => return report("store: get", Err(error)),
    };

    let other = ETag("\"00000000000000000000000000000000\"".to_owned());
    for (step, condition, header) in [
        (
            "store: If-None-Match",
            Precondition::IfNoneMatch,
            "If-None-Match",
        ),
        (
            "store: If-Match, another tag",
            Precondition::IfMatch(other),
            "If-Match",
        ),
    ] {
        report(
            step,
            match put(condition).await {
                Err(PutError::WriteConflict) => Ok(()),
                Ok(_) => Err(anyhow::anyhow!(
                    "{location} ignores {header}, so writes would be lost; use a store that honors it"
                )),
                Err(PutError::Failed(error)) => Err(anyhow::Error::from(error))
                    .with_context(|| format!("{location} does not answer {header} as S3 does")),
            },
        );
    }
    let replaced = put(Precondition::IfMatch(etag)).await;
    report(
        "store: If-Match",
        replaced
            .map(drop)
            .with_context(|| format!("{location} does not replace an object by If-Match")),
    );
}
