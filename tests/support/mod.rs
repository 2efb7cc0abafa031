//! Support of the black-box suites: a whole [`Service`] in this process, or in [another](instance),
//! on a [folder or a bucket](test_store), reached over HTTP only.

#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    unused_macros,
    reason = "each suite uses a part of this module"
)]

pub mod authority;
pub mod broken_store;
pub mod builders;
pub mod faulty_proxy;
pub mod instance;
pub mod pausing_proxy;
pub mod s3_server;
pub mod test_store;

use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use alleycat::config::{Config, ServiceLimits};
use alleycat::firehose_client::http_client_builder;
use alleycat::server;
use alleycat::storage::Store;
use clap::Parser;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, header};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use broken_store::BrokenStore;
pub use builders::{effort, gunzip, gunzip_single_member, gzip, record, telemetry};
use test_store::TestStore;

/// Maximum time that a test waits for an event.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Interval between two checks of a condition. Short, but it leaves the service time to work.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Ports of services. They lie below the ports that Linux gives to outgoing connections, because
/// one of those could take a service's port between a kill and the restart.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// Returns the `alleycat` command with these arguments, without the machine's settings of AWS and
/// of `alleycat`.
pub fn alleycat(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_alleycat"));
    command
        .args(arguments)
        .env_clear()
        .env("AWS_EC2_METADATA_DISABLED", "true");
    command
}

/// Returns the body of a Firehose request with these records, one JSON value each.
pub fn firehose_body(records: &[Value]) -> String {
    let data = |record: &Value| base64_simd::STANDARD.encode_to_string(record.to_string());
    let records: Vec<Value> = records
        .iter()
        .map(|record| json!({ "data": data(record) }))
        .collect();
    json!({ "requestId": "ed4acda5-034f-9f42-bba1-f29aea6d7d8f", "timestamp": 0, "records": records })
        .to_string()
}

/// Sends a signal, such as `-STOP`, to a process.
pub fn signal(process: u32, signal: &str) {
    assert!(
        Command::new("kill")
            .args([signal, &process.to_string()])
            .status()
            .unwrap()
            .success()
    );
}

/// Opens a connection and sends one request, such as `GET /healthz`. Returns the open connection if
/// the response is 200, and `None` if the connection was closed, as beyond a limit.
pub async fn connection_served(address: &str, request: &str) -> Option<TcpStream> {
    let mut connection = TcpStream::connect(address).await.expect("it listens");
    let mut status_line = [0; 12];
    let sent = connection
        .write_all(format!("{request} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes())
        .await;
    let responded = sent.is_ok() && connection.read_exact(&mut status_line).await.is_ok();
    (responded && status_line == *b"HTTP/1.1 200").then_some(connection)
}

/// The options of `serve`, parsed as the binary parses them.
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    config: Config,
}

/// A running service. A drop aborts it without waiting; [`Service::stop`] shuts it down in order
/// and waits.
pub struct Service {
    origin: String,
    client: Client,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<anyhow::Result<()>>,
    test_store: Option<TestStore>,
}

impl Service {
    /// Starts a service with these options of `alleycat serve` on an empty folder, and waits until
    /// it is ready.
    pub async fn start(options: &[&str]) -> Self {
        Self::start_changed(options, |_| {}).await
    }

    /// Starts a service on an empty folder, with changed limits, and waits until it is ready.
    pub async fn start_changed(options: &[&str], change: impl FnOnce(&mut ServiceLimits)) -> Self {
        let test_store = TestStore::folder();
        let mut service = Self::start_with(test_store.open().await, options, change).await;
        service.test_store = Some(test_store);
        service
    }

    /// Returns the folder of a service started by [`Service::start`].
    pub fn folder(&self) -> &std::path::Path {
        match &self.test_store {
            Some(TestStore::Folder(folder)) => folder.path(),
            _ => panic!("the service was not started by Service::start"),
        }
    }

    /// Starts a service on the store, which may hold another service's objects, and waits until it
    /// is ready.
    pub async fn start_on(test_store: &TestStore, options: &[&str]) -> Self {
        Self::start_with(test_store.open().await, options, |_| {}).await
    }

    /// Starts a service on the store, with changed limits, and waits until it is ready.
    pub async fn start_with(
        store: Arc<dyn Store>,
        options: &[&str],
        change: impl FnOnce(&mut ServiceLimits),
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let options = std::iter::once("alleycat").chain(options.iter().copied());
        let mut limits = ServiceLimits::default();
        change(&mut limits);
        let config = Options::try_parse_from(options).expect("options").config;
        let config = config.with_limits(limits);
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async move {
            if stopped.await.is_err() {
                std::future::pending::<()>().await; // dropped without stop: the task is aborted
            }
        };
        let served = tokio::spawn(server::serve(config, listener, store, None, shutdown));
        let client = http_client_builder()
            .no_gzip()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none());
        let client = client.timeout(DEADLINE).build().expect("a client");
        let service = Self {
            origin: format!("http://{address}"),
            client,
            stop: Some(stop),
            served,
            test_store: None,
        };
        until("the service is ready", async || {
            service.get("/readyz").await.status() == StatusCode::OK
        })
        .await;
        service
    }

    /// Starts a service on the store through a [`BrokenStore`], with a configuration changed beyond
    /// its options, and waits until it is ready.
    pub async fn start_broken(
        test_store: &TestStore,
        options: &[&str],
        change: impl FnOnce(&mut ServiceLimits),
    ) -> (Self, Arc<BrokenStore>) {
        let store = BrokenStore::new(test_store.open().await);
        let service = Self::start_with(store.clone(), options, change).await;
        (service, store)
    }

    /// Returns the address that the service listens on.
    pub fn address(&self) -> String {
        self.origin["http://".len()..].to_owned()
    }

    /// Returns the URL of the path.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin)
    }

    /// Delivers the records, one JSON value each, as Firehose does, and requires 200.
    pub async fn deliver(&self, records: &[Value]) {
        let request = self
            .request(Method::POST, "/firehose")
            .header(header::CONTENT_TYPE, "application/json");
        let response = request
            .body(firehose_body(records))
            .send()
            .await
            .expect("a response");
        let (status, text) = (response.status(), response.text().await.expect("a body"));
        assert_eq!(status, StatusCode::OK, "{text}");
    }

    /// Builds a request to the path.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, self.url(path))
    }

    /// Gets the path, without decompression.
    pub async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path)
            .send()
            .await
            .expect("a response")
    }

    /// Gets the path, requires 200, and parses the JSON.
    pub async fn json(&self, path: &str) -> Value {
        let response = self.get(path).await;
        let (status, text) = (response.status(), response.text().await.expect("a body"));
        assert_eq!(status, StatusCode::OK, "{path}: {text}");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}: {text}"))
    }

    /// Shuts the service down in order and requires success.
    pub async fn stop(mut self) {
        let stop = self.stop.take().expect("stop is called once");
        stop.send(()).expect("the service runs");
        let served = tokio::time::timeout(DEADLINE, &mut self.served)
            .await
            .expect("the service stops in time");
        served
            .expect("the service does not panic")
            .expect("the service stops without an error");
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.served.abort();
    }
}

/// Polls the condition until it holds, and panics after [`DEADLINE`].
pub async fn until(description: &str, condition: impl AsyncFn() -> bool) {
    let polling = async {
        while !condition().await {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    };
    tokio::time::timeout(DEADLINE, polling)
        .await
        .unwrap_or_else(|_| panic!("not within {DEADLINE:?}: {description}"));
}

/// Returns an unused port of 127.0.0.1.
pub fn free_port() -> u16 {
    std::iter::repeat_with(|| rand::random_range(PORTS))
        .find(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok())
        .expect("a free port")
}
