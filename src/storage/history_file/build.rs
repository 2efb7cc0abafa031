//! Builds a history file: compresses the parts, one per second, and joins them into one gzip
//! member.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use xxhash_rust::xxh3::xxh3_128;

use crate::domain::effort::Second;
use crate::domain::erasure::{self, ErasureVersion};
use crate::state::table::{Board, StateVersion};
use crate::storage::history_file::json;

/// Version of the encoding, part of every ETag. Increase it when the same state would give other
/// bytes.
const ENCODER_VERSION: u32 = 1;

/// The compression level of the parts, as measured:
///
/// - 40,000 racers × 300 seconds, 170 MB of text;
/// - outputs of random whole cadences and resistances;
/// - one core;
/// - the first build, and the rebuild after one improvement.
///
/// | level | size | build | rebuild |
/// |---|---|---|---|
/// | 1 | 95.7 MB | 1.4 to 1.8 s | 5.0 ms |
/// | 2 | 66.3 MB | 1.9 s | 6.3 ms |
/// | 3 | 62.9 MB | 2.1 s | 7.2 to 10 ms |
/// | 4 | 61.9 MB | 3.0 s | 9.6 to 11 ms |
///
/// Level 1 uses only fixed Huffman codes: 44 % larger. Levels over 2 gain little.
///
/// The same with doubles, 315 MB of text, on a slower core: the size, and the time of deflate alone.
///
/// | level | size | deflate |
/// |---|---|---|
/// | 1 | 219 MB | 2.4 s |
/// | 2 | 147 MB | 3.4 s |
/// | 3 | 142 MB | 3.6 s |
/// | 4 | 141 MB | 4.7 s |
///
/// A window of 1 kB instead of 32 kB gives 135 MB at level 2, because it finds fewer short matches
/// among random digits. But then inflate takes a fifth longer, and so does a start.
const LEVEL: u32 = 2;

/// The gzip header: deflate, with an extra field, without name and time, of an unknown system. Its
/// last two bytes are the length of the extra field, which holds the erasure version.
const HEADER: [u8; 12] = [0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255, 12, 0];

/// JSON punctuation as uncompressed deflate blocks, so that parts can be joined without
/// recompression. Each is byte-aligned (RFC 1951, 3.2.4).
const OPEN: [u8; 6] = stored_block(b'{', false);
const COMMA: [u8; 6] = stored_block(b',', false);
const CLOSE: [u8; 6] = stored_block(b'}', true);

const fn stored_block(character: u8, last: bool) -> [u8; 6] {
    [last as u8, 1, 0, !1, !0, character]
}

/// A complete file, in the pieces in which it is sent.
pub(super) struct HistoryFile {
    /// Total size of all live parts of this class, those of older files included.
    pub(super) held_bytes: Arc<AtomicU64>,
    pub(super) head: Bytes,
    pub(super) parts: Vec<HistoryPart>,
    pub(super) parts_bytes: u64,
    pub(super) tail: Bytes,
    pub(super) len_bytes: u64,
    pub(super) text_bytes: u64,
    pub(super) built_at: StateVersion,
    pub(super) erasure_version: ErasureVersion,
    pub(super) etag: String,
    pub(super) text_etag: String,
}

/// The bytes of a part. Counted in `held_bytes` until the last clone is dropped.
struct CountedBytes {
    bytes: Box<[u8]>,
    held_bytes: Arc<AtomicU64>,
}

impl CountedBytes {
    fn copy_of(bytes: &[u8], held_bytes: &Arc<AtomicU64>) -> Bytes {
        held_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Bytes::from_owner(Self {
            bytes: bytes.into(),
            held_bytes: held_bytes.clone(),
        })
    }
}

impl AsRef<[u8]> for CountedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for CountedBytes {
    fn drop(&mut self) {
        self.held_bytes
            .fetch_sub(self.bytes.len() as u64, Ordering::Relaxed);
    }
}

/// One second's piece of the file.
#[derive(Clone)]
pub(super) struct HistoryPart {
    pub(super) second: Second,
    /// The version of the column that the part was built from.
    pub(super) version: StateVersion,
    /// `,` as a stored block, then `"S":{…}` deflated and flushed to a byte boundary. The first part
    /// is sent without the comma.
    pub(super) bytes: Bytes,
    /// CRC-32 of the text without the comma.
    crc32: u32,
    /// Length of the text without the comma.
    pub(super) text_bytes: u64,
    /// Hash of the compressed bytes, for both ETags: equal bytes mean equal text. It is right for the
    /// gzip form even if two builds of the encoder differ.
    hash: u128,
}

impl HistoryFile {
    pub(super) fn assemble(
        parts: Vec<HistoryPart>,
        held_bytes: Arc<AtomicU64>,
        built_at: StateVersion,
        erasure_version: ErasureVersion,
    ) -> Self {
        let mut crc32 = crc32fast::Hasher::new();
        crc32.update(b"{");
        for (index, part) in parts.iter().enumerate() {
            if index > 0 {
                crc32.update(b",");
            }
            crc32.combine(&crc32fast::Hasher::new_with_initial_len(
                part.crc32,
                part.text_bytes,
            ));
        }
        crc32.update(b"}");
        let commas = parts.len().saturating_sub(1) as u64;
        let text_bytes = 2 + commas + parts.iter().map(|part| part.text_bytes).sum::<u64>();

        let head = [&HEADER[..], &erasure::extra_field(erasure_version), &OPEN].concat();
        // gzip stores the length modulo 2^32.
        let tail = [
            &CLOSE[..],
            &crc32.finalize().to_le_bytes(),
            &(text_bytes as u32).to_le_bytes(),
        ]
        .concat();
        let gzip_etag = etag("gzip", &head, &parts);
        let text_etag = etag("text", &[], &parts);

        let parts_bytes: usize = parts.iter().map(|part| part.bytes.len()).sum();
        let omitted_comma_bytes = if parts.is_empty() { 0 } else { COMMA.len() };

        Self {
            held_bytes,
            len_bytes: (head.len() + parts_bytes - omitted_comma_bytes + tail.len()) as u64,
            head: head.into(),
            parts,
            parts_bytes: parts_bytes as u64,
            tail: tail.into(),
            text_bytes,
            built_at,
            erasure_version,
            etag: gzip_etag,
            text_etag,
        }
    }

    pub(super) fn part(&self, second: Second) -> Option<&HistoryPart> {
        self.parts
            .binary_search_by_key(&second, |part| part.second)
            .ok()
            .map(|index| &self.parts[index])
    }

    /// Returns a part as the file contains it: with its comma, except for the first.
    pub(super) fn piece(&self, index: usize) -> Bytes {
        let bytes = &self.parts[index].bytes;
        if index == 0 {
            bytes.slice(COMMA.len()..)
        } else {
            bytes.clone()
        }
    }

    /// Returns the text of a part, beginning with a comma unless it is the first.
    pub(super) fn text(&self, index: usize) -> Bytes {
        let comma = usize::from(index > 0);
        let mut text = Vec::with_capacity(self.parts[index].text_bytes as usize + comma);
        let inflated = Decompress::new(false).decompress_vec(
            &self.piece(index),
            &mut text,
            FlushDecompress::Sync,
        );
        inflated.expect("a part is a valid deflate stream, built here and never changed");
        text.into()
    }
}

impl HistoryPart {
    /// Writes and compresses one second. `text` is a reusable buffer; `held_bytes` counts the
    /// compressed bytes.
    pub(super) fn build(
        second: Second,
        board: &Board,
        text: &mut Vec<u8>,
        held_bytes: &Arc<AtomicU64>,
    ) -> Self {
        text.clear();
        json::push_second(text, second, board.by_id());
        let bytes = CountedBytes::copy_of(&compress(text), held_bytes);
        Self {
            second,
            version: board.version(),
            crc32: crc32fast::hash(text),
            text_bytes: text.len() as u64,
            hash: xxh3_128(&bytes),
            bytes,
        }
    }
}

/// Returns a stored comma and the text, deflated with a fresh dictionary and flushed to a byte
/// boundary.
fn compress(text: &[u8]) -> Vec<u8> {
    // The capacity covers the worst case: nine bits a byte, and the flush. A single call, because
    // deflate's output may depend on the buffer sizes.
    let mut bytes = Vec::with_capacity(COMMA.len() + text.len() + text.len() / 8 + 1024);
    bytes.extend_from_slice(&COMMA);
    let mut deflate = Compress::new(Compression::new(LEVEL), false);
    let deflated = deflate.compress_vec(text, &mut bytes, FlushCompress::Full);
    deflated.expect("compressing into memory with a fresh dictionary cannot fail");
    assert!(
        deflate.total_in() == text.len() as u64 && bytes.len() < bytes.capacity(),
        "the capacity covers the worst case"
    );
    bytes
}

fn etag(form: &str, head: &[u8], parts: &[HistoryPart]) -> String {
    let mut key = Vec::with_capacity(64 + 16 * parts.len());
    key.extend_from_slice(form.as_bytes());
    key.extend_from_slice(&ENCODER_VERSION.to_le_bytes());
    key.extend_from_slice(head);
    for part in parts {
        key.extend_from_slice(&part.hash.to_le_bytes());
    }
    format!("\"{:032x}\"", xxh3_128(&key))
}
