//! The SDK's errors in one line, with advice for the operator.

use std::error::Error;
use std::fmt::Display;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::RequestId;

use crate::storage::StoreError;

/// Returns what an operator can do when the first request failed. `permissions` are those that the
/// caller needs.
pub(super) fn advice<E>(
    error: &SdkError<E, HttpResponse>,
    bucket: &str,
    server: &str,
    permissions: &str,
) -> String
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let problem = problem(error);
    match (error.code().unwrap_or_default(), status(error)) {
        ("NoSuchBucket", _) => {
            format!("{server} has no bucket `{bucket}`; create it, or correct its name")
        }
        ("InvalidAccessKeyId" | "SignatureDoesNotMatch" | "ExpiredToken" | "InvalidToken", _) => {
            format!("{server} rejects the credentials; correct or renew them ({problem})")
        }
        ("RequestTimeTooSkewed", _) => format!("this machine's clock is wrong; set it ({problem})"),
        (
            "PermanentRedirect"
            | "TemporaryRedirect"
            | "AuthorizationHeaderMalformed"
            | "IncorrectEndpoint",
            _,
        )
        | (_, Some(301 | 307)) => {
            let headers = error.raw_response().map(HttpResponse::headers);
            let region = headers
                .and_then(|headers| headers.get("x-amz-bucket-region"))
                .unwrap_or("the bucket's region");
            format!(
                "the bucket is not in the configured region; set AWS_REGION to {region} ({problem})"
            )
        }
        (_, Some(401 | 403)) => {
            format!("access is denied; allow {permissions} ({problem})")
        }
        (_, Some(status)) if is_outage_status(status) => {
            format!("{server} is overloaded or has an internal error; try again later ({problem})")
        }
        (_, None) => format!(
            "{server} does not answer; correct the endpoint and the network's path to it ({problem})"
        ),
        (_, Some(_)) => {
            format!("{server} does not answer as S3 does; correct the endpoint ({problem})")
        }
    }
}

/// Returns the error of a failed request.
pub(super) fn store_error<E>(
    operation: &'static str,
    key: impl Display,
    error: &SdkError<E, HttpResponse>,
) -> StoreError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    StoreError {
        is_outage: is_outage(error),
        ..StoreError::new(operation, key, problem(error))
    }
}

/// Returns whether there is no answer, or the server has a fault of its own. An answer that S3 does
/// not give is rather that of a wrong endpoint.
fn is_outage<E>(error: &SdkError<E, HttpResponse>) -> bool {
    match error {
        SdkError::TimeoutError(_) => true,
        SdkError::DispatchFailure(failure) => {
            failure.is_io() || failure.is_timeout() || failure.as_other().is_some()
        }
        error => status(error).is_some_and(is_outage_status),
    }
}

fn is_outage_status(status: u16) -> bool {
    matches!(status, 429 | 500 | 502..=504)
}

/// Returns the response's status, where there is a response.
pub(super) fn status<E>(error: &SdkError<E, HttpResponse>) -> Option<u16> {
    error
        .raw_response()
        .map(|response| response.status().as_u16())
}

/// Returns the server's error in one line, or why there is no response.
pub(super) fn problem<E>(error: &SdkError<E, HttpResponse>) -> String
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let (Some(service), Some(status)) = (error.as_service_error(), status(error)) else {
        return chain(error);
    };
    let code = service.code().unwrap_or("no code");
    let message = service.message().unwrap_or("no message");
    let request = error
        .request_id()
        .map(|id| format!(", request {id}"))
        .unwrap_or_default();
    one_line(&format!("{code}: {message}, status {status}{request}"))
}

/// Returns the error and its causes in one line, outermost first, without repetitions.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut messages: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let message = one_line(&error.to_string());
        if messages.last() != Some(&message) {
            messages.push(message);
        }
        next = error.source();
    }
    messages.join(": ")
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
