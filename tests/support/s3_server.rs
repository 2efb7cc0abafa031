//! A real S3 server in another process: ministack, on a free port of 127.0.0.1, over when it is dropped.
//!
//! It is the program that `ALLEYCAT_TEST_MINISTACK` names, or the one that `scripts/test-deps.sh` installs.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)] // several test crates take it in, each what it needs

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::config::{Builder, Credentials};
use tempfile::TempDir;

/// Starts before giving up: another process may take the port between our finding it and the server's taking it.
const STARTS_MAX: usize = 5;

pub struct S3Server {
    process: Child,
    port: u16,
    objects: TempDir,
}

impl S3Server {
    /// Starts a server that has nothing.
    pub fn start() -> Self {
        let objects = TempDir::new().unwrap();
        for _ in 0..STARTS_MAX {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            if let Some(process) = run(port, &objects) {
                return Self { process, port, objects };
            }
        }
        panic!("ministack did not start {STARTS_MAX} times");
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// For another process that is to use the server.
    pub fn environment(&self) -> [(&'static str, String); 4] {
        [
            ("AWS_ENDPOINT_URL", self.endpoint()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "test".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
        ]
    }

    /// For this process.
    pub async fn config(&self) -> SdkConfig {
        config(&self.endpoint()).await
    }

    pub async fn create_bucket(&self, bucket: &str) {
        let config = Builder::from(&self.config().await).force_path_style(true).build();
        aws_sdk_s3::Client::from_conf(config).create_bucket().bucket(bucket).send().await.unwrap();
    }

    /// Kills it at once.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts it after [`kill`](Self::kill), on the same port and with the objects that it had.
    pub fn start_again(&mut self) {
        self.process = run(self.port, &self.objects).expect("the port is free");
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What a client of an S3 server at that endpoint is configured with.
pub async fn config(endpoint: &str) -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .endpoint_url(endpoint)
        .region(Region::from_static("us-east-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "tests"))
        .load()
        .await
}

/// `None` when it ends before it listens.
fn run(port: u16, objects: &TempDir) -> Option<Child> {
    let program = std::env::var_os("ALLEYCAT_TEST_MINISTACK")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.venv/bin/ministack")), PathBuf::from);
    let mut process = Command::new(&program)
        .env("BIND_HOST", "127.0.0.1") // without it, every address of the machine
        .env("GATEWAY_PORT", port.to_string())
        .env("S3_PERSIST", "1")
        .env("S3_DATA_DIR", objects.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| {
            panic!("the S3 server {} does not start ({error}): run scripts/test-deps.sh", program.display())
        });
    let mut log = BufReader::new(process.stderr.take().expect("it is piped"));
    let mut line = String::new();
    while log.read_line(&mut line).unwrap() > 0 {
        if line.contains("Running on http://") {
            // Read on, so that it never waits for us to.
            std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
            return Some(process);
        }
        line.clear();
    }
    process.wait().unwrap();
    None
}
