//! Errors, methods, and other origins.

use reqwest::{Method, StatusCode, header};

use crate::support::Service;
use crate::{assert_problem, header_of, service_with_ties};

#[tokio::test(flavor = "multi_thread")]
async fn invalid_requests_are_explained() {
    let service = service_with_ties().await;
    let bad = StatusCode::BAD_REQUEST;
    for (query, words) in [
        ("second=x", ["second", "\"x\"", "0 to 600", "last"]),
        ("second=601", ["second", "\"601\"", "0 to 600", "last"]),
        ("second=-1", ["second", "\"-1\"", "0 to 600", ""]),
        ("second=", ["second", "\"\"", "0 to 600", ""]),
        ("limit=0", ["limit", "\"0\"", "1 to 1000", ""]),
        ("limit=1001", ["limit", "\"1001\"", "1 to 1000", ""]),
        ("offset=1.5", ["offset", "\"1.5\"", "integer", ""]),
        ("cursor=abc", ["cursor", "\"abc\"", "next", "previous"]),
        ("around=me", ["around", "\"me\"", "id", ""]),
        ("racers=1,,2", ["racers", "\"1,,2\"", "1000", "commas"]),
        ("ties=none", ["ties", "\"none\"", "competition", "ordinal"]),
        (
            "racerId=1",
            ["racerId is 1", "give output as well", "number", "0 or more"],
        ),
        (
            "output=1&racers=2",
            [
                "output is 1 without racerId",
                "racers is given",
                "exclude each other",
                "",
            ],
        ),
        ("racerId=1&output=-1", ["output", "\"-1\"", "0 or more", ""]),
        (
            "racerId=1&output=NaN",
            ["output", "\"NaN\"", "0 or more", ""],
        ),
        (
            "offset=3&around=4",
            ["offset is 3", "around is 4", "cursor", "exclude"],
        ),
        ("format=xml", ["format", "\"xml\"", "json", "csv"]),
        ("pretty=very", ["pretty", "\"very\"", "true", "false"]),
        (
            "secnd=5",
            ["\"secnd\" is \"5\"", "second", "limit", "pretty"],
        ),
        (
            "second=1&second=2",
            ["second", "\"1,2\"", "given once", "0 to 600"],
        ),
    ] {
        assert_problem(
            &service,
            &format!("/classes/1/leaderboard?{query}"),
            bad,
            &words,
        )
        .await;
    }
    let missing = StatusCode::NOT_FOUND;
    for class in ["3", "0", "01", "-1", "x", "70000", "%FF"] {
        let path = format!("/classes/{class}/leaderboard");
        assert_problem(&service, &path, missing, &["no class", "/classes"]).await;
    }
    assert_problem(
        &service,
        "/classes/1/leaderboard?second=5&around=9",
        missing,
        &["racer 9", "second 5", "class 1"],
    )
    .await;
    assert_problem(
        &service,
        "/classes/1/leaderboard?around=9",
        missing,
        &["racer 9", "class 1"],
    )
    .await;
    for path in [
        "/nowhere",
        "/docs/nowhere",
        "/docs/a/b",
        "/assets/nowhere",
        "/assets/%FF",
        "/classes/",
        "/classes/1/nowhere",
    ] {
        assert_problem(&service, path, missing, &[path]).await;
    }
    assert_problem(
        &service,
        "/classes/1/live?x=5",
        bad,
        &["\"x\" is \"5\"", "takes no parameters"],
    )
    .await;
    assert_problem(&service, "/classes?limit=1", bad, &["\"limit\"", "format"]).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn read_paths_allow_only_get_and_head() {
    let service = service_with_ties().await;
    for path in [
        "/classes",
        "/classes/1/leaderboard",
        "/",
        "/healthz",
        "/readyz",
    ] {
        let got = service.get(path).await;
        let head = service.request(Method::HEAD, path).send().await.unwrap();
        assert_eq!(head.status(), StatusCode::OK, "{path}");
        for name in [
            header::CONTENT_TYPE,
            header::CONTENT_LENGTH,
            header::CACHE_CONTROL,
        ] {
            assert!(!header_of(&got, name.clone()).is_empty(), "{path}: {name}");
            assert_eq!(
                header_of(&got, name.clone()),
                header_of(&head, name.clone()),
                "{path}: {name}"
            );
        }
        let posted = service.request(Method::POST, path).send().await.unwrap();
        assert_eq!(posted.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
        assert_eq!(header_of(&posted, header::ALLOW), "GET,HEAD", "{path}");
        assert_eq!(
            header_of(&posted, header::CONTENT_TYPE),
            "application/problem+json",
            "{path}"
        );
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_origins_may_read_but_not_deliver() {
    let service = service_with_ties().await;
    let preflight = async |path| {
        let request = service
            .request(Method::OPTIONS, path)
            .header(header::ORIGIN, "https://example.com");
        let request = request.header(header::ACCESS_CONTROL_REQUEST_METHOD, "GET");
        request
            .header(
                header::ACCESS_CONTROL_REQUEST_HEADERS,
                "if-none-match,range",
            )
            .send()
            .await
            .unwrap()
    };
    for path in ["/classes/1/leaderboard", "/classes"] {
        let response = preflight(path).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        assert_eq!(
            header_of(&response, header::ACCESS_CONTROL_ALLOW_ORIGIN),
            "*"
        );
        assert!(
            header_of(&response, header::ACCESS_CONTROL_ALLOW_HEADERS).contains("if-none-match")
        );
        assert!(header_of(&response, header::ACCESS_CONTROL_ALLOW_METHODS).contains("GET"));
        let response = service
            .request(Method::GET, path)
            .header(header::ORIGIN, "https://example.com");
        let response = response.send().await.unwrap();
        assert_eq!(
            header_of(&response, header::ACCESS_CONTROL_ALLOW_ORIGIN),
            "*"
        );
        assert_eq!(
            header_of(&response, header::ACCESS_CONTROL_EXPOSE_HEADERS),
            "*"
        );
        assert!(
            !header_of(&response, header::VARY).contains("origin"),
            "the response must not depend on the origin"
        );
    }
    let error = service.get("/classes/9/leaderboard").await;
    assert_eq!(
        header_of(&error, header::ACCESS_CONTROL_ALLOW_ORIGIN),
        "*",
        "the error is not readable"
    );
    let firehose = preflight("/firehose").await;
    assert_eq!(firehose.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(
        header_of(&firehose, header::ACCESS_CONTROL_ALLOW_ORIGIN),
        ""
    );
    service.stop().await;

    let service = Service::start(&["--cors-origin", "https://example.com"]).await;
    let response = service.get("/classes").await;
    assert_eq!(
        header_of(&response, header::ACCESS_CONTROL_ALLOW_ORIGIN),
        "https://example.com"
    );
    service.stop().await;
}
