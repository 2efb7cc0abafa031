//! What became of a replay.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::cli::replay::Read;
use crate::firehose_client::{Acknowledged, GivenUp};
use crate::ingest::object_reader::ObjectReaderError;

/// How many objects that cannot be read the summary names; the log names all.
const UNREADABLE_SHOWN_MAX: usize = 20;

/// What became of a replay. Its text form is the summary.
#[derive(Debug, Default)]
pub struct Report {
    /// Objects that were read to their end.
    pub objects: u64,
    /// Objects that hold no records: snapshots.
    pub passed_over: u64,
    /// Objects and folders that could not be read, or not to their end.
    pub unreadable: u64,
    /// Objects that nothing was read of since the replay ended before.
    pub unread: u64,
    /// Records that were found and sent.
    pub records: u64,
    /// Records that the endpoint acknowledged.
    pub acknowledged: u64,
    /// Records that the endpoint does not take even by themselves.
    pub refused: u64,
    /// Improvements among those acknowledged, where the endpoint tells.
    pub improvements: Option<u64>,
    /// Records that the endpoint quarantined, by reason, where it tells.
    pub rejected: BTreeMap<String, u64>,
    /// RacerNames of a journal that had no effort to be sent with.
    pub names: u64,
    /// Whether it was interrupted.
    pub interrupted: bool,
    /// How long it took.
    pub took: Duration,
    given_up: Option<GivenUp>,
    refused_because: String,
    shown: Vec<String>,
}

impl Report {
    /// Whether everything was read and taken: what the exit status tells.
    pub fn is_clean(&self) -> bool {
        let is_left = self.unreadable + self.unread > 0 || self.acknowledged < self.records;
        !is_left && !self.interrupted && self.given_up.is_none() && self.rejected.is_empty()
    }

    pub(crate) fn has_given_up(&self) -> bool {
        self.given_up.is_some()
    }

    pub(crate) fn count_object(&mut self, read: &Read) {
        self.names += read.names;
        match read.end {
            Ok(()) => self.objects += 1,
            Err(ObjectReaderError::Snapshot) => self.passed_over += 1,
            Err(_) => {} // counted as unreadable
        }
    }

    pub(crate) fn count_unreadable(&mut self, name: &str, problem: &str) {
        self.unreadable += 1;
        if self.shown.len() < UNREADABLE_SHOWN_MAX {
            self.shown.push(format!("{name}: {problem}"));
        }
    }

    pub(crate) fn count_delivery(&mut self, records: u64, outcome: Result<Acknowledged, GivenUp>) {
        match outcome {
            Ok(acknowledged) => {
                self.acknowledged += records;
                let Some(told) = acknowledged.told else {
                    return;
                };
                *self.improvements.get_or_insert_default() += told.improvements;
                for (reason, count) in told.rejected {
                    *self.rejected.entry(reason).or_default() += count;
                }
            }
            Err(given_up) => self.given_up = Some(given_up),
        }
    }

    pub(crate) fn count_refused(&mut self, given_up: &GivenUp) {
        self.refused += 1;
        self.refused_because = given_up.last.to_string();
    }

    pub(crate) fn close(&mut self, interrupted: bool, unread: usize, took: Duration) {
        (self.interrupted, self.unread, self.took) = (interrupted, unread as u64, took);
    }

    /// How far it is, in a few words.
    pub(crate) fn progress(&self, took: Duration) -> String {
        let rate = self.acknowledged as f64 / took.as_secs_f64().max(1e-3);
        let Self {
            acknowledged,
            unreadable,
            ..
        } = self;
        let rejected: u64 = self.rejected.values().sum();
        format!(
            "{acknowledged} records ({rate:.0}/s), {rejected} rejected, {unreadable} unreadable"
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            objects,
            passed_over,
            unreadable,
            unread,
            records,
            acknowledged,
            ..
        } = self;
        write!(
            f,
            "objects       {objects} read, {passed_over} snapshots passed over, {unreadable} unreadable"
        )?;
        if *unread > 0 {
            write!(f, ", {unread} not begun")?;
        }
        let seconds = self.took.as_secs_f64();
        let rate = *acknowledged as f64 / seconds.max(1e-9);
        write!(
            f,
            "\nrecords       {records} read, {acknowledged} acknowledged; {seconds:.1} s, {rate:.0} records/s"
        )?;
        match self.improvements {
            Some(improvements) => write!(f, "\nimprovements  {improvements}")?,
            None if *acknowledged == 0 => write!(f, "\nimprovements  0")?,
            None => write!(f, "\nimprovements  unknown: the endpoint did not tell")?,
        }
        let rejected: u64 = self.rejected.values().sum();
        write!(f, "\nrejected      {rejected}")?;
        for (reason, count) in &self.rejected {
            write!(f, "\n              {count} {reason}")?;
        }
        if self.refused > 0 {
            write!(
                f,
                "\nnot taken     {}; the last: {}",
                self.refused, self.refused_because
            )?;
        }
        if self.names > 0 {
            write!(
                f,
                "\nnames         {} stood in a journal without an effort, and were not sent",
                self.names
            )?;
        }
        for unreadable in &self.shown {
            write!(f, "\nunreadable    {unreadable}")?;
        }
        if self.unreadable > self.shown.len() as u64 {
            write!(f, "\n              and more, which the log names")?;
        }
        if let Some(given_up) = &self.given_up {
            write!(f, "\nended early   a delivery was {given_up}")?;
        }
        if self.interrupted {
            write!(
                f,
                "\nended early   it was interrupted; run it again, which does no harm"
            )?;
        }
        Ok(())
    }
}
