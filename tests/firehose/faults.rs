//! What is answered when the store fails, hangs or panics, when too much waits, and when the service stops.

use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use alleycat::storage::Store;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use reqwest::StatusCode;
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
    full_commit_queue_is_refused_and_counted,
    decompressed_bytes_count_until_durable,
    shutdown_answers_deliveries_blocked_by_the_store,
    store_panic_fails_only_its_delivery,
    handler_panic_is_answered_in_firehose_form,
];

const UNAVAILABLE: StatusCode = StatusCode::SERVICE_UNAVAILABLE;

/// A service over a store that can be broken, over a sound one.
struct Fragile {
    service: Service,
    store: Arc<BrokenStore>,
    sound: Arc<dyn Store>,
}

impl Fragile {
    async fn start(test_store: &TestStore, deadline: Duration) -> Self {
        let sound = test_store.open().await;
        let store = BrokenStore::new(sound.clone());
        let tune = |config: &mut alleycat::config::Config| config.delivery_deadline = deadline;
        let service = Service::start_with(store.clone(), &["--commit-interval", "0ms"], tune).await;
        Self {
            service,
            store,
            sound,
        }
    }
}

const LONG: Duration = Duration::from_secs(60);

// Row 30
async fn failed_put_is_neither_acknowledged_nor_visible(test_store: TestStore) {
    let Fragile { service, store, .. } = Fragile::start(&test_store, LONG).await;
    for mode in [Mode::Fails, Mode::WritesThenFails] {
        store.set_mode(mode);
        let answer = deliver(&service, body_of(&[HUBERT])).await;
        is_refusal(&answer, UNAVAILABLE, &["store"]);
        assert!(
            !answer.message.contains("secret-of-the-store"),
            "what exactly failed is for the log: {}",
            answer.message
        );
        is_refusal(
            &deliver(&service, body_of(&["bad"])).await,
            UNAVAILABLE,
            &["store"],
        );
    }
    store.set_mode(Mode::Fails);
    is_refusal(
        &deliver(&service, body_of(&[effort(2, 2, 1.0)])).await,
        UNAVAILABLE,
        &["store"],
    );
    assert_eq!(best(&service, 2, 2).await, None);
    store.set_mode(Mode::Healthy);
    acknowledged(&service, body_of(&[HUBERT, "bad"])).await;
    assert_eq!(best(&service, 1, 1).await, Some(HUBERTS));
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
    let Fragile { service, store, .. } =
        Fragile::start(&test_store, Duration::from_millis(200)).await;
    store.set_mode(Mode::Hangs);
    let began = Instant::now();
    is_refusal(
        &deliver(&service, body_of(&[HUBERT])).await,
        UNAVAILABLE,
        &["not durable within 0.2 s"],
    );
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!(best(&service, 1, 1).await, None);
    store.set_mode(Mode::Healthy);
    // The writer may still be about the first try: the deadline is short, so try as Firehose does.
    while deliver(&service, body_of(&[HUBERT])).await.status != StatusCode::OK {}
    assert_eq!(best(&service, 1, 1).await, Some(HUBERTS));
    service.stop().await;
}

// Row 33
async fn retry_settles_a_crash_before_the_response(test_store: TestStore) {
    let Fragile {
        service,
        store,
        sound,
    } = Fragile::start(&test_store, LONG).await;
    store.set_mode(Mode::WritesThenHangs);
    let body = body_of(&[HUBERT, &effort(2, 1, 3.5)]);
    tokio::select! {
        answer = deliver(&service, body.clone()) => panic!("answered without knowing: {answer:?}"),
        () = async {
            store.wait_for_puts(1).await;
            until("it is written", async || test_store.segments().await == 1).await;
        } => {}
    }
    drop(service);
    let again = Service::start_with(sound, &[], |_| {}).await;
    assert_eq!(
        (best(&again, 1, 1).await, best(&again, 2, 1).await),
        (Some(HUBERTS), Some(3.5))
    );
    let before = again.json("/classes").await[0]["stateHash"].clone();
    acknowledged(&again, body).await;
    assert_eq!(again.json("/classes").await[0]["stateHash"], before);
    again.stop().await;
}

// Row 34
async fn full_commit_queue_is_refused_and_counted(test_store: TestStore) {
    let refusals_so_far = || counter("alleycat_deliveries_total{status=\"503\"}");
    let before = refusals_so_far();
    let Fragile { service, store, .. } = Fragile::start(&test_store, LONG).await;
    store.set_mode(Mode::Hangs);
    let service = Arc::new(service);
    let send = |racer: u64| {
        let service = service.clone();
        tokio::spawn(async move { deliver(&service, body_of(&[effort(1, racer, 1.0)])).await })
    };
    let first = send(0);
    store.wait_for_puts(1).await;
    // Whatever waits beyond the queue's length is refused at once; the rest waits for the store.
    let mut waiting: FuturesUnordered<_> = (1..=1100).map(send).collect();
    let mut refused = Vec::new();
    while refused.len() < 1100 - 1024 {
        refused.push(waiting.next().await.unwrap().unwrap());
    }
    store.set_mode(Mode::Healthy);
    waiting.push(first);
    let taken: Vec<Answer> = waiting.map(Result::unwrap).collect().await;
    assert_eq!(taken.len(), 1025);
    assert!(taken.iter().all(|answer| answer.status == StatusCode::OK));
    assert!(refusals_so_far() >= before + 76);
    refused
        .iter()
        .for_each(|answer| is_refusal(answer, UNAVAILABLE, &["commit queue is full"]));
    assert_eq!(efforts(&service).await, 1025);
    Arc::into_inner(service).unwrap().stop().await;
}

async fn decompressed_bytes_count_until_durable(test_store: TestStore) {
    let store = BrokenStore::new(test_store.open().await);
    let options = ["--commit-interval", "0ms", "--max-body-size", "1MiB"];
    let tune = |config: &mut alleycat::config::Config| config.limits.deliveries_bytes_max = 8 << 20;
    let service = Arc::new(Service::start_with(store.clone(), &options, tune).await);
    store.set_mode(Mode::Hangs);
    // A body of some kilobytes, and over a megabyte of efforts.
    let record = effort(1, 1, 1.0).repeat(20_000);
    let body = body_of(&[&*gzip(&record)]);
    assert!(
        record.len() < 1 << 20 && body.len() < 64 << 10,
        "{} {}",
        record.len(),
        body.len()
    );
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
    refused
        .iter()
        .for_each(|answer| is_refusal(answer, UNAVAILABLE, &["delivery memory limit reached"]));
    store.set_mode(Mode::Healthy);
    let taken: Vec<Answer> = sent.map(Result::unwrap).collect().await;
    assert!(taken.iter().any(|answer| answer.status == StatusCode::OK));
    acknowledged(&service, body).await;
    Arc::into_inner(service).unwrap().stop().await;
}

// Row 35; with a sound store see `processes`.
async fn shutdown_answers_deliveries_blocked_by_the_store(test_store: TestStore) {
    let Fragile { service, store, .. } = Fragile::start(&test_store, LONG).await;
    store.set_mode(Mode::Hangs);
    let began = Instant::now();
    let [first, second] =
        [1, 2].map(|second| post(&service, ID).body(body_of(&[effort(second, 1, 1.0)])));
    let (first, second) = (
        tokio::spawn(answer_to(first, ID)),
        tokio::spawn(answer_to(second, ID)),
    );
    store.wait_for_puts(2).await; // the first was hedged after a second, by when the other is under way too
    service.stop().await;
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    for answer in [first, second] {
        is_refusal(&answer.await.unwrap(), UNAVAILABLE, &[]);
    }
}

// Row 37, in the store
async fn store_panic_fails_only_its_delivery(test_store: TestStore) {
    let Fragile { service, store, .. } = Fragile::start(&test_store, LONG).await;
    store.set_mode(Mode::Panics);
    for _ in 0..2 {
        is_refusal(
            &deliver(&service, body_of(&[HUBERT])).await,
            UNAVAILABLE,
            &["store"],
        );
        is_refusal(
            &deliver(&service, body_of(&["bad"])).await,
            UNAVAILABLE,
            &["store"],
        );
    }
    assert_eq!(best(&service, 1, 1).await, None);
    store.set_mode(Mode::Healthy);
    acknowledged(&service, body_of(&[HUBERT])).await;
    assert_eq!(best(&service, 1, 1).await, Some(HUBERTS));
    service.stop().await;
}

const PANICKING_ID: &str = "panics";

/// A log that panics over a delivery of [`PANICKING_ID`]: the one way to make the handler's own code panic from
/// outside.
struct BrokenLog;

impl<S: tracing::Subscriber> Layer<S> for BrokenLog {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        struct Look([bool; 2]);
        impl Visit for Look {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                let value = format!("{value:?}");
                self.0[0] |= field.name() == "request_id" && value.contains(PANICKING_ID);
                self.0[1] |= field.name() == "reason" && value.contains("json");
            }
        }
        let mut look = Look([false; 2]);
        event.record(&mut look);
        assert!(look.0 != [true; 2], "the log is broken, for the test");
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
        let answer = answer_to(request(), PANICKING_ID).await;
        is_refusal(
            &answer,
            StatusCode::INTERNAL_SERVER_ERROR,
            &["internal server error"],
        );
    }
    assert_eq!(efforts(&service).await, 0);
    acknowledged(&service, body).await;
    service.stop().await;
}
