//! `alleycat serve` itself as another process over a store in a bucket, killed and started again at will.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)] // several test crates may take it in, each what it needs

use std::io::Read;
use std::net::TcpListener;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

/// What a test waits for must have come after this long.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// From one question to the next: often, and yet those who are asked have time to do what is asked after.
const ASK_EVERY: Duration = Duration::from_millis(10);

/// Below the ports that the system gives to outgoing connections: a port that is free between a kill and the next start
/// must not become the near end of somebody's connection.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A process that serves, killed when it is dropped.
pub struct Instance {
    port: u16,
    arguments: Vec<String>,
    environment: Vec<(&'static str, String)>,
    client: Client,
    process: Child,
    said: Said,
}

impl Instance {
    /// Starts one over that store and waits until it is ready.
    pub async fn start(environment: &[(&'static str, String)], store: &str, options: &[&str]) -> Self {
        let port = free_port();
        let arguments = arguments(port, store, options);
        let (process, said) = spawn(environment, &arguments);
        let client = client();
        let mut instance = Self { port, arguments, environment: environment.to_vec(), client, process, said };
        instance.becomes_ready().await;
        instance
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Ends it at once, as `kill -9` does.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts it after it has ended, on the same port, and waits until it is ready.
    pub async fn start_again(&mut self) {
        (self.process, self.said) = spawn(&self.environment, &self.arguments);
        self.becomes_ready().await;
    }

    /// Asks it to end, as an operator does, and waits until it has.
    pub async fn terminate(&mut self) -> ExitStatus {
        let asked = Command::new("kill").args(["-TERM", &self.process.id().to_string()]).status().unwrap();
        assert!(asked.success());
        let process = Mutex::new(&mut self.process);
        until("the instance ends", async || process.lock().unwrap().try_wait().unwrap().is_some()).await;
        self.process.wait().unwrap()
    }

    /// Gets that path, insists on a 200, and reads the JSON.
    pub async fn json(&self, path: &str) -> Value {
        let answer = self.client.get(self.url(path)).send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert_eq!(status, StatusCode::OK, "{path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// Gets that path, insists on a 200, and reads the body as it comes.
    pub async fn bytes(&self, path: &str) -> Vec<u8> {
        let answer = self.client.get(self.url(path)).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        answer.bytes().await.unwrap().to_vec()
    }

    /// Delivers those records once, and says how that was answered.
    pub async fn deliver(&self, records: &[Value]) -> StatusCode {
        let data = |record: &Value| base64_simd::STANDARD.encode_to_string(record.to_string());
        let records: Vec<Value> = records.iter().map(|record| json!({ "data": data(record) })).collect();
        let body = json!({ "requestId": "ed4acda5-034f-9f42-bba1-f29aea6d7d8f", "timestamp": 0, "records": records });
        let post = self.client.post(self.url("/firehose")).header("content-type", "application/json");
        post.body(body.to_string()).send().await.unwrap().status()
    }

    async fn becomes_ready(&mut self) {
        let (client, url) = (self.client.clone(), self.url("/readyz"));
        let process = Mutex::new(&mut self.process);
        let said = &self.said;
        until("the instance is ready", async || {
            if let Some(status) = process.lock().unwrap().try_wait().unwrap() {
                panic!("it ended with {status}: {}", said.so_far());
            }
            client.get(&url).send().await.is_ok_and(|answer| answer.status() == StatusCode::OK)
        })
        .await;
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("--- the instance on port {} said:\n{}", self.port, self.said.so_far());
        }
    }
}

/// What a process that does not come to serve says, once it has ended.
pub async fn refusal(environment: &[(&'static str, String)], store: &str) -> (ExitStatus, String) {
    let (process, said) = spawn(environment, &arguments(free_port(), store, &[]));
    let process = Mutex::new(process);
    until("the process ends", async || process.lock().unwrap().try_wait().unwrap().is_some()).await;
    let status = process.lock().unwrap().wait().unwrap();
    (status, said.whole())
}

/// Asks again and again until it is so, and fails after [`DEADLINE`].
pub async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let asking = async {
        while !is_so().await {
            tokio::time::sleep(ASK_EVERY).await;
        }
    };
    tokio::time::timeout(DEADLINE, asking).await.unwrap_or_else(|_| panic!("not within {DEADLINE:?}: {what}"));
}

fn arguments(port: u16, store: &str, options: &[&str]) -> Vec<String> {
    let own = ["serve", "--listen", &format!("127.0.0.1:{port}"), "--store", store].map(ToOwned::to_owned);
    own.into_iter().chain(options.iter().map(|&option| option.to_owned())).collect()
}

fn client() -> Client {
    Client::builder().no_proxy().timeout(DEADLINE).build().unwrap()
}

fn free_port() -> u16 {
    std::iter::repeat_with(|| rand::random_range(PORTS))
        .find(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok())
        .unwrap()
}

fn spawn(environment: &[(&'static str, String)], arguments: &[String]) -> (Child, Said) {
    let mut process = Command::new(env!("CARGO_BIN_EXE_alleycat"))
        .args(arguments)
        .env_clear() // nothing of the machine's own AWS configuration
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("ALLEYCAT_METRICS_LISTEN", "127.0.0.1:0")
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let said = Said::by(process.stderr.take().unwrap());
    (process, said)
}

/// What a process says on its standard error.
struct Said {
    text: Arc<Mutex<Vec<u8>>>,
    reading: JoinHandle<()>,
}

impl Said {
    fn by(mut stderr: impl Read + Send + 'static) -> Self {
        let text = Arc::<Mutex<Vec<u8>>>::default();
        let written = text.clone();
        let reading = std::thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(length @ 1..) = stderr.read(&mut part) {
                written.lock().unwrap().extend_from_slice(&part[..length]);
            }
        });
        Self { text, reading }
    }

    fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().unwrap()).into_owned()
    }

    /// All of it, once the process has ended.
    fn whole(self) -> String {
        self.reading.join().unwrap();
        String::from_utf8(std::mem::take(&mut *self.text.lock().unwrap())).unwrap()
    }
}
