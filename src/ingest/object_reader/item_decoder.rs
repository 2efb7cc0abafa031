//! Decodes the JSON objects of a stored object: records, error output, journal lines.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
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
        match text(fields.alleycat).as_deref() {
            Some("journal") => {
                let version = number(fields.version).ok_or(ObjectReaderError::UnknownJournal)?;
                self.latest_efforts = Some(HashMap::new());
                return if version > JOURNAL_VERSION {
                    Err(ObjectReaderError::NewerJournal(version))
                } else {
                    Ok(())
                };
            }
            Some("races" | "finishes") => return Err(ObjectReaderError::Snapshot),
            _ => {}
        }
        if self.latest_efforts.is_some() && fields.races_floor.is_some() {
            return Ok(()); // it expires rows of races, and is no record
        }
        // A record may have any other fields beside its own.
        let raw = text(fields.raw_data.filter(|_| fields.class_id.is_none()));
        let decode = |raw: Cow<'_, str>| base64_simd::STANDARD.decode_to_vec(raw.as_bytes()).ok();
        if let Some(data) = raw.and_then(decode) {
            let code = text(fields.error_code);
            let is_own = code.is_some_and(|code| code.starts_with(OWN_ERROR_PREFIX));
            let records = piece::split(&gunzip_if_gzip(data)).into_iter();
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

    /// Decodes a name in a journal. Keeps an effort if it is the latest of its racer. Returns
    /// `None` for anything but a name.
    fn decode_journal_line(
        &mut self,
        fields: &FormatFields<'_>,
        line: &[u8],
    ) -> Option<ObjectItem> {
        let efforts = self.latest_efforts.as_mut()?;
        let racer = number(fields.racer_id)?;
        match (fields.class_id, fields.name, number(fields.at)) {
            (None, Some(name), Some(at_ms)) => {
                let effort = efforts.get(&racer);
                let named = effort.map(|effort| effort.with_name(name.get(), at_ms));
                Some(named.map_or(ObjectItem::Name, ObjectItem::Record))
            }
            (Some(_), None, None) => {
                let time_ms = number(fields.device_timestamp).unwrap_or(0);
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

/// The fields that distinguish the formats. Their types are checked only where they matter.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FormatFields<'p> {
    #[serde(borrow)]
    alleycat: Option<&'p RawValue>,
    version: Option<&'p RawValue>,
    raw_data: Option<&'p RawValue>,
    error_code: Option<&'p RawValue>,
    racer_id: Option<&'p RawValue>,
    class_id: Option<&'p RawValue>,
    device_timestamp: Option<&'p RawValue>,
    name: Option<&'p RawValue>,
    at: Option<&'p RawValue>,
    races_floor: Option<&'p RawValue>,
}

fn number(value: Option<&RawValue>) -> Option<u64> {
    serde_json::from_str(value?.get()).ok()
}

/// Gunzips the data of a record. Data that is too large when gunzipped is returned unchanged.
fn gunzip_if_gzip(data: Vec<u8>) -> Vec<u8> {
    if !data.contains(&MEMBER_START[0]) {
        return data; // no member begins in it
    }
    let mut plain = Vec::new();
    let layer = GunzipLayer::of_records(&*data);
    let read = layer
        .take(RECORD_BYTES_MAX as u64 + 1)
        .read_to_end(&mut plain);
    if read.is_ok_and(|read| read <= RECORD_BYTES_MAX) {
        plain
    } else {
        data
    }
}
