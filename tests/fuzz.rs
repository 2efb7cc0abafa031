//! Fuzzes the real service with requests derived from its OpenAPI document.
//!
//! `scripts/test-deps.sh` installs the fuzzer; `openapi/schemathesis.toml` configures it.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect should stop there"
)]

mod support;

use std::path::Path;
use std::process::Command;

use support::alleycat;
use support::instance::Instance;
use support::test_store::TestStore;
use tempfile::TempDir;

#[tokio::test(flavor = "multi_thread")]
async fn openapi_fuzzer_finds_nothing() {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/schemathesis");
    assert!(
        program.exists(),
        "schemathesis is missing; run scripts/test-deps.sh"
    );
    let (test_store, elsewhere) = (TestStore::folder(), TempDir::new().unwrap());
    let service = Instance::start(&test_store, &["--admin-key", "the-fuzzers"]).await;

    let to = service.url("/firehose");
    let arguments = [
        "simulate",
        "--to",
        &to,
        "--racers",
        "20",
        "--classes",
        "1,2",
        "--seconds",
        "20",
        "--speed",
        "max",
        "--seed",
        "1",
    ];
    let simulation = alleycat(&arguments).output().unwrap();
    assert!(simulation.status.success(), "{simulation:?}");

    let mut fuzzer = Command::new(program);
    fuzzer
        .arg("--config-file")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi/schemathesis.toml"));
    fuzzer
        .args(["run", &service.url("/openapi.json"), "--no-color"])
        .env("ADMIN_KEY", "the-fuzzers");
    let found = fuzzer.current_dir(elsewhere.path()).output().unwrap(); // it writes files to its working folder
    let report = String::from_utf8_lossy(&found.stdout);
    assert!(
        found.status.success(),
        "{report}\n{}",
        String::from_utf8_lossy(&found.stderr)
    );
    println!("{report}");
}
