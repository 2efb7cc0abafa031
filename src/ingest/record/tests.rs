//! Tests of reading records.

use proptest::prelude::*;

use super::*;
use crate::domain::effort::{RaceId, Second};

const BOUNDS: Bounds = Bounds {
    classes: 6,
    second_max: 600,
};
const NOW_MS: u64 = 1_619_185_790_000;

fn decode_all(data: &[u8]) -> (Vec<Telemetry<'_>>, Result<usize, Rejection>) {
    let mut all = Vec::new();
    let result = decode(data, &BOUNDS, NOW_MS, |telemetry| all.push(telemetry));
    (all, result)
}

fn one(data: &str) -> Result<Effort, Rejection> {
    let (all, result) = decode_all(data.as_bytes());
    result.map(|_| all[0].effort)
}

fn with(field: &str) -> Result<Effort, Rejection> {
    one(&format!(
        r#"{{"classId":1,"second":1,"racerId":1,"cadence":80,"resistance":78,{field}}}"#
    ))
}

#[test]
fn outputs_equal_those_of_javascript() {
    let event: serde_json::Value = serde_json::from_str(include_str!(
        "../../../tests/data/transformation-event.json"
    ))
    .expect("JSON");
    let records = event["records"].as_array().expect("records");
    assert_eq!(records.len(), 5);
    for (index, record) in records.iter().enumerate() {
        let data = base64_simd::STANDARD
            .decode_to_vec(record["data"].as_str().expect("data"))
            .expect("base64");
        let (all, result) = decode_all(&data);
        assert_eq!(result, Ok(1));
        let effort = all[0].effort;
        assert_eq!(effort.class.get(), 1);
        assert_eq!(effort.racer.0, 1);
        assert_eq!(effort.second.0, index as u32 + 1);
        assert_eq!(effort.output.get(), 164.45);
        assert_eq!(effort.race, Some(RaceId(1_619_185_620_265)));
        assert_eq!(all[0].name.as_deref(), Some("Hubert"));
    }
}

#[test]
fn last_value_of_a_repeated_key_counts() {
    assert_eq!(with(r#""second":7"#).expect("valid").second, Second(7));
    for earlier in ["\"x\"", "[1]", "{\"cadence\":1}", "1e999", "null"] {
        let effort = with(&format!(r#""cadence":{earlier},"cadence":65"#)).expect("valid");
        assert_eq!(effort.output.get(), 143.0, "{earlier}");
    }
    assert!(with(r#""cadence":65,"cadence":[1]"#).is_err());
}

#[test]
fn integers_have_any_form_of_a_whole_number() {
    for whole in ["3", "3.0", "3.00", "3e0", "30E-1", "0.3e1"] {
        let effort = with(&format!(r#""second":{whole}"#)).expect(whole);
        assert_eq!(effort.second, Second(3), "{whole}");
    }
    for zero in ["-0", "-0.0", "0e0"] {
        let effort = with(&format!(r#""second":{zero}"#)).expect(zero);
        assert_eq!(effort.second, Second(0), "{zero}");
    }
    for field in ["classId", "racerId", "raceId", "deviceTimestamp"] {
        for one in ["1.0", "1e0"] {
            assert!(with(&format!(r#""{field}":{one}"#)).is_ok(), "{field}");
        }
        let rejection = with(&format!(r#""{field}":1e-1"#)).expect_err(field);
        assert!(rejection.message.starts_with(field), "{rejection}");
    }
    assert!(with(r#""racerId":9007199254740991"#).is_ok());
    assert!(with(r#""racerId":9007199254740992"#).is_err());
    assert!(with(r#""raceId":9007199254740992.0"#).is_err());
}

#[test]
fn other_values_are_not_integers() {
    let wrong = [
        "3.5", "\"3\"", "true", "[3]", "{}", "-1", "601", "null", "1e999",
    ];
    for wrong in wrong {
        let rejection = with(&format!(r#""second":{wrong}"#)).expect_err(wrong);
        assert!(
            rejection.message.starts_with("second "),
            "{wrong}: {rejection}"
        );
    }
}

#[test]
fn unknown_fields_may_nest() {
    let nested = r#""second":0.0,"s\u0065cond":3.0,"x":1e999,"y":{"second":[1e0,{}]}"#;
    assert_eq!(with(nested).expect("valid").second, Second(3));
}

#[test]
fn byte_order_mark_is_passed_over() {
    let object = r#"{"classId":1,"second":1,"racerId":1,"output":1}"#;
    for record in [
        format!("\u{feff}{object}"),
        format!("\u{feff} {object}\n{object}"),
        format!("\u{feff}{}", object.replace("output", "\\u006futput")),
    ] {
        let (all, result) = decode_all(record.as_bytes());
        assert_eq!(result, Ok(all.len()), "{record}");
        assert!(!all.is_empty());
    }
    assert_eq!(decode_all("\u{feff}".as_bytes()).1, Ok(0));
    let between = format!("{object}\u{feff}{object}");
    assert!(decode_all(between.as_bytes()).1.is_err());
}

#[test]
fn rejection_names_the_field_out_of_bounds() {
    for (field, wrong) in [
        ("classId", "0"),
        ("classId", "7"),
        ("cadence", "300.0000001"),
        ("cadence", "-0.1"),
        ("cadence", "1e999"),
        ("resistance", "100.5"),
        ("resistance", "\"78\""),
        ("raceId", "-1"),
        ("raceId", "\"a\""),
        ("deviceTimestamp", "1.5"),
    ] {
        let rejection = with(&format!(r#""{field}":{wrong}"#)).expect_err(wrong);
        assert!(
            rejection.message.contains(field),
            "{field} {wrong}: {rejection}"
        );
    }
}

#[test]
fn invalid_name_or_event_keeps_the_effort() {
    for value in [
        "5",
        "true",
        "null",
        "[\"a\"]",
        "{\"a\":1}",
        r#""\ud800""#,
        r#""\udc00 Hubert""#,
    ] {
        let object = format!(
            r#"{{"classId":1,"second":1,"racerId":1,"output":150,"name":{value},"event":{value},"uuid":{value}}}"#
        );
        let (all, result) = decode_all(object.as_bytes());
        assert_eq!(result, Ok(1), "{value}");
        assert_eq!(all.len(), 1, "{value}");
        assert_eq!(all[0].name, None, "{value}");
        assert!(!all[0].is_final, "{value}");
    }
    let escaped = r#"{"classId":1,"second":1,"racerId":1,"output":150,"name":"Zo\u00eb \"Z\"","event":"fin\u0061l"}"#;
    let (all, _) = decode_all(escaped.as_bytes());
    assert_eq!(all[0].name.as_deref(), Some("Zo\u{eb} \"Z\""));
    assert!(all[0].is_final);
    assert!(with("\"name\":\"two\nlines\"").is_err(), "not JSON");
}

#[test]
fn output_field_counts_only_without_inputs() {
    let base = r#""classId":1,"second":1,"racerId":1"#;
    assert_eq!(
        one(&format!(r#"{{{base},"output":150.5}}"#))
            .expect("valid")
            .output
            .get(),
        150.5
    );
    assert_eq!(
        with(r#""output":9"#).expect("computed anew").output.get(),
        164.45
    );
    assert_eq!(
        with(r#""output":"x""#).expect("computed anew").output.get(),
        164.45
    );
    for (fields, field) in [
        (r#""output":552.76"#, "output"),
        (r#""output":"1""#, "output"),
        (r#""cadence":80,"output":1"#, "resistance"),
        (r#""resistance":80,"output":1"#, "cadence"),
        (r#""output":null"#, "cadence"),
    ] {
        let rejection = one(&format!("{{{base},{fields}}}")).expect_err(fields);
        assert!(
            rejection.message.starts_with(field),
            "{fields}: {rejection}"
        );
    }
}

#[test]
fn time_is_capped_by_the_receipt_and_0_if_not_trusted() {
    let time = |ms: u64| {
        with(&format!(r#""deviceTimestamp":{ms}"#))
            .expect("valid")
            .time
    };
    assert_eq!(time(NOW_MS - 5), NOW_MS - 5);
    assert_eq!(time(NOW_MS + CLOCK_AHEAD_MS_MAX), NOW_MS);
    assert_eq!(time(NOW_MS + CLOCK_AHEAD_MS_MAX + 1), 0);
    assert_eq!(with(r#""uuid":1"#).expect("valid").time, 0);
}

#[test]
fn objects_before_a_fault_are_decoded() {
    let good = r#"{"classId":1,"second":1,"racerId":1,"cadence":80,"resistance":78}"#;
    for (rest, reason) in [
        (&b"{\"classId\":"[..], RejectionReason::Json),
        (b"[1]", RejectionReason::Json),
        (b"\"secret\"", RejectionReason::Json),
        (b"{}", RejectionReason::Missing),
        (b"{\"uuid\":\"\xff\"}", RejectionReason::Utf8),
        (
            b"{\"classId\":9,\"second\":1,\"racerId\":1,\"cadence\":1,\"resistance\":1}",
            RejectionReason::OutOfBounds,
        ),
    ] {
        let data = [good.as_bytes(), b"\n", good.as_bytes(), rest].concat();
        let (all, result) = decode_all(&data);
        assert_eq!(all.len(), 2, "{}", String::from_utf8_lossy(rest));
        let rejection = result.expect_err("a fault");
        assert_eq!(rejection.reason, reason);
        assert!(!rejection.message.contains("secret"), "{rejection}");
    }
}

#[test]
fn fast_path_reads_numbers_of_any_form() {
    for number in [
        "83.47826086956522",
        "0.12345678901234567",
        "1e-7",
        "-0.0",
        "30E+1",
    ] {
        let text = format!(r#"{{"cadence":{number},"other":{number}}}"#);
        let fields = RecordScanner::new(&text).object().expect(number);
        let NumberField::Number(cadence) = fields.cadence else {
            panic!("{number} is no number");
        };
        assert_eq!(Ok(cadence.double()), number.parse());
    }
}

/// Telemetry as bikes send it, and variations around what the fast path reads.
fn telemetry_like_text() -> impl Strategy<Value = String> {
    let space = || prop::sample::select(vec!["", "", "", "", " ", "\n", "\t\r", "\u{c}", "\u{a0}"]);
    let key = prop_oneof![
        8 => prop::sample::select(vec![
            "classId", "second", "racerId", "cadence", "resistance", "output", "raceId", "deviceTimestamp", "name",
            "event",
        ])
        .prop_map(str::to_owned),
        1 => "\\PC{0,20}",
        1 => Just("s\\u0065cond".to_owned()),
    ];
    let number = prop_oneof![
        "[0-9]{1,3}",
        "[0-9]{1,3}\\.[0-9]{0,3}",
        "[1-9][0-9]{12,20}",
        "[0-9]{1,2}(\\.0{1,3})?([eE][+-]?[0-2])?",
        "[0-9]{1,9}\\.[0-9]{1,12}",
        "-?[0-9]{0,3}(\\.[0-9]{1,17})?([eE][+-]?[0-9]{1,3})?",
    ];
    let value = prop_oneof![
        8 => number,
        3 => "\"[a-zA-Zë☃ ]{0,20}\"",
        1 => "\"[\\x00-\\x7f]{0,12}\"",
        1 => prop::sample::select(vec!["null", "true", "{}", "[1]", "\"final\"", "\"\\u0061\"", "\"\\ud800\"", ""])
            .prop_map(str::to_owned),
    ];
    let field = (space(), key, space(), space(), value, space())
        .prop_map(|(a, key, b, c, value, d)| format!("{a}\"{key}\"{b}:{c}{value}{d}"));
    let base = r#""classId":1,"second":1,"racerId":1,"cadence":80,"resistance":78"#;
    let fields = prop::collection::vec(field, 0..5).prop_map(move |fields| {
        format!(
            "{{{}}}",
            [&[base.to_owned()][..], &fields].concat().join(",")
        )
    });
    let objects = prop::collection::vec((fields, space()).prop_map(|(a, b)| a + b), 0..4);
    // Sometimes with a character replaced or left out.
    let fault =
        prop_oneof![3 => Just(None), 1 => (any::<prop::sample::Index>(), "[ -~]?").prop_map(Some)];
    let mark = prop::sample::select(vec!["", "", "", "\u{feff}", " \u{feff}"]);
    (mark, objects, fault).prop_map(|(mark, objects, fault)| {
        let mut text: Vec<char> = format!("{mark}{}", objects.concat()).chars().collect();
        if let Some((index, other)) = fault
            && !text.is_empty()
        {
            let index = index.index(text.len());
            text.splice(index..=index, other.chars());
        }
        text.into_iter().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn fast_path_equals_serde(text in telemetry_like_text()) {
        let mut by_serde = Vec::new();
        let result = decode_by_serde(&text, &BOUNDS, NOW_MS, |telemetry| by_serde.push(telemetry));
        prop_assert_eq!(decode_all(text.as_bytes()), (by_serde, result));
    }

    #[test]
    fn decimals_are_correctly_rounded(whole in 0..=300_u32, places in "[0-9]{1,16}") {
        let text = format!("{whole}.{places}");
        let output = with(&format!(r#""cadence":{text},"resistance":0"#)).ok().map(|effort| effort.output.get());
        let cadence: f64 = text.parse().expect("a number");
        let expected = (cadence <= 300.0).then_some((cadence + 35.0) * 65.0 / 100.0);
        prop_assert_eq!(output, expected);
    }
}

#[test]
fn fast_path_reads_telemetry_of_bikes() {
    let text = r#"{"uuid":"b340d30f-5a3c-4b7a-8c5e-2f6f2b1d3a4e","event":"update","deviceTimestamp":1619185789755,
        "second":1,"raceId":1619185620265,"name":"Zoë","racerId":1,"classId":1,"cadence":80.5,"resistance":78}"#;
    let mut scanner = RecordScanner::new(text);
    assert!(scanner.object().is_some());
    assert!(scanner.is_at_end());
}

#[test]
fn record_over_the_object_limit_is_rejected() {
    let good = r#"{"classId":1,"second":1,"racerId":1,"output":1}"#;
    let nested = r#"{"classId":1,"second":1,"racerId":1,"output":1,"x":{}}"#;
    for object in [good, nested] {
        let full = object.repeat(OBJECTS_MAX);
        assert_eq!(decode_all(full.as_bytes()).1, Ok(OBJECTS_MAX));
        for more in [good, nested] {
            let over = format!("{full}{more}");
            let (all, result) = decode_all(over.as_bytes());
            assert_eq!(all.len(), OBJECTS_MAX);
            let rejection = result.expect_err("over the limit");
            assert_eq!(rejection.reason, RejectionReason::TooLarge);
        }
    }
}

#[test]
fn white_space_alone_is_an_empty_record() {
    assert_eq!(decode_all(b" \n").1, Ok(0));
}
