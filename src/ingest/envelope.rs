//! A delivery: Firehose's envelope, unwrapped into efforts, names and what must be quarantined.
//!
//! Pure, and borrowed from the body wherever it can be: gunzip, envelope, base64, records, telemetry.

use crate::ingest::envelope_fast_path;
use std::borrow::Cow;
use std::fmt;
use std::io::Read;

use flate2::read::MultiGzDecoder;
use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::domain::effort::{Bounds, Effort, RacerId};
use crate::domain::json_scan;
use crate::domain::racer_names::{self, RacerName};
use crate::domain::rejection::{Rejection, RejectionReason};
use crate::ingest::record;

/// The most records in one delivery. Firehose sends 10,000 at most; other senders pack small records up to the body's
/// limit, and each costs memory before it is decoded.
pub const RECORDS_MAX: usize = 100_000;

/// The longest request id that is taken from a body, in bytes. It comes back in the answer, which is limited.
pub const REQUEST_ID_BYTES_MAX: usize = 4096;

/// The largest record, gunzipped, in bytes: sixteen times what Firehose takes from a producer.
pub const RECORD_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What gzip begins with.
pub const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Why a body is not gunzipped.
#[derive(Debug, thiserror::Error)]
pub enum GunzipError {
    /// It is no gzip, or broken.
    #[error("the body is not gzip: {0}")]
    Broken(std::io::Error),
    /// It is larger than is taken.
    #[error("the body is over {0} bytes when gunzipped")]
    TooLarge(usize),
}

/// Gunzips a body of one or several gzip members, up to `bytes_max`.
pub fn gunzip(body: &[u8], bytes_max: usize) -> Result<Vec<u8>, GunzipError> {
    let mut plain = Vec::new();
    let mut decoder = MultiGzDecoder::new(body).take(bytes_max as u64 + 1);
    decoder
        .read_to_end(&mut plain)
        .map_err(GunzipError::Broken)?;
    if plain.len() > bytes_max {
        Err(GunzipError::TooLarge(bytes_max))
    } else {
        Ok(plain)
    }
}

/// A delivery's envelope: its records are still base64.
#[derive(Debug)]
pub struct Envelope<'b> {
    /// The id the sender gave the request, where the body has one.
    pub request_id: Option<Cow<'b, str>>,
    pub(crate) records: Vec<Cow<'b, [u8]>>,
}

/// The body is not a delivery's.
#[derive(Debug, thiserror::Error)]
#[error("the body is not a delivery: {problem}")]
pub struct EnvelopeError {
    /// The id, where the body has one all the same.
    pub request_id: Option<String>,
    problem: String,
}

impl<'b> Envelope<'b> {
    /// Parses a body.
    pub fn parse(body: &'b [u8]) -> Result<Self, EnvelopeError> {
        let body = json_scan::without_byte_order_mark(body);
        let envelope = match envelope_fast_path::read(body) {
            Some(envelope) => envelope,
            None => Self::parse_by_serde(body)?,
        };
        if envelope
            .request_id
            .as_ref()
            .is_some_and(|id| id.len() > REQUEST_ID_BYTES_MAX)
        {
            let problem = format!("requestId is over {REQUEST_ID_BYTES_MAX} bytes");
            return Err(EnvelopeError {
                request_id: None,
                problem,
            });
        }
        Ok(envelope)
    }

    fn parse_by_serde(body: &'b [u8]) -> Result<Self, EnvelopeError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Body<'b> {
            #[serde(borrow, default)]
            request_id: Option<Text<'b>>,
            #[serde(borrow)]
            records: Records<'b>,
        }
        // A derived struct would take an array of its fields as well.
        if body.trim_ascii_start().first() != Some(&b'{') {
            let problem = "it is not a JSON object".to_owned();
            return Err(EnvelopeError {
                request_id: None,
                problem,
            });
        }
        let body: Body<'b> =
            serde_json::from_slice(body).map_err(|error| EnvelopeError::new(body, &error))?;
        Ok(Self {
            request_id: body.request_id.map(|Text(id)| id),
            records: body.records.0,
        })
    }

    /// How many records it has.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether it has no records.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The record's data; undecodable base64 as it came.
    pub fn record(&self, place: usize) -> Vec<u8> {
        let text = &self.records[place];
        base64_simd::STANDARD
            .decode_to_vec(text)
            .unwrap_or_else(|_| text.to_vec())
    }

    /// Decodes every record. All records together may gunzip to `bytes_max` bytes.
    pub fn decode(&self, bounds: &Bounds, receipt_ms: u64, bytes_max: usize) -> DecodedRecords {
        let mut decoded = DecodedRecords {
            efforts: Vec::with_capacity(self.records.len()),
            ..DecodedRecords::default()
        };
        let mut data = Vec::new();
        let mut plain = Vec::new();
        let mut gunzipped_left = bytes_max;
        for (place, text) in self.records.iter().enumerate() {
            data.clear();
            plain.clear();
            let outcome = match base64_simd::STANDARD.decode_append(text, &mut data) {
                Err(_) => Err(Rejection::new(
                    RejectionReason::Base64,
                    "the data is not base64",
                )),
                Ok(()) if data.starts_with(&GZIP_MAGIC) => {
                    gunzip_record(&data, &mut plain, &mut gunzipped_left)
                        .and_then(|()| decoded.take_record(&plain, bounds, receipt_ms))
                }
                Ok(()) => decoded.take_record(&data, bounds, receipt_ms),
            };
            decoded.end_record(place, outcome);
        }
        decoded
    }
}

/// What the records of a delivery hold.
#[derive(Debug, Default)]
pub struct DecodedRecords {
    /// Every effort, in order.
    pub efforts: Vec<Effort>,
    /// Places in `efforts` that are a racer's last of a race.
    pub finals: Vec<usize>,
    /// The racers' names with their times. Consecutive equal names of a racer are one entry.
    pub names: Vec<(RacerId, RacerName)>,
    /// The records that must be quarantined.
    pub rejected: Vec<Rejected>,
    /// How many records are empty.
    pub empty: usize,
    ends: Vec<usize>,
}

/// Which records the efforts of a delivery came from.
#[derive(Debug)]
pub struct Origins(Vec<usize>);

impl Origins {
    /// The place of the record that the effort in that place came from.
    pub fn of(&self, effort: usize) -> usize {
        self.0.partition_point(|&end| end <= effort)
    }
}

/// A record that must be quarantined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Its place in the delivery.
    pub record: usize,
    /// Why.
    pub rejection: Rejection,
}

impl DecodedRecords {
    /// Decodes records that came as they are, and not in an envelope.
    pub fn of<'r>(
        records: impl IntoIterator<Item = &'r [u8]>,
        bounds: &Bounds,
        receipt_ms: u64,
    ) -> Self {
        let mut decoded = Self::default();
        for (place, data) in records.into_iter().enumerate() {
            let outcome = decoded.take_record(data, bounds, receipt_ms);
            decoded.end_record(place, outcome);
        }
        decoded
    }

    /// How many records there were.
    pub fn records(&self) -> usize {
        self.ends.len()
    }

    /// What it takes up, in bytes: up to three times the text that it was decoded from.
    pub fn bytes(&self) -> usize {
        let names = self
            .names
            .iter()
            .map(|(_, name)| name.bytes_outside())
            .sum::<usize>();
        let messages = self
            .rejected
            .iter()
            .map(|it| it.rejection.message.capacity())
            .sum::<usize>();
        self.efforts.capacity() * size_of::<Effort>()
            + self.names.capacity() * size_of::<(RacerId, RacerName)>()
            + self.rejected.capacity() * size_of::<Rejected>()
            + (self.finals.capacity() + self.ends.capacity()) * size_of::<usize>()
            + names
            + messages
    }

    /// Which record each effort came from.
    pub fn origins(&mut self) -> Origins {
        Origins(std::mem::take(&mut self.ends))
    }

    fn end_record(&mut self, record: usize, outcome: Result<usize, Rejection>) {
        match outcome {
            Ok(0) => self.empty += 1,
            Ok(_) => {}
            Err(rejection) => self.rejected.push(Rejected { record, rejection }),
        }
        self.ends.push(self.efforts.len());
    }

    fn take_record(
        &mut self,
        data: &[u8],
        bounds: &Bounds,
        receipt_ms: u64,
    ) -> Result<usize, Rejection> {
        record::decode(data, bounds, receipt_ms, |telemetry| {
            let effort = telemetry.effort;
            if let Some(name) = telemetry.name.as_deref() {
                self.add_name(effort.racer, effort.time, racer_names::cut(name));
            }
            if telemetry.is_final {
                self.finals.push(self.efforts.len());
            }
            self.efforts.push(effort);
        })
    }

    fn add_name(&mut self, racer: RacerId, at_ms: u64, text: &str) {
        match self.names.last_mut() {
            Some((last, name)) if *last == racer && name.text == text => {
                name.at_ms = name.at_ms.max(at_ms);
            }
            _ => self.names.push((
                racer,
                RacerName {
                    at_ms,
                    text: text.into(),
                },
            )),
        }
    }
}

fn gunzip_record(data: &[u8], plain: &mut Vec<u8>, left: &mut usize) -> Result<(), Rejection> {
    let bytes_max = RECORD_BYTES_MAX.min(*left);
    let mut decoder = MultiGzDecoder::new(data).take(bytes_max as u64 + 1);
    let outcome = decoder.read_to_end(plain);
    *left = left.saturating_sub(plain.len());
    match outcome {
        Err(error) => Err(Rejection::new(
            RejectionReason::Gzip,
            format!("the data begins like gzip and is not: {error}"),
        )),
        Ok(length) if length > bytes_max => Err(Rejection::new(
            RejectionReason::TooLarge,
            format!("the data is over {bytes_max} bytes when gunzipped"),
        )),
        Ok(_) => Ok(()),
    }
}

impl EnvelopeError {
    fn new(body: &[u8], error: &serde_json::Error) -> Self {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct IdOnly {
            request_id: Option<String>,
        }
        let id = serde_json::from_slice::<IdOnly>(body)
            .ok()
            .and_then(|body| body.request_id);
        let request_id = id.filter(|id| id.len() <= REQUEST_ID_BYTES_MAX);
        Self {
            request_id,
            problem: json_scan::describe_error(error),
        }
    }
}

/// A text, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Text<'b>(#[serde(borrow)] Cow<'b, str>);

/// The `records` array: at most [`RECORDS_MAX`] of `{"data": text}`.
struct Records<'b>(Vec<Cow<'b, [u8]>>);

impl<'de: 'b, 'b> Deserialize<'de> for Records<'b> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RecordsVisitor;
        impl<'de> Visitor<'de> for RecordsVisitor {
            type Value = Records<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of records")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut records = Vec::new();
                while records.len() < RECORDS_MAX {
                    let Some(Record(data)) = seq.next_element()? else {
                        return Ok(Records(records));
                    };
                    records.push(data);
                }
                match seq.next_element::<IgnoredAny>()? {
                    None => Ok(Records(records)),
                    Some(_) => Err(de::Error::custom(format_args!(
                        "over {RECORDS_MAX} records"
                    ))),
                }
            }
        }
        deserializer.deserialize_seq(RecordsVisitor)
    }
}

/// One record, `{"data": text}`; an object, and not an array of its fields as a derived struct would take.
struct Record<'b>(Cow<'b, [u8]>);

impl<'de: 'b, 'b> Deserialize<'de> for Record<'b> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RecordVisitor;
        impl<'de> Visitor<'de> for RecordVisitor {
            type Value = Record<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a record with its data")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut data = None;
                while let Some(Text(key)) = map.next_key()? {
                    if key == "data" {
                        data = Some(match map.next_value()? {
                            Text(Cow::Borrowed(text)) => Cow::Borrowed(text.as_bytes()),
                            Text(Cow::Owned(text)) => Cow::Owned(text.into_bytes()),
                        });
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                data.map(Record)
                    .ok_or_else(|| de::Error::missing_field("data"))
            }
        }
        deserializer.deserialize_map(RecordVisitor)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: Bounds = Bounds {
        classes: 6,
        second_max: 600,
    };
    const GOOD: &str =
        r#"{"classId":1,"second":1,"racerId":1,"cadence":80,"resistance":78,"name":"Hubert"}"#;

    fn base64(data: &[u8]) -> String {
        base64_simd::STANDARD.encode_to_string(data)
    }

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(data).expect("in memory");
        encoder.finish().expect("in memory")
    }

    fn decode(records: &[String]) -> DecodedRecords {
        let records: Vec<_> = records
            .iter()
            .map(|data| serde_json::json!({ "data": data }))
            .collect();
        let body =
            serde_json::json!({"requestId": "r", "timestamp": 1, "records": records}).to_string();
        let envelope = Envelope::parse(body.as_bytes()).expect("an envelope");
        envelope.decode(&BOUNDS, 10, 1 << 20)
    }

    #[test]
    fn escapes_another_order_and_white_space_are_json_too() {
        let data = base64(GOOD.as_bytes());
        let escaped = data.replace('e', "\\u0065");
        let body = format!(
            " {{ \"other\": [1, {{}}],\n\"records\": [ {{ \"data\" : \"{escaped}\" }} ], \"requestId\":\"\\u0061\" }} "
        );
        let envelope = Envelope::parse(body.as_bytes()).expect("an envelope");
        assert_eq!(envelope.request_id.as_deref(), Some("a"));
        assert_eq!(envelope.record(0), GOOD.as_bytes());
        assert_eq!(envelope.decode(&BOUNDS, 0, 0).efforts.len(), 1);
    }

    fn some_body() -> impl Strategy<Value = Vec<u8>> {
        let field = prop_oneof![
            3 => prop::collection::vec("\\{\"data\":\"[A-Za-z0-9+/=]{0,80}\"\\}", 0..4)
                .prop_map(|records| format!("\"records\":[{}]", records.join(","))),
            2 => "\"requestId\":\"[a-z0-9-]{0,40}\"",
            2 => "\"timestamp\":[0-9]{1,14}",
            1 => "\"(timestamp|other|requestId|records)\":(null|-1|\\[\\{\"data\":1\\}\\]|\\{\\}|\"\")",
        ];
        let body = prop::collection::vec(field, 0..4)
            .prop_map(|fields| format!("{{{}}}", fields.join(",")));
        let put = prop::collection::vec(
            prop::sample::select(b"\xff\x1f\\\" \n,{}[]:a0\xc3".to_vec()),
            0..2,
        );
        (body, any::<prop::sample::Index>(), put, 0usize..2).prop_map(|(body, at, put, cut)| {
            let at = at.index(body.len());
            let rest = &body.as_bytes()[(at + cut).min(body.len())..];
            [&body.as_bytes()[..at], &put, rest].concat()
        })
    }

    proptest! {
        #[test]
        fn what_the_scanner_reads_is_what_serde_reads(body in some_body()) {
            if let Some(read) = envelope_fast_path::read(&body) {
                let expected = Envelope::parse_by_serde(&body).expect("an envelope");
                prop_assert_eq!((read.request_id, read.records), (expected.request_id, expected.records));
            }
        }
    }

    #[test]
    fn a_body_as_firehose_sends_it_is_read_without_serde() {
        let data = base64(GOOD.as_bytes());
        for body in [
            format!(
                r#"{{"requestId":"r","timestamp":1578090901599,"records":[{{"data":"{data}"}},{{"data":""}}]}}"#
            ),
            format!(r#"{{"records":[{{"data":"{data}"}}],"requestId":"r"}}"#),
        ] {
            let read = envelope_fast_path::read(body.as_bytes()).expect("it is plain");
            assert_eq!(
                (read.request_id.as_deref(), &*read.records[0]),
                (Some("r"), data.as_bytes())
            );
        }
    }

    #[test]
    fn a_body_that_is_no_delivery_says_what_is_missing_and_keeps_its_id() {
        for (body, problem) in [
            (r#"{"requestId":"r"}"#, "records"),
            (r#"{"requestId":"r","records":{}}"#, "array of records"),
            (r#"{"requestId":"r","records":[{}]}"#, "data"),
            (r#"{"requestId":"r","records":[{"data":null}]}"#, "null"),
            (
                r#"{"requestId":"r","records":[["eHg="]]}"#,
                "a record with its data",
            ),
        ] {
            let error = Envelope::parse(body.as_bytes()).expect_err(body);
            assert_eq!(error.request_id.as_deref(), Some("r"));
            assert!(error.to_string().contains(problem), "{error}");
        }
        assert!(
            Envelope::parse(b"no json")
                .expect_err("no json")
                .request_id
                .is_none()
        );
        assert!(Envelope::parse(br#"["r",[]]"#).is_err());
    }

    #[test]
    fn byte_order_mark_is_passed_over() {
        let data = base64(format!("\u{feff}{GOOD}").as_bytes());
        for space in ["", " "] {
            let body = format!(
                "\u{feff}{{{space}\"requestId\":\"r\",\"records\":[{{\"data\":\"{data}\"}}]}}"
            );
            let envelope = Envelope::parse(body.as_bytes()).expect("an envelope");
            assert_eq!(envelope.request_id.as_deref(), Some("r"));
            let decoded = envelope.decode(&BOUNDS, 0, 0);
            assert_eq!(decoded.efforts.len(), 1);
        }
    }

    #[test]
    fn each_record_stands_for_itself() {
        let mut decoded = decode(&[
            base64(GOOD.as_bytes()),
            String::new(),
            "%%%".to_owned(),
            base64(&GOOD.as_bytes()[..20]),
            base64(&GOOD.as_bytes()[20..]),
            base64(format!("{GOOD}{GOOD}\n{GOOD}").as_bytes()),
            base64(&gzip(GOOD.as_bytes())),
            base64(&gzip(GOOD.as_bytes())[..30]),
            base64(format!("{GOOD}{{").as_bytes()),
        ]);
        assert_eq!(
            (decoded.records(), decoded.efforts.len(), decoded.empty),
            (9, 6, 1)
        );
        let rejected: Vec<_> = decoded
            .rejected
            .iter()
            .map(|r| (r.record, r.rejection.reason))
            .collect();
        let json = RejectionReason::Json;
        assert_eq!(
            rejected,
            [
                (2, RejectionReason::Base64),
                (3, json),
                (4, json),
                (7, RejectionReason::Gzip),
                (8, json)
            ]
        );
        let origins = decoded.origins();
        assert_eq!(
            (0..6).map(|effort| origins.of(effort)).collect::<Vec<_>>(),
            [0, 5, 5, 5, 6, 8]
        );
        assert_eq!(
            decoded.names.len(),
            1,
            "one name, however often it was ridden under"
        );
    }

    #[test]
    fn what_gunzips_beyond_the_limit_is_rejected_and_the_limit_is_the_deliverys() {
        let large = base64(&gzip(&vec![b' '; 700 << 10]));
        let decoded = decode(&[large.clone(), large]);
        assert_eq!(decoded.empty, 1);
        assert_eq!(
            decoded.rejected[0].rejection.reason,
            RejectionReason::TooLarge
        );
    }

    #[test]
    fn what_is_decoded_says_how_much_it_takes_up() {
        let few = decode(&[base64(&gzip(GOOD.repeat(10).as_bytes()))]).bytes();
        let many = decode(&[base64(&gzip(GOOD.repeat(10_000).as_bytes()))]).bytes();
        assert!(few < 2000, "{few}");
        assert!(
            (10_000 * size_of::<Effort>()..30_000 * size_of::<Effort>()).contains(&many),
            "{many}"
        );
        let faulty = decode(&vec![base64(b"{"); 1000]).bytes();
        assert!(faulty > 100_000, "each is told why: {faulty}");
    }

    #[test]
    fn bodies_of_several_members_gunzip_up_to_the_limit() {
        let body = [gzip(b"ab"), gzip(b"cd")].concat();
        assert_eq!(gunzip(&body, 4).expect("gzip"), b"abcd");
        assert!(matches!(gunzip(&body, 3), Err(GunzipError::TooLarge(3))));
        assert!(matches!(gunzip(b"plain", 100), Err(GunzipError::Broken(_))));
        assert!(matches!(
            gunzip(&body[..body.len() - 3], 100),
            Err(GunzipError::Broken(_))
        ));
    }

    #[test]
    fn more_records_than_the_limit_are_no_delivery() {
        let body = |count: usize| {
            format!(
                "{{\"records\":[{}]}}",
                vec!["{\"data\":\"\"}"; count].join(",")
            )
        };
        assert_eq!(
            Envelope::parse(body(RECORDS_MAX).as_bytes())
                .expect("at the limit")
                .len(),
            RECORDS_MAX
        );
        let error = Envelope::parse(body(RECORDS_MAX + 1).as_bytes()).expect_err("over the limit");
        assert!(error.to_string().contains("100000 records"), "{error}");
    }
}
