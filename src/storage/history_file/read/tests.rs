//! Tests of reading: any gzip of the shape, damage, bombs, and the fast path against serde.

use proptest::prelude::*;

use super::*;
use crate::domain::effort::{ClassId, Effort};
use crate::gzip::gzip;
use crate::state::table::Table;
use crate::storage::history_file::History;

const CLASS: ClassId = ClassId::new(3).expect("3 is not 0");

const SECOND_MAX: Second = Second(600);

/// Reads a file and sorts its efforts by second and racer.
fn read(file: &[u8]) -> Result<Vec<Effort>, HistoryError> {
    let class = StoredHistory::open(file)?.read(SECOND_MAX)?;
    let mut efforts: Vec<_> = class.efforts(CLASS).collect();
    efforts.sort_by_key(|effort| (effort.second, effort.racer));
    Ok(efforts)
}

fn read_text(text: &str) -> Result<Vec<Effort>, HistoryError> {
    read(&gzip(text.as_bytes()))
}

fn effort(second: u32, racer: u64, output: f64) -> Effort {
    Effort::of(3, second, racer, output)
}

fn ours() -> Vec<u8> {
    let table = Table::new(3);
    let efforts: Vec<_> = (0..200)
        .map(|n| effort(n % 5, n.into(), f64::from(n) / 3.0))
        .collect();
    table.merge(&efforts, 0);
    History::build(&table, CLASS, &History::empty(0), 5)
        .chunks()
        .collect::<Vec<_>>()
        .concat()
}

#[test]
fn any_gzip_file_of_the_shape_reads_in_any_order_and_spacing() {
    let efforts = [
        effort(0, INTEGER_MAX, 1e21),
        effort(60, 1, 0.0),
        effort(60, 2, 1.5),
    ];
    let text = format!(
        "\n{{ \"60\": {{\"2\":1.50,\t\"1\":-0}}, \"0\" :{{\"{INTEGER_MAX}\":1E21}},\"7\":{{}} }}\r\n"
    );
    assert_eq!(read_text(&text).expect("a history"), efforts);
    assert_eq!(
        StoredHistory::open(&gzip(b"{}"))
            .expect("gzip")
            .erasure_version(),
        0
    );
    let (first, second) = text.as_bytes().split_at(31);
    let members = [gzip(first), gzip(b""), gzip(second)].concat();
    assert_eq!(
        read(&members).expect("several members are one file"),
        efforts
    );
}

#[test]
fn second_over_the_limit_is_named() {
    for text in [
        r#"{"600":{"1":1},"601":{"1":1}}"#,
        r#"{"600":{"1":1}, "601":{"1":1}}"#,
    ] {
        assert!(matches!(
            read_text(text),
            Err(HistoryError::SecondBeyond(Second(601)))
        ));
    }
    assert_eq!(
        read_text(r#"{"600":{"1":1e300}}"#).expect("a history"),
        [effort(600, 1, 1e300)]
    );
}

#[test]
fn fast_path_reads_outputs_of_any_form() {
    let text = r#"{"1":{"1":187.25340234534542,"2":0.12345678901234567,"3":1e-7,"4":1.5E+21,"5":-0.0,"9007199254740991":18446744073709551616.0}}"#;
    let mut outputs = Vec::new();
    let read = read_fast_path::read(text.as_bytes(), |_, _, output| outputs.push(output.get()));
    assert!(read.is_ok());
    assert_eq!(
        outputs,
        [
            187.25340234534542,
            0.12345678901234567,
            1e-7,
            1.5e21,
            0.0,
            2_f64.powi(64)
        ]
    );
}

fn arbitrary_text() -> impl Strategy<Value = String> {
    let number = "[0-9]{1,3}|[0-9]{1,17}\\.[0-9]{1,17}|[0-9]e[0-9]|-?[0-9]|900719925474099[0-9]\
                  |[0-9]{1,22}(\\.[0-9]{1,22})?([eE][+-]?[0-9]{1,3})?";
    let entry = (number, number).prop_map(|(racer, output)| format!("\"{racer}\":{output}"));
    let racers = prop::collection::vec(entry, 0..6).prop_map(|entries| entries.join(","));
    let second =
        ("[0-9]{1,2}", racers).prop_map(|(second, racers)| format!("\"{second}\":{{{racers}}}"));
    let dataset = prop::collection::vec(second, 0..4)
        .prop_map(|seconds| format!("{{{}}}", seconds.join(",")));
    let mutilated = (
        dataset,
        any::<prop::sample::Index>(),
        "|[ \\n{},:\"0-9e.x]",
        0usize..3,
    );
    mutilated.prop_map(|(text, at, put, cut)| {
        let at = at.index(text.len());
        format!(
            "{}{put}{}",
            &text[..at],
            &text[(at + cut).min(text.len())..]
        )
    })
}

proptest! {
    #[test]
    fn fast_path_reads_what_serde_reads(text in arbitrary_text()) {
        let file = gzip(text.as_bytes());
        let mut by_serde = Vec::new();
        let each = |second, racer, output| by_serde.push((second, racer, output));
        let seconds = SecondsVisitor { each, gap_bytes: &Cell::new(0) };
        let mut json = serde_json::Deserializer::from_str(&text);
        let outcome = seconds.deserialize(&mut json).and_then(|()| json.end());

        let mut by_fast_path = Vec::new();
        let read = read_fast_path::read(MultiGzDecoder::new(&file[..]), |second, racer, output| {
            by_fast_path.push((second, racer, output));
        });
        prop_assert!(!matches!(read, Err(FastPathError::Io(_))));
        if read.is_ok() {
            prop_assert!(outcome.is_ok(), "{:?}", outcome);
            prop_assert_eq!(by_fast_path, by_serde);
        }
    }
}

#[test]
fn text_longer_than_the_buffer_takes_the_fast_path() {
    let racers = |second: u64| {
        let racer = |racer: u64| format!("\"{}\":{}", racer * racer, (second + racer) as f64 / 7.0);
        (0..20_000).map(racer).collect::<Vec<_>>().join(",")
    };
    let seconds = (0..3)
        .map(|second| format!("\"{second}\":{{{}}}", racers(second)))
        .collect::<Vec<_>>();
    let file = gzip(format!("{{{}}}", seconds.join(",")).as_bytes());
    let mut count = 0;
    assert!(read_fast_path::read(MultiGzDecoder::new(&file[..]), |_, _, _| count += 1).is_ok());
    assert_eq!(count, 60_000);
    let efforts = read(&file).expect("a history");
    assert_eq!(efforts.len(), 60_000);
    assert_eq!(efforts[45_000], effort(2, 25_000_000, 5_002.0 / 7.0));
}

#[test]
fn truncated_file_is_an_error_at_any_length() {
    let file = ours();
    for length in 0..file.len() {
        let error = read(&file[..length]).expect_err("truncated");
        let is_truncated = matches!(error, HistoryError::Truncated)
            || length < 2 && matches!(error, HistoryError::NotGzip);
        assert!(is_truncated, "{length} bytes: {error}");
    }
    read(&file).expect("the whole file");
}

#[test]
fn flipped_bit_is_an_error() {
    let file = ours();
    let efforts = read(&file).expect("a history");
    for byte in 24..file.len() {
        for bit in 0..8 {
            let mut broken = file.clone();
            broken[byte] ^= 1 << bit;
            if let Ok(read) = read(&broken) {
                assert_eq!(
                    read, efforts,
                    "bit {bit} of byte {byte} is more than padding"
                );
            }
        }
    }
}

#[test]
fn trailing_data_is_an_error() {
    for rest in [&b"\0"[..], &[0; 512], b"{}", b"more than ten bytes"] {
        let error = read(&[&ours(), rest].concat()).expect_err("garbage");
        assert!(
            matches!(error, HistoryError::Truncated | HistoryError::Corrupt(_)),
            "{error}"
        );
    }
    assert!(matches!(
        read(&[ours(), ours()].concat()),
        Err(HistoryError::Text(_))
    ));
}

#[test]
fn file_without_gzip_header_is_not_gzip() {
    for file in [&b""[..], b"{}", b"PK\x03\x04", &[0; 100]] {
        assert!(matches!(read(file), Err(HistoryError::NotGzip)), "{file:?}");
    }
}

#[test]
fn invalid_text_is_an_error_with_position_and_cause() {
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
        assert!(
            error.contains(what) && error.contains("line 1 column"),
            "{text}: {error}"
        );
    }
}

#[test]
fn endless_text_without_efforts_is_rejected() {
    for (start, more) in [
        ("{", ' '),
        ("{\"", '1'),
        ("{\"1\":{\"1\":\"", 'x'),
        ("{\"1\":{\"1\":0.", '7'),
        ("", '['),
    ] {
        let bomb = start.to_owned() + &String::from(more).repeat(8 << 20);
        let error = read_text(&bomb).expect_err("a bomb");
        let message = error.to_string();
        let bounded =
            message.contains("without an effort") || matches!(error, HistoryError::Text(_));
        assert!(
            bounded && message.len() < 300,
            "{start}{more}: {message:.300}"
        );
    }
}
