//! The checks of a store: every operation that the service needs, at a key of its own.

use bytes::Bytes;

use crate::cli::doctor::Verdict;
use crate::ledger::clock::{Clock, SystemClock};
use crate::storage::{ETag, ListScope, ObjectKey, Precondition, PutError, SegmentId, Store};

/// Runs the checks, and passes each finding to `report` at once.
pub(crate) async fn check(store: &dyn Store, report: &mut impl FnMut(&'static str, Verdict)) {
    for (subject, scope) in [
        ("store: list", ListScope::Root),
        ("store: list the journal", ListScope::Journal),
    ] {
        let listed = store.list(scope).await.map_err(Into::into);
        report(subject, Verdict::of(listed, "allowed"));
    }
    let key = ObjectKey::Probe(SegmentId::random(SystemClock.wall_ms()));
    let put = async |precondition| {
        store
            .put(&key, vec![Bytes::from_static(b"probe")], precondition)
            .await
    };
    let etag = match put(Precondition::IfNoneMatch).await {
        Ok(etag) => etag,
        Err(error) => {
            // Every further check would fail for the same reason.
            return report("store: put", Verdict::Fail(error.to_string()));
        }
    };
    report("store: put", Verdict::Pass("written".to_owned()));
    report(
        "store: If-None-Match",
        must_conflict(&put(Precondition::IfNoneMatch).await, "If-None-Match"),
    );
    report("store: get", get(store, &key).await);
    let wrong_etag = ETag("\"00000000000000000000000000000000\"".to_owned());
    report(
        "store: If-Match, wrong ETag",
        must_conflict(&put(Precondition::IfMatch(wrong_etag)).await, "If-Match"),
    );
    let replaced = put(Precondition::IfMatch(etag)).await;
    let replaced = replaced
        .map_err(|error| anyhow::anyhow!("{error}; a put with the right If-Match must replace"));
    report("store: If-Match", Verdict::of(replaced, "replaced"));
    let deleted = store.delete(&key).await;
    let deleted = deleted.map_err(|error| anyhow::anyhow!("{error}; allow s3:DeleteObject"));
    report("store: delete", Verdict::of(deleted, "deleted"));
}

async fn get(store: &dyn Store, key: &ObjectKey) -> Verdict {
    match store.get(key).await {
        Ok(Some(object)) if object.body == b"probe"[..] => {
            Verdict::Pass("the content is as written".to_owned())
        }
        Ok(Some(_)) => Verdict::Fail("the content is not as written; use another store".to_owned()),
        Ok(None) => Verdict::Fail(
            "a written object is missing; use a store with strong consistency".to_owned(),
        ),
        Err(error) => Verdict::Fail(format!("{error}; allow s3:GetObject")),
    }
}

/// Passes if the put failed because of its precondition.
fn must_conflict(put: &Result<ETag, PutError>, header: &str) -> Verdict {
    match put {
        Err(PutError::WriteConflict) => Verdict::Pass("respected".to_owned()),
        Ok(_) => Verdict::Fail(format!(
            "{header} is ignored, so writes would be lost; use a store that respects it"
        )),
        Err(PutError::Failed(error)) => Verdict::Fail(error.to_string()),
    }
}
