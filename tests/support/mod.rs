//! What the black-box suites are made of: a whole [`Service`] of this process, or of [another](instance), over a
//! [folder or a bucket](place), spoken to over HTTP only.

#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    unused_macros,
    reason = "each suite uses a part of it"
)]

pub mod broken_store;
pub mod instance;
pub mod place;
pub mod s3_server;
pub mod toll;

use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use alleycat::config::Config;
use alleycat::server;
use alleycat::storage::Store;
use clap::Parser;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, header};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use place::Place;

/// What a test waits for must have come after this long.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// From one question to the next: often, and yet those who are asked have time to do what is asked after.
const ASK_EVERY: Duration = Duration::from_millis(5);

/// Below the ports that the system gives to outgoing connections: a port that is free between a kill and the next start
/// must not become the near end of somebody's connection.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// Sends that process a signal, such as `-STOP`.
pub fn signal(process: u32, signal: &str) {
    assert!(
        Command::new("kill")
            .args([signal, &process.to_string()])
            .status()
            .unwrap()
            .success()
    );
}

/// A connection to that address on which `asking`, such as `GET /healthz`, was answered with 200 and that stays open;
/// `None` where it was closed instead, as it is beyond a limit.
pub async fn connection_served(address: &str, asking: &str) -> Option<TcpStream> {
    let mut connection = TcpStream::connect(address).await.expect("it listens");
    let mut begin = [0; 12];
    let asked = connection
        .write_all(format!("{asking} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes())
        .await;
    let answered = asked.is_ok() && connection.read_exact(&mut begin).await.is_ok();
    (answered && begin == *b"HTTP/1.1 200").then_some(connection)
}

/// The test's own command line.
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    config: Config,
}

/// A running service. Dropped, it ends in its own time; [`Service::stop`] is an orderly end that is waited for.
pub struct Service {
    origin: String,
    client: Client,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<anyhow::Result<()>>,
    place: Option<Place>,
}

impl Service {
    /// Starts a service with these options of `alleycat serve` over a new, empty folder, and waits until it is ready.
    pub async fn start(options: &[&str]) -> Self {
        let place = Place::folder();
        let mut service = Self::start_over(&place, options).await;
        service.place = Some(place);
        service
    }

    /// The folder of a service that has one of its own.
    pub fn folder(&self) -> &std::path::Path {
        match &self.place {
            Some(Place::Folder(folder)) => folder.path(),
            _ => panic!("it was not started over a folder of its own"),
        }
    }

    /// Starts a service over that place, which may hold what another one left, and waits until it is ready.
    pub async fn start_over(place: &Place, options: &[&str]) -> Self {
        Self::start_with(place.open().await, options, |_| {}).await
    }

    /// Starts a service over that store, its configuration tuned beyond its options, and waits until it is ready.
    pub async fn start_with(
        store: Arc<dyn Store>,
        options: &[&str],
        tune: impl FnOnce(&mut Config),
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let options = std::iter::once("alleycat").chain(options.iter().copied());
        let mut config = Options::try_parse_from(options).expect("options").config;
        tune(&mut config);
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async move {
            if stopped.await.is_err() {
                std::future::pending::<()>().await; // dropped, not stopped: the task is aborted
            }
        };
        let served = tokio::spawn(server::serve(config, listener, store, shutdown));
        let client = Client::builder()
            .no_gzip()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none());
        let client = client.timeout(DEADLINE).build().expect("a client");
        let service = Self {
            origin: format!("http://{address}"),
            client,
            stop: Some(stop),
            served,
            place: None,
        };
        until("the service is ready", async || {
            service.get("/readyz").await.status() == StatusCode::OK
        })
        .await;
        service
    }

    /// The URL of that path.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin)
    }

    /// Delivers the records, one JSON value each, as Firehose does, and insists that they are acknowledged.
    pub async fn deliver(&self, records: &[Value]) {
        let data = |record: &Value| base64_simd::STANDARD.encode_to_string(record.to_string());
        let records: Vec<Value> = records
            .iter()
            .map(|record| json!({ "data": data(record) }))
            .collect();
        let body = json!({ "requestId": "ed4acda5-034f-9f42-bba1-f29aea6d7d8f", "timestamp": 0, "records": records });
        let request = self
            .request(Method::POST, "/firehose")
            .header(header::CONTENT_TYPE, "application/json");
        let answer = request
            .body(body.to_string())
            .send()
            .await
            .expect("an answer");
        let (status, text) = (answer.status(), answer.text().await.expect("a body"));
        assert_eq!(status, StatusCode::OK, "{text}");
    }

    /// A request to that path, to be given headers and sent.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, self.url(path))
    }

    /// Gets that path. Nothing is decompressed.
    pub async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path)
            .send()
            .await
            .expect("an answer")
    }

    /// Gets that path, insists on a 200, and reads the JSON.
    pub async fn json(&self, path: &str) -> Value {
        let answer = self.get(path).await;
        let (status, text) = (answer.status(), answer.text().await.expect("a body"));
        assert_eq!(status, StatusCode::OK, "{path}: {text}");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}: {text}"))
    }

    /// Stops the service in order and insists that it ends well.
    pub async fn stop(mut self) {
        let stop = self.stop.take().expect("it is stopped once");
        stop.send(()).expect("the service runs");
        let served = tokio::time::timeout(DEADLINE, &mut self.served)
            .await
            .expect("the service stops in time");
        served
            .expect("the service does not panic")
            .expect("the service ends well");
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.served.abort();
    }
}

/// Asks again and again until it is so, and fails after [`DEADLINE`].
pub async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let asking = async {
        while !is_so().await {
            tokio::time::sleep(ASK_EVERY).await;
        }
    };
    tokio::time::timeout(DEADLINE, asking)
        .await
        .unwrap_or_else(|_| panic!("not within {DEADLINE:?}: {what}"));
}

/// A port of 127.0.0.1 that nobody has.
pub fn free_port() -> u16 {
    std::iter::repeat_with(|| rand::random_range(PORTS))
        .find(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok())
        .expect("there is one")
}

/// A telemetry record of the transformed kind: with its output.
pub fn record(class: u64, second: u64, racer: u64, output: f64) -> Value {
    json!({ "classId": class, "second": second, "racerId": racer, "output": output })
}
