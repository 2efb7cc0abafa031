//! What a stored object holds: records, told by content, one at a time.
//!
//! Objects come in many forms: NDJSON, or JSON objects one after another as Firehose delivers them, with or without
//! newlines between; Firehose's error output and this project's quarantine, whose lines carry a record in `rawData`;
//! this project's journal. Each may be compressed with gzip. They are read piece by piece, within bounds, whatever
//! their size; what is no JSON is given out as it is, and spoils nothing that follows.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Cursor, Read};

use flate2::read::MultiGzDecoder;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::domain::json_scan;
use crate::ingest::envelope::{self, GZIP_MAGIC, RECORD_BYTES_MAX};

/// The longest piece, in bytes: what is longer is cut there. No delivery could carry it.
const PIECE_BYTES_MAX: usize = RECORD_BYTES_MAX;

/// How much is read at a time, in bytes, at least.
const READ_BYTES: usize = 256 << 10;

/// How many pieces are held back until one of them is JSON: an object that does not begin with records for so long has
/// none.
const HELD_PIECES_MAX: usize = 1000;

/// Of how many racers of a journal's segment an effort is remembered to send a name with: as many as it has efforts.
const RACERS_MAX: usize = 1 << 20;

/// How deep objects may nest in one that is read as a whole. Telemetry is flat; and a fault in what nests deeply would
/// otherwise be looked for again from every object within.
const DEPTH_MAX: usize = 32;

/// The version of the journal's format that is read.
const JOURNAL_VERSION: u64 = 1;

/// What the codes of this project's own quarantine begin with.
const OWN_ERROR: &str = "Alleycat.";

/// Why an object gives no more.
#[derive(Debug, thiserror::Error)]
pub enum ObjectReaderError {
    /// It does not read, or its gzip is broken or cut short.
    #[error("it cannot be read to its end: {0}")]
    Broken(#[from] io::Error),
    /// Nothing in it is JSON.
    #[error("it holds no records")]
    NoRecords,
    /// This project's own history, names or erasures.
    #[error(
        "it is a part of a store and holds no records; what it is for is to be put back into one"
    )]
    Snapshot,
    /// A journal of a newer program.
    #[error(
        "it is a journal of format version {0}, and this program reads up to {JOURNAL_VERSION}"
    )]
    Newer(u64),
}

/// One thing that an object holds.
#[derive(Debug, PartialEq, Eq)]
pub enum ObjectItem {
    /// A record's data, valid or not.
    Record(Vec<u8>),
    /// One that this project had quarantined.
    Quarantined(Vec<u8>),
    /// A name in a journal, without an effort to send it with.
    Name,
}

/// Gives out what an object holds, in order; an error is the last.
pub struct ObjectReader {
    input: Box<dyn Read + Send>,
    buffer: Vec<u8>,
    start: usize,
    /// Nothing comes after what is in the buffer.
    is_read: bool,
    failure: Option<io::Error>,
    /// How many bytes may yet be read.
    bytes_left: u64,
    began: bool,
    ended: bool,
    /// What came before anything was JSON; `None` once something was.
    held: Option<Vec<Vec<u8>>>,
    ready: VecDeque<ObjectItem>,
    /// In a journal: the latest effort of each racer.
    efforts: Option<HashMap<u64, JournalEffort>>,
}

/// An effort in a journal, as it stands there, and its time.
struct JournalEffort {
    line: Vec<u8>,
    time_ms: u64,
}

impl ObjectReader {
    /// Reads that object, gzip or plain. One in which nothing is JSON is an error, and none of it is given out.
    pub fn open(object: impl Read + Send + 'static) -> Self {
        let mut object: Box<dyn Read + Send> = Box::new(object);
        let mut magic = Vec::with_capacity(GZIP_MAGIC.len());
        let failure = (&mut object)
            .take(GZIP_MAGIC.len() as u64)
            .read_to_end(&mut magic)
            .err();
        let is_gzip = magic == GZIP_MAGIC;
        let whole = Cursor::new(magic).chain(object);
        Self {
            input: if is_gzip {
                Box::new(MultiGzDecoder::new(whole))
            } else {
                Box::new(whole)
            },
            buffer: Vec::new(),
            start: 0,
            is_read: failure.is_some(),
            failure,
            bytes_left: u64::MAX,
            began: false,
            ended: false,
            held: Some(Vec::new()),
            ready: VecDeque::new(),
            efforts: None,
        }
    }

    /// As [`open`](Self::open), but all of it is given out even where nothing is JSON, and it ends with an error where
    /// it has over `bytes_max` bytes when gunzipped.
    pub fn open_as_records(object: impl Read + Send + 'static, bytes_max: u64) -> Self {
        Self {
            held: None,
            bytes_left: bytes_max,
            ..Self::open(object)
        }
    }

    fn advance(&mut self) -> Result<Option<ObjectItem>, ObjectReaderError> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Ok(Some(item));
            }
            if !self.began {
                self.began = true;
                self.begin()?;
            }
            let Some(length) = self.next_piece() else {
                return self.end();
            };
            let piece = self.buffer[self.start..self.start + length.get()]
                .trim_ascii_end()
                .to_vec();
            self.start += length.get();
            match (length, &mut self.held) {
                (Length::Whole(_), held) => {
                    self.ready
                        .extend(held.take().into_iter().flatten().map(ObjectItem::Record));
                    self.take(piece)?;
                }
                (Length::Broken(_), None) => self.ready.push_back(ObjectItem::Record(piece)),
                (Length::Broken(_), Some(held)) => {
                    held.push(piece);
                    if held.len() > HELD_PIECES_MAX {
                        return Err(ObjectReaderError::NoRecords);
                    }
                }
            }
        }
    }

    /// Sees by its beginning that it is nothing of this project's that holds no records.
    fn begin(&mut self) -> Result<(), ObjectReaderError> {
        self.fill();
        self.start = self.buffer.len() - json_scan::without_byte_order_mark(&self.buffer).len();
        let beginning = self.buffer[self.start..].trim_ascii_start();
        let Some(key) = beginning.strip_prefix(b"{").map(<[u8]>::trim_ascii_start) else {
            return Ok(());
        };
        let digits = key.strip_prefix(b"\"").map_or(0, |key| {
            key.iter().take_while(|byte| byte.is_ascii_digit()).count()
        });
        let is_numbered = digits > 0 && key.get(digits + 1) == Some(&b'"');
        let is_empty = key
            .strip_prefix(b"}")
            .is_some_and(|rest| rest.trim_ascii().is_empty());
        let is_erasures = key.starts_with(b"\"format\":");
        if is_numbered || is_empty || is_erasures {
            Err(ObjectReaderError::Snapshot)
        } else {
            Ok(())
        }
    }

    fn end(&mut self) -> Result<Option<ObjectItem>, ObjectReaderError> {
        if let Some(failure) = self.failure.take() {
            return Err(failure.into());
        }
        match self.held.take() {
            Some(held) if !held.is_empty() => Err(ObjectReaderError::NoRecords),
            _ => Ok(None),
        }
    }

    /// Reads on. What has been given out makes room.
    fn fill(&mut self) {
        self.buffer.drain(..self.start);
        self.start = 0;
        let more = self.buffer.len().max(READ_BYTES) as u64;
        match self.input.by_ref().take(more).read_to_end(&mut self.buffer) {
            Ok(read) => {
                let read = read as u64;
                self.is_read |= read < more;
                match self.bytes_left.checked_sub(read) {
                    Some(left) => self.bytes_left = left,
                    None => {
                        (self.is_read, self.failure) =
                            (true, Some(io::Error::other("it is too large")));
                    }
                }
            }
            Err(error) => (self.is_read, self.failure) = (true, Some(error)),
        }
    }

    /// The length of the piece at the start of the buffer, white space before it left out.
    fn next_piece(&mut self) -> Option<Length> {
        loop {
            let rest = &self.buffer[self.start..];
            self.start += rest.len() - rest.trim_ascii_start().len();
            let rest = &self.buffer[self.start..];
            if !rest.is_empty()
                && let Some(length) = length(rest, self.is_read || rest.len() >= PIECE_BYTES_MAX)
            {
                // What the failure cut is not the object's.
                let is_cut = self.failure.is_some()
                    && length.get() == rest.len()
                    && matches!(length, Length::Broken(_));
                return (!is_cut).then_some(length);
            }
            if self.is_read {
                return None;
            }
            self.fill();
        }
    }

    /// Takes in a JSON object by what it is.
    fn take(&mut self, piece: Vec<u8>) -> Result<(), ObjectReaderError> {
        let Ok(kind) = serde_json::from_slice::<Kind<'_>>(&piece) else {
            self.ready.push_back(ObjectItem::Record(piece));
            return Ok(());
        };
        if kind.text(kind.alleycat).as_deref() == Some("journal") {
            let version = kind.number(kind.version).unwrap_or(u64::MAX);
            self.efforts = Some(HashMap::new());
            return if version > JOURNAL_VERSION {
                Err(ObjectReaderError::Newer(version))
            } else {
                Ok(())
            };
        }
        if let Some(raw) = kind
            .text(kind.raw_data)
            .and_then(|raw| base64_simd::STANDARD.decode_to_vec(raw).ok())
        {
            let is_own = kind
                .text(kind.error_code)
                .is_some_and(|code| code.starts_with(OWN_ERROR));
            let records = split(&plain(raw)).into_iter();
            self.ready.extend(records.map(if is_own {
                ObjectItem::Quarantined
            } else {
                ObjectItem::Record
            }));
            return Ok(());
        }
        if let (Some(efforts), Some(racer)) = (&mut self.efforts, kind.number(kind.racer_id)) {
            match (kind.class_id, kind.name, kind.number(kind.at)) {
                (None, Some(name), Some(at_ms)) => {
                    self.ready.push_back(match efforts.get(&racer) {
                        Some(effort) => ObjectItem::Record(effort.named(name.get(), at_ms)),
                        None => ObjectItem::Name,
                    });
                    return Ok(());
                }
                (Some(_), None, None) => {
                    let time_ms = kind.number(kind.device_timestamp).unwrap_or(0);
                    let has_room = efforts.len() < RACERS_MAX;
                    // The later it was ridden, the nearer is it to the name's own time, which it must not be after.
                    match efforts.get_mut(&racer) {
                        Some(effort) if effort.time_ms > time_ms => {}
                        Some(effort) => {
                            *effort = JournalEffort {
                                line: piece.clone(),
                                time_ms,
                            }
                        }
                        None if has_room => {
                            efforts.insert(
                                racer,
                                JournalEffort {
                                    line: piece.clone(),
                                    time_ms,
                                },
                            );
                        }
                        None => {}
                    }
                }
                _ => {}
            }
        }
        self.ready.push_back(ObjectItem::Record(piece));
        Ok(())
    }
}

impl Iterator for ObjectReader {
    type Item = Result<ObjectItem, ObjectReaderError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.advance();
        self.ended = !matches!(next, Ok(Some(_)));
        next.transpose()
    }
}

impl JournalEffort {
    /// The effort once more, under that name; never of a time after the name's. Of two equal keys the last counts.
    fn named(&self, name: &str, at_ms: u64) -> Vec<u8> {
        let mut line = self.line.strip_suffix(b"}").unwrap_or(&self.line).to_vec();
        let time_ms = self.time_ms.min(at_ms);
        line.extend_from_slice(
            format!(r#","name":{name},"deviceTimestamp":{time_ms}}}"#).as_bytes(),
        );
        line
    }
}

/// What tells an object's kind; the values are looked at where they matter.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kind<'p> {
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
}

impl Kind<'_> {
    fn text(&self, value: Option<&RawValue>) -> Option<String> {
        serde_json::from_str(value?.get()).ok()
    }

    fn number(&self, value: Option<&RawValue>) -> Option<u64> {
        serde_json::from_str(value?.get()).ok()
    }
}

/// How long a piece is, in bytes.
#[derive(Clone, Copy)]
enum Length {
    /// A JSON object or array.
    Whole(usize),
    /// What is none, up to the next that is, or to the end of the line.
    Broken(usize),
}

impl Length {
    fn get(self) -> usize {
        match self {
            Self::Whole(length) | Self::Broken(length) => length,
        }
    }
}

/// The length of the piece that `data` begins with, without white space; `None` where more must be read to tell.
fn length(data: &[u8], is_all: bool) -> Option<Length> {
    match whole(data) {
        Ok(length) => return Some(Length::Whole(length)),
        Err(Incomplete(true)) if !is_all => return None,
        Err(_) => {}
    }
    let line = data
        .iter()
        .position(|&byte| byte == b'\n')
        .unwrap_or(data.len());
    let mut objects = (1..line).filter(|&place| data[place] == b'{');
    if let Some(next) = objects.find(|&place| whole(&data[place..]).is_ok()) {
        return Some(Length::Broken(next));
    }
    (line < data.len() || is_all).then_some(Length::Broken(line))
}

/// It is no JSON, or would be if it went on.
struct Incomplete(bool);

/// The length of the JSON object that `data` begins with.
fn whole(data: &[u8]) -> Result<usize, Incomplete> {
    if data.first() != Some(&b'{') {
        return Err(Incomplete(false));
    }
    // So the grammar is looked at from each byte as often as objects may nest, and not as often as there are objects.
    let data = match braces(data) {
        Braces::Closed(length) => &data[..length],
        Braces::Open => data,
        Braces::Broken => return Err(Incomplete(false)),
    };
    let mut values = serde_json::Deserializer::from_slice(data).into_iter::<IgnoredAny>();
    match values.next() {
        Some(Ok(IgnoredAny)) => Ok(values.byte_offset()),
        Some(Err(error)) => Err(Incomplete(error.is_eof())),
        None => Err(Incomplete(false)),
    }
}

/// Where the braces of an object lead, whatever else is wrong with it.
enum Braces {
    /// The first is closed, and the object has so many bytes.
    Closed(usize),
    /// There is no end of it here.
    Open,
    /// It nests deeper than [`DEPTH_MAX`], or has what no JSON has: a backslash beside a text, or a control character
    /// in one. So no text goes on beyond its line, and of a line's braces only those count that lie beside texts.
    Broken,
}

fn braces(data: &[u8]) -> Braces {
    let (mut depth, mut in_text, mut is_escaped) = (0_usize, false, false);
    for (place, &byte) in data.iter().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'"' => in_text = !in_text,
            b'\\' if !in_text => return Braces::Broken,
            b'\\' => is_escaped = true,
            ..b' ' if in_text => return Braces::Broken,
            b'{' | b'}' if in_text => {}
            b'{' if depth == DEPTH_MAX => return Braces::Broken,
            b'{' => depth += 1,
            b'}' if depth <= 1 => return Braces::Closed(place + 1),
            b'}' => depth -= 1,
            _ => {}
        }
    }
    Braces::Open
}

/// The record's data, gunzipped where it can be.
fn plain(data: Vec<u8>) -> Vec<u8> {
    if data.starts_with(&GZIP_MAGIC) {
        envelope::gunzip(&data, RECORD_BYTES_MAX).unwrap_or(data)
    } else {
        data
    }
}

/// The pieces of a record.
fn split(mut data: &[u8]) -> Vec<Vec<u8>> {
    let mut pieces = Vec::new();
    loop {
        data = data.trim_ascii_start();
        let Some(length) = length(data, true)
            .map(Length::get)
            .filter(|&length| length > 0)
        else {
            return pieces;
        };
        pieces.push(data[..length].trim_ascii_end().to_vec());
        data = &data[length..];
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(data).expect("in memory");
        encoder.finish().expect("in memory")
    }

    /// Gives one byte at a time, as the slowest reader.
    struct Drops(Cursor<Vec<u8>>);

    impl Read for Drops {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let most = into.len().min(1);
            self.0.read(&mut into[..most])
        }
    }

    fn items(object: &[u8]) -> Vec<ObjectItem> {
        ObjectReader::open(Drops(Cursor::new(object.to_vec())))
            .map(|item| item.expect("an item"))
            .collect()
    }

    fn texts(object: &str) -> Vec<String> {
        let records = items(object.as_bytes()).into_iter().map(|item| match item {
            ObjectItem::Record(data) => String::from_utf8(data).expect("text"),
            other => panic!("{other:?}"),
        });
        records.collect()
    }

    fn error(object: &[u8]) -> ObjectReaderError {
        ObjectReader::open(Cursor::new(object.to_vec()))
            .find_map(Result::err)
            .expect("an error")
    }

    #[test]
    fn records_are_told_apart_with_newlines_and_without() {
        for object in [
            "{\"a\":1}\n{\"b\":\"}{\"}\n",
            "{\"a\":1}{\"b\":\"}{\"}",
            "\r\n\r\n{\"a\":1}\r\n{\"b\":\"}{\"}",
        ] {
            assert_eq!(texts(object), ["{\"a\":1}", "{\"b\":\"}{\"}"]);
            assert_eq!(items(&gzip(object.as_bytes())), items(object.as_bytes()));
        }
        assert_eq!(texts("{\n  \"a\": 1\n}\n"), ["{\n  \"a\": 1\n}"]);
        assert_eq!(texts(""), [""; 0]);
        let members = [gzip(b"{\"a\":1}"), gzip(b"{\"b\":2}")].concat();
        assert_eq!(items(&members).len(), 2);
    }

    #[test]
    fn byte_order_mark_is_passed_over() {
        assert_eq!(
            texts("\u{feff}{\"a\":1}\n{\"b\":2}"),
            ["{\"a\":1}", "{\"b\":2}"]
        );
        assert_eq!(texts("\u{feff}"), [""; 0]);
        let snapshot = "\u{feff}{\"1\":{\"17\":150}}";
        assert!(matches!(
            error(snapshot.as_bytes()),
            ObjectReaderError::Snapshot
        ));
    }

    #[test]
    fn what_is_broken_spoils_nothing_that_follows() {
        assert_eq!(texts("{\"a\":1\n{\"b\":2}\n"), ["{\"a\":1", "{\"b\":2}"]);
        assert_eq!(
            texts("{\"a\":1{\"b\":2}{\"c\":3}"),
            ["{\"a\":1", "{\"b\":2}", "{\"c\":3}"]
        );
        assert_eq!(
            texts("{\"a\":\"{\"b\":2}{\"c\":3}"),
            ["{\"a\":\"", "{\"b\":2}", "{\"c\":3}"]
        );
        assert_eq!(
            texts("garbage\nmore {\n{\"b\":2}x\n"),
            ["garbage", "more {", "{\"b\":2}", "x"]
        );
        assert_eq!(texts("{\"b\":2}\n{\"a\":"), ["{\"b\":2}", "{\"a\":"]);
    }

    #[test]
    fn error_output_gives_the_records_it_carries() {
        let line = |code: &str, raw: &[u8]| {
            let raw = base64_simd::STANDARD.encode_to_string(raw);
            format!(
                "{{\"attemptsMade\":4,\"errorCode\":\"{code}\",\"errorMessage\":\"m\",\"rawData\":\"{raw}\"}}\n"
            )
        };
        let object = [
            line("HttpEndpoint.InvalidStatusCode", b"{\"a\":1}{\"b\":2}\n"),
            line("Alleycat.json", b"{\"c\":"),
            line("Lambda.FunctionError", &gzip(b"{\"d\":4}")),
        ];
        let record = |text: &str| ObjectItem::Record(text.as_bytes().to_vec());
        let quarantined = ObjectItem::Quarantined(b"{\"c\":".to_vec());
        assert_eq!(
            items(object.concat().as_bytes()),
            [
                record("{\"a\":1}"),
                record("{\"b\":2}"),
                quarantined,
                record("{\"d\":4}")
            ]
        );
    }

    #[test]
    fn a_journal_gives_its_efforts_and_names_that_come_with_one() {
        let journal = "{\"alleycat\":\"journal\",\"version\":1}\n\
            {\"classId\":1,\"second\":2,\"racerId\":3,\"output\":4,\"deviceTimestamp\":9}\n\
            {\"racerId\":3,\"name\":\"Zo\\\"ë\",\"at\":5}\n{\"racerId\":4,\"name\":\"Ada\",\"at\":5}\n";
        let items = items(&gzip(journal.as_bytes()));
        let named = "{\"classId\":1,\"second\":2,\"racerId\":3,\"output\":4,\"deviceTimestamp\":9,\
            \"name\":\"Zo\\\"ë\",\"deviceTimestamp\":5}";
        assert_eq!(
            items[1..],
            [
                ObjectItem::Record(named.as_bytes().to_vec()),
                ObjectItem::Name
            ]
        );
        assert!(matches!(
            error(b"{\"alleycat\":\"journal\",\"version\":2}\n"),
            ObjectReaderError::Newer(2)
        ));
    }

    #[test]
    fn a_journals_name_goes_with_the_latest_effort_and_keeps_its_time() {
        let effort = |second: u64, at_ms: u64| {
            format!(
                "{{\"classId\":1,\"second\":{second},\"racerId\":3,\"output\":4,\"deviceTimestamp\":{at_ms}}}\n"
            )
        };
        // Efforts are not in the order of their times.
        let journal = [
            "{\"alleycat\":\"journal\",\"version\":1}\n",
            &effort(1, 70),
            &effort(2, 90),
            &effort(3, 50),
        ];
        let journal = [
            &journal.concat(),
            "{\"racerId\":3,\"name\":\"Ada\",\"at\":80}\n",
        ]
        .concat();
        let Some(ObjectItem::Record(named)) = items(journal.as_bytes()).pop() else {
            panic!("a record")
        };
        let named: serde_json::Value = serde_json::from_slice(&named).expect("JSON");
        assert_eq!(
            (&named["second"], &named["deviceTimestamp"]),
            (&2.into(), &80.into())
        );
    }

    #[test]
    fn what_nests_without_end_is_not_looked_at_again_from_every_object_within() {
        // Each would take hours, were all that follows read from every brace; the suite's own patience is the limit.
        let nested = "{\"a\":".repeat(1 << 20);
        let [escaped, lines] = ["{\\\"", "{\"\n"].map(|part| part.repeat(1 << 20));
        for object in [
            &*nested,
            &nested.replace(':', ":\n"),
            &"{".repeat(4 << 20),
            &escaped,
            &lines,
        ] {
            let mut read = ObjectReader::open_as_records(
                Cursor::new(object.to_owned().into_bytes()),
                u64::MAX,
            );
            assert!(read.all(|item| item.is_ok()));
        }
        let deep = |depth: usize| "{\"a\":".repeat(depth) + "1" + &"}".repeat(depth);
        assert_eq!(texts(&deep(DEPTH_MAX)), [deep(DEPTH_MAX)]);
        assert_eq!(
            texts(&format!("x{}", deep(DEPTH_MAX + 1)))[..2],
            ["x{\"a\":".to_owned(), deep(DEPTH_MAX)]
        );
    }

    #[test]
    fn what_holds_no_records_says_so() {
        assert!(matches!(
            error(b"\x89PNG\r\n\x1a\n{ \x00"),
            ObjectReaderError::NoRecords
        ));
        let piece = ObjectItem::Record(b"no".to_vec());
        let pieces: Vec<_> = ObjectReader::open_as_records(&b"no"[..], 2)
            .map(|item| item.expect("an item"))
            .collect();
        assert_eq!(pieces, [piece]);
        let erasures = "{\"format\":1,\"version\":0,\"erasures\":[]}";
        let mut large = ObjectReader::open_as_records(&b"{\"a\":1}{"[..], 7);
        assert!(matches!(
            large.find_map(Result::err),
            Some(ObjectReaderError::Broken(_))
        ));
        for snapshot in [
            "{\"1\":{\"17\":150}}",
            "{\"17\":{\"name\":\"Ada\",\"at\":1}}",
            "{}",
            erasures,
        ] {
            assert!(
                matches!(
                    error(&gzip(snapshot.as_bytes())),
                    ObjectReaderError::Snapshot
                ),
                "{snapshot}"
            );
        }
    }

    #[test]
    fn gzip_that_is_cut_short_gives_what_came_before() {
        let object: String = (0..20_000)
            .map(|number: u64| format!("{{\"a\":{}}}\n", number * 7919 % 10_007))
            .collect();
        let cut = gzip(object.as_bytes());
        let mut archive = ObjectReader::open(Cursor::new(cut[..cut.len() / 2].to_vec()));
        let given = archive.by_ref().take_while(Result::is_ok).count();
        assert!(given > 1000, "{given}");
        assert!(archive.next().is_none());
        assert!(matches!(
            error(&cut[..cut.len() / 2]),
            ObjectReaderError::Broken(_)
        ));
    }

    proptest! {
        #[test]
        fn nothing_is_lost_but_white_space(object in "[{}\"a:1, \n]{0,60}") {
            let given: Vec<u8> = ObjectReader::open_as_records(Cursor::new(object.clone().into_bytes()), 60)
                .flatten()
                .flat_map(|item| match item { ObjectItem::Record(data) => data, other => panic!("{other:?}") })
                .collect();
            let is_black = |byte: &u8| !byte.is_ascii_whitespace();
            let black = |text: &[u8]| text.iter().copied().filter(is_black).collect::<Vec<_>>();
            prop_assume!(!object.trim_start().starts_with('{')); // it may be a snapshot
            prop_assert_eq!(black(&given), black(object.as_bytes()));
        }
    }
}
