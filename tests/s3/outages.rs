//! An S3 server that dies or hangs while the service runs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::StatusCode;

use crate::QUICK;
use crate::load::{Load, sender};
use crate::model::{Model, hashes, hashes_of, records, state_of};
use crate::support::instance::Instance;
use crate::support::s3_server::S3Server;
use crate::support::test_store::TestStore;
use crate::support::{DEADLINE, until};

#[tokio::test(flavor = "multi_thread")]
async fn dead_s3_server_acknowledges_and_loses_nothing() {
    let test_store = TestStore::on(Arc::new(S3Server::start().await)).await;
    let mut instance = Instance::start(&test_store, &QUICK).await;
    let mut load = Load::new();
    for seed in 0..4 {
        load.drive(sender(&instance, DEADLINE), seed);
    }
    for round in 0..2 {
        load.wait_for_acknowledged(20).await;
        test_store.server().kill();
        let best = [((1, 20, 1), 300.0 + f64::from(round))];
        load.model.lock().unwrap().send(&best);
        let before = *load.acknowledged.borrow();
        assert_eq!(
            instance.deliver(&records(&best)).await,
            StatusCode::SERVICE_UNAVAILABLE
        );
        assert!(
            *load.acknowledged.borrow() <= before + 4,
            "more deliveries acknowledged than the server wrote"
        );
        test_store.server().restart().await;
        load.wait_for_acknowledged(20).await;
        until("the delivery is acknowledged", async || {
            instance.deliver(&records(&best)).await == StatusCode::OK
        })
        .await;
        load.model.lock().unwrap().acknowledge(&best);
    }
    acknowledged_state_survives(&mut instance, &test_store, &load.end().await).await;
}

/// A put gives up after at most 30 s, and commits queued behind it after twice that. Once the
/// server has not responded for 15 s, new deliveries are refused at once.
#[tokio::test(flavor = "multi_thread")]
async fn hanging_s3_server_refuses_deliveries_and_serves_readers() {
    let test_store = TestStore::on(Arc::new(S3Server::start().await)).await;
    let mut instance = Instance::start(&test_store, &QUICK).await;
    let mut load = Load::new();
    for seed in 0..4 {
        load.drive(sender(&instance, DEADLINE), seed);
    }
    load.wait_for_acknowledged(20).await;
    let mut model = load.end().await;

    test_store.server().freeze();
    let began = Instant::now();
    let meanwhile = [((1, 20, 1), 300.0)];
    let delivery = async {
        assert_eq!(
            instance.deliver(&records(&meanwhile)).await,
            StatusCode::SERVICE_UNAVAILABLE
        );
        assert!(
            began.elapsed() < Duration::from_secs(35),
            "{:?}",
            began.elapsed()
        );
    };
    let readers = async {
        until("the instance is not ready", async || {
            let board = instance.json("/classes/1/leaderboard?second=20").await;
            assert_eq!(board["total"], 0, "visible before durable");
            instance.bytes("/class-1.gz").await;
            !instance.is_ready().await
        })
        .await;
        let sent_at = Instant::now();
        assert_eq!(
            instance.deliver(&records(&meanwhile)).await,
            StatusCode::SERVICE_UNAVAILABLE
        );
        assert!(
            sent_at.elapsed() < Duration::from_secs(5),
            "not refused at once: {:?}",
            sent_at.elapsed()
        );
    };
    let start = async {
        let starting = Instance::spawn(&test_store.environment(), &test_store, &QUICK);
        starting
            .wait_for_log("does not answer; correct the endpoint and the network's path to it")
            .await;
    };
    tokio::join!(delivery, readers, start);

    test_store.server().thaw();
    until("the delivery is acknowledged", async || {
        instance.deliver(&records(&meanwhile)).await == StatusCode::OK
    })
    .await;
    model.acknowledge(&meanwhile);
    until("the instance is ready again", async || {
        instance.is_ready().await
    })
    .await;
    acknowledged_state_survives(&mut instance, &test_store, &model).await;
}

/// Checks that the instance has every acknowledged effort, before and after a kill, and that the
/// bucket comes to hold them.
async fn acknowledged_state_survives(
    instance: &mut Instance,
    test_store: &TestStore,
    model: &Model,
) {
    assert_eq!(hashes(instance).await, hashes_of(&model.acknowledged));
    instance.kill();
    instance.restart().await;
    assert_eq!(hashes(instance).await, hashes_of(&model.acknowledged));
    until("the bucket has all of it", async || {
        state_of(test_store).await == model.acknowledged
    })
    .await;
}
