//! Tests of reading stored objects.

use proptest::prelude::*;

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
    ObjectReader::open(SlowReader(Cursor::new(object.to_vec())))
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
    ObjectReader::open(Cursor::new(object.to_vec()))
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

#[test]
fn byte_order_mark_is_passed_over() {
    assert_eq!(
        texts("\u{feff}{\"a\":1}\n{\"b\":2}"),
        ["{\"a\":1}", "{\"b\":2}"]
    );
    assert_eq!(texts("\u{feff}"), [""; 0]);
    let snapshot = "\u{feff}{\"1\":{\"17\":150}}";
    assert!(matches!(
        error(snapshot.as_bytes()),
        ObjectReaderError::Snapshot
    ));
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
        error(b"{\"alleycat\":\"journal\",\"version\":2}\n"),
        ObjectReaderError::NewerJournal(2)
    ));
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
        let mut read =
            ObjectReader::open_as_records(Cursor::new(object.to_owned().into_bytes()), u64::MAX);
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
    let pieces: Vec<_> = ObjectReader::open_as_records(&b"no"[..], 2)
        .map(|item| item.expect("an item"))
        .collect();
    assert_eq!(pieces, [piece]);
    let erasures = "{\"format\":1,\"version\":0,\"erasures\":[]}";
    let mut large = ObjectReader::open_as_records(&b"{\"a\":1}{"[..], 7);
    assert!(matches!(
        large.find_map(Result::err),
        Some(ObjectReaderError::Unreadable(_))
    ));
    for snapshot in [
        "{\"1\":{\"17\":150}}",
        "{\"17\":{\"name\":\"Ada\",\"at\":1}}",
        "{}",
        erasures,
    ] {
        assert!(
            matches!(
                error(&gzip(snapshot.as_bytes())),
                ObjectReaderError::Snapshot
            ),
            "{snapshot}"
        );
    }
}

#[test]
fn truncated_gzip_is_read_up_to_the_cut() {
    let object: String = (0..20_000)
        .map(|number: u64| format!("{{\"a\":{}}}\n", number * 7919 % 10_007))
        .collect();
    let cut = gzip(object.as_bytes());
    let mut reader = ObjectReader::open(Cursor::new(cut[..cut.len() / 2].to_vec()));
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
        let read: Vec<u8> = ObjectReader::open_as_records(Cursor::new(object.clone().into_bytes()), 60)
            .flatten()
            .flat_map(|item| match item { ObjectItem::Record(data) => data, other => panic!("{other:?}") })
            .collect();
        let is_visible = |byte: &u8| !byte.is_ascii_whitespace();
        let visible = |text: &[u8]| text.iter().copied().filter(is_visible).collect::<Vec<_>>();
        prop_assume!(!object.trim_start().starts_with('{')); // it may be a snapshot
        prop_assert_eq!(visible(&read), visible(object.as_bytes()));
    }
}
