//! Gunzips the gzip members of a stream, wherever they begin, and passes all other bytes on.
//!
//! Text never contains gzip's first bytes: they are not UTF-8.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;

use crate::ingest::envelope::RECORD_BYTES_MAX;

/// The first bytes of a gzip member: the magic, and the only method that exists.
pub(super) const MEMBER_START: &[u8] = b"\x1f\x8b\x08";

/// Maximum number of damaged members in a stream. Each may be gunzipped in vain, up to
/// [`RECORD_BYTES_MAX`] bytes; after this many, members are no longer looked for.
const DAMAGED_MAX: usize = 100;

/// Number of bytes that are read at a time.
const READ_BYTES: u64 = 64 << 10;

/// A reader of the bytes of `R` with all members gunzipped.
///
/// A damaged member is passed on unchanged, so that it can be quarantined as a record. Two kinds of
/// damaged members end the stream instead: the first content of an object, and one that is larger
/// than a record. Reading then returns what could be gunzipped, and then the error.
pub(super) struct GunzipLayer<R: Read> {
    /// `None` only while a value is moved.
    state: Option<LayerState<R>>,
    /// Bytes to return, from `start` on.
    plain: Vec<u8>,
    start: usize,
    /// An error to return after `plain`.
    error: Option<io::Error>,
    /// Whether nothing was read yet of a stored object: a member here is the compression of all of it.
    is_at_object_start: bool,
    damaged: usize,
}

enum LayerState<R: Read> {
    /// Outside of a member.
    Outside(Source<R>),
    /// Inside of a member that is too large for a record.
    Inside(Box<GzDecoder<Source<R>>>),
}

impl<R: Read> GunzipLayer<R> {
    /// Returns a layer that reads a stored object, which may be compressed as a whole.
    pub(super) fn of_object(input: R) -> Self {
        Self {
            is_at_object_start: true,
            ..Self::of_records(input)
        }
    }

    /// Returns a layer that reads records, one after another.
    pub(super) fn of_records(input: R) -> Self {
        Self {
            state: Some(LayerState::Outside(Source::new(input))),
            plain: Vec::new(),
            start: 0,
            error: None,
            is_at_object_start: false,
            damaged: 0,
        }
    }

    /// Reads on until there are bytes in `plain`, or the stream has ended.
    fn fill(&mut self) -> io::Result<()> {
        self.plain.clear();
        self.start = 0;
        while self.plain.is_empty() {
            if let Some(error) = self.error.take() {
                return Err(error);
            }
            match self.state.take().expect("it is put back") {
                LayerState::Outside(mut source) => {
                    let text = source.text_length(self.damaged < DAMAGED_MAX);
                    self.plain.extend_from_slice(&source.rest()[..text]);
                    source.consume(text);
                    self.is_at_object_start &= text == 0;
                    if text == 0 && !source.rest().is_empty() {
                        self.read_member(source);
                        continue;
                    }
                    if source.rest().is_empty() {
                        self.error = source.error.take();
                    }
                    self.state = Some(LayerState::Outside(source));
                    if text == 0 && self.error.is_none() {
                        return Ok(());
                    }
                }
                LayerState::Inside(mut decoder) => {
                    let mut limited = decoder.as_mut().take(READ_BYTES);
                    let result = limited.read_to_end(&mut self.plain);
                    self.state = Some(match result {
                        Ok(read) if (read as u64) < READ_BYTES => {
                            LayerState::Outside(decoder.into_inner())
                        }
                        Ok(_) => LayerState::Inside(decoder),
                        Err(error) => self.end_after(error, decoder.into_inner()),
                    });
                }
            }
        }
        Ok(())
    }

    /// Gunzips the member at the beginning of `source`, up to the size of a record. `fill` goes on with
    /// a longer one.
    fn read_member(&mut self, mut source: Source<R>) {
        let is_at_object_start = std::mem::take(&mut self.is_at_object_start);
        source.mark();
        let mut decoder = GzDecoder::new(source);
        let mut limited = (&mut decoder).take(RECORD_BYTES_MAX as u64);
        let result = limited.read_to_end(&mut self.plain);
        let mark = decoder.get_mut().mark.take();
        self.state = Some(match result {
            Ok(read) if read < RECORD_BYTES_MAX => LayerState::Outside(decoder.into_inner()),
            Ok(_) => LayerState::Inside(Box::new(decoder)),
            Err(error) if is_at_object_start => self.end_after(error, decoder.into_inner()),
            Err(_) => {
                let mut source = decoder.into_inner();
                source.position = mark.unwrap_or(source.position) + MEMBER_START.len();
                self.damaged += 1;
                self.plain.clear();
                self.plain.extend_from_slice(MEMBER_START);
                LayerState::Outside(source)
            }
        });
    }

    /// Ends the stream with an error: that of its input, if there was one.
    fn end_after(&mut self, error: io::Error, mut source: Source<R>) -> LayerState<R> {
        self.error = Some(source.error.take().unwrap_or(error));
        source.position = source.bytes.len();
        source.is_at_end = true;
        LayerState::Outside(source)
    }
}

impl<R: Read> Read for GunzipLayer<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.start == self.plain.len() {
            self.fill()?;
        }
        let read = (&self.plain[self.start..]).read(into)?;
        self.start += read;
        Ok(read)
    }
}

/// A reader whose stream ends with an error after a number of bytes.
pub(super) struct SizeLimit<R> {
    input: R,
    bytes_left: u64,
}

impl<R> SizeLimit<R> {
    pub(super) fn new(input: R, bytes_max: u64) -> Self {
        Self {
            input,
            bytes_left: bytes_max,
        }
    }
}

impl<R: Read> Read for SizeLimit<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(into)?;
        let left = self.bytes_left.checked_sub(read as u64);
        self.bytes_left = left.ok_or_else(|| io::Error::other("it is too large"))?;
        Ok(read)
    }
}

/// A buffered reader that can return to a mark.
struct Source<R> {
    input: R,
    /// The bytes that were read; `position` is that of the next one.
    bytes: Vec<u8>,
    position: usize,
    mark: Option<usize>,
    is_at_end: bool,
    /// The error that ended the input. Returned after the bytes before it.
    error: Option<io::Error>,
}

impl<R: Read> Source<R> {
    fn new(input: R) -> Self {
        Self {
            input,
            bytes: Vec::new(),
            position: 0,
            mark: None,
            is_at_end: false,
            error: None,
        }
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.position..]
    }

    fn mark(&mut self) {
        self.mark = Some(self.position);
    }

    /// Reads at least some bytes, and returns the number of those before the next member. `looks_for_members`
    /// says whether members are looked for.
    fn text_length(&mut self, looks_for_members: bool) -> usize {
        while self.rest().len() < MEMBER_START.len() && self.read_more() {}
        let rest = self.rest();
        if !looks_for_members {
            return rest.len();
        }
        let is_start = |index: &usize| {
            let rest = &rest[*index..];
            rest[0] == MEMBER_START[0] // few bytes are
                && (rest.starts_with(MEMBER_START)
                    || (MEMBER_START.starts_with(rest) && !self.is_at_end))
        };
        (0..rest.len()).find(is_start).unwrap_or(rest.len())
    }

    /// Reads more bytes, unless the input has ended, or too much is kept for the mark.
    fn read_more(&mut self) -> bool {
        let kept = self.mark.unwrap_or(self.position);
        if self.is_at_end || self.bytes.len() - kept > RECORD_BYTES_MAX {
            return false;
        }
        self.bytes.drain(..kept);
        self.position -= kept;
        self.mark = self.mark.map(|_| 0);
        let mut input = self.input.by_ref().take(READ_BYTES);
        match input.read_to_end(&mut self.bytes) {
            Ok(read) => self.is_at_end = (read as u64) < READ_BYTES,
            Err(error) => {
                self.is_at_end = true;
                self.error = Some(error);
            }
        }
        true
    }
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(into)?;
        self.consume(read);
        Ok(read)
    }
}

impl<R: Read> BufRead for Source<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.rest().is_empty() {
            self.read_more();
        }
        Ok(self.rest())
    }

    fn consume(&mut self, bytes: usize) {
        self.position += bytes;
    }
}
