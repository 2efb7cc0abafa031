//! Journal segments: efforts and names that are durable and not yet in a snapshot.
//!
//! A segment is one object, written once and never changed: NDJSON, gzip. Its first line contains
//! the format version and the number of lines that follow: efforts, in the form of input records
//! with their output, then names.

#[cfg(test)]
mod tests;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::domain::effort::{ClassId, Effort, Output, RaceId, RacerId, Second};
use crate::domain::erasure::ErasureVersion;
use crate::domain::racer_names::RacerName;
use crate::gzip::{GunzipError, gunzip, gzip};

/// Version of the segment format. Segments of a newer version are rejected.
const FORMAT_VERSION: u32 = 1;

/// Maximum number of efforts per chunk: enough to compress well, and few enough to encode in some
/// 10 ms.
const CHUNK_EFFORTS_MAX: usize = 16 * 1024;

/// Maximum number of chunks per segment. It keeps an object near 10 MB, and reading it within some
/// 60 MB of memory.
const SEGMENT_CHUNKS_MAX: usize = 32;

/// Maximum size of a decompressed segment in bytes: far more than is written, so only foreign
/// objects exceed it.
const SEGMENT_BYTES_MAX: usize = 1 << 30;

/// The contents of a segment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct SegmentContents {
    /// The efforts.
    pub(crate) efforts: Vec<Effort>,
    /// The names.
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
struct EffortLine {
    class_id: ClassId,
    second: Second,
    racer_id: RacerId,
    output: Output,
    #[serde(skip_serializing_if = "Option::is_none")]
    race_id: Option<RaceId>,
    #[serde(default, skip_serializing_if = "is_zero")]
    device_timestamp: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NameLine {
    racer_id: RacerId,
    name: String,
    at: u64,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum SegmentLine {
    Effort(EffortLine),
    Name(NameLine),
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A part of a segment that one worker encodes.
pub(crate) struct Chunk {
    /// Number of lines of the segment, in its first chunk only.
    segment_lines: Option<usize>,
    contents: SegmentContents,
}

/// Splits contents into segments, each a list of chunks.
pub(crate) fn split(contents: SegmentContents) -> Vec<Vec<Chunk>> {
    let SegmentContents {
        efforts,
        names,
        erasure_version,
    } = contents;
    let chunk = |efforts| Chunk {
        segment_lines: None,
        contents: SegmentContents {
            efforts,
            names: Vec::new(),
            erasure_version,
        },
    };
    let mut segments: Vec<Vec<Chunk>> = if efforts.len() <= CHUNK_EFFORTS_MAX {
        vec![vec![chunk(efforts)]]
    } else {
        let segments = efforts.chunks(CHUNK_EFFORTS_MAX * SEGMENT_CHUNKS_MAX);
        segments
            .map(|efforts| {
                efforts
                    .chunks(CHUNK_EFFORTS_MAX)
                    .map(|it| chunk(it.to_vec()))
                    .collect()
            })
            .collect()
    };
    segments
        .last_mut()
        .and_then(|last| last.last_mut())
        .expect("there is a chunk")
        .contents
        .names = names;
    for segment in &mut segments {
        let lines = segment
            .iter()
            .map(|chunk| chunk.contents.efforts.len() + chunk.contents.names.len())
            .sum();
        segment[0].segment_lines = Some(lines);
    }
    segments
}

impl Chunk {
    /// Returns the chunk's contents.
    pub(crate) fn into_contents(self) -> SegmentContents {
        self.contents
    }

    /// Encodes the chunk as one gzip member.
    pub(crate) fn encode(&self) -> Bytes {
        let mut lines = Vec::with_capacity(128 * self.contents.efforts.len() + 64);
        if self.segment_lines.is_some() {
            let header = SegmentHeader {
                alleycat: "journal",
                version: FORMAT_VERSION,
                lines: self.segment_lines,
                erasures: self.contents.erasure_version,
            };
            write_line(&mut lines, &header);
        }
        for effort in &self.contents.efforts {
            let line = EffortLine {
                class_id: effort.class,
                second: effort.second,
                racer_id: effort.racer,
                output: effort.output,
                race_id: effort.race,
                device_timestamp: effort.time,
            };
            write_line(&mut lines, &line);
        }
        for (racer_id, name) in &self.contents.names {
            write_line(
                &mut lines,
                &NameLine {
                    racer_id: *racer_id,
                    name: name.text.to_string(),
                    at: name.at_ms,
                },
            );
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
        // Most lines are efforts, so a line is parsed as a name only when that fails.
        let line = match serde_json::from_slice::<EffortLine>(line) {
            Ok(effort) => SegmentLine::Effort(effort),
            Err(_) => serde_json::from_slice(line).map_err(|problem| SegmentError::Line {
                line: index + 2,
                problem,
            })?,
        };
        match line {
            SegmentLine::Effort(line) => contents.efforts.push(Effort {
                class: line.class_id,
                second: line.second,
                racer: line.racer_id,
                output: line.output,
                race: line.race_id,
                time: line.device_timestamp,
            }),
            SegmentLine::Name(line) => {
                contents.names.push((
                    line.racer_id,
                    RacerName {
                        at_ms: line.at,
                        text: line.name.into(),
                    },
                ));
            }
        }
    }
    let lines = contents.efforts.len() + contents.names.len();
    match declared {
        Some(declared) if declared != lines => Err(SegmentError::Incomplete { lines, declared }),
        _ => Ok(contents),
    }
}

/// Asserts that a valid segment round-trips: it is written such that it reads the same, and writing
/// that again gives the same bytes. Returns whether the segment is valid.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn claim_that_a_segment_reads_back(object: &[u8]) -> bool {
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
        let segment = read(segment).expect("ours");
        assert_eq!(segment.erasure_version, contents.erasure_version);
        again.efforts.extend(segment.efforts);
        again.names.extend(segment.names);
    }
    assert_eq!(again, contents);
    assert_eq!(write(&again), written);
    true
}
