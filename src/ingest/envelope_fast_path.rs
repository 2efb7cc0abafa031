//! A scanner for envelopes as Firehose sends them: no white space, no escapes, no fields but its own.
//!
//! It reads nothing that serde_json would read otherwise: what it does not know it leaves alone, and serde_json reads
//! the body. It takes a quarter of the time.

use std::borrow::Cow;

use crate::domain::json_scan::{self, JsonNumber};
use crate::ingest::envelope::{Envelope, RECORDS_MAX};

/// Reads a body; `None` where it is for serde_json to say what it is.
pub(crate) fn read(body: &[u8]) -> Option<Envelope<'_>> {
    let mut scanner = Scanner { rest: body };
    let (mut request_id, mut records, mut timestamp) = (None, None, None);
    scanner.take(b"{")?;
    loop {
        match scanner.text()? {
            b"requestId" if request_id.is_none() => {
                scanner.take(b":")?;
                request_id = Some(Cow::Borrowed(std::str::from_utf8(scanner.text()?).ok()?));
            }
            b"records" if records.is_none() => {
                scanner.take(b":")?;
                records = Some(scanner.records()?);
            }
            b"timestamp" if timestamp.is_none() => {
                scanner.take(b":")?;
                timestamp = Some(scanner.number()?);
            }
            _ => return None,
        }
        if scanner.take(b",").is_none() {
            break;
        }
    }
    scanner.take(b"}")?;
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\n' | b'\r' | b'\t');
    scanner.rest.iter().all(is_space).then_some(Envelope {
        request_id,
        records: records?,
    })
}

struct Scanner<'b> {
    rest: &'b [u8],
}

impl<'b> Scanner<'b> {
    fn records(&mut self) -> Option<Vec<Cow<'b, [u8]>>> {
        let mut records = Vec::new();
        self.take(b"[")?;
        while records.len() < RECORDS_MAX {
            self.take(b"{\"data\":")?;
            let data = self.text()?;
            if !data.is_ascii() {
                return None;
            }
            records.push(Cow::Borrowed(data));
            self.take(b"}")?;
            if self.take(b",").is_none() {
                return self.take(b"]").map(|()| records);
            }
        }
        None
    }

    /// A text without escapes.
    fn text(&mut self) -> Option<&'b [u8]> {
        self.take(b"\"")?;
        // So many at a time: base64 goes on for long.
        const CHUNK: usize = 32;
        let ends =
            |byte: u8| u8::from(byte < b' ') | u8::from(byte == b'"') | u8::from(byte == b'\\');
        let are_plain = |chunk: &&[u8]| {
            chunk
                .iter()
                .fold(0, |ends_here, &byte| ends_here | ends(byte))
                == 0
        };
        let plain = CHUNK * self.rest.chunks_exact(CHUNK).take_while(are_plain).count();
        let (text, rest) = self
            .rest
            .split_at(plain + json_scan::text_length(&self.rest[plain..]));
        self.rest = rest;
        self.take(b"\"").map(|()| text)
    }

    fn number(&mut self) -> Option<JsonNumber> {
        let (number, length) = JsonNumber::leading(self.rest)?;
        self.rest = &self.rest[length..];
        Some(number)
    }

    fn take(&mut self, token: &[u8]) -> Option<()> {
        self.rest = self.rest.strip_prefix(token)?;
        Some(())
    }
}
