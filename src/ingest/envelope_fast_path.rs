//! Parses envelopes as Firehose sends them: no white space, no escapes, no fields but its own.
//!
//! It never reads an envelope otherwise than serde_json would. At anything else it gives up, and
//! serde_json parses the body. It needs a quarter of serde_json's time.

use std::borrow::Cow;

use crate::domain::json_number::JsonNumber;
use crate::ingest::envelope::{Envelope, RECORDS_MAX};
use crate::ingest::json_scan;

/// Parses a body. Returns `None` if serde_json must parse it.
pub(crate) fn parse(body: &[u8]) -> Option<Envelope<'_>> {
    let mut scanner = EnvelopeScanner { rest: body };
    let (mut request_id, mut records, mut timestamp) = (None, None, None);
    scanner.expect(b"{")?;
    loop {
        match scanner.text()? {
            b"requestId" if request_id.is_none() => {
                scanner.expect(b":")?;
                request_id = Some(Cow::Borrowed(std::str::from_utf8(scanner.text()?).ok()?));
            }
            b"records" if records.is_none() => {
                scanner.expect(b":")?;
                records = Some(scanner.records()?);
            }
            b"timestamp" if timestamp.is_none() => {
                scanner.expect(b":")?;
                timestamp = Some(scanner.number()?);
            }
            _ => return None,
        }
        if scanner.expect(b",").is_none() {
            break;
        }
    }
    scanner.expect(b"}")?;
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\n' | b'\r' | b'\t');
    scanner.rest.iter().all(is_space).then_some(Envelope {
        request_id,
        records: records?,
    })
}

struct EnvelopeScanner<'b> {
    /// The part of the body that is not yet read.
    rest: &'b [u8],
}

impl<'b> EnvelopeScanner<'b> {
    fn records(&mut self) -> Option<Vec<Cow<'b, [u8]>>> {
        let mut records = Vec::new();
        self.expect(b"[")?;
        while records.len() < RECORDS_MAX {
            self.expect(b"{\"data\":")?;
            let data = self.text()?;
            if !data.is_ascii() {
                return None;
            }
            records.push(Cow::Borrowed(data));
            self.expect(b"}")?;
            if self.expect(b",").is_none() {
                return self.expect(b"]").map(|()| records);
            }
        }
        None
    }

    /// Reads a text without escapes.
    fn text(&mut self) -> Option<&'b [u8]> {
        self.expect(b"\"")?;
        // Base64 is long, so it is read in chunks that the compiler turns into vector instructions.
        const CHUNK: usize = 32;
        let ends =
            |byte: u8| u8::from(byte < b' ') | u8::from(byte == b'"') | u8::from(byte == b'\\');
        let has_no_end =
            |chunk: &&[u8]| chunk.iter().fold(0, |found, &byte| found | ends(byte)) == 0;
        let chunks = self.rest.chunks_exact(CHUNK).take_while(has_no_end);
        let whole_chunks = CHUNK * chunks.count();
        let length = whole_chunks + json_scan::text_length(&self.rest[whole_chunks..]);
        let (text, rest) = self.rest.split_at(length);
        self.rest = rest;
        self.expect(b"\"").map(|()| text)
    }

    /// Reads a number.
    fn number(&mut self) -> Option<JsonNumber> {
        let (number, length) = JsonNumber::leading(self.rest)?;
        self.rest = &self.rest[length..];
        Some(number)
    }

    /// Reads `token`. Returns `None`, and stays in place, if something else stands there.
    fn expect(&mut self, token: &[u8]) -> Option<()> {
        self.rest = self.rest.strip_prefix(token)?;
        Some(())
    }
}
