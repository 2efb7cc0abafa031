//! Memory limits, kills and shutdown, with the service in another process.

use std::io::{Read, Write};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use alleycat::firehose_client::http_client_builder;
use reqwest::{RequestBuilder, StatusCode, header};

use super::form::*;
use crate::support::instance::Instance;
use crate::support::test_store::{TestStore, on_every_store};
use crate::support::{DEADLINE, until};

on_every_store![
    gzip_bombs_keep_memory_bounded,
    acknowledged_records_survive_a_kill,
    sigterm_settles_pending_deliveries,
    readiness_ends_before_the_port_closes,
];

/// Returns the outputs at second 1 of class 1, highest first.
async fn outputs(instance: &Instance) -> Vec<f64> {
    let board = instance.json("/classes/1/leaderboard?second=1").await;
    board["standings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["output"].as_f64().unwrap())
        .collect()
}

fn post(instance: &Instance) -> RequestBuilder {
    let client = http_client_builder()
        .no_proxy()
        .timeout(DEADLINE)
        .build()
        .unwrap();
    client
        .post(instance.url("/firehose"))
        .header(REQUEST_ID, ID)
}

// Row 10
async fn gzip_bombs_keep_memory_bounded(test_store: TestStore) {
    let instance = Instance::start(&test_store, &[]).await;
    // 1 GiB when decompressed: as one member, as several, and below as records.
    let member = gzip(vec![b' '; 64 << 20]);
    let several = member.repeat(16);
    let single = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let block = vec![b' '; 1 << 20];
        (0..1024).for_each(|_| std::io::Write::write_all(&mut encoder, &block).unwrap());
        encoder.finish().unwrap()
    };
    let bombs = [single.clone(), several.clone(), single, several].map(|bomb| {
        let request = post(&instance)
            .header(header::CONTENT_ENCODING, "gzip")
            .body(bomb);
        tokio::spawn(response_to(request, ID))
    });
    for response in bombs {
        assert_error(
            &response.await.unwrap(),
            StatusCode::BAD_REQUEST,
            &["104857600", "--max-body-size", "SizeInMBs"],
        );
    }
    let records = vec![member; 20]; // 64 MiB each, over a record's limit of 16 MiB
    let response = response_to(post(&instance).body(body_of(&records)), ID).await;
    assert_eq!(response.status, StatusCode::OK);
    assert_eq!(test_store.quarantine().await.len(), 20);
    let peak_mib = instance.memory_peak_bytes() >> 20;
    assert!(peak_mib < 600, "{peak_mib} MiB");
}

// Row 32
async fn acknowledged_records_survive_a_kill(test_store: TestStore) {
    let mut expected = Vec::new();
    for round in 1..=3_u64 {
        let instance = Instance::start(&test_store, &[]).await;
        assert_eq!(
            outputs(&instance).await,
            expected,
            "after {} kills",
            round - 1
        );
        let output = 100.0 / round as f64;
        let body = body_of(&[record(1, round, output), "bad".to_owned()]);
        assert_eq!(
            response_to(post(&instance).body(body), ID).await.status,
            StatusCode::OK
        );
        instance.kill();
        expected.push(output);
        assert_eq!(test_store.quarantine().await.len(), round as usize);
    }
}

const PENDING: u64 = 20;

/// Sends a delivery. `100 Continue` shows that the service has read its head. Racers with even ids
/// send the body before the signal, the others after it.
async fn send_around_the_signal(
    origin: String,
    racer: u64,
    signal: Arc<Barrier>,
) -> FirehoseResponse {
    raw(origin, ID, move |stream| {
        let body = body_of(&[record(1, racer, racer as f64)]);
        write!(
            stream,
            "POST /firehose HTTP/1.1\r\nhost: x\r\nconnection: close\r\nexpect: 100-continue\r\n"
        )
        .unwrap();
        write!(
            stream,
            "x-amz-firehose-request-id: {ID}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        )
        .unwrap();
        let mut interim = [0; 25];
        stream.read_exact(&mut interim).unwrap();
        assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
        let early = racer.is_multiple_of(2);
        if early {
            stream.write_all(body.as_bytes()).unwrap();
        }
        signal.wait(); // all heads are read
        signal.wait(); // the signal is sent
        if !early {
            stream.write_all(body.as_bytes()).unwrap();
        }
    })
    .await
}

// Row 35
async fn sigterm_settles_pending_deliveries(test_store: TestStore) {
    // So long that every delivery after the first still waits for its commit when the signal comes.
    let instance = Instance::start(&test_store, &["--commit-interval", "10s"]).await;
    let first = response_to(post(&instance).body(body_of(&[record(1, 0, 0.0)])), ID).await;
    assert_eq!(first.status, StatusCode::OK);
    let signal = Arc::new(Barrier::new(PENDING as usize + 1));
    let send = |racer| {
        (
            racer,
            tokio::spawn(send_around_the_signal(
                instance.url(""),
                racer,
                signal.clone(),
            )),
        )
    };
    let deliveries: Vec<_> = (1..=PENDING).map(send).collect();
    let began = tokio::task::block_in_place(|| {
        signal.wait();
        instance.terminate();
        signal.wait();
        Instant::now()
    });
    let mut acknowledged = vec![0.0];
    for (racer, delivery) in deliveries {
        match delivery.await.unwrap() {
            FirehoseResponse {
                status: StatusCode::OK,
                ..
            } => acknowledged.push(racer as f64),
            response => assert_error(&response, StatusCode::SERVICE_UNAVAILABLE, &["stopping"]),
        }
    }
    instance.wait_for_exit().await;
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );

    let instance = Instance::start(&test_store, &[]).await;
    let durable = outputs(&instance).await;
    for output in acknowledged {
        assert!(
            durable.contains(&output),
            "{output} was acknowledged, but only {durable:?} are durable"
        );
    }
}

/// A load balancer sees 503, and not a closed port, while a delivery is in flight.
async fn readiness_ends_before_the_port_closes(test_store: TestStore) {
    let instance = Instance::start(&test_store, &[]).await;
    let signal = Arc::new(Barrier::new(2));
    let delivery = tokio::spawn(send_around_the_signal(instance.url(""), 1, signal.clone()));
    tokio::task::block_in_place(|| signal.wait()); // the head is read
    instance.terminate();
    let get = async |path: &str| {
        let client = http_client_builder().no_proxy().timeout(DEADLINE).build();
        let response = client.unwrap().get(instance.url(path)).send().await;
        response.expect("the port is open").status()
    };
    until("it is not ready", async || {
        get("/readyz").await != StatusCode::OK
    })
    .await;
    assert_eq!(get("/readyz").await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(get("/healthz").await, StatusCode::OK);
    tokio::task::block_in_place(|| signal.wait()); // the body is sent
    let response = delivery.await.unwrap();
    assert_error(&response, StatusCode::SERVICE_UNAVAILABLE, &["stopping"]);
    instance.wait_for_exit().await;
}
