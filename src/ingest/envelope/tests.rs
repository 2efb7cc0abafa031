//! Tests of envelopes and of decoding their records.

use std::fmt::Debug;

use proptest::prelude::*;

use super::*;
use crate::domain::effort::Effort;
use crate::gzip::gzip;

const BOUNDS: Bounds = Bounds {
    classes: 6,
    second_max: 600,
};
const GOOD: &str =
    r#"{"classId":1,"second":1,"racerId":1,"cadence":80,"resistance":78,"name":"Hubert"}"#;

fn base64(data: &[u8]) -> String {
    base64_simd::STANDARD.encode_to_string(data)
}

fn decode(records: &[String]) -> DecodedRecords {
    let records: Vec<_> = records
        .iter()
        .map(|data| serde_json::json!({ "data": data }))
        .collect();
    let body =
        serde_json::json!({"requestId": "r", "timestamp": 1, "records": records}).to_string();
    let envelope = Envelope::parse(body.as_bytes()).expect("an envelope");
    envelope.decode(&BOUNDS, 10, 1 << 20)
}

#[test]
fn escapes_any_order_and_white_space_are_read() {
    let data = base64(GOOD.as_bytes());
    let escaped = data.replace('e', "\\u0065");
    let body = format!(
        " {{ \"other\": [1, {{}}],\n\"records\": [ {{ \"data\" : \"{escaped}\" }} ], \"requestId\":\"\\u0061\" }} "
    );
    let envelope = Envelope::parse(body.as_bytes()).expect("an envelope");
    assert_eq!(envelope.request_id.as_deref(), Some("a"));
    assert_eq!(envelope.record(0), GOOD.as_bytes());
    assert_eq!(envelope.decode(&BOUNDS, 0, 0).efforts.len(), 1);
}

/// Envelopes as Firehose sends them, and variations around what the fast path reads.
fn envelope_like_body() -> impl Strategy<Value = Vec<u8>> {
    let space = || prop::sample::select(vec!["", "", "", "", "", " ", "\n", "\t\r"]);
    let record = (space(), "[A-Za-z0-9+/=]{0,80}", space())
        .prop_map(|(a, data, b)| format!("{{{a}\"data\":\"{data}\"{b}}}"));
    let repeated =
        "\\{\"data\":\"[a-z]{0,3}\",\"(data|\\\\u0064ata|other)\":(\"[a-z]{0,3}\"|1e0)\\}";
    let records = prop::collection::vec(prop_oneof![9 => record, 1 => repeated], 0..4)
        .prop_map(|records| format!("\"records\":[{}]", records.join(",")));
    let field = prop_oneof![
        3 => records,
        2 => "\"requestId\":\"[a-z0-9-]{0,40}\"",
        2 => "\"timestamp\":[0-9]{1,14}",
        1 => "\"timestamp\":-?[0-9]{1,3}(\\.[0-9]{1,2})?([eE][+-]?[0-9])?",
        1 => "\"(timestamp|other|requestId|records)\":(null|-1|\\[\\{\"data\":1\\}\\]|\\[\\[\"\"\\]\\]|\\{\\}|\"\")",
    ];
    let field = (space(), field, space()).prop_map(|(a, field, b)| a.to_owned() + &field + b);
    let mark = prop::sample::select(vec!["", "", "", "\u{feff}", " \u{feff}"]);
    let body = (mark, prop::collection::vec(field, 0..5))
        .prop_map(|(mark, fields)| format!("{mark}{{{}}}", fields.join(",")));
    // Sometimes with bytes inserted, or a byte left out.
    let inserted = prop::collection::vec(
        prop::sample::select(b"\xff\x1f\\\" \n,{}[]:a0\xc3".to_vec()),
        0..2,
    );
    let fault = prop::option::weighted(0.5, (any::<prop::sample::Index>(), inserted, 0usize..2));
    (body, fault).prop_map(|(body, fault)| {
        let Some((index, inserted, left_out)) = fault else {
            return body.into_bytes();
        };
        let index = index.index(body.len());
        let rest = &body.as_bytes()[(index + left_out).min(body.len())..];
        [&body.as_bytes()[..index], &inserted, rest].concat()
    })
}

/// Returns request id and records of an envelope, or its error.
fn content(
    envelope: Result<Envelope<'_>, EnvelopeError>,
) -> Result<impl PartialEq + Debug, String> {
    envelope
        .map(|it| (it.request_id, it.records))
        .map_err(|error| error.to_string())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn fast_path_equals_serde(body in envelope_like_body()) {
        let without_mark = json_scan::without_byte_order_mark(&body);
        let by_serde = content(Envelope::parse_by_serde(without_mark));
        prop_assert_eq!(content(Envelope::parse(&body)), by_serde);
    }
}

#[test]
fn fast_path_reads_firehoses_envelope() {
    let data = base64(GOOD.as_bytes());
    for body in [
        format!(
            r#"{{"requestId":"r","timestamp":1578090901599,"records":[{{"data":"{data}"}},{{"data":""}}]}}"#
        ),
        format!(r#"{{"records":[{{"data":"{data}"}}],"requestId":"r"}}"#),
    ] {
        let envelope = envelope_fast_path::parse(body.as_bytes()).expect("a plain form");
        assert_eq!(envelope.request_id.as_deref(), Some("r"));
        assert_eq!(&*envelope.records[0], data.as_bytes());
    }
}

#[test]
fn last_value_of_a_repeated_key_counts() {
    let body = r#"{"requestId":"a","records":[],"requestId":"b",
        "records":[{"data":"YQ==","data":"Yg=="}]}"#;
    let envelope = Envelope::parse(body.as_bytes()).expect("an envelope");
    assert_eq!(envelope.request_id.as_deref(), Some("b"));
    assert_eq!(envelope.len(), 1);
    assert_eq!(envelope.record(0), b"b");
}

#[test]
fn error_names_the_fault_and_keeps_the_request_id() {
    for (body, fault) in [
        (r#"{"requestId":"r"}"#, "records"),
        (r#"{"requestId":"r","records":{}}"#, "array of records"),
        (r#"{"requestId":"r","records":[{}]}"#, "data"),
        (r#"{"requestId":"r","records":[{"data":null}]}"#, "null"),
        (
            r#"{"requestId":"r","records":[["eHg="]]}"#,
            "a record with its data",
        ),
    ] {
        let error = Envelope::parse(body.as_bytes()).expect_err(body);
        assert_eq!(error.request_id.as_deref(), Some("r"));
        assert!(error.to_string().contains(fault), "{error}");
    }
}

#[test]
fn body_that_is_not_an_object_is_an_error() {
    for body in ["no json", r#"["r",[]]"#, r#""secret""#, "", "\u{feff}"] {
        let error = Envelope::parse(body.as_bytes()).expect_err(body);
        assert!(error.request_id.is_none(), "{body}");
        let message = "the body is not a delivery: not a JSON object";
        assert_eq!(error.to_string(), message, "{body}");
    }
}

#[test]
fn byte_order_mark_is_passed_over() {
    let data = base64(format!("\u{feff}{GOOD}").as_bytes());
    for space in ["", " "] {
        let body =
            format!("\u{feff}{{{space}\"requestId\":\"r\",\"records\":[{{\"data\":\"{data}\"}}]}}");
        let envelope = Envelope::parse(body.as_bytes()).expect("an envelope");
        assert_eq!(envelope.request_id.as_deref(), Some("r"));
        let decoded = envelope.decode(&BOUNDS, 0, 0);
        assert_eq!(decoded.efforts.len(), 1);
    }
}

#[test]
fn each_record_stands_for_itself() {
    let mut decoded = decode(&[
        base64(GOOD.as_bytes()),
        String::new(),
        "%%%".to_owned(),
        base64(&GOOD.as_bytes()[..20]),
        base64(&GOOD.as_bytes()[20..]),
        base64(format!("{GOOD}{GOOD}\n{GOOD}").as_bytes()),
        base64(&gzip(GOOD.as_bytes())),
        base64(&gzip(GOOD.as_bytes())[..30]),
        base64(format!("{GOOD}{{").as_bytes()),
    ]);
    assert_eq!(decoded.records(), 9);
    assert_eq!(decoded.efforts.len(), 6);
    assert_eq!(decoded.empty, 1);
    let rejected = decoded.rejected.iter();
    let rejected: Vec<_> = rejected
        .map(|it| (it.record, it.rejection.reason))
        .collect();
    let expected = [
        (2, RejectionReason::Base64),
        (3, RejectionReason::Json),
        (4, RejectionReason::Json),
        (7, RejectionReason::Gzip),
        (8, RejectionReason::Json),
    ];
    assert_eq!(rejected, expected);
    let origins = decoded.origins();
    let origins: Vec<_> = (0..6).map(|effort| origins.of(effort)).collect();
    assert_eq!(origins, [0, 5, 5, 5, 6, 8]);
    assert_eq!(decoded.names.len(), 1, "equal names are one entry");
}

#[test]
fn records_of_a_delivery_share_the_gunzip_limit() {
    let large = base64(&gzip(&vec![b' '; 700 << 10]));
    let decoded = decode(&[large.clone(), large]);
    assert_eq!(decoded.empty, 1);
    assert_eq!(
        decoded.rejected[0].rejection.reason,
        RejectionReason::TooLarge
    );
}

#[test]
fn memory_grows_with_efforts_and_messages() {
    let few = decode(&[base64(&gzip(GOOD.repeat(10).as_bytes()))]).bytes();
    let many = decode(&[base64(&gzip(GOOD.repeat(10_000).as_bytes()))]).bytes();
    assert!(few < 2000, "{few}");
    assert!(
        (10_000 * size_of::<Effort>()..30_000 * size_of::<Effort>()).contains(&many),
        "{many}"
    );
    let faulty = decode(&vec![base64(b"{"); 1000]).bytes();
    assert!(faulty > 100_000, "each has a message: {faulty}");
}

#[test]
fn records_over_the_limit_are_an_error() {
    let body = |count: usize| {
        format!(
            "{{\"records\":[{}]}}",
            vec!["{\"data\":\"\"}"; count].join(",")
        )
    };
    assert_eq!(
        Envelope::parse(body(RECORDS_MAX).as_bytes())
            .expect("at the limit")
            .len(),
        RECORDS_MAX
    );
    let error = Envelope::parse(body(RECORDS_MAX + 1).as_bytes()).expect_err("over the limit");
    assert!(error.to_string().contains("100000 records"), "{error}");
}
