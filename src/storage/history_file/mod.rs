//! The history of a class as one gzip file, built from parts so that an improvement only costs the
//! work of one second.
//!
//! The dataset `{"<second>":{"<racerId>":output,…},…}` of 40,000 racers is 170 to 300 MB of JSON. A
//! deflate stream can be cut at block boundaries, so the text of each second is compressed on its
//! own and kept until its column changes:
//!
//! ```text
//! gzip header with the erasure version │ stored `{` │ part │ stored `,` │ part │ … │ stored `}`, last │ CRC32 │ length
//! ```
//!
//! The result is a standard gzip file with a single member. It depends only on the state, the
//! erasure version and `ENCODER_VERSION`: equal states give equal bytes on every instance, after
//! any order of merges.

mod build;
mod json;
mod read;
mod read_fast_path;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use crate::domain::effort::ClassId;
use crate::domain::erasure::ErasureVersion;
use crate::state::table::{StateVersion, Table};
use crate::storage::history_file::build::{HistoryFile, HistoryPart};

pub use crate::storage::history_file::json::{Selection, write_second};
pub use crate::storage::history_file::read::{HistoryError, StoredHistory};

/// The compressed dataset of a class. It is immutable, and clones share it.
#[derive(Clone)]
pub struct History(Arc<HistoryFile>);

impl History {
    /// Returns the history without efforts, `{}`.
    pub fn empty(erasure_version: ErasureVersion) -> Self {
        let file = HistoryFile::assemble(Vec::new(), Arc::default(), 0, erasure_version);
        Self(Arc::new(file))
    }

    /// Builds the history of a class's current state. `last` is any earlier history of this class
    /// and table, or an empty one. Its parts are reused where the column did not change.
    pub fn build(
        table: &Table,
        class: ClassId,
        last: &Self,
        erasure_version: ErasureVersion,
    ) -> Self {
        let built_at = table.version(class); // before any column is read
        let mut text = Vec::new();
        let seconds = table.seconds(class).into_iter();
        let parts = seconds.filter_map(|(second, version)| {
            if let Some(part) = last.0.part(second).filter(|part| part.version == version) {
                return Some(part.clone());
            }
            let board = table.board(class, second);
            // An erasure may have emptied the column since it was listed.
            (!board.is_empty())
                .then(|| HistoryPart::build(second, &board, &mut text, &last.0.held_bytes))
        });
        let held_bytes = last.0.held_bytes.clone();
        let file = HistoryFile::assemble(parts.collect(), held_bytes, built_at, erasure_version);
        Self(Arc::new(file))
    }

    /// Returns the class's version when the build began. The history contains everything that was
    /// merged up to it.
    pub(crate) fn built_at(&self) -> StateVersion {
        self.0.built_at
    }

    /// Returns the highest erasure version that concerned the class, as the file's header names it.
    pub fn erasure_version(&self) -> ErasureVersion {
        self.0.erasure_version
    }

    /// Returns true when there are no efforts.
    pub fn is_empty(&self) -> bool {
        self.0.parts.is_empty()
    }

    /// Returns the strong ETag of the gzip file, with its quotes.
    pub fn etag(&self) -> &str {
        &self.0.etag
    }

    /// Returns the strong ETag of the text, with its quotes. It does not depend on the erasure
    /// version.
    pub(crate) fn text_etag(&self) -> &str {
        &self.0.text_etag
    }

    /// Returns the length of the gzip file in bytes.
    pub fn len(&self) -> u64 {
        self.0.len_bytes
    }

    /// Returns the length of the text in bytes.
    pub(crate) fn text_len(&self) -> u64 {
        self.0.text_bytes
    }

    /// Returns the size of parts that are in memory for other histories of the class and not shared
    /// with this one. If this is the newest history, slow readers hold them.
    pub(crate) fn stale_bytes(&self) -> u64 {
        self.0
            .held_bytes
            .load(Ordering::Relaxed)
            .saturating_sub(self.0.parts_bytes)
    }

    /// Returns the length of the longest piece of the text in bytes.
    pub(crate) fn text_piece_len(&self) -> u64 {
        self.0
            .parts
            .iter()
            .map(|part| part.text_bytes + 1)
            .max()
            .unwrap_or(1)
    }

    /// Returns the gzip file in order: a piece per second, and two more. Nothing is copied.
    pub fn chunks(&self) -> impl Iterator<Item = Bytes> + Send + use<> {
        // The iterator holds the pieces but not the history, so each is freed once it is sent.
        let parts: Vec<_> = (0..self.0.parts.len())
            .map(|index| self.0.piece(index))
            .collect();
        std::iter::once(self.0.head.clone())
            .chain(parts)
            .chain(std::iter::once(self.0.tail.clone()))
    }

    /// Returns the text in order: a piece per second, and two more. Each piece is decompressed when
    /// the iterator reaches it.
    pub fn text(&self) -> impl Iterator<Item = Bytes> + Send + use<> {
        let history = self.clone();
        let parts = (0..self.0.parts.len()).map(move |index| history.0.text(index));
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
