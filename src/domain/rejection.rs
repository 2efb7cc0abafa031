//! Reasons to reject a record, and an effort that cannot be kept.

/// Why a record, or an effort of it, is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RejectionReason {
    /// The data is not base64.
    Base64,
    /// The data begins like gzip and is not.
    Gzip,
    /// The data is larger, gunzipped, or of more objects, than is taken.
    TooLarge,
    /// The data is not UTF-8.
    Utf8,
    /// The data is not a sequence of JSON objects.
    Json,
    /// A field that is needed is not there.
    Missing,
    /// A field is of the wrong kind, or out of its bounds.
    OutOfBounds,
    /// The class has as many racers as it may have.
    ClassFull,
    /// The racer was erased, and the record has no time that says it was ridden since.
    Erased,
}

impl RejectionReason {
    /// Every one of them.
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

    /// Its name in metrics and logs.
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

/// Why a record is not taken, with a sentence for a person that never repeats the record's text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Rejection {
    /// The reason, to count by.
    pub reason: RejectionReason,
    /// The sentence; it names the field where one is at fault.
    pub message: String,
}

impl Rejection {
    /// A rejection for that reason.
    pub fn new(reason: RejectionReason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }
}
