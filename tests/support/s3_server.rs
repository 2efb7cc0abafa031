//! A real S3 server in another process, on free ports of 127.0.0.1. It is killed when dropped.
//!
//! The default is ministack. `ALLEYCAT_TEST_S3=seaweedfs` selects SeaweedFS, which is slower,
//! checks signatures, and has many threads. `scripts/test-deps.sh` installs both into `.venv`.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, Weak};

use alleycat::firehose_client::http_client_builder;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::config::{Builder, Credentials};
use axum::Router;
use axum::http::{HeaderMap, Method, StatusCode};
use tempfile::TempDir;

use super::{free_port, signal, until};

/// The bucket that every server is started with.
pub const BUCKET: &str = "races";

/// Maximum number of starts: another process may bind a free port before the server does.
const STARTS_MAX: usize = 5;

pub const KEY_ID: &str = "test";
pub const SECRET: &str = "testsecret";

/// The program that serves S3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerKind {
    /// Runs one event loop, so conditional puts are atomic. Accepts any credentials.
    Ministack,
    /// A production server.
    SeaweedFs,
}

impl ServerKind {
    fn from_environment() -> Self {
        match std::env::var("ALLEYCAT_TEST_S3").as_deref() {
            Err(_) | Ok("ministack") => Self::Ministack,
            Ok("seaweedfs") => Self::SeaweedFs,
            Ok(other) => panic!("ALLEYCAT_TEST_S3 is {other:?}; set it to ministack or seaweedfs"),
        }
    }
}

pub struct S3Server {
    kind: ServerKind,
    port: u16,
    objects: TempDir,
    process: Mutex<Child>,
}

impl S3Server {
    /// Returns the server that the tests of this process share. The first test starts it; it stops
    /// with the last.
    pub async fn shared() -> Arc<Self> {
        static SHARED: tokio::sync::Mutex<Weak<S3Server>> =
            tokio::sync::Mutex::const_new(Weak::new());
        let mut shared = SHARED.lock().await;
        if let Some(server) = shared.upgrade() {
            return server;
        }
        let server = Arc::new(Self::start().await);
        *shared = Arc::downgrade(&server);
        server
    }

    /// Starts a server that holds only [`BUCKET`].
    pub async fn start() -> Self {
        Self::start_kind(ServerKind::from_environment()).await
    }

    pub async fn start_kind(kind: ServerKind) -> Self {
        for _ in 0..STARTS_MAX {
            let (port, objects) = (free_port(), TempDir::new().unwrap());
            let server = Self {
                kind,
                port,
                process: Mutex::new(run(kind, port, objects.path())),
                objects,
            };
            if server.wait_until_up().await {
                server
                    .client()
                    .await
                    .create_bucket()
                    .bucket(BUCKET)
                    .send()
                    .await
                    .unwrap();
                return server;
            }
        }
        panic!("{kind:?} did not start {STARTS_MAX} times");
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Returns the environment of a process that uses the server.
    pub fn environment(&self) -> [(&'static str, String); 4] {
        [
            ("AWS_ENDPOINT_URL", self.endpoint()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", KEY_ID.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
        ]
    }

    /// Returns the AWS configuration for this process.
    pub async fn config(&self) -> SdkConfig {
        config(&self.endpoint()).await
    }

    pub async fn client(&self) -> aws_sdk_s3::Client {
        aws_sdk_s3::Client::from_conf(
            Builder::from(&self.config().await)
                .force_path_style(true)
                .build(),
        )
    }

    /// Kills the server with SIGKILL.
    pub fn kill(&self) {
        let mut process = self.process.lock().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Starts the server again after [`kill`](Self::kill), on the same port and with the same
    /// objects.
    pub async fn restart(&self) {
        *self.process.lock().unwrap() = run(self.kind, self.port, self.objects.path());
        assert!(self.wait_until_up().await, "the port is in use");
    }

    /// Suspends the server with SIGSTOP: its port still accepts connections, but never responds.
    pub fn freeze(&self) {
        signal(self.process.lock().unwrap().id(), "-STOP");
    }

    /// Resumes the server after [`freeze`](Self::freeze).
    pub fn thaw(&self) {
        signal(self.process.lock().unwrap().id(), "-CONT");
    }

    /// Waits until the server responds. Returns false if it exits first.
    async fn wait_until_up(&self) -> bool {
        let (client, endpoint) = (
            http_client_builder().no_proxy().build().unwrap(),
            self.endpoint(),
        );
        let has_exited = || self.process.lock().unwrap().try_wait().unwrap().is_some();
        until("the S3 server is up", async || {
            has_exited() || client.get(&endpoint).send().await.is_ok()
        })
        .await;
        !has_exited()
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        let process = self.process.get_mut().unwrap();
        let _ = process.kill();
        let _ = process.wait();
    }
}

/// Returns the AWS configuration of a client of the S3 server at `endpoint`.
pub async fn config(endpoint: &str) -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .endpoint_url(endpoint)
        .region(Region::from_static("us-east-1"))
        .credentials_provider(Credentials::new(KEY_ID, SECRET, None, None, "tests"))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .load()
        .await
}

/// Starts an S3 server in this process that accepts everything. Returns its endpoint, and the
/// headers of all puts so far.
pub async fn start_recording() -> (String, Arc<Mutex<Vec<HeaderMap>>>) {
    let puts: Arc<Mutex<Vec<HeaderMap>>> = Arc::default();
    let recorded = puts.clone();
    let respond = move |method: Method, headers: HeaderMap| async move {
        if method == Method::PUT {
            recorded.lock().unwrap().push(headers);
        }
        ([("etag", "\"1\"")], "<ListBucketResult/>")
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(respond)).await });
    (endpoint, puts)
}

/// Starts an S3 server in this process. It responds to listings if `lists`, and to other requests
/// with the status and code. Returns its endpoint.
pub async fn start_canned(lists: bool, status: u16, code: &'static str) -> String {
    let respond = move |method: Method| async move {
        if lists && method == Method::GET {
            return (
                StatusCode::OK,
                [("x-amz-bucket-region", "")],
                "<ListBucketResult/>".to_owned(),
            );
        }
        let error = format!("<Error><Code>{code}</Code><Message>canned</Message></Error>");
        (
            StatusCode::from_u16(status).unwrap(),
            [("x-amz-bucket-region", "eu-north-1")],
            error,
        )
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(respond)).await });
    endpoint
}

fn run(kind: ServerKind, port: u16, objects: &Path) -> Child {
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin");
    let mut command = match kind {
        ServerKind::Ministack => {
            let mut command = Command::new(programs.join("ministack"));
            command.env("BIND_HOST", "127.0.0.1"); // the default is every address of the machine
            command
                .env("GATEWAY_PORT", port.to_string())
                .env("S3_PERSIST", "1")
                .env("S3_DATA_DIR", objects);
            command
        }
        ServerKind::SeaweedFs => {
            let mut command = Command::new(programs.join("weed"));
            command
                .env("AWS_ACCESS_KEY_ID", KEY_ID)
                .env("AWS_SECRET_ACCESS_KEY", SECRET);
            command.args([
                "mini",
                "-ip=127.0.0.1",
                "-ip.bind=127.0.0.1",
                "-webdav=false",
                "-admin.ui=false",
            ]);
            command.args([
                "-s3.port.iceberg=0",
                "-s3.port.lance=0",
                &format!("-s3.port={port}"),
            ]);
            for name in [
                "s3.port.grpc",
                "master.port",
                "master.port.grpc",
                "filer.port",
                "filer.port.grpc",
            ] {
                command.arg(format!("-{name}={}", free_port()));
            }
            for name in ["volume.port", "volume.port.grpc"] {
                command.arg(format!("-{name}={}", free_port()));
            }
            let mut folder = OsString::from("-dir=");
            folder.push(objects);
            command.arg(folder).current_dir(objects);
            command
        }
    };
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.spawn().unwrap_or_else(|error| {
        panic!(
            "{} does not start ({error}): run scripts/test-deps.sh",
            command.get_program().display()
        )
    })
}
