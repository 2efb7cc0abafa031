//! Starts on an unusable bucket.

use std::sync::Arc;

use axum::http::{Method, StatusCode};

use crate::QUICK;
use crate::model::{records, state_of};
use crate::support::faulty_proxy::{Fault, FaultyProxy};
use crate::support::instance::{Instance, startup_error};
use crate::support::s3_server::{BUCKET, S3Server, ServerKind, start_canned};
use crate::support::test_store::TestStore;
use crate::support::until;

/// Returns the one-line error of a process that cannot use the bucket. It must fail before it
/// listens.
pub async fn store_error(environment: &[(&'static str, String)], bucket: &str) -> String {
    let log = startup_error(environment, &format!("s3://{bucket}/all/time")).await;
    assert!(!log.contains("listening"), "{log}");
    let error = log
        .strip_prefix("Error: ")
        .unwrap_or_else(|| panic!("{log}"))
        .trim_end();
    assert!(!error.contains('\n'), "{error}");
    error.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn unusable_store_fails_before_listening() {
    let server = S3Server::start().await;
    let environment = server.environment();
    let at = |endpoint: String| {
        environment.clone().map(|(name, value)| {
            (
                name,
                if name == "AWS_ENDPOINT_URL" {
                    endpoint.clone()
                } else {
                    value
                },
            )
        })
    };
    let missing = store_error(&environment, "elsewhere").await;
    assert!(
        missing.contains("no bucket `elsewhere`; create it, or correct its name"),
        "{missing}"
    );
    let anonymous = store_error(&environment[..2], BUCKET).await;
    assert!(anonymous.contains("no AWS credentials"), "{anonymous}");
    assert!(anonymous.contains("set AWS_PROFILE"), "{anonymous}");
    let denied = store_error(&at(start_canned(false, 403, "AccessDenied").await), BUCKET).await;
    assert!(
        denied.contains("access is denied; allow s3:ListBucket"),
        "{denied}"
    );
    let other = store_error(&at(start_canned(false, 404, "Strange").await), BUCKET).await;
    assert!(other.contains("does not answer as S3 does"), "{other}");
}

#[tokio::test(flavor = "multi_thread")]
async fn start_waits_for_a_dead_server_and_names_it() {
    let test_store = TestStore::on(Arc::new(S3Server::start().await)).await;
    let server = test_store.server();
    let advice = format!(
        "{} does not answer; correct the endpoint",
        server.endpoint()
    );
    test_store.put("kept", b"").await; // an empty bucket does not survive a kill
    server.kill();
    for is_ended in [true, false] {
        let instance = Instance::spawn(&test_store.environment(), &test_store, &QUICK);
        instance.wait_for_log(&advice).await;
        assert!(!instance.log().contains("listening"), "{}", instance.log());
        if is_ended {
            instance.terminate();
            instance.wait_for_exit().await;
        } else {
            server.restart().await;
            instance.wait_until_ready().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn start_waits_for_an_overloaded_server() {
    let test_store = TestStore::on(Arc::new(S3Server::start().await)).await;
    let server = test_store.server();
    for (method, path, times) in [
        (Method::GET, "list-type=2", 3), // the tries of one request
        (Method::PUT, "/probe/", 1),
    ] {
        let proxy = FaultyProxy::start(server).await;
        let slow_down = Fault::Lie(StatusCode::SERVICE_UNAVAILABLE);
        proxy.add_fault(method.clone(), path, slow_down, times);
        let environment = proxy.environment(server);
        let instance = Instance::start_with_environment(&environment, &test_store, &QUICK).await;
        let log = instance.log();
        assert!(log.contains("store failed at the start; retrying"), "{log}");
        assert!(log.contains("status 503"), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_fail_before_listening() {
    let server = S3Server::start_kind(ServerKind::SeaweedFs).await;
    for wrong in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
        let with_wrong = server
            .environment()
            .map(|(name, value)| (name, value + if name == wrong { "x" } else { "" }));
        let error = store_error(&with_wrong, BUCKET).await;
        assert!(error.contains(&server.endpoint()), "{error}");
        assert!(
            error.contains("rejects the credentials; correct or renew them"),
            "{error}"
        );
    }
    let missing = store_error(&server.environment(), "elsewhere").await;
    assert!(
        missing.contains("no bucket `elsewhere`; create it, or correct its name"),
        "{missing}"
    );
    let test_store = TestStore::on(Arc::new(server)).await;
    let instance = Instance::start(&test_store, &QUICK).await;
    assert_eq!(
        instance.deliver(&records(&[((1, 1, 1), 1.5)])).await,
        StatusCode::OK
    );
    until("the effort is stored", async || {
        state_of(&test_store).await.len() == 1
    })
    .await;
}
