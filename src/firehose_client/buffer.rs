//! The buffer in which records are gathered to a delivery.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::firehose_client::RECORDS_MAX;

/// Gathers records for a delivery as Firehose's buffering hints do: by size, by number or by age.
#[derive(Debug)]
pub struct DeliveryBuffer {
    bytes_max: usize,
    interval: Duration,
    records: Vec<Bytes>,
    bytes: usize,
    due: Option<Instant>,
}

impl DeliveryBuffer {
    /// Returns an empty buffer for at most `bytes_max` bytes of record data and [`RECORDS_MAX`]
    /// records.
    ///
    /// It is due once its oldest record is `interval` old. A record over `bytes_max` makes a
    /// delivery of its own.
    pub fn new(bytes_max: usize, interval: Duration) -> Self {
        Self {
            bytes_max,
            interval,
            records: Vec::new(),
            bytes: 0,
            due: None,
        }
    }

    /// Adds a record. Returns the earlier records if it does not fit beside them.
    pub fn push(&mut self, record: Bytes, now: Instant) -> Option<Vec<Bytes>> {
        let is_full =
            self.bytes + record.len() > self.bytes_max || self.records.len() == RECORDS_MAX;
        let full = if is_full { self.take() } else { None };
        self.bytes += record.len();
        self.records.push(record);
        self.due.get_or_insert(now + self.interval);
        full
    }

    /// Returns the time at which the records must be delivered; `None` while the buffer is empty.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Returns and removes all records; `None` if there are none.
    pub fn take(&mut self) -> Option<Vec<Bytes>> {
        self.due = None;
        self.bytes = 0;
        Some(std::mem::take(&mut self.records)).filter(|records| !records.is_empty())
    }
}
