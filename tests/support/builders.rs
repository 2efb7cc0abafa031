//! Test data: records, efforts, and their compressed form.

use std::io::Write;

use alleycat::domain::effort::{ClassId, Effort, Output, RacerId, Second};
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

/// An effort without a race and of unknown time.
pub fn effort(class: u16, second: u32, racer: u64, output: f64) -> Effort {
    Effort {
        class: ClassId::new(class).expect("a class of 1 or more"),
        second: Second(second),
        racer: RacerId(racer),
        output: Output::new(output).expect("a finite output of 0 or more"),
        race: None,
        time: 0,
    }
}

/// A transformed record: it carries its output.
pub fn record(class: u64, second: u64, racer: u64, output: f64) -> Value {
    json!({ "classId": class, "second": second, "racerId": racer, "output": output })
}

/// A record as a bike sends it: with cadence and resistance.
pub fn telemetry(class: u64, second: u64, racer: u64) -> String {
    json!({"classId": class, "second": second, "racerId": racer, "cadence": 80, "resistance": 78})
        .to_string()
}

pub fn gzip(data: impl AsRef<[u8]>) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(data.as_ref()).expect("memory");
    encoder.finish().expect("memory")
}

/// Decompresses all members to text.
pub fn gunzip(data: impl AsRef<[u8]>) -> String {
    std::io::read_to_string(MultiGzDecoder::new(data.as_ref())).expect("gzipped UTF-8")
}

/// Decompresses to text, and requires exactly one member.
pub fn gunzip_single_member(data: impl AsRef<[u8]>) -> String {
    let mut decoder = flate2::bufread::GzDecoder::new(data.as_ref());
    let text = std::io::read_to_string(&mut decoder).expect("gzipped UTF-8");
    assert!(decoder.into_inner().is_empty(), "more than one member");
    text
}
