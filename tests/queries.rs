//! What readers ask over HTTP, of a whole service that was fed over HTTP.

mod support;

use std::cmp::Reverse;
use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::{Method, Response, StatusCode, header};
use serde_json::{Value, json};

use support::{Service, record};

/// By class and second, the best output of every racer: the dataset, kept the slow way.
#[derive(Default)]
struct Model(BTreeMap<(u64, u64), BTreeMap<u64, f64>>);

impl Model {
    fn take(&mut self, class: u64, second: u64, racer: u64, output: f64) {
        let best = self.0.entry((class, second)).or_default().entry(racer).or_insert(output);
        *best = best.max(output);
    }

    /// The seconds of a class, ascending.
    fn seconds(&self, class: u64) -> Vec<u64> {
        self.0.keys().filter(|key| key.0 == class).map(|key| key.1).collect()
    }

    /// The rows of a second: rank, racer, output.
    fn standings(&self, class: u64, second: u64) -> Vec<(u64, u64, f64)> {
        let mut rows: Vec<_> = self.0.get(&(class, second)).into_iter().flatten().map(|(&r, &o)| (r, o)).collect();
        rows.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let rank = |output: f64| 1 + rows.iter().filter(|row| row.1 > output).count() as u64;
        rows.iter().map(|&(racer, output)| (rank(output), racer, output)).collect()
    }
}

/// Delivers efforts at random, with many ties, and keeps them in a model.
async fn ride_at_random(service: &Service, seed: u64) -> Model {
    let mut chance = StdRng::seed_from_u64(seed);
    let mut model = Model::default();
    for _ in 0..4 {
        let records: Vec<Value> = (0..150)
            .map(|_| {
                let (class, second) = (chance.random_range(1..=2), chance.random_range(0..8));
                let (racer, cadence) = (chance.random_range(1..60_u64), chance.random_range(60..70_u32));
                let resistance = f64::from(chance.random_range(30..33_u32)) / 3.0;
                let output = (f64::from(cadence) + 35.0) * (resistance + 65.0) / 100.0;
                model.take(class, second, racer, output);
                let record = json!({
                    "classId": class, "second": second, "racerId": racer, "cadence": cadence, "resistance": resistance,
                    "name": format!("Racer {racer}"), "deviceTimestamp": 1,
                });
                record
            })
            .collect();
        service.deliver(&records).await;
    }
    model
}

fn header_of(answer: &Response, name: header::HeaderName) -> &str {
    answer.headers().get(name).map_or("", |value| value.to_str().expect("text"))
}

/// Insists on a problem of that status whose detail has all of those words.
async fn is_problem(service: &Service, path: &str, status: StatusCode, words: &[&str]) {
    let answer = service.get(path).await;
    assert_eq!(answer.status(), status, "{path}");
    assert_eq!(header_of(&answer, header::CONTENT_TYPE), "application/problem+json", "{path}");
    let problem: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    assert_eq!(problem["status"], status.as_u16(), "{path}");
    let detail = problem["detail"].as_str().unwrap();
    for word in words {
        assert!(detail.contains(word), "{path}: {word:?} is not in {detail:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaderboard_is_what_was_delivered_page_by_page() {
    let service = Service::start(&[]).await;
    let model = ride_at_random(&service, 1).await;
    for class in [1, 2] {
        for second in model.seconds(class) {
            let expected = model.standings(class, second);
            let mut walked = Vec::new();
            let mut query = String::new();
            loop {
                let path = format!("/classes/{class}/leaderboard?second={second}&limit=7{query}");
                let page = service.json(&path).await;
                assert_eq!((&page["classId"], &page["second"]), (&json!(class), &json!(second)));
                assert_eq!(page["total"], expected.len());
                for row in page["standings"].as_array().unwrap() {
                    let (rank, racer) = (row["rank"].as_u64().unwrap(), row["racerId"].as_u64().unwrap());
                    assert_eq!(row["name"], format!("Racer {racer}"));
                    walked.push((rank, racer, row["output"].as_f64().unwrap()));
                }
                match page["next"].as_str() {
                    Some(next) => query = format!("&cursor={next}"),
                    None => break,
                }
            }
            assert_eq!(walked, expected);
        }
    }
    service.stop().await;
}

async fn tied() -> Service {
    let service = Service::start(&["--classes", "2"]).await;
    let named = json!({ "classId": 1, "second": 5, "racerId": 1, "output": 30, "name": "Hub, \"the\" Bert" });
    service
        .deliver(&[
            named,
            record(1, 5, 2, 20.0),
            record(1, 5, 3, 20.0),
            record(1, 5, 4, 1e-7),
            record(1, 7, 4, 99.5),
            record(1, 7, 2, 20.0),
        ])
        .await;
    service
}

/// Rank and racer of every row.
async fn ranks(service: &Service, query: &str) -> Vec<(u64, u64)> {
    let page = service.json(&format!("/classes/1/leaderboard?{query}")).await;
    let rows = page["standings"].as_array().unwrap().iter();
    rows.map(|row| (row["rank"].as_u64().unwrap(), row["racerId"].as_u64().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_option_of_a_leaderboard_does_what_it_says() {
    let service = tied().await;
    let ranks = async |query| ranks(&service, query).await;
    assert_eq!(ranks("second=5").await, [(1, 1), (2, 2), (2, 3), (4, 4)]);
    assert_eq!(ranks("second=5&ties=dense").await, [(1, 1), (2, 2), (2, 3), (3, 4)]);
    assert_eq!(ranks("second=5&ties=ordinal").await, [(1, 1), (2, 2), (3, 3), (4, 4)]);
    assert_eq!(ranks("second=5&offset=2&limit=1").await, [(2, 3)]);
    assert_eq!(ranks("second=5&offset=9").await, []);
    assert_eq!(ranks("second=5&around=4&limit=3").await, [(2, 2), (2, 3), (4, 4)]);
    assert_eq!(ranks("second=5&racers=4,1,77").await, [(1, 1), (4, 4)]);
    assert_eq!(ranks("second=last").await, [(1, 4), (2, 2)]);
    assert_eq!(ranks("").await, [(1, 4), (2, 1), (3, 2), (3, 3)]);
    assert_eq!(ranks("second=6").await, []);

    let all_time = service.json("/classes/1/leaderboard?limit=2").await;
    let hub = "Hub, \"the\" Bert";
    assert_eq!(
        all_time,
        json!({
            "classId": 1, "second": null, "total": 4, "previous": null, "next": all_time["next"],
            "standings": [
                { "rank": 1, "racerId": 4, "name": null, "output": 99.5, "second": 7 },
                { "rank": 2, "racerId": 1, "name": hub, "output": 30, "second": 5 },
            ],
        })
    );
    let next = all_time["next"].as_str().unwrap();
    let second = service.json(&format!("/classes/1/leaderboard?limit=2&cursor={next}")).await;
    assert_eq!(second["standings"][0]["racerId"], 2);
    assert!(second["next"].is_null() && second["previous"].is_string());

    let what_if = service.json("/classes/1/leaderboard?second=5&racerId=4&output=25&around=4&limit=1").await;
    assert_eq!(
        what_if["standings"],
        json!([{ "rank": 2, "racerId": 4, "name": null, "output": 25, "newRecord": true }])
    );
    let what_if = service.json("/classes/1/leaderboard?second=5&racerId=1&output=25&racers=1").await;
    assert_eq!(
        what_if["standings"],
        json!([{ "rank": 1, "racerId": 1, "name": hub, "output": 30, "newRecord": false }])
    );
    assert_eq!(what_if["total"], 4);

    let nobody = json!({ "classId": 2, "second": null, "total": 0, "standings": [], "next": null, "previous": null });
    assert_eq!(service.json("/classes/2/leaderboard?second=last").await, nobody);
    assert_eq!(service.json("/classes/2/leaderboard").await, nobody);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_come_as_csv_and_json_as_javascript_prints_it() {
    let service = tied().await;
    let text = service.get("/classes/1/leaderboard?second=5&racers=4").await.text().await.unwrap();
    assert!(text.contains("\"output\":1e-7"), "{text}");
    let pretty = service.get("/classes/1/leaderboard?second=5&racers=1&pretty").await.text().await.unwrap();
    assert!(pretty.contains("\n      \"output\": 30\n") && pretty.ends_with("}\n"), "{pretty}");

    let csv = "rank,racerId,name,output\r\n1,1,\"Hub, \"\"the\"\" Bert\",30\r\n2,2,,20\r\n2,3,,20\r\n4,4,,1e-7\r\n";
    let asked = service.get("/classes/1/leaderboard?second=5&format=csv").await;
    assert_eq!(header_of(&asked, header::CONTENT_TYPE), "text/csv; charset=utf-8; header=present");
    assert_eq!(asked.text().await.unwrap(), csv);
    let accepted = service.request(Method::GET, "/classes/1/leaderboard?second=5").header(header::ACCEPT, "text/csv");
    assert_eq!(accepted.send().await.unwrap().text().await.unwrap(), csv);
    let what_if = service.get("/classes/1/leaderboard?racerId=9&output=50&racers=9,4&format=csv").await.text().await;
    let expected = "rank,racerId,name,output,second,newRecord\r\n1,4,,99.5,7,\r\n2,9,,50,,true\r\n";
    assert_eq!(what_if.unwrap(), expected);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_answered_is_told_by_name() {
    let service = tied().await;
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
        ("racerId=1", ["racerId", "output", "", ""]),
        ("output=1", ["racerId", "output", "", ""]),
        ("racerId=1&output=-1", ["output", "\"-1\"", "0 or more", ""]),
        ("racerId=1&output=NaN", ["output", "\"NaN\"", "0 or more", ""]),
        ("offset=1&around=1", ["offset", "cursor", "around", "exclude"]),
        ("format=xml", ["format", "\"xml\"", "json", "csv"]),
        ("pretty=very", ["pretty", "\"very\"", "true", "false"]),
        ("secnd=5", ["\"secnd\"", "second", "limit", "pretty"]),
        ("second=1&second=2", ["second", "more than once", "", ""]),
    ] {
        is_problem(&service, &format!("/classes/1/leaderboard?{query}"), bad, &words).await;
    }
    let missing = StatusCode::NOT_FOUND;
    for class in ["3", "0", "01", "-1", "x", "70000", "%FF"] {
        let path = format!("/classes/{class}/leaderboard");
        is_problem(&service, &path, missing, &["no class", "/classes"]).await;
    }
    is_problem(&service, "/classes/1/leaderboard?second=5&around=9", missing, &["racer 9", "second 5", "class 1"])
        .await;
    is_problem(&service, "/classes/1/leaderboard?around=9", missing, &["racer 9", "class 1"]).await;
    is_problem(&service, "/nowhere", missing, &["/nowhere"]).await;
    is_problem(&service, "/classes?limit=1", bad, &["\"limit\"", "format"]).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_is_read_takes_get_and_head_alone() {
    let service = tied().await;
    for path in ["/classes", "/classes/1/leaderboard", "/", "/healthz", "/readyz"] {
        let got = service.get(path).await;
        let head = service.request(Method::HEAD, path).send().await.unwrap();
        assert_eq!(head.status(), StatusCode::OK, "{path}");
        for name in [header::CONTENT_TYPE, header::CONTENT_LENGTH, header::CACHE_CONTROL] {
            assert!(!header_of(&got, name.clone()).is_empty(), "{path}: {name}");
            assert_eq!(header_of(&got, name.clone()), header_of(&head, name.clone()), "{path}: {name}");
        }
        let posted = service.request(Method::POST, path).send().await.unwrap();
        assert_eq!(posted.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
        assert_eq!(header_of(&posted, header::ALLOW), "GET,HEAD", "{path}");
        assert_eq!(header_of(&posted, header::CONTENT_TYPE), "application/problem+json", "{path}");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_origins_may_read_and_not_deliver() {
    let service = tied().await;
    let preflight = async |path| {
        let request = service.request(Method::OPTIONS, path).header(header::ORIGIN, "https://example.com");
        let request = request.header(header::ACCESS_CONTROL_REQUEST_METHOD, "GET");
        request.header(header::ACCESS_CONTROL_REQUEST_HEADERS, "if-none-match,range").send().await.unwrap()
    };
    for path in ["/classes/1/leaderboard", "/classes"] {
        let answer = preflight(path).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        assert_eq!(header_of(&answer, header::ACCESS_CONTROL_ALLOW_ORIGIN), "*");
        assert!(header_of(&answer, header::ACCESS_CONTROL_ALLOW_HEADERS).contains("if-none-match"));
        assert!(header_of(&answer, header::ACCESS_CONTROL_ALLOW_METHODS).contains("GET"));
        let answer = service.request(Method::GET, path).header(header::ORIGIN, "https://example.com");
        let answer = answer.send().await.unwrap();
        assert_eq!(header_of(&answer, header::ACCESS_CONTROL_ALLOW_ORIGIN), "*");
        assert!(header_of(&answer, header::ACCESS_CONTROL_EXPOSE_HEADERS).contains("etag"));
        assert!(!header_of(&answer, header::VARY).contains("origin"), "every origin gets the same");
    }
    let error = service.get("/classes/9/leaderboard").await;
    assert_eq!(header_of(&error, header::ACCESS_CONTROL_ALLOW_ORIGIN), "*", "an error can be read, too");
    let refused = preflight("/firehose").await;
    assert_eq!(refused.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(header_of(&refused, header::ACCESS_CONTROL_ALLOW_ORIGIN), "");
    service.stop().await;

    let service = Service::start(&["--cors-origin", "https://example.com"]).await;
    let answer = service.get("/classes").await;
    assert_eq!(header_of(&answer, header::ACCESS_CONTROL_ALLOW_ORIGIN), "https://example.com");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_classes_are_told_in_numbers() {
    let service = tied().await;
    let classes = service.json("/classes").await;
    let (first, second) = (&classes[0], &classes[1]);
    assert_eq!(classes.as_array().unwrap().len(), 2);
    assert_eq!(
        (&first["classId"], &first["name"], &first["racers"], &first["seconds"], &first["efforts"]),
        (&json!(1), &json!("Class 1"), &json!(4), &json!(2), &json!(6))
    );
    assert!(first["updatedAt"].is_u64() && first["historyBytes"].is_u64());
    assert_eq!(first["stateHash"].as_str().unwrap().len(), 16);
    assert_eq!((&second["efforts"], &second["updatedAt"]), (&json!(0), &Value::Null));
    assert_ne!(first["stateHash"], second["stateHash"]);
    let csv = service.get("/classes?format=csv").await.text().await.unwrap();
    assert!(
        csv.starts_with("classId,name,racers,seconds,efforts,updatedAt,historyBytes,stateHash\r\n1,Class 1,4,2,6,")
    );
    service.stop().await;
}
