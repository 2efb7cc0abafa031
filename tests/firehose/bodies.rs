//! Valid and invalid bodies of a delivery.

use reqwest::{Method, StatusCode, header};

use super::form::*;
use crate::support::Service;
use crate::support::test_store::{TestStore, on_every_store};

on_every_store![
    gzip_bodies_of_one_or_more_members_are_accepted,
    identity_encoding_is_accepted,
    unsupported_encoding_is_named,
    invalid_gzip_body_applies_nothing,
    invalid_body_is_refused_with_the_header_id,
    error_message_stays_within_the_limit,
    body_id_is_the_fallback,
    timestamp_is_optional_and_unknown_fields_are_ignored,
    envelope_accepts_every_json_form,
];

/// Builds a delivery's request with this `Content-Encoding`.
fn encoded(service: &Service, encoding: &str) -> reqwest::RequestBuilder {
    post(service, ID).header(header::CONTENT_ENCODING, encoding)
}

// Row 5
async fn gzip_bodies_of_one_or_more_members_are_accepted(test_store: TestStore) {
    let service = Service::start_on(&test_store, &[]).await;
    let body = body_of(&[HUBERT]);
    let response = response_to(encoded(&service, "gzip").body(gzip(&body)), ID).await;
    assert_eq!(response.status, StatusCode::OK);
    assert_eq!(best(&service, 1, 1).await, Some(HUBERT_OUTPUT));
    let body = body_of(&[record(2, 1, 5.5)]);
    let members: Vec<u8> = body.as_bytes().chunks(40).flat_map(gzip).collect();
    let response = response_to(encoded(&service, "gzip").body(members), ID).await;
    assert_eq!(response.status, StatusCode::OK);
    assert_eq!(best(&service, 2, 1).await, Some(5.5));
    service.stop().await;
}

// Row 6
async fn identity_encoding_is_accepted(test_store: TestStore) {
    let service = Service::start_on(&test_store, &[]).await;
    let response = response_to(encoded(&service, "identity").body(body_of(&[HUBERT])), ID).await;
    assert_eq!(response.status, StatusCode::OK);
    assert_eq!(best(&service, 1, 1).await, Some(HUBERT_OUTPUT));
    service.stop().await;
}

// Row 7
async fn unsupported_encoding_is_named(test_store: TestStore) {
    let service = Service::start_on(&test_store, &[]).await;
    let response = response_to(encoded(&service, "br").body(body_of(&[HUBERT])), ID).await;
    assert_error(
        &response,
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        &["br", "gzip"],
    );
    assert_eq!(efforts(&service).await, 0);
    service.stop().await;
}

// Row 8
async fn invalid_gzip_body_applies_nothing(test_store: TestStore) {
    let service = Service::start_on(&test_store, &[]).await;
    let plain = body_of(&[HUBERT]);
    let whole = gzip(&plain);
    for broken in [
        plain.into_bytes(),
        whole[..whole.len() - 3].to_vec(),
        whole[..40].to_vec(),
        Vec::new(),
    ] {
        let response = response_to(encoded(&service, "gzip").body(broken), ID).await;
        assert_eq!(
            response.status,
            StatusCode::BAD_REQUEST,
            "{}",
            response.message
        );
    }
    assert_eq!(efforts(&service).await, 0);
    assert_eq!(test_store.segments().await, 0);
    service.stop().await;
}

// Row 11
async fn invalid_body_is_refused_with_the_header_id(test_store: TestStore) {
    let service = Service::start_on(&test_store, &[]).await;
    assert_bad_request(&service, "no json", &["not a delivery"]).await;
    assert_bad_request(&service, "", &["not a delivery"]).await;
    assert_bad_request(&service, "[]", &["not a delivery"]).await;
    assert_bad_request(
        &service,
        &b"{\"records\":[{\"data\":\"\xff\"}]}"[..],
        &["not a delivery"],
    )
    .await;
    assert_bad_request(
        &service,
        format!("{{\"requestId\":\"{ID}\"}}"),
        &["records"],
    )
    .await;
    assert_bad_request(
        &service,
        format!("{{\"requestId\":\"{ID}\",\"records\":{{}}}}"),
        &["array"],
    )
    .await;
    assert_bad_request(&service, r#"{"records":[{}]}"#, &["data"]).await;
    assert_bad_request(&service, r#"{"records":[{"data":5}]}"#, &["not a delivery"]).await;
    let half = format!(r#"{{"records":[{{"data":"{}"}},{{}}]}}"#, base64(HUBERT));
    assert_bad_request(&service, half, &["data"]).await;
    assert_eq!(
        efforts(&service).await,
        0,
        "a part of a delivery was applied"
    );
    service.stop().await;
}

/// An error message may repeat a part of the input. Firehose limits it to 8192 characters.
async fn error_message_stays_within_the_limit(test_store: TestStore) {
    let service = Service::start_on(&test_store, &[]).await;
    let long = "é".repeat(20_000);
    assert_bad_request(&service, format!("{{\"records\":\"{long}\"}}"), &[]).await;
    let encoding = header::HeaderValue::from_bytes(&[0xe9; 20_000]).unwrap();
    let response = response_to(
        post(&service, ID)
            .header(header::CONTENT_ENCODING, encoding)
            .body("{}"),
        ID,
    )
    .await;
    assert_error(&response, StatusCode::UNSUPPORTED_MEDIA_TYPE, &["gzip"]);
    service.stop().await;
}

// Row 13, 14
async fn body_id_is_the_fallback(test_store: TestStore) {
    let service = Service::start_on(&test_store, &[]).await;
    let bare = || service.request(Method::POST, "/firehose");
    let response = response_to(bare().body(body_of(&[HUBERT])), ID).await;
    assert_eq!(response.status, StatusCode::OK);
    assert_eq!(best(&service, 1, 1).await, Some(HUBERT_OUTPUT));
    let broken = format!(r#"{{"requestId":"{ID}","records":5}}"#);
    assert_error(
        &response_to(bare().body(broken), ID).await,
        StatusCode::BAD_REQUEST,
        &["records"],
    );
    let response = response_to(bare().header(REQUEST_ID, "").body(body_of(&[HUBERT])), ID).await;
    assert_eq!(response.status, StatusCode::OK);

    let nameless = format!(
        r#"{{"records":[{{"data":"{}"}}]}}"#,
        base64(record(2, 1, 1.0))
    );
    assert_error(
        &response_to(bare().body(nameless), "").await,
        StatusCode::BAD_REQUEST,
        &["requestId"],
    );
    assert_error(
        &response_to(bare().body("no json"), "").await,
        StatusCode::BAD_REQUEST,
        &[],
    );
    assert_eq!(best(&service, 2, 1).await, None);
    service.stop().await;
}

// Row 17
async fn timestamp_is_optional_and_unknown_fields_are_ignored(test_store: TestStore) {
    let service = Service::start_on(&test_store, &[]).await;
    let data = base64(HUBERT);
    let body = format!(
        r#"{{"requestId":"{ID}","x":[{{}}],"records":[{{"y":null,"data":"{data}","z":1}}],"w":"ü"}}"#
    );
    acknowledged(&service, body).await;
    assert_eq!(best(&service, 1, 1).await, Some(HUBERT_OUTPUT));
    service.stop().await;
}

// Row 38
async fn envelope_accepts_every_json_form(test_store: TestStore) {
    let service = Service::start_on(&test_store, &[]).await;
    // Its base64 has a plus sign and a slash, which JSON may escape.
    let record = record(1, 1, 7.5).replace('}', r#","name":"~~~???>>>"}"#);
    let data = base64(&record);
    assert!(data.contains('/'), "{data}");
    assert!(data.contains('+'), "{data}");
    let data = data.replace('/', "\\/").replace('+', "\\u002b");
    let body = format!(
        "\r\n{{ \"timestamp\" : 1 ,\t\"records\" : [ {{ \"data\" : \"{data}\" }} ] ,\n \"requestId\":\"{ID}\" }} "
    );
    acknowledged(&service, body).await;
    assert_eq!(best(&service, 1, 1).await, Some(7.5));
    service.stop().await;
}
