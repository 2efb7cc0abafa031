//! The checks of a store: every operation that the service needs, at a key of its own.

use std::path::Path;
use std::sync::Arc;

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
    let read_only = options.config.read_only;
    let unopened = folder
        .filter(|_| !read_only)
        .and_then(|path| folder::unopened(Path::new(path), is_running));
    let source = match (unopened, folder) {
        (Some(verdict), Some(path)) => {
            report("store", verdict);
            ObjectSource::Folder(path.into())
        }
        _ => match open(location, read_only).await {
            Err(error) => return report("store", Verdict::Fail(format!("{error:#}"))),
            Ok(store) => {
                report("store", Verdict::Pass(store.location()));
                check_listings(&*store, report).await;
                if !read_only {
                    check_writes(&*store, report).await;
                }
                ObjectSource::Store(store)
            }
        },
    };
    if options.read_objects {
        objects::check(&source, &LedgerOptions::from(&options.config), report).await;
    }
}

async fn open(location: &str, read_only: bool) -> anyhow::Result<Arc<dyn Store>> {
    if read_only {
        storage::open_read_only(location).await
    } else {
        storage::open(location).await
    }
}

async fn check_listings(store: &dyn Store, report: &mut impl FnMut(&'static str, Verdict)) {
    for (subject, scope) in [
        ("store: list", ListScope::Root),
        ("store: list the journal", ListScope::Journal),
    ] {
        let listed = store.list(scope).await.map_err(Into::into);
        report(subject, Verdict::of(listed, "allowed"));
    }
}

async fn check_writes(store: &dyn Store, report: &mut impl FnMut(&'static str, Verdict)) {
    let id = SegmentId::random(SystemClock.wall_ms());
    storage::probe_steps(store, id, |step, outcome| {
        report(step, Verdict::of(outcome, "works"));
    })
    .await;
}
