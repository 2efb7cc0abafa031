//! Tests of Firehose's data transformation.

use serde_json::{Value, json};

use super::*;
use crate::ingest::lambda_event::{EVENT_BYTES_MAX, LambdaEvent};

const BOUNDS: Bounds = Bounds {
    classes: 6,
    second_max: 600,
};

fn transform(data: &[&str], bytes_max: usize) -> Result<Value, EventError> {
    let records: Vec<_> = data
        .iter()
        .enumerate()
        .map(|(id, data)| json!({"recordId": id.to_string(), "approximateArrivalTimestamp": 1, "data": data}))
        .collect();
    let event = json!({"invocationId": "i", "region": "r", "records": records}).to_string();
    let LambdaEvent::Transformation(transformation) = LambdaEvent::parse(event.as_bytes())? else {
        panic!("{event}")
    };
    assert_eq!(transformation.0.len(), data.len());
    let response = transformation.transform(&BOUNDS, bytes_max)?;
    assert!(response.json.len() <= bytes_max);
    assert_eq!(
        response.ok + response.dropped + response.failed.values().sum::<usize>(),
        data.len()
    );
    Ok(serde_json::from_slice(&response.json).expect("JSON"))
}

fn base64(text: &str) -> String {
    base64_simd::STANDARD.encode_to_string(text)
}

fn text(record: &Value) -> String {
    let data = base64_simd::STANDARD
        .decode_to_vec(record["data"].as_str().expect("base64"))
        .expect("base64");
    String::from_utf8(data).expect("text")
}

#[test]
fn real_event_is_transformed_as_by_the_original() {
    let event = include_str!("../../../tests/data/transformation-event.json");
    let Ok(LambdaEvent::Transformation(transformation)) = LambdaEvent::parse(event.as_bytes())
    else {
        panic!("an event")
    };
    let response = transformation
        .transform(&BOUNDS, EVENT_BYTES_MAX)
        .expect("it fits");
    let response: Value = serde_json::from_slice(&response.json).expect("JSON");
    let event: Value = serde_json::from_str(event).expect("JSON");
    let records = event["records"].as_array().expect("an array");
    let results = response["records"].as_array().expect("an array");
    assert_eq!(results.len(), records.len());
    for (record, result) in records.iter().zip(results) {
        assert_eq!(result["recordId"], record["recordId"]);
        assert_eq!(result["result"], "Ok");
        let source = text(record);
        let telemetry: Value = serde_json::from_str(&source).expect("JSON");
        let [cadence, resistance] =
            ["cadence", "resistance"].map(|key| telemetry[key].as_f64().expect("a number"));
        let output = Output::of(cadence, resistance).expect("an output");
        assert_eq!(
            text(result),
            format!(
                "{},\"output\":{output}}}\n",
                source.trim_end().trim_end_matches('}')
            )
        );
    }
}

#[test]
fn each_record_has_its_result() {
    let good = "{\"classId\":1, \"note\":{\"a b\":[1,\n\"\\\" x\"]},\"second\":1,\"racerId\":1.0,\"cadence\":80,\
        \"resistance\":78,\"note\":2,\"output\":7}";
    let twice = format!("{good}\n{}", good.replace(",\"note\":2,\"output\":7", ""));
    let data = [
        base64(good),
        String::new(),
        base64(" \n"),
        "%%".to_owned(),
        base64("{}"),
        base64(&twice),
        base64("\""),
    ];
    let response =
        transform(&data.each_ref().map(|data| &**data), EVENT_BYTES_MAX).expect("it fits");
    let records: Vec<_> = response["records"]
        .as_array()
        .expect("an array")
        .iter()
        .collect();
    let results: Vec<_> = records
        .iter()
        .map(|record| record["result"].as_str().expect("a text"))
        .collect();
    let failed = "ProcessingFailed";
    assert_eq!(
        results,
        ["Ok", "Dropped", "Dropped", failed, failed, "Ok", failed]
    );
    for index in [1, 2, 3, 4, 6] {
        assert_eq!(records[index]["data"], data[index]);
    }
    let expected = "{\"classId\":1,\"note\":2,\"second\":1,\"racerId\":1.0,\"cadence\":80,\"resistance\":78,\
        \"output\":164.45}\n";
    assert_eq!(text(records[0]), expected);
    let second = expected.replace("\"note\":2", "\"note\":{\"a b\":[1,\"\\\" x\"]}");
    assert_eq!(text(records[5]), format!("{expected}{second}"));
}

#[test]
fn byte_order_mark_is_passed_over() {
    let object = "{\"classId\":1,\"second\":1,\"racerId\":1,\"cadence\":80,\"resistance\":78}";
    let data = base64(&format!("\u{feff}{object}"));
    let event = format!(
        "\u{feff}{{\"invocationId\":\"i\",\"records\":[{{\"recordId\":\"1\",\"data\":\"{data}\"}}]}}"
    );
    let Ok(LambdaEvent::Transformation(transformation)) = LambdaEvent::parse(event.as_bytes())
    else {
        panic!("{event}")
    };
    let transformed = transformation
        .transform(&BOUNDS, EVENT_BYTES_MAX)
        .expect("it fits");
    let transformed: Value = serde_json::from_slice(&transformed.json).expect("JSON");
    let expected = object.replace('}', ",\"output\":164.45}\n");
    assert_eq!(text(&transformed["records"][0]), expected);
}

#[test]
fn results_over_the_limit_fail_with_unchanged_data() {
    let good =
        base64("{\"classId\":1,\"second\":1,\"racerId\":1,\"cadence\":80,\"resistance\":78}");
    let data = [&*good; 20];
    let all = transform(&data, usize::MAX)
        .expect("it fits")
        .to_string()
        .len();
    for bytes_max in [all - 1, all - 100] {
        let response = transform(&data, bytes_max).expect("it fits unchanged");
        let records = response["records"].as_array().expect("an array");
        assert_eq!(records[0]["result"], "Ok");
        let failed: Vec<_> = records
            .iter()
            .filter(|record| record["result"] != "Ok")
            .collect();
        assert!(!failed.is_empty(), "{response}");
        assert!(failed.iter().all(|it| it["data"] == good), "{response}");
    }
    assert!(transform(&data, 1000).is_err());
}
