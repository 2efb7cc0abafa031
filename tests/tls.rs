//! TLS: chains, renewed certificates, and protocol versions.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect should stop there"
)]

mod support;

use std::net::SocketAddr;
use std::process::Command;

use rcgen::KeyPair;
use reqwest::{StatusCode, Version};
use support::authority::{Authority, ServerCertificate};
use support::instance::Instance;
use support::test_store::TestStore;
use support::{alleycat, until};

#[tokio::test]
async fn changed_certificate_is_served_without_a_restart() {
    let certificate = ServerCertificate::new();
    let (first, second) = (Authority::new(), Authority::new());
    first.issue(&certificate);
    let test_store = TestStore::folder();
    let instance = Instance::start_tls(&test_store, &certificate).await;
    let address: SocketAddr = instance.address().parse().unwrap();
    let get = async |authority: &Authority| {
        let client = authority.client(address);
        client
            .get(format!("https://localhost:{}/healthz", address.port()))
            .send()
            .await
    };
    let response = get(&first).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.version(), Version::HTTP_11);
    assert!(get(&second).await.is_err());

    // A key that does not fit the certificate is ignored.
    let other_key = KeyPair::generate().unwrap().serialize_pem();
    std::fs::write(certificate.key(), other_key).unwrap();
    assert!(get(&first).await.is_ok());
    second.issue(&certificate);
    until("the new certificate is served", async || {
        get(&second).await.is_ok()
    })
    .await;
    assert!(get(&first).await.is_err());
}

#[tokio::test]
async fn tls_1_2_and_1_3_are_accepted_and_older_versions_refused() {
    let certificate = ServerCertificate::new();
    Authority::new().issue(&certificate);
    let test_store = TestStore::folder();
    let instance = Instance::start_tls(&test_store, &certificate).await;
    for (option, accepted) in [
        ("-tls1_3", true),
        ("-tls1_2", true),
        ("-tls1_1", false),
        ("-tls1", false),
    ] {
        let client = Command::new("openssl")
            .args(["s_client", "-connect", &instance.address(), option])
            .output()
            .unwrap();
        let output = String::from_utf8_lossy(&client.stdout);
        assert_eq!(
            output.contains("BEGIN CERTIFICATE"),
            accepted,
            "{option}: {output}"
        );
    }
}

#[tokio::test]
async fn healthcheck_needs_the_certificate() {
    let certificate = ServerCertificate::new();
    Authority::new().issue(&certificate);
    let test_store = TestStore::folder();
    let instance = Instance::start_tls(&test_store, &certificate).await;
    let address = instance.address();
    let chain = certificate.chain();
    let with_certificate = [
        "healthcheck",
        "--listen",
        &address,
        "--tls-cert",
        chain.to_str().unwrap(),
    ];
    until("the instance is ready", async || {
        alleycat(&with_certificate).status().unwrap().success()
    })
    .await;
    let plain_http = ["healthcheck", "--listen", &address];
    assert!(!alleycat(&plain_http).status().unwrap().success());
}
