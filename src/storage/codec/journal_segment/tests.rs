//! Tests of segments: round trips, limits, damage.

use proptest::prelude::*;

use super::*;
use crate::domain::effort::{Output, RaceId, Second};

fn effort() -> impl Strategy<Value = Effort> {
    let output = prop_oneof![
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
        output,
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
    fn segment_round_trips(
        efforts in prop::collection::vec(effort(), 0..50),
        rows in prop::collection::vec((effort(), any::<bool>()), 0..9),
        floors in prop::collection::vec(0u64..1 << 45, 0..3),
        names in prop::collection::vec(name(), 0..5),
        erasure_version in 0u64..3,
    ) {
        let rows = rows.iter().filter_map(|(effort, is_final)| RaceRow::new(effort, *is_final, 7));
        let class = ClassId::new(1).expect("from 1");
        let contents = SegmentContents {
            efforts,
            race_rows: rows.collect(),
            race_floors: floors.into_iter().map(|floor_ms| (class, floor_ms)).collect(),
            names,
            erasure_version,
        };
        let segments = split(contents.clone());
        prop_assert_eq!(segments.len(), 1);
        prop_assert_eq!(read(&encode(&segments[0])).expect("ours"), contents);
    }
}

#[test]
fn efforts_over_the_limit_go_into_the_next_segment() {
    let effort = Effort::of(1, 1, 1, 1.0);
    let count = CHUNK_RECORDS_MAX * SEGMENT_CHUNKS_MAX + 1;
    let segments = split(SegmentContents {
        efforts: vec![effort; count],
        ..SegmentContents::default()
    });
    let counts: Vec<_> = segments
        .iter()
        .map(|segment| read(&encode(segment)).expect("ours").efforts.len())
        .collect();
    assert_eq!(counts, [count - 1, 1]);
    // A segment that was cut between two gzip members is valid gzip.
    let cut = encode(&segments[0][..2]);
    let error = read(&cut).expect_err("it is incomplete");
    assert!(
        matches!(error, SegmentError::Incomplete { lines, declared } if lines == 2 * CHUNK_RECORDS_MAX && declared == count - 1)
    );
}

#[test]
fn damaged_or_newer_segment_is_rejected_with_its_cause() {
    assert!(matches!(read(b"plain"), Err(SegmentError::Gzip(_))));
    assert!(matches!(read(&gzip(b"{}\n")), Err(SegmentError::NoHeader)));
    let newer = gzip(b"{\"alleycat\":\"journal\",\"version\":3}\n");
    assert!(matches!(read(&newer), Err(SegmentError::Newer(3))));
    let invalid = gzip(b"{\"alleycat\":\"journal\",\"version\":1}\n{\"classId\":1}\n");
    assert!(matches!(
        read(&invalid),
        Err(SegmentError::Line { line: 2, .. })
    ));
    let truncated = encode(&split(SegmentContents::default())[0]);
    assert!(matches!(
        read(&truncated[..truncated.len() - 4]),
        Err(SegmentError::Gzip(_))
    ));
}

#[test]
fn only_segments_with_race_rows_have_the_newer_format() {
    let effort = Effort {
        race: Some(RaceId(7)),
        ..Effort::of(1, 1, 1, 1.0)
    };
    let header = |contents| {
        let text = gunzip(&encode(&split(contents)[0]), 1000).expect("gzip");
        let line = text.split(|&byte| byte == b'\n').next().expect("a line");
        String::from_utf8(line.to_vec()).expect("text")
    };
    let mut contents = SegmentContents {
        efforts: vec![effort],
        ..SegmentContents::default()
    };
    assert!(header(contents.clone()).contains("\"version\":1"));
    contents.race_rows.extend(RaceRow::new(&effort, false, 5));
    assert!(header(contents).contains("\"version\":2"));
}

#[test]
fn rows_beyond_a_chunk_go_into_chunks_of_their_own() {
    let effort = Effort {
        race: Some(RaceId(7)),
        ..Effort::of(1, 1, 1, 1.0)
    };
    let row = RaceRow::new(&effort, false, 5).expect("it names a race");
    let contents = SegmentContents {
        efforts: vec![effort; 3],
        race_rows: vec![row; CHUNK_RECORDS_MAX + 1],
        ..SegmentContents::default()
    };
    let segments = split(contents.clone());
    assert_eq!(segments.len(), 1);
    assert_eq!(segments[0].len(), 3);
    assert_eq!(read(&encode(&segments[0])).expect("ours"), contents);
}
