//! Bodies up to `--max-body-size`, and larger.

use std::io::Write;
use std::net::{Shutdown, TcpStream};

use reqwest::{StatusCode, header};

use super::form::*;
use crate::support::Service;
use crate::support::test_store::{TestStore, on_every_store};

on_every_store![
    largest_firehose_buffer_is_accepted,
    oversized_body_is_refused_with_advice,
    oversized_chunked_body_is_refused,
    early_refusal_is_readable_after_the_whole_body,
    refusal_of_other_requests_is_readable_after_the_whole_body,
    truncated_body_applies_nothing,
];

const MIB: usize = 1 << 20;

/// Returns a record of `bytes` bytes, of lines that improve nothing after the first line of each
/// second.
fn large_record(racer: u64, bytes: usize) -> String {
    let mut lines = String::with_capacity(bytes);
    for second in (0..600).cycle() {
        let line = record(second, racer, 100.0 + second as f64 / 7.0);
        if lines.len() + line.len() + 1 > bytes {
            break;
        }
        lines.push_str(&line);
        lines.push('\n');
    }
    lines.push_str(&" ".repeat(bytes - lines.len()));
    lines
}

// Row 9
async fn largest_firehose_buffer_is_accepted(test_store: TestStore) {
    let service = Service::start_on(&test_store, &[]).await;
    acknowledged(&service, body_of(&[large_record(1, 3 * MIB)])).await;
    assert_eq!(efforts(&service).await, 600);
    // 64 MiB of record data, in records of nearly 1 MiB, the maximum of a producer's put.
    let records: Vec<String> = (1..=66)
        .map(|racer| large_record(racer, (64 * MIB).div_ceil(66)))
        .collect();
    let body = body_of(&records);
    assert!(body.len() > 85 * MIB);
    acknowledged(&service, body).await;
    assert_eq!(efforts(&service).await, 66 * 600);
    assert_eq!(best(&service, 599, 66).await, Some(100.0 + 599.0 / 7.0));
    service.stop().await;
}

const SIZE_WORDS: [&str; 3] = ["1048576", "--max-body-size", "BufferingHints.SizeInMBs"];

// Row 10
async fn oversized_body_is_refused_with_advice(test_store: TestStore) {
    let service = Service::start_on(&test_store, &["--max-body-size", "1MiB"]).await;
    let padded = |bytes: usize| {
        let body = body_of(&[record(1, 1, 1.0)]);
        format!("{body}{}", " ".repeat(bytes - body.len()))
    };
    acknowledged(&service, padded(MIB)).await;
    assert_bad_request(&service, padded(MIB + 1), &SIZE_WORDS).await;
    let bomb = gzip(vec![b' '; 50 * MIB]);
    let request = post(&service, ID)
        .header(header::CONTENT_ENCODING, "gzip")
        .body(bomb);
    assert_error(
        &response_to(request, ID).await,
        StatusCode::BAD_REQUEST,
        &SIZE_WORDS,
    );
    service.stop().await;
}

fn write_head(stream: &mut TcpStream, lines: &str) {
    write_head_of("POST /firehose", stream, lines);
}

fn write_head_of(request: &str, stream: &mut TcpStream, lines: &str) {
    let head = "HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json";
    write!(
        stream,
        "{request} {head}\r\nx-amz-firehose-request-id: {ID}\r\n{lines}\r\n\r\n"
    )
    .unwrap();
}

// Row 10
async fn oversized_chunked_body_is_refused(test_store: TestStore) {
    let service = Service::start_on(&test_store, &["--max-body-size", "1MiB"]).await;
    let response = raw(service.url(""), ID, |stream| {
        write_head(stream, "transfer-encoding: chunked");
        for _ in 0..48 {
            write!(stream, "{:x}\r\n", 64 << 10).unwrap();
            stream.write_all(&[b' '; 64 << 10]).unwrap();
            stream.write_all(b"\r\n").unwrap();
        }
        stream.write_all(b"0\r\n\r\n").unwrap();
    });
    assert_error(&response.await, StatusCode::BAD_REQUEST, &SIZE_WORDS);
    service.stop().await;
}

/// A sender that writes its whole body before it reads must find the response, not a connection
/// reset. It would treat a reset as an outage, and retry the same body forever.
async fn early_refusal_is_readable_after_the_whole_body(test_store: TestStore) {
    let service = Service::start_on(
        &test_store,
        &["--max-body-size", "1MiB", "--access-key", "k"],
    )
    .await;
    for (key, status, words) in [
        ("k", StatusCode::BAD_REQUEST, &SIZE_WORDS[..]),
        ("wrong", StatusCode::UNAUTHORIZED, &[]),
    ] {
        let response = raw(service.url(""), ID, move |stream| {
            let bytes = 87 * MIB;
            write_head(
                stream,
                &format!("x-amz-firehose-access-key: {key}\r\ncontent-length: {bytes}"),
            );
            for _ in 0..87 {
                stream
                    .write_all(&[b' '; MIB])
                    .expect("the service reads the body");
            }
        });
        assert_error(&response.await, status, words);
    }
    service.stop().await;
}

async fn refusal_of_other_requests_is_readable_after_the_whole_body(test_store: TestStore) {
    let service = Service::start_on(&test_store, &[]).await;
    for (request, status) in [
        ("POST /firehose/", StatusCode::NOT_FOUND),
        ("PUT /firehose", StatusCode::METHOD_NOT_ALLOWED),
    ] {
        let response = raw(service.url(""), ID, move |stream| {
            let length = format!("content-length: {}", 20 * MIB);
            write_head_of(request, stream, &length);
            for _ in 0..20 {
                stream
                    .write_all(&[b' '; MIB])
                    .expect("the service reads the body");
            }
        });
        assert_error(&response.await, status, &[]);
    }
    service.stop().await;
}

async fn truncated_body_applies_nothing(test_store: TestStore) {
    let service = Service::start_on(&test_store, &[]).await;
    let response = raw(service.url(""), ID, |stream| {
        let body = body_of(&[HUBERT]);
        write_head(stream, &format!("content-length: {}", body.len() + 1));
        stream.write_all(body.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
    });
    assert_error(
        &response.await,
        StatusCode::BAD_REQUEST,
        &["incomplete request body"],
    );
    assert_eq!(efforts(&service).await, 0);
    service.stop().await;
}
