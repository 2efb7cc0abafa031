//! Reasons to reject a record, or an effort of it.

/// A reason for a rejection, used to count rejections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RejectionReason {
    /// The data is not base64.
    Base64,
    /// The data begins with the gzip magic, but is not valid gzip.
    Gzip,
    /// The data exceeds the limit on gunzipped bytes or on objects.
    TooLarge,
    /// The data is not UTF-8.
    Utf8,
    /// The data is not a sequence of JSON objects.
    Json,
    /// A required field is missing.
    Missing,
    /// A field has the wrong type, or is out of its bounds.
    OutOfBounds,
    /// The class has the maximum number of racers, and the racer is new.
    ClassFull,
    /// The racer was erased, and the record has no time after the erasure.
    Erased,
}

impl RejectionReason {
    /// All reasons.
    pub const ALL: [Self; 9] = [
        Self::Base64,
        Self::Gzip,
        Self::TooLarge,
        Self::Utf8,
        Self::Json,
        Self::Missing,
        Self::OutOfBounds,
        Self::ClassFull,
        Self::Erased,
    ];

    /// Returns the reason's name in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Base64 => "base64",
            Self::Gzip => "gzip",
            Self::TooLarge => "too_large",
            Self::Utf8 => "utf8",
            Self::Json => "json",
            Self::Missing => "missing",
            Self::OutOfBounds => "out_of_bounds",
            Self::ClassFull => "class_full",
            Self::Erased => "erased",
        }
    }
}

/// The rejection of a record or of an effort.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Rejection {
    /// The reason, to count by.
    pub reason: RejectionReason,
    /// A sentence for people. It names the faulty field, and never repeats the record's text.
    pub message: String,
}

impl Rejection {
    /// Creates a rejection.
    pub fn new(reason: RejectionReason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }
}
