//! What readers ask over HTTP, of a whole service that was fed over HTTP.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect should stop there"
)]

mod support;

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::{Method, Response, StatusCode, header};
use serde_json::{Value, json};

use support::test_store::TestStore;
use support::{Service, gunzip_single_member, record, until};

/// By class and second, the best output of every racer: the dataset, kept the slow way.
#[derive(Default)]
struct Model(BTreeMap<(u64, u64), BTreeMap<u64, f64>>);

impl Model {
    fn take(&mut self, class: u64, second: u64, racer: u64, output: f64) {
        let best = self
            .0
            .entry((class, second))
            .or_default()
            .entry(racer)
            .or_insert(output);
        *best = best.max(output);
    }

    /// The seconds of a class, ascending.
    fn seconds(&self, class: u64) -> Vec<u64> {
        self.0
            .keys()
            .filter(|key| key.0 == class)
            .map(|key| key.1)
            .collect()
    }

    /// The rows of a second: rank, racer, output.
    fn standings(&self, class: u64, second: u64) -> Vec<(u64, u64, f64)> {
        let mut rows: Vec<_> = self
            .0
            .get(&(class, second))
            .into_iter()
            .flatten()
            .map(|(&r, &o)| (r, o))
            .collect();
        rows.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let rank = |output: f64| 1 + rows.iter().filter(|row| row.1 > output).count() as u64;
        rows.iter()
            .map(|&(racer, output)| (rank(output), racer, output))
            .collect()
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
    answer
        .headers()
        .get(name)
        .map_or("", |value| value.to_str().expect("text"))
}

/// Insists on a problem of that status whose detail has all of those words.
async fn is_problem(service: &Service, path: &str, status: StatusCode, words: &[&str]) {
    let answer = service.get(path).await;
    assert_eq!(answer.status(), status, "{path}");
    assert_eq!(
        header_of(&answer, header::CONTENT_TYPE),
        "application/problem+json",
        "{path}"
    );
    let problem: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    assert_eq!(problem["status"], status.as_u16(), "{path}");
    let detail = problem["detail"].as_str().unwrap();
    for word in words {
        assert!(
            detail.contains(word),
            "{path}: {word:?} is not in {detail:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn leaderboard_pages_match_deliveries() {
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
                assert_eq!(
                    (&page["classId"], &page["second"]),
                    (&json!(class), &json!(second))
                );
                assert_eq!(page["total"], expected.len());
                for row in page["standings"].as_array().unwrap() {
                    let (rank, racer) = (
                        row["rank"].as_u64().unwrap(),
                        row["racerId"].as_u64().unwrap(),
                    );
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
    let page = service
        .json(&format!("/classes/1/leaderboard?{query}"))
        .await;
    let rows = page["standings"].as_array().unwrap().iter();
    rows.map(|row| {
        (
            row["rank"].as_u64().unwrap(),
            row["racerId"].as_u64().unwrap(),
        )
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_leaderboard_option_works() {
    let service = tied().await;
    let ranks = async |query| ranks(&service, query).await;
    assert_eq!(ranks("second=5").await, [(1, 1), (2, 2), (2, 3), (4, 4)]);
    assert_eq!(
        ranks("second=5&ties=dense").await,
        [(1, 1), (2, 2), (2, 3), (3, 4)]
    );
    assert_eq!(
        ranks("second=5&ties=ordinal").await,
        [(1, 1), (2, 2), (3, 3), (4, 4)]
    );
    assert_eq!(ranks("second=5&offset=2&limit=1").await, [(2, 3)]);
    assert_eq!(ranks("second=5&offset=9").await, []);
    assert_eq!(
        ranks("second=5&around=4&limit=3").await,
        [(2, 2), (2, 3), (4, 4)]
    );
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
    let second = service
        .json(&format!("/classes/1/leaderboard?limit=2&cursor={next}"))
        .await;
    assert_eq!(second["standings"][0]["racerId"], 2);
    assert!(second["next"].is_null() && second["previous"].is_string());

    let what_if = service
        .json("/classes/1/leaderboard?second=5&racerId=4&output=25&around=4&limit=1")
        .await;
    assert_eq!(
        what_if["standings"],
        json!([{ "rank": 2, "racerId": 4, "name": null, "output": 25, "newRecord": true }])
    );
    let what_if = service
        .json("/classes/1/leaderboard?second=5&racerId=1&output=25&racers=1")
        .await;
    assert_eq!(
        what_if["standings"],
        json!([{ "rank": 1, "racerId": 1, "name": hub, "output": 30, "newRecord": false }])
    );
    assert_eq!(what_if["total"], 4);

    let nobody = json!({ "classId": 2, "second": null, "total": 0, "standings": [], "next": null, "previous": null });
    assert_eq!(
        service.json("/classes/2/leaderboard?second=last").await,
        nobody
    );
    assert_eq!(service.json("/classes/2/leaderboard").await, nobody);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_changes_with_its_board_and_its_names() {
    let service = tied().await;
    let first = async || {
        let page = service
            .json("/classes/1/leaderboard?second=5&limit=1")
            .await;
        assert_eq!(
            service
                .json("/classes/1/leaderboard?second=5&limit=1")
                .await,
            page,
            "again"
        );
        page["standings"][0].clone()
    };
    assert_eq!(
        first().await,
        json!({ "rank": 1, "racerId": 1, "name": "Hub, \"the\" Bert", "output": 30 })
    );
    // Neither beats anything: only the name is new.
    let named = json!({ "classId": 1, "second": 5, "racerId": 1, "output": 1, "name": "Bert", "deviceTimestamp": 1 });
    service.deliver(&[named]).await;
    assert_eq!(first().await["name"], "Bert");
    service.deliver(&[record(1, 5, 3, 31.0)]).await;
    assert_eq!(
        first().await,
        json!({ "rank": 1, "racerId": 3, "name": null, "output": 31 })
    );
    let page = service
        .get("/classes/1/leaderboard?second=5&limit=1&format=csv")
        .await
        .text()
        .await
        .unwrap();
    assert_eq!(page, "rank,racerId,name,output\r\n1,3,,31\r\n");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn csv_and_json_print_numbers_as_javascript() {
    let service = tied().await;
    let text = service
        .get("/classes/1/leaderboard?second=5&racers=4")
        .await
        .text()
        .await
        .unwrap();
    assert!(text.contains("\"output\":1e-7"), "{text}");
    let pretty = service
        .get("/classes/1/leaderboard?second=5&racers=1&pretty")
        .await
        .text()
        .await
        .unwrap();
    assert!(
        pretty.contains("\n      \"output\": 30\n") && pretty.ends_with("}\n"),
        "{pretty}"
    );

    let csv = "rank,racerId,name,output\r\n1,1,\"Hub, \"\"the\"\" Bert\",30\r\n2,2,,20\r\n2,3,,20\r\n4,4,,1e-7\r\n";
    let asked = service
        .get("/classes/1/leaderboard?second=5&format=csv")
        .await;
    assert_eq!(
        header_of(&asked, header::CONTENT_TYPE),
        "text/csv; charset=utf-8; header=present"
    );
    assert_eq!(asked.text().await.unwrap(), csv);
    let accepted = service
        .request(Method::GET, "/classes/1/leaderboard?second=5")
        .header(header::ACCEPT, "text/csv");
    assert_eq!(accepted.send().await.unwrap().text().await.unwrap(), csv);
    let what_if = service
        .get("/classes/1/leaderboard?racerId=9&output=50&racers=9,4&format=csv")
        .await
        .text()
        .await;
    let expected = "rank,racerId,name,output,second,newRecord\r\n1,4,,99.5,7,\r\n2,9,,50,,true\r\n";
    assert_eq!(what_if.unwrap(), expected);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_requests_are_explained() {
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
        (
            "racerId=1",
            ["racerId is 1", "output is missing", "number", "0 or more"],
        ),
        ("output=1", ["output is 1", "racerId is missing", "", ""]),
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
            ["second", "more than once", "\"1\" and \"2\"", "0 to 600"],
        ),
    ] {
        is_problem(
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
        is_problem(&service, &path, missing, &["no class", "/classes"]).await;
    }
    is_problem(
        &service,
        "/classes/1/leaderboard?second=5&around=9",
        missing,
        &["racer 9", "second 5", "class 1"],
    )
    .await;
    is_problem(
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
        "/classes/",
        "/classes/1/nowhere",
    ] {
        is_problem(&service, path, missing, &[path]).await;
    }
    is_problem(&service, "/assets/%FF", missing, &["not UTF-8"]).await;
    is_problem(
        &service,
        "/classes/1/live?x=5",
        bad,
        &["\"x\" is \"5\"", "takes no parameters"],
    )
    .await;
    is_problem(&service, "/classes?limit=1", bad, &["\"limit\"", "format"]).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn read_paths_allow_only_get_and_head() {
    let service = tied().await;
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
    let service = tied().await;
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
        let answer = preflight(path).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        assert_eq!(header_of(&answer, header::ACCESS_CONTROL_ALLOW_ORIGIN), "*");
        assert!(header_of(&answer, header::ACCESS_CONTROL_ALLOW_HEADERS).contains("if-none-match"));
        assert!(header_of(&answer, header::ACCESS_CONTROL_ALLOW_METHODS).contains("GET"));
        let answer = service
            .request(Method::GET, path)
            .header(header::ORIGIN, "https://example.com");
        let answer = answer.send().await.unwrap();
        assert_eq!(header_of(&answer, header::ACCESS_CONTROL_ALLOW_ORIGIN), "*");
        assert!(header_of(&answer, header::ACCESS_CONTROL_EXPOSE_HEADERS).contains("etag"));
        assert!(
            !header_of(&answer, header::VARY).contains("origin"),
            "every origin gets the same"
        );
    }
    let error = service.get("/classes/9/leaderboard").await;
    assert_eq!(
        header_of(&error, header::ACCESS_CONTROL_ALLOW_ORIGIN),
        "*",
        "an error can be read, too"
    );
    let refused = preflight("/firehose").await;
    assert_eq!(refused.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(header_of(&refused, header::ACCESS_CONTROL_ALLOW_ORIGIN), "");
    service.stop().await;

    let service = Service::start(&["--cors-origin", "https://example.com"]).await;
    let answer = service.get("/classes").await;
    assert_eq!(
        header_of(&answer, header::ACCESS_CONTROL_ALLOW_ORIGIN),
        "https://example.com"
    );
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn classes_report_their_numbers() {
    let service = tied().await;
    let classes = service.json("/classes").await;
    let (first, second) = (&classes[0], &classes[1]);
    assert_eq!(classes.as_array().unwrap().len(), 2);
    for class in [first, second] {
        let file = service
            .request(Method::HEAD, &format!("/class-{}.gz", class["classId"]))
            .send()
            .await
            .unwrap();
        let told = class["historyBytes"].to_string();
        assert_eq!(
            told,
            header_of(&file, header::CONTENT_LENGTH),
            "told before anyone got it"
        );
    }
    assert_eq!(
        (
            &first["classId"],
            &first["name"],
            &first["racers"],
            &first["seconds"],
            &first["efforts"]
        ),
        (
            &json!(1),
            &json!("Class 1"),
            &json!(4),
            &json!(2),
            &json!(6)
        )
    );
    assert!(first["updatedAt"].is_u64());
    assert_eq!(first["stateHash"].as_str().unwrap().len(), 16);
    assert_eq!(
        (&second["efforts"], &second["updatedAt"]),
        (&json!(0), &Value::Null)
    );
    assert_ne!(first["stateHash"], second["stateHash"]);
    let csv = service
        .get("/classes?format=csv")
        .await
        .text()
        .await
        .unwrap();
    assert!(csv.starts_with(
        "classId,name,racers,seconds,efforts,updatedAt,historyBytes,stateHash\r\n1,Class 1,4,2,6,"
    ));
    service.stop().await;
}

/// The words of a command line, as a shell tells them apart; no quote stands within a word.
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
    let service = Service::start(&["--admin-key", "KEY"]).await; // as the guide has it
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
    // One sends a file that the reader has.
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
                    break; // what follows tells what it does
                }
            }
        }
        let path = path.unwrap();
        let mut request = service.request(method, path);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{call}");
        if header_of(&answer, header::CONTENT_TYPE) == "text/event-stream" {
            continue; // it goes on and on
        }
        let body = answer.bytes().await.unwrap();
        assert!(
            body.len() > 1
                && (!path.contains("pretty")
                    || body.starts_with(b"{\n")
                    || body.starts_with(b"[\n"))
        );
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
    assert!(page.text().await.unwrap().contains("/docs"));
    service.stop().await;
}

/// The dataset's text, written the slow way.
fn dataset(
    model: &Model,
    class: u64,
    chosen: impl Fn(u64, &[(u64, f64)]) -> Vec<(u64, f64)>,
) -> String {
    let seconds = model.seconds(class).into_iter().filter_map(|second| {
        let racers: Vec<_> = model.0[&(class, second)]
            .iter()
            .map(|(&racer, &output)| (racer, output))
            .collect();
        let chosen = chosen(second, &racers);
        let cells = chosen.iter().map(|(racer, output)| {
            format!("\"{racer}\":{}", ryu_js::Buffer::new().format(*output))
        });
        let cells = cells.collect::<Vec<_>>().join(",");
        (!chosen.is_empty()).then(|| format!("\"{second}\":{{{cells}}}"))
    });
    format!("{{{}}}", seconds.collect::<Vec<_>>().join(","))
}

async fn with(
    service: &Service,
    method: Method,
    path: &str,
    headers: &[(header::HeaderName, &str)],
) -> Response {
    let request = headers
        .iter()
        .fold(service.request(method, path), |request, (name, value)| {
            request.header(name, *value)
        });
    request.send().await.expect("an answer")
}

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
        until("the history has all", async || {
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
        let gzip = with(
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
        let gzip = with(
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
        let known = with(
            &service,
            Method::GET,
            &path,
            &[(header::IF_NONE_MATCH, &etag)],
        )
        .await;
        assert_eq!(known.status(), StatusCode::NOT_MODIFIED, "{query}");
    }
    for (query, words) in [
        ("top=0", ["top", "\"0\"", "from 1"]),
        ("racers=", ["racers", "\"\"", "1000"]),
        ("from=601", ["from", "\"601\"", "0 to 600"]),
        ("from=5&to=4", ["from is 5", "to is 4", "after"]),
        ("form=5", ["\"form\"", "from", "to"]),
        ("pretty", ["\"pretty\" is \"\"", "top", "racers"]),
    ] {
        is_problem(
            &service,
            &format!("/classes/1/history?{query}"),
            StatusCode::BAD_REQUEST,
            &words,
        )
        .await;
    }
    is_problem(
        &service,
        "/classes/7/history",
        StatusCode::NOT_FOUND,
        &["no class 7"],
    )
    .await;
    is_problem(
        &service,
        "/class-7.gz",
        StatusCode::NOT_FOUND,
        &["/class-7.gz"],
    )
    .await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unchanged_history_answers_304() {
    let service = tied().await;
    until("the history has all", async || {
        service
            .get("/classes/1/history")
            .await
            .text()
            .await
            .unwrap()
            .contains("99.5")
    })
    .await;
    for (path, encoding) in [
        ("/classes/1/history", "identity"),
        ("/classes/1/history", "gzip"),
        ("/class-1.gz", ""),
    ] {
        let ask = async |method: Method, name: header::HeaderName, value: &str| {
            with(
                &service,
                method,
                path,
                &[(header::ACCEPT_ENCODING, encoding), (name, value)],
            )
            .await
        };
        let whole = ask(Method::GET, header::ACCEPT, "*/*").await;
        let etag = header_of(&whole, header::ETAG);
        let weak = format!("W/{etag}");
        for tags in [etag, &weak, "*", &format!("\"a\", {weak} ,\"b\"")] {
            let known = ask(Method::GET, header::IF_NONE_MATCH, tags).await;
            assert_eq!(known.status(), StatusCode::NOT_MODIFIED, "{path}: {tags}");
            for name in [header::ETAG, header::CACHE_CONTROL, header::VARY] {
                assert_eq!(
                    header_of(&known, name.clone()),
                    header_of(&whole, name),
                    "{path}"
                );
            }
            assert_eq!(header_of(&known, header::CONTENT_TYPE), "");
            let length = header_of(&known, header::CONTENT_LENGTH);
            assert!(
                length.is_empty() || length == header_of(&whole, header::CONTENT_LENGTH),
                "{path}: {length}"
            );
            let head = ask(Method::HEAD, header::IF_NONE_MATCH, tags).await;
            assert_eq!(head.status(), StatusCode::NOT_MODIFIED, "{path}: {tags}");
            assert_eq!(header_of(&head, header::ETAG), etag, "{path}: {tags}");
            let length = header_of(&head, header::CONTENT_LENGTH);
            assert!(
                length.is_empty() || length == header_of(&whole, header::CONTENT_LENGTH),
                "{path}: {length}"
            );
        }
        let unknown = ask(Method::GET, header::IF_NONE_MATCH, "\"a\", \"b\"").await;
        assert_eq!(unknown.status(), StatusCode::OK);
        for (tags, status) in [(etag, 200), ("*", 200), (&weak, 412), ("\"a\"", 412)] {
            assert_eq!(
                ask(Method::GET, header::IF_MATCH, tags)
                    .await
                    .status()
                    .as_u16(),
                status,
                "{path}: {tags}"
            );
        }
        let head = ask(Method::HEAD, header::ACCEPT, "*/*").await;
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
    // Another class's is another, and so is the same class's after an improvement.
    let etag = header_of(&service.get("/class-1.gz").await, header::ETAG).to_owned();
    assert_ne!(
        header_of(&service.get("/class-2.gz").await, header::ETAG),
        etag
    );
    service.deliver(&[record(1, 5, 2, 200.0)]).await;
    until("the improvement shows", async || {
        header_of(&service.get("/class-1.gz").await, header::ETAG) != etag
    })
    .await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn file_supports_ranges() {
    let service = tied().await;
    until("the history has all", async || {
        service
            .get("/classes/1/history")
            .await
            .text()
            .await
            .unwrap()
            .contains("99.5")
    })
    .await;
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
        let answer = with(
            &service,
            Method::GET,
            path,
            &[(header::RANGE, &range), (header::IF_RANGE, &etag)],
        )
        .await;
        assert_eq!(answer.status(), StatusCode::PARTIAL_CONTENT, "{range}");
        let content_range = format!("bytes {}-{}/{len}", part.start, part.end - 1);
        assert_eq!(header_of(&answer, header::CONTENT_RANGE), content_range);
        assert_eq!(
            header_of(&answer, header::CONTENT_LENGTH),
            part.len().to_string()
        );
        assert_eq!(header_of(&answer, header::ETAG), etag);
        assert_eq!(answer.bytes().await.unwrap(), bytes.slice(part), "{range}");
    }
    for (range, condition) in [
        ("bytes=0-9", "\"other\""),
        ("bytes=0-9", &format!("W/{etag}")),
        ("bytes=0-9", "Fri, 23 Apr 2021 13:49:49 GMT"),
        ("bytes=0-1,4-5", &etag),
        ("bytes=9-0", &etag),
    ] {
        let answer = with(
            &service,
            Method::GET,
            path,
            &[(header::RANGE, range), (header::IF_RANGE, condition)],
        )
        .await;
        assert_eq!(answer.status(), StatusCode::OK, "{range} {condition}");
        assert_eq!(answer.bytes().await.unwrap(), bytes);
    }
    let beyond = with(
        &service,
        Method::GET,
        path,
        &[(header::RANGE, &format!("bytes={len}-"))],
    )
    .await;
    assert_eq!(beyond.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(
        header_of(&beyond, header::CONTENT_RANGE),
        format!("bytes */{len}")
    );
    assert_eq!(
        header_of(&beyond, header::CONTENT_TYPE),
        "application/problem+json"
    );
    let head = with(
        &service,
        Method::HEAD,
        path,
        &[(header::RANGE, "bytes=0-9")],
    )
    .await;
    assert_eq!(
        (head.status(), header_of(&head, header::CONTENT_LENGTH)),
        (StatusCode::OK, &*len.to_string())
    );
    let json = with(
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
    until("the history has all", async || {
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
    // Whoever decides by it whether to get the history learns its length before anyone got it.
    let bytes = service.json("/classes").await[0]["historyBytes"].clone();
    assert_eq!(etags(&service).await, before);
    let file = service.get("/class-1.gz").await;
    assert_eq!(bytes.to_string(), header_of(&file, header::CONTENT_LENGTH));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn racer_curve_compares_with_others() {
    let service = Service::start(&[]).await;
    let model = ride_at_random(&service, 5).await;
    let points = |racer: u64| {
        let seconds = model.seconds(1).into_iter().filter_map(|second| {
            let rows = model.standings(1, second);
            let &(rank, _, output) = rows.iter().find(|row| row.1 == racer)?;
            let below = rows.iter().filter(|row| row.2 < output).count();
            Some((
                second,
                output,
                rank,
                rows.len() as u64,
                100.0 * below as f64 / rows.len() as f64,
            ))
        });
        seconds.collect::<Vec<_>>()
    };
    let read = |curve: &Value| {
        let number = |point: &Value, name: &str| point[name].as_u64().unwrap();
        let points = curve["seconds"].as_array().unwrap().iter().map(|point| {
            let (output, percentile) = (
                point["output"].as_f64().unwrap(),
                point["percentile"].as_f64().unwrap(),
            );
            (
                number(point, "second"),
                output,
                number(point, "rank"),
                number(point, "total"),
                percentile,
            )
        });
        points.collect::<Vec<_>>()
    };
    let racer = *model.0[&(1, 3)].keys().next().unwrap();
    let curve = service
        .json(&format!("/classes/1/racers/{racer}?compare=3,12345"))
        .await;
    assert_eq!(
        (&curve["classId"], &curve["racerId"]),
        (&json!(1), &json!(racer))
    );
    assert_eq!(curve["name"], format!("Racer {racer}"));
    assert_eq!(read(&curve), points(racer));
    let compared = curve["compared"].as_array().unwrap();
    assert_eq!(
        (&compared[0]["racerId"], read(&compared[0])),
        (&json!(3), points(3))
    );
    assert_eq!(
        (&compared[1]["racerId"], read(&compared[1])),
        (&json!(12345), vec![])
    );
    assert!(
        service
            .json(&format!("/classes/1/racers/{racer}"))
            .await
            .get("compared")
            .is_none()
    );
    let csv = service
        .get(&format!("/classes/1/racers/{racer}?format=csv"))
        .await
        .text()
        .await
        .unwrap();
    assert!(
        csv.starts_with(&format!(
            "racerId,second,output,rank,total,percentile\r\n{racer},"
        )),
        "{csv}"
    );
    assert_eq!(csv.lines().count(), 1 + points(racer).len());

    is_problem(
        &service,
        "/classes/1/racers/12345",
        StatusCode::NOT_FOUND,
        &["racer 12345", "class 1"],
    )
    .await;
    is_problem(
        &service,
        "/classes/1/racers/x",
        StatusCode::NOT_FOUND,
        &["no racer x"],
    )
    .await;
    is_problem(
        &service,
        "/classes/9/racers/1",
        StatusCode::NOT_FOUND,
        &["no class 9"],
    )
    .await;
    is_problem(
        &service,
        "/classes/1/racers/3?compare=x",
        StatusCode::BAD_REQUEST,
        &["compare", "\"x\"", "20"],
    )
    .await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn racer_is_found_by_id_and_name() {
    let service = tied().await;
    service
        .deliver(&[
            json!({ "classId": 2, "second": 0, "racerId": 4, "output": 12.5, "name": "hubba" }),
        ])
        .await;
    let straße =
        json!({ "classId": 2, "second": 0, "racerId": 5, "output": 1, "name": "Straße Σίσυφος" });
    service.deliver(&[straße]).await;
    for begin in [
        "straße",
        "STRASS",
        "strasse%20%CF%83%CE%AF%CF%83%CF%85%CF%86%CE%BF%CF%83",
    ] {
        assert_eq!(
            service.json(&format!("/racers?name={begin}")).await[0]["racerId"],
            5,
            "{begin}"
        );
    }
    let racer = service.json("/racers/4").await;
    let of_class = |class, seconds, second, output, rank, total, percentile| {
        json!({
            "classId": class, "seconds": seconds, "second": second, "output": output, "rank": rank, "total": total,
            "percentile": percentile,
        })
    };
    let classes = [
        of_class(1, 2, 7, json!(99.5), 1, 4, 75),
        of_class(2, 1, 0, json!(12.5), 1, 2, 50),
    ];
    assert_eq!(
        racer,
        json!({ "racerId": 4, "name": "hubba", "classes": classes })
    );
    let found = service.json("/racers?name=HUB").await;
    assert_eq!(
        found,
        json!([{ "racerId": 1, "name": "Hub, \"the\" Bert" }, { "racerId": 4, "name": "hubba" }])
    );
    assert_eq!(service.json("/racers?name=zz").await, json!([]));
    let csv = service
        .get("/racers?name=hubb&format=csv")
        .await
        .text()
        .await
        .unwrap();
    assert_eq!(csv, "racerId,name\r\n4,hubba\r\n");

    let crowd: Vec<Value> = (100..200)
        .map(|racer| json!({ "classId": 2, "second": 0, "racerId": racer, "output": 1, "name": "Crowd" }))
        .collect();
    service.deliver(&crowd).await;
    let found = service.json("/racers?name=c").await;
    let ids: Vec<u64> = found
        .as_array()
        .unwrap()
        .iter()
        .map(|found| found["racerId"].as_u64().unwrap())
        .collect();
    assert_eq!(ids, (100..150).collect::<Vec<_>>());

    is_problem(
        &service,
        "/racers/999",
        StatusCode::NOT_FOUND,
        &["racer 999"],
    )
    .await;
    is_problem(
        &service,
        "/racers/-1",
        StatusCode::NOT_FOUND,
        &["no racer -1"],
    )
    .await;
    is_problem(
        &service,
        "/racers",
        StatusCode::BAD_REQUEST,
        &["name is missing", "1 to 100"],
    )
    .await;
    is_problem(
        &service,
        "/racers?name=",
        StatusCode::BAD_REQUEST,
        &["name", "\"\"", "1 to 100"],
    )
    .await;
    is_problem(
        &service,
        &format!("/racers?name={}", "a".repeat(101)),
        StatusCode::BAD_REQUEST,
        &["1 to 100"],
    )
    .await;
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
            "{path} is not described"
        );
    }
    let moved = service.get("/docs").await;
    assert_eq!(header_of(&moved, header::LOCATION), "/docs/");
    let page = service.get("/docs/").await;
    assert_eq!(page.status(), StatusCode::OK);
    let policy = header_of(&page, header::CONTENT_SECURITY_POLICY);
    assert!(
        policy.contains("default-src 'none'") && policy.contains("script-src 'self';"),
        "{policy}"
    );
    let page = page.text().await.unwrap();
    let files = page
        .split('"')
        .filter(|text| text.ends_with(".js") || text.ends_with(".css"))
        .collect::<Vec<_>>();
    assert!(
        files.len() >= 3 && !page.contains("http://") && !page.contains("https://"),
        "{page}"
    );
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
            .contains("/openapi.json")
    );
    service.stop().await;
}
