//! The result of decoding a delivery's records: efforts, names and rejected records.

use crate::domain::effort::{Bounds, Effort, RacerId};
use crate::domain::racer_names::{self, RacerName};
use crate::domain::rejection::{Rejection, RejectionReason};
use crate::gzip::{self, GZIP_MAGIC, GunzipError};
use crate::ingest::envelope::RECORD_BYTES_MAX;
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

/// Gunzips the records of a delivery that are gzip.
pub(crate) struct RecordGunzip {
    /// Used again for each record.
    plain: Vec<u8>,
    /// Number of bytes to which further records may gunzip.
    bytes_left: usize,
}

impl RecordGunzip {
    /// Returns a value for records that may gunzip to `bytes_max` bytes together.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            plain: Vec::new(),
            bytes_left: bytes_max,
        }
    }

    /// Returns the data of a record, gunzipped if it is gzip.
    pub(crate) fn plain<'d>(&'d mut self, data: &'d [u8]) -> Result<&'d [u8], Rejection> {
        if !data.starts_with(&GZIP_MAGIC) {
            return Ok(data);
        }
        self.plain.clear();
        let bytes_max = RECORD_BYTES_MAX.min(self.bytes_left);
        let result = gzip::gunzip_into(data, &mut self.plain, bytes_max);
        self.bytes_left = self.bytes_left.saturating_sub(self.plain.len());
        match result {
            Ok(()) => Ok(&self.plain),
            Err(error) => {
                let reason = match error {
                    GunzipError::Invalid(_) => RejectionReason::Gzip,
                    GunzipError::TooLarge(_) => RejectionReason::TooLarge,
                };
                Err(Rejection::new(reason, error.to_string()))
            }
        }
    }
}

impl DecodedRecords {
    /// Decodes records that have no envelope and no base64. Those that are gzip may gunzip to
    /// `bytes_max` bytes together.
    pub fn of<'r>(
        records: impl IntoIterator<Item = &'r [u8]>,
        bounds: &Bounds,
        receipt_ms: u64,
        bytes_max: usize,
    ) -> Self {
        let mut decoded = Self::default();
        let mut gunzip = RecordGunzip::new(bytes_max);
        for data in records {
            let result = gunzip
                .plain(data)
                .and_then(|data| decoded.decode_record(data, bounds, receipt_ms));
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
