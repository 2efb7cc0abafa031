//! Tests of reading stored objects.

use proptest::prelude::*;

use std::io::Cursor;

use super::piece::DEPTH_MAX;
use super::*;
use crate::gzip::gzip;

/// A reader that returns one byte at a time.
struct SlowReader(Cursor<Vec<u8>>);

impl Read for SlowReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = into.len().min(1);
        self.0.read(&mut into[..length])
    }
}

fn items(object: &[u8]) -> Vec<ObjectItem> {
    ObjectReader::open(SlowReader(Cursor::new(object.to_vec())), u64::MAX)
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
    ObjectReader::open(Cursor::new(object.to_vec()), u64::MAX)
        .find_map(Result::err)
        .expect("an error")
}

#[test]
fn records_are_split_with_and_without_newlines() {
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

/// Returns a gzip member of `text` whose compressed data holds a newline.
fn member_with_newline(text: &str) -> Vec<u8> {
    (0..10_000)
        .map(|number| gzip(format!("{text}{}", " ".repeat(number)).as_bytes()))
        .find(|member| member.contains(&b'\n'))
        .expect("a newline")
}

#[test]
fn gzip_records_are_read_between_and_within_gzip() {
    let (one, two) = (
        member_with_newline("{\"a\":1}"),
        member_with_newline("{\"b\":2}"),
    );
    let expected = [r#"{"a":1}"#, r#"{"b":2}"#, r#"{"c":3}"#]
        .map(|text| ObjectItem::Record(text.as_bytes().to_vec()));
    let plain = b"{\"c\":3}";
    for separator in ["", "\n", "\r\n", " \n\n"].map(str::as_bytes) {
        for object in [
            [&*one, &two, plain].join(separator),
            [&*one, &two, &gzip(plain)].join(separator),
            [&*gzip(&[&*one, &two].join(separator)), plain].join(separator),
            gzip(&[&*one, &two, plain].join(separator)),
            gzip(&[&*one, &two, &gzip(plain)].join(separator)),
        ] {
            assert_eq!(items(&object), expected);
        }
        let plain_first = [plain, &*one, &two].join(separator);
        assert_eq!(items(&plain_first)[1..], expected[..2]);
        assert_eq!(items(&gzip(&plain_first))[0], expected[2]);
    }
    let halves = [gzip(b"{\"a\""), gzip(b":1}")].concat();
    assert_eq!(items(&halves), expected[..1]);
}

#[test]
fn damaged_gzip_record_is_kept_whole_and_leaves_the_others_valid() {
    let (one, two) = (gzip(b"{\"a\":1}"), gzip(b"{\"b\":2}\n"));
    let whole = member_with_newline("{\"lost\":true} ");
    let mut wrong_sum = whole.clone();
    let sum = wrong_sum.len() - 8;
    wrong_sum[sum] ^= 1;
    let mut spaced = whole[..whole.len() - 4].to_vec();
    spaced.extend_from_slice(b" \n");
    for damaged in [&whole[..whole.len() - 9], &wrong_sum, &spaced, &whole[..20]] {
        let object = [&one, damaged, &two, b"{\"c\":3}", damaged, b"{\"d\":4}"].concat();
        let expected = [
            b"{\"a\":1}",
            damaged,
            b"{\"b\":2}",
            b"{\"c\":3}",
            damaged,
            b"{\"d\":4}",
        ]
        .map(|data| ObjectItem::Record(data.to_vec()));
        assert_eq!(items(&object), expected);
        assert_eq!(items(&gzip(&object)), expected);
        let first = [damaged, b"{\"d\":4}"].concat();
        assert_eq!(items(&gzip(&first)), expected[4..]);
    }
}

#[test]
fn object_of_many_damaged_members_is_read_in_bounded_time() {
    // Each member holds all that follow, uncompressed, and its sum is wrong. If each were gunzipped
    // in vain, that would take hours, and the suite would time out.
    let header = b"\x1f\x8b\x08\0\0\0\0\0\0\xff\0\x11\0\xee\xff";
    let object = [&b"{\"a\":1}\n"[..], &header.repeat(1 << 18)].concat();
    let mut read = ObjectReader::open(Cursor::new(object), u64::MAX);
    assert!(read.all(|item| item.is_ok()));
}

#[test]
fn byte_order_mark_is_passed_over() {
    assert_eq!(
        texts("\u{feff}{\"a\":1}\n{\"b\":2}"),
        ["{\"a\":1}", "{\"b\":2}"]
    );
    assert_eq!(texts("\u{feff}"), [""; 0]);
    // Also before a record that is not the first.
    let marked = "\u{feff}{\"a\":1}\n\u{feff}{\"b\":2}\u{feff}\n \u{feff}{\"c\":3}";
    assert_eq!(texts(marked), ["{\"a\":1}", "{\"b\":2}", "{\"c\":3}"]);
    let snapshot = "\u{feff}{\"1\":{\"17\":150}}";
    assert_eq!(items(snapshot.as_bytes()), [ObjectItem::Snapshot]);
}

#[test]
fn invalid_json_leaves_the_following_records_valid() {
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
fn error_output_is_read_as_its_records() {
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
fn gzip_within_a_gzip_record_stays_as_it_is() {
    let line = |raw: &[u8]| {
        let raw = base64_simd::STANDARD.encode_to_string(raw);
        format!("{{\"attemptsMade\":4,\"rawData\":\"\",\"rawData\":\"{raw}\"}}\n")
    };
    let (one, two) = (gzip(b"{\"a\":1}"), gzip(b"{\"b\":2}"));
    for raw in [gzip(&one), gzip(&[b"{\"c\":3}", &*two].concat())] {
        let object = [line(&raw), line(&one)].concat();
        let expected = [raw, b"{\"a\":1}".to_vec()].map(ObjectItem::Record);
        assert_eq!(items(object.as_bytes()), expected);
    }
}

#[test]
fn journal_names_are_read_with_an_effort() {
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
        error(b"{\"alleycat\":\"journal\",\"version\":3}\n"),
        ObjectReaderError::NewerJournal(3)
    ));
    // Without a version it is a record like any other.
    let unknown = "{\"alleycat\":\"journal\"}";
    assert_eq!(texts(unknown), [unknown]);
}

#[test]
fn part_of_a_store_without_all_of_its_lines_is_incomplete() {
    let row = "{\"classId\":1,\"second\":3,\"racerId\":3,\"output\":4,\"raceId\":7,\"at\":9}\n";
    let journal = "{\"alleycat\":\"journal\",\"version\":2,\"lines\":3}\n";
    let races = "{\"alleycat\":\"races\",\"version\":1,\"classId\":1,\"rows\":3}\n";
    for first_line in [journal, races] {
        let whole = format!("{first_line}{}", row.repeat(3));
        assert!(!items(whole.as_bytes()).is_empty());
        let cut = format!("{first_line}{row}");
        for object in [cut.clone(), format!("{cut}{whole}")] {
            assert!(matches!(
                error(object.as_bytes()),
                ObjectReaderError::Incomplete(2)
            ));
        }
    }
    // The lines of a cut journal are returned before the error.
    let cut = format!("{journal}{row}");
    let mut reader = ObjectReader::open(Cursor::new(cut), u64::MAX);
    assert!(matches!(reader.next(), Some(Ok(ObjectItem::Record(_)))));
    assert!(matches!(reader.next(), Some(Err(_))));
}

#[test]
fn race_rows_of_a_journal_are_records_and_floors_are_not() {
    let row = "{\"classId\":1,\"second\":300,\"racerId\":3,\"output\":4,\"raceId\":7,\"at\":9,\"event\":\"final\"}";
    let journal = format!(
        "{{\"alleycat\":\"journal\",\"version\":2,\"lines\":2}}\n{row}\n{{\"classId\":1,\"racesFloor\":5}}\n"
    );
    assert_eq!(
        items(&gzip(journal.as_bytes())),
        [ObjectItem::Record(row.as_bytes().to_vec())]
    );
}

#[test]
fn stored_races_and_finishes_hold_no_records() {
    let row = "{\"classId\":1,\"second\":3,\"racerId\":3,\"output\":4,\"raceId\":7,\"at\":9}\n";
    for kind in ["races", "finishes"] {
        for rows in 0..3 {
            let first_line = format!(
                "{{\"alleycat\":\"{kind}\",\"version\":1,\"classId\":1,\"rows\":{rows}}}\n"
            );
            let object = first_line + &row.repeat(rows);
            assert_eq!(items(&gzip(object.as_bytes())), [ObjectItem::Snapshot]);
        }
    }
}

#[test]
fn records_after_a_part_of_a_store_are_read() {
    let record = "{\"classId\":1,\"second\":2}";
    let read = |object: &str| items(format!("{object}\n{record}").as_bytes());
    let expected = ObjectItem::Record(record.as_bytes().to_vec());
    let row = "{\"classId\":1,\"racerId\":3,\"at\":9}";
    let races = format!("{{\"alleycat\":\"races\",\"version\":1,\"rows\":1}}\n{row}");
    for snapshot in [
        "{\"1\":{\"5\":150}}",
        "{\"1\":{}}",
        "{\"5\":{\"name\":\"}\",\"at\":1}}",
        "{\"format\":1,\"version\":0,\"erasures\":[]}",
        &races,
    ] {
        assert_eq!(read(snapshot)[0], ObjectItem::Snapshot, "{snapshot}");
        assert_eq!(
            read(snapshot)[1..],
            *std::slice::from_ref(&expected),
            "{snapshot}"
        );
    }
    // The lines of a device are no rows of a store.
    let read_all = read("{\"alleycat\":\"races\",\"version\":1}");
    assert!(matches!(&read_all[..], [ObjectItem::Record(_), last] if *last == expected));
    let forged = "{\"alleycat\":\"races\",\"version\":1,\"rows\":9}";
    let mut reader = ObjectReader::open(
        Cursor::new(format!("{forged}\n{record}\n{record}")),
        u64::MAX,
    );
    let records = reader.by_ref().skip(1).take(2);
    assert!(records.flatten().all(|item| item == expected));
    assert!(matches!(
        reader.next(),
        Some(Err(ObjectReaderError::Incomplete(9)))
    ));
    let objects = [gzip(b"{\"1\":{\"5\":150}}"), gzip(record.as_bytes())];
    assert_eq!(items(&objects.concat())[1..], [expected]);
}

#[test]
fn history_that_is_longer_than_a_record_is_passed_over() {
    let seconds = (1..=2_000_000).map(|second| format!("\"{second}\":{{\"5\":150}}"));
    let history = format!("{{{}}}", seconds.collect::<Vec<_>>().join(","));
    assert!(history.len() > 2 * PIECE_BYTES_MAX);
    let read = |object: String| {
        let reader = ObjectReader::open(Cursor::new(object), u64::MAX);
        reader.collect::<Vec<_>>()
    };
    let record = "{\"classId\":1}";
    let whole = read(format!("{history}{record}"));
    assert!(matches!(
        &whole[..],
        [Ok(ObjectItem::Snapshot), Ok(ObjectItem::Record(_))]
    ));
    let cut = read(history[..history.len() - 1].to_owned());
    assert!(matches!(&cut[..], [Err(ObjectReaderError::NoEnd)]));
}

#[test]
fn journal_name_gets_the_latest_effort_and_keeps_its_time() {
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
    assert_eq!(named["second"], 2);
    assert_eq!(named["deviceTimestamp"], 80);
}

#[test]
fn endless_nesting_is_read_in_linear_time() {
    // If everything after each brace were parsed again, each object would take hours, and the suite
    // would time out.
    let nested = "{\"a\":".repeat(1 << 20);
    let [escaped, lines] = ["{\\\"", "{\"\n"].map(|part| part.repeat(1 << 20));
    for object in [
        &*nested,
        &nested.replace(':', ":\n"),
        &"{".repeat(4 << 20),
        &escaped,
        &lines,
    ] {
        let mut read = ObjectReader::open(Cursor::new(object.to_owned().into_bytes()), u64::MAX);
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
fn object_without_records_is_an_error() {
    assert!(matches!(
        error(b"\x89PNG\r\n\x1a\n{ \x00"),
        ObjectReaderError::NoRecords
    ));
    let piece = ObjectItem::Record(b"no".to_vec());
    let pieces: Vec<_> = ObjectReader::open(&b"no"[..], 2)
        .map(|item| item.expect("an item"))
        .collect();
    assert_eq!(pieces, [piece]);
    let erasures = "{\"format\":1,\"version\":0,\"erasures\":[]}";
    let mut large = ObjectReader::open(&b"{\"a\":1}{"[..], 7);
    assert!(matches!(
        large.find_map(Result::err),
        Some(ObjectReaderError::Unreadable(_))
    ));
    let nothing = gzip(&gzip(b"").repeat(1000));
    let mut empty = ObjectReader::open(Cursor::new(nothing), 19_000);
    assert!(matches!(
        empty.next(),
        Some(Err(ObjectReaderError::Unreadable(_)))
    ));
    for snapshot in [
        "{\"1\":{\"17\":150}}",
        "{\n \"1\" : {\n  \"17\": 0.5}}",
        "{\"17\":{\"name\":\"Ada\",\"at\":1}}",
        "{}",
        "{\"1\":{}}",
        erasures,
    ] {
        let read = items(&gzip(snapshot.as_bytes()));
        assert_eq!(read, [ObjectItem::Snapshot], "{snapshot}");
    }
}

#[test]
fn text_without_json_is_read_to_its_end() {
    let lines = HELD_PIECES_MAX * 2;
    let object = format!("{}{{\"a\":1}}", "x\n".repeat(lines));
    assert_eq!(texts(&object).len(), lines + 1);
    for faulty in [
        "{\"classId\":1,\"second\":01}",
        "null",
        "1,2,3",
        "eyJhIjoxfQ==",
        "{\"classId\":1,\"name\":\"\0\"}",
    ] {
        assert_eq!(texts(faulty), [faulty]);
    }
}

#[test]
fn binary_object_without_json_is_an_error() {
    let zip = b"PK\x03\x04\x14\0\0\0\x08\0\n\nabc\n";
    let utf_16 = b"\xff\xfe{\0\"\0a\0\"\0:\x001\0}\0\n\0";
    for object in [&zip[..], &utf_16[..], &gzip(zip)] {
        let mut read = ObjectReader::open(Cursor::new(object.to_vec()), 1000);
        assert!(matches!(
            read.next(),
            Some(Err(ObjectReaderError::NoRecords))
        ));
    }
    // With JSON in it, all of its pieces are records.
    let mixed = [&zip[..], b"{\"a\":1}"].concat();
    let read: Vec<_> = ObjectReader::open(Cursor::new(mixed), 1000).collect();
    assert!(read.iter().all(Result::is_ok));
}

#[test]
fn object_that_only_begins_like_a_part_of_a_store_is_read() {
    for object in [
        "{\"2026\":1,\"classId\":1}",
        "{\"1\":{\"classId\":1}}",
        "{\"1\":{\"name\":7}}",
        "{\"format\":\"v2\",\"classId\":1}",
        "{\"format\":1,\"classId\":1}",
        "{\"rawData\":\"e30=\",\"classId\":1}",
    ] {
        assert_eq!(texts(object), [object]);
    }
}

#[test]
fn truncated_gzip_is_read_up_to_the_cut() {
    let object: String = (0..20_000)
        .map(|number: u64| format!("{{\"a\":{}}}\n", number * 7919 % 10_007))
        .collect();
    let cut = gzip(object.as_bytes());
    let mut reader = ObjectReader::open(Cursor::new(cut[..cut.len() / 2].to_vec()), u64::MAX);
    let records = reader.by_ref().take_while(Result::is_ok).count();
    assert!(records > 1000, "{records}");
    assert!(reader.next().is_none());
    assert!(matches!(
        error(&cut[..cut.len() / 2]),
        ObjectReaderError::Unreadable(_)
    ));
}

proptest! {
    #[test]
    fn only_white_space_is_lost(object in "[{}\"a:1, \n]{0,60}") {
        prop_assume!(!object.trim_start().starts_with('{')); // it may be a snapshot
        let read: Vec<u8> = ObjectReader::open(Cursor::new(object.clone().into_bytes()), 60)
            .flatten()
            .flat_map(|item| match item { ObjectItem::Record(data) => data, other => panic!("{other:?}") })
            .collect();
        let is_visible = |byte: &u8| !byte.is_ascii_whitespace();
        let visible = |text: &[u8]| text.iter().copied().filter(is_visible).collect::<Vec<_>>();
        prop_assert_eq!(visible(&read), visible(object.as_bytes()));
    }
}
