//! The form of a delivery, and the one that every answer must have.

use std::collections::BTreeSet;
use std::io::Read;
use std::net::TcpStream;
use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, RequestBuilder, StatusCode, header};
use serde_json::{Value, json};

pub use crate::support::gzip;
use crate::support::{DEADLINE, Service};

pub const ID: &str = "ed4acda5-034f-9f42-bba1-f29aea6d7d8f";
pub const REQUEST_ID: &str = "X-Amz-Firehose-Request-Id";

/// Hubert at second 1 of class 1, and what that comes to.
pub const HUBERT: &str = concat!(
    r#"{"uuid":"b340d30f","event":"update","deviceTimestamp":1619185789755,"second":1,"raceId":1619185620265,"#,
    r#""name":"Hubert","racerId":1,"classId":1,"cadence":80,"resistance":78}"#
);
pub const HUBERTS: f64 = 164.45;

/// An answer that has the form.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    /// Its error message, empty on success.
    pub message: String,
}

/// Insists on Firehose's form, with that id.
fn checked(status: StatusCode, headers: &HeaderMap, body: &[u8], id: &str) -> Answer {
    let text = String::from_utf8_lossy(body);
    let allowed = [200, 400, 401, 404, 405, 415, 500, 503];
    assert!(allowed.contains(&status.as_u16()), "{status}: {text}");
    assert_eq!(
        headers[header::CONTENT_TYPE],
        "application/json",
        "{status}: {text}"
    );
    assert_eq!(
        headers[header::CONTENT_LENGTH],
        body.len().to_string().as_str(),
        "{status}: {text}"
    );
    assert!(
        !headers.contains_key(header::CONTENT_ENCODING),
        "{status}: {text}"
    );
    assert!(body.len() < 1 << 20, "an answer of {} bytes", body.len());
    let answer: Value =
        serde_json::from_slice(body).unwrap_or_else(|error| panic!("{error}: {text}"));
    let keys: BTreeSet<&str> = answer
        .as_object()
        .expect("an object")
        .keys()
        .map(String::as_str)
        .collect();
    let expected: &[&str] = if status == StatusCode::OK {
        &["requestId", "timestamp"]
    } else {
        &["errorMessage", "requestId", "timestamp"]
    };
    assert_eq!(keys, expected.iter().copied().collect(), "{text}");
    assert_eq!(answer["requestId"], id, "{text}");
    let now_ms = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_millis() as u64;
    assert!(
        answer["timestamp"].as_u64().unwrap().abs_diff(now_ms) < 60_000,
        "{text}"
    );
    let message = answer["errorMessage"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    assert_eq!(message.is_empty(), status == StatusCode::OK, "{text}");
    assert!(
        message.chars().count() <= 8192,
        "a message of {} characters",
        message.chars().count()
    );
    Answer { status, message }
}

/// Sends the request and insists on Firehose's form, with that id.
pub async fn answer_to(request: RequestBuilder, id: &str) -> Answer {
    let answer = request.send().await.expect("an answer");
    let (status, headers) = (answer.status(), answer.headers().clone());
    checked(status, &headers, &answer.bytes().await.expect("a body"), id)
}

/// A delivery's request, with the headers that Firehose sends and no body yet.
pub fn post(service: &Service, id: &str) -> RequestBuilder {
    let request = service
        .request(Method::POST, "/firehose")
        .header(header::CONTENT_TYPE, "application/json");
    request
        .header(REQUEST_ID, id)
        .header("X-Amz-Firehose-Protocol-Version", "1.0")
}

/// Delivers a body as Firehose does.
pub async fn deliver(service: &Service, body: impl Into<reqwest::Body>) -> Answer {
    answer_to(post(service, ID).body(body), ID).await
}

/// Delivers a body and insists that it is acknowledged.
pub async fn acknowledged(service: &Service, body: impl Into<reqwest::Body>) {
    let answer = deliver(service, body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.message);
}

/// Delivers a body and insists that it is refused as a bad request whose message has those words.
pub async fn refused(service: &Service, body: impl Into<reqwest::Body>, words: &[&str]) {
    is_refusal(
        &deliver(service, body).await,
        StatusCode::BAD_REQUEST,
        words,
    );
}

/// Insists on that status and those words.
pub fn is_refusal(answer: &Answer, status: StatusCode, words: &[&str]) {
    assert_eq!(answer.status, status, "{}", answer.message);
    for word in words {
        assert!(
            answer.message.contains(word),
            "{word:?} is not in {:?}",
            answer.message
        );
    }
}

/// A delivery's body of those records.
pub fn body_of<R: AsRef<[u8]>>(records: &[R]) -> String {
    let records: Vec<Value> = records
        .iter()
        .map(|data| json!({ "data": base64(data) }))
        .collect();
    json!({ "requestId": ID, "timestamp": 1_578_090_901_599_u64, "records": records }).to_string()
}

pub fn base64(data: impl AsRef<[u8]>) -> String {
    base64_simd::STANDARD.encode_to_string(data)
}

/// A record of the transformed kind, as text.
pub fn effort(second: u64, racer: u64, output: f64) -> String {
    crate::support::record(1, second, racer, output).to_string()
}

/// The racer's best in class 1 as its readers see it.
pub async fn best(service: &Service, second: u64, racer: u64) -> Option<f64> {
    let board = service
        .json(&format!(
            "/classes/1/leaderboard?second={second}&racers={racer}"
        ))
        .await;
    board["standings"][0]["output"].as_f64()
}

/// How many efforts all classes hold.
pub async fn efforts(service: &Service) -> u64 {
    let classes = service.json("/classes").await;
    classes
        .as_array()
        .unwrap()
        .iter()
        .map(|class| class["efforts"].as_u64().unwrap())
        .sum()
}

static METRICS: LazyLock<PrometheusHandle> = LazyLock::new(|| {
    PrometheusBuilder::new()
        .install_recorder()
        .expect("the only one of this process")
});

/// The counter as it stands, over all services of this process: it can only be held to have grown. Called before and
/// after.
pub fn counter(name: &str) -> u64 {
    let rendered = METRICS.render();
    let values = rendered.lines().filter_map(|line| {
        line.strip_prefix(name)?
            .strip_prefix(' ')?
            .parse::<u64>()
            .ok()
    });
    values.sum()
}

/// Speaks HTTP/1.1 by hand with a service at that origin: does what `write` does, then reads to the end, and insists on
/// Firehose's form.
pub async fn raw(
    origin: String,
    id: &'static str,
    write: impl FnOnce(&mut TcpStream) + Send + 'static,
) -> Answer {
    let address = origin.trim_start_matches("http://").to_owned();
    let talk = move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        write(&mut stream);
        let mut answer = Vec::new();
        stream
            .read_to_end(&mut answer)
            .expect("an answer that can be read");
        answer
    };
    let answer = tokio::task::spawn_blocking(talk).await.unwrap();
    let end = answer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .expect("an answer with a head");
    let head = std::str::from_utf8(&answer[..end]).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .unwrap()
        .split(' ')
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    let headers = lines.map(|line| line.split_once(": ").unwrap());
    let headers = headers
        .map(|(name, value)| {
            (
                name.parse::<HeaderName>().unwrap(),
                HeaderValue::from_str(value).unwrap(),
            )
        })
        .collect();
    checked(status, &headers, &answer[end + 4..], id)
}
