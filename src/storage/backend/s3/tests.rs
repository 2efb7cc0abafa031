//! Tests of the parts that need no server.

use std::time::Duration;

use bytes::Bytes;

use super::client::timeouts;
use super::error::chain;
use super::*;

#[test]
fn body_is_the_concatenation_of_its_parts() {
    let body = body::from_parts(vec![
        Bytes::from_static(b"one"),
        Bytes::new(),
        Bytes::from_static(b"two"),
    ]);
    assert_eq!(body.size_hint(), (6, Some(6)));
    let reading = body::read_all(body, 6);
    let read = futures_util::FutureExt::now_or_never(reading);
    assert_eq!(read.expect("never pending").unwrap(), "onetwo");
}

#[test]
fn attempt_timeout_grows_with_the_body() {
    let attempt_timeout = |bytes| timeouts(bytes, 1).operation_attempt_timeout();
    assert_eq!(attempt_timeout(0), Some(Duration::from_secs(10)));
    assert_eq!(attempt_timeout(150 << 20), Some(Duration::from_secs(85)));
}

#[test]
fn error_chain_is_one_line_without_repetitions() {
    let error = anyhow::anyhow!("tried:\n - this\n - that")
        .context("no way")
        .context("no way");
    assert_eq!(chain(&*error), "no way: tried: - this - that");
}
