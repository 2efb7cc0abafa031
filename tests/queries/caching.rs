//! Validators, caching and links of boards.

use reqwest::header::{self, HeaderName};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Service, record};
use crate::{header_of, send, service_with_ties};

const CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cdn-cache-control");

const BOARDS: [&str; 5] = [
    "/classes/1/leaderboard?second=5",
    "/classes/1/leaderboard?limit=2&format=csv",
    "/classes/1/races/7/leaderboard",
    "/classes/1/races/7/leaderboard?format=csv",
    "/classes/1/pace?percentile=50&rank=1&racers=4",
];

async fn ride_race(service: &Service, output: f64) {
    let mut ride = record(1, 5, 4, output);
    ride["raceId"] = 7.into();
    service.deliver(&[ride]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_board_is_validated_by_its_content() {
    let service = service_with_ties().await;
    ride_race(&service, 40.0).await;
    let mut improved = 40.0;
    for path in BOARDS {
        let response = service.get(path).await;
        let etag = header_of(&response, header::ETAG).to_owned();
        assert!(etag.starts_with('"') && etag.len() == 18, "{path}: {etag}");
        let cache_control = header_of(&response, header::CACHE_CONTROL);
        assert_eq!(cache_control, "public, max-age=0, s-maxage=1", "{path}");
        let cdn = header_of(&response, CDN_CACHE_CONTROL);
        assert_eq!(cdn, "max-age=1, stale-while-revalidate=5", "{path}");
        assert_eq!(header_of(&response, header::VARY), "accept", "{path}");
        let text = response.text().await.unwrap();

        let other = format!("\"0\", W/{etag}");
        for (method, known) in [
            (Method::GET, &*etag),
            (Method::GET, &*other),
            (Method::GET, "*"),
            (Method::HEAD, &*etag),
        ] {
            let headers = [(header::IF_NONE_MATCH, known)];
            let response = send(&service, method, path, &headers).await;
            assert_eq!(
                response.status(),
                StatusCode::NOT_MODIFIED,
                "{path}: {known}"
            );
            assert_eq!(header_of(&response, header::ETAG), etag, "{path}");
            assert_eq!(
                header_of(&response, header::CACHE_CONTROL),
                "public, max-age=0, s-maxage=1"
            );
            assert_eq!(header_of(&response, header::VARY), "accept", "{path}");
            assert_eq!(response.text().await.unwrap(), "", "{path}");
        }
        // Another change of the class leaves the content as it is.
        let elsewhere = record(2, 5, 4, improved);
        service.deliver(&[elsewhere]).await;
        let known = [(header::IF_NONE_MATCH, &*etag)];
        let same = send(&service, Method::GET, path, &known).await;
        assert_eq!(same.status(), StatusCode::NOT_MODIFIED, "{path}");
        improved += 100.0;
        ride_race(&service, improved).await;
        let changed = send(&service, Method::GET, path, &known).await;
        assert_eq!(changed.status(), StatusCode::OK, "{path}");
        assert_ne!(header_of(&changed, header::ETAG), etag, "{path}");
        assert_ne!(changed.text().await.unwrap(), text, "{path}");
    }
    let json = service.get("/classes/1/leaderboard").await;
    let csv = [(header::ACCEPT, "text/csv")];
    let csv = send(&service, Method::GET, "/classes/1/leaderboard", &csv).await;
    assert_ne!(
        header_of(&json, header::ETAG),
        header_of(&csv, header::ETAG)
    );
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn boards_under_query_keys_are_private() {
    let service = Service::start(&["--query-key", "reads"]).await;
    ride_race(&service, 40.0).await;
    for path in BOARDS {
        let key = [(header::AUTHORIZATION, "Bearer reads")];
        let response = send(&service, Method::GET, path, &key).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        assert_eq!(
            header_of(&response, header::CACHE_CONTROL),
            "private, max-age=0",
            "{path}"
        );
        assert_eq!(header_of(&response, CDN_CACHE_CONTROL), "", "{path}");
        let etag = header_of(&response, header::ETAG);
        let known = [key[0].clone(), (header::IF_NONE_MATCH, etag)];
        let response = send(&service, Method::GET, path, &known).await;
        assert_eq!(response.status(), StatusCode::NOT_MODIFIED, "{path}");
        assert_eq!(
            header_of(&response, header::CACHE_CONTROL),
            "private, max-age=0"
        );
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn boards_vary_by_origin_only_if_there_are_several() {
    let origins = "https://a.example,https://b.example";
    for (origins, varies) in [("*", false), ("https://a.example", false), (origins, true)] {
        let service = Service::start(&["--cors-origin", origins]).await;
        for path in [
            "/classes/1/leaderboard",
            "/classes/1/leaderboard?format=csv",
        ] {
            let headers = [(header::ORIGIN, "https://a.example")];
            let response = send(&service, Method::GET, path, &headers).await;
            let vary = response.headers().get_all(header::VARY);
            let vary: Vec<_> = vary.iter().map(|it| it.to_str().unwrap()).collect();
            let expected: &[&str] = if varies {
                &["accept", "origin"]
            } else {
                &["accept"]
            };
            assert_eq!(vary, expected, "{origins}: {path}");
            // `*` stands for `ETag`, `Link` and all other headers.
            let exposed = header_of(&response, header::ACCESS_CONTROL_EXPOSE_HEADERS);
            assert_eq!(exposed, "*", "{origins}");
        }
        service.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn csv_links_visit_every_row() {
    let service = service_with_ties().await;
    ride_race(&service, 1e-7).await;
    for board in ["/classes/1/leaderboard", "/classes/1/races/7/leaderboard"] {
        for query in [
            "limit=1&offset=0",
            "limit=3&racers=1,2,3,4&format=csv",
            "output=7&limit=2",
        ] {
            let path = format!("{board}?{query}");
            let csv = [(header::ACCEPT, "text/csv")];
            let link_of = |response: &reqwest::Response, rel: &str| {
                let links = header_of(response, header::LINK).to_owned();
                let mut links = links
                    .split(", ")
                    .filter_map(|link| link.split_once(">; rel="));
                let link = links.find(|link| link.1.trim_matches('"') == rel);
                link.map(|link| link.0.strip_prefix('<').unwrap().to_owned())
            };
            let mut response = send(&service, Method::GET, &path, &csv).await;
            while let Some(previous) = link_of(&response, "prev") {
                let path = format!("{board}{previous}");
                response = send(&service, Method::GET, &path, &csv).await;
            }
            let mut rows = Vec::new();
            loop {
                let next = link_of(&response, "next");
                let text = response.text().await.unwrap();
                rows.extend(text.lines().skip(1).map(str::to_owned));
                let Some(next) = next else { break };
                response = send(&service, Method::GET, &format!("{board}{next}"), &csv).await;
                assert_eq!(response.status(), StatusCode::OK, "{path} {next}");
            }
            let racers = if query.contains("racers") {
                "racers=1,2,3,4&"
            } else {
                ""
            };
            let whole = format!("{board}?{racers}format=csv");
            let whole = service.get(&whole).await.text().await.unwrap();
            let whole: Vec<_> = whole.lines().skip(1).collect();
            assert_eq!(rows, whole, "{path}");
        }
    }
    let json = service.get("/classes/1/leaderboard?limit=1").await;
    assert_eq!(header_of(&json, header::LINK), "");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_boards_are_not_cached() {
    let service = service_with_ties().await;
    for path in [
        "/classes/1/leaderboard?around=99",
        "/classes/1/races/9/leaderboard",
    ] {
        let response = service.get(path).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
        assert_eq!(header_of(&response, header::CACHE_CONTROL), "no-store");
        assert_eq!(header_of(&response, CDN_CACHE_CONTROL), "", "{path}");
        let problem: Value = response.text().await.unwrap().parse().unwrap();
        assert_eq!(problem["status"], json!(404), "{path}");
    }
    service.stop().await;
}
