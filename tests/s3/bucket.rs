//! One instance on a bucket: the round trip of records, kills, and the objects' form.

use axum::http::StatusCode;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::json;

use crate::QUICK;
use crate::model::{Model, hashes, hashes_of, records, some_efforts, state_of};
use crate::support::instance::Instance;
use crate::support::s3_server::BUCKET;
use crate::support::test_store::TestStore;
use crate::support::until;

#[tokio::test(flavor = "multi_thread")]
async fn bucket_keeps_delivered_records() {
    let test_store = TestStore::bucket().await;
    let mut instance = Instance::start(&test_store, &QUICK).await;
    let ridden = json!({ "uuid": "b340d30f", "event": "update", "deviceTimestamp": 1_619_185_789_755_u64, "second": 1,
        "raceId": 1_619_185_620_265_u64, "name": "Hubert", "racerId": 1, "classId": 1, "cadence": 80,
        "resistance": 78 });
    assert_eq!(instance.deliver(&[ridden]).await, StatusCode::OK);
    let board = instance.json("/classes/1/leaderboard?second=1").await;
    assert_eq!(
        board["standings"],
        json!([{ "rank": 1, "racerId": 1, "name": "Hubert", "output": 164.45 }])
    );

    let (mut chance, mut model) = (StdRng::seed_from_u64(1), Model::default());
    model.acknowledge(&[((1, 1, 1), 164.45)]);
    for _ in 0..20 {
        let efforts = some_efforts(&mut chance);
        assert_eq!(instance.deliver(&records(&efforts)).await, StatusCode::OK);
        model.acknowledge(&efforts);
    }
    until("the bucket has all of it", async || {
        state_of(&test_store).await == model.acknowledged
    })
    .await;
    let name = test_store.url();
    let key = name
        .strip_prefix(&format!("s3://{BUCKET}/"))
        .unwrap()
        .to_owned()
        + "class-1.gz";
    let head = test_store
        .server()
        .client()
        .await
        .head_object()
        .bucket(BUCKET)
        .key(key)
        .send()
        .await
        .unwrap();
    assert_eq!(head.content_type.as_deref(), Some("application/gzip"));
    let expected = hashes_of(&model.acknowledged);
    assert_eq!(hashes(&instance).await, expected);

    let cold = Instance::start(&test_store, &QUICK).await;
    assert_eq!(hashes(&cold).await, expected);
    assert_eq!(
        cold.json("/classes/1/leaderboard?racers=1").await["standings"][0]["name"],
        "Hubert"
    );
    drop(cold);

    for round in 0..3 {
        let best = [
            ((2, 5, 100 + round), 400.25),
            ((1, 5, 100), 400.0 + round as f64),
        ];
        assert_eq!(instance.deliver(&records(&best)).await, StatusCode::OK);
        instance.kill();
        model.acknowledge(&best);
        instance.restart().await;
        assert_eq!(
            hashes(&instance).await,
            hashes_of(&model.acknowledged),
            "{round}"
        );
    }
    let last = [((2, 6, 1), 1.5)];
    assert_eq!(instance.deliver(&records(&last)).await, StatusCode::OK);
    model.acknowledge(&last);
    instance.terminate();
    instance.wait_for_exit().await;
    assert_eq!(
        state_of(&test_store).await,
        model.acknowledged,
        "the last snapshot is incomplete"
    );
}
