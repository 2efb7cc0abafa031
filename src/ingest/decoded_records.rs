//! The result of decoding a delivery's records: efforts, names and rejected records.

use crate::domain::effort::{Bounds, Effort, RacerId};
use crate::domain::racer_names::{self, RacerName};
use crate::domain::rejection::Rejection;
use crate::ingest::record;

/// The decoded content of records. Each record stands for itself: a fault in one changes no other.
#[derive(Debug, Default)]
pub struct DecodedRecords {
    /// All efforts, in the order of their records.
    pub efforts: Vec<Effort>,
    /// The indices in `efforts` of those that are a racer's last of a race.
    pub finals: Vec<usize>,
    /// The racers' names with their times. Consecutive equal names of a racer are one entry.
    pub names: Vec<(RacerId, RacerName)>,
    /// The records that must be quarantined.
    pub rejected: Vec<RejectedRecord>,
    /// The number of empty records.
    pub empty: usize,
    /// The number of efforts after each record.
    ends: Vec<usize>,
}

/// A record that must be quarantined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedRecord {
    /// The index of the record in its delivery.
    pub record: usize,
    /// The reason.
    pub rejection: Rejection,
}

/// A map from the efforts of a delivery to the records that they came from.
#[derive(Debug)]
pub struct EffortOrigins(Vec<usize>);

impl EffortOrigins {
    /// Returns the index of the record that the effort at index `effort` came from.
    pub fn of(&self, effort: usize) -> usize {
        self.0.partition_point(|&end| end <= effort)
    }
}

impl DecodedRecords {
    /// Decodes records that have no envelope and no base64.
    pub fn of<'r>(
        records: impl IntoIterator<Item = &'r [u8]>,
        bounds: &Bounds,
        receipt_ms: u64,
    ) -> Self {
        let mut decoded = Self::default();
        for data in records {
            let result = decoded.decode_record(data, bounds, receipt_ms);
            decoded.end_record(result);
        }
        decoded
    }

    /// Returns an empty value with capacity for one effort per record, the usual number.
    pub(crate) fn with_capacity(records: usize) -> Self {
        Self {
            efforts: Vec::with_capacity(records),
            ..Self::default()
        }
    }

    /// Returns the number of records, rejected and empty ones included.
    pub fn records(&self) -> usize {
        self.ends.len()
    }

    /// Returns the memory in use, in bytes: up to three times the text that was decoded.
    pub fn bytes(&self) -> usize {
        let names = self.names.iter().map(|(_, name)| name.heap_bytes());
        let messages = self.rejected.iter();
        let messages = messages.map(|it| it.rejection.message.capacity());
        self.efforts.capacity() * size_of::<Effort>()
            + self.names.capacity() * size_of::<(RacerId, RacerName)>()
            + self.rejected.capacity() * size_of::<RejectedRecord>()
            + (self.finals.capacity() + self.ends.capacity()) * size_of::<usize>()
            + names.sum::<usize>()
            + messages.sum::<usize>()
    }

    /// Takes out the map from efforts to records.
    pub fn origins(&mut self) -> EffortOrigins {
        EffortOrigins(std::mem::take(&mut self.ends))
    }

    /// Decodes the data of the next record. Returns the number of its objects.
    ///
    /// [`end_record`](Self::end_record) must follow with the result.
    pub(crate) fn decode_record(
        &mut self,
        data: &[u8],
        bounds: &Bounds,
        receipt_ms: u64,
    ) -> Result<usize, Rejection> {
        record::decode(data, bounds, receipt_ms, |telemetry| {
            let effort = telemetry.effort;
            if let Some(name) = telemetry.name.as_deref() {
                self.add_name(effort.racer, effort.time, racer_names::truncate(name));
            }
            if telemetry.is_final {
                self.finals.push(self.efforts.len());
            }
            self.efforts.push(effort);
        })
    }

    /// Ends a record. `result` is the number of its objects.
    pub(crate) fn end_record(&mut self, result: Result<usize, Rejection>) {
        match result {
            Ok(0) => self.empty += 1,
            Ok(_) => {}
            Err(rejection) => self.rejected.push(RejectedRecord {
                record: self.ends.len(),
                rejection,
            }),
        }
        self.ends.push(self.efforts.len());
    }

    fn add_name(&mut self, racer: RacerId, at_ms: u64, text: &str) {
        match self.names.last_mut() {
            Some((last, name)) if *last == racer && name.text == text => {
                name.at_ms = name.at_ms.max(at_ms);
            }
            _ => {
                let text = text.into();
                self.names.push((racer, RacerName { at_ms, text }));
            }
        }
    }
}
