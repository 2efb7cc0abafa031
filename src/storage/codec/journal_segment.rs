//! The journal: segments of efforts and names that are durable and not yet in a snapshot, and the quarantine.
//!
//! A segment is one object, written once, never changed: NDJSON, gzip. Its first line tells the format's version and
//! how many lines come after it: efforts in the form of input records that carry their output, then names.

use std::fmt;
use std::io::{Read, Write};

use bytes::Bytes;
use flate2::{Compression, read::MultiGzDecoder, write::GzEncoder};
use serde::{Deserialize, Serialize};

use crate::domain::effort::{ClassId, Effort, Output, RaceId, RacerId, Second};
use crate::domain::erasure::ErasureVersion;
use crate::domain::racer_names::RacerName;
use crate::domain::rejection::Rejection;

/// The version of the segments' format. One that is greater is not read.
const FORMAT_VERSION: u32 = 1;

/// Efforts in a chunk: enough to compress well, few enough for a worker to be done in some 10 ms.
const CHUNK_EFFORTS_MAX: usize = 16 * 1024;

/// Chunks in a segment, so that an object stays near 10 MB, and reading it within some 60 MB of memory.
const SEGMENT_CHUNKS_MAX: usize = 32;

/// The most that a segment may hold when gunzipped, in bytes: far over what is written, so only what is not ours meets
/// it.
const SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// What a segment holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Contents {
    /// Its efforts.
    pub(crate) efforts: Vec<Effort>,
    /// Its names.
    pub(crate) names: Vec<(RacerId, RacerName)>,
    /// The erasures up to this version have been heeded in it: nothing that they cover is left.
    pub(crate) heeded: ErasureVersion,
}

/// An object of the journal does not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SegmentError {
    #[error("it is not gzip, or cut short: {0}")]
    Gzip(std::io::Error),
    #[error("it holds over {SEGMENT_BYTES_MAX} bytes")]
    TooLarge,
    #[error("its first line is not a journal's")]
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
    #[error("it has {lines} lines after its first, which tells of {told}: it is not whole")]
    Short { lines: usize, told: usize },
}

#[derive(Serialize, Deserialize)]
struct Header<'a> {
    alleycat: &'a str,
    version: u32,
    /// How many lines come after it. A segment that is cut between two gzip members is good gzip still.
    #[serde(skip_serializing_if = "Option::is_none")]
    lines: Option<usize>,
    /// The erasures up to this version have been heeded.
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
enum Line {
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

/// A part of a segment, as one worker encodes it.
pub(crate) struct Chunk {
    /// How many lines its segment has, where it is the first of it.
    lines: Option<usize>,
    contents: Contents,
}

/// Cuts what is to be journaled into segments, each a list of chunks.
pub(crate) fn cut(contents: Contents) -> Vec<Vec<Chunk>> {
    let Contents {
        efforts,
        names,
        heeded,
    } = contents;
    let chunk = |efforts| Chunk {
        lines: None,
        contents: Contents {
            efforts,
            names: Vec::new(),
            heeded,
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
        segment[0].lines = Some(lines);
    }
    segments
}

impl Chunk {
    /// What it holds.
    pub(crate) fn into_contents(self) -> Contents {
        self.contents
    }

    /// Its gzip member.
    pub(crate) fn encode(&self) -> Bytes {
        let mut lines = Vec::with_capacity(128 * self.contents.efforts.len() + 64);
        if self.lines.is_some() {
            let (lines_after, erasures) = (self.lines, self.contents.heeded);
            write_line(
                &mut lines,
                &Header {
                    alleycat: "journal",
                    version: FORMAT_VERSION,
                    lines: lines_after,
                    erasures,
                },
            );
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
        gzip(&lines)
    }
}

fn write_line(lines: &mut Vec<u8>, line: &impl Serialize) {
    serde_json::to_writer(&mut *lines, line).expect("such a line always serialises");
    lines.push(b'\n');
}

pub(crate) fn gzip(plain: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 6), Compression::fast());
    encoder.write_all(plain).expect("a vector takes all");
    encoder.finish().expect("a vector takes all").into()
}

pub(crate) fn gunzip(object: &[u8], bytes_max: u64) -> Result<Vec<u8>, SegmentError> {
    let mut plain = Vec::with_capacity(object.len().saturating_mul(6).min(1 << 26));
    let mut decoder = MultiGzDecoder::new(object).take(bytes_max + 1);
    decoder
        .read_to_end(&mut plain)
        .map_err(SegmentError::Gzip)?;
    if plain.len() as u64 > bytes_max {
        Err(SegmentError::TooLarge)
    } else {
        Ok(plain)
    }
}

/// Reads a segment.
pub(crate) fn read(object: &[u8]) -> Result<Contents, SegmentError> {
    let plain = gunzip(object, SEGMENT_BYTES_MAX)?;
    let mut lines = plain.split_inclusive(|&byte| byte == b'\n');
    let header: Header<'_> = lines
        .next()
        .and_then(|line| serde_json::from_slice(line).ok())
        .filter(|header: &Header<'_>| header.alleycat == "journal")
        .ok_or(SegmentError::NoHeader)?;
    if header.version > FORMAT_VERSION {
        return Err(SegmentError::Newer(header.version));
    }
    let told = header.lines;
    let mut contents = Contents {
        heeded: header.erasures,
        ..Contents::default()
    };
    for (place, line) in lines.enumerate() {
        // Efforts are by far the most; only what is none is tried as a name.
        let line = match serde_json::from_slice::<EffortLine>(line) {
            Ok(effort) => Line::Effort(effort),
            Err(_) => serde_json::from_slice(line).map_err(|problem| SegmentError::Line {
                line: place + 2,
                problem,
            })?,
        };
        match line {
            Line::Effort(line) => contents.efforts.push(Effort {
                class: line.class_id,
                second: line.second,
                racer: line.racer_id,
                output: line.output,
                race: line.race_id,
                time: line.device_timestamp,
            }),
            Line::Name(line) => {
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
    match told {
        Some(told) if told != lines => Err(SegmentError::Short { lines, told }),
        _ => Ok(contents),
    }
}

/// Insists that a segment that reads is written such that it reads the same, and then again with the same bytes.
/// Whether it reads.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn claim_that_a_segment_reads_back(object: &[u8]) -> bool {
    let Ok(contents) = read(object) else {
        return false;
    };
    let write = |contents: &Contents| -> Vec<Vec<u8>> {
        let segments = cut(contents.clone()).into_iter();
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
    let mut again = Contents {
        heeded: contents.heeded,
        ..Contents::default()
    };
    for segment in &written {
        let segment = read(segment).expect("ours");
        assert_eq!(segment.heeded, contents.heeded);
        again.efforts.extend(segment.efforts);
        again.names.extend(segment.names);
    }
    assert_eq!(again, contents);
    assert_eq!(write(&again), written);
    true
}

/// A record that is not taken, kept as Firehose keeps those that failed.
#[derive(Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// Why.
    pub rejection: Rejection,
    /// The record's data, as it came.
    pub raw: Vec<u8>,
    /// When it came, in milliseconds since 1970.
    pub arrival_ms: u64,
}

impl fmt::Debug for Quarantined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The data is a person's: it stays out of logs.
        f.debug_struct("Quarantined")
            .field("rejection", &self.rejection)
            .finish_non_exhaustive()
    }
}

/// An object of the quarantine that holds those records.
pub(crate) fn encode_quarantine(quarantined: &[Quarantined]) -> Bytes {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct QuarantineLine<'a> {
        attempts_made: u32,
        arrival_timestamp: u64,
        error_code: String,
        error_message: &'a str,
        attempt_ending_timestamp: u64,
        raw_data: String,
    }
    let mut lines = Vec::new();
    for Quarantined {
        rejection,
        raw,
        arrival_ms,
    } in quarantined
    {
        let line = QuarantineLine {
            attempts_made: 1,
            arrival_timestamp: *arrival_ms,
            error_code: format!("Alleycat.{}", rejection.reason.as_str()),
            error_message: &rejection.message,
            attempt_ending_timestamp: *arrival_ms,
            raw_data: base64_simd::STANDARD.encode_to_string(raw),
        };
        write_line(&mut lines, &line);
    }
    gzip(&lines)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn effort() -> impl Strategy<Value = Effort> {
        let odd = prop_oneof![
            Just(5e-324),
            Just(0.1 + 0.2),
            Just(1e-7),
            Just(552.75),
            0.0..552.75f64
        ];
        let race = prop::option::of(0u64..1 << 53);
        (
            1u16..=6,
            0u32..=600,
            0u64..1 << 53,
            odd,
            race,
            0u64..1 << 45,
        )
            .prop_map(|(class, second, racer, output, race, time)| Effort {
                class: ClassId::new(class).expect("from 1"),
                second: Second(second),
                racer: RacerId(racer),
                output: Output::new(output).expect("not negative"),
                race: race.map(RaceId),
                time,
            })
    }

    fn name() -> impl Strategy<Value = (RacerId, RacerName)> {
        (0u64..9, 0u64..99, ".{0,100}").prop_map(|(racer, at_ms, text)| {
            (
                RacerId(racer),
                RacerName {
                    at_ms,
                    text: text.into(),
                },
            )
        })
    }

    fn encode(segment: &[Chunk]) -> Vec<u8> {
        segment
            .iter()
            .flat_map(|chunk| chunk.encode().to_vec())
            .collect()
    }

    proptest! {
        #[test]
        fn a_segment_reads_back_as_it_was(
            efforts in prop::collection::vec(effort(), 0..50),
            names in prop::collection::vec(name(), 0..5),
            heeded in 0u64..3,
        ) {
            let contents = Contents { efforts, names, heeded };
            let segments = cut(contents.clone());
            prop_assert_eq!(segments.len(), 1);
            prop_assert_eq!(read(&encode(&segments[0])).expect("ours"), contents);
        }
    }

    #[test]
    fn what_is_over_a_segments_limit_goes_into_the_next() {
        let effort = Effort {
            class: ClassId::new(1).expect("from 1"),
            second: Second(1),
            racer: RacerId(1),
            output: Output::new(1.0).expect("not negative"),
            race: None,
            time: 0,
        };
        let count = CHUNK_EFFORTS_MAX * SEGMENT_CHUNKS_MAX + 1;
        let segments = cut(Contents {
            efforts: vec![effort; count],
            ..Contents::default()
        });
        let counts: Vec<_> = segments
            .iter()
            .map(|segment| read(&encode(segment)).expect("ours").efforts.len())
            .collect();
        assert_eq!(counts, [count - 1, 1]);
        // Cut between two gzip members it is good gzip.
        let cut = encode(&segments[0][..2]);
        let error = read(&cut).expect_err("it is cut short");
        assert!(
            matches!(error, SegmentError::Short { lines, told } if lines == 2 * CHUNK_EFFORTS_MAX && told == count - 1)
        );
    }

    #[test]
    fn a_segment_that_is_broken_or_newer_says_so() {
        assert!(matches!(read(b"plain"), Err(SegmentError::Gzip(_))));
        assert!(matches!(read(&gzip(b"{}\n")), Err(SegmentError::NoHeader)));
        let newer = gzip(b"{\"alleycat\":\"journal\",\"version\":2}\n");
        assert!(matches!(read(&newer), Err(SegmentError::Newer(2))));
        let odd = gzip(b"{\"alleycat\":\"journal\",\"version\":1}\n{\"classId\":1}\n");
        assert!(matches!(
            read(&odd),
            Err(SegmentError::Line { line: 2, .. })
        ));
        let cut_short = encode(&cut(Contents::default())[0]);
        assert!(matches!(
            read(&cut_short[..cut_short.len() - 4]),
            Err(SegmentError::Gzip(_))
        ));
    }
}
