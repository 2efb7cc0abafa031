//! The operator's commands as processes: help, errors at start, `healthcheck` and `doctor`.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect should stop there"
)]

mod support;

use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt;
use std::process::{Output, Stdio};

use serde_json::Value;
use support::authority::{Authority, ServerCertificate};
use support::instance::Instance;
use support::s3_server::{BUCKET, S3Server};
use support::test_store::TestStore;
use support::{alleycat, gzip, record, until};
use tempfile::TempDir;

/// Listens on free ports.
const PORTS: [&str; 4] = ["--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"];

#[test]
fn start_error_is_one_json_log_line() {
    let folder = TempDir::new().unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(file("keys"), "# no key\n").unwrap();
    let (keys, store) = (file("keys"), format!("file:{}", file("store")));
    let mut arguments = vec!["serve", "--access-key-file", &keys];
    arguments.extend(["--log-format", "json", "--store", &store]);
    arguments.extend(PORTS);
    let output = alleycat(&arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let log = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect();
    let levels_of = |text: &str| -> Vec<_> {
        let contains = |line: &&Value| line["fields"]["message"].as_str().unwrap().contains(text);
        lines
            .iter()
            .filter(contains)
            .map(|line| line["level"].as_str().unwrap())
            .collect()
    };
    assert_eq!(levels_of("it contains no key"), ["ERROR"], "{log}");
    assert_eq!(levels_of("listening on"), [""; 0], "{log}");

    let logging_off = alleycat(&arguments)
        .env("RUST_LOG", "off")
        .output()
        .unwrap();
    assert_eq!(logging_off.status.code(), Some(1));
    let log = String::from_utf8(logging_off.stderr).unwrap();
    assert!(log.contains("it contains no key"), "{log}");
}

#[tokio::test]
async fn healthcheck_exits_by_readiness() {
    let test_store = TestStore::folder();
    let instance = Instance::start(&test_store, &[]).await;
    let address = instance.address();
    let any_address = address.replace("127.0.0.1", "0.0.0.0");
    until("the instance is ready", async || {
        alleycat(&["healthcheck", "--listen", &any_address])
            .status()
            .unwrap()
            .success()
    })
    .await;
    instance.kill();
    let output = alleycat(&["healthcheck", "--listen", &address])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(!output.stderr.is_empty());
}

/// Runs `alleycat doctor` on the store.
fn doctor(store: &str, environment: &[(&'static str, String)], options: &[&str]) -> Output {
    let arguments = [&["doctor", "--store", store], &PORTS[..], options].concat();
    let mut doctor = alleycat(&arguments);
    doctor.envs(environment.iter().map(|(name, value)| (name, value)));
    doctor.output().unwrap()
}

fn report(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Returns the lines of failed checks.
fn failures(output: &Output) -> Vec<String> {
    report(output)
        .lines()
        .filter(|line| line.starts_with("FAIL"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn doctor_reports_every_check() {
    let folder = TempDir::new().unwrap();
    let store = format!("file:{}", folder.path().join("store").display());
    let output = doctor(&store, &[], &[]);
    assert!(output.status.success(), "{}", report(&output));
    assert!(
        report(&output).contains("is no store yet"),
        "{}",
        report(&output)
    );
    assert!(!folder.path().join("store").exists());
    std::fs::create_dir(folder.path().join("store")).unwrap();
    let output = doctor(&store, &[], &[]);
    let report = report(&output);
    assert!(output.status.success(), "{report}");
    for check in [
        "configuration",
        "access keys",
        "TLS",
        "port",
        "store: If-None-Match",
        "store: If-Match",
        "clock",
    ] {
        assert!(
            report.lines().any(|line| line.contains(check)),
            "{check}: {report}"
        );
    }
    assert!(!report.contains("FAIL"), "{report}");
    assert!(report.contains("skip"), "{report}");
    let probes: Vec<_> = std::fs::read_dir(folder.path().join("store/probe"))
        .into_iter()
        .flatten()
        .collect();
    assert!(probes.is_empty(), "{probes:?}");
}

#[test]
fn doctor_reports_every_failure() {
    let folder = TempDir::new().unwrap();
    let keys = folder.path().join("keys");
    std::fs::write(&keys, "hüsh").unwrap();
    let missing = folder.path().join("missing");
    let (keys, missing) = (keys.to_str().unwrap(), missing.to_str().unwrap());
    let options = [
        "--access-key-file",
        keys,
        "--tls-cert",
        missing,
        "--tls-key",
        missing,
    ];
    let output = doctor(&format!("file:{keys}/below"), &[], &options);
    let report = report(&output);
    assert_eq!(output.status.code(), Some(1), "{report}");
    let failures = failures(&output);
    for check in ["access keys", "TLS", "store"] {
        assert!(
            failures.iter().any(|line| line.contains(check)),
            "{check}: {report}"
        );
    }
    assert!(!report.contains("hüsh"), "{report}");
}

#[test]
fn doctor_fails_on_an_expired_certificate() {
    let folder = TempDir::new().unwrap();
    let store = format!("file:{}", folder.path().join("store").display());
    let certificate = ServerCertificate::new();
    let options = certificate.options();
    let options = options.each_ref().map(String::as_str);
    let authority = Authority::new();
    authority.issue(&certificate);
    let output = doctor(&store, &[], &options);
    assert!(report(&output).contains("the chain is valid for "));
    assert_eq!(failures(&output), [""; 0]);
    authority.issue_until(2020, &certificate);
    let failures = failures(&doctor(&store, &[], &options));
    assert_eq!(failures.len(), 1, "{failures:?}");
    assert!(failures[0].contains("TLS"), "{failures:?}");
    assert!(failures[0].contains("has expired"), "{failures:?}");
}

#[tokio::test]
async fn doctor_leaves_the_folder_of_a_running_service() {
    let test_store = TestStore::folder();
    let instance = Instance::start(&test_store, &[]).await;
    let record = record(1, 1, 1, 100.0);
    assert_eq!(instance.deliver(&[record]).await, 200);
    let (store, address) = (test_store.url(), instance.address());
    let options = [
        "doctor",
        "--read-objects",
        "--store",
        &store,
        "--metrics-listen",
        "127.0.0.1:0",
    ];
    let run = |address: &str| {
        let output = alleycat(&[&options[..], &["--listen", address]].concat()).output();
        output.unwrap()
    };
    let output = run(&address);
    let text = report(&output);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("in use by the service"), "{text}");
    assert!(text.contains(" are readable, 0 are not"), "{text}");
    // Without the service, the folder of another process is a failure.
    assert!(!run("127.0.0.1:0").status.success());
    instance.kill();
    let journal = format!("{}/journal", store.trim_start_matches("file:"));
    let segment = std::fs::read_dir(journal).unwrap().next().unwrap().unwrap();
    std::fs::write(segment.path(), "damaged").unwrap();
    let output = run(&address);
    let [damaged, count] = &failures(&output)[..] else {
        panic!("{}", report(&output))
    };
    let name = segment.file_name().into_string().unwrap();
    assert!(damaged.contains(&format!("journal/{name}: ")), "{damaged}");
    assert!(count.contains("1 are not"), "{count}");
}

/// As a start does: it also stops at what the options exclude, and at missing erasures.
#[tokio::test]
async fn doctor_reads_objects_with_the_limits_of_a_start() {
    let test_store = TestStore::folder();
    let body = |text: &str| gzip(text);
    test_store
        .put("class-7.gz", &body(r#"{"1":{"1":5}}"#))
        .await;
    test_store
        .put("class-1.gz", &body(r#"{"700":{"1":5}}"#))
        .await;
    let segment = "{\"alleycat\":\"journal\",\"version\":1,\"lines\":0,\"erasures\":3}\n";
    let id = format!("{:013}-{:032x}-{:08}", 1, 2, 3);
    let segment_name = format!("journal/{id}.ndjson.gz");
    test_store.put(&segment_name, &body(segment)).await;
    let output = doctor(&test_store.url(), &[], &["--read-objects"]);
    let failures = failures(&output);
    assert_eq!(failures.len(), 4, "{failures:?}");
    for (name, problem) in [
        ("class-7.gz", "start with --classes 7 or more"),
        ("class-1.gz", "start with --max-second 700 or more"),
        (&*segment_name, "requires erasure version 3"),
        ("", "0 are readable, 3 are not"),
    ] {
        let is_named = |line: &String| line.contains(name) && line.contains(problem);
        assert!(failures.iter().any(is_named), "{name}: {failures:?}");
    }
    let options = ["--read-objects", "--classes", "7", "--max-second", "700"];
    let erasures = r#"{"format":1,"version":3,"erasures":[]}"#;
    test_store.put("erasures.gz", &body(erasures)).await;
    let output = doctor(&test_store.url(), &[], &options);
    assert!(output.status.success(), "{}", report(&output));
    assert!(report(&output).contains("4 are readable, 0 are not"));
}

#[tokio::test]
async fn doctor_asks_the_endpoint_of_a_profile_for_its_clock() {
    let server = S3Server::start().await;
    let config = tempfile::NamedTempFile::new().unwrap();
    let profile = format!(
        "[default]\nregion = us-east-1\nendpoint_url = {}\n",
        server.endpoint()
    );
    std::fs::write(config.path(), profile).unwrap();
    let environment = server.environment().into_iter();
    let environment: Vec<_> = environment
        .filter(|(name, _)| !name.starts_with("AWS_ENDPOINT_URL"))
        .chain([("AWS_CONFIG_FILE", config.path().display().to_string())])
        .collect();
    let output = doctor(&format!("s3://{BUCKET}"), &environment, &[]);
    let expected = format!("agrees with {}", server.endpoint());
    assert!(report(&output).contains(&expected), "{}", report(&output));
}

/// As Compose gives them by `${AWS_REGION:-}`.
#[tokio::test]
async fn empty_region_and_endpoint_count_as_not_set() {
    let server = S3Server::start().await;
    let store = format!("s3://{BUCKET}/some/where");
    let with = |changed: &[(&'static str, &str)]| {
        let environment = server.environment().into_iter();
        let environment: Vec<_> = environment
            .filter(|(name, _)| changed.iter().all(|(other, _)| name != other))
            .chain(
                changed
                    .iter()
                    .map(|&(name, value)| (name, value.to_owned())),
            )
            .collect();
        doctor(&store, &environment, &[])
    };
    let output = with(&[("AWS_REGION", ""), ("AWS_DEFAULT_REGION", "eu-west-1")]);
    let elsewhere = report(&output);
    assert!(
        elsewhere.contains("set AWS_REGION to us-east-1"),
        "{elsewhere}"
    );
    let output = with(&[("AWS_REGION", "")]);
    assert!(output.status.success(), "{}", report(&output));
    let output = with(&[
        ("AWS_REGION", ""),
        ("AWS_ENDPOINT_URL", ""),
        ("AWS_ENDPOINT_URL_S3", ""),
    ]);
    let report = report(&output);
    assert!(report.contains("no AWS region is configured"), "{report}");
}

#[tokio::test]
async fn doctor_checks_every_operation_on_a_bucket() {
    let server = S3Server::start().await;
    let store = format!("s3://{BUCKET}/some/where");
    let output = doctor(&store, &server.environment(), &[]);
    let report = report(&output);
    assert!(output.status.success(), "{report}");
    assert!(!report.contains("skip"), "{report}");
    for check in [
        "store: list the journal",
        "store: If-None-Match",
        "store: If-Match",
        "store: delete",
        "clock",
    ] {
        assert!(
            report
                .lines()
                .any(|line| line.starts_with("pass") && line.contains(check)),
            "{check}: {report}"
        );
    }
    let listing = server
        .client()
        .await
        .list_objects_v2()
        .bucket(BUCKET)
        .send()
        .await
        .unwrap();
    assert_eq!(
        listing.key_count(),
        Some(0),
        "the probe object is not deleted"
    );
    let output = doctor("s3://no-such-bucket", &server.environment(), &[]);
    assert!(!output.status.success());
    let failures = failures(&output);
    assert!(
        failures.iter().any(|line| line.contains("store")),
        "{failures:?}"
    );
    server.kill();
    let output = doctor(&store, &server.environment(), &[]);
    assert!(!output.status.success());
}

/// Starts `serve` over a new folder, which must fail. Returns its last line on standard error.
fn start_error(arguments: &[&str]) -> String {
    let folder = TempDir::new().unwrap();
    let store = format!("file:{}", folder.path().display());
    let defaults = [
        ("ALLEYCAT_STORE", &*store),
        ("ALLEYCAT_LISTEN", "127.0.0.1:0"),
        ("ALLEYCAT_METRICS_LISTEN", "127.0.0.1:0"),
        ("RUST_LOG", "off"),
    ];
    let output = alleycat(&[&["serve"], arguments].concat())
        .env("RUST_BACKTRACE", "1")
        .envs(defaults)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 1, "{text}");
    lines[0].to_owned()
}

#[test]
fn port_in_use_stops_the_start() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    for option in ["--listen", "--metrics-listen"] {
        let error = start_error(&[option, &address]);
        assert!(error.contains(&address), "{error}");
        assert!(error.contains(option), "{error}");
    }
}

#[test]
fn unusable_file_is_named_with_its_option() {
    for option in ["--access-key-file", "--admin-key-file", "--query-key-file"] {
        let error = start_error(&[option, "/nonexistent"]);
        assert!(error.contains(option), "{error}");
        assert!(error.contains("/nonexistent"), "{error}");
    }
    // A pipe or a device could be read for ever.
    let folder = TempDir::new().unwrap();
    let pipe = folder.path().join("pipe").display().to_string();
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let certificate = ServerCertificate::new();
    Authority::new().issue(&certificate);
    let [cert_option, cert, key_option, key] = certificate.options();
    for (cert, key, odd) in [
        (&pipe, &key, &*pipe),
        (&cert, &pipe, &pipe),
        (&cert, &"/dev/zero".to_owned(), "/dev/zero"),
    ] {
        let error = start_error(&[&cert_option, cert, &key_option, key]);
        assert!(
            error.contains(&format!("{odd}: it is not a regular file")),
            "{error}"
        );
    }
    let error = start_error(&["--store", "nowhere"]);
    assert!(error.contains("--store nowhere"), "{error}");
    assert!(error.contains("file:"), "{error}");
}

#[test]
fn open_address_without_a_key_is_refused() {
    let error = start_error(&["--listen", ":0"]);
    assert!(error.contains("0.0.0.0:0"), "{error}");
    assert!(error.contains("--access-key-file"), "{error}");
}

#[test]
fn invalid_value_is_named_with_its_option_and_variable() {
    for (variable, option, value) in [
        ("ALLEYCAT_LISTEN", "--listen", "nowhere"),
        ("ALLEYCAT_CLASSES", "--classes", "0"),
        ("ALLEYCAT_SYNC_INTERVAL", "--sync-interval", "soon"),
        ("ALLEYCAT_CORS_ORIGIN", "--cors-origin", "a.example"),
    ] {
        let output = alleycat(&["serve"]).env(variable, value).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{variable}");
        let text = String::from_utf8(output.stderr).unwrap();
        let line = text.lines().next().unwrap();
        for part in [variable, option, value] {
            assert!(line.contains(part), "{part}: {line}");
        }
    }
}

#[test]
fn empty_variable_counts_as_not_set() {
    let output = alleycat(&["healthcheck"])
        .env("ALLEYCAT_LISTEN", "")
        .env("ALLEYCAT_TLS_CERT", "")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("http://127.0.0.1:8080/readyz"), "{text}");
}

#[test]
fn help_shows_defaults_and_variables() {
    for (command, default, variable) in [
        (
            "serve",
            "[default: 250ms]",
            "[env: ALLEYCAT_COMMIT_INTERVAL=]",
        ),
        (
            "doctor",
            "[default: 100MiB]",
            "[env: ALLEYCAT_MAX_BODY_SIZE=]",
        ),
        (
            "simulate",
            "[default: 300]",
            "[env: ALLEYCAT_SIMULATE_SECONDS=]",
        ),
        (
            "replay",
            "[default: 300s]",
            "[env: ALLEYCAT_REPLAY_RETRY_DURATION=]",
        ),
        (
            "healthcheck",
            "[default: 127.0.0.1:8080]",
            "[env: ALLEYCAT_LISTEN=]",
        ),
    ] {
        let output = alleycat(&[command, "--help"]).output().unwrap();
        assert!(output.status.success(), "{command}");
        let text = String::from_utf8(output.stdout).unwrap();
        let text = text.split_whitespace().collect::<Vec<_>>().join(" "); // without line breaks
        for part in [default, variable, "Example"] {
            assert!(text.contains(part), "{command}, {part}: {text}");
        }
    }
}

/// Runs a command with `stdout` as its standard output, and returns its exit status and its errors.
fn run_with_stdout(arguments: &[&str], stdout: Stdio) -> (Option<i32>, String) {
    let mut command = alleycat(arguments);
    command.stdout(stdout).stderr(Stdio::piped());
    let output = command.spawn().unwrap().wait_with_output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), errors)
}

#[test]
fn output_that_cannot_be_written_is_no_panic() {
    let folder = TempDir::new().unwrap();
    let store = format!("file:{}", folder.path().display());
    let doctor = [&["doctor", "--store", &store], &PORTS[..]].concat();
    for arguments in [&["openapi"][..], &doctor] {
        // A reader that has gone, as `head` does, wants no more.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        assert_eq!(
            run_with_stdout(arguments, writer.into()),
            (Some(0), String::new())
        );
        let full = std::fs::File::create("/dev/full").unwrap();
        let (status, errors) = run_with_stdout(arguments, full.into());
        assert_eq!(status, Some(1), "{errors}");
        assert!(
            errors.starts_with("Error: cannot write to standard output: "),
            "{errors}"
        );
        assert_eq!(errors.lines().count(), 1, "{errors}");
    }
}

#[test]
fn password_in_a_url_is_refused_and_not_shown() {
    for command in ["replay", "simulate"] {
        let mut arguments = vec![command, "--to", "http://user:hush@127.0.0.1:1/firehose"];
        arguments.extend((command == "replay").then_some("somewhere"));
        let output = alleycat(&arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains("no password"), "{text}");
        assert!(!text.contains("hush"), "{text}");
    }
}

#[test]
fn invalid_key_of_replay_is_refused() {
    for (variable, key) in [
        ("ALLEYCAT_REPLAY_ACCESS_KEY", " a"),
        ("ALLEYCAT_ACCESS_KEY", ",x"),
        ("ALLEYCAT_ACCESS_KEY", " a"),
    ] {
        let output = alleycat(&["replay", "somewhere"])
            .env(variable, key)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{variable}={key}");
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains(variable), "{text}");
        assert!(text.contains("an access key must"), "{text}");
    }
}

#[test]
fn variable_that_is_not_utf8_is_named() {
    let value = std::ffi::OsStr::from_bytes(b"\xff");
    let output = alleycat(&["serve"])
        .env("ALLEYCAT_CLASS_NAMES", value)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    let expected = "the value of ALLEYCAT_CLASS_NAMES is not UTF-8";
    assert!(text.contains(expected), "{text}");
}

#[tokio::test]
async fn doctor_fails_on_the_ports_of_others() {
    let test_store = TestStore::folder();
    let instance = Instance::start(&test_store, &[]).await;
    let address = instance.address();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = other.local_addr().unwrap().to_string();
    let folder = TempDir::new().unwrap();
    let elsewhere = format!("file:{}", folder.path().display());
    let run = |store: &str, listen: &str, metrics: &str| {
        let options = ["doctor", "--store", store, "--listen", listen];
        let output = alleycat(&[&options[..], &["--metrics-listen", metrics]].concat()).output();
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", report(&output));
        failures(&output).join("\n")
    };
    let failed = run(&test_store.url(), &address, &other);
    assert!(failed.contains("metrics port"), "{failed}");
    // Another service than that of the store.
    let failed = run(&elsewhere, &address, "127.0.0.1:0");
    assert!(failed.contains("Address already in use"), "{failed}");
    let failed = run(&elsewhere, "127.0.0.1:1", "localhost:1");
    assert!(failed.contains("give each its own"), "{failed}");
}

#[test]
fn doctor_leaves_a_folder_that_is_no_store_as_it_is() {
    let folder = TempDir::new().unwrap();
    let store = format!("file:{}", folder.path().display());
    std::fs::write(folder.path().join("class-1.gz"), gzip(r#"{"1":{"1":5}}"#)).unwrap();
    let output = doctor(&store, &[], &["--read-objects"]);
    assert!(output.status.success(), "{}", report(&output));
    assert!(
        report(&output).contains("store: If-Match"),
        "{}",
        report(&output)
    );
    assert!(
        report(&output).contains("1 are readable"),
        "{}",
        report(&output)
    );
    let entries = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(entries, 1);
    let output = doctor(&store, &[], &["--read-only"]);
    assert!(failures(&output)[0].contains("not a store yet"));
    for (store, problem) in [
        ("file:/proc/nope/x", "cannot create a folder in /proc"),
        ("file://localhost/tmp/x", "names a host"),
    ] {
        let failed = failures(&doctor(store, &[], &[])).join("\n");
        assert!(failed.contains(problem), "{failed}");
    }
}

#[test]
fn doctor_warns_of_a_key_of_two_kinds() {
    let folder = TempDir::new().unwrap();
    let store = format!("file:{}", folder.path().display());
    let keys = ["--access-key", "same", "--admin-key", "same"];
    let output = doctor(&store, &[], &keys);
    assert!(output.status.success(), "{}", report(&output));
    let warning = format!("warn  {:<28} the access keys and the admin keys", "keys");
    assert!(report(&output).contains(&warning), "{}", report(&output));
    assert!(!report(&output).contains("same"), "{}", report(&output));
}

#[tokio::test]
async fn simulation_whose_records_are_rejected_is_no_success() {
    let test_store = TestStore::folder();
    let instance = Instance::start(&test_store, &[]).await;
    let to = format!("http://{}/firehose", instance.address());
    let run = |more: &[&str]| {
        let arguments = ["simulate", "--to", &to, "--speed", "max", "--seconds", "2"];
        alleycat(&[&arguments[..], more].concat()).output().unwrap()
    };
    let output = run(&["--racers", "3", "--classes", "7"]);
    assert_eq!(output.status.code(), Some(1));
    let text = report(&output);
    assert!(text.contains("rejected      6 out_of_bounds"), "{text}");
    assert!(run(&["--racers", "3", "--classes", "6"]).status.success());
    let output = run(&["--racers", "3", "--users", "2"]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("--users 2 is below --racers 3"), "{error}");
}
