//! `races-<N>.gz` and `finishes-<N>.gz`: the race rows of a class as NDJSON, gzip.
//!
//! The first line contains the format version and the number of lines that follow. Each race is a
//! gzip member of its own, so that a race that does not change is compressed once.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::domain::effort::ClassId;
use crate::domain::erasure::{self, ErasureVersion};
use crate::domain::race_row::RaceRow;
use crate::gzip::{GunzipError, gunzip, gzip, gzip_with_extra_field};
use crate::storage::codec::journal_segment::write_line;
use crate::storage::codec::record_line::{Record, RecordLine};

/// Version of the format. Objects of a newer version are rejected.
const FORMAT_VERSION: u32 = 1;

/// Bytes of a row, at most some 200.
const ROW_BYTES_MAX: usize = 256;

/// Minimum bound of a decompressed object, in bytes. A million rows are some 150 MB.
const BYTES_MAX_MIN: usize = 1 << 30;

/// The two objects with race rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum RowsKind {
    Races,
    Finishes,
}

/// Why a stored object cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RowsError {
    #[error(transparent)]
    Gzip(#[from] GunzipError),
    #[error("its first line is not the header of {0:?}")]
    NoHeader(RowsKind),
    #[error(
        "it has format version {0}, and this program reads up to {FORMAT_VERSION}: run the newer program"
    )]
    Newer(u32),
    #[error("line {line}: {problem}")]
    Line {
        line: usize,
        problem: serde_json::Error,
    },
    #[error("line {0} is not a row of this class")]
    ForeignLine(usize),
    #[error("it has {lines} lines after its first, which declares {declared}")]
    Incomplete { lines: usize, declared: usize },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RowsHeader {
    alleycat: RowsKind,
    version: u32,
    class_id: ClassId,
    /// Number of lines that follow.
    rows: usize,
    /// Rows whose time is below this, in ms since 1970, have expired.
    #[serde(default)]
    floor: u64,
}

/// The field that headers of all versions have.
#[derive(Deserialize)]
struct AnyHeader {
    version: u32,
}

/// Encodes the first member. The gzip header carries the version of the erasures that are applied.
pub(crate) fn encode_header(
    kind: RowsKind,
    class_id: ClassId,
    rows: usize,
    floor_ms: u64,
    erasure_version: ErasureVersion,
) -> Bytes {
    let header = RowsHeader {
        alleycat: kind,
        version: FORMAT_VERSION,
        class_id,
        rows,
        floor: floor_ms,
    };
    let mut line = Vec::new();
    write_line(&mut line, &header);
    gzip_with_extra_field(&line, erasure::extra_field(erasure_version)).into()
}

/// Encodes rows as one member.
pub(crate) fn encode_rows(rows: &[RaceRow]) -> Bytes {
    let mut lines = Vec::with_capacity(128 * rows.len());
    for row in rows {
        write_line(&mut lines, &RecordLine::of_race_row(row));
    }
    gzip(&lines).into()
}

/// Reads an object of a class with at most `racers_max` racers. Returns the rows and the floor.
pub(crate) fn decode(
    kind: RowsKind,
    class: ClassId,
    body: &[u8],
    racers_max: usize,
) -> Result<(Vec<RaceRow>, u64), RowsError> {
    let plain = gunzip(body, BYTES_MAX_MIN.max(racers_max * ROW_BYTES_MAX))?;
    let mut lines = plain.split_inclusive(|&byte| byte == b'\n');
    let first_line = lines.next().unwrap_or_default();
    // Read alone first: the other fields may be different in a newer version.
    if let Ok(AnyHeader { version }) = serde_json::from_slice(first_line)
        && version > FORMAT_VERSION
    {
        return Err(RowsError::Newer(version));
    }
    let header = serde_json::from_slice(first_line)
        .ok()
        .filter(|header: &RowsHeader| header.alleycat == kind && header.class_id == class)
        .ok_or(RowsError::NoHeader(kind))?;
    let mut rows = Vec::new();
    for (index, line) in lines.enumerate() {
        let line_number = index + 2;
        let record = serde_json::from_slice(line).and_then(RecordLine::record);
        match record {
            Ok(Record::RaceRow(row)) if row.class == class => rows.push(row),
            Ok(_) => return Err(RowsError::ForeignLine(line_number)),
            Err(problem) => {
                return Err(RowsError::Line {
                    line: line_number,
                    problem,
                });
            }
        }
    }
    if rows.len() != header.rows {
        return Err(RowsError::Incomplete {
            lines: rows.len(),
            declared: header.rows,
        });
    }
    Ok((rows, header.floor))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::effort::{Effort, RaceId};

    const CLASS: ClassId = ClassId::new(1).unwrap();

    fn row(racer: u64, time: u64) -> RaceRow {
        let effort = Effort {
            race: Some(RaceId(7)),
            time,
            ..Effort::of(1, 3, racer, 0.1 + 0.2)
        };
        RaceRow::new(&effort, racer == 1, 5).unwrap()
    }

    #[test]
    fn rows_and_floor_round_trip() {
        let rows = [row(1, 9), row(2, 0)];
        let header = encode_header(RowsKind::Races, CLASS, 2, 4, 7);
        let body = [header, encode_rows(&rows[..1]), encode_rows(&rows[1..])].concat();
        assert_eq!(
            decode(RowsKind::Races, CLASS, &body, 9).unwrap(),
            (rows.into(), 4)
        );
        let text = String::from_utf8(gunzip(&body, 1000).unwrap()).unwrap();
        let expected = "{\"alleycat\":\"races\",\"version\":1,\"classId\":1,\"rows\":2,\"floor\":4}\n\
            {\"classId\":1,\"second\":3,\"racerId\":1,\"output\":0.30000000000000004,\"raceId\":7,\"deviceTimestamp\":9,\"at\":9,\"event\":\"final\"}\n\
            {\"classId\":1,\"second\":3,\"racerId\":2,\"output\":0.30000000000000004,\"raceId\":7,\"at\":5}\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn object_of_another_kind_or_class_or_that_is_cut_is_refused() {
        let header = encode_header(RowsKind::Races, CLASS, 1, 0, 0);
        let body = [&*header, &encode_rows(&[row(1, 9)])].concat();
        assert!(decode(RowsKind::Races, CLASS, &body, 9).is_ok());
        let newer = gzip(b"{\"version\":2}\n");
        let error = decode(RowsKind::Races, CLASS, &newer, 9).unwrap_err();
        assert!(matches!(error, RowsError::Newer(2)));
        for (kind, class, body) in [
            (RowsKind::Finishes, CLASS, &*body),
            (RowsKind::Races, ClassId::new(2).unwrap(), &*body),
            (RowsKind::Races, CLASS, &*header),
            (RowsKind::Races, CLASS, &body[..body.len() - 1]),
        ] {
            assert!(decode(kind, class, body, 9).is_err());
        }
    }
}
