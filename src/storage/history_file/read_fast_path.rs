//! A scanner for a dataset's text as it is written here: without white space, and every key a plain integer.
//!
//! It reads nothing that serde_json would read otherwise: of what it does not know it says so, and serde_json reads the
//! whole again. It takes a fifth of the time.

use std::io::{self, Read};

use crate::domain::effort::{INTEGER_MAX, Output, RacerId, Second};
use crate::domain::json_number::JsonNumber;

/// How much text is at hand at a time, in bytes.
const WINDOW_BYTES: usize = 256 << 10;

/// The most bytes that a racer and an output take, or a second, in text that is known here. The longest that is written
/// takes some 45.
const ENTRY_BYTES_MAX: usize = 64;

/// Why the text was not read to its end.
pub(crate) enum Stop {
    /// It is not as it is written here. What was handed over is of no account.
    Unknown,
    /// It cannot be had.
    Io(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Hands over every effort of a dataset, in order.
pub(crate) fn read(
    text: impl Read,
    mut each: impl FnMut(Second, RacerId, Output),
) -> Result<(), Stop> {
    let mut text = Window {
        inner: text,
        bytes: vec![0; WINDOW_BYTES],
        from: 0,
        to: 0,
    };
    text.take(|bytes| bytes.starts_with(b"{").then_some(((), 1)))?;
    loop {
        let second = text.take(second)?;
        loop {
            let (racer, output, more) = text.take(entry)?;
            each(second, racer, output);
            if !more {
                break;
            }
        }
        if !text.take(separator)? {
            break;
        }
    }
    if text.at_hand()?.is_empty() {
        Ok(())
    } else {
        Err(Stop::Unknown)
    }
}

/// Text of which a part is at hand.
struct Window<R> {
    inner: R,
    bytes: Vec<u8>,
    from: usize,
    to: usize,
}

impl<R: Read> Window<R> {
    /// Takes what `read` knows at the front of the text, of which it says how long it is.
    fn take<T>(&mut self, read: impl FnOnce(&[u8]) -> Option<(T, usize)>) -> Result<T, Stop> {
        let (taken, length) = read(self.at_hand()?).ok_or(Stop::Unknown)?;
        self.from += length;
        Ok(taken)
    }

    /// The text from here on, as far as it is at hand: [`ENTRY_BYTES_MAX`] at least, but for its end.
    fn at_hand(&mut self) -> io::Result<&[u8]> {
        if self.to - self.from < ENTRY_BYTES_MAX {
            self.bytes.copy_within(self.from..self.to, 0);
            (self.from, self.to) = (0, self.to - self.from);
            while self.to < self.bytes.len() {
                match self.inner.read(&mut self.bytes[self.to..])? {
                    0 => break,
                    read => self.to += read,
                }
            }
        }
        Ok(&self.bytes[self.from..self.to])
    }
}

/// `"S":{`
fn second(text: &[u8]) -> Option<(Second, usize)> {
    let (second, length) = key(text)?;
    (text.get(length) == Some(&b'{')).then_some(())?;
    Some((Second(u32::try_from(second).ok()?), length + 1))
}

/// `"R":output`, and whether a comma follows, or the end of the second.
fn entry(text: &[u8]) -> Option<((RacerId, Output, bool), usize)> {
    let (racer, length) = key(text)?;
    let (output, digits) = output(&text[length..])?;
    let (more, end) = separator(&text[length + digits..])?;
    Some(((RacerId(racer), output, more), length + digits + end))
}

/// `"N":`
fn key(text: &[u8]) -> Option<(u64, usize)> {
    let text = text.strip_prefix(b"\"")?;
    let (key, digits) = match JsonNumber::leading(text) {
        Some((JsonNumber::Integer(key), digits)) => (key, digits),
        Some(_) => return None,
        // The greatest have more digits.
        None => {
            let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
            (serde_json::from_slice(&text[..digits]).ok()?, digits)
        }
    };
    (key <= INTEGER_MAX && text[digits..].starts_with(b"\":")).then_some((key, digits + 3))
}

fn output(text: &[u8]) -> Option<(Output, usize)> {
    match JsonNumber::leading(text) {
        Some((number, length)) => Some((Output::new(number.double())?, length)),
        // Such as have more digits, or an exponent.
        None => {
            let length = text
                .iter()
                .take(ENTRY_BYTES_MAX)
                .position(|byte| matches!(byte, b',' | b'}'))?;
            Some((serde_json::from_slice(&text[..length]).ok()?, length))
        }
    }
}

/// Whether a comma follows, or a closing brace.
fn separator(text: &[u8]) -> Option<(bool, usize)> {
    match text.first()? {
        b',' => Some((true, 1)),
        b'}' => Some((false, 1)),
        _ => None,
    }
}
