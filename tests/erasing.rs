//! Erasing over HTTP: one request removes a racer from every instance and from the store for good,
//! even if instances are killed meanwhile.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect should stop there"
)]

mod support;

use std::time::{Duration, SystemTime};

use alleycat::firehose_client::http_client_builder;
use axum::http::StatusCode;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use support::instance::Instance;
use support::pausing_proxy::PausingProxy;
use support::s3_server::S3Server;
use support::test_store::TestStore;
use support::{gunzip, until};

/// The shortest intervals that the options allow.
const OPTIONS: [&str; 8] = [
    "--commit-interval",
    "10ms",
    "--sync-interval",
    "100ms",
    "--snapshot-interval",
    "300ms",
    "--admin-key",
    "hush",
];

fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_millis() as u64
}

fn ride(class: u16, second: u32, racer: u64, output: f64, time: u64) -> Value {
    let mut ride =
        json!({ "classId": class, "second": second, "racerId": racer, "output": output });
    ride["name"] = json!(format!("Racer {racer}"));
    ride["deviceTimestamp"] = json!(time);
    ride
}

/// Returns yesterday's rides in two classes. Racer 7's outputs are too high.
fn yesterday() -> Vec<Value> {
    let time = now_ms() - 24 * 3_600_000;
    let honest = (1..=3).flat_map(|racer| {
        (1..=2).map(move |class| ride(class, 1, racer, 100.0 + racer as f64, time))
    });
    let cheat = (1..=2).flat_map(|class| {
        (1..=3).map(move |second| ride(class, second, 7, 500.0 + f64::from(second), time))
    });
    honest.chain(cheat).collect()
}

async fn request(instance: &Instance, method: Method, path: &str, key: Option<&str>) -> Response {
    let client = http_client_builder()
        .no_proxy()
        .timeout(Duration::from_secs(60))
        .build()
        .unwrap();
    let request = client.request(method, instance.url(path));
    let request = match key {
        Some(key) => request.header("authorization", format!("Bearer {key}")),
        None => request,
    };
    // The instance may be killed during the request: status 599 stands for no response.
    request.send().await.unwrap_or_else(|error| {
        Response::from(
            axum::http::Response::builder()
                .status(599)
                .body(error.to_string())
                .unwrap(),
        )
    })
}

async fn erase(instance: &Instance, path: &str) -> (StatusCode, Value) {
    let response = request(instance, Method::DELETE, path, Some("hush")).await;
    (
        response.status(),
        serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or_default(),
    )
}

/// Returns the racers in a class's history.
fn racers(history: &[u8]) -> Vec<String> {
    let seconds: Value = serde_json::from_str(&gunzip(history)).unwrap();
    let mut racers: Vec<String> = seconds
        .as_object()
        .unwrap()
        .values()
        .flat_map(|second| second.as_object().unwrap().keys().cloned())
        .collect();
    racers.sort();
    racers.dedup();
    racers
}

async fn racers_of(instance: &Instance, class: u16) -> Vec<String> {
    racers(&instance.bytes(&format!("/class-{class}.gz")).await)
}

/// Returns whether an instance shows only racers 1 to 3, in both classes and by name.
async fn is_clean(instance: &Instance) -> bool {
    let names = instance.json("/racers?name=racer").await;
    racers_of(instance, 1).await == ["1", "2", "3"]
        && racers_of(instance, 2).await == ["1", "2", "3"]
        && names.as_array().unwrap().len() == 3
        && request(instance, Method::GET, "/racers/7", None)
            .await
            .status()
            == StatusCode::NOT_FOUND
}

/// Returns whether the stored histories hold exactly these racers.
async fn holds(test_store: &TestStore, expected: &[&str]) -> bool {
    for key in ["class-1.gz", "class-2.gz"] {
        let Some(stored) = test_store.get(key).await else {
            return false;
        };
        if racers(&stored) != expected {
            return false;
        }
    }
    true
}

/// Delivers yesterday's rides again, as a replay does, also without times, and checks that nothing
/// changes.
async fn replay_changes_nothing(instance: &Instance, yesterday: &[Value]) {
    assert_eq!(instance.deliver(yesterday).await, StatusCode::OK);
    let mut timeless = yesterday.to_vec();
    timeless
        .iter_mut()
        .for_each(|ride| drop(ride.as_object_mut().unwrap().remove("deviceTimestamp")));
    assert_eq!(instance.deliver(&timeless).await, StatusCode::OK);
    assert!(
        is_clean(instance).await,
        "a replay brings back what was erased"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_between_any_two_writes_of_an_erasure_recovers() {
    let server = S3Server::shared().await;
    let mut kills = 0;
    for points in 0.. {
        let test_store = TestStore::on(server.clone()).await;
        let proxy = PausingProxy::start(server.endpoint()).await;
        let mut through_proxy = test_store.environment();
        through_proxy.push(("AWS_ENDPOINT_URL", proxy.endpoint().to_owned()));
        let mut one = Instance::start_with_environment(&through_proxy, &test_store, &OPTIONS).await;
        let other = Instance::start(&test_store, &OPTIONS).await;
        let yesterday = yesterday();
        assert_eq!(one.deliver(&yesterday).await, StatusCode::OK);
        until("the bucket has the cheat", async || {
            holds(&test_store, &["1", "2", "3", "7"]).await
        })
        .await;

        proxy.pause_after(points);
        let erase_cheat = async {
            let (status, erased) = erase(&one, "/racers/7?reason=cheat").await;
            assert_eq!(status, StatusCode::OK);
            assert_eq!(erased["efforts"], 6);
            assert_eq!(erased["reason"], "cheat");
            until("the bucket is clean", async || {
                holds(&test_store, &["1", "2", "3"]).await
            })
            .await;
        };
        let paused = tokio::select! {
            paused = proxy.paused_write() => Some(paused),
            () = erase_cheat => None,
        };
        if paused.is_some() {
            kills += 1;
            one.kill();
            proxy.stop_pausing();
            one.restart().await;
            assert_eq!(
                erase(&one, "/racers/7?reason=cheat").await.0,
                StatusCode::OK,
                "{paused:?}"
            );
        } else {
            proxy.stop_pausing();
        }
        assert!(
            is_clean(&one).await,
            "not erased at once on its own instance: {paused:?}"
        );
        until("the other instance erased", async || is_clean(&other).await).await;
        until("the bucket is clean", async || {
            holds(&test_store, &["1", "2", "3"]).await
        })
        .await;
        for instance in [&one, &other] {
            replay_changes_nothing(instance, &yesterday).await;
        }
        let fresh = Instance::start(&test_store, &OPTIONS).await;
        assert!(
            is_clean(&fresh).await,
            "a start brings back what was erased: {paused:?}"
        );
        if paused.is_none() {
            break;
        }
    }
    assert!(kills >= 6, "only {kills} pause points");
}

#[tokio::test(flavor = "multi_thread")]
async fn folder_erasure_survives_a_kill() {
    for moment in ["erasures.gz", "class-1.gz", "racers.gz"] {
        let test_store = TestStore::folder();
        let mut instance = Instance::start(&test_store, &OPTIONS).await;
        let yesterday = yesterday();
        assert_eq!(instance.deliver(&yesterday).await, StatusCode::OK);
        until("the folder has the cheat", async || {
            holds(&test_store, &["1", "2", "3", "7"]).await
                && test_store.get("racers.gz").await.is_some()
        })
        .await;
        let before = test_store.get(moment).await;
        tokio::join!(erase(&instance, "/racers/7"), async {
            until("the object is written", async || {
                test_store.get(moment).await != before
            })
            .await;
        });
        instance.kill();
        instance.restart().await;
        assert!(
            is_clean(&instance).await,
            "after a kill when {moment} was written"
        );
        until("the folder is clean", async || {
            holds(&test_store, &["1", "2", "3"]).await
        })
        .await;
        replay_changes_nothing(&instance, &yesterday).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replay_restores_the_best_beneath_an_erased_glitch() {
    let test_store = TestStore::folder();
    let instance = Instance::start(&test_store, &OPTIONS).await;
    let time = now_ms() - 1000;
    let best = ride(1, 4, 9, 200.0, time);
    let others = [
        ride(1, 4, 8, 480.0, time),
        ride(1, 5, 9, 490.0, time),
        ride(2, 4, 9, 495.0, time),
    ];
    assert_eq!(
        instance.deliver(&[ride(1, 4, 9, 500.0, time)]).await,
        StatusCode::OK
    );
    assert_eq!(
        instance.deliver(std::slice::from_ref(&best)).await,
        StatusCode::OK
    );
    assert_eq!(instance.deliver(&others).await, StatusCode::OK);
    let (status, erased) = erase(&instance, "/classes/1/racers/9?second=4&above=300").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(erased["efforts"], 1);
    assert_eq!(erased["from"], 4);
    assert_eq!(erased["to"], 4);
    let curve = async || instance.json("/classes/1/racers/9").await["seconds"].clone();
    let outputs = async || -> Vec<f64> {
        curve()
            .await
            .as_array()
            .unwrap()
            .iter()
            .map(|point| point["output"].as_f64().unwrap())
            .collect()
    };
    assert_eq!(outputs().await, [490.0]);
    assert_eq!(
        instance.deliver(&[ride(1, 4, 9, 500.0, time), best]).await,
        StatusCode::OK
    );
    assert_eq!(outputs().await, [200.0, 490.0]);
    assert_eq!(
        instance.json("/classes/2/racers/9").await["seconds"][0]["output"],
        495.0
    );
    assert_eq!(
        instance.json("/classes/1/racers/8").await["seconds"][0]["output"],
        480.0
    );
    let mut timeless = ride(1, 4, 9, 501.0, 0);
    timeless.as_object_mut().unwrap().remove("deviceTimestamp");
    assert_eq!(instance.deliver(&[timeless]).await, StatusCode::OK);
    assert_eq!(outputs().await, [200.0, 490.0]);
    let quarantined = test_store.quarantine().await;
    assert_eq!(quarantined.len(), 1);
    assert_eq!(quarantined[0]["errorCode"], "Alleycat.erased");
    let why = quarantined[0]["errorMessage"].as_str().unwrap();
    assert!(why.contains("racerId was erased"), "{why}");
    assert!(why.contains("deviceTimestamp"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn later_rides_count_on_every_instance() {
    let test_store = TestStore::bucket().await;
    let one = Instance::start(&test_store, &OPTIONS).await;
    let other = Instance::start(&test_store, &OPTIONS).await;
    assert_eq!(one.deliver(&yesterday()).await, StatusCode::OK);
    let of_seven = async || {
        request(&other, Method::GET, "/racers/7", None)
            .await
            .status()
    };
    until("the other has the cheat", async || {
        of_seven().await == StatusCode::OK
    })
    .await;
    let (status, erased) = erase(&one, "/racers/7").await;
    assert_eq!(status, StatusCode::OK);
    until("the other instance erased", async || {
        of_seven().await == StatusCode::NOT_FOUND
    })
    .await;
    let until_ms = erased["until"].as_u64().unwrap();
    assert!(
        (25_000..=30_000).contains(&(until_ms - now_ms())),
        "until is not 30 s ahead"
    );
    // Rides before and after the end of the erasure: an acknowledged later ride must count.
    let mut first_that_stood = 0;
    while first_that_stood == 0 {
        let time = now_ms();
        assert_eq!(
            other.deliver(&[ride(1, 1, 7, 150.0, time)]).await,
            StatusCode::OK
        );
        let stands = of_seven().await == StatusCode::OK;
        assert!(
            stands || time <= until_ms,
            "an acknowledged later ride does not count"
        );
        if stands {
            first_that_stood = time;
        }
        tokio::time::sleep(Duration::from_millis(200)).await; // the test waits for a time of day
    }
    assert!(
        first_that_stood > until_ms,
        "a ride of {first_that_stood} counts until {until_ms}"
    );
    until("the later ride is seen", async || {
        racers_of(&one, 1).await == ["1", "2", "3", "7"]
    })
    .await;
    assert_eq!(one.json("/racers/7").await["name"], "Racer 7");
    let hashes =
        async |instance: &Instance| instance.json("/classes").await[0]["stateHash"].clone();
    assert_eq!(hashes(&one).await, hashes(&other).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn erasing_needs_the_admin_key_and_valid_parameters() {
    let test_store = TestStore::folder();
    let mut options = OPTIONS.to_vec();
    options.truncate(6);
    let keyless = Instance::start(&test_store, &options).await;
    assert_eq!(keyless.deliver(&yesterday()).await, StatusCode::OK);
    for (method, path) in [
        (Method::DELETE, "/racers/7"),
        (Method::DELETE, "/classes/1/racers/7"),
        (Method::GET, "/erasures"),
    ] {
        let response = request(&keyless, method.clone(), path, Some("hush")).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{method} {path}");
    }
    drop(keyless);

    let keys = tempfile::tempdir().unwrap();
    let key_file = keys.path().join("admin.key");
    std::fs::write(&key_file, "{\"api_key\":\"other\"}").unwrap();
    let mut options = OPTIONS.to_vec();
    options.extend(["--admin-key-file", key_file.to_str().unwrap()]);
    let instance = Instance::start(&test_store, &options).await;
    for key in [
        None,
        Some(""),
        Some("hus"),
        Some("hush2"),
        Some("Bearer hush"),
    ] {
        for (method, path) in [(Method::DELETE, "/racers/7"), (Method::GET, "/erasures")] {
            let response = request(&instance, method, path, key).await;
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{key:?}");
            assert_eq!(response.headers()["www-authenticate"], "Bearer");
        }
    }
    for (path, status, says) in [
        (
            "/classes/1/racers/7?second=x",
            StatusCode::BAD_REQUEST,
            "second is \"x\"",
        ),
        (
            "/classes/1/racers/7?second=601",
            StatusCode::BAD_REQUEST,
            "from 0 to 600",
        ),
        (
            "/classes/1/racers/7?second=last",
            StatusCode::BAD_REQUEST,
            "second is \"last\"",
        ),
        (
            "/classes/1/racers/7?second=1&to=2",
            StatusCode::BAD_REQUEST,
            "second is 1 and to is 2",
        ),
        (
            "/classes/1/racers/7?from=3&to=2",
            StatusCode::BAD_REQUEST,
            "from is 3 and to is 2",
        ),
        (
            "/classes/1/racers/7?above=-1",
            StatusCode::BAD_REQUEST,
            "above is \"-1\"",
        ),
        (
            "/classes/1/racers/7?above=NaN",
            StatusCode::BAD_REQUEST,
            "above is \"NaN\"",
        ),
        (
            "/racers/7?second=1",
            StatusCode::BAD_REQUEST,
            "\"second\" is \"1\"; unknown parameter; this path takes",
        ),
        (
            "/racers/7?class=1",
            StatusCode::BAD_REQUEST,
            "\"class\" is \"1\"; unknown parameter; this path takes",
        ),
        ("/classes/7/racers/7", StatusCode::NOT_FOUND, "no class 7"),
        ("/racers/seven", StatusCode::NOT_FOUND, "no racer \"seven\""),
    ] {
        let response = request(&instance, Method::DELETE, path, Some("hush")).await;
        assert_eq!(response.status(), status, "{path}");
        let text = response.text().await.unwrap();
        let problem: Value = serde_json::from_str(&text).unwrap();
        assert!(
            problem["detail"].as_str().unwrap().contains(says),
            "{path}: {text}"
        );
    }
    let long = "x".repeat(201);
    assert_eq!(
        erase(&instance, &format!("/racers/7?reason={long}"))
            .await
            .0,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(
        racers_of(&instance, 1).await,
        ["1", "2", "3", "7"],
        "a mistake erases nothing"
    );

    assert_eq!(
        erase(&instance, "/classes/1/racers/7?from=2&reason=glitch")
            .await
            .1["efforts"],
        2
    );
    assert_eq!(
        erase(&instance, "/classes/1/racers/7?from=2").await.1["efforts"],
        0,
        "erased twice"
    );
    assert_eq!(
        erase(&instance, "/racers/77").await.1["efforts"],
        0,
        "an unknown racer"
    );
    let listed = request(&instance, Method::GET, "/erasures", Some("other")).await;
    assert_eq!(listed.status(), StatusCode::OK);
    assert_eq!(listed.headers()["cache-control"], "no-store");
    let listed: Value = serde_json::from_slice(&listed.bytes().await.unwrap()).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 2, "{listed}");
    assert_eq!(listed[0]["racerId"], 7);
    assert_eq!(listed[0]["classId"], 1);
    assert_eq!(listed[0]["from"], 2);
    assert_eq!(listed[1]["racerId"], 77);
    assert_eq!(listed[1]["classId"], Value::Null);
    let csv = request(&instance, Method::GET, "/erasures?format=csv", Some("hush"))
        .await
        .text()
        .await
        .unwrap();
    assert!(
        csv.starts_with("racerId,classId,from,to,above,until,reason,version\r\n7,1,2,,,"),
        "{csv}"
    );
}
