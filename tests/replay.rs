//! `alleycat replay`, the real binary, against a real service: from folders and from a bucket.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect should stop there"
)]

mod support;

use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::HeaderMap;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use support::authority::{Authority, ServerCertificate};
use support::instance::Instance;
use support::s3_server::S3Server;
use support::test_store::TestStore;
use support::{Service, alleycat, gzip, record, telemetry, until};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::sync::Notify;

fn error_line(code: &str, data: &str) -> String {
    let raw = base64_simd::STANDARD.encode_to_string(data);
    json!({"attemptsMade": 4, "arrivalTimestamp": 1, "errorCode": code, "errorMessage": "m",
           "attemptEndingTimestamp": 2, "rawData": raw})
    .to_string()
}

fn write(folder: &Path, name: &str, body: impl AsRef<[u8]>) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, body).unwrap();
}

async fn replay(environment: &[(&'static str, String)], to: &str, arguments: &[&str]) -> Output {
    let mut command = Command::from(alleycat(&["replay", "--to", to]));
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    command.args(arguments).kill_on_drop(true);
    tokio::time::timeout(support::DEADLINE, command.output())
        .await
        .expect("it ends")
        .unwrap()
}

fn summary(output: &Output) -> String {
    let (stdout, log) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    format!("{stdout}\n--- {log}")
}

/// Returns the first number after `word` in the summary.
fn summary_number(output: &Output, word: &str) -> u64 {
    let summary = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = summary
        .lines()
        .find_map(|line| line.strip_prefix(word))
        .unwrap_or_else(|| panic!("{word}: {summary}"));
    line.split_whitespace().next().unwrap().parse().unwrap()
}

async fn efforts(service: &Service) -> u64 {
    service.json("/classes").await[0]["efforts"]
        .as_u64()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn folder_of_every_format_replays_idempotently() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    write(
        path,
        "2026/11/24/10/stream-1-2026-11-24-10-00-00-a.gz",
        gzip([telemetry(1, 1, 1), telemetry(1, 2, 1)].concat()),
    );
    write(
        path,
        "2026/11/24/11/stream-1-2026-11-24-11-00-00-b",
        [telemetry(1, 3, 1), telemetry(1, 4, 1)].join("\n"),
    );
    let failed = [
        error_line("HttpEndpoint.RequestTimeout", &telemetry(1, 5, 1)),
        error_line("x", &telemetry(1, 6, 1)),
    ];
    write(
        path,
        "http-endpoint-failed/2026/11/24/10/stream-1.gz",
        gzip(failed.join("\n")),
    );
    write(
        path,
        "processing-failed/2026/11/24/10/k.ndjson.gz",
        gzip(error_line("Alleycat.out_of_bounds", &telemetry(1, 7, 1))),
    );
    let journal = [
        json!({"alleycat": "journal", "version": 1}),
        json!({"classId": 1, "second": 8, "racerId": 1, "output": 99.5, "deviceTimestamp": 1}),
        json!({"racerId": 1, "name": "Zoë", "at": 1}),
    ];
    write(
        path,
        "journal/x.ndjson.gz",
        gzip(journal.map(|line| line.to_string()).join("\n")),
    );
    write(path, "class-1.gz", gzip("{\"1\":{\"99\":500}}"));
    write(path, ".hidden", "not for us");
    let service = Service::start(&["--commit-interval", "0ms"]).await;
    let output = replay(&[], &service.url("/firehose"), &[path.to_str().unwrap()]).await;
    assert!(output.status.success(), "{}", summary(&output));
    assert_eq!(efforts(&service).await, 8);
    assert_eq!(summary_number(&output, "objects"), 5);
    assert_eq!(
        summary_number(&output, "records"),
        9,
        "eight efforts and a name"
    );
    assert_eq!(
        summary_number(&output, "improvements"),
        9,
        "both improve on the state before their delivery"
    );
    assert_eq!(service.json("/racers/1").await["name"], "Zoë");
    let again = replay(
        &[],
        &service.url("/firehose"),
        &[path.to_str().unwrap(), "--concurrency", "1"],
    )
    .await;
    assert!(again.status.success(), "{}", summary(&again));
    assert_eq!(summary_number(&again, "improvements"), 0);
    assert_eq!(efforts(&service).await, 8);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unreadable_and_rejected_records_are_reported() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    let cut = gzip(
        (0..2000)
            .map(|n: u64| telemetry(1, n % 500, 2 + n * 7919 % 1009))
            .collect::<String>(),
    );
    write(path, "cut.gz", &cut[..cut.len() / 2]);
    write(path, "picture.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR");
    let lines = format!(
        "{}\nnonsense\n{{\"classId\":1}}\n{}",
        telemetry(1, 1, 1),
        telemetry(1, 2, 1)
    );
    write(path, "lines", lines);
    let service = Service::start(&["--commit-interval", "0ms"]).await;
    let output = replay(&[], &service.url("/firehose"), &[path.to_str().unwrap()]).await;
    let text = summary(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("1 read, 0 snapshots skipped, 2 unreadable"),
        "{text}"
    );
    assert!(text.contains("picture.png: it holds no records"), "{text}");
    assert!(
        text.contains("rejected      2\n              1 json\n              1 missing\n"),
        "{text}"
    );
    assert!(efforts(&service).await > 100, "the part before the cut");
    let empty = TempDir::new().unwrap();
    write(empty.path(), ".hidden", "not for us");
    let source = empty.path().to_str().unwrap();
    let output = replay(&[], &service.url("/firehose"), &[source]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(
        summary(&output).contains("it holds no file"),
        "{}",
        summary(&output)
    );
    let missing = replay(&[], &service.url("/firehose"), &["nowhere/at/all"]).await;
    assert_eq!(missing.status.code(), Some(1));
    assert!(
        summary(&missing).contains("cannot replay nowhere/at/all"),
        "{}",
        summary(&missing)
    );
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn erased_racer_stays_erased() {
    const ADMIN: &str = "admin";
    let service = Service::start(&["--commit-interval", "0ms", "--admin-key", ADMIN]).await;
    let ridden = |racer: u64, at_ms: u64| {
        json!({"classId": 1, "second": 1, "racerId": racer, "output": 100, "deviceTimestamp": at_ms}).to_string()
    };
    let folder = TempDir::new().unwrap();
    write(
        folder.path(),
        "old",
        [ridden(1, 1_700_000_000_000), ridden(2, 1_700_000_000_000)].concat(),
    );
    let source = folder.path().to_str().unwrap();
    assert!(
        replay(&[], &service.url("/firehose"), &[source])
            .await
            .status
            .success()
    );
    let erase = service
        .request(Method::DELETE, "/racers/1")
        .bearer_auth(ADMIN)
        .send()
        .await
        .unwrap();
    assert_eq!(erase.status(), StatusCode::OK);
    assert_eq!(efforts(&service).await, 1);
    let output = replay(&[], &service.url("/firehose"), &[source]).await;
    assert_eq!(efforts(&service).await, 1);
    assert_eq!(summary_number(&output, "improvements"), 0);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unreachable_endpoint_ends_the_replay() {
    let folder = TempDir::new().unwrap();
    for number in 0..3 {
        write(folder.path(), &number.to_string(), telemetry(1, number, 1));
    }
    // A free port, on which nothing listens.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let to = format!("http://127.0.0.1:{port}/firehose");
    let output = replay(
        &[],
        &to,
        &[folder.path().to_str().unwrap(), "--retry-duration", "0s"],
    )
    .await;
    let summary = summary(&output);
    assert_eq!(output.status.code(), Some(1), "{summary}");
    assert!(summary.contains("0 acknowledged"), "{summary}");
    assert!(
        summary.contains("ended early   a delivery was given up"),
        "{summary}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_key_or_path_ends_the_replay_at_once() {
    let folder = TempDir::new().unwrap();
    write(folder.path(), "one", telemetry(1, 1, 1));
    let source = folder.path().to_str().unwrap();
    let service = Service::start(&["--commit-interval", "0ms", "--access-key", "k3y"]).await;
    for (key, path, expected) in [
        ("wrong", "/firehose", "given up after 1 tries"),
        ("wrong", "/firehose", "status 401: "),
        ("k3y", "/firehoze", "status 404: "),
    ] {
        let key = [("ALLEYCAT_REPLAY_ACCESS_KEY", key.to_owned())];
        let output = replay(&key, &service.url(path), &[source]).await;
        let summary = summary(&output);
        assert_eq!(output.status.code(), Some(1), "{summary}");
        let ended = summary.lines().find(|line| line.starts_with("ended early"));
        assert!(ended.unwrap_or_default().contains(expected), "{summary}");
    }
    // Of several keys, the first is sent.
    let keys = [("ALLEYCAT_ACCESS_KEY", "k3y,other".to_owned())];
    let output = replay(&keys, &service.url("/firehose"), &[source]).await;
    assert!(output.status.success(), "{}", summary(&output));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gzip_records_replay_from_plain_and_gzip_objects() {
    let folder = TempDir::new().unwrap();
    let records: Vec<_> = (1..=60)
        .map(|second| gzip(telemetry(1, second, 1)))
        .collect();
    write(folder.path(), "plain", records.concat());
    write(folder.path(), "lines", records.join(&b'\n'));
    write(folder.path(), "gzip", gzip(records.concat()));
    for name in ["plain", "lines", "gzip"] {
        let service = Service::start(&["--commit-interval", "0ms"]).await;
        let path = folder.path().join(name);
        let output = replay(&[], &service.url("/firehose"), &[path.to_str().unwrap()]).await;
        assert!(output.status.success(), "{}", summary(&output));
        assert_eq!(efforts(&service).await, 60, "{name}");
        service.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_record_does_not_block_others() {
    let folder = TempDir::new().unwrap();
    let long = telemetry(1, 2, 1).replace('}', &format!(",\"note\":\"{}\"}}", "x".repeat(200_000)));
    // The records together exceed the limit, and one record does alone.
    let few: String = (100..600).map(|second| telemetry(1, second, 1)).collect();
    for (name, body) in [
        ("1", telemetry(1, 1, 1)),
        ("2", long),
        ("3", few),
        ("4", telemetry(1, 4, 1)),
    ] {
        write(folder.path(), name, body);
    }
    let service = Service::start(&["--commit-interval", "0ms", "--max-body-size", "32KiB"]).await;
    let source = folder.path().to_str().unwrap();
    let output = replay(
        &[],
        &service.url("/firehose"),
        &[source, "--concurrency", "1"],
    )
    .await;
    let summary = summary(&output);
    assert_eq!(output.status.code(), Some(1), "{summary}");
    assert!(summary.contains("503 read, 502 acknowledged"), "{summary}");
    assert!(
        summary.contains("refused       1; last error: status 400: the body is over 32768 bytes"),
        "{summary}"
    );
    assert_eq!(efforts(&service).await, 502);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn interrupted_replay_reports_its_counts() {
    let folder = TempDir::new().unwrap();
    write(
        folder.path(),
        "one",
        (0..30_000)
            .map(|n| telemetry(1, n % 600, n / 600))
            .collect::<String>(),
    );
    let (second, came) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let waits = second.clone();
    let endpoint = move |headers: HeaderMap| async move {
        if came.fetch_add(1, Ordering::Relaxed) > 0 {
            waits.notify_one();
            std::future::pending::<()>().await;
        }
        let id = headers["x-amz-firehose-request-id"]
            .to_str()
            .unwrap()
            .to_owned();
        axum::Json(json!({"requestId": id, "timestamp": 1}))
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = format!("http://{}/firehose", listener.local_addr().unwrap());
    let router = axum::Router::new().route("/firehose", axum::routing::post(endpoint));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let source = folder.path().to_str().unwrap();
    let arguments = ["replay", source, "--to", &to, "--concurrency", "1"];
    let replay = Command::from(alleycat(&arguments))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    tokio::time::timeout(support::DEADLINE, second.notified())
        .await
        .expect("a second delivery");
    support::signal(replay.id().unwrap(), "-INT");
    let output = tokio::time::timeout(support::DEADLINE, replay.wait_with_output())
        .await
        .expect("it ends")
        .unwrap();
    let summary = summary(&output);
    assert_eq!(output.status.code(), Some(1), "{summary}");
    assert!(
        summary.contains("20000 read, 10000 acknowledged"),
        "{summary}"
    );
    assert!(summary.contains("ended early   interrupted"), "{summary}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bucket_replays_whole_by_prefix_or_object() {
    let server = S3Server::start().await;
    let client = server.client().await;
    client
        .create_bucket()
        .bucket("failed")
        .send()
        .await
        .unwrap();
    let put = async |key: String, body: Vec<u8>| {
        client
            .put_object()
            .bucket("failed")
            .key(key)
            .body(body.into())
            .send()
            .await
            .unwrap();
    };
    // More objects than one page of a listing.
    for number in 0..1100_u64 {
        put(
            format!("http-endpoint-failed/{number}"),
            error_line("x", &telemetry(1, number % 600, number)).into_bytes(),
        )
        .await;
    }
    put(
        "http-endpoint-failed-not/1".to_owned(),
        telemetry(1, 1, 5000).into_bytes(),
    )
    .await;
    put("one.gz".to_owned(), gzip(telemetry(1, 1, 5001))).await;
    let service = Service::start(&["--commit-interval", "0ms", "--access-key", "k3y"]).await;
    let environment: Vec<_> = server
        .environment()
        .into_iter()
        .chain([("ALLEYCAT_ACCESS_KEY", "k3y".to_owned())])
        .collect();
    let to = service.url("/firehose");
    for (source, total) in [
        ("s3://failed/http-endpoint-failed", 1100),
        ("s3://failed/one.gz", 1101),
        ("s3://failed", 1102),
    ] {
        let output = replay(&environment, &to, &[source, "--gzip"]).await;
        assert!(output.status.success(), "{}", summary(&output));
        assert_eq!(efforts(&service).await, total, "{source}");
    }
    let output = replay(&environment, &to, &["s3://nobody"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(
        summary(&output).contains("no bucket `nobody`"),
        "{}",
        summary(&output)
    );
    service.stop().await;
}

/// Returns the summary from the improvements on.
fn counts(output: &Output) -> String {
    let summary = String::from_utf8_lossy(&output.stdout).into_owned();
    let (_, counts) = summary.split_once("\nimprovements").expect("a summary");
    counts.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn dry_run_counts_what_the_real_run_then_does() {
    let options = ["--classes", "2", "--max-second", "300", "--query-key", "q"];
    let service = Service::start(&[&options[..], &["--commit-interval", "0ms"]].concat()).await;
    let ridden = |class: u64, second: u64, racer: u64, output: f64| {
        json!({"classId": class, "second": second, "racerId": racer, "output": output}).to_string()
    };
    let read = async |path: &str| {
        let request = service.request(Method::GET, path).bearer_auth("q");
        let body = request.send().await.unwrap().bytes().await.unwrap();
        serde_json::from_slice::<Value>(&body).unwrap()
    };
    service.deliver(&[record(1, 1, 1, 100.0)]).await;
    until("the history has it", async || {
        read("/classes/1/history").await["1"]["1"] == 100
    })
    .await;
    let folder = TempDir::new().unwrap();
    let better = ridden(1, 1, 1, 101.0);
    let lines = [
        ridden(1, 1, 1, 100.0), // equal
        better.clone(),
        ridden(1, 1, 1, 102.0), // the same racer and second
        ridden(2, 300, 1, 5.0),
        ridden(2, 301, 1, 5.0), // out of bounds here
        ridden(3, 1, 1, 5.0),   // as well
        r#"{"classId":1}"#.to_owned(),
        "nonsense".to_owned(),
    ];
    write(folder.path(), "1", lines.join("\n"));
    // More records than a delivery has, so that a second one compares with the first.
    let many: String = (0..10_000)
        .map(|n| ridden(1, n % 300, 2 + n / 300, 50.0))
        .collect();
    write(folder.path(), "2.gz", gzip(many));
    let gzipped = [gzip(better), gzip(ridden(2, 7, 7, 7.0)), gzip("no object")];
    write(folder.path(), "3", gzipped.concat());
    let source = [folder.path().to_str().unwrap(), "--concurrency", "1"];
    let run = async |more: &[&str]| {
        let arguments = [&source[..], more].concat();
        replay(&[], &service.url("/firehose"), &arguments).await
    };
    let before = read("/classes").await;
    let refused = run(&["--dry-run"]).await;
    assert!(
        summary(&refused).contains("needs another --query-key"),
        "{}",
        summary(&refused)
    );
    let dry = run(&["--dry-run", "--query-key", "q"]).await;
    assert!(
        summary(&dry).contains("nothing was sent"),
        "{}",
        summary(&dry)
    );
    assert_eq!(read("/classes").await, before);
    let real = run(&[]).await;
    assert_eq!(counts(&dry), counts(&real), "{}", summary(&dry));
    assert_eq!(dry.status.code(), real.status.code());
    assert_eq!(summary_number(&dry, "rejected"), 5, "{}", summary(&dry));
    assert_eq!(
        summary_number(&dry, "improvements"),
        10_004,
        "{}",
        summary(&dry)
    );
    // Once the histories have it, nothing is left to improve.
    until("the histories have it", async || {
        read("/classes/2/history").await["7"]["7"] == 7
            && read("/classes/1/history").await["99"]["35"] == 50
    })
    .await;
    let again = run(&["--dry-run", "--query-key", "q"]).await;
    assert_eq!(summary_number(&again, "improvements"), 0);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn own_store_replays_into_another_service() {
    let first = Service::start(&["--commit-interval", "0ms", "--snapshot-interval", "1h"]).await;
    let records: Vec<Value> = (1..=50)
        .map(|second| record(1, second, second % 7, 100.0 + second as f64))
        .collect();
    first.deliver(&records).await;
    let second = Service::start(&["--commit-interval", "0ms"]).await;
    let output = replay(
        &[],
        &second.url("/firehose"),
        &[first.folder().to_str().unwrap()],
    )
    .await;
    assert!(output.status.success(), "{}", summary(&output));
    let hash = async |service: &Service| service.json("/classes").await[0]["stateHash"].clone();
    assert_eq!(hash(&first).await, hash(&second).await);
    first.stop().await;
    second.stop().await;
}

/// Records after a snapshot, or after 2000 lines of text, are delivered.
#[tokio::test(flavor = "multi_thread")]
async fn records_after_other_content_are_delivered() {
    let folder = TempDir::new().unwrap();
    let ridden = |racer: u64| telemetry(1, 1, racer);
    let named = r#"{"5":{"name":"x","at":1}}"#;
    write(
        folder.path(),
        "1",
        format!("{{\"1\":{{\"5\":150}}}}\n{}", ridden(1)),
    );
    write(folder.path(), "2", format!("{named}\n{}", ridden(2)));
    let members = [gzip("{\"1\":{\"5\":150}}"), gzip(ridden(3))];
    write(folder.path(), "3.gz", members.concat());
    write(folder.path(), "4", "x\n".repeat(2000) + &ridden(4));
    write(folder.path(), "5", "{\"classId\":1,\"second\":01}");
    // As an access log of the error output: no record of a delivery is gzip within gzip.
    let raw = base64_simd::STANDARD.encode_to_string(gzip(gzip(ridden(6))));
    write(
        folder.path(),
        "6",
        json!({"attemptsMade": 1, "rawData": raw}).to_string(),
    );
    let service = Service::start(&["--commit-interval", "0ms"]).await;
    let source = folder.path().to_str().unwrap();
    for run in [&["--dry-run"][..], &[]] {
        let arguments = [&[source][..], run].concat();
        let output = replay(&[], &service.url("/firehose"), &arguments).await;
        let text = summary(&output);
        assert!(
            text.contains("6 read, 3 snapshots skipped, 0 unreadable"),
            "{text}"
        );
        assert_eq!(summary_number(&output, "improvements"), 4, "{text}");
        assert_eq!(summary_number(&output, "rejected"), 2002, "{text}");
        assert!(text.contains("1 utf8"), "{text}");
    }
    assert_eq!(efforts(&service).await, 4);
    // A journal that was cut is replayed so far, and reported.
    let journal = format!(
        "{{\"alleycat\":\"journal\",\"version\":1,\"lines\":5}}\n{}",
        ridden(7)
    );
    let cut = TempDir::new().unwrap();
    write(cut.path(), "cut.ndjson.gz", gzip(journal));
    let source = cut.path().to_str().unwrap();
    let output = replay(&[], &service.url("/firehose"), &[source]).await;
    assert_eq!(output.status.code(), Some(1));
    let text = summary(&output);
    assert!(text.contains("it is incomplete: 4 lines"), "{text}");
    assert_eq!(efforts(&service).await, 5);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_folder_hides_is_counted() {
    let folder = TempDir::new().unwrap();
    for name in ["a.tmp", "sub/x~", ".h", ".d/x"] {
        write(folder.path(), name, telemetry(1, 1, 1));
    }
    let pipe = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(pipe).status();
    assert!(made.unwrap().success());
    let service = Service::start(&["--commit-interval", "0ms"]).await;
    let source = folder.path().to_str().unwrap();
    let output = replay(&[], &service.url("/firehose"), &[source]).await;
    assert!(output.status.success(), "{}", summary(&output));
    assert_eq!(summary_number(&output, "objects"), 2);
    assert_eq!(summary_number(&output, "passed over"), 3);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoint_without_trusted_tls_ends_the_replay_at_once() {
    let folder = TempDir::new().unwrap();
    write(folder.path(), "one", telemetry(1, 1, 1));
    let source = folder.path().to_str().unwrap();
    let certificate = ServerCertificate::new();
    Authority::new().issue(&certificate);
    let test_store = TestStore::folder();
    let with_tls = Instance::start_tls(&test_store, &certificate).await;
    let plain = Service::start(&[]).await;
    for to in [
        format!("https://{}/firehose", with_tls.address()),
        plain.url("/firehose").replace("http:", "https:"),
    ] {
        let output = replay(&[], &to, &[source]).await;
        let text = summary(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(
            text.contains("given up after 1 tries") && text.contains("no trusted connection"),
            "{text}"
        );
    }
    plain.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redirect_is_not_followed() {
    let folder = TempDir::new().unwrap();
    write(folder.path(), "one", telemetry(1, 1, 1));
    let service = Service::start(&[]).await;
    let elsewhere = service.url("/openapi.json");
    let redirect = move || {
        let elsewhere = elsewhere.clone();
        async move { axum::response::Redirect::temporary(&elsewhere) }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = format!("http://{}/firehose", listener.local_addr().unwrap());
    let router = axum::Router::new().fallback(redirect);
    tokio::spawn(async move { axum::serve(listener, router).await });
    let source = folder.path().to_str().unwrap();
    for (run, expected) in [(&["--dry-run"][..], "responds 307"), (&[], "status 307")] {
        let output = replay(&[], &to, &[&[source][..], run].concat()).await;
        assert_eq!(output.status.code(), Some(1));
        assert!(summary(&output).contains(expected), "{}", summary(&output));
    }
    service.stop().await;
}
