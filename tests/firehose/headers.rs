//! Valid and invalid headers, methods and paths of a delivery.

use std::io::Write;

use alleycat::ingest::envelope::REQUEST_ID_BYTES_MAX;
use reqwest::header::HeaderValue;
use reqwest::{Method, StatusCode, header};
use serde_json::json;

use super::form::*;
use crate::support::Service;
use crate::support::test_store::{TestStore, on_every_store};

on_every_store![
    differing_ids_are_refused_with_the_header_id,
    unusable_header_id_falls_back_to_the_body,
    any_id_is_returned_unchanged,
    protocol_version_is_1_0_or_missing,
    response_is_never_compressed,
    missing_or_wrong_key_applies_nothing,
    any_configured_key_is_accepted,
    long_and_malformed_attributes_are_accepted,
    other_methods_and_paths_answer_in_firehose_form,
    transfer_coding_other_than_chunked_is_refused,
];

const KEY: &str = "X-Amz-Firehose-Access-Key";
const VERSION: &str = "X-Amz-Firehose-Protocol-Version";
const ATTRIBUTES: &str = "X-Amz-Firehose-Common-Attributes";

// Row 12
async fn differing_ids_are_refused_with_the_header_id(test_store: TestStore) {
    let service = Service::start_on(&test_store, &[]).await;
    let response = response_to(
        post(&service, "another").body(body_of(&[HUBERT])),
        "another",
    )
    .await;
    assert_error(
        &response,
        StatusCode::BAD_REQUEST,
        &["requestId", REQUEST_ID],
    );
    assert_eq!(efforts(&service).await, 0);
    service.stop().await;
}

// Row 15
async fn unusable_header_id_falls_back_to_the_body(test_store: TestStore) {
    let service = Service::start_on(&test_store, &[]).await;
    let too_long = "x".repeat(REQUEST_ID_BYTES_MAX + 1);
    for odd in [&b"caf\xe9"[..], too_long.as_bytes()] {
        let odd = HeaderValue::from_bytes(odd).unwrap();
        let request = service
            .request(Method::POST, "/firehose")
            .header(REQUEST_ID, odd)
            .body(body_of(&[HUBERT]));
        assert_eq!(response_to(request, ID).await.status, StatusCode::OK);
        assert_eq!(best(&service, 1, 1).await, Some(HUBERT_OUTPUT));
    }
    let body = body_of(&[record(2, 1, 2.5)]);
    let response = raw(service.url(""), ID, move |stream| {
        stream
            .write_all(b"POST /firehose HTTP/1.1\r\nhost: x\r\nconnection: close\r\n")
            .unwrap();
        stream
            .write_all(b"x-amz-firehose-request-id: \xff\xfe \x80\r\n")
            .unwrap();
        write!(stream, "content-length: {}\r\n\r\n{body}", body.len()).unwrap();
    });
    assert_eq!(response.await.status, StatusCode::OK);
    assert_eq!(best(&service, 2, 1).await, Some(2.5));
    service.stop().await;
}

// Row 16
async fn any_id_is_returned_unchanged(test_store: TestStore) {
    let service = Service::start_on(&test_store, &[]).await;
    for id in [r#"a"b<c>&d'e\f"#, "{}", "0", &"x".repeat(4000)] {
        let body = |id: &str| {
            json!({ "requestId": id, "records": [{ "data": base64(HUBERT) }] }).to_string()
        };
        assert_eq!(
            response_to(post(&service, id).body(body(id)), id)
                .await
                .status,
            StatusCode::OK
        );
        let bare = service.request(Method::POST, "/firehose").body(body(id));
        assert_eq!(response_to(bare, id).await.status, StatusCode::OK);
        assert_error(
            &response_to(post(&service, id).body("{}"), id).await,
            StatusCode::BAD_REQUEST,
            &[],
        );
    }
    let id = "naïve 😀 \u{1}";
    let body = json!({ "requestId": id, "records": [] }).to_string();
    assert_eq!(
        response_to(service.request(Method::POST, "/firehose").body(body), id)
            .await
            .status,
        StatusCode::OK
    );
    service.stop().await;
}

// Row 18
async fn protocol_version_is_1_0_or_missing(test_store: TestStore) {
    let service = Service::start_on(&test_store, &[]).await;
    let bare = || {
        service
            .request(Method::POST, "/firehose")
            .header(REQUEST_ID, ID)
            .body(body_of(&[HUBERT]))
    };
    for version in ["2.0", "1", "1.0.0", ""] {
        assert_error(
            &response_to(bare().header(VERSION, version), ID).await,
            StatusCode::BAD_REQUEST,
            &[VERSION, "1.0"],
        );
    }
    assert_eq!(efforts(&service).await, 0);
    assert_eq!(response_to(bare(), ID).await.status, StatusCode::OK);
    service.stop().await;
}

// Row 19
async fn response_is_never_compressed(test_store: TestStore) {
    let service = Service::start_on(&test_store, &[]).await;
    for body in [body_of(&[HUBERT]), "no json".to_owned()] {
        let request = post(&service, ID)
            .header(header::ACCEPT_ENCODING, "gzip, deflate, br")
            .body(body);
        response_to(request, ID).await; // requires no Content-Encoding
    }
    service.stop().await;
}

// Row 20
async fn missing_or_wrong_key_applies_nothing(test_store: TestStore) {
    let service = Service::start_on(&test_store, &["--access-key", "correct horse"]).await;
    let words = [KEY];
    let post = || post(&service, ID).body(body_of(&[HUBERT, "bad"]));
    assert_error(
        &response_to(post(), ID).await,
        StatusCode::UNAUTHORIZED,
        &words,
    );
    for wrong in [
        "",
        "correct",
        "correct hors",
        "correct horse ?",
        "Correct horse",
        "correct horsf",
    ] {
        let response = response_to(post().header(KEY, wrong), ID).await;
        assert_error(&response, StatusCode::UNAUTHORIZED, &words);
        assert!(!response.message.contains("horse"), "{}", response.message);
    }
    let twice = post().header(KEY, "wrong").header(KEY, "correct horse");
    assert_error(
        &response_to(twice, ID).await,
        StatusCode::UNAUTHORIZED,
        &words,
    );
    assert_eq!(efforts(&service).await, 0);
    assert_eq!(test_store.quarantine().await.len(), 0);
    let response = response_to(post().header(KEY, "correct horse"), ID).await;
    assert_eq!(response.status, StatusCode::OK);
    assert_eq!(best(&service, 1, 1).await, Some(HUBERT_OUTPUT));
    service.stop().await;
}

// Row 21
async fn any_configured_key_is_accepted(test_store: TestStore) {
    let long = "k".repeat(4096);
    let service =
        Service::start_on(&test_store, &["--access-key", "old", "--access-key", &long]).await;
    for key in ["old", long.as_str()] {
        let response = response_to(
            post(&service, ID).header(KEY, key).body(body_of(&[HUBERT])),
            ID,
        )
        .await;
        assert_eq!(response.status, StatusCode::OK, "{}", response.message);
    }
    let response = response_to(
        post(&service, ID)
            .header(KEY, &long[1..])
            .body(body_of(&[HUBERT])),
        ID,
    )
    .await;
    assert_error(&response, StatusCode::UNAUTHORIZED, &[KEY]);
    service.stop().await;
}

// Row 22
async fn long_and_malformed_attributes_are_accepted(test_store: TestStore) {
    let service = Service::start_on(&test_store, &[]).await;
    let attributes: serde_json::Map<_, _> = (0..50)
        .map(|n| (format!("attribute-{n:0>246}"), json!("v".repeat(1024))))
        .collect();
    let attributes = json!({ "commonAttributes": attributes }).to_string();
    assert!(attributes.len() > 64_000);
    let request = || post(&service, ID).body(body_of(&[HUBERT]));
    assert_eq!(
        response_to(request().header(ATTRIBUTES, &attributes), ID)
            .await
            .status,
        StatusCode::OK
    );
    for malformed in ["no json", "{}", r#"{"commonAttributes":5}"#] {
        assert_eq!(
            response_to(request().header(ATTRIBUTES, malformed), ID)
                .await
                .status,
            StatusCode::OK
        );
    }
    service.stop().await;
}

// Row 36
async fn other_methods_and_paths_answer_in_firehose_form(test_store: TestStore) {
    let service = Service::start_on(&test_store, &[]).await;
    for method in [
        Method::GET,
        Method::PUT,
        Method::DELETE,
        Method::PATCH,
        Method::OPTIONS,
    ] {
        let response = response_to(
            service.request(method, "/firehose").header(REQUEST_ID, ID),
            ID,
        )
        .await;
        assert_error(&response, StatusCode::METHOD_NOT_ALLOWED, &["POST"]);
    }
    response_to(service.request(Method::GET, "/firehose"), "").await;
    for path in [
        "/firehose/",
        "/firehose/x",
        "/firehose/x/y?z=%20",
        "/firehose/%FF",
    ] {
        for method in [Method::GET, Method::POST] {
            let request = service
                .request(method, path)
                .header(REQUEST_ID, ID)
                .body(body_of(&[HUBERT]));
            assert_error(
                &response_to(request, ID).await,
                StatusCode::NOT_FOUND,
                &["/firehose"],
            );
        }
    }
    assert_eq!(efforts(&service).await, 0);
    service.stop().await;
}

async fn transfer_coding_other_than_chunked_is_refused(test_store: TestStore) {
    let service = Service::start_on(&test_store, &[]).await;
    for (coding, status) in [
        ("gzip, chunked", StatusCode::BAD_REQUEST),
        (
            "identity\r\ntransfer-encoding: chunked",
            StatusCode::BAD_REQUEST,
        ),
        ("Chunked", StatusCode::OK),
    ] {
        let response = raw(service.url(""), ID, move |stream| {
            let body = body_of(&[HUBERT]);
            write!(
                stream,
                "POST /firehose HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
                 x-amz-firehose-request-id: {ID}\r\ntransfer-encoding: {coding}\r\n\r\n\
                 {:x}\r\n{body}\r\n0\r\n\r\n",
                body.len()
            )
            .unwrap();
        })
        .await;
        assert_eq!(response.status, status, "{coding}");
        let taken = efforts(&service).await;
        assert_eq!(taken, u64::from(status == StatusCode::OK), "{coding}");
    }
    service.stop().await;
}
