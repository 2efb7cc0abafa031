//! Decodes the JSON objects of a stored object: records, error output, journal lines.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::Read;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::ingest::envelope::RECORD_BYTES_MAX;
use crate::ingest::json_scan::text;
use crate::ingest::object_reader::gunzip_layer::{GunzipLayer, MEMBER_START};
use crate::ingest::object_reader::{JOURNAL_VERSION, ObjectItem, ObjectReaderError, piece};

/// Maximum number of racers whose latest effort in a journal is kept, to deliver a name with it. A
/// segment has as many efforts.
const RACERS_MAX: usize = 1 << 20;

/// The prefix of error codes in this project's quarantine.
const OWN_ERROR_PREFIX: &str = "Alleycat.";

#[derive(Default)]
pub(super) struct ItemDecoder {
    /// The latest effort of each racer. `None` outside of a journal.
    latest_efforts: Option<HashMap<u64, JournalEffort>>,
    /// Number of lines of a part of a store that its first line declares, and that are still to
    /// come.
    lines_left: u64,
    /// Whether these lines are rows of races or finishes.
    is_in_rows: bool,
}

/// An effort in a journal.
struct JournalEffort {
    /// Its line in the journal.
    line: Vec<u8>,
    time_ms: u64,
}

impl ItemDecoder {
    /// Decodes a JSON object, and appends its items to `items`.
    pub(super) fn decode(
        &mut self,
        object: Vec<u8>,
        items: &mut VecDeque<ObjectItem>,
    ) -> Result<(), ObjectReaderError> {
        let Ok(fields) = serde_json::from_slice::<FormatFields<'_>>(&object) else {
            items.push_back(ObjectItem::Record(object));
            return Ok(());
        };
        if self.begin_part_of_a_store(&fields, items)? {
            return Ok(());
        }
        let is_row = fields.has(Field::ClassId) && fields.has(Field::At);
        if self.is_in_rows && self.lines_left > 0 && is_row {
            self.lines_left -= 1;
            return Ok(());
        }
        if self.latest_efforts.is_some() {
            self.lines_left = self.lines_left.saturating_sub(1);
            if fields.has(Field::RacesFloor) {
                return Ok(()); // it expires rows of races, and is no record
            }
        }
        if let Some(raw) = fields.raw_data() {
            let code = text(fields.get(Field::ErrorCode));
            let is_own = code.is_some_and(|code| code.starts_with(OWN_ERROR_PREFIX));
            let records = records_in(raw).into_iter();
            items.extend(records.map(if is_own {
                ObjectItem::Quarantined
            } else {
                ObjectItem::Record
            }));
            return Ok(());
        }
        let name = self.decode_journal_line(&fields, &object);
        items.push_back(name.unwrap_or(ObjectItem::Record(object)));
        Ok(())
    }

    /// Checks that every declared line has come.
    pub(super) fn check_complete(&self) -> Result<(), ObjectReaderError> {
        match self.lines_left {
            0 => Ok(()),
            lines => Err(ObjectReaderError::Incomplete(lines)),
        }
    }

    /// Begins a journal, races or finishes if these are the fields of its first line. Returns
    /// whether they are. Without a version or, in races and finishes, a number of rows, they are
    /// those of a record.
    fn begin_part_of_a_store(
        &mut self,
        fields: &FormatFields<'_>,
        items: &mut VecDeque<ObjectItem>,
    ) -> Result<bool, ObjectReaderError> {
        let kind = text(fields.get(Field::Alleycat));
        let version = number(fields.get(Field::Version));
        let rows = number(fields.get(Field::Rows));
        let is_rows = match (kind.as_deref(), version, rows) {
            (Some("journal"), Some(version), _) if version > JOURNAL_VERSION => {
                return Err(ObjectReaderError::NewerJournal(version));
            }
            (Some("journal"), Some(_), _) => false,
            (Some("races" | "finishes"), Some(_), Some(_)) => true,
            _ => return Ok(false),
        };
        self.check_complete()?;
        self.is_in_rows = is_rows;
        self.latest_efforts = (!is_rows).then(HashMap::new);
        // Segments of older programs declare no lines.
        let lines = if is_rows {
            rows
        } else {
            number(fields.get(Field::Lines))
        };
        self.lines_left = lines.unwrap_or(0);
        items.extend(is_rows.then_some(ObjectItem::Snapshot));
        Ok(true)
    }

    /// Decodes a name in a journal. Keeps an effort if it is the latest of its racer. Returns
    /// `None` for anything but a name.
    fn decode_journal_line(
        &mut self,
        fields: &FormatFields<'_>,
        line: &[u8],
    ) -> Option<ObjectItem> {
        let efforts = self.latest_efforts.as_mut()?;
        let racer = number(fields.get(Field::RacerId))?;
        let at_ms = number(fields.get(Field::At));
        match (fields.get(Field::ClassId), fields.get(Field::Name), at_ms) {
            (None, Some(name), Some(at_ms)) => {
                let effort = efforts.get(&racer);
                let named = effort.map(|effort| effort.with_name(name.get(), at_ms));
                Some(named.map_or(ObjectItem::Name, ObjectItem::Record))
            }
            (Some(_), None, None) => {
                let time_ms = number(fields.get(Field::DeviceTimestamp)).unwrap_or(0);
                // The latest effort is the nearest to the time of the name, which it must not
                // exceed.
                let is_latest = match efforts.get(&racer) {
                    Some(effort) => effort.time_ms <= time_ms,
                    None => efforts.len() < RACERS_MAX,
                };
                if is_latest {
                    let line = line.to_vec();
                    efforts.insert(racer, JournalEffort { line, time_ms });
                }
                None
            }
            _ => None,
        }
    }
}

impl JournalEffort {
    /// Returns the effort with this name, as a record. Its time is not after the name's time. Of a
    /// repeated key, the last value counts.
    fn with_name(&self, name: &str, at_ms: u64) -> Vec<u8> {
        let mut line = self.line.strip_suffix(b"}").unwrap_or(&self.line).to_vec();
        let time_ms = self.time_ms.min(at_ms);
        let fields = format!(r#","name":{name},"deviceTimestamp":{time_ms}}}"#);
        line.extend_from_slice(fields.as_bytes());
        line
    }
}

/// The names of fields that distinguish the formats.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum Field {
    Alleycat,
    Version,
    Lines,
    Rows,
    RawData,
    ErrorCode,
    RacerId,
    ClassId,
    DeviceTimestamp,
    Name,
    At,
    RacesFloor,
    #[serde(other)]
    Other,
}

/// The fields that distinguish the formats. The last value of a repeated key counts. Types are
/// checked only where they matter.
#[derive(Deserialize)]
struct FormatFields<'p>(#[serde(borrow)] BTreeMap<Field, &'p RawValue>);

impl<'p> FormatFields<'p> {
    fn get(&self, field: Field) -> Option<&'p RawValue> {
        let value = self.0.get(&field).copied();
        value.filter(|it| it.get() != "null")
    }

    fn has(&self, field: Field) -> bool {
        self.get(field).is_some()
    }

    /// Returns the data of a record in error output. A record itself may have any other fields
    /// beside its own.
    fn raw_data(&self) -> Option<Vec<u8>> {
        let raw = text(
            self.get(Field::RawData)
                .filter(|_| !self.has(Field::ClassId)),
        )?;
        base64_simd::STANDARD.decode_to_vec(raw.as_bytes()).ok()
    }
}

/// Returns whether a JSON object is a record or carries one, whatever it begins with.
pub(super) fn is_record(object: &[u8]) -> bool {
    let fields = serde_json::from_slice::<FormatFields<'_>>(object);
    fields.is_ok_and(|fields| fields.has(Field::ClassId) || fields.has(Field::RawData))
}

fn number(value: Option<&RawValue>) -> Option<u64> {
    serde_json::from_str(value?.get()).ok()
}

/// Returns the records in the data of one, gunzipped. A delivery's records may be gzip, but not gzip
/// in gzip: such a record is returned unchanged, to be rejected as it would be in a delivery. So is
/// one that is too large when gunzipped.
fn records_in(data: Vec<u8>) -> Vec<Vec<u8>> {
    let is_member_in = |data: &[u8]| data.contains(&MEMBER_START[0]);
    if !is_member_in(&data) {
        return piece::split(&data);
    }
    let mut plain = Vec::new();
    let layer = GunzipLayer::of_records(&*data);
    let read = layer
        .take(RECORD_BYTES_MAX as u64 + 1)
        .read_to_end(&mut plain);
    if read.is_ok_and(|read| read <= RECORD_BYTES_MAX) && !is_member_in(&plain) {
        piece::split(&plain)
    } else {
        vec![data]
    }
}
