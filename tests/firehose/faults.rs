//! Responses while the store fails, hangs or panics, beyond limits, and during shutdown.

use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use reqwest::{Method, StatusCode};
use tracing::field::{Field, Visit};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};

use super::form::*;
use crate::support::broken_store::{BrokenStore, Mode};
use crate::support::test_store::{TestStore, on_every_store};
use crate::support::{Service, until};

on_every_store![
    failed_put_is_neither_acknowledged_nor_visible,
    hanging_store_is_answered_by_the_deadline,
    retry_settles_a_crash_before_the_response,
    body_id_is_in_errors_after_decoding,
    full_commit_queue_is_refused_and_counted,
    decompressed_bytes_count_until_durable,
    shutdown_answers_deliveries_blocked_by_the_store,
    store_panic_fails_only_its_delivery,
    handler_panic_is_answered_in_firehose_form,
];

const UNAVAILABLE: StatusCode = StatusCode::SERVICE_UNAVAILABLE;

const LONG: Duration = Duration::from_secs(60);

async fn start(test_store: &TestStore, deadline: Duration) -> (Service, Arc<BrokenStore>) {
    let options = ["--commit-interval", "0ms"];
    Service::start_broken(test_store, &options, |limits| {
        limits.delivery_deadline = deadline;
    })
    .await
}

// Row 30
async fn failed_put_is_neither_acknowledged_nor_visible(test_store: TestStore) {
    let (service, store) = start(&test_store, LONG).await;
    for mode in [Mode::Fails, Mode::WritesThenFails] {
        store.set_mode(mode);
        let response = deliver(&service, body_of(&[HUBERT])).await;
        assert_error(&response, UNAVAILABLE, &["store"]);
        assert!(
            !response.message.contains("secret-of-the-store"),
            "what exactly failed is for the log: {}",
            response.message
        );
        assert_error(
            &deliver(&service, body_of(&["bad"])).await,
            UNAVAILABLE,
            &["store"],
        );
    }
    store.set_mode(Mode::Fails);
    assert_error(
        &deliver(&service, body_of(&[record(2, 2, 1.0)])).await,
        UNAVAILABLE,
        &["store"],
    );
    assert_eq!(best(&service, 2, 2).await, None);
    store.set_mode(Mode::Healthy);
    acknowledged(&service, body_of(&[HUBERT, "bad"])).await;
    assert_eq!(best(&service, 1, 1).await, Some(HUBERT_OUTPUT));
    assert!(
        test_store
            .quarantine()
            .await
            .iter()
            .any(|line| line["rawData"] == base64("bad"))
    );
    service.stop().await;
}

// Row 31
async fn hanging_store_is_answered_by_the_deadline(test_store: TestStore) {
    let (service, store) = start(&test_store, Duration::from_millis(200)).await;
    store.set_mode(Mode::Hangs);
    let began = Instant::now();
    assert_error(
        &deliver(&service, body_of(&[HUBERT])).await,
        UNAVAILABLE,
        &["not durable within 0.2 s"],
    );
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!(best(&service, 1, 1).await, None);
    store.set_mode(Mode::Healthy);
    // The first try may still occupy the commit loop. The deadline is short, so retry as Firehose
    // does.
    while deliver(&service, body_of(&[HUBERT])).await.status != StatusCode::OK {}
    assert_eq!(best(&service, 1, 1).await, Some(HUBERT_OUTPUT));
    service.stop().await;
}

async fn body_id_is_in_errors_after_decoding(test_store: TestStore) {
    let (service, store) = start(&test_store, Duration::from_millis(500)).await;
    for (mode, words) in [
        (Mode::Fails, "the store failed"),
        (Mode::Hangs, "not durable within"),
    ] {
        store.set_mode(mode);
        let request = service.request(Method::POST, "/firehose");
        let response = response_to(request.body(body_of(&[HUBERT])), ID).await;
        assert_error(&response, UNAVAILABLE, &[words]);
    }
    store.set_mode(Mode::Healthy);
    service.stop().await;
}

// Row 33
async fn retry_settles_a_crash_before_the_response(test_store: TestStore) {
    let (service, store) = start(&test_store, LONG).await;
    store.set_mode(Mode::WritesThenHangs);
    let body = body_of(&[HUBERT, &record(2, 1, 3.5)]);
    tokio::select! {
        response = deliver(&service, body.clone()) => panic!("responded before the put's outcome: {response:?}"),
        () = async {
            store.wait_for_puts(1).await;
            until("the segment is written", async || test_store.segments().await == 1).await;
        } => {}
    }
    drop(service);
    let again = Service::start_with(store.inner(), &[], |_| {}).await;
    assert_eq!(best(&again, 1, 1).await, Some(HUBERT_OUTPUT));
    assert_eq!(best(&again, 2, 1).await, Some(3.5));
    let before = again.json("/classes").await[0]["stateHash"].clone();
    acknowledged(&again, body).await;
    assert_eq!(again.json("/classes").await[0]["stateHash"], before);
    again.stop().await;
}

// Row 34
async fn full_commit_queue_is_refused_and_counted(test_store: TestStore) {
    let refusals_so_far = || counter("alleycat_deliveries_total{status=\"503\"}");
    let before = refusals_so_far();
    let (service, store) = start(&test_store, LONG).await;
    store.set_mode(Mode::Hangs);
    let service = Arc::new(service);
    let send = |racer: u64| {
        let service = service.clone();
        tokio::spawn(async move { deliver(&service, body_of(&[record(1, racer, 1.0)])).await })
    };
    let first = send(0);
    store.wait_for_puts(1).await;
    // Deliveries beyond the queue's length of 1024 are refused at once. The others wait for the
    // store.
    let mut waiting: FuturesUnordered<_> = (1..=1100).map(send).collect();
    let mut refused = Vec::new();
    while refused.len() < 1100 - 1024 {
        refused.push(waiting.next().await.unwrap().unwrap());
    }
    store.set_mode(Mode::Healthy);
    waiting.push(first);
    let accepted: Vec<FirehoseResponse> = waiting.map(Result::unwrap).collect().await;
    assert_eq!(accepted.len(), 1025);
    assert!(
        accepted
            .iter()
            .all(|response| response.status == StatusCode::OK)
    );
    assert!(refusals_so_far() >= before + 76);
    refused
        .iter()
        .for_each(|response| assert_error(response, UNAVAILABLE, &["commit queue is full"]));
    assert_eq!(efforts(&service).await, 1025);
    Arc::into_inner(service).unwrap().stop().await;
}

async fn decompressed_bytes_count_until_durable(test_store: TestStore) {
    let options = ["--commit-interval", "0ms", "--max-body-size", "1MiB"];
    let (service, store) = Service::start_broken(&test_store, &options, |limits| {
        limits.deliveries_bytes_max = 8 << 20;
    })
    .await;
    let service = Arc::new(service);
    store.set_mode(Mode::Hangs);
    // A body of some kilobytes, whose efforts take over a megabyte.
    let record = record(1, 1, 1.0).repeat(20_000);
    let body = body_of(&[&*gzip(&record)]);
    assert!(record.len() < 1 << 20, "{} {}", record.len(), body.len());
    assert!(body.len() < 64 << 10, "{} {}", record.len(), body.len());
    let mut sent: FuturesUnordered<_> = (0..20)
        .map(|_| {
            let (service, body) = (service.clone(), body.clone());
            tokio::spawn(async move { deliver(&service, body).await })
        })
        .collect();
    let mut refused = Vec::new();
    while refused.len() < 12 {
        refused.push(sent.next().await.unwrap().unwrap());
    }
    for response in &refused {
        assert_error(response, UNAVAILABLE, &["delivery memory limit reached"]);
    }
    store.set_mode(Mode::Healthy);
    let accepted: Vec<FirehoseResponse> = sent.map(Result::unwrap).collect().await;
    assert!(
        accepted
            .iter()
            .any(|response| response.status == StatusCode::OK)
    );
    acknowledged(&service, body).await;
    Arc::into_inner(service).unwrap().stop().await;
}

// Row 35, with a blocked store; `processes` tests a healthy one
async fn shutdown_answers_deliveries_blocked_by_the_store(test_store: TestStore) {
    let (service, store) = start(&test_store, LONG).await;
    store.set_mode(Mode::Hangs);
    let began = Instant::now();
    let [first, second] =
        [1, 2].map(|second| post(&service, ID).body(body_of(&[record(second, 1, 1.0)])));
    let (first, second) = (
        tokio::spawn(response_to(first, ID)),
        tokio::spawn(response_to(second, ID)),
    );
    store.wait_for_puts(2).await; // the hedge starts after 1 s; by then the second delivery waits too
    service.stop().await;
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    for response in [first, second] {
        assert_error(&response.await.unwrap(), UNAVAILABLE, &[]);
    }
}

// Row 37, in the store
async fn store_panic_fails_only_its_delivery(test_store: TestStore) {
    let (service, store) = start(&test_store, LONG).await;
    store.set_mode(Mode::Panics);
    for _ in 0..2 {
        assert_error(
            &deliver(&service, body_of(&[HUBERT])).await,
            UNAVAILABLE,
            &["store"],
        );
        assert_error(
            &deliver(&service, body_of(&["bad"])).await,
            UNAVAILABLE,
            &["store"],
        );
    }
    assert_eq!(best(&service, 1, 1).await, None);
    store.set_mode(Mode::Healthy);
    acknowledged(&service, body_of(&[HUBERT])).await;
    assert_eq!(best(&service, 1, 1).await, Some(HUBERT_OUTPUT));
    service.stop().await;
}

const PANICKING_ID: &str = "panics";

/// A log that panics on a delivery of [`PANICKING_ID`]: the only way to make the handler panic from
/// outside.
struct BrokenLog;

impl<S: tracing::Subscriber> Layer<S> for BrokenLog {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        struct FieldMatches([bool; 2]);
        impl Visit for FieldMatches {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                let value = format!("{value:?}");
                self.0[0] |= field.name() == "request_id" && value.contains(PANICKING_ID);
                self.0[1] |= field.name() == "reason" && value.contains("json");
            }
        }
        let mut matches = FieldMatches([false; 2]);
        event.record(&mut matches);
        assert!(matches.0 != [true; 2], "injected panic in the log");
    }
}

// Row 37, in the handler
async fn handler_panic_is_answered_in_firehose_form(test_store: TestStore) {
    static BROKEN_LOG: Once = Once::new();
    BROKEN_LOG.call_once(|| {
        tracing::subscriber::set_global_default(tracing_subscriber::registry().with(BrokenLog))
            .unwrap();
    });
    let service = Service::start_on(&test_store, &[]).await;
    let body = body_of(&[HUBERT, "no json"]);
    let request = || post(&service, PANICKING_ID).body(body.replace(ID, PANICKING_ID));
    for _ in 0..2 {
        let response = response_to(request(), PANICKING_ID).await;
        assert_error(
            &response,
            StatusCode::INTERNAL_SERVER_ERROR,
            &["internal server error"],
        );
    }
    assert_eq!(efforts(&service).await, 0);
    acknowledged(&service, body).await;
    service.stop().await;
}
