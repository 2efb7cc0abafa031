//! The guide at `/`, the OpenAPI document, and its page.

use reqwest::{Method, StatusCode, header};
use serde_json::json;

use crate::header_of;
use crate::support::Service;

/// Splits a command line into words as a shell does. Quotes inside a word are not supported.
fn words(line: &str) -> Vec<String> {
    let parts = line.split('\'').enumerate();
    let words = parts.flat_map(|(index, part)| match index % 2 {
        0 => part.split_whitespace().map(str::to_owned).collect(),
        _ => vec![part.to_owned()],
    });
    words.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn guide_calls_work_in_curl() {
    let service = Service::start(&["--admin-key", "KEY"]).await; // the key in the guide
    let ride = |racer: u64| {
        let (class, second, race) = (1, 60, 17);
        json!({ "classId": class, "second": second, "racerId": racer, "raceId": race, "output": 310, "name": "Hubert" })
    };
    service.deliver(&[ride(17), ride(2), ride(3)]).await;
    let guide = service.get("/").await;
    assert_eq!(
        header_of(&guide, header::CONTENT_TYPE),
        "text/plain; charset=utf-8"
    );
    let guide = guide.text().await.unwrap();
    let origin = service.url("");
    let calls: Vec<_> = guide
        .lines()
        .filter_map(|line| line.trim().strip_prefix("curl "))
        .collect();
    assert!(calls.len() > 14, "{guide}");
    // One call sends a file of the reader.
    for call in calls.into_iter().filter(|call| !call.contains("-d @")) {
        let words = words(call);
        let mut words = words.iter().map(String::as_str);
        let (mut method, mut path, mut headers) = (Method::GET, None, Vec::new());
        while let Some(word) = words.next() {
            match word {
                "-X" => method = words.next().unwrap().parse().unwrap(),
                "-H" => headers.push(words.next().unwrap().split_once(": ").unwrap()),
                "--compressed" => headers.push(("accept-encoding", "gzip")),
                "-O" | "-N" => {}
                _ => {
                    path = Some(
                        word.strip_prefix(&origin)
                            .unwrap_or_else(|| panic!("{call}: {word}")),
                    );
                    break; // a description follows
                }
            }
        }
        let path = path.unwrap();
        let mut request = service.request(method, path);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{call}");
        if header_of(&response, header::CONTENT_TYPE) == "text/event-stream" {
            continue; // it never ends
        }
        let body = response.bytes().await.unwrap();
        assert!(body.len() > 1, "{call}");
        let pretty = body.starts_with(b"{\n") || body.starts_with(b"[\n");
        assert!(pretty || !path.contains("pretty"), "{call}");
    }
    let page = service
        .request(Method::GET, "/")
        .header(header::ACCEPT, "text/html,*/*;q=0.8")
        .send()
        .await
        .unwrap();
    assert_eq!(
        header_of(&page, header::CONTENT_TYPE),
        "text/html; charset=utf-8"
    );
    assert!(page.text().await.unwrap().contains("docs/"));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn openapi_document_and_docs_are_served() {
    let service = Service::start(&[]).await;
    let document = service.json("/openapi.json").await;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    for path in [
        "/",
        "/class-{classId}.gz",
        "/classes",
        "/classes/{classId}/history",
        "/classes/{classId}/leaderboard",
        "/classes/{classId}/racers/{racerId}",
        "/docs",
        "/firehose",
        "/healthz",
        "/openapi.json",
        "/racers",
        "/racers/{racerId}",
        "/readyz",
    ] {
        assert!(
            document["paths"].get(path).is_some(),
            "{path} is undocumented"
        );
    }
    let redirect = service.get("/docs").await;
    assert_eq!(header_of(&redirect, header::LOCATION), "docs/");
    let page = service.get("/docs/").await;
    assert_eq!(page.status(), StatusCode::OK);
    let policy = header_of(&page, header::CONTENT_SECURITY_POLICY);
    assert!(policy.contains("default-src 'none'"), "{policy}");
    assert!(policy.contains("script-src 'self';"), "{policy}");
    let page = page.text().await.unwrap();
    let files = page
        .split('"')
        .filter(|text| text.ends_with(".js") || text.ends_with(".css"))
        .collect::<Vec<_>>();
    assert!(files.len() >= 3, "{page}");
    assert!(!page.contains("http://"), "{page}");
    assert!(!page.contains("https://"), "{page}");
    for file in files {
        let status = service
            .get(&format!("/docs/{}", file.trim_start_matches("./")))
            .await
            .status();
        assert_eq!(status, StatusCode::OK, "{file}");
    }
    assert!(
        service
            .get("/docs/swagger-initializer.js")
            .await
            .text()
            .await
            .unwrap()
            .contains("../openapi.json")
    );
    service.stop().await;
}
