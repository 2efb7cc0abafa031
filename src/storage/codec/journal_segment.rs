//! Journal segments: efforts, race rows and names that are durable and not yet in a snapshot.
//!
//! A segment is one object, written once and never changed: NDJSON, gzip. Its first line contains
//! the format version and the number of lines that follow: efforts and race rows, in the form of
//! input records with their output, then names and the floors of races.

#[cfg(test)]
mod tests;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::domain::effort::{ClassId, Effort, RacerId};
use crate::domain::erasure::ErasureVersion;
use crate::domain::race_row::RaceRow;
use crate::domain::racer_names::RacerName;
use crate::gzip::{GunzipError, gunzip, gzip};
use crate::storage::codec::record_line::{Record, RecordLine, is_zero};

/// Version of the segment format. Segments of a newer version are rejected.
const FORMAT_VERSION: u32 = 2;

/// Version of segments without race rows, which older programs read.
const FORMAT_VERSION_WITHOUT_RACES: u32 = 1;

/// Maximum number of efforts and race rows per chunk: enough to compress well, and few enough to
/// encode in some 10 ms.
const CHUNK_RECORDS_MAX: usize = 16 * 1024;

/// Maximum number of chunks per segment. It keeps an object near 10 MB, and reading it within some
/// 60 MB of memory.
const SEGMENT_CHUNKS_MAX: usize = 32;

/// Maximum size of a decompressed segment in bytes: far more than is written, so only foreign
/// objects exceed it.
const SEGMENT_BYTES_MAX: usize = 1 << 30;

/// The contents of a segment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct SegmentContents {
    pub(crate) efforts: Vec<Effort>,
    /// The rows of races. A final row is a finish as well.
    pub(crate) race_rows: Vec<RaceRow>,
    /// The floors of classes, in ms since 1970: race rows that are earlier have expired.
    pub(crate) race_floors: Vec<(ClassId, u64)>,
    pub(crate) names: Vec<(RacerId, RacerName)>,
    /// The erasures up to this version are applied: nothing that they cover is left.
    pub(crate) erasure_version: ErasureVersion,
}

/// Reasons why a segment cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SegmentError {
    #[error(transparent)]
    Gzip(#[from] GunzipError),
    #[error("its first line is not a segment header")]
    NoHeader,
    #[error(
        "it has format version {0}, and this program reads up to {FORMAT_VERSION}: run the newer program"
    )]
    Newer(u32),
    #[error("line {line}: {problem}")]
    Line {
        line: usize,
        problem: serde_json::Error,
    },
    #[error("incomplete segment: it has {lines} lines after its first, which declares {declared}")]
    Incomplete { lines: usize, declared: usize },
}

#[derive(Serialize, Deserialize)]
struct SegmentHeader<'a> {
    alleycat: &'a str,
    version: u32,
    /// Number of lines that follow. A segment that was cut between two gzip members is still valid
    /// gzip.
    #[serde(skip_serializing_if = "Option::is_none")]
    lines: Option<usize>,
    /// The erasures up to this version are applied.
    #[serde(default, skip_serializing_if = "is_zero")]
    erasures: ErasureVersion,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NameLine {
    racer_id: RacerId,
    name: String,
    at: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RaceFloorLine {
    class_id: ClassId,
    races_floor: u64,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OtherLine {
    Name(NameLine),
    RaceFloor(RaceFloorLine),
}

/// A part of a segment that one worker encodes.
pub(crate) struct Chunk {
    /// In the first chunk of a segment only.
    header: Option<ChunkHeader>,
    contents: SegmentContents,
}

struct ChunkHeader {
    version: u32,
    /// Number of lines of the segment.
    lines: usize,
}

impl SegmentContents {
    /// Returns the number of lines without the header.
    fn lines(&self) -> usize {
        let records = self.efforts.len() + self.race_rows.len();
        records + self.names.len() + self.race_floors.len()
    }

    fn format_version(&self) -> u32 {
        if self.race_rows.is_empty() && self.race_floors.is_empty() {
            FORMAT_VERSION_WITHOUT_RACES
        } else {
            FORMAT_VERSION
        }
    }

    /// Returns whether there is nothing to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.lines() == 0
    }
}

/// Splits contents into segments, each a list of chunks.
pub(crate) fn split(contents: SegmentContents) -> Vec<Vec<Chunk>> {
    let mut chunks = split_into_chunks(contents);
    let mut segments = Vec::new();
    while !chunks.is_empty() {
        let rest = chunks.split_off(chunks.len().min(SEGMENT_CHUNKS_MAX));
        let header = ChunkHeader {
            version: chunks
                .iter()
                .map(SegmentContents::format_version)
                .max()
                .unwrap_or(FORMAT_VERSION_WITHOUT_RACES),
            lines: chunks.iter().map(SegmentContents::lines).sum(),
        };
        let mut header = Some(header);
        let segment = chunks.into_iter().map(|contents| Chunk {
            header: header.take(),
            contents,
        });
        segments.push(segment.collect());
        chunks = rest;
    }
    segments
}

/// Splits contents into chunks, at least one. Names and floors are in the last.
fn split_into_chunks(contents: SegmentContents) -> Vec<SegmentContents> {
    if contents.efforts.len() + contents.race_rows.len() <= CHUNK_RECORDS_MAX {
        return vec![contents];
    }
    let SegmentContents {
        efforts,
        race_rows,
        race_floors,
        names,
        erasure_version,
    } = contents;
    let empty = || SegmentContents {
        erasure_version,
        ..SegmentContents::default()
    };
    let of_efforts = efforts.chunks(CHUNK_RECORDS_MAX).map(|it| SegmentContents {
        efforts: it.to_vec(),
        ..empty()
    });
    let of_rows = race_rows.chunks(CHUNK_RECORDS_MAX);
    let of_rows = of_rows.map(|it| SegmentContents {
        race_rows: it.to_vec(),
        ..empty()
    });
    let mut chunks: Vec<SegmentContents> = of_efforts.chain(of_rows).collect();
    let last = chunks.last_mut().expect("there is more than one");
    last.names = names;
    last.race_floors = race_floors;
    chunks
}

impl Chunk {
    /// Returns the chunk's contents.
    pub(crate) fn into_contents(self) -> SegmentContents {
        self.contents
    }

    /// Encodes the chunk as one gzip member.
    pub(crate) fn encode(&self) -> Bytes {
        let SegmentContents {
            efforts,
            race_rows,
            race_floors,
            names,
            erasure_version,
        } = &self.contents;
        let mut lines = Vec::with_capacity(128 * (efforts.len() + race_rows.len()) + 64);
        if let Some(ChunkHeader {
            version,
            lines: count,
        }) = self.header
        {
            let header = SegmentHeader {
                alleycat: "journal",
                version,
                lines: Some(count),
                erasures: *erasure_version,
            };
            write_line(&mut lines, &header);
        }
        for effort in efforts {
            write_line(&mut lines, &RecordLine::of_effort(effort));
        }
        for row in race_rows {
            write_line(&mut lines, &RecordLine::of_race_row(row));
        }
        for (racer_id, name) in names {
            write_line(
                &mut lines,
                &NameLine {
                    racer_id: *racer_id,
                    name: name.text.to_string(),
                    at: name.at_ms,
                },
            );
        }
        for &(class_id, races_floor) in race_floors {
            let line = RaceFloorLine {
                class_id,
                races_floor,
            };
            write_line(&mut lines, &line);
        }
        gzip(&lines).into()
    }
}

pub(super) fn write_line(lines: &mut Vec<u8>, line: &impl Serialize) {
    serde_json::to_writer(&mut *lines, line).expect("a line always serializes");
    lines.push(b'\n');
}

/// Reads a segment.
pub(crate) fn read(object: &[u8]) -> Result<SegmentContents, SegmentError> {
    let plain = gunzip(object, SEGMENT_BYTES_MAX)?;
    let mut lines = plain.split_inclusive(|&byte| byte == b'\n');
    let header: SegmentHeader<'_> = lines
        .next()
        .and_then(|line| serde_json::from_slice(line).ok())
        .filter(|header: &SegmentHeader<'_>| header.alleycat == "journal")
        .ok_or(SegmentError::NoHeader)?;
    if header.version > FORMAT_VERSION {
        return Err(SegmentError::Newer(header.version));
    }
    let declared = header.lines;
    let mut contents = SegmentContents {
        erasure_version: header.erasures,
        ..SegmentContents::default()
    };
    for (index, line) in lines.enumerate() {
        // Efforts and race rows are the most frequent, so they are tried first.
        let record = serde_json::from_slice::<RecordLine>(line).and_then(RecordLine::record);
        match record {
            Ok(Record::Effort(effort)) => contents.efforts.push(effort),
            Ok(Record::RaceRow(row)) => contents.race_rows.push(row),
            Err(_) => contents
                .read_other_line(line)
                .map_err(|problem| SegmentError::Line {
                    line: index + 2,
                    problem,
                })?,
        }
    }
    let lines = contents.lines();
    match declared {
        Some(declared) if declared != lines => Err(SegmentError::Incomplete { lines, declared }),
        _ => Ok(contents),
    }
}

impl SegmentContents {
    /// Reads a line that is neither an effort nor a race row.
    fn read_other_line(&mut self, line: &[u8]) -> Result<(), serde_json::Error> {
        match serde_json::from_slice(line)? {
            OtherLine::Name(NameLine { racer_id, name, at }) => {
                let name = RacerName {
                    at_ms: at,
                    text: name.into(),
                };
                self.names.push((racer_id, name));
            }
            OtherLine::RaceFloor(line) => {
                self.race_floors.push((line.class_id, line.races_floor));
            }
        }
        Ok(())
    }
}

/// Asserts that encoding and decoding a valid segment twice gives the same contents and bytes.
/// Returns whether the segment is valid.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn assert_segment_round_trips(object: &[u8]) -> bool {
    let Ok(contents) = read(object) else {
        return false;
    };
    let write = |contents: &SegmentContents| -> Vec<Vec<u8>> {
        let segments = split(contents.clone()).into_iter();
        segments
            .map(|segment| {
                segment
                    .iter()
                    .flat_map(|chunk| chunk.encode().to_vec())
                    .collect()
            })
            .collect()
    };
    let written = write(&contents);
    let mut again = SegmentContents {
        erasure_version: contents.erasure_version,
        ..SegmentContents::default()
    };
    for segment in &written {
        let segment = read(segment).expect("it was written here");
        assert_eq!(segment.erasure_version, contents.erasure_version);
        again.efforts.extend(segment.efforts);
        again.race_rows.extend(segment.race_rows);
        again.race_floors.extend(segment.race_floors);
        again.names.extend(segment.names);
    }
    assert_eq!(again, contents);
    assert_eq!(write(&again), written);
    true
}
