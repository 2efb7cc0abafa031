//! Races, their live feed, and rides from the page, over HTTP.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect should stop there"
)]

mod support;

use std::collections::BTreeMap;

use alleycat::firehose_client::http_client_builder;
use reqwest::{Method, Response, StatusCode, header};
use serde_json::{Value, json};

use support::instance::Instance;
use support::test_store::TestStore;
use support::{Service, firehose_body, record, until};

/// Keeps rows of any time: the tests' records have small timestamps.
const KEPT: &str = "--races-kept=876000h";

const DEMO: &[&str] = &["--demo", "1", "--classes", "2", KEPT];

/// Returns a record of race 7.
fn race_record(second: u64, racer: u64, output: f64) -> Value {
    let mut record = record(1, second, racer, output);
    record["raceId"] = 7.into();
    record["deviceTimestamp"] = 100_000.into();
    record
}

fn as_final(mut record: Value) -> Value {
    record["event"] = "final".into();
    record
}

/// The live feed of a class, event by event.
struct LiveFeed {
    response: Response,
    text: String,
}

impl LiveFeed {
    async fn of(service: &Service, class: u64) -> Self {
        let response = service.get(&format!("/classes/{class}/live")).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(
            response.headers()[header::CONTENT_TYPE],
            "text/event-stream"
        );
        assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
        Self {
            response,
            text: String::new(),
        }
    }

    /// Returns the next event, or `None` at the end.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let fields: BTreeMap<_, _> = event
                    .lines()
                    .filter_map(|line| line.split_once(": "))
                    .collect();
                let event = fields
                    .get("event")
                    .map(|&name| (name.to_owned(), fields["data"].parse().unwrap()));
                self.text = rest.to_owned();
                if event.is_some() {
                    return event;
                }
                continue;
            }
            let chunk = self.response.chunk().await.unwrap()?;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    async fn next_of(&mut self, name: &str) -> Value {
        loop {
            let (other, data) = self.next().await.expect("an open stream");
            if other == name {
                return data;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn race_shows_each_racers_latest_second() {
    let service = Service::start(&["--classes", "2", KEPT]).await;
    assert_eq!(service.json("/classes/1/races").await, json!([]));
    let named = json!({
        "classId": 1, "second": 9, "racerId": 3, "output": 80.5, "name": "Hub, Bert", "raceId": 7,
        "deviceTimestamp": 109_000,
    });
    service
        .deliver(&[
            race_record(10, 1, 90.0),
            race_record(8, 2, 300.0),
            race_record(9, 2, 90.0),
            named,
            record(1, 5, 4, 1.0),
        ])
        .await;
    let race = json!({ "raceId": 7, "startedAt": 90_000, "racers": 3, "lastSecond": 10, "finished": false });
    assert_eq!(service.json("/classes/1/races").await, json!([race]));
    assert_eq!(
        service.json("/classes/1/races/7/leaderboard").await,
        json!({
            "classId": 1, "raceId": 7, "startedAt": 90_000, "racers": 3, "lastSecond": 10, "finished": false,
            "total": 3, "next": null, "previous": null,
            "standings": [
                { "rank": 1, "racerId": 1, "name": null, "output": 90, "second": 10 },
                { "rank": 1, "racerId": 2, "name": null, "output": 90, "second": 9 },
                { "rank": 3, "racerId": 3, "name": "Hub, Bert", "output": 80.5, "second": 9 },
            ],
        })
    );
    let page = service
        .json("/classes/1/races/7/leaderboard?limit=1&offset=1")
        .await;
    assert_eq!(page["standings"][0]["racerId"], 2);
    assert_eq!(page["racers"], 3);
    assert_eq!(page["standings"].as_array().unwrap().len(), 1);
    let csv = service
        .get("/classes/1/races/7/leaderboard?format=csv&offset=2")
        .await
        .text()
        .await
        .unwrap();
    assert_eq!(
        csv,
        "rank,racerId,name,output,second\r\n3,3,\"Hub, Bert\",80.5,9\r\n"
    );
    let csv = service
        .get("/classes/1/races?format=csv")
        .await
        .text()
        .await
        .unwrap();
    assert_eq!(
        csv,
        "raceId,startedAt,racers,lastSecond,finished\r\n7,90000,3,10,false\r\n"
    );
    service.deliver(&[as_final(race_record(11, 1, 1.0))]).await; // improves nothing but the race
    let races = service.json("/classes/1/races").await;
    assert_eq!(races[0]["lastSecond"], 11);
    assert_eq!(races[0]["finished"], true);
    assert_eq!(service.json("/classes/2/races").await, json!([]));
    for (path, status) in [
        ("/classes/3/races", StatusCode::NOT_FOUND),
        ("/classes/3/races/7/leaderboard", StatusCode::NOT_FOUND),
        ("/classes/1/races/8/leaderboard", StatusCode::NOT_FOUND),
        ("/classes/1/races/x/leaderboard", StatusCode::NOT_FOUND),
        (
            "/classes/1/races/7/leaderboard?limit=0",
            StatusCode::BAD_REQUEST,
        ),
        ("/classes/1/races?limit=0", StatusCode::BAD_REQUEST),
        ("/classes/1/races?offset=1", StatusCode::BAD_REQUEST),
        (
            "/classes/1/races/7/leaderboard?second=10",
            StatusCode::BAD_REQUEST,
        ),
        (
            "/classes/1/races/7/leaderboard?racerId=1&output=9",
            StatusCode::BAD_REQUEST,
        ),
        (
            "/classes/1/races/7/leaderboard?around=99",
            StatusCode::NOT_FOUND,
        ),
        ("/classes/1/live?second=1", StatusCode::BAD_REQUEST),
        ("/classes/3/live", StatusCode::NOT_FOUND),
    ] {
        let response = service.get(path).await;
        assert_eq!(response.status(), status, "{path}");
        assert_eq!(
            response.headers()[header::CONTENT_TYPE],
            "application/problem+json",
            "{path}"
        );
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn list_of_races_is_paged_by_its_links() {
    let service = Service::start(&["--classes", "1", KEPT]).await;
    let starts = (1..=5).map(|race: u64| {
        let mut start = race_record(0, 1, 90.0);
        start["raceId"] = race.into();
        start["deviceTimestamp"] = (race / 2 + 1).into(); // 2 and 3 start together, and 4 and 5
        start
    });
    service.deliver(&starts.collect::<Vec<_>>()).await;
    for format in ["json", "csv"] {
        let base = format!("/classes/1/races?limit=2&format={format}");
        let mut response = service.get(&base).await;
        let mut seen = Vec::new();
        loop {
            let link = response.headers().get(header::LINK);
            let link = link.map_or("", |link| link.to_str().unwrap()).to_owned();
            assert_eq!(link.contains("rel=\"prev\""), !seen.is_empty(), "{link}");
            let text = response.text().await.unwrap();
            seen.extend(match format {
                "csv" => race_ids_of_csv(&text),
                _ => race_ids(&text.parse().unwrap()),
            });
            let Some((next, _)) = link.split_once(">; rel=\"next\"") else {
                break;
            };
            let next = next.strip_prefix('<').unwrap();
            response = service.get(&format!("/classes/1/races{next}")).await;
        }
        assert_eq!(seen, [5, 4, 3, 2, 1], "{format}");
    }
    service.stop().await;
}

fn race_ids(races: &Value) -> Vec<u64> {
    let races = races.as_array().unwrap().iter();
    races.map(|race| race["raceId"].as_u64().unwrap()).collect()
}

fn race_ids_of_csv(text: &str) -> Vec<u64> {
    let rows = text.lines().skip(1);
    rows.map(|row| row.split(',').next().unwrap().parse().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn rejected_and_erased_racers_are_in_no_race() {
    let service = Service::start(&[
        "--classes",
        "1",
        "--max-racers",
        "2",
        "--admin-key",
        "k",
        KEPT,
    ])
    .await;
    service
        .deliver(&[
            race_record(1, 1, 90.0),
            race_record(1, 2, 90.0),
            race_record(1, 3, 90.0),
        ])
        .await;
    let racers = async || -> Vec<u64> {
        let board = service.get("/classes/1/races/7/leaderboard").await;
        let board: Value = board.text().await.unwrap().parse().unwrap();
        let rows = board["standings"].as_array().into_iter().flatten();
        rows.map(|row| row["racerId"].as_u64().unwrap()).collect()
    };
    assert_eq!(racers().await, [1, 2]);
    let erase = service
        .request(Method::DELETE, "/racers/1")
        .bearer_auth("k");
    assert_eq!(erase.send().await.unwrap().status(), StatusCode::OK);
    assert_eq!(racers().await, [2]);
    service.deliver(&[race_record(2, 1, 90.0)]).await;
    assert_eq!(racers().await, [2], "an erased ride is shown again");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn live_feed_sends_current_standings_then_durable_bests() {
    let service = Service::start(&["--classes", "2", KEPT]).await;
    let mut first = LiveFeed::of(&service, 1).await;
    service
        .deliver(&[race_record(1, 1, 90.0), race_record(1, 2, 95.0)])
        .await;
    let standings = first.next_of("standings").await;
    assert_eq!(
        standings,
        service.json("/classes/1/races/7/leaderboard").await
    );
    assert_eq!(standings["standings"][0]["racerId"], 2);
    let mut second = LiveFeed::of(&service, 1).await;
    assert_eq!(second.next_of("standings").await, standings);
    service
        .deliver(&[race_record(2, 1, 99.0), race_record(1, 2, 95.0)])
        .await;
    for events in [&mut first, &mut second] {
        assert_eq!(
            events.next_of("standings").await["standings"][0]["racerId"],
            1
        );
    }
    let bests = second.next_of("bests").await;
    let best = json!({ "racerId": 1, "name": null, "second": 2, "output": 99 });
    assert_eq!(
        bests,
        json!({ "classId": 1, "count": 1, "bests": [best] }),
        "an old best is pushed as new"
    );
    // The as_final listener goes, and later another comes.
    drop((first, second));
    service.deliver(&[as_final(race_record(3, 1, 80.0))]).await;
    let mut third = LiveFeed::of(&service, 1).await;
    while third.next_of("standings").await["finished"] == false {} // the feed may lag
    // An open feed does not delay the shutdown.
    service.stop().await;
    while third.next().await.is_some() {}
}

/// Returns the time now, in ms since 1970.
fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap().as_millis().try_into().unwrap()
}

fn at(time_ms: u64, mut record: Value) -> Value {
    record["deviceTimestamp"] = time_ms.into();
    record
}

#[tokio::test(flavor = "multi_thread")]
async fn final_survives_a_kill_and_a_position_a_stop() {
    let test_store = TestStore::folder();
    let options = ["--classes", "1"];
    let service = Instance::start(&test_store, &options).await;
    let now = now_ms();
    let finish = at(now, as_final(race_record(300, 1, 90.0)));
    let status = service.deliver(&[finish, race_record(1, 9, 1.0)]).await;
    assert_eq!(status, StatusCode::OK);
    service.kill();
    let service = Instance::start(&test_store, &options).await;
    let board = service.json("/classes/1/races/7/leaderboard").await;
    assert_eq!(board["finished"], true);
    assert_eq!(board["racers"], 1, "the row of 1970 has expired");
    assert_eq!(board["standings"][0]["second"], 300);
    let untimed = json!({ "classId": 1, "second": 5, "racerId": 2, "output": 80, "raceId": 8 });
    assert_eq!(service.deliver(&[untimed]).await, StatusCode::OK);
    service.terminate();
    service.wait_for_exit().await;
    let service = Instance::start(&test_store, &options).await;
    let races = service.json("/classes/1/races").await;
    let ids: Vec<_> = races
        .as_array()
        .unwrap()
        .iter()
        .map(|race| &race["raceId"])
        .collect();
    assert_eq!(ids, [8, 7], "the newest first");
    service.terminate();
    service.wait_for_exit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn finishes_are_the_best_finals_of_all_time() {
    let service = Service::start(&["--classes", "1", "--admin-key", "k"]).await;
    let finish = |race: u64, racer, output, time_ms| {
        let mut record = at(time_ms, as_final(race_record(300, racer, output)));
        record["raceId"] = race.into();
        record
    };
    let mut untimed = finish(9, 3, 90.0, 0);
    untimed.as_object_mut().unwrap().remove("deviceTimestamp");
    service
        .deliver(&[
            finish(7, 1, 80.0, 1_000),
            finish(8, 1, 90.0, 3_000), // better, and long expired as a race
            finish(7, 2, 90.0, 2_000),
            untimed,
            at(2_000, race_record(299, 4, 99.0)), // no final
        ])
        .await;
    let board = "/classes/1/leaderboard?by=finish";
    let row = |racer: u64, race: u64, time_ms: Value| json!({ "rank": 1, "racerId": racer, "name": null, "output": 90, "raceId": race, "at": time_ms });
    assert_eq!(
        service.json(board).await,
        json!({
            "classId": 1, "second": null, "total": 3, "next": null, "previous": null,
            "standings": [row(2, 7, 2_000.into()), row(1, 8, 3_000.into()), row(3, 9, Value::Null)],
        })
    );
    let first = service.json(&format!("{board}&limit=1&ties=ordinal")).await;
    let next = first["next"].as_str().unwrap();
    let second = service
        .json(&format!("{board}&limit=1&ties=ordinal&cursor={next}"))
        .await;
    assert_eq!(second["standings"][0]["racerId"], 1);
    assert_eq!(second["standings"][0]["rank"], 2);
    let what_if = service
        .json(&format!("{board}&racerId=4&output=90&around=4&limit=1"))
        .await;
    assert_eq!(what_if["standings"][0]["newRecord"], true);
    assert_eq!(what_if["standings"][0]["at"], Value::Null);
    assert_eq!(what_if["total"], 4);
    let csv = service.get(&format!("{board}&format=csv&limit=1")).await;
    assert!(csv.headers().contains_key(header::LINK));
    let csv = csv.text().await.unwrap();
    assert_eq!(
        csv,
        "rank,racerId,name,output,raceId,at\r\n1,2,,90,7,2000\r\n"
    );
    for (query, status) in [
        ("by=finish&second=1", StatusCode::BAD_REQUEST),
        ("by=output", StatusCode::BAD_REQUEST),
        ("by=finish&around=4", StatusCode::NOT_FOUND),
    ] {
        let response = service
            .get(&format!("/classes/1/leaderboard?{query}"))
            .await;
        assert_eq!(response.status(), status, "{query}");
    }
    let erase = service
        .request(Method::DELETE, "/racers/2")
        .bearer_auth("k");
    assert_eq!(erase.send().await.unwrap().status(), StatusCode::OK);
    assert_eq!(service.json(board).await["standings"][0]["racerId"], 1);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_expire_by_their_own_time() {
    let service = Service::start(&["--classes", "1", "--races-kept", "1h"]).await;
    let hour = 3_600_000;
    let (late, early) = (now_ms() - hour / 2, now_ms() - 2 * hour);
    service
        .deliver(&[
            at(late, race_record(5, 1, 90.0)),
            at(early, race_record(9, 2, 90.0)),
        ])
        .await;
    let board = service.json("/classes/1/races/7/leaderboard").await;
    assert_eq!(board["racers"], 1);
    assert_eq!(board["lastSecond"], 5);
    service.stop().await;
}

async fn send(
    service: &Service,
    kind: &str,
    body: impl Into<reqwest::Body>,
) -> (StatusCode, Value) {
    let response = service
        .request(Method::POST, "/rides")
        .header(header::CONTENT_TYPE, kind)
        .body(body);
    let response = response.send().await.unwrap();
    (
        response.status(),
        response.text().await.unwrap().parse().unwrap(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn demo_accepts_rides_as_deliveries() {
    let test_store = TestStore::folder();
    let service = Service::start_on(&test_store, DEMO).await;
    let ride = json!([
        { "uuid": "x", "event": "update", "deviceTimestamp": 1, "second": 1, "raceId": 77, "name": "Visitor",
          "racerId": 900_001, "classId": 1, "cadence": 80, "resistance": 78 },
        { "second": 2, "racerId": 900_001, "classId": 1, "cadence": 301, "resistance": 78, "mark": "glitch" },
        { "event": "final", "deviceTimestamp": 1, "second": 3, "raceId": 77, "racerId": 900_001, "classId": 1,
          "cadence": 300, "resistance": 100 },
        "no object",
    ]);
    let (status, response) = send(
        &service,
        "application/json; charset=utf-8",
        ride.to_string(),
    )
    .await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        response,
        json!({ "records": 4, "improvements": 2, "rejected": 2 })
    );
    let row = service
        .json("/classes/1/leaderboard?second=3&limit=1")
        .await["standings"][0]
        .clone();
    assert_eq!(
        row,
        json!({ "rank": 1, "racerId": 900_001, "name": "Visitor", "output": 552.75 })
    );
    let race = service.json("/classes/1/races/77/leaderboard").await;
    assert_eq!(race["finished"], true);
    assert_eq!(race["racers"], 1);
    let quarantined = quarantined(&test_store).await;
    assert!(
        quarantined.iter().any(|raw| raw.contains("glitch")),
        "{quarantined:?}"
    );
    assert!(
        quarantined.iter().any(|raw| raw == "\"no object\""),
        "{quarantined:?}"
    );

    let (status, response) = send(&service, "application/json", ride.to_string()).await;
    assert_eq!(status, StatusCode::OK, "again");
    assert_eq!(response["improvements"], 0, "again");
    for (kind, body, status) in [
        (
            "text/plain",
            ride.to_string(),
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ),
        ("application/json", "{}".to_owned(), StatusCode::BAD_REQUEST),
        ("application/json", "[1".to_owned(), StatusCode::BAD_REQUEST),
        (
            "application/json",
            json!(vec![0; 1001]).to_string(),
            StatusCode::BAD_REQUEST,
        ),
        (
            "application/json",
            " ".repeat((256 << 10) + 1),
            StatusCode::PAYLOAD_TOO_LARGE,
        ),
    ] {
        let (response_status, problem) = send(&service, kind, body).await;
        assert_eq!(response_status, status);
        assert_eq!(problem["status"], json!(status.as_u16()));
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn demo_starts_with_a_finished_race() {
    let test_store = TestStore::folder();
    let instance = Instance::start(&test_store, DEMO).await;
    let is_finished = async || {
        let races = instance.json("/classes/2/races").await;
        races
            .as_array()
            .unwrap()
            .iter()
            .any(|race| race["finished"] == true && race["lastSecond"] == 300)
    };
    until("a race is finished", is_finished).await;
    assert_eq!(
        instance.json("/classes/2/leaderboard?second=300").await["total"],
        1
    );
    instance.terminate();
    instance.wait_for_exit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn demo_outlives_its_access_key_and_logs_no_delivery() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys");
    std::fs::write(&keys, "old").unwrap();
    let test_store = TestStore::folder();
    let options = [DEMO, &["--access-key-file", keys.to_str().unwrap()]].concat();
    let instance = Instance::start(&test_store, &options).await;
    std::fs::write(&keys, "newer").unwrap();
    let delivery = async |key: &str| {
        let client = http_client_builder().no_proxy().build().unwrap();
        let post = client.post(instance.url("/firehose"));
        let post = post.header("x-amz-firehose-access-key", key);
        let response = post.body(firehose_body(&[])).send().await.unwrap();
        response.status()
    };
    until("the old key is refused", async || {
        delivery("old").await == StatusCode::UNAUTHORIZED
    })
    .await;
    let second = async || {
        let races = instance.json("/classes/1/races").await;
        let races = races.as_array().unwrap().iter();
        let running = races.filter(|race| race["finished"] == false);
        running.filter_map(|race| race["lastSecond"].as_u64()).max()
    };
    until("a race is running", async || second().await.is_some()).await;
    let before = second().await;
    until("the race goes on", async || second().await > before).await;
    assert_eq!(delivery("newer").await, StatusCode::OK);
    instance.terminate();
    instance.wait_for_exit().await;
    let log = instance.log();
    let (_, after) = log.split_once("listening on http://").unwrap();
    assert!(!after.contains("improvements"), "{log}");
    assert!(!after.contains("delivery failed"), "{log}");
}

/// Returns the raw data of all quarantined records.
async fn quarantined(test_store: &TestStore) -> Vec<String> {
    let data = |line: &Value| {
        base64_simd::STANDARD
            .decode_to_vec(line["rawData"].as_str().unwrap())
            .unwrap()
    };
    test_store
        .quarantine()
        .await
        .iter()
        .map(|line| String::from_utf8(data(line)).unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn rides_need_a_demo_and_the_same_origin() {
    let service = Service::start(&["--classes", "1"]).await;
    let (status, problem) = send(&service, "application/json", "[]").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(problem["status"], 404);
    let preflight = service
        .request(Method::OPTIONS, "/rides")
        .header(header::ORIGIN, "https://elsewhere.example")
        .header(header::ACCESS_CONTROL_REQUEST_METHOD, "POST")
        .header(header::ACCESS_CONTROL_REQUEST_HEADERS, "content-type")
        .send()
        .await
        .unwrap();
    let allowed = (preflight.headers()).get(header::ACCESS_CONTROL_ALLOW_ORIGIN);
    assert_eq!(allowed, None);
    service.stop().await;
}
