//! Races whose records are accepted by several instances.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::StatusCode;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::QUICK;
use crate::support::instance::Instance;
use crate::support::test_store::TestStore;
use crate::support::until;

const RIDERS: u64 = 20;
const LAST_SECOND: u64 = 5;
const RACE: &str = "/classes/1/races/7/leaderboard";

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap().as_millis().try_into().unwrap()
}

/// Returns the records of one second of race 7, of every second rider.
fn records_of(second: u64, first_rider: u64) -> Vec<Value> {
    let riders = (first_rider..=RIDERS).step_by(2);
    let record = |rider| {
        json!({
            "classId": 1, "second": second, "racerId": rider, "raceId": 7, "output": 100 + rider,
            "deviceTimestamp": now_ms(), "event": if second == LAST_SECOND { "final" } else { "update" },
        })
    };
    riders.map(record).collect()
}

/// Sends a second of the race: the odd riders to one instance, the even ones to the other.
async fn ride(instances: &[Instance; 2], second: u64) {
    let deliveries = (0..2).map(|index| async move {
        let records = records_of(second, index as u64 + 1);
        instances[index].deliver(&records).await
    });
    assert_eq!(join_all(deliveries).await, [StatusCode::OK; 2]);
}

async fn every_instance_shows(instances: &[Instance; 2], what: &str, is_so: fn(&Value) -> bool) {
    until(what, async || {
        let boards = join_all(instances.iter().map(|instance| instance.json(RACE))).await;
        boards.iter().all(is_so)
    })
    .await;
}

fn is_whole_and_finished(board: &Value) -> bool {
    board["racers"] == RIDERS && board["finished"] == true && board["lastSecond"] == LAST_SECOND
}

#[tokio::test(flavor = "multi_thread")]
async fn race_split_over_two_instances_is_whole_on_both() {
    let test_store = TestStore::bucket().await;
    let mut instances = [
        Instance::start(&test_store, &QUICK).await,
        Instance::start(&test_store, &QUICK).await,
    ];
    ride(&instances, 1).await;
    let all_ride = |board: &Value| board["racers"] == RIDERS && board["finished"] == false;
    every_instance_shows(&instances, "all riders are here now", all_ride).await;
    ride(&instances, LAST_SECOND).await;
    every_instance_shows(&instances, "the race is over", is_whole_and_finished).await;
    // One is killed and one stops. Both recover the race from the bucket.
    instances[0].kill();
    instances[1].terminate();
    instances[1].wait_for_exit().await;
    for instance in &mut instances {
        instance.restart().await;
        let board = instance.json(RACE).await;
        assert!(is_whole_and_finished(&board), "{board}");
    }
    let listed = instances[1].json("/classes/1/races").await;
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_between_update_and_final_ends_in_the_same_result() {
    let test_store = TestStore::bucket().await;
    let mut instances = [
        Instance::start(&test_store, &QUICK).await,
        Instance::start(&test_store, &QUICK).await,
    ];
    ride(&instances, LAST_SECOND - 1).await;
    instances[0].kill();
    instances[0].restart().await;
    ride(&instances, LAST_SECOND).await;
    every_instance_shows(&instances, "the race is over", is_whole_and_finished).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_races_stop_no_start_and_are_written_again() {
    let test_store = TestStore::bucket().await;
    let mut instance = Instance::start(&test_store, &QUICK).await;
    let records = records_of(LAST_SECOND, 1);
    assert_eq!(instance.deliver(&records).await, StatusCode::OK);
    instance.terminate();
    instance.wait_for_exit().await;
    assert!(test_store.get("races-1.gz").await.is_some());
    test_store.put("races-1.gz", b"damaged").await;
    instance.restart().await;
    let board = instance.json("/classes/1/leaderboard").await;
    assert_eq!(board["total"], RIDERS / 2);
    until("the races are written again", async || {
        test_store.get("races-1.gz").await.unwrap() != b"damaged"[..]
    })
    .await;
    assert!(instance.log().contains("races-1.gz"), "{}", instance.log());
    instance.kill();
    // Finishes are of all time, so they are not given up.
    test_store.put("finishes-1.gz", b"damaged").await;
    let error =
        crate::support::instance::startup_error(&test_store.environment(), &test_store.url()).await;
    assert!(error.contains("finishes-1.gz"), "{error}");
}
