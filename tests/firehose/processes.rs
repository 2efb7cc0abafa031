//! What only a process of its own can show: its memory, its death and its end.

use std::time::{Duration, Instant};

use reqwest::{Client, RequestBuilder, StatusCode, header};
use tempfile::TempDir;

use super::form::*;
use crate::support::process::Process;
use crate::support::{DEADLINE, until};

fn client() -> Client {
    Client::builder().no_proxy().timeout(DEADLINE).build().unwrap()
}

async fn ready(process: &Process) {
    let url = format!("{}/readyz", process.origin);
    let client = client();
    let ready = async || client.get(&url).send().await.is_ok_and(|answer| answer.status() == StatusCode::OK);
    until("the process is ready", ready).await;
}

/// The outputs at second 1 of class 1, highest first.
async fn outputs(process: &Process) -> Vec<f64> {
    let url = format!("{}/classes/1/leaderboard?second=1", process.origin);
    let board = client().get(url).send().await.unwrap().text().await.unwrap();
    let board: serde_json::Value = serde_json::from_str(&board).unwrap();
    board["standings"].as_array().unwrap().iter().map(|row| row["output"].as_f64().unwrap()).collect()
}

fn post(process: &Process) -> RequestBuilder {
    client().post(format!("{}/firehose", process.origin)).header(REQUEST_ID, ID)
}

// Row 10
#[tokio::test(flavor = "multi_thread")]
async fn gzip_bombs_leave_memory_bounded() {
    let folder = TempDir::new().unwrap();
    let process = Process::start(folder.path(), &[]);
    ready(&process).await;
    // 1 GiB when gunzipped, in a single member and in several; the third is a record's.
    let member = gzip(vec![b' '; 64 << 20]);
    let several = member.repeat(16);
    let single = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let block = vec![b' '; 1 << 20];
        (0..1024).for_each(|_| std::io::Write::write_all(&mut encoder, &block).unwrap());
        encoder.finish().unwrap()
    };
    let bombs = [single.clone(), several.clone(), single, several].map(|bomb| {
        let request = post(&process).header(header::CONTENT_ENCODING, "gzip").body(bomb);
        tokio::spawn(answer_to(request, ID))
    });
    for answer in bombs {
        is_refusal(&answer.await.unwrap(), StatusCode::BAD_REQUEST, &["104857600", "--body-max", "SizeInMBs"]);
    }
    let records = vec![member; 20]; // none beyond a record's own limit
    let answer = answer_to(post(&process).body(body_of(&records)), ID).await;
    assert_eq!((answer.status, quarantine(folder.path()).len()), (StatusCode::OK, 20));
    let peak_mib = process.memory_peak_bytes() >> 20;
    assert!(peak_mib < 600, "{peak_mib} MiB");
}

// Row 32
#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_there_after_a_kill() {
    let folder = TempDir::new().unwrap();
    let mut expected = Vec::new();
    for round in 1..=3_u64 {
        let process = Process::start(folder.path(), &[]);
        ready(&process).await;
        assert_eq!(outputs(&process).await, expected, "after {} kills", round - 1);
        let output = 100.0 / round as f64;
        let body = body_of(&[effort(1, round, output), "bad".to_owned()]);
        assert_eq!(answer_to(post(&process).body(body), ID).await.status, StatusCode::OK);
        process.kill();
        expected.push(output);
        assert_eq!(quarantine(folder.path()).len(), round as usize);
    }
}

// Row 35
#[tokio::test(flavor = "multi_thread")]
async fn deliveries_under_way_at_sigterm_are_durable_or_refused_and_the_process_ends() {
    let folder = TempDir::new().unwrap();
    // So long that what comes after the first waits for its turn when the signal comes.
    let mut process = Process::start(folder.path(), &["--commit-interval", "10s"]);
    ready(&process).await;
    let send = |racer: u64| {
        let request = post(&process).body(body_of(&[effort(1, racer, racer as f64)]));
        tokio::spawn(async move { (racer, answer_to(request, ID).await) })
    };
    assert_eq!(send(1).await.unwrap().1.status, StatusCode::OK);
    let deliveries: Vec<_> = (2..40).map(send).collect();
    // One that is still sending: its client sees what becomes of it.
    tokio::task::yield_now().await;
    let began = Instant::now();
    process.terminate();
    let mut acknowledged = vec![1.0];
    for delivery in deliveries {
        // A connection that came too late to be accepted is refused by the system: nothing was under way.
        let Ok((racer, answer)) = delivery.await else { continue };
        match answer.status {
            StatusCode::OK => acknowledged.push(racer as f64),
            status => assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE),
        }
    }
    let status = process.ends_within(Duration::from_secs(10).saturating_sub(began.elapsed()));
    assert!(status.success(), "{status}: {}", process.said());

    let process = Process::start(folder.path(), &[]);
    ready(&process).await;
    let there = outputs(&process).await;
    for output in acknowledged {
        assert!(there.contains(&output), "{output} was acknowledged; there is {there:?}");
    }
}
