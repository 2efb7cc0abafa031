//! The history of a class as one gzip file, stitched from parts so that an improvement costs one second's work.
//!
//! The dataset `{"<second>":{"<racerId>":output,…},…}` of 40,000 racers is 170 to 300 MB of JSON. A deflate stream can
//! be cut at block boundaries, so each second's text is compressed on its own and kept until its column changes:
//!
//! ```text
//! gzip header with the erasure version │ stored `{` │ part │ stored `,` │ part │ … │ stored `}`, last │ CRC32 │ length
//! ```
//!
//! What comes out is a standard single-member gzip file. It depends on the state, the erasure version and
//! [`ENCODER_VERSION`] alone: equal states give equal bytes on every instance, whatever order they were merged in.

pub mod json;
pub mod read;
pub mod read_fast_path;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use xxhash_rust::xxh3::xxh3_128;

use crate::domain::effort::{ClassId, Second};
use crate::domain::erasure::{self, ErasureVersion};
use crate::state::table::{Board, StateVersion, Table};

pub use crate::storage::history_file::json::{Selection, write_dataset};
pub use crate::storage::history_file::read::{HistoryError, StoredHistory};

/// Counts the changes of the bytes that equal states give. It goes into every ETag.
pub const ENCODER_VERSION: u32 = 1;

/// The compression level of the parts. Measured on 40,000 racers × 300 seconds (170 MB of text, outputs of whole
/// cadences and resistances at random; one core; the first build, and the rebuild after one improvement):
///
/// | level | size | build | rebuild |
/// |---|---|---|---|
/// | 1 | 95.7 MB | 1.4 to 1.8 s | 5.0 ms |
/// | 2 | 66.3 MB | 1.9 s | 6.3 ms |
/// | 3 | 62.9 MB | 2.1 s | 7.2 to 10 ms |
/// | 4 | 61.9 MB | 3.0 s | 9.6 to 11 ms |
///
/// Level 1 has fixed codes only, which costs numbers a third of their compression; past 2 little is gained.
const LEVEL: u32 = 2;

/// The gzip header: deflate, with an extra field, no name and no time; from an unknown system. Then the length of the
/// extra field, which is the erasure version's.
const HEADER: [u8; 12] = [0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255, 12, 0];

/// Stored blocks of one character, each byte aligned (RFC 1951, 3.2.4).
const OPEN: [u8; 6] = stored_block(b'{', false);
const COMMA: [u8; 6] = stored_block(b',', false);
const CLOSE: [u8; 6] = stored_block(b'}', true);

const fn stored_block(character: u8, last: bool) -> [u8; 6] {
    [last as u8, 1, 0, !1, !0, character]
}

/// A class's dataset, compressed. Immutable; a clone costs a count.
#[derive(Clone)]
pub struct History(Arc<Stitched>);

struct Stitched {
    /// What is held of all parts of this class's histories, in bytes.
    held: Arc<AtomicU64>,
    head: Bytes,
    parts: Vec<Part>,
    parts_bytes: u64,
    tail: Bytes,
    len_bytes: u64,
    text_bytes: u64,
    built_at: StateVersion,
    erasure_version: ErasureVersion,
    etag: String,
    text_etag: String,
}

/// A part's bytes, counted for as long as anyone holds them.
struct Held {
    bytes: Box<[u8]>,
    held: Arc<AtomicU64>,
}

impl Held {
    fn keep(bytes: &[u8], held: &Arc<AtomicU64>) -> Bytes {
        held.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Bytes::from_owner(Self {
            bytes: bytes.into(),
            held: held.clone(),
        })
    }
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.held
            .fetch_sub(self.bytes.len() as u64, Ordering::Relaxed);
    }
}

/// One second's piece of the file.
#[derive(Clone)]
struct Part {
    second: Second,
    /// The version of the column it was made of.
    version: StateVersion,
    /// A stored comma, which the first part of a file leaves out, and `"S":{…}` deflated up to a byte's edge.
    bytes: Bytes,
    /// Of the text without the comma.
    crc32: u32,
    /// Of the text without the comma.
    text_bytes: u64,
    /// Of the compressed bytes. Equal bytes have equal texts, so it serves the ETags of both forms, and it cannot lie
    /// about the gzip form even if two builds of the encoder should differ.
    hash: u128,
}

impl History {
    /// The history in which nothing stands, `{}`.
    pub fn empty(erasure_version: ErasureVersion) -> Self {
        Self::stitch(Vec::new(), Arc::default(), 0, erasure_version)
    }

    /// The history of what the class holds now. `last` is any earlier history of this class of this table, or an empty
    /// one; its parts are kept where the column did not change.
    pub fn build(
        table: &Table,
        class: ClassId,
        last: &Self,
        erasure_version: ErasureVersion,
    ) -> Self {
        let built_at = table.version(class); // before the first column is looked at
        let mut text = Vec::new();
        let seconds = table.seconds(class).into_iter();
        let parts = seconds.filter_map(|(second, version)| {
            if let Some(part) = last.part(second).filter(|part| part.version == version) {
                return Some(part.clone());
            }
            let board = table.board(class, second);
            // An erasure may have emptied the column since it was listed.
            (!board.is_empty()).then(|| Part::of(second, &board, &mut text, &last.0.held))
        });
        Self::stitch(
            parts.collect(),
            last.0.held.clone(),
            built_at,
            erasure_version,
        )
    }

    fn stitch(
        parts: Vec<Part>,
        held: Arc<AtomicU64>,
        built_at: StateVersion,
        erasure_version: ErasureVersion,
    ) -> Self {
        let mut crc32 = crc32fast::Hasher::new();
        crc32.update(b"{");
        for (place, part) in parts.iter().enumerate() {
            if place > 0 {
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
        // gzip keeps the length modulo 2^32.
        let tail = [
            &CLOSE[..],
            &crc32.finalize().to_le_bytes(),
            &(text_bytes as u32).to_le_bytes(),
        ]
        .concat();
        let gzip_etag = etag("gzip", &head, &parts);
        let text_etag = etag("text", &[], &parts);

        let parts_bytes: usize = parts.iter().map(|part| part.bytes.len()).sum();
        let no_comma = if parts.is_empty() { 0 } else { COMMA.len() };

        Self(Arc::new(Stitched {
            held,
            len_bytes: (head.len() + parts_bytes - no_comma + tail.len()) as u64,
            head: head.into(),
            parts,
            parts_bytes: parts_bytes as u64,
            tail: tail.into(),
            text_bytes,
            built_at,
            erasure_version,
            etag: gzip_etag,
            text_etag,
        }))
    }

    fn part(&self, second: Second) -> Option<&Part> {
        let parts = &self.0.parts;
        parts
            .binary_search_by_key(&second, |part| part.second)
            .ok()
            .map(|place| &parts[place])
    }

    /// The class's version when the build began: all that was merged up to it is in here.
    pub fn built_at(&self) -> StateVersion {
        self.0.built_at
    }

    /// The highest erasure version that concerned the class, as the file's header names it.
    pub fn erasure_version(&self) -> ErasureVersion {
        self.0.erasure_version
    }

    /// Whether nothing stands in it.
    pub fn is_empty(&self) -> bool {
        self.0.parts.is_empty()
    }

    /// The strong ETag of the gzip file, in its quotes.
    pub fn etag(&self) -> &str {
        &self.0.etag
    }

    /// The strong ETag of the text, in its quotes. It does not depend on the erasure version.
    pub fn text_etag(&self) -> &str {
        &self.0.text_etag
    }

    /// The length of the gzip file, in bytes.
    pub fn len(&self) -> u64 {
        self.0.len_bytes
    }

    /// The length of the text, in bytes.
    pub fn text_len(&self) -> u64 {
        self.0.text_bytes
    }

    /// What is held of the class's other histories, in bytes: of parts that this one does not share. Where it is the
    /// newest, somebody is still being sent them.
    pub fn outdated_bytes(&self) -> u64 {
        self.0
            .held
            .load(Ordering::Relaxed)
            .saturating_sub(self.0.parts_bytes)
    }

    /// The length of the longest piece of the text, in bytes.
    pub fn text_piece_len(&self) -> u64 {
        self.0
            .parts
            .iter()
            .map(|part| part.text_bytes + 1)
            .max()
            .unwrap_or(1)
    }

    /// The gzip file in order, in one piece a second and two more. Nothing is copied.
    pub fn chunks(&self) -> impl Iterator<Item = Bytes> + Send + use<> {
        // Of what is sent, nothing is kept longer.
        let parts: Vec<_> = (0..self.0.parts.len())
            .map(|place| self.0.piece(place))
            .collect();
        std::iter::once(self.0.head.clone())
            .chain(parts)
            .chain(std::iter::once(self.0.tail.clone()))
    }

    /// The text in order, in one piece a second and two more, each decompressed when it is asked for.
    pub fn text(&self) -> impl Iterator<Item = Bytes> + Send + use<> {
        let history = self.clone();
        let parts = (0..self.0.parts.len()).map(move |place| history.0.text(place));
        let (open, close) = (Bytes::from_static(b"{"), Bytes::from_static(b"}"));
        std::iter::once(open)
            .chain(parts)
            .chain(std::iter::once(close))
    }
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("History");
        f.field("etag", &self.0.etag)
            .field("len_bytes", &self.0.len_bytes)
            .field("built_at", &self.0.built_at);
        f.finish_non_exhaustive()
    }
}

impl Stitched {
    /// A part as it stands in the file: with its comma, but for the first.
    fn piece(&self, place: usize) -> Bytes {
        let bytes = &self.parts[place].bytes;
        if place == 0 {
            bytes.slice(COMMA.len()..)
        } else {
            bytes.clone()
        }
    }

    fn text(&self, place: usize) -> Bytes {
        let comma = usize::from(place > 0);
        let mut text = Vec::with_capacity(self.parts[place].text_bytes as usize + comma);
        let inflated = Decompress::new(false).decompress_vec(
            &self.piece(place),
            &mut text,
            FlushDecompress::Sync,
        );
        inflated.expect("a part is a valid deflate stream, made here and never changed");
        text.into()
    }
}

impl Part {
    /// Writes and compresses one second. `text` is a buffer to use again; `held` counts what is held.
    fn of(second: Second, board: &Board, text: &mut Vec<u8>, held: &Arc<AtomicU64>) -> Self {
        text.clear();
        json::push_second(text, second, board.by_id());
        let bytes = Held::keep(&compress(text), held);
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

/// A stored comma, then the text deflated with a fresh dictionary and flushed to a byte's edge.
fn compress(text: &[u8]) -> Vec<u8> {
    // Room for the worst case (nine bits a byte, and the flush), so that one call does it all and the bytes cannot
    // depend on how the output was cut.
    let mut bytes = Vec::with_capacity(COMMA.len() + text.len() + text.len() / 8 + 1024);
    bytes.extend_from_slice(&COMMA);
    let mut deflate = Compress::new(Compression::new(LEVEL), false);
    let deflated = deflate.compress_vec(text, &mut bytes, FlushCompress::Full);
    deflated.expect("compressing into memory with a fresh dictionary cannot fail");
    assert!(
        deflate.total_in() == text.len() as u64 && bytes.len() < bytes.capacity(),
        "the worst case has room"
    );
    bytes
}

fn etag(form: &str, head: &[u8], parts: &[Part]) -> String {
    let mut key = Vec::with_capacity(64 + 16 * parts.len());
    key.extend_from_slice(form.as_bytes());
    key.extend_from_slice(&ENCODER_VERSION.to_le_bytes());
    key.extend_from_slice(head);
    for part in parts {
        key.extend_from_slice(&part.hash.to_le_bytes());
    }
    format!("\"{:032x}\"", xxh3_128(&key))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read;

    use flate2::bufread::GzDecoder;
    use proptest::prelude::*;

    use super::*;
    use crate::domain::effort::{Effort, INTEGER_MAX, Output, RacerId};

    const CLASS: ClassId = ClassId::new(1).expect("1 is not 0");

    fn effort(second: u32, racer: u64, output: f64) -> Effort {
        let output = Output::new(output).expect("finite and not negative");
        Effort {
            class: CLASS,
            second: Second(second),
            racer: RacerId(racer),
            output,
            race: None,
            time: 0,
        }
    }

    fn table_of(efforts: &[Effort]) -> Table {
        let table = Table::new(1);
        for effort in efforts {
            table.merge(&[*effort], 0);
        }
        table
    }

    fn built(table: &Table) -> History {
        History::build(table, CLASS, &History::empty(0), 0)
    }

    fn file(history: &History) -> Vec<u8> {
        history.chunks().collect::<Vec<_>>().concat()
    }

    /// Gunzips one member and insists that nothing follows it.
    fn gunzip(file: &[u8]) -> String {
        let mut decoder = GzDecoder::new(file);
        let mut text = String::new();
        decoder.read_to_string(&mut text).expect("a gzip member");
        assert_eq!(decoder.into_inner(), b"", "bytes after the member");
        text
    }

    /// The dataset's text, written the slow way.
    fn naive(efforts: &[Effort]) -> String {
        let mut seconds: BTreeMap<u32, BTreeMap<u64, f64>> = BTreeMap::new();
        for effort in efforts {
            let best = seconds
                .entry(effort.second.0)
                .or_default()
                .entry(effort.racer.0)
                .or_insert(0.0);
            *best = best.max(effort.output.get());
        }
        let second = |(second, racers): (_, BTreeMap<_, _>)| {
            let racer = |(id, best)| format!("\"{id}\":{}", ryu_js::Buffer::new().format(best));
            format!(
                "\"{second}\":{{{}}}",
                racers.into_iter().map(racer).collect::<Vec<_>>().join(",")
            )
        };
        format!(
            "{{{}}}",
            seconds
                .into_iter()
                .map(second)
                .collect::<Vec<_>>()
                .join(",")
        )
    }

    fn read(file: &[u8]) -> Vec<Effort> {
        let stored = StoredHistory::open(file).expect("a gzip header");
        stored
            .read(Second(600))
            .expect("a history")
            .efforts(CLASS)
            .collect()
    }

    fn outputs() -> impl Strategy<Value = f64> {
        prop_oneof![
            prop::sample::select(vec![
                0.0,
                5e-324,
                0.1 + 0.2,
                1e-7,
                1e-6,
                552.75,
                1e21,
                f64::MAX
            ]),
            (0u32..=300, 0u32..=100)
                .prop_map(|(c, r)| Output::of(c.into(), r.into()).expect("in bounds").get()),
            (0..f64::INFINITY.to_bits()).prop_map(f64::from_bits),
        ]
    }

    fn efforts() -> impl Strategy<Value = Vec<Effort>> {
        let racers = prop_oneof![0u64..20, Just(INTEGER_MAX), 0..=INTEGER_MAX];
        prop::collection::vec((0u32..12, racers, outputs()), 0..120).prop_map(|efforts| {
            efforts
                .into_iter()
                .map(|(s, r, o)| effort(s, r, o))
                .collect()
        })
    }

    proptest! {
        #[test]
        fn the_file_is_one_gzip_member_of_the_plainly_written_text(efforts in efforts()) {
            let history = built(&table_of(&efforts));
            let file = file(&history);
            let text = naive(&efforts);
            prop_assert_eq!(&gunzip(&file), &text);
            prop_assert_eq!(history.text().collect::<Vec<_>>().concat(), text.as_bytes());
            prop_assert_eq!(history.len(), file.len() as u64);
            prop_assert_eq!(history.text_len(), text.len() as u64);
        }

        #[test]
        fn what_is_read_back_is_the_state_bit_for_bit(efforts in efforts()) {
            let table = table_of(&efforts);
            let history = built(&table);
            let again = Table::new(1);
            again.merge(&read(&file(&history)), 0);
            prop_assert_eq!(again.summary(CLASS).state_hash, table.summary(CLASS).state_hash);
            prop_assert_eq!(again.summary(CLASS).efforts, table.summary(CLASS).efforts);
            prop_assert_eq!(file(&built(&again)), file(&history));
        }

        #[test]
        fn the_order_of_merging_and_of_building_leaves_no_trace(
            (efforts, permuted) in
                efforts().prop_flat_map(|efforts| (Just(efforts.clone()), Just(efforts).prop_shuffle())),
            cut in 0usize..120,
        ) {
            let at_once = built(&table_of(&efforts));
            let table = table_of(&permuted[..cut.min(permuted.len())]);
            let first = built(&table);
            table.merge(&permuted, 0);
            let second = History::build(&table, CLASS, &first, 0);
            prop_assert_eq!(file(&second), file(&at_once));
            prop_assert_eq!(second.etag(), at_once.etag());
            prop_assert_eq!(second.text_etag(), at_once.text_etag());
        }
    }

    #[test]
    fn an_improvement_makes_one_part_anew_and_copies_no_other() {
        let efforts: Vec<_> = (0..30)
            .flat_map(|second| (0..50).map(move |racer| effort(second, racer, 100.0)))
            .collect();
        let table = table_of(&efforts);
        let before = built(&table);
        table.merge(&[effort(7, 3, 100.5), effort(8, 3, 99.0)], 0);
        let after = History::build(&table, CLASS, &before, 0);
        let places = before.chunks().zip(after.chunks()).enumerate();
        let moved: Vec<_> = places
            .filter(|(_, (a, b))| a.as_ptr() != b.as_ptr())
            .map(|(place, _)| place)
            .collect();
        assert_eq!(moved, [0, 8, 31], "the head, second 7, the checksum");
        assert_ne!(before.etag(), after.etag());
        assert_ne!(before.text_etag(), after.text_etag());
    }

    #[test]
    fn what_is_held_of_earlier_histories_is_counted_until_the_last_piece_is_gone() {
        let table = table_of(&[effort(0, 1, 1.0), effort(1, 1, 1.0)]);
        let before = built(&table);
        assert_eq!(before.outdated_bytes(), 0);
        table.merge(&[effort(1, 1, 2.0)], 0);
        let after = History::build(&table, CLASS, &before, 0);
        let part = before.part(Second(1)).expect("ridden").bytes.len() as u64;
        assert_eq!(after.outdated_bytes(), part);
        let piece = before.chunks().nth(2).expect("second 1").slice(1..2);
        drop(before);
        assert_eq!(after.outdated_bytes(), part);
        drop(piece);
        assert_eq!(after.outdated_bytes(), 0);
    }

    #[test]
    fn a_history_names_the_version_that_it_holds_for_certain() {
        let table = table_of(&[effort(0, 1, 1.0), effort(1, 1, 1.0)]);
        assert_eq!(built(&table).built_at(), table.version(CLASS));
        assert_eq!(History::empty(0).built_at(), 0);
    }

    #[test]
    fn an_erased_second_is_gone_and_comes_back_as_it_was() {
        let table = table_of(&[effort(0, 1, 1.0), effort(1, 1, 2.0), effort(2, 2, 3.0)]);
        let before = built(&table);
        table.erase(CLASS, RacerId(1), Second(0)..=Second(9), None, 0);
        let erased = History::build(&table, CLASS, &before, 1);
        assert_eq!(gunzip(&file(&erased)), r#"{"2":{"2":3}}"#);
        table.merge(&[effort(0, 1, 1.0), effort(1, 1, 2.0)], 0);
        assert_eq!(
            file(&History::build(&table, CLASS, &erased, 0)),
            file(&before)
        );
    }

    #[test]
    fn the_erasure_version_stands_in_the_header_and_the_etag_but_not_in_the_text() {
        let table = table_of(&[effort(0, 1, 1.0)]);
        let before = built(&table);
        let after = History::build(&table, CLASS, &before, 0x0102_0304_0506_0708);
        let stored = |history: &History| {
            StoredHistory::open(&file(history))
                .expect("a header")
                .erasure_version()
        };
        assert_eq!(
            (stored(&before), stored(&after)),
            (0, 0x0102_0304_0506_0708)
        );
        assert_eq!(after.erasure_version(), 0x0102_0304_0506_0708);
        assert_ne!(before.etag(), after.etag());
        assert_eq!(before.text_etag(), after.text_etag());
        assert_eq!(gunzip(&file(&before)), gunzip(&file(&after)));
    }

    #[test]
    fn no_effort_is_an_empty_object() {
        let history = built(&Table::new(1));
        assert!(history.is_empty());
        assert_eq!(gunzip(&file(&history)), "{}");
        assert_eq!(history.text().collect::<Vec<_>>().concat(), b"{}");
        assert_eq!(history.etag(), History::empty(0).etag());
        assert_eq!(read(&file(&history)), []);
    }

    /// A change of these bytes changes what ETags stand for: raise [`ENCODER_VERSION`] with it.
    #[test]
    fn equal_states_give_the_bytes_they_always_gave() {
        let small = built(&table_of(&[
            effort(0, 17, 187.25),
            effort(0, 9, 150.0),
            effort(60, 17, 0.1 + 0.2),
        ]));
        let bytes: String = file(&small)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(
            bytes,
            "1f8b08040000000000ff0c004143080000000000000000000001\
             00feff7b523250b2aa56b254b2323435d051323457b232b430d73332ad05000000ffff000100feff2c52323350b2aa56\
             323457b232d03336400526b500000000ffff010100feff7d188924573b000000"
        );

        // Long enough for several deflate blocks and for matches at the far end of the window.
        let table = Table::new(1);
        let mut random: u32 = 1;
        for second in 0..3 {
            let ride = |racer: u64| {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223); // Numerical Recipes' generator
                let output = Output::of((random >> 24).into(), (random >> 16 & 63).into())
                    .expect("in bounds")
                    .get();
                effort(second, racer * racer, output)
            };
            table.merge(&(0..20_000).map(ride).collect::<Vec<_>>(), 0);
        }
        let large = History::build(&table, CLASS, &History::empty(0), 7);
        assert_eq!((large.text_len(), large.len()), (1_056_126, 457_254));
        assert_eq!(
            format!("{:032x}", xxh3_128(&file(&large))),
            "d17a5cf2d64595e1880572608bdf9af4"
        );
        assert_eq!(large.etag(), "\"7a41423e5d0de4012bcafefb7ef2c97c\"");
        assert_eq!(large.text_etag(), "\"d8d2ec9388c3f76d23d0528f049b1737\"");
    }
}
