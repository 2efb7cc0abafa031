//! The checks of a store: every operation that the service needs, at a key of its own.

use std::path::Path;

use crate::cli::doctor::objects::{self, ObjectSource};
use crate::cli::doctor::{DoctorOptions, Verdict, folder};
use crate::ledger::LedgerOptions;
use crate::ledger::clock::{Clock, SystemClock};
use crate::storage::{self, ListScope, SegmentId, Store};

/// Runs the checks, and passes each finding to `report` at once. `is_running` says whether the
/// service runs, whose folder must not be locked.
pub(crate) async fn check(
    options: &DoctorOptions,
    is_running: bool,
    report: &mut impl FnMut(&'static str, Verdict),
) {
    let location = &options.config.store;
    let folder = location
        .strip_prefix("file:")
        .filter(|path| !path.is_empty());
    let unopened = folder.and_then(|path| folder::unopened(Path::new(path), is_running));
    let source = match (unopened, folder) {
        (Some(verdict), Some(path)) => {
            report("store", verdict);
            ObjectSource::Folder(path.into())
        }
        _ => match storage::open(location).await {
            Err(error) => return report("store", Verdict::Fail(format!("{error:#}"))),
            Ok(store) => {
                report("store", Verdict::Pass(store.location()));
                check_operations(&*store, report).await;
                ObjectSource::Store(store)
            }
        },
    };
    if options.read_objects {
        objects::check(&source, &LedgerOptions::from(&options.config), report).await;
    }
}

async fn check_operations(store: &dyn Store, report: &mut impl FnMut(&'static str, Verdict)) {
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
