//! Reads a history file: this program's, or any gzip file with a text of the same shape.

#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::fmt;
use std::io::{self, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};

use crate::domain::effort::{INTEGER_MAX, Output, RacerId, Second};
use crate::domain::erasure::{self, ErasureVersion};
use crate::state::table::ClassTable;
use crate::storage::history_file::read_fast_path::{self, FastPathError};

/// Maximum number of efforts per merge. They stay in a core's cache.
const MERGE_EFFORTS_MAX: usize = 8 << 10;

/// Maximum length of text without an effort or a second, in bytes. A racer and an output take some
/// 45. A longer text is no history and would grow a buffer without bound.
const GAP_MAX_BYTES: usize = 128 << 10;

/// Size of the slow path's buffer of text, in bytes.
const BUFFER_BYTES: usize = 64 << 10;

/// Reasons why a history file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The file has no gzip header.
    #[error("not a gzip file")]
    NotGzip,
    /// The file ends before its gzip stream does.
    #[error("the gzip stream is truncated")]
    Truncated,
    /// The gzip stream is invalid, does not match its checksum, has trailing data, or contains
    /// endless text.
    #[error("invalid gzip data: {0}")]
    Corrupt(io::Error),
    /// The text is not a dataset: invalid JSON, a key that is no number, an output that is negative
    /// or not finite.
    #[error("the text is not a history: {0}")]
    Text(serde_json::Error),
    /// The file contains this second, which exceeds the limit.
    #[error("it contains second {0}")]
    SecondBeyond(Second),
}

/// A history file whose header has been read.
#[derive(Debug)]
pub struct StoredHistory<'a> {
    file: &'a [u8],
    erasure_version: ErasureVersion,
}

impl<'a> StoredHistory<'a> {
    /// Reads the file's header.
    pub fn open(file: &'a [u8]) -> Result<Self, HistoryError> {
        let decoder = MultiGzDecoder::new(file);
        let Some(header) = decoder.header() else {
            let has_magic = file.starts_with(&[0x1f, 0x8b]);
            return Err(if has_magic {
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

    /// Returns the highest erasure version that concerned the class when the file was written; 0
    /// when the header names none.
    pub fn erasure_version(&self) -> ErasureVersion {
        self.erasure_version
    }

    /// Reads the efforts. They are returned only after the checksum was verified: a damaged output
    /// that was merged and published could never be withdrawn. The text is never in memory as a
    /// whole.
    pub fn read(self, second_max: Second) -> Result<ClassTable, HistoryError> {
        let mut dataset = ClassBuilder::new(second_max);
        let read = read_fast_path::read(MultiGzDecoder::new(self.file), |second, racer, output| {
            dataset.push(second, racer, output);
        });
        match read {
            Ok(()) => dataset.finish(),
            Err(FastPathError::Io(error)) => Err(error.into()),
            Err(FastPathError::UnknownForm) => self.read_slow_path(second_max),
        }
    }

    /// Slow path: reads a text of the shape in any order and with any spacing. Verifies the
    /// checksum before it looks for errors in the text.
    pub(crate) fn read_slow_path(self, second_max: Second) -> Result<ClassTable, HistoryError> {
        io::copy(&mut MultiGzDecoder::new(self.file), &mut io::sink())
            .map_err(HistoryError::from)?;

        let gap_bytes = Cell::new(0);
        let reader = GapGuard {
            inner: MultiGzDecoder::new(self.file),
            gap_bytes: &gap_bytes,
        };
        let mut json =
            serde_json::Deserializer::from_reader(BufReader::with_capacity(BUFFER_BYTES, reader));
        let mut dataset = ClassBuilder::new(second_max);
        let each = |second, racer, output| {
            dataset.push(second, racer, output);
            gap_bytes.set(0);
        };
        SecondsVisitor {
            each,
            gap_bytes: &gap_bytes,
        }
        .deserialize(&mut json)
        .and_then(|()| json.end())
        .map_err(HistoryError::from)?;
        dataset.finish()
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

/// Fails when the text continues for too long without an effort.
struct GapGuard<'a, R> {
    inner: R,
    gap_bytes: &'a Cell<usize>,
}

impl<R: Read> Read for GapGuard<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let gap_bytes = self.gap_bytes.get();
        if gap_bytes > GAP_MAX_BYTES {
            return Err(io::Error::other(format!(
                "more than {GAP_MAX_BYTES} bytes of text without an effort"
            )));
        }
        let read = self.inner.read(buffer)?;
        self.gap_bytes.set(gap_bytes + read);
        Ok(read)
    }
}

/// Merges the efforts of a file into a class.
struct ClassBuilder {
    class: ClassTable,
    second_max: Second,
    /// Efforts of `second` that are not merged yet.
    batch: Vec<(RacerId, Output)>,
    second: Second,
    /// A second that exceeds the limit.
    beyond: Option<Second>,
}

impl ClassBuilder {
    fn new(second_max: Second) -> Self {
        let batch = Vec::with_capacity(MERGE_EFFORTS_MAX);
        Self {
            class: ClassTable::default(),
            second_max,
            batch,
            second: Second(0),
            beyond: None,
        }
    }

    fn push(&mut self, second: Second, racer: RacerId, output: Output) {
        if second != self.second || self.batch.len() == MERGE_EFFORTS_MAX {
            self.merge();
            self.second = second;
        }
        self.batch.push((racer, output));
    }

    fn merge(&mut self) {
        if self.second > self.second_max {
            self.beyond = Some(self.second);
        } else {
            self.class.merge_second(self.second, &self.batch);
        }
        self.batch.clear();
    }

    fn finish(mut self) -> Result<ClassTable, HistoryError> {
        self.merge();
        match self.beyond {
            Some(second) => Err(HistoryError::SecondBeyond(second)),
            None => Ok(self.class),
        }
    }
}

/// Reads `{"<second>":racers,…}`.
struct SecondsVisitor<'a, F> {
    each: F,
    gap_bytes: &'a Cell<usize>,
}

impl<'de, F: FnMut(Second, RacerId, Output)> DeserializeSeed<'de> for SecondsVisitor<'_, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, F: FnMut(Second, RacerId, Output)> Visitor<'de> for SecondsVisitor<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of seconds")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut seconds: A) -> Result<(), A::Error> {
        while let Some(second) = seconds.next_key()? {
            self.gap_bytes.set(0);
            seconds.next_value_seed(RacersVisitor {
                each: &mut self.each,
                second,
            })?;
        }
        Ok(())
    }
}

/// Reads `{"<racerId>":output,…}` of one second.
struct RacersVisitor<'a, F> {
    each: &'a mut F,
    second: Second,
}

impl<'de, F: FnMut(Second, RacerId, Output)> DeserializeSeed<'de> for RacersVisitor<'_, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, F: FnMut(Second, RacerId, Output)> Visitor<'de> for RacersVisitor<'_, F> {
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
