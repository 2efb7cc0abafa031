//! Decodes a record's bytes: one or several JSON objects, one after another.
//!
//! Passes each object's effort on. At the first fault it stops and returns a rejection that names
//! the fault. Earlier efforts stay valid, but the whole record counts as rejected.
//!
//! Pure: bounds and receipt time are parameters.

mod fields;

use std::borrow::Cow;

pub(crate) use self::fields::{FieldName, NumberField, RecordFields};
use crate::domain::effort::{Bounds, Effort};
use crate::domain::rejection::{Rejection, RejectionReason};
use crate::ingest::record_fast_path::RecordScanner;

/// Maximum lead of a device's clock over ours, in ms. A time further ahead is not trusted, and
/// counts as unknown.
pub(crate) const CLOCK_AHEAD_MS_MAX: u64 = 5 * 60 * 1000;

/// Maximum number of objects in a record: four times as many as the largest record of Firehose can
/// contain. A gzipped record could otherwise grow to many more objects, each of which needs about
/// as much memory as its text.
pub(crate) const OBJECTS_MAX: usize = 100_000;

/// One telemetry object: its effort, its name, and whether it is final.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Telemetry<'d> {
    /// The effort, within the bounds.
    pub(crate) effort: Effort,
    /// The racer's name, not truncated. `None` if the field is absent or not a text: an effort is
    /// valid without a name.
    pub(crate) name: Option<Cow<'d, str>>,
    /// Whether it is the racer's last record of the race.
    pub(crate) is_final: bool,
}

/// Passes every telemetry object in `data` to `each`, in order. Returns the number of objects: 0 if
/// there is only white space. On an error, `each` has received the objects before the fault.
pub(crate) fn decode<'d>(
    data: &'d [u8],
    bounds: &Bounds,
    receipt_ms: u64,
    mut each: impl FnMut(Telemetry<'d>),
) -> Result<usize, Rejection> {
    let (valid, utf8) = match std::str::from_utf8(data) {
        Ok(text) => (text, Ok(())),
        Err(error) => {
            let end = error.valid_up_to();
            let valid = std::str::from_utf8(&data[..end]).expect("valid up to there");
            let message = format!("not UTF-8 at byte {end}");
            let rejection = Rejection::new(RejectionReason::Utf8, message);
            (valid, Err(rejection))
        }
    };
    let decoded = decode_objects(valid, bounds, receipt_ms, RecordScanner::object, &mut each);
    // Objects that end before the invalid byte are valid. The object that contains it is not
    // reported as a second fault.
    utf8.and(decoded)
}

/// Decodes as [`decode`] does, but without the fast path. The fast path must give the same result.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn decode_by_serde<'d>(
    text: &'d str,
    bounds: &Bounds,
    receipt_ms: u64,
    mut each: impl FnMut(Telemetry<'d>),
) -> Result<usize, Rejection> {
    decode_objects(text, bounds, receipt_ms, |_| None, &mut each)
}

/// Reads each object with `fast_path`, and with serde_json where `fast_path` gives `None`.
fn decode_objects<'d>(
    text: &'d str,
    bounds: &Bounds,
    receipt_ms: u64,
    fast_path: impl Fn(&mut RecordScanner<'d>) -> Option<RecordFields<'d>>,
    each: &mut impl FnMut(Telemetry<'d>),
) -> Result<usize, Rejection> {
    let mut scanner = RecordScanner::new(text.strip_prefix('\u{feff}').unwrap_or(text));
    let mut count = 0;
    while !scanner.is_at_end() {
        let fields = match fast_path(&mut scanner) {
            Some(fields) => fields,
            None => {
                let (fields, length) = RecordFields::parse(scanner.rest()).map_err(|error| {
                    let message = format!("object {} of the record: {error}", count + 1);
                    Rejection::new(RejectionReason::Json, message)
                })?;
                scanner.skip(length);
                fields
            }
        };
        if count == OBJECTS_MAX {
            let message = format!("a record may hold at most {OBJECTS_MAX} objects");
            return Err(Rejection::new(RejectionReason::TooLarge, message));
        }
        each(fields.validate(bounds, receipt_ms)?);
        count += 1;
    }
    Ok(count)
}

#[cfg(test)]
mod tests;
