//! Reasons why a delivery is not acknowledged.

use crate::ledger::CommitError;

/// The cause of a delivery error, as the metric and the log name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeliveryErrorCode {
    /// The access key is missing or wrong.
    InvalidAccessKey,
    /// The last successful listing of the store is too old.
    ReplicationLag,
    /// The connection ended before the body did.
    BodyIncomplete,
    /// The body paused for too long, or took too long in total.
    BodyTimeout,
    /// The delivery was not durable within the deadline.
    DeadlineExceeded,
    /// The content encoding is not gzip or identity.
    UnsupportedEncoding,
    /// The body is not a Firehose request in JSON.
    InvalidEnvelope,
    /// The handler or the decoder panicked.
    Internal,
    /// The body is not valid gzip data.
    InvalidGzip,
    /// The service is starting or stopping.
    NotReady,
    /// A browser page sent the delivery without an access key.
    ForeignOrigin,
    /// The protocol version is not 1.0.
    UnsupportedProtocolVersion,
    /// The transfer coding is not chunked alone.
    UnsupportedTransferCoding,
    /// The commit queue is full.
    QueueFull,
    /// The service only reads.
    ReadOnly,
    /// The request id is missing, or header and body differ.
    InvalidRequestId,
    /// The delivery stream is not one of `--source-arn`.
    SourceArnNotAllowed,
    /// The service stopped before the delivery was durable.
    ShuttingDown,
    /// The store failed.
    StoreUnavailable,
    /// The body is over its limit, gunzipped or not.
    TooLarge,
    /// The memory budget for deliveries is used up.
    MemoryLimit,
}

impl DeliveryErrorCode {
    /// Every code.
    pub(crate) const ALL: [Self; 21] = [
        Self::InvalidAccessKey,
        Self::ReplicationLag,
        Self::BodyIncomplete,
        Self::BodyTimeout,
        Self::DeadlineExceeded,
        Self::UnsupportedEncoding,
        Self::InvalidEnvelope,
        Self::Internal,
        Self::InvalidGzip,
        Self::NotReady,
        Self::ForeignOrigin,
        Self::UnsupportedProtocolVersion,
        Self::UnsupportedTransferCoding,
        Self::QueueFull,
        Self::ReadOnly,
        Self::InvalidRequestId,
        Self::SourceArnNotAllowed,
        Self::ShuttingDown,
        Self::StoreUnavailable,
        Self::TooLarge,
        Self::MemoryLimit,
    ];

    /// Returns the value of the metric's `code` label.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidAccessKey => "invalid_access_key",
            Self::ReplicationLag => "replication_lag",
            Self::BodyIncomplete => "body_incomplete",
            Self::BodyTimeout => "body_timeout",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::UnsupportedEncoding => "unsupported_encoding",
            Self::InvalidEnvelope => "invalid_envelope",
            Self::Internal => "internal",
            Self::InvalidGzip => "invalid_gzip",
            Self::NotReady => "not_ready",
            Self::ForeignOrigin => "foreign_origin",
            Self::UnsupportedProtocolVersion => "unsupported_protocol_version",
            Self::UnsupportedTransferCoding => "unsupported_transfer_coding",
            Self::QueueFull => "queue_full",
            Self::ReadOnly => "read_only",
            Self::InvalidRequestId => "invalid_request_id",
            Self::SourceArnNotAllowed => "source_arn_not_allowed",
            Self::ShuttingDown => "shutting_down",
            Self::StoreUnavailable => "store_unavailable",
            Self::TooLarge => "too_large",
            Self::MemoryLimit => "memory_limit",
        }
    }
}

/// The reason why a delivery is not acknowledged, for its sender.
#[derive(Debug)]
pub(crate) struct DeliveryError {
    /// The cause, which decides the status.
    pub(crate) code: DeliveryErrorCode,
    /// A sentence for the operator of the delivery stream.
    pub(crate) message: String,
}

impl DeliveryError {
    /// Creates an error.
    pub(crate) fn new(code: DeliveryErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// The memory budget is used up.
    pub(crate) fn memory_limit() -> Self {
        Self::new(
            DeliveryErrorCode::MemoryLimit,
            "delivery memory limit reached",
        )
    }

    /// The body is over `bytes_max`, gunzipped or not.
    pub(crate) fn too_large(bytes_max: usize) -> Self {
        let message = format!(
            "the body is over {bytes_max} bytes (--max-body-size): lower the buffer size \
             (BufferingHints.SizeInMBs) of the delivery stream, or raise --max-body-size"
        );
        Self::new(DeliveryErrorCode::TooLarge, message)
    }
}

impl From<CommitError> for DeliveryError {
    fn from(error: CommitError) -> Self {
        let code = match &error {
            CommitError::NotReady => DeliveryErrorCode::NotReady,
            CommitError::ReplicationLag => DeliveryErrorCode::ReplicationLag,
            CommitError::QueueFull => DeliveryErrorCode::QueueFull,
            // The store's own error may name its address: it is for the log alone.
            CommitError::Store(_) => {
                return Self::new(DeliveryErrorCode::StoreUnavailable, "the store failed");
            }
        };
        Self::new(code, error.to_string())
    }
}
