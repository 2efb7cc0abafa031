//! Reads a history file back: ours, or anyone's gzip of the same shape.

use std::cell::Cell;
use std::fmt;
use std::io::{self, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};

use crate::domain::effort::{INTEGER_MAX, Output, RacerId, Second};
use crate::domain::erasure::{self, ErasureVersion};
use crate::state::table::ClassTable;
use crate::storage::history_file::read_fast_path::{self, Stop};

/// The most efforts that are merged at once: few enough to stay in a core's cache meanwhile.
const EFFORTS_MAX: usize = 8 << 10;

/// The most bytes of text without an effort or a second. A racer and an output take some 45; what goes on for longer is
/// no history, and would grow a buffer without bound.
const SILENCE_MAX_BYTES: usize = 128 << 10;

/// How much text is decompressed at a time, in bytes.
const WINDOW_BYTES: usize = 64 << 10;

/// Why a history file does not read.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// It does not begin as a gzip file does.
    #[error("not a gzip file")]
    NotGzip,
    /// It ends before its gzip stream does.
    #[error("the gzip stream is cut short")]
    Truncated,
    /// Its gzip stream is broken, does not match its checksum, is followed by something else, or holds endless text.
    #[error("the gzip stream is broken: {0}")]
    Corrupt(io::Error),
    /// Its text is not a dataset: no JSON, a key that is no number, an output that is not finite or is negative.
    #[error("the text is no history: {0}")]
    Text(serde_json::Error),
    /// It holds that second, which is greater than is taken.
    #[error("it holds second {0}")]
    SecondBeyond(Second),
}

/// A history file whose header was read.
#[derive(Debug)]
pub struct StoredHistory<'a> {
    file: &'a [u8],
    erasure_version: ErasureVersion,
}

impl<'a> StoredHistory<'a> {
    /// Looks at the file's header.
    pub fn open(file: &'a [u8]) -> Result<Self, HistoryError> {
        let decoder = MultiGzDecoder::new(file);
        let Some(header) = decoder.header() else {
            let begins_well = file.starts_with(&[0x1f, 0x8b]);
            return Err(if begins_well {
                HistoryError::Truncated
            } else {
                HistoryError::NotGzip
            });
        };
        let erasure_version = header.extra().and_then(erasure::version_in).unwrap_or(0);
        Ok(Self {
            file,
            erasure_version,
        })
    }

    /// The highest erasure version that concerned the class when the file was written; 0 where it names none.
    pub fn erasure_version(&self) -> ErasureVersion {
        self.erasure_version
    }

    /// What the file holds, once its checksum was seen to be right: an output with a flipped bit that was merged and
    /// published could never be taken back. The text is never in memory as a whole.
    pub fn read(self, second_max: Second) -> Result<ClassTable, HistoryError> {
        let mut dataset = Dataset::new(second_max);
        let read = read_fast_path::read(MultiGzDecoder::new(self.file), |second, racer, output| {
            dataset.take(second, racer, output);
        });
        match read {
            Ok(()) => dataset.end(),
            Err(Stop::Io(error)) => Err(error.into()),
            Err(Stop::Unknown) => self.read_by_serde(second_max),
        }
    }

    /// Reads a text of the shape in whatever order and spacing, or tells what is wrong with it: first of all, whether
    /// its checksum is.
    pub(crate) fn read_by_serde(self, second_max: Second) -> Result<ClassTable, HistoryError> {
        io::copy(&mut MultiGzDecoder::new(self.file), &mut io::sink())
            .map_err(HistoryError::from)?;

        let silence_bytes = Cell::new(0);
        let reader = Guard {
            inner: MultiGzDecoder::new(self.file),
            silence_bytes: &silence_bytes,
        };
        let mut json =
            serde_json::Deserializer::from_reader(BufReader::with_capacity(WINDOW_BYTES, reader));
        let mut dataset = Dataset::new(second_max);
        let each = |second, racer, output| {
            dataset.take(second, racer, output);
            silence_bytes.set(0);
        };
        Seconds {
            each,
            silence_bytes: &silence_bytes,
        }
        .deserialize(&mut json)
        .and_then(|()| json.end())
        .map_err(HistoryError::from)?;
        dataset.end()
    }
}

impl From<serde_json::Error> for HistoryError {
    fn from(error: serde_json::Error) -> Self {
        if !error.is_io() {
            return Self::Text(error);
        }
        io::Error::from(error).into()
    }
}

impl From<io::Error> for HistoryError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            Self::Truncated
        } else {
            Self::Corrupt(error)
        }
    }
}

/// Ends a text that goes on and on without an effort.
struct Guard<'a, R> {
    inner: R,
    silence_bytes: &'a Cell<usize>,
}

impl<R: Read> Read for Guard<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let silence_bytes = self.silence_bytes.get();
        if silence_bytes > SILENCE_MAX_BYTES {
            return Err(io::Error::other(format!(
                "more than {SILENCE_MAX_BYTES} bytes of text without an effort"
            )));
        }
        let read = self.inner.read(buffer)?;
        self.silence_bytes.set(silence_bytes + read);
        Ok(read)
    }
}

/// What was read so far.
struct Dataset {
    class: ClassTable,
    second_max: Second,
    /// Those of `second` that are yet to be merged.
    lot: Vec<(RacerId, Output)>,
    second: Second,
    /// A second that is greater than is taken.
    beyond: Option<Second>,
}

impl Dataset {
    fn new(second_max: Second) -> Self {
        let lot = Vec::with_capacity(EFFORTS_MAX);
        Self {
            class: ClassTable::default(),
            second_max,
            lot,
            second: Second(0),
            beyond: None,
        }
    }

    fn take(&mut self, second: Second, racer: RacerId, output: Output) {
        if second != self.second || self.lot.len() == EFFORTS_MAX {
            self.merge();
            self.second = second;
        }
        self.lot.push((racer, output));
    }

    fn merge(&mut self) {
        if self.second > self.second_max {
            self.beyond = Some(self.second);
        } else {
            self.class.merge_second(self.second, &self.lot);
        }
        self.lot.clear();
    }

    fn end(mut self) -> Result<ClassTable, HistoryError> {
        self.merge();
        match self.beyond {
            Some(second) => Err(HistoryError::SecondBeyond(second)),
            None => Ok(self.class),
        }
    }
}

/// Reads `{"<second>":racers,…}`.
struct Seconds<'a, F> {
    each: F,
    silence_bytes: &'a Cell<usize>,
}

impl<'de, F: FnMut(Second, RacerId, Output)> DeserializeSeed<'de> for Seconds<'_, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, F: FnMut(Second, RacerId, Output)> Visitor<'de> for Seconds<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of seconds")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut seconds: A) -> Result<(), A::Error> {
        while let Some(second) = seconds.next_key()? {
            self.silence_bytes.set(0);
            seconds.next_value_seed(Racers {
                each: &mut self.each,
                second,
            })?;
        }
        Ok(())
    }
}

/// Reads `{"<racerId>":output,…}` of one second.
struct Racers<'a, F> {
    each: &'a mut F,
    second: Second,
}

impl<'de, F: FnMut(Second, RacerId, Output)> DeserializeSeed<'de> for Racers<'_, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, F: FnMut(Second, RacerId, Output)> Visitor<'de> for Racers<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of racers")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut racers: A) -> Result<(), A::Error> {
        while let Some(racer) = racers.next_key::<RacerId>()? {
            if racer.0 > INTEGER_MAX {
                return Err(A::Error::custom(format!(
                    "racer {racer} is over {INTEGER_MAX}"
                )));
            }
            (self.each)(self.second, racer, racers.next_value()?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use proptest::prelude::*;

    use super::*;
    use crate::domain::effort::{ClassId, Effort};
    use crate::state::table::Table;
    use crate::storage::history_file::History;

    const CLASS: ClassId = ClassId::new(3).expect("3 is not 0");

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).expect("memory takes all");
        encoder.finish().expect("memory takes all")
    }

    const SECOND_MAX: Second = Second(600);

    /// By second and racer.
    fn read(file: &[u8]) -> Result<Vec<Effort>, HistoryError> {
        let class = StoredHistory::open(file)?.read(SECOND_MAX)?;
        let mut efforts: Vec<_> = class.efforts(CLASS).collect();
        efforts.sort_by_key(|effort| (effort.second, effort.racer));
        Ok(efforts)
    }

    fn read_text(text: &str) -> Result<Vec<Effort>, HistoryError> {
        read(&gzip(text.as_bytes()))
    }

    fn effort(second: u32, racer: u64, output: f64) -> Effort {
        let output = Output::new(output).expect("finite and not negative");
        Effort {
            class: CLASS,
            second: Second(second),
            racer: RacerId(racer),
            output,
            race: None,
            time: 0,
        }
    }

    fn ours() -> Vec<u8> {
        let table = Table::new(3);
        let efforts: Vec<_> = (0..200)
            .map(|n| effort(n % 5, n.into(), f64::from(n) / 3.0))
            .collect();
        table.merge(&efforts, 0);
        History::build(&table, CLASS, &History::empty(0), 5)
            .chunks()
            .collect::<Vec<_>>()
            .concat()
    }

    #[test]
    fn any_gzip_of_the_shape_reads_in_whatever_order_and_spacing() {
        let efforts = [
            effort(0, INTEGER_MAX, 1e21),
            effort(60, 1, 0.0),
            effort(60, 2, 1.5),
        ];
        let text = format!(
            "\n{{ \"60\": {{\"2\":1.50,\t\"1\":-0}}, \"0\" :{{\"{INTEGER_MAX}\":1E21}},\"7\":{{}} }}\r\n"
        );
        assert_eq!(read_text(&text).expect("a history"), efforts);
        assert_eq!(
            StoredHistory::open(&gzip(b"{}"))
                .expect("gzip")
                .erasure_version(),
            0
        );
        let (first, second) = text.as_bytes().split_at(31);
        let members = [gzip(first), gzip(b""), gzip(second)].concat();
        assert_eq!(
            read(&members).expect("several members are one file"),
            efforts
        );
    }

    #[test]
    fn a_second_beyond_those_that_are_taken_is_named() {
        for text in [
            r#"{"600":{"1":1},"601":{"1":1}}"#,
            r#"{"600":{"1":1}, "601":{"1":1}}"#,
        ] {
            assert!(matches!(
                read_text(text),
                Err(HistoryError::SecondBeyond(Second(601)))
            ));
        }
        assert_eq!(
            read_text(r#"{"600":{"1":1e300}}"#).expect("a history"),
            [effort(600, 1, 1e300)]
        );
    }

    fn some_text() -> impl Strategy<Value = String> {
        let number =
            "[0-9]{1,3}|[0-9]{1,17}\\.[0-9]{1,17}|[0-9]e[0-9]|-?[0-9]|900719925474099[0-9]";
        let entry = (number, number).prop_map(|(racer, output)| format!("\"{racer}\":{output}"));
        let racers = prop::collection::vec(entry, 0..6).prop_map(|entries| entries.join(","));
        let second = ("[0-9]{1,2}", racers)
            .prop_map(|(second, racers)| format!("\"{second}\":{{{racers}}}"));
        let dataset = prop::collection::vec(second, 0..4)
            .prop_map(|seconds| format!("{{{}}}", seconds.join(",")));
        let mutilated = (
            dataset,
            any::<prop::sample::Index>(),
            "|[ \\n{},:\"0-9e.x]",
            0usize..3,
        );
        mutilated.prop_map(|(text, at, put, cut)| {
            let at = at.index(text.len());
            format!(
                "{}{put}{}",
                &text[..at],
                &text[(at + cut).min(text.len())..]
            )
        })
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_serde_reads(text in some_text()) {
            let file = gzip(text.as_bytes());
            let mut by_serde = Vec::new();
            let each = |second, racer, output| by_serde.push((second, racer, output));
            let seconds = Seconds { each, silence_bytes: &Cell::new(0) };
            let mut json = serde_json::Deserializer::from_str(&text);
            let outcome = seconds.deserialize(&mut json).and_then(|()| json.end());

            let mut plainly = Vec::new();
            let read = read_fast_path::read(MultiGzDecoder::new(&file[..]), |second, racer, output| {
                plainly.push((second, racer, output));
            });
            prop_assert!(!matches!(read, Err(Stop::Io(_))));
            if read.is_ok() {
                prop_assert!(outcome.is_ok(), "{:?}", outcome);
                prop_assert_eq!(plainly, by_serde);
            }
        }
    }

    #[test]
    fn texts_longer_than_a_window_are_read_without_serde() {
        let racers = |second: u64| {
            let racer =
                |racer: u64| format!("\"{}\":{}", racer * racer, (second + racer) as f64 / 7.0);
            (0..20_000).map(racer).collect::<Vec<_>>().join(",")
        };
        let seconds = (0..3)
            .map(|second| format!("\"{second}\":{{{}}}", racers(second)))
            .collect::<Vec<_>>();
        let file = gzip(format!("{{{}}}", seconds.join(",")).as_bytes());
        let mut count = 0;
        assert!(read_fast_path::read(MultiGzDecoder::new(&file[..]), |_, _, _| count += 1).is_ok());
        assert_eq!(count, 60_000);
        let efforts = read(&file).expect("a history");
        assert_eq!(efforts.len(), 60_000);
        assert_eq!(efforts[45_000], effort(2, 25_000_000, 5_002.0 / 7.0));
    }

    #[test]
    fn a_file_that_is_cut_short_anywhere_is_an_error() {
        let file = ours();
        for length in 0..file.len() {
            let error = read(&file[..length]).expect_err("cut short");
            let told = matches!(error, HistoryError::Truncated)
                || length < 2 && matches!(error, HistoryError::NotGzip);
            assert!(told, "{length} bytes: {error}");
        }
        read(&file).expect("the whole file");
    }

    #[test]
    fn a_bit_that_flipped_is_an_error_and_nothing_is_handed_over() {
        let file = ours();
        let efforts = read(&file).expect("a history");
        for byte in 24..file.len() {
            for bit in 0..8 {
                let mut broken = file.clone();
                broken[byte] ^= 1 << bit;
                if let Ok(read) = read(&broken) {
                    assert_eq!(
                        read, efforts,
                        "bit {bit} of byte {byte} is more than padding"
                    );
                }
            }
        }
    }

    #[test]
    fn what_follows_the_gzip_stream_is_an_error() {
        for rest in [&b"\0"[..], &[0; 512], b"{}", b"more than ten bytes"] {
            let error = read(&[&ours(), rest].concat()).expect_err("garbage");
            assert!(
                matches!(error, HistoryError::Truncated | HistoryError::Corrupt(_)),
                "{error}"
            );
        }
        assert!(matches!(
            read(&[ours(), ours()].concat()),
            Err(HistoryError::Text(_))
        ));
    }

    #[test]
    fn what_is_no_gzip_is_told_so() {
        for file in [&b""[..], b"{}", b"PK\x03\x04", &[0; 100]] {
            assert!(matches!(read(file), Err(HistoryError::NotGzip)), "{file:?}");
        }
    }

    #[test]
    fn what_is_no_history_is_an_error_that_says_where_and_what() {
        for (text, what) in [
            ("", "EOF"),
            ("{", "EOF"),
            ("[]", "an object of seconds"),
            ("{}{}", "trailing"),
            (r#"{"1":{"1":1}"#, "EOF"),
            (r#"{"1":3}"#, "an object of racers"),
            (r#"{"one":{}}"#, "key"),
            (r#"{"":{}}"#, "key"),
            (r#"{"1.5":{}}"#, "1.5"),
            (r#"{"-1":{}}"#, "-1"),
            (r#"{"4294967296":{}}"#, "4294967296"),
            (r#"{"1":{"x":1}}"#, "key"),
            (r#"{"1":{"9007199254740992":1}}"#, "9007199254740992"),
            (r#"{"1":{"1":-0.5}}"#, "not negative"),
            (r#"{"1":{"1":1e400}}"#, "out of range"),
            (r#"{"1":{"1":NaN}}"#, "expected"),
            (r#"{"1":{"1":null}}"#, "null"),
            (r#"{"1":{"1":"1"}}"#, "string"),
            (r#"{"1":{"1":[[[[]]]]}}"#, "sequence"),
        ] {
            let error = read_text(text).expect_err(text);
            assert!(matches!(error, HistoryError::Text(_)), "{text}: {error}");
            let error = error.to_string();
            assert!(
                error.contains(what) && error.contains("line 1 column"),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn text_that_goes_on_without_an_effort_is_not_taken_into_memory() {
        for (start, more) in [
            ("{", ' '),
            ("{\"", '1'),
            ("{\"1\":{\"1\":\"", 'x'),
            ("{\"1\":{\"1\":0.", '7'),
            ("", '['),
        ] {
            let bomb = start.to_owned() + &String::from(more).repeat(8 << 20);
            let error = read_text(&bomb).expect_err("a bomb");
            let told = error.to_string();
            let bounded =
                told.contains("without an effort") || matches!(error, HistoryError::Text(_));
            assert!(bounded && told.len() < 300, "{start}{more}: {told:.300}");
        }
    }
}
