//! Counts the outcome of a replay, and prints its progress and summary.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::cli::replay::ObjectSummary;
use crate::firehose_client::{Acknowledgement, DeliveryGivenUp};

/// Maximum number of unreadable objects that the summary names. The log names all.
const UNREADABLE_SHOWN_MAX: usize = 20;

/// The outcome of a replay. Its text form is the summary.
#[derive(Debug, Default)]
pub struct ReplayReport {
    /// Objects that were read to their end.
    pub objects: u64,
    /// Snapshots, which hold no records.
    pub skipped: u64,
    /// Hidden files and folders, pipes and the like in folders.
    pub passed_over: u64,
    /// Objects and folders that were unreadable, or only partly readable.
    pub unreadable: u64,
    /// Objects that were not begun before the replay ended.
    pub unread: u64,
    /// Records that were read and sent.
    pub records: u64,
    /// Records that the endpoint acknowledged.
    pub acknowledged: u64,
    /// Records that the endpoint refused as single-record deliveries.
    pub refused: u64,
    /// Improvements among the acknowledged records, if the endpoint sends that count.
    pub improvements: Option<u64>,
    /// Records that the endpoint quarantined, by reason, if it sends those counts.
    pub rejected: BTreeMap<String, u64>,
    /// Racer names of a journal, which cannot be delivered without an effort.
    pub names: u64,
    /// Whether the replay was interrupted.
    pub interrupted: bool,
    /// Duration of the replay.
    pub took: Duration,
    /// Whether the records were only compared with the service's histories.
    pub dry_run: bool,
    given_up: Option<DeliveryGivenUp>,
    last_refusal: String,
    unreadable_shown: Vec<String>,
}

impl ReplayReport {
    pub(crate) fn new(dry_run: bool) -> Self {
        Self {
            dry_run,
            ..Self::default()
        }
    }

    /// Returns whether everything was read and accepted. The exit status depends on it.
    pub fn is_clean(&self) -> bool {
        let is_left = self.unreadable + self.unread > 0 || self.acknowledged < self.records;
        !is_left && !self.interrupted && self.given_up.is_none() && self.rejected.is_empty()
    }

    pub(crate) fn has_given_up(&self) -> bool {
        self.given_up.is_some()
    }

    pub(crate) fn count_object(&mut self, summary: &ObjectSummary) {
        self.names += summary.names;
        self.skipped += summary.snapshots;
        // An object with an error counts as unreadable.
        if summary.end.is_ok() && (summary.has_records || summary.snapshots == 0) {
            self.objects += 1;
        }
    }

    pub(crate) fn count_unreadable(&mut self, name: &str, problem: &str) {
        self.unreadable += 1;
        if self.unreadable_shown.len() < UNREADABLE_SHOWN_MAX {
            self.unreadable_shown.push(format!("{name}: {problem}"));
        }
    }

    pub(crate) fn count_delivery(
        &mut self,
        records: u64,
        outcome: Result<Acknowledgement, DeliveryGivenUp>,
    ) {
        match outcome {
            Ok(acknowledgement) => {
                self.acknowledged += records;
                let Some(counts) = acknowledgement.counts else {
                    return;
                };
                *self.improvements.get_or_insert_default() += counts.improvements;
                for (reason, count) in counts.rejected {
                    *self.rejected.entry(reason).or_default() += count;
                }
            }
            Err(given_up) => self.given_up = Some(given_up),
        }
    }

    pub(crate) fn count_refused(&mut self, given_up: &DeliveryGivenUp) {
        self.refused += 1;
        self.last_refusal = given_up.last.to_string();
    }

    pub(crate) fn close(&mut self, interrupted: bool, unread: usize, took: Duration) {
        (self.interrupted, self.unread, self.took) = (interrupted, unread as u64, took);
    }

    /// Returns the progress in a few words.
    pub(crate) fn progress(&self, took: Duration) -> String {
        let rate = self.acknowledged as f64 / took.as_secs_f64().max(1e-3);
        let Self {
            records,
            acknowledged,
            refused,
            unreadable,
            ..
        } = self;
        let in_flight = records.saturating_sub(acknowledged + refused);
        let rejected: u64 = self.rejected.values().sum();
        format!(
            "{acknowledged} records ({rate:.0}/s), {in_flight} in flight, {rejected} rejected, \
             {unreadable} unreadable"
        )
    }
}

impl fmt::Display for ReplayReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            objects,
            skipped,
            unreadable,
            unread,
            records,
            acknowledged,
            ..
        } = self;
        if self.dry_run {
            writeln!(
                f,
                "dry run       nothing was sent; a real run may have fewer improvements and more rejections"
            )?;
        }
        write!(
            f,
            "objects       {objects} read, {skipped} snapshots skipped, {unreadable} unreadable"
        )?;
        if *unread > 0 {
            write!(f, ", {unread} not begun")?;
        }
        if self.passed_over > 0 {
            write!(
                f,
                "\npassed over   {} hidden files and folders, pipes and the like; give one as a source to read it",
                self.passed_over
            )?;
        }
        let seconds = self.took.as_secs_f64();
        let rate = *acknowledged as f64 / seconds.max(1e-9);
        let accepted = if self.dry_run {
            "compared"
        } else {
            "acknowledged"
        };
        write!(
            f,
            "\nrecords       {records} read, {acknowledged} {accepted}; {seconds:.1} s, {rate:.0} records/s"
        )?;
        match self.improvements {
            Some(improvements) => write!(f, "\nimprovements  {improvements}")?,
            None if *acknowledged == 0 => write!(f, "\nimprovements  0")?,
            None => write!(f, "\nimprovements  unknown: the endpoint sends no counts")?,
        }
        let rejected: u64 = self.rejected.values().sum();
        write!(f, "\nrejected      {rejected}")?;
        for (reason, count) in &self.rejected {
            write!(f, "\n              {count} {reason}")?;
        }
        if self.refused > 0 {
            write!(
                f,
                "\nrefused       {}; last error: {}",
                self.refused, self.last_refusal
            )?;
        }
        if self.names > 0 {
            write!(
                f,
                "\nnames         {} of a journal were not sent: they have no effort",
                self.names
            )?;
        }
        for unreadable in &self.unreadable_shown {
            write!(f, "\nunreadable    {unreadable}")?;
        }
        if self.unreadable > self.unreadable_shown.len() as u64 {
            write!(f, "\n              and more, see the log")?;
        }
        if let Some(given_up) = &self.given_up {
            write!(f, "\nended early   a delivery was {given_up}")?;
        }
        if self.interrupted {
            write!(
                f,
                "\nended early   interrupted; running it again does no harm"
            )?;
        }
        Ok(())
    }
}
