//! Progress beside a slow or lying S3 server, and beside one that falls back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::{Method, StatusCode};
use futures_util::future::join_all;
use tokio::sync::watch;

use crate::QUICK;
use crate::model::records;
use crate::support::faulty_proxy::{Fault, FaultyProxy};
use crate::support::instance::Instance;
use crate::support::s3_server::S3Server;
use crate::support::test_store::TestStore;
use crate::support::{DEADLINE, gunzip, until};

/// Every request that matches.
const ALL: usize = usize::MAX;

/// Starts a server, a proxy in front of it, and a store on it.
async fn proxied_store() -> (TestStore, FaultyProxy) {
    let server = Arc::new(S3Server::start().await);
    let proxy = FaultyProxy::start(&server).await;
    (TestStore::on(server).await, proxy)
}

async fn start(test_store: &TestStore, proxy: &FaultyProxy, options: &[&str]) -> Instance {
    let environment = proxy.environment(test_store.server());
    Instance::start_with_environment(&environment, test_store, options).await
}

/// Returns whether the instance shows the racer in class 1.
async fn shows(instance: &Instance, racer: u64) -> bool {
    let board = instance
        .json(&format!("/classes/1/leaderboard?second=1&racers={racer}"))
        .await;
    board["standings"][0]["racerId"].as_u64() == Some(racer)
}

/// Delivers rides of ever new racers to the instance until stopped. Returns the number of refused
/// deliveries.
async fn ingest(instance: &Instance, first_racer: u64, stop: watch::Receiver<bool>) -> usize {
    let mut refused = 0;
    for racer in first_racer.. {
        if *stop.borrow() {
            break;
        }
        let status = instance.deliver(&records(&[((1, 1, racer), 100.0)])).await;
        refused += usize::from(status != StatusCode::OK);
    }
    refused
}

/// Returns the times from a ride's acknowledgement by the first instance until the second shows it,
/// while both accept rides, and the number of refused deliveries.
async fn measure_lag(put: Duration, options: &[&str], probes: u64) -> (Vec<Duration>, usize) {
    let (test_store, proxy) = proxied_store().await;
    let instances = [
        start(&test_store, &proxy, options).await,
        start(&test_store, &proxy, options).await,
    ];
    proxy.add_fault(Method::PUT, "/journal/", Fault::Delay(put), ALL);
    let (stop, stopping) = watch::channel(false);
    let probing = async {
        let mut lags = Vec::new();
        for probe in 0..probes {
            let racer = 1_000_000 + probe;
            let status = instances[0]
                .deliver(&records(&[((1, 1, racer), 100.0)]))
                .await;
            if status != StatusCode::OK {
                tokio::time::sleep(Duration::from_millis(500)).await; // refused: another probe follows
                continue;
            }
            let acknowledged = Instant::now();
            until("the other instance shows the ride", async || {
                shows(&instances[1], racer).await
            })
            .await;
            lags.push(acknowledged.elapsed());
        }
        stop.send_replace(true);
        lags
    };
    let clients = (0..8u64).map(|client| {
        let instance = &instances[usize::from(client % 2 == 1)];
        ingest(instance, client * 100_000, stopping.clone())
    });
    let (mut lags, refused) = tokio::join!(probing, join_all(clients));
    lags.sort_unstable();
    (lags, refused.into_iter().sum())
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_commits_do_not_starve_replication() {
    let (lags, refused) = measure_lag(Duration::from_millis(1500), &[], 3).await;
    assert_eq!(refused, 0, "replication lag refused deliveries");
    assert_eq!(lags.len(), 3, "replication lag refused probes");
    assert!(lags.last() < Some(&DEADLINE), "{lags:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshot_that_fell_back_is_written_again() {
    let (test_store, proxy) = proxied_store().await;
    let instance = start(&test_store, &proxy, &QUICK).await;
    let stored = async || gunzip(test_store.get("class-1.gz").await.unwrap_or_default());
    let mut bodies = Vec::new();
    for (racer, text) in [(1, r#"{"1":{"1":100}}"#), (2, r#"{"1":{"1":100,"2":100}}"#)] {
        let delivered = instance.deliver(&records(&[((1, 1, racer), 100.0)])).await;
        assert_eq!(delivered, StatusCode::OK);
        until("the snapshot holds it", async || {
            test_store.get("class-1.gz").await.is_some() && stored().await == text
        })
        .await;
        bodies.push(test_store.get("class-1.gz").await.unwrap());
    }
    let listings = proxy.count(&Method::GET, "list-type");
    until("the instance lists the last snapshot", async || {
        proxy.count(&Method::GET, "list-type") > listings + 6
    })
    .await;
    test_store.put("class-1.gz", &bodies[0]).await;
    until("the snapshot holds both again", async || {
        stored().await == r#"{"1":{"1":100,"2":100}}"#
    })
    .await;
    assert!(instance.log().contains("class-1.gz"), "it is named");
}

#[tokio::test(flavor = "multi_thread")]
async fn segment_of_a_lying_put_reaches_the_snapshot() {
    let (test_store, proxy) = proxied_store().await;
    let instance = start(&test_store, &proxy, &QUICK).await;
    proxy.add_fault(Method::PUT, "/journal/", Fault::Lie(StatusCode::OK), 1);
    let delivered = instance.deliver(&records(&[((1, 1, 1), 100.0)])).await;
    assert_eq!(delivered, StatusCode::OK);
    assert_eq!(test_store.segments().await, 0);
    until("the snapshot holds it", async || {
        test_store.get("class-1.gz").await.is_some()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn own_put_without_an_answer_keeps_the_snapshot() {
    let (test_store, proxy) = proxied_store().await;
    let instance = start(&test_store, &proxy, &QUICK).await;
    proxy.add_fault(Method::PUT, "class-1.gz", Fault::LoseAnswer, 1);
    for racer in [1, 2] {
        let delivered = instance.deliver(&records(&[((1, 1, racer), 100.0)])).await;
        assert_eq!(delivered, StatusCode::OK);
        until("the snapshot holds it", async || {
            let stored = test_store.get("class-1.gz").await;
            stored.is_some_and(|it| gunzip(it).contains(&format!(r#""{racer}":100"#)))
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_and_stalled_bodies_do_not_stop_a_start() {
    let (test_store, proxy) = proxied_store().await;
    let mut instance = start(&test_store, &proxy, &QUICK).await;
    for racer in 1..=8 {
        let delivered = instance.deliver(&records(&[((1, 1, racer), 100.0)])).await;
        assert_eq!(delivered, StatusCode::OK);
    }
    instance.kill();
    proxy.add_fault(Method::GET, "/journal/", Fault::StallBody, 1);
    proxy.add_fault(Method::GET, "/journal/", Fault::CutBody, 12);
    instance.restart().await;
    for racer in 1..=8 {
        assert!(shows(&instance, racer).await, "{racer}");
    }
}
