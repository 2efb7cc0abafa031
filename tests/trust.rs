//! Who may do what, over what connections, and how the service is asked after: keys, TLS, slow clients, `alleycat
//! ready` and `alleycat doctor`.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect should stop there"
)]

mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use reqwest::{Client, Method, StatusCode, Version};
use serde_json::{Value, json};
use support::instance::Instance;
use support::s3_server::{BUCKET, S3Server};
use support::test_store::TestStore;
use support::{DEADLINE, Service, connection_served, until};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const ARN: &str = "arn:aws:firehose:us-east-1:123456789012:deliverystream/rides";

async fn deliver(service: &Service, headers: &[(&str, &str)]) -> StatusCode {
    let mut request = service.request(Method::POST, "/firehose");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = json!({ "requestId": "a", "timestamp": 0, "records": [] }).to_string();
    let answer = request.body(body).send().await.unwrap();
    let status = answer.status();
    let answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    assert!(
        answer["timestamp"].is_number() && answer["errorMessage"].is_null() == (status == 200),
        "{answer}"
    );
    status
}

#[tokio::test]
async fn an_access_key_is_replaced_while_the_service_runs() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "the-old-one\n").unwrap();
    let service = Service::start(&["--access-key-file", file.path().to_str().unwrap()]).await;
    let with = async |key: &str| deliver(&service, &[("x-amz-firehose-access-key", key)]).await;
    assert_eq!(
        (with("the-old-one").await, with("a-newer-one").await),
        (StatusCode::OK, StatusCode::UNAUTHORIZED)
    );
    std::fs::write(file.path(), "the-old-one\na-newer-one\n").unwrap();
    until("both are taken", async || with("a-newer-one").await == 200).await;
    assert_eq!(with("the-old-one").await, 200);
    std::fs::write(file.path(), "{\"api_key\":\"a-newer-one\"}").unwrap();
    until("the old one is not", async || {
        with("the-old-one").await == 401
    })
    .await;
    assert_eq!(with("a-newer-one").await, 200);
}

#[tokio::test]
async fn only_the_streams_that_are_named_may_deliver() {
    let other = "arn:aws:firehose:us-east-1:123456789012:deliverystream/other";
    let service = Service::start(&["--source-arn", ARN, "--source-arn", other]).await;
    for (arn, status) in [
        (ARN, 200),
        (other, 200),
        ("arn:aws:firehose", 403),
        ("", 403),
    ] {
        assert_eq!(
            deliver(&service, &[("x-amz-firehose-source-arn", arn)]).await,
            status,
            "{arn}"
        );
    }
    assert_eq!(deliver(&service, &[]).await, 403);
}

#[tokio::test]
async fn without_a_query_key_nothing_is_read_where_one_is_needed() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "of-a-file\n").unwrap();
    let path = file.path().to_str().unwrap();
    let options = [
        "--query-key",
        "reads",
        "--query-key-file",
        path,
        "--admin-key",
        "erases",
        "--access-key",
        "rides",
    ];
    let service = Service::start(&options).await;
    let get = async |path: &str, key: &str| {
        let request = service
            .request(Method::GET, path)
            .header("authorization", format!("Bearer {key}"));
        request.send().await.unwrap()
    };
    let closed = [
        "/classes",
        "/classes/1/history",
        "/class-1.gz",
        "/classes/1/leaderboard",
        "/racers?name=h",
    ];
    for path in closed {
        let answer = service.get(path).await;
        assert_eq!(answer.status(), 401, "{path}");
        assert_eq!(answer.headers()["www-authenticate"], "Bearer");
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        for wrong in ["rides", "read", ""] {
            assert_eq!(get(path, wrong).await.status(), 401, "{path} {wrong}");
        }
        for right in ["reads", "of-a-file", "erases"] {
            let answer = get(path, right).await;
            assert_eq!(answer.status(), 200, "{path} {right}");
            let cached = answer
                .headers()
                .get("cache-control")
                .map_or("", |value| value.to_str().unwrap());
            assert!(!cached.contains("public"), "{path}: {cached}");
        }
    }
    for path in ["/", "/healthz", "/readyz", "/openapi.json"] {
        assert_eq!(service.get(path).await.status(), 200, "{path}");
    }
    let erase = async |key: &str| {
        let request = service
            .request(Method::DELETE, "/racers/1")
            .header("authorization", format!("Bearer {key}"));
        request.send().await.unwrap().status()
    };
    assert_eq!(
        (erase("reads").await, erase("erases").await),
        (StatusCode::UNAUTHORIZED, StatusCode::OK)
    );
}

#[tokio::test]
async fn no_key_shows_in_the_log_or_in_the_metrics() {
    let test_store = TestStore::folder();
    let keys = [
        "--access-key",
        "hush-access",
        "--admin-key",
        "hush-admin",
        "--query-key",
        "hush-query",
    ];
    let instance = Instance::start(&test_store, &keys).await;
    let client = Client::builder().no_proxy().build().unwrap();
    let post = client.post(instance.url("/firehose"));
    post.header("x-amz-firehose-access-key", "hush-wrong")
        .body("{}")
        .send()
        .await
        .unwrap();
    let get = client.get(instance.url("/classes"));
    let answer = get
        .header("authorization", "Bearer hush-wrong")
        .send()
        .await
        .unwrap();
    assert!(!answer.text().await.unwrap().contains("hush"));
    let metrics = client
        .get(instance.metrics_url())
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(metrics.contains("access_key") && !metrics.contains("hush"));
    instance.terminate();
    instance.wait_for_exit().await;
    let said = instance.log();
    assert!(
        said.contains("delivery error") && !said.contains("hush"),
        "{said}"
    );
}

#[test]
fn why_the_service_does_not_start_is_told_in_the_form_of_its_log() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(file("keys"), "# none yet\n").unwrap();
    let ports = ["--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"];
    let store = format!("file:{}", file("store"));
    let options = [
        "--access-key-file",
        &file("keys"),
        "--log-format",
        "json",
        "--store",
        &store,
    ];
    let ended = alleycat(&[&["serve"], &ports[..], &options].concat());
    assert_eq!(ended.status.code(), Some(1));
    let said = String::from_utf8(ended.stderr).unwrap();
    let lines: Vec<Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect();
    let told = |words| -> Vec<_> {
        let message = |line: &&Value| line["fields"]["message"].as_str().unwrap().contains(words);
        lines
            .iter()
            .filter(message)
            .map(|line| line["level"].as_str().unwrap())
            .collect()
    };
    assert_eq!(
        (told("it holds no key"), told("listening on")),
        (vec!["ERROR"], vec![]),
        "{said}"
    );
    let hidden = alleycat_told("off", &[&["serve"], &ports[..], &options].concat());
    assert_eq!(hidden.status.code(), Some(1));
    assert!(
        String::from_utf8(hidden.stderr)
            .unwrap()
            .contains("it holds no key")
    );
}

#[test]
fn a_key_that_cannot_be_one_is_not_repeated() {
    for option in ["--access-key", "--admin-key", "--query-key"] {
        let ended = alleycat(&["serve", option, "hush-hüsh"]);
        let said = String::from_utf8(ended.stderr).unwrap();
        assert!(
            !ended.status.success() && said.contains(option) && said.contains("printable"),
            "{said}"
        );
        assert!(!said.contains("hush"), "{said}");
    }
}

/// Certificates as an authority hands them out: a root, one between, and a server's.
struct Authority {
    root_pem: String,
    between: (String, Issuer<'static, KeyPair>),
}

impl Authority {
    fn new() -> Self {
        let params = || {
            let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
            params
        };
        let key = KeyPair::generate().unwrap();
        let root_pem = params().self_signed(&key).unwrap().pem();
        let root = Issuer::new(params(), key);
        let key = KeyPair::generate().unwrap();
        let mut between = params();
        between
            .distinguished_name
            .push(rcgen::DnType::CommonName, "between");
        let pem = between.signed_by(&key, &root).unwrap().pem();
        Self {
            root_pem,
            between: (pem, Issuer::new(between, key)),
        }
    }

    /// Writes a new chain and its key.
    fn issue(&self, chain: &Path, key: &Path) {
        self.issue_until(2999, chain, key);
    }

    /// Writes a new chain and its key, good until that year.
    fn issue_until(&self, year: i32, chain: &Path, key: &Path) {
        let pair = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let certificate = params.signed_by(&pair, &self.between.1).unwrap().pem();
        std::fs::write(key, pair.serialize_pem()).unwrap();
        std::fs::write(chain, certificate + &self.between.0).unwrap();
    }

    /// A client that trusts this authority and no other.
    fn client(&self, address: SocketAddr) -> Client {
        let root = reqwest::Certificate::from_pem(self.root_pem.as_bytes()).unwrap();
        let client = Client::builder()
            .no_proxy()
            .tls_certs_only([root])
            .resolve("localhost", address);
        client.timeout(support::DEADLINE).build().unwrap()
    }
}

#[tokio::test]
async fn a_client_that_trusts_the_chain_is_served_and_the_certificate_is_renewed_without_a_restart()
{
    let folder = TempDir::new().unwrap();
    let (chain, key) = (
        folder.path().join("chain.pem"),
        folder.path().join("key.pem"),
    );
    let (first, second) = (Authority::new(), Authority::new());
    first.issue(&chain, &key);
    let tls = [
        "--tls-cert",
        chain.to_str().unwrap(),
        "--tls-key",
        key.to_str().unwrap(),
    ];
    let test_store = TestStore::folder();
    let instance = Instance::start_tls(&test_store, &tls).await;
    let address: SocketAddr = instance.address().parse().unwrap();
    let get = async |authority: &Authority| {
        let client = authority.client(address);
        client
            .get(format!("https://localhost:{}/healthz", address.port()))
            .send()
            .await
    };
    let answer = get(&first).await.unwrap();
    assert_eq!(
        (answer.status(), answer.version()),
        (StatusCode::OK, Version::HTTP_11)
    );
    assert!(get(&second).await.is_err());

    // A key that does not fit is not taken.
    std::fs::write(&key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    assert!(get(&first).await.is_ok());
    second.issue(&chain, &key);
    until("the new certificate is served", async || {
        get(&second).await.is_ok()
    })
    .await;
    assert!(get(&first).await.is_err());

    let address = instance.address();
    let versions = |option: &str| {
        let client = Command::new("openssl")
            .args(["s_client", "-connect", &address, option])
            .output()
            .unwrap();
        String::from_utf8_lossy(&client.stdout).contains("BEGIN CERTIFICATE")
    };
    assert!(versions("-tls1_2") && versions("-tls1_3"));
    assert!(!versions("-tls1_1") && !versions("-tls1"));

    until("it is ready", async || {
        alleycat(&["healthcheck", "--listen", &address, "--tls-cert", tls[1]])
            .status
            .success()
    })
    .await;
    assert!(
        !alleycat(&["healthcheck", "--listen", &address])
            .status
            .success()
    ); // in plain HTTP
}

fn alleycat(arguments: &[&str]) -> Output {
    alleycat_told("info", arguments)
}

/// It tells so much in its log.
fn alleycat_told(rust_log: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_alleycat"));
    command.env("RUST_LOG", rust_log);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ALLEYCAT_")) {
        command.env_remove(name);
    }
    command.args(arguments).output().unwrap()
}

#[tokio::test]
async fn whoever_asks_whether_it_is_ready_is_told_by_the_exit_status() {
    let test_store = TestStore::folder();
    let instance = Instance::start(&test_store, &[]).await;
    let address = instance.address();
    let everywhere = address.replace("127.0.0.1", "0.0.0.0");
    until("it is ready", async || {
        alleycat(&["healthcheck", "--listen", &everywhere])
            .status
            .success()
    })
    .await;
    instance.kill();
    let asked = alleycat(&["healthcheck", "--listen", &address]);
    assert_eq!(asked.status.code(), Some(1));
    assert!(!asked.stderr.is_empty());
}

#[test]
fn the_doctor_says_of_each_thing_whether_it_is_well() {
    let folder = TempDir::new().unwrap();
    let store = format!("file:{}", folder.path().join("store").display());
    let well = [
        "doctor",
        "--store",
        &store,
        "--listen",
        "127.0.0.1:0",
        "--metrics-listen",
        "127.0.0.1:0",
    ];
    let examined = alleycat(&well);
    let said = String::from_utf8(examined.stdout).unwrap();
    assert!(examined.status.success(), "{said}");
    for what in [
        "configuration",
        "access keys",
        "TLS",
        "port",
        "store: If-None-Match",
        "store: If-Match",
        "clock",
    ] {
        assert!(
            said.lines().any(|line| line.contains(what)),
            "{what}: {said}"
        );
    }
    assert!(!said.contains("WRONG") && said.contains("not checked"));
    let left: Vec<_> = std::fs::read_dir(folder.path().join("store/probe"))
        .into_iter()
        .flatten()
        .collect();
    assert!(left.is_empty(), "{left:?}");

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let _held = std::net::TcpListener::bind(&taken);
    let keys = folder.path().join("keys");
    std::fs::write(&keys, "hüsh").unwrap();
    let (keys, nothing) = (keys.to_str().unwrap(), folder.path().join("nothing"));
    let nothing = nothing.to_str().unwrap();
    let ill = [
        "doctor",
        "--store",
        "file:/proc/nowhere",
        "--listen",
        "127.0.0.1:0",
        "--metrics-listen",
        "127.0.0.1:0",
    ];
    let ill = [
        &ill[..],
        &[
            "--access-key-file",
            keys,
            "--tls-cert",
            nothing,
            "--tls-key",
            nothing,
        ],
    ]
    .concat();
    let examined = alleycat(&ill);
    let said = String::from_utf8(examined.stdout).unwrap();
    assert_eq!(examined.status.code(), Some(1), "{said}");
    let wrong: Vec<&str> = said
        .lines()
        .filter(|line| line.starts_with("WRONG"))
        .collect();
    for what in ["access keys", "TLS", "store"] {
        assert!(
            wrong.iter().any(|line| line.contains(what)),
            "{what}: {said}"
        );
    }
    assert!(!said.contains("hüsh"));
}

fn wrongs(examined: &Output) -> Vec<String> {
    let said = String::from_utf8_lossy(&examined.stdout);
    said.lines()
        .filter(|line| line.starts_with("WRONG"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_doctor_says_when_a_certificate_has_expired() {
    let folder = TempDir::new().unwrap();
    let (chain, key) = (
        folder.path().join("chain.pem"),
        folder.path().join("key.pem"),
    );
    let store = format!("file:{}", folder.path().join("store").display());
    let options = [
        "doctor",
        "--store",
        &store,
        "--listen",
        "127.0.0.1:0",
        "--metrics-listen",
        "127.0.0.1:0",
    ];
    let tls = [
        "--tls-cert",
        chain.to_str().unwrap(),
        "--tls-key",
        key.to_str().unwrap(),
    ];
    let authority = Authority::new();
    authority.issue(&chain, &key);
    let examined = alleycat(&[&options[..], &tls].concat());
    assert!(String::from_utf8_lossy(&examined.stdout).contains("the chain is good for "));
    assert_eq!(wrongs(&examined), [""; 0]);
    authority.issue_until(2020, &chain, &key);
    let wrongs = wrongs(&alleycat(&[&options[..], &tls].concat()));
    assert!(
        matches!(&wrongs[..], [one] if one.contains("TLS") && one.contains("has expired")),
        "{wrongs:?}"
    );
}

#[tokio::test]
async fn the_doctor_does_to_a_bucket_all_that_the_service_will_need() {
    let server = S3Server::start().await;
    let doctor = |store: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_alleycat"));
        command
            .env_clear()
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .envs(server.environment());
        command.args([
            "doctor",
            "--listen",
            "127.0.0.1:0",
            "--metrics-listen",
            "127.0.0.1:0",
            "--store",
            store,
        ]);
        command.output().unwrap()
    };
    let well = doctor(&format!("s3://{BUCKET}/some/where"));
    let said = String::from_utf8_lossy(&well.stdout);
    assert!(
        well.status.success() && !said.contains("not checked"),
        "{said}"
    );
    for what in [
        "store: list the journal",
        "store: If-None-Match",
        "store: If-Match",
        "store: delete",
        "clock",
    ] {
        assert!(
            said.lines()
                .any(|line| line.starts_with("ok") && line.contains(what)),
            "{what}: {said}"
        );
    }
    let left = server
        .client()
        .await
        .list_objects_v2()
        .bucket(BUCKET)
        .send()
        .await
        .unwrap();
    assert_eq!(
        left.key_count(),
        Some(0),
        "what is probed with is gone again"
    );
    let ill = doctor("s3://no-such-bucket");
    assert!(
        !ill.status.success() && wrongs(&ill).iter().any(|line| line.contains("store")),
        "{ill:?}"
    );
    server.kill();
    assert!(
        !doctor(&format!("s3://{BUCKET}/some/where"))
            .status
            .success()
    );
}

/// Where the service listens, for talking to it byte by byte.
fn address(service: &Service) -> String {
    service.url("").strip_prefix("http://").unwrap().to_owned()
}

async fn rest(mut connection: TcpStream) -> String {
    let mut rest = Vec::new();
    let reading = tokio::time::timeout(support::DEADLINE, connection.read_to_end(&mut rest));
    let _ = reading.await.expect("the service closes the connection"); // a reset ends it as well
    String::from_utf8(rest).unwrap()
}

async fn patient(tune: impl FnOnce(&mut alleycat::config::ConnectionLimits)) -> (Service, TempDir) {
    let folder = TempDir::new().unwrap();
    let store = alleycat::storage::open(&format!("file:{}", folder.path().display()))
        .await
        .unwrap();
    (
        Service::start_with(store, &[], |config| tune(&mut config.limits)).await,
        folder,
    )
}

#[tokio::test]
async fn whoever_does_not_send_the_headers_is_cut_off() {
    let (service, _folder) = patient(|limits| {
        limits.first_header_timeout = Duration::from_millis(300);
        limits.keep_alive_timeout = Duration::from_millis(300);
    })
    .await;
    let mut slow = TcpStream::connect(address(&service)).await.unwrap();
    slow.write_all(b"GET /healthz HTTP/1.1\r\nHost: a")
        .await
        .unwrap();
    assert!(!rest(slow).await.contains("200"));
    let mut later = TcpStream::connect(address(&service)).await.unwrap();
    later
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\nGET /healthz HTTP/1.1\r\nHos")
        .await
        .unwrap();
    assert_eq!(rest(later).await.matches("200 OK").count(), 1);
}

#[tokio::test]
async fn a_delivery_whose_body_does_not_come_is_refused_in_the_form_that_firehose_reads() {
    let (service, _folder) =
        patient(|limits| limits.body_pause_timeout = Duration::from_millis(300)).await;
    let mut slow = TcpStream::connect(address(&service)).await.unwrap();
    let head = "POST /firehose HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\nX-Amz-Firehose-Request-Id: slow\r\n\r\n{";
    slow.write_all(head.as_bytes()).await.unwrap();
    let answer = rest(slow).await;
    assert!(
        answer.starts_with("HTTP/1.1 400 ") && answer.contains("\"requestId\":\"slow\""),
        "{answer}"
    );
    // One that comes in pieces, each in time, is taken.
    let body = json!({ "requestId": "slow", "records": [] }).to_string();
    let head = format!(
        "POST /firehose HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut steady = TcpStream::connect(address(&service)).await.unwrap();
    steady.write_all(head.as_bytes()).await.unwrap();
    for piece in body.as_bytes().chunks(20) {
        tokio::time::sleep(Duration::from_millis(100)).await; // this is what is tested: a pause, and a shorter one
        steady.write_all(piece).await.unwrap();
    }
    assert!(rest(steady).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn five_hundred_who_come_while_the_service_is_busy_are_let_in_without_asking_again() {
    let test_store = TestStore::folder();
    let instance = Instance::start(&test_store, &[]).await;
    instance.freeze();
    let mut waiting = Vec::new();
    for _ in 0..500 {
        // The system lets them in as long as there is room, for which it must allow (`net.core.somaxconn`, 4,096 where
        // nobody changed it); else this waits until its deadline.
        let connected =
            tokio::time::timeout(DEADLINE, TcpStream::connect(instance.address())).await;
        waiting.push(connected.expect("there is room").unwrap());
    }
    instance.thaw();
    for mut connection in waiting {
        connection
            .write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            .await
            .unwrap();
        assert!(rest(connection).await.starts_with("HTTP/1.1 200"));
    }
}

#[tokio::test]
async fn connections_beyond_their_limit_are_closed_and_there_is_room_again_when_one_ends() {
    let (service, _folder) = patient(|limits| limits.connections_max = 3).await;
    let address = address(&service);
    let connect = || connection_served(&address, "GET /healthz");
    let mut open = Vec::new();
    while let Some(connection) = connect().await {
        open.push(connection);
        assert!(open.len() <= 3);
    }
    assert!(!open.is_empty());
    open.pop();
    until("there is room again", async || connect().await.is_some()).await;
}

#[tokio::test]
async fn http_2_preface_is_rejected() {
    let (service, _folder) = patient(|_| {}).await;
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let mut client = TcpStream::connect(address(&service)).await.unwrap();
    client
        .write_all(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &settings[..]].concat())
        .await
        .unwrap();
    assert!(!rest(client).await.contains("200"));
    assert_eq!(service.get("/healthz").await.status(), 200);
}

#[tokio::test]
async fn an_event_or_a_ride_whose_body_does_not_come_is_refused() {
    let folder = TempDir::new().unwrap();
    let store = alleycat::storage::open(&format!("file:{}", folder.path().display()))
        .await
        .unwrap();
    let tune = |config: &mut alleycat::config::Config| {
        config.limits.body_pause_timeout = Duration::from_millis(300);
        config.limits.ride_body_timeout = Duration::from_millis(300);
    };
    let service = Service::start_with(store, &["--demo", "1"], tune).await;
    for path in ["/events", "/rides"] {
        let mut slow = TcpStream::connect(address(&service)).await.unwrap();
        let head =
            "HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n[";
        slow.write_all(format!("POST {path} {head}").as_bytes())
            .await
            .unwrap();
        let answer = rest(slow).await;
        assert!(
            answer.starts_with("HTTP/1.1 400 ") && answer.contains("within 0.3 s"),
            "{path}: {answer}"
        );
    }
}

#[tokio::test]
async fn listeners_beyond_their_limit_are_told_so_and_there_is_room_again_when_one_leaves() {
    let (service, _folder) = patient(|limits| limits.subscribers_max = 2).await;
    let listen = async |class: u16| service.get(&format!("/classes/{class}/live")).await;
    let (first, second) = (listen(1).await, listen(2).await);
    assert_eq!(
        (first.status(), second.status()),
        (StatusCode::OK, StatusCode::OK)
    );
    let third = listen(1).await;
    assert_eq!(third.status(), 503);
    assert!(third.text().await.unwrap().contains("2 listeners"));
    drop(first);
    until("there is room again", async || {
        listen(3).await.status() == 200
    })
    .await;
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answer_is_cut_off() {
    let (service, _folder) =
        patient(|limits| limits.write_timeout = Duration::from_millis(300)).await;
    let mut greedy = TcpStream::connect(address(&service)).await.unwrap();
    // Far more answers than the system's own buffers hold, and none of them read.
    let ask = "GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n".repeat(100);
    let asking = async {
        while greedy.write_all(ask.as_bytes()).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(support::DEADLINE, asking)
        .await
        .expect("the service closes the connection");
    assert_eq!(service.get("/healthz").await.status(), 200);
}
