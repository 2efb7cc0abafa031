//! `alleycat serve` itself as another process, killed and started again at will.

use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

use super::place::Place;
use super::{DEADLINE, free_port, signal, until};

/// A process that serves, killed when it is dropped.
pub struct Instance {
    port: u16,
    arguments: Vec<String>,
    environment: Vec<(&'static str, String)>,
    client: Client,
    process: Mutex<Child>,
    said: Said,
}

impl Instance {
    /// Starts one over that place and waits until it is ready.
    pub async fn start(place: &Place, options: &[&str]) -> Self {
        Self::start_in(&place.environment(), place, options).await
    }

    /// Starts one whose way to that place is another, and waits until it is ready.
    pub async fn start_in(
        environment: &[(&'static str, String)],
        place: &Place,
        options: &[&str],
    ) -> Self {
        let instance = Self::spawn(environment, place, options);
        instance.becomes_ready().await;
        instance
    }

    /// Starts one that speaks TLS, which nobody here trusts, over that place, and waits until it listens.
    pub async fn start_tls(place: &Place, options: &[&str]) -> Self {
        let instance = Self::spawn(&place.environment(), place, options);
        instance.comes_to_say("listening on https://").await;
        instance
    }

    fn spawn(environment: &[(&'static str, String)], place: &Place, options: &[&str]) -> Self {
        let port = free_port();
        let arguments = arguments(port, &place.name(), options);
        let (process, said) = spawn(environment, &arguments);
        let client = Client::builder()
            .no_proxy()
            .timeout(DEADLINE * 2)
            .build()
            .unwrap();
        let (process, environment) = (Mutex::new(process), environment.to_vec());
        Self {
            port,
            arguments,
            environment,
            client,
            process,
            said,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    /// Ends it at once, as `kill -9` does.
    pub fn kill(&self) {
        let mut process = self.process.lock().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Starts it after it has ended, on the same port, and waits until it is ready.
    pub async fn start_again(&mut self) {
        let (process, said) = spawn(&self.environment, &self.arguments);
        (self.process, self.said) = (Mutex::new(process), said);
        self.becomes_ready().await;
    }

    /// Asks it to end, as an operator does.
    pub fn terminate(&self) {
        signal(self.process.lock().unwrap().id(), "-TERM");
    }

    /// Stops it where it stands: its port still takes connections, and none of them is answered.
    pub fn freeze(&self) {
        signal(self.process.lock().unwrap().id(), "-STOP");
    }

    /// Lets it go on after [`freeze`](Self::freeze).
    pub fn thaw(&self) {
        signal(self.process.lock().unwrap().id(), "-CONT");
    }

    /// Waits until it has ended, and insists that it ends well.
    pub async fn ends(&self) {
        let status = end(&self.process).await;
        until("all that it said is read", async || {
            self.said.reading.is_finished()
        })
        .await;
        assert!(status.success(), "{status}: {}", self.said.so_far());
    }

    /// What it has said so far, or in all once it [has ended](Self::ends).
    pub fn said(&self) -> String {
        self.said.so_far()
    }

    /// Where its metrics are, as it says itself.
    pub fn metrics_url(&self) -> String {
        let said = self.said();
        let (_, metrics) = said
            .split_once("metrics on ")
            .expect("it says so before it listens");
        metrics.split_whitespace().next().unwrap().to_owned()
    }

    /// The most memory that it ever held, in bytes.
    pub fn memory_peak_bytes(&self) -> u64 {
        let process = self.process.lock().unwrap().id();
        let status =
            std::fs::read_to_string(format!("/proc/{process}/status")).expect("it runs, on Linux");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .expect("Linux tells it");
        line.trim()
            .trim_end_matches(" kB")
            .parse::<u64>()
            .expect("a number")
            * 1024
    }

    /// Gets that path, insists on a 200, and reads the JSON.
    pub async fn json(&self, path: &str) -> Value {
        serde_json::from_slice(&self.bytes(path).await).unwrap()
    }

    /// Gets that path, insists on a 200, and reads the body as it comes.
    pub async fn bytes(&self, path: &str) -> Vec<u8> {
        let answer = self.client.get(self.url(path)).send().await.unwrap();
        let (status, body) = (answer.status(), answer.bytes().await.unwrap());
        assert_eq!(
            status,
            StatusCode::OK,
            "{path}: {}",
            String::from_utf8_lossy(&body)
        );
        body.to_vec()
    }

    /// Delivers those records once, and says how that was answered.
    pub async fn deliver(&self, records: &[Value]) -> StatusCode {
        let data = |record: &Value| base64_simd::STANDARD.encode_to_string(record.to_string());
        let records: Vec<Value> = records
            .iter()
            .map(|record| json!({ "data": data(record) }))
            .collect();
        let body = json!({ "requestId": "ed4acda5-034f-9f42-bba1-f29aea6d7d8f", "timestamp": 0, "records": records });
        let post = self
            .client
            .post(self.url("/firehose"))
            .header("content-type", "application/json");
        post.body(body.to_string()).send().await.unwrap().status()
    }

    /// Whether it says that it should be sent traffic.
    pub async fn is_ready(&self) -> bool {
        self.client
            .get(self.url("/readyz"))
            .send()
            .await
            .is_ok_and(|answer| answer.status() == StatusCode::OK)
    }

    async fn becomes_ready(&self) {
        until("the instance is ready", async || {
            self.runs();
            self.is_ready().await
        })
        .await;
    }

    async fn comes_to_say(&self, what: &str) {
        until(what, async || {
            self.runs();
            self.said.so_far().contains(what)
        })
        .await;
    }

    fn runs(&self) {
        if let Some(status) = self.process.lock().unwrap().try_wait().unwrap() {
            panic!("it ended with {status}: {}", self.said.so_far());
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let process = self.process.get_mut().unwrap();
        let _ = process.kill();
        let _ = process.wait();
        if std::thread::panicking() {
            eprintln!(
                "--- the instance on port {} said:\n{}",
                self.port,
                self.said.so_far()
            );
        }
    }
}

/// What a process says that does not come to serve that store: insists that it ends in failure, before its port opens.
pub async fn refusal(environment: &[(&'static str, String)], store: &str) -> String {
    let (process, said) = spawn(environment, &arguments(free_port(), store, &[]));
    let status = end(&Mutex::new(process)).await;
    let said = said.whole();
    assert!(!status.success(), "{status}: {said}");
    said
}

async fn end(process: &Mutex<Child>) -> ExitStatus {
    until("the process ends", async || {
        process.lock().unwrap().try_wait().unwrap().is_some()
    })
    .await;
    process.lock().unwrap().wait().unwrap()
}

fn arguments(port: u16, store: &str, options: &[&str]) -> Vec<String> {
    let own = [
        "serve",
        "--listen",
        &format!("127.0.0.1:{port}"),
        "--store",
        store,
    ]
    .map(ToOwned::to_owned);
    own.into_iter()
        .chain(options.iter().map(|&option| option.to_owned()))
        .collect()
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
