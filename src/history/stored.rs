//! Reads a history file back: ours, or anyone's gzip of the same shape.

use std::cell::Cell;
use std::fmt;
use std::io::{self, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};

use crate::effort::{ClassId, Effort, INTEGER_MAX, Output, RacerId, Second};
use crate::erasures::{self, ErasureVersion};

/// The most efforts handed over at once: 0.8 MB of them, enough that a lock taken for each lot costs nothing.
const EFFORTS_MAX: usize = 16_384;

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
            return Err(if begins_well { HistoryError::Truncated } else { HistoryError::NotGzip });
        };
        let erasure_version = header.extra().and_then(erasures::version_in).unwrap_or(0);
        Ok(Self { file, erasure_version })
    }

    /// The highest erasure version that concerned the class when the file was written; 0 where it names none.
    pub fn erasure_version(&self) -> ErasureVersion {
        self.erasure_version
    }

    /// Hands over every effort in the file, of no race and of time 0, in lots of one second and a bounded number. The
    /// text is never in memory as a whole.
    ///
    /// The checksum is compared first, for a fifth more time: an output with a flipped bit that was merged and
    /// published before the end is read could never be taken back. A file whose checksum is right and whose text turns
    /// out not to be a history has handed over what stood before the fault.
    pub fn read(self, class: ClassId, each: impl FnMut(&[Effort])) -> Result<(), HistoryError> {
        io::copy(&mut MultiGzDecoder::new(self.file), &mut io::sink()).map_err(HistoryError::from)?;

        let silence_bytes = Cell::new(0);
        let reader = Guard { inner: MultiGzDecoder::new(self.file), silence_bytes: &silence_bytes };
        let mut json = serde_json::Deserializer::from_reader(BufReader::with_capacity(WINDOW_BYTES, reader));
        let lot = Vec::with_capacity(EFFORTS_MAX);
        let mut dataset = Dataset { class, lot, each, silence_bytes: &silence_bytes };
        Seconds(&mut dataset).deserialize(&mut json).and_then(|()| json.end()).map_err(HistoryError::from)
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
        if error.kind() == io::ErrorKind::UnexpectedEof { Self::Truncated } else { Self::Corrupt(error) }
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
            return Err(io::Error::other(format!("more than {SILENCE_MAX_BYTES} bytes of text without an effort")));
        }
        let read = self.inner.read(buffer)?;
        self.silence_bytes.set(silence_bytes + read);
        Ok(read)
    }
}

struct Dataset<'a, F> {
    class: ClassId,
    lot: Vec<Effort>,
    each: F,
    silence_bytes: &'a Cell<usize>,
}

impl<F: FnMut(&[Effort])> Dataset<'_, F> {
    fn take(&mut self, second: Second, racer: RacerId, output: Output) {
        self.lot.push(Effort { class: self.class, second, racer, output, race: None, time: 0 });
        self.silence_bytes.set(0);
        if self.lot.len() == EFFORTS_MAX {
            self.hand_over();
        }
    }

    fn hand_over(&mut self) {
        if !self.lot.is_empty() {
            (self.each)(&self.lot);
            self.lot.clear();
        }
    }
}

/// Reads `{"<second>":racers,…}`.
struct Seconds<'a, 'b, F>(&'a mut Dataset<'b, F>);

impl<'de, F: FnMut(&[Effort])> DeserializeSeed<'de> for Seconds<'_, '_, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, F: FnMut(&[Effort])> Visitor<'de> for Seconds<'_, '_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of seconds")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut seconds: A) -> Result<(), A::Error> {
        while let Some(second) = seconds.next_key()? {
            self.0.silence_bytes.set(0);
            seconds.next_value_seed(Racers(&mut *self.0, second))?;
        }
        Ok(())
    }
}

/// Reads `{"<racerId>":output,…}` of one second.
struct Racers<'a, 'b, F>(&'a mut Dataset<'b, F>, Second);

impl<'de, F: FnMut(&[Effort])> DeserializeSeed<'de> for Racers<'_, '_, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, F: FnMut(&[Effort])> Visitor<'de> for Racers<'_, '_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of racers")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut racers: A) -> Result<(), A::Error> {
        while let Some(racer) = racers.next_key::<RacerId>()? {
            if racer.0 > INTEGER_MAX {
                return Err(A::Error::custom(format!("racer {racer} is over {INTEGER_MAX}")));
            }
            self.0.take(self.1, racer, racers.next_value()?);
        }
        self.0.hand_over();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;
    use crate::history::History;
    use crate::table::Table;

    const CLASS: ClassId = ClassId::new(3).expect("3 is not 0");

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).expect("memory takes all");
        encoder.finish().expect("memory takes all")
    }

    fn read(file: &[u8]) -> Result<Vec<Effort>, HistoryError> {
        let mut efforts = Vec::new();
        StoredHistory::open(file)?.read(CLASS, |lot| efforts.extend_from_slice(lot))?;
        Ok(efforts)
    }

    fn read_text(text: &str) -> Result<Vec<Effort>, HistoryError> {
        read(&gzip(text.as_bytes()))
    }

    fn effort(second: u32, racer: u64, output: f64) -> Effort {
        let output = Output::new(output).expect("finite and not negative");
        Effort { class: CLASS, second: Second(second), racer: RacerId(racer), output, race: None, time: 0 }
    }

    fn ours() -> Vec<u8> {
        let table = Table::new(3);
        let efforts: Vec<_> = (0..200).map(|n| effort(n % 5, n.into(), f64::from(n) / 3.0)).collect();
        table.merge(&efforts, 0);
        History::build(&table, CLASS, &History::empty(0), 5).chunks().collect::<Vec<_>>().concat()
    }

    #[test]
    fn any_gzip_of_the_shape_reads_in_whatever_order_and_spacing() {
        let efforts = [effort(60, 2, 1.5), effort(60, 1, 0.0), effort(0, INTEGER_MAX, 1e21)];
        let text =
            format!("\n{{ \"60\": {{\"2\":1.50,\t\"1\":-0}}, \"0\" :{{\"{INTEGER_MAX}\":1E21}},\"7\":{{}} }}\r\n");
        assert_eq!(read_text(&text).expect("a history"), efforts);
        assert_eq!(StoredHistory::open(&gzip(b"{}")).expect("gzip").erasure_version(), 0);
        let (first, second) = text.as_bytes().split_at(31);
        let members = [gzip(first), gzip(b""), gzip(second)].concat();
        assert_eq!(read(&members).expect("several members are one file"), efforts);
    }

    #[test]
    fn bounds_do_not_apply_to_what_is_stored() {
        let text = format!("{{\"{}\":{{\"1\":1e300}}}}", u32::MAX);
        assert_eq!(read_text(&text).expect("a history"), [effort(u32::MAX, 1, 1e300)]);
    }

    #[test]
    fn a_second_of_many_racers_comes_in_bounded_lots() {
        let racers: Vec<_> = (0..40_000).map(|racer| format!("\"{racer}\":1")).collect();
        let file = gzip(format!("{{\"1\":{{{}}},\"2\":{{\"1\":1}}}}", racers.join(",")).as_bytes());
        let mut lots = Vec::new();
        let stored = StoredHistory::open(&file).expect("gzip");
        stored.read(CLASS, |lot| lots.push((lot[0].second.0, lot.len()))).expect("a history");
        assert_eq!(lots, [(1, EFFORTS_MAX), (1, EFFORTS_MAX), (1, 40_000 - 2 * EFFORTS_MAX), (2, 1)]);
    }

    #[test]
    fn a_file_that_is_cut_short_anywhere_is_an_error() {
        let file = ours();
        for length in 0..file.len() {
            let error = read(&file[..length]).expect_err("cut short");
            let told = matches!(error, HistoryError::Truncated) || length < 2 && matches!(error, HistoryError::NotGzip);
            assert!(told, "{length} bytes: {error}");
        }
        read(&file).expect("the whole file");
    }

    #[test]
    fn a_bit_that_flipped_is_an_error_before_anything_is_handed_over() {
        let file = ours();
        let efforts = read(&file).expect("a history");
        for byte in 24..file.len() {
            for bit in 0..8 {
                let mut broken = file.clone();
                broken[byte] ^= 1 << bit;
                let mut handed_over = Vec::new();
                let stored = StoredHistory::open(&broken).expect("the header is whole");
                match stored.read(CLASS, |lot| handed_over.extend_from_slice(lot)) {
                    Ok(()) => assert_eq!(handed_over, efforts, "bit {bit} of byte {byte} is more than padding"),
                    Err(error) => assert_eq!(handed_over, [], "bit {bit} of byte {byte}: {error}"),
                }
            }
        }
    }

    #[test]
    fn what_follows_the_gzip_stream_is_an_error() {
        for rest in [&b"\0"[..], &[0; 512], b"{}", b"more than ten bytes"] {
            let error = read(&[&ours(), rest].concat()).expect_err("garbage");
            assert!(matches!(error, HistoryError::Truncated | HistoryError::Corrupt(_)), "{error}");
        }
        assert!(matches!(read(&[ours(), ours()].concat()), Err(HistoryError::Text(_))));
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
            assert!(error.contains(what) && error.contains("line 1 column"), "{text}: {error}");
        }
    }

    #[test]
    fn text_that_goes_on_without_an_effort_is_not_taken_into_memory() {
        for (start, more) in [("{", ' '), ("{\"", '1'), ("{\"1\":{\"1\":\"", 'x'), ("{\"1\":{\"1\":0.", '7'), ("", '[')]
        {
            let bomb = start.to_owned() + &String::from(more).repeat(8 << 20);
            let error = read_text(&bomb).expect_err("a bomb");
            let told = error.to_string();
            let bounded = told.contains("without an effort") || matches!(error, HistoryError::Text(_));
            assert!(bounded && told.len() < 300, "{start}{more}: {told:.300}");
        }
    }
}
