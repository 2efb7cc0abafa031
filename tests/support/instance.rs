//! `alleycat serve` as another process, which tests kill and restart.

use std::io::Read;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use alleycat::firehose_client::http_client_builder;
use reqwest::{Client, StatusCode};
use serde_json::Value;

use super::authority::ServerCertificate;
use super::test_store::TestStore;
use super::{DEADLINE, alleycat, firehose_body, free_port, signal, until};

/// A serving process, killed when dropped.
pub struct Instance {
    port: u16,
    arguments: Vec<String>,
    environment: Vec<(&'static str, String)>,
    client: Client,
    process: Mutex<Child>,
    log: ProcessLog,
}

impl Instance {
    /// Starts an instance on the store and waits until it is ready.
    pub async fn start(test_store: &TestStore, options: &[&str]) -> Self {
        Self::start_with_environment(&test_store.environment(), test_store, options).await
    }

    /// Starts an instance that reaches the store through `environment`, and waits until it is
    /// ready.
    pub async fn start_with_environment(
        environment: &[(&'static str, String)],
        test_store: &TestStore,
        options: &[&str],
    ) -> Self {
        let instance = Self::spawn(environment, test_store, options);
        instance.wait_until_ready().await;
        instance
    }

    /// Starts an instance with TLS and waits until it listens. This module's client does not trust
    /// the certificate.
    pub async fn start_tls(test_store: &TestStore, certificate: &ServerCertificate) -> Self {
        let options = certificate.options();
        let options = options.each_ref().map(String::as_str);
        let instance = Self::spawn(&test_store.environment(), test_store, &options);
        instance.wait_for_log("listening on https://").await;
        instance
    }

    /// Starts an instance, which does not listen yet.
    pub fn spawn(
        environment: &[(&'static str, String)],
        test_store: &TestStore,
        options: &[&str],
    ) -> Self {
        let port = free_port();
        let arguments = arguments(port, &test_store.url(), options);
        let (process, log) = spawn(environment, &arguments);
        let client = http_client_builder()
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
            log,
        }
    }

    /// Returns the address that the instance listens on.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    /// Kills the process with SIGKILL.
    pub fn kill(&self) {
        let mut process = self.process.lock().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Starts the process again after its end, on the same port, and waits until it is ready.
    pub async fn restart(&mut self) {
        let (process, log) = spawn(&self.environment, &self.arguments);
        (self.process, self.log) = (Mutex::new(process), log);
        self.wait_until_ready().await;
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        signal(self.process.lock().unwrap().id(), "-TERM");
    }

    /// Suspends the process with SIGSTOP: its port still accepts connections, but never responds.
    pub fn freeze(&self) {
        signal(self.process.lock().unwrap().id(), "-STOP");
    }

    /// Resumes the process after [`freeze`](Self::freeze).
    pub fn thaw(&self) {
        signal(self.process.lock().unwrap().id(), "-CONT");
    }

    /// Waits until the process exits, and requires status 0.
    pub async fn wait_for_exit(&self) {
        let status = exit_status(&self.process).await;
        until("the whole log is read", async || {
            self.log.reader.is_finished()
        })
        .await;
        assert!(status.success(), "{status}: {}", self.log());
    }

    /// Waits until the process has ended with an error, and returns its log.
    pub async fn wait_for_error(&self) -> String {
        let status = exit_status(&self.process).await;
        until("the whole log is read", async || {
            self.log.reader.is_finished()
        })
        .await;
        assert!(!status.success(), "{status}: {}", self.log());
        self.log()
    }

    /// Returns the log so far: the whole log after [`wait_for_exit`](Self::wait_for_exit).
    pub fn log(&self) -> String {
        self.log.text()
    }

    /// Returns the URL of the metrics, from the log.
    pub fn metrics_url(&self) -> String {
        let log = self.log();
        let (_, metrics) = log
            .split_once("metrics on ")
            .expect("it is logged before the service listens");
        metrics.split_whitespace().next().unwrap().to_owned()
    }

    /// Returns the peak resident memory, in bytes.
    pub fn memory_peak_bytes(&self) -> u64 {
        let process = self.process.lock().unwrap().id();
        let status = std::fs::read_to_string(format!("/proc/{process}/status"))
            .expect("a running process on Linux");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .expect("Linux reports VmHWM");
        line.trim()
            .trim_end_matches(" kB")
            .parse::<u64>()
            .expect("a number")
            * 1024
    }

    /// Gets the path, requires 200, and parses the JSON.
    pub async fn json(&self, path: &str) -> Value {
        serde_json::from_slice(&self.bytes(path).await).unwrap()
    }

    /// Gets the path, requires 200, and returns the body as sent.
    pub async fn bytes(&self, path: &str) -> Vec<u8> {
        let response = self.client.get(self.url(path)).send().await.unwrap();
        let (status, body) = (response.status(), response.bytes().await.unwrap());
        assert_eq!(
            status,
            StatusCode::OK,
            "{path}: {}",
            String::from_utf8_lossy(&body)
        );
        body.to_vec()
    }

    /// Delivers the records once and returns the status.
    pub async fn deliver(&self, records: &[Value]) -> StatusCode {
        self.try_deliver(records).await.unwrap()
    }

    /// As [`deliver`](Self::deliver), to a process that may end.
    pub async fn try_deliver(&self, records: &[Value]) -> reqwest::Result<StatusCode> {
        let post = self
            .client
            .post(self.url("/firehose"))
            .header("content-type", "application/json");
        let response = post.body(firehose_body(records)).send().await?;
        Ok(response.status())
    }

    /// Returns whether `/readyz` is 200.
    pub async fn is_ready(&self) -> bool {
        self.client
            .get(self.url("/readyz"))
            .send()
            .await
            .is_ok_and(|response| response.status() == StatusCode::OK)
    }

    pub async fn wait_until_ready(&self) {
        until("the instance is ready", async || {
            self.assert_running();
            self.is_ready().await
        })
        .await;
    }

    pub async fn wait_for_log(&self, text: &str) {
        until(text, async || {
            self.assert_running();
            self.log().contains(text)
        })
        .await;
    }

    fn assert_running(&self) {
        if let Some(status) = self.process.lock().unwrap().try_wait().unwrap() {
            panic!("the instance exited with {status}: {}", self.log());
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
                "--- log of the instance on port {}:\n{}",
                self.port,
                self.log.text()
            );
        }
    }
}

/// Starts a process that must fail before it serves the store, and returns its log.
pub async fn startup_error(environment: &[(&'static str, String)], store: &str) -> String {
    let (process, log) = spawn(environment, &arguments(free_port(), store, &[]));
    let status = exit_status(&Mutex::new(process)).await;
    let log = log.read_to_end();
    assert!(!status.success(), "{status}: {log}");
    log
}

async fn exit_status(process: &Mutex<Child>) -> ExitStatus {
    until("the process exits", async || {
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

fn spawn(environment: &[(&'static str, String)], arguments: &[String]) -> (Child, ProcessLog) {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut process = alleycat(&arguments)
        .env("ALLEYCAT_METRICS_LISTEN", "127.0.0.1:0")
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let log = ProcessLog::read(process.stderr.take().unwrap());
    (process, log)
}

/// The standard error of a process, read by a thread.
struct ProcessLog {
    text: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl ProcessLog {
    fn read(mut stderr: impl Read + Send + 'static) -> Self {
        let text = Arc::<Mutex<Vec<u8>>>::default();
        let written = text.clone();
        let reader = std::thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(length @ 1..) = stderr.read(&mut part) {
                written.lock().unwrap().extend_from_slice(&part[..length]);
            }
        });
        Self { text, reader }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().unwrap()).into_owned()
    }

    /// Returns the whole log after the process has exited.
    fn read_to_end(self) -> String {
        self.reader.join().unwrap();
        String::from_utf8(std::mem::take(&mut *self.text.lock().unwrap())).unwrap()
    }
}
