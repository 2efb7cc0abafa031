//! Tests of segments: round trips, limits, damage.

use proptest::prelude::*;

use super::*;

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
        names in prop::collection::vec(name(), 0..5),
        erasure_version in 0u64..3,
    ) {
        let contents = SegmentContents { efforts, names, erasure_version };
        let segments = split(contents.clone());
        prop_assert_eq!(segments.len(), 1);
        prop_assert_eq!(read(&encode(&segments[0])).expect("ours"), contents);
    }
}

#[test]
fn efforts_over_the_limit_go_into_the_next_segment() {
    let effort = Effort::of(1, 1, 1, 1.0);
    let count = CHUNK_EFFORTS_MAX * SEGMENT_CHUNKS_MAX + 1;
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
        matches!(error, SegmentError::Incomplete { lines, declared } if lines == 2 * CHUNK_EFFORTS_MAX && declared == count - 1)
    );
}

#[test]
fn damaged_or_newer_segment_is_rejected_with_its_cause() {
    assert!(matches!(read(b"plain"), Err(SegmentError::Gzip(_))));
    assert!(matches!(read(&gzip(b"{}\n")), Err(SegmentError::NoHeader)));
    let newer = gzip(b"{\"alleycat\":\"journal\",\"version\":2}\n");
    assert!(matches!(read(&newer), Err(SegmentError::Newer(2))));
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
