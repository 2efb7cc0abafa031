//! Builders of deliveries, and checks of Firehose's response form.

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

/// A record of racer 1 at second 1 of class 1, and its output.
pub const HUBERT: &str = concat!(
    r#"{"uuid":"b340d30f","event":"update","deviceTimestamp":1619185789755,"second":1,"raceId":1619185620265,"#,
    r#""name":"Hubert","racerId":1,"classId":1,"cadence":80,"resistance":78}"#
);
pub const HUBERT_OUTPUT: f64 = 164.45;

/// A response in Firehose's form.
#[derive(Debug)]
pub struct FirehoseResponse {
    pub status: StatusCode,
    /// The error message, empty on success.
    pub message: String,
}

/// Requires Firehose's form and the request id.
fn checked(status: StatusCode, headers: &HeaderMap, body: &[u8], id: &str) -> FirehoseResponse {
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
    assert!(body.len() < 1 << 20, "a response of {} bytes", body.len());
    let response: Value =
        serde_json::from_slice(body).unwrap_or_else(|error| panic!("{error}: {text}"));
    let keys: BTreeSet<&str> = response
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
    assert_eq!(response["requestId"], id, "{text}");
    let now_ms = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_millis() as u64;
    assert!(
        response["timestamp"].as_u64().unwrap().abs_diff(now_ms) < 60_000,
        "{text}"
    );
    let message = response["errorMessage"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    assert_eq!(message.is_empty(), status == StatusCode::OK, "{text}");
    assert!(
        message.chars().count() <= 8192,
        "a message of {} characters",
        message.chars().count()
    );
    FirehoseResponse { status, message }
}

/// Sends the request, and requires Firehose's form and the request id.
pub async fn response_to(request: RequestBuilder, id: &str) -> FirehoseResponse {
    let response = request.send().await.expect("a response");
    let (status, headers) = (response.status(), response.headers().clone());
    checked(
        status,
        &headers,
        &response.bytes().await.expect("a body"),
        id,
    )
}

/// Builds a delivery's request with Firehose's headers and without a body.
pub fn post(service: &Service, id: &str) -> RequestBuilder {
    let request = service
        .request(Method::POST, "/firehose")
        .header(header::CONTENT_TYPE, "application/json");
    request
        .header(REQUEST_ID, id)
        .header("X-Amz-Firehose-Protocol-Version", "1.0")
}

/// Delivers a body as Firehose does.
pub async fn deliver(service: &Service, body: impl Into<reqwest::Body>) -> FirehoseResponse {
    response_to(post(service, ID).body(body), ID).await
}

/// Delivers a body and requires 200.
pub async fn acknowledged(service: &Service, body: impl Into<reqwest::Body>) {
    let response = deliver(service, body).await;
    assert_eq!(response.status, StatusCode::OK, "{}", response.message);
}

/// Delivers a body and requires 400 with a message that contains all `words`.
pub async fn assert_bad_request(service: &Service, body: impl Into<reqwest::Body>, words: &[&str]) {
    assert_error(
        &deliver(service, body).await,
        StatusCode::BAD_REQUEST,
        words,
    );
}

/// Requires the status and a message that contains all `words`.
pub fn assert_error(response: &FirehoseResponse, status: StatusCode, words: &[&str]) {
    assert_eq!(response.status, status, "{}", response.message);
    for word in words {
        assert!(
            response.message.contains(word),
            "{word:?} is not in {:?}",
            response.message
        );
    }
}

/// Returns the body of a delivery of these records.
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

/// Returns a record of class 1 that carries its output, as text.
pub fn record(second: u64, racer: u64, output: f64) -> String {
    crate::support::record(1, second, racer, output).to_string()
}

/// Returns the racer's best in class 1 as readers see it.
pub async fn best(service: &Service, second: u64, racer: u64) -> Option<f64> {
    let board = service
        .json(&format!(
            "/classes/1/leaderboard?second={second}&racers={racer}"
        ))
        .await;
    board["standings"][0]["output"].as_f64()
}

/// Counts the efforts of all classes.
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
        .expect("the first recorder of this process")
});

/// Returns the counter's value over all services of this process. Tests run in parallel, so compare
/// a value from before for growth only.
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

/// Sends an HTTP/1.1 request by hand to the origin: calls `write`, then reads to the end, and
/// requires Firehose's form.
pub async fn raw(
    origin: String,
    id: &'static str,
    write: impl FnOnce(&mut TcpStream) + Send + 'static,
) -> FirehoseResponse {
    let address = origin.trim_start_matches("http://").to_owned();
    let exchange = move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        write(&mut stream);
        let mut response = Vec::new();
        stream
            .read_to_end(&mut response)
            .expect("a readable response");
        response
    };
    let response = tokio::task::spawn_blocking(exchange).await.unwrap();
    let end = response
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .expect("a response with a head");
    let head = std::str::from_utf8(&response[..end]).unwrap();
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
    checked(status, &headers, &response[end + 4..], id)
}
