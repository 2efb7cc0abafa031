//! The metrics, compared with those that the dashboard and the alerts under `deploy/` query.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect should stop there"
)]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;

use alleycat::firehose_client::http_client_builder;
use alleycat::storage::{ObjectKey, SegmentId};
use serde_json::{Value, json};
use support::instance::Instance;
use support::s3_server::S3Server;
use support::test_store::TestStore;
use support::{connection_served, free_port, record, until};

/// Returns every metric name in a text.
fn metric_names(text: &str) -> BTreeSet<String> {
    let words = text.split(|char: char| !char.is_ascii_alphanumeric() && char != '_');
    let ours = words.filter(|word| word.starts_with("alleycat_") || word.starts_with("process_"));
    ours.map(str::to_owned).collect()
}

/// Returns the metrics that the dashboard's panels and the alerts query.
fn queried() -> BTreeSet<String> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    let dashboard: Value =
        serde_json::from_slice(&std::fs::read(root.join("grafana/alleycat.json")).unwrap())
            .unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let queries: Vec<&str> = targets
        .map(|target| target["expr"].as_str().unwrap())
        .collect();
    let rules = std::fs::read_to_string(root.join("prometheus/alerts.yaml")).unwrap();
    &metric_names(&queries.join(" ")) | &metric_names(&rules)
}

struct MonitoredInstance {
    instance: Instance,
    metrics: String,
    client: reqwest::Client,
}

impl MonitoredInstance {
    async fn start(test_store: &TestStore, options: &[&str]) -> Self {
        let instance = Instance::start(test_store, options).await;
        let metrics = instance.metrics_url();
        let client = http_client_builder().no_proxy().build().unwrap();
        Self {
            instance,
            metrics,
            client,
        }
    }

    async fn scrape(&self) -> String {
        self.client
            .get(&self.metrics)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
    }

    async fn value(&self, series: &str) -> Option<f64> {
        value_in(&self.scrape().await, series)
    }

    async fn deliver(&self, records: &[&str]) -> reqwest::StatusCode {
        let records: Vec<Value> = records
            .iter()
            .map(|record| json!({ "data": base64_simd::STANDARD.encode_to_string(record) }))
            .collect();
        let body = json!({ "requestId": "a", "timestamp": 0, "records": records }).to_string();
        self.client
            .post(self.instance.url("/firehose"))
            .body(body)
            .send()
            .await
            .unwrap()
            .status()
    }

    async fn get(&self, path: &str) -> reqwest::StatusCode {
        self.client
            .get(self.instance.url(path))
            .send()
            .await
            .unwrap()
            .status()
    }
}

fn value_in(scraped: &str, series: &str) -> Option<f64> {
    let line = scraped
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    Some(line.parse().unwrap())
}

const RIDE: &str = r#"{"classId":1,"second":1,"racerId":7,"name":"Hubert","output":150}"#;

#[tokio::test]
async fn dashboard_and_alert_metrics_exist() {
    let test_store = TestStore::folder();
    let service = MonitoredInstance::start(&test_store, &["--snapshot-interval", "10ms"]).await;
    until("it is ready", async || {
        service.value("alleycat_ready").await == Some(1.0)
    })
    .await;
    let from_the_start = service.scrape().await;
    for series in [
        "alleycat_corrupt_object_reads_total 0",
        "alleycat_store_fallbacks_total 0",
        "alleycat_segments_passed_over_total 0",
        "alleycat_stray_names_total 0",
        "alleycat_unreadable_objects 0",
        "alleycat_unread_segments 0",
        "alleycat_unread_segments_oldest_age_seconds 0",
        "alleycat_replication_errors_total 0",
        "alleycat_sse_subscribers 0",
        "alleycat_commit_queue_oldest_age_seconds 0",
        "alleycat_deliveries_total{status=\"503\"} 0",
        "alleycat_delivery_errors_total{code=\"invalid_access_key\"} 0",
        "alleycat_records_rejected_total{reason=\"json\"} 0",
        "alleycat_transformation_records_failed_total{reason=\"json\"} 0",
        "alleycat_snapshot_lag_seconds{class=\"6\"} 0",
    ] {
        assert!(
            from_the_start.lines().any(|line| line == series),
            "{series}:\n{from_the_start}"
        );
    }

    assert_eq!(service.deliver(&[RIDE, "{"]).await, 200);
    assert_eq!(service.get("/classes/1/leaderboard").await, 200);
    assert_eq!(service.get("/nowhere/at/all").await, 404);
    let queried = queried();
    assert!(queried.len() > 20, "{queried:?}");
    let missing = async || -> Vec<String> {
        let scraped = service.scrape().await;
        let is_there = |name: &str| {
            let mut named = scraped.lines().filter_map(|line| line.strip_prefix(name));
            named.any(|rest| rest.starts_with(['{', ' ']))
        };
        queried
            .iter()
            .filter(|name| !is_there(name))
            .cloned()
            .collect()
    };
    // Snapshots are asynchronous.
    until("a snapshot is written", async || {
        !missing()
            .await
            .contains(&"alleycat_snapshot_duration_seconds_bucket".into())
    })
    .await;
    assert_eq!(missing().await, [""; 0]);

    let scraped = service.scrape().await;
    let is = async |series: &str, value: f64| {
        assert_eq!(
            service.value(series).await,
            Some(value),
            "{series}:\n{scraped}"
        );
    };
    is("alleycat_efforts{class=\"1\"}", 1.0).await;
    is("alleycat_racers{class=\"1\"}", 1.0).await;
    is("alleycat_personal_bests_total", 1.0).await;
    is("alleycat_records_total", 2.0).await;
    is("alleycat_records_rejected_total{reason=\"json\"}", 1.0).await;
    is("alleycat_deliveries_total{status=\"200\"}", 1.0).await;
    is("alleycat_deliveries_in_flight", 0.0).await;
    is("alleycat_deliveries_in_flight_bytes", 0.0).await;
    is("alleycat_commit_queue_length", 0.0).await;
    is("alleycat_erasures", 0.0).await;
    is("alleycat_http_requests_total{route=\"/classes/{classId}/leaderboard\",method=\"GET\",status=\"200\"}", 1.0)
        .await;
    is(
        "alleycat_http_requests_total{route=\"none\",method=\"GET\",status=\"404\"}",
        1.0,
    )
    .await;
    is(
        &format!(
            "alleycat_build_info{{version=\"{}\"}}",
            env!("CARGO_PKG_VERSION")
        ),
        1.0,
    )
    .await;
    for part in ["table", "histories", "names"] {
        assert!(
            service
                .value(&format!("alleycat_memory_bytes{{part=\"{part}\"}}"))
                .await
                .unwrap()
                > 0.0,
            "{part}"
        );
    }
    assert!(
        service
            .value("process_resident_memory_bytes")
            .await
            .unwrap()
            > 1e6
    );
    for line in scraped
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
    {
        let name = line.split(' ').next().unwrap();
        assert!(
            scraped.contains(&format!("# HELP {name} ")),
            "{name} is not described"
        );
    }
}

#[tokio::test]
async fn withheld_snapshots_and_unread_segments_lag() {
    let test_store = TestStore::folder();
    let service = MonitoredInstance::start(&test_store, &["--sync-interval", "50ms"]).await;
    let segment = ObjectKey::Segment(SegmentId {
        time_ms: 1,
        process: 2,
        counter: 3,
    });
    test_store.put(&segment.path(), b"no gzip").await;
    until("snapshots are withheld", async || {
        service.value("alleycat_unreadable_objects").await == Some(1.0)
    })
    .await;
    assert_eq!(service.value("alleycat_unread_segments").await, Some(1.0));
    until("its age is shown", async || {
        service
            .value("alleycat_unread_segments_oldest_age_seconds")
            .await
            > Some(0.0)
    })
    .await;
    assert_eq!(service.deliver(&[RIDE]).await, 200);
    until("the class lags", async || {
        service
            .value("alleycat_snapshot_lag_seconds{class=\"1\"}")
            .await
            > Some(0.0)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hanging_store_ages_the_queue_and_keeps_the_memory_permit() {
    let server = Arc::new(S3Server::start().await);
    let metrics = format!("127.0.0.1:{}", free_port());
    let test_store = TestStore::on(server.clone()).await;
    let instance = Arc::new(Instance::start(&test_store, &["--metrics-listen", &metrics]).await);
    let client = http_client_builder().no_proxy().build().unwrap();
    let value = async |series: &str| {
        let scraped = client
            .get(format!("http://{metrics}/metrics"))
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        value_in(&scraped, series).unwrap()
    };
    let (age, memory) = (
        "alleycat_commit_queue_oldest_age_seconds",
        "alleycat_deliveries_in_flight_bytes",
    );
    assert_eq!(value(age).await, 0.0);
    assert_eq!(value(memory).await, 0.0);
    server.freeze();
    let sender = tokio::spawn({
        let instance = instance.clone();
        async move { instance.deliver(&[record(1, 1, 1, 150.0)]).await }
    });
    until("the delivery waits for the store", async || {
        value(age).await > 0.0
    })
    .await;
    sender.abort();
    assert!(sender.await.unwrap_err().is_cancelled());
    let before = value(age).await;
    until("the queue ages", async || value(age).await > before + 0.5).await;
    assert!(
        value(memory).await >= 64.0 * 1024.0,
        "memory is released before the delivery is durable"
    );
    server.thaw();
    until("its memory is released", async || {
        value(memory).await == 0.0 && value(age).await == 0.0
    })
    .await;
    assert_eq!(instance.json("/classes").await[0]["efforts"], 1);
}

#[tokio::test]
async fn metrics_connection_limit_frees_closed_connections() {
    let service = MonitoredInstance::start(&TestStore::folder(), &[]).await;
    let address = service
        .metrics
        .strip_prefix("http://")
        .unwrap()
        .strip_suffix("/metrics")
        .unwrap();
    let connect = || connection_served(address, "HEAD /metrics");
    let mut open = Vec::new();
    while let Some(connection) = connect().await {
        open.push(connection);
        assert!(open.len() <= 64);
    }
    assert!(open.len() > 32);
    open.clear();
    until("a connection is accepted again", async || {
        connect().await.is_some()
    })
    .await;
    assert!(service.scrape().await.contains("alleycat_ready"));
}
