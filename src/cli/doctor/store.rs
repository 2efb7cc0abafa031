//! The checks of a store: every operation that the service needs, at a key of its own.

use crate::cli::doctor::Verdict;
use crate::ledger::clock::{Clock, SystemClock};
use crate::storage::{self, ListScope, SegmentId, Store};

/// Runs the checks, and passes each finding to `report` at once.
pub(crate) async fn check(store: &dyn Store, report: &mut impl FnMut(&'static str, Verdict)) {
    for (subject, scope) in [
        ("store: list", ListScope::Root),
        ("store: list the journal", ListScope::Journal),
    ] {
        let listed = store.list(scope).await.map_err(Into::into);
        report(subject, Verdict::of(listed, "allowed"));
    }
    let id = SegmentId::random(SystemClock.wall_ms());
    storage::probe_steps(store, id, |step, outcome| {
        report(step, Verdict::of(outcome, "works"));
    })
    .await;
}
