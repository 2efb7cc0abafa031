//! The checks of a store: every operation that the service needs, at a key of its own.

use std::sync::Arc;

use anyhow::Context;

use crate::cli::doctor::folder::{FolderCheck, TemporaryFolder};
use crate::cli::doctor::objects::{self, ObjectSource};
use crate::cli::doctor::{DoctorOptions, Verdict};
use crate::config::Config;
use crate::ledger::LedgerOptions;
use crate::ledger::clock::{Clock, SystemClock};
use crate::storage::{self, FolderStore, ListScope, SegmentId, Store};

/// Runs the checks, and passes each finding to `report` at once. `is_running` says whether the
/// service runs, whose folder must not be locked.
pub(crate) async fn check(
    options: &DoctorOptions,
    is_running: bool,
    report: &mut impl FnMut(&'static str, Verdict),
) {
    match check_operations(&options.config, is_running, report).await {
        Err(error) => report("store", Verdict::Fail(format!("{error:#}"))),
        Ok(source) if options.read_objects => {
            objects::check(&source, &LedgerOptions::from(&options.config), report).await;
        }
        Ok(_) => {}
    }
}

/// Checks the operations of the store, and returns the place of its objects.
async fn check_operations(
    config: &Config,
    is_running: bool,
    report: &mut impl FnMut(&'static str, Verdict),
) -> anyhow::Result<ObjectSource> {
    let read_only = config.read_only;
    let folder = storage::folder_of(&config.store)?.filter(|_| !read_only);
    match folder.map(|path| (path, FolderCheck::of(path, is_running))) {
        None | Some((_, FolderCheck::InPlace)) => {
            let store = open(&config.store, read_only).await?;
            report("store", Verdict::Pass(store.location()));
            check_listings(&*store, report).await;
            if !read_only {
                check_writes(&*store, report).await;
            }
            Ok(ObjectSource::Store(store))
        }
        Some((path, FolderCheck::Left(verdict))) => {
            report("store", verdict);
            Ok(ObjectSource::Folder(path.into()))
        }
        Some((path, FolderCheck::Beside(parent))) => {
            let beside = TemporaryFolder::create_in(&parent)
                .with_context(|| format!("{} cannot be made a store", path.display()))?;
            let store = FolderStore::open(beside.path())?;
            let text = format!(
                "{} is no store yet; the service makes it one",
                path.display()
            );
            report("store", Verdict::Pass(text));
            check_listings(&store, report).await;
            check_writes(&store, report).await;
            Ok(ObjectSource::Folder(path.into()))
        }
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
