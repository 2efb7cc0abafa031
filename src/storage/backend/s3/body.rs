//! Bodies of S3 requests and responses.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use aws_sdk_s3::primitives::{ByteStream, ByteStreamError, SdkBody};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::storage::backend::s3::client::{ATTEMPT_TIMEOUT, transfer_time};
use crate::storage::backend::s3::error::chain;

/// Largest buffer that is allocated only because the server announced that length, in bytes.
const INITIAL_BUFFER_MAX_BYTES: usize = 1 << 30;

/// Returns the body's CRC-32 in S3's form. S3 rejects a body that was damaged in transit.
pub(super) async fn checksum(parts: &[Bytes]) -> String {
    let mut crc = crc32fast::Hasher::new();
    for part in parts {
        crc.update(part);
        // A large body takes some milliseconds; other tasks run in between.
        tokio::task::yield_now().await;
    }
    base64_simd::STANDARD.encode_to_string(crc.finalize().to_be_bytes())
}

/// Returns a body that is sent part by part, without a joined copy. It is sent once: puts have no
/// retries.
pub(super) fn from_parts(parts: Vec<Bytes>) -> ByteStream {
    ByteStream::new(SdkBody::from_body_1_x(PartsBody(parts.into())))
}

struct PartsBody(VecDeque<Bytes>);

impl Body for PartsBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|part| Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.iter().map(|part| part.len() as u64).sum())
    }
}

/// Reads a response body within the time limit for its length. `announced_bytes` is `None` if the
/// server sent no length.
pub(super) async fn read(body: ByteStream, announced_bytes: Option<u64>) -> Result<Bytes, String> {
    let bytes = announced_bytes.unwrap_or_default();
    let reading = read_all(body, bytes);
    match tokio::time::timeout(ATTEMPT_TIMEOUT + transfer_time(bytes), reading).await {
        Ok(body) => body.map_err(|error| chain(&error)),
        Err(_) => Err(match announced_bytes {
            Some(bytes) => format!("reading its {bytes} bytes timed out"),
            None => "reading it timed out; the server sent no length".to_owned(),
        }),
    }
}

pub(super) async fn read_all(mut body: ByteStream, bytes: u64) -> Result<Bytes, ByteStreamError> {
    let capacity = usize::try_from(bytes).unwrap_or(usize::MAX);
    let mut whole = Vec::with_capacity(capacity.min(INITIAL_BUFFER_MAX_BYTES));
    while let Some(part) = body.next().await {
        whole.extend_from_slice(&part?);
    }
    Ok(whole.into())
}
