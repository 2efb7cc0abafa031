use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderName};

use super::*;

#[test]
fn pauses_double_up_to_their_maximum_and_jitter_halves_them_at_most() {
    let full: Vec<u64> = (1..=9)
        .map(|failures| Backoff::FIREHOSE.pause(failures, 1.0).as_secs())
        .collect();
    assert_eq!(full, [1, 2, 4, 8, 16, 32, 64, 120, 120]);
    assert_eq!(Backoff::FIREHOSE.pause(3, 0.0), Duration::from_secs(2));
    assert_eq!(
        Backoff::FIREHOSE.pause(u32::MAX, 1.0),
        Backoff::FIREHOSE.max
    );
}

#[test]
fn buffer_over_its_bytes_returns_the_earlier_records() {
    let now = Instant::now();
    let mut buffer = DeliveryBuffer::new(10, Duration::from_secs(1));
    assert_eq!(buffer.push(Bytes::from_static(b"12345"), now), None);
    assert_eq!(buffer.push(Bytes::from_static(b"67890"), now), None);
    let full = buffer
        .push(Bytes::from_static(b"x"), now)
        .expect("the third does not fit");
    assert_eq!(full, ["12345", "67890"]);
    assert_eq!(
        buffer
            .push(Bytes::from_static(b"longer than the bound"), now)
            .expect("it does not fit beside the other"),
        ["x"]
    );
    assert_eq!(
        buffer.take().expect("it is alone"),
        ["longer than the bound"]
    );
    assert_eq!(buffer.take(), None);
}

#[test]
fn buffer_over_its_record_limit_returns_the_earlier_records() {
    let now = Instant::now();
    let mut buffer = DeliveryBuffer::new(usize::MAX, Duration::from_secs(1));
    for _ in 0..RECORDS_MAX {
        assert_eq!(buffer.push(Bytes::new(), now), None);
    }
    assert_eq!(
        buffer.push(Bytes::new(), now).map(|records| records.len()),
        Some(RECORDS_MAX)
    );
}

#[test]
fn buffer_is_due_an_interval_after_its_oldest_record() {
    let now = Instant::now();
    let interval = Duration::from_secs(60);
    let mut buffer = DeliveryBuffer::new(100, interval);
    assert_eq!(buffer.due(), None);
    buffer.push(Bytes::from_static(b"1"), now);
    buffer.push(Bytes::from_static(b"2"), now + Duration::from_secs(30));
    assert_eq!(buffer.due(), Some(now + interval));
    buffer.take();
    assert_eq!(buffer.due(), None);
}

#[test]
fn response_of_another_form_is_refused() {
    let long = format!(
        r#"{{"requestId":"a","timestamp":1}}{}"#,
        " ".repeat(RESPONSE_BYTES_MAX)
    );
    assert_eq!(
        check_response(br#"{"requestId":"a","timestamp":1578090903599}"#, "a"),
        Ok(())
    );
    for wrong in [
        "",
        "ok",
        "{}",
        r#"{"requestId":"a"}"#,
        r#"{"requestId":"b","timestamp":1}"#,
        r#"{"requestId":"a","timestamp":"1"}"#,
        r#"{"requestId":"a","timestamp":1,"more":true}"#,
        &long,
    ] {
        assert!(
            check_response(wrong.as_bytes(), "a").is_err(),
            "{wrong:.100}"
        );
    }
}

#[test]
fn record_counts_are_read_from_headers() {
    let headers = |rejected: &'static str| {
        let headers = [
            ("alleycat-improvements", "3"),
            ("alleycat-rejected", rejected),
        ];
        headers
            .into_iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    };
    let counts =
        record_counts(&headers("json=1,class_full=2,odd,No=1,x=y")).expect("there are counts");
    let rejected = [("class_full".to_owned(), 2), ("json".to_owned(), 1)].into();
    assert_eq!(
        counts,
        RecordCounts {
            improvements: 3,
            rejected
        }
    );
    assert_eq!(
        record_counts(&headers(""))
            .expect("there are counts")
            .rejected
            .len(),
        0
    );
    assert_eq!(record_counts(&HeaderMap::new()), None);
}

#[test]
fn only_loopback_is_reached_without_a_proxy() {
    let is_here = |url: &str| is_loopback(&Url::parse(url).expect("a URL"));
    assert!(
        is_here("http://127.0.0.1:8080/firehose")
            && is_here("http://[::1]:1/")
            && is_here("http://localhost/")
            && is_here("http://0.0.0.0:8080/firehose")
            && is_here("http://[::]/")
    );
    assert!(!is_here("https://127.0.0.1.example.com/") && !is_here("http://10.0.0.1/"));
}
