//! Histories: content, parts, conditional requests, and ranges.

use reqwest::{Method, StatusCode, header};

use crate::model::{dataset, ride_at_random};
use crate::support::test_store::TestStore;
use crate::support::{Service, gunzip_single_member, record, until};
use crate::{assert_problem, header_of, send, service_with_ties};

#[tokio::test(flavor = "multi_thread")]
async fn history_matches_deliveries_bit_for_bit() {
    let service = Service::start(&[]).await;
    assert_eq!(
        service
            .get("/classes/1/history")
            .await
            .text()
            .await
            .unwrap(),
        "{}"
    );
    assert_eq!(
        gunzip_single_member(service.get("/class-1.gz").await.bytes().await.unwrap()),
        "{}"
    );
    let model = ride_at_random(&service, 2).await;
    for class in [1, 2] {
        let path = format!("/classes/{class}/history");
        let expected = dataset(&model, class, |_, racers| racers.to_vec());
        until("the history is complete", async || {
            service.get(&path).await.text().await.unwrap() == expected
        })
        .await;

        let plain = service.get(&path).await;
        assert_eq!(
            header_of(&plain, header::CONTENT_LENGTH),
            expected.len().to_string()
        );
        assert_eq!(header_of(&plain, header::CONTENT_TYPE), "application/json");
        assert_eq!(header_of(&plain, header::CONTENT_ENCODING), "");
        assert_eq!(header_of(&plain, header::VARY), "accept-encoding");
        let gzip = send(
            &service,
            Method::GET,
            &path,
            &[(header::ACCEPT_ENCODING, "br, gzip")],
        )
        .await;
        assert_eq!(header_of(&gzip, header::CONTENT_ENCODING), "gzip");
        assert_eq!(header_of(&gzip, header::VARY), "accept-encoding");
        assert_ne!(
            header_of(&gzip, header::ETAG),
            header_of(&plain, header::ETAG)
        );
        let length = header_of(&gzip, header::CONTENT_LENGTH).to_owned();
        let gzip = gzip.bytes().await.unwrap();
        assert_eq!(length, gzip.len().to_string());
        assert_eq!(gunzip_single_member(&gzip), expected);

        let file = service.get(&format!("/class-{class}.gz")).await;
        assert_eq!(header_of(&file, header::CONTENT_TYPE), "application/gzip");
        assert_eq!(header_of(&file, header::CONTENT_ENCODING), "");
        assert_eq!(header_of(&file, header::ACCEPT_RANGES), "bytes");
        assert_eq!(file.bytes().await.unwrap(), gzip);
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn history_part_equals_part_of_the_whole() {
    let service = Service::start(&[]).await;
    let model = ride_at_random(&service, 3).await;
    let best = |racers: &[(u64, f64)], top: usize| {
        let mut best = racers.to_vec();
        best.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        best.truncate(top);
        best.sort_by_key(|row| row.0);
        best
    };
    let among = |racers: &[(u64, f64)], ids: &[u64]| {
        racers
            .iter()
            .copied()
            .filter(|row| ids.contains(&row.0))
            .collect::<Vec<_>>()
    };
    let all = |racers: &[(u64, f64)]| racers.to_vec();
    let within = |second: u64, from: u64, to: u64, chosen: Vec<(u64, f64)>| {
        if (from..=to).contains(&second) {
            chosen
        } else {
            Vec::new()
        }
    };
    for (query, expected) in [
        ("top=3", dataset(&model, 1, |_, racers| best(racers, 3))),
        (
            "racers=5,9,5,12345",
            dataset(&model, 1, |_, racers| among(racers, &[5, 9])),
        ),
        (
            "racers=3,5,9&top=1",
            dataset(&model, 1, |_, racers| best(&among(racers, &[3, 5, 9]), 1)),
        ),
        (
            "from=2&to=4",
            dataset(&model, 1, |second, racers| {
                within(second, 2, 4, all(racers))
            }),
        ),
        (
            "to=0",
            dataset(&model, 1, |second, racers| {
                within(second, 0, 0, all(racers))
            }),
        ),
        (
            "from=5&top=2",
            dataset(&model, 1, |second, racers| {
                within(second, 5, 600, best(racers, 2))
            }),
        ),
        ("racers=12345", "{}".into()),
    ] {
        let path = format!("/classes/1/history?{query}");
        let plain = service.get(&path).await;
        let (etag, length) = (
            header_of(&plain, header::ETAG).to_owned(),
            header_of(&plain, header::CONTENT_LENGTH).to_owned(),
        );
        assert!(etag.starts_with('"'), "{query}");
        assert_eq!(length, expected.len().to_string(), "{query}");
        assert_eq!(plain.text().await.unwrap(), expected, "{query}");
        let gzip = send(
            &service,
            Method::GET,
            &path,
            &[(header::ACCEPT_ENCODING, "gzip")],
        )
        .await;
        assert_eq!(
            header_of(&gzip, header::CONTENT_ENCODING),
            "gzip",
            "{query}"
        );
        assert_ne!(header_of(&gzip, header::ETAG), etag, "{query}");
        assert_eq!(
            gunzip_single_member(gzip.bytes().await.unwrap()),
            expected,
            "{query}"
        );
        let unchanged = send(
            &service,
            Method::GET,
            &path,
            &[(header::IF_NONE_MATCH, &etag)],
        )
        .await;
        assert_eq!(unchanged.status(), StatusCode::NOT_MODIFIED, "{query}");
    }
    for (query, words) in [
        ("top=0", ["top", "\"0\"", "from 1"]),
        ("racers=", ["racers", "\"\"", "1000"]),
        ("from=601", ["from", "\"601\"", "0 to 600"]),
        ("from=5&to=4", ["from is 5", "to is 4", "after"]),
        ("form=5", ["\"form\"", "from", "to"]),
        ("pretty", ["\"pretty\" is \"\"", "top", "racers"]),
    ] {
        assert_problem(
            &service,
            &format!("/classes/1/history?{query}"),
            StatusCode::BAD_REQUEST,
            &words,
        )
        .await;
    }
    assert_problem(
        &service,
        "/classes/7/history",
        StatusCode::NOT_FOUND,
        &["no class 7"],
    )
    .await;
    assert_problem(
        &service,
        "/class-7.gz",
        StatusCode::NOT_FOUND,
        &["/class-7.gz"],
    )
    .await;
    service.stop().await;
}

/// Starts a service with ties, and waits until the history of class 1 has all of them.
async fn service_with_history() -> Service {
    let service = service_with_ties().await;
    until("the history is complete", async || {
        service
            .get("/classes/1/history")
            .await
            .text()
            .await
            .unwrap()
            .contains("99.5")
    })
    .await;
    service
}

#[tokio::test(flavor = "multi_thread")]
async fn unchanged_history_answers_304() {
    let service = service_with_history().await;
    for (path, encoding) in [
        ("/classes/1/history", "identity"),
        ("/classes/1/history", "gzip"),
        ("/class-1.gz", ""),
    ] {
        let request = async |method: Method, name: header::HeaderName, value: &str| {
            send(
                &service,
                method,
                path,
                &[(header::ACCEPT_ENCODING, encoding), (name, value)],
            )
            .await
        };
        let whole = request(Method::GET, header::ACCEPT, "*/*").await;
        let etag = header_of(&whole, header::ETAG);
        let weak = format!("W/{etag}");
        for tags in [etag, &weak, "*", &format!("\"a\", {weak} ,\"b\"")] {
            let unchanged = request(Method::GET, header::IF_NONE_MATCH, tags).await;
            assert_eq!(
                unchanged.status(),
                StatusCode::NOT_MODIFIED,
                "{path}: {tags}"
            );
            for name in [header::ETAG, header::CACHE_CONTROL, header::VARY] {
                assert_eq!(
                    header_of(&unchanged, name.clone()),
                    header_of(&whole, name),
                    "{path}"
                );
            }
            assert_eq!(header_of(&unchanged, header::CONTENT_TYPE), "");
            let length = header_of(&unchanged, header::CONTENT_LENGTH);
            assert!(
                length.is_empty() || length == header_of(&whole, header::CONTENT_LENGTH),
                "{path}: {length}"
            );
            let head = request(Method::HEAD, header::IF_NONE_MATCH, tags).await;
            assert_eq!(head.status(), StatusCode::NOT_MODIFIED, "{path}: {tags}");
            assert_eq!(header_of(&head, header::ETAG), etag, "{path}: {tags}");
            let length = header_of(&head, header::CONTENT_LENGTH);
            assert!(
                length.is_empty() || length == header_of(&whole, header::CONTENT_LENGTH),
                "{path}: {length}"
            );
        }
        let unknown = request(Method::GET, header::IF_NONE_MATCH, "\"a\", \"b\"").await;
        assert_eq!(unknown.status(), StatusCode::OK);
        for (tags, status) in [(etag, 200), ("*", 200), (&weak, 412), ("\"a\"", 412)] {
            assert_eq!(
                request(Method::GET, header::IF_MATCH, tags)
                    .await
                    .status()
                    .as_u16(),
                status,
                "{path}: {tags}"
            );
        }
        let head = request(Method::HEAD, header::ACCEPT, "*/*").await;
        assert_eq!(head.status(), StatusCode::OK);
        for name in [
            header::ETAG,
            header::CONTENT_LENGTH,
            header::CONTENT_TYPE,
            header::CONTENT_ENCODING,
        ] {
            assert_eq!(
                header_of(&head, name.clone()),
                header_of(&whole, name.clone()),
                "{path}: {name}"
            );
        }
        let seconds = header_of(&whole, header::CACHE_CONTROL);
        assert_eq!(seconds, "public, max-age=1, must-revalidate", "{path}");
    }
    // The ETag differs by class, and after an improvement.
    let etag = header_of(&service.get("/class-1.gz").await, header::ETAG).to_owned();
    assert_ne!(
        header_of(&service.get("/class-2.gz").await, header::ETAG),
        etag
    );
    service.deliver(&[record(1, 5, 2, 200.0)]).await;
    until("the ETag changes", async || {
        header_of(&service.get("/class-1.gz").await, header::ETAG) != etag
    })
    .await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn file_supports_ranges() {
    let service = service_with_history().await;
    let path = "/class-1.gz";
    let whole = service.get(path).await;
    let etag = header_of(&whole, header::ETAG).to_owned();
    let bytes = whole.bytes().await.unwrap();
    let len = bytes.len();
    for (range, part) in [
        ("bytes=0-9".to_owned(), 0..10),
        ("bytes=5-".to_owned(), 5..len),
        ("bytes=-7".to_owned(), len - 7..len),
        (format!("bytes=20-{}", len + 5), 20..len),
    ] {
        let response = send(
            &service,
            Method::GET,
            path,
            &[(header::RANGE, &range), (header::IF_RANGE, &etag)],
        )
        .await;
        assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT, "{range}");
        let content_range = format!("bytes {}-{}/{len}", part.start, part.end - 1);
        assert_eq!(header_of(&response, header::CONTENT_RANGE), content_range);
        assert_eq!(
            header_of(&response, header::CONTENT_LENGTH),
            part.len().to_string()
        );
        assert_eq!(header_of(&response, header::ETAG), etag);
        assert_eq!(
            response.bytes().await.unwrap(),
            bytes.slice(part),
            "{range}"
        );
    }
    for (range, condition) in [
        ("bytes=0-9", "\"other\""),
        ("bytes=0-9", &format!("W/{etag}")),
        ("bytes=0-9", "Fri, 23 Apr 2021 13:49:49 GMT"),
        ("bytes=0-1,4-5", &etag),
        ("bytes=9-0", &etag),
    ] {
        let response = send(
            &service,
            Method::GET,
            path,
            &[(header::RANGE, range), (header::IF_RANGE, condition)],
        )
        .await;
        assert_eq!(response.status(), StatusCode::OK, "{range} {condition}");
        assert_eq!(response.bytes().await.unwrap(), bytes);
    }
    let unsatisfiable = send(
        &service,
        Method::GET,
        path,
        &[(header::RANGE, &format!("bytes={len}-"))],
    )
    .await;
    assert_eq!(unsatisfiable.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(
        header_of(&unsatisfiable, header::CONTENT_RANGE),
        format!("bytes */{len}")
    );
    assert_eq!(
        header_of(&unsatisfiable, header::CONTENT_TYPE),
        "application/problem+json"
    );
    let head = send(
        &service,
        Method::HEAD,
        path,
        &[(header::RANGE, "bytes=0-9")],
    )
    .await;
    assert_eq!(head.status(), StatusCode::OK);
    assert_eq!(header_of(&head, header::CONTENT_LENGTH), &*len.to_string());
    let json = send(
        &service,
        Method::GET,
        "/classes/1/history",
        &[(header::RANGE, "bytes=0-9")],
    )
    .await;
    assert_eq!(json.status(), StatusCode::OK);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn history_etag_survives_a_restart() {
    let test_store = TestStore::folder();
    let service = Service::start_on(&test_store, &[]).await;
    let model = ride_at_random(&service, 4).await;
    let expected = dataset(&model, 1, |_, racers| racers.to_vec());
    until("the history is complete", async || {
        service
            .get("/classes/1/history")
            .await
            .text()
            .await
            .unwrap()
            == expected
    })
    .await;
    let etags = async |service: &Service| {
        let text = service.get("/classes/1/history").await;
        let file = service.get("/class-1.gz").await;
        let state = service.json("/classes").await[0]["stateHash"].clone();
        (
            header_of(&text, header::ETAG).to_owned(),
            header_of(&file, header::ETAG).to_owned(),
            state,
        )
    };
    let before = etags(&service).await;
    service.stop().await;
    let service = Service::start_on(&test_store, &[]).await;
    // Clients may decide by this length whether to download; it is unchanged before the first
    // download.
    let bytes = service.json("/classes").await[0]["historyBytes"].clone();
    assert_eq!(etags(&service).await, before);
    let file = service.get("/class-1.gz").await;
    assert_eq!(bytes.to_string(), header_of(&file, header::CONTENT_LENGTH));
    service.stop().await;
}
