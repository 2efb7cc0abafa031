//! gzip in memory, for the network and the store alike. Pure.
//!
//! Decompression has a limit: a few bytes of gzip can expand to gigabytes.

use std::io::{self, Read, Write};

use flate2::bufread::MultiGzDecoder;
use flate2::{Compression, GzBuilder};

/// The first bytes of gzip data.
pub const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// An error of [`gunzip`].
#[derive(Debug, thiserror::Error)]
pub enum GunzipError {
    /// The data is not gzip, is damaged, or is truncated.
    #[error("invalid gzip data: {0}")]
    Invalid(io::Error),
    /// The result exceeds this limit in bytes.
    #[error("the data is over {0} bytes when gunzipped")]
    TooLarge(usize),
}

/// Decompresses data of one or several gzip members to at most `bytes_max` bytes.
pub fn gunzip(data: &[u8], bytes_max: usize) -> Result<Vec<u8>, GunzipError> {
    let mut plain = Vec::new();
    gunzip_into(data, &mut plain, bytes_max)?;
    Ok(plain)
}

/// Decompresses like [`gunzip`] and appends the result to `plain`. After an error, `plain` contains
/// the data before the fault, or a byte over the limit.
pub(crate) fn gunzip_into(
    data: &[u8],
    plain: &mut Vec<u8>,
    bytes_max: usize,
) -> Result<(), GunzipError> {
    let mut decoder = MultiGzDecoder::new(data).take(bytes_max as u64 + 1);
    let length = decoder.read_to_end(plain).map_err(GunzipError::Invalid)?;
    if length > bytes_max {
        Err(GunzipError::TooLarge(bytes_max))
    } else {
        Ok(())
    }
}

/// Compresses data to one gzip member, at the fastest level.
pub fn gzip(data: &[u8]) -> Vec<u8> {
    compress(GzBuilder::new(), data, Compression::fast())
}

/// Compresses data like [`gzip`], with an extra field in the header (RFC 1952, 2.3.1.1).
pub(crate) fn gzip_with_extra_field(data: &[u8], field: impl Into<Vec<u8>>) -> Vec<u8> {
    compress(GzBuilder::new().extra(field), data, Compression::fast())
}

/// Compresses data to the smallest gzip member, for data that is compressed once and sent often.
pub(crate) fn gzip_smallest(data: &[u8]) -> Vec<u8> {
    compress(GzBuilder::new(), data, Compression::best())
}

fn compress(header: GzBuilder, data: &[u8], level: Compression) -> Vec<u8> {
    // The text of records compresses to a sixth; a longer result grows the vector once.
    let mut encoder = header.write(Vec::with_capacity(data.len() / 5), level);
    encoder
        .write_all(data)
        .and_then(|()| encoder.finish())
        .expect("writing to a vector succeeds")
}

/// Returns the extra field of the first member's header; `None` without one, and for data that is
/// not gzip.
pub(crate) fn extra_field(data: &[u8]) -> Option<Vec<u8>> {
    MultiGzDecoder::new(data).header()?.extra().map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_members_decompress_up_to_the_limit() {
        let data = [gzip(b"ab"), gzip_smallest(b"cd")].concat();
        assert_eq!(gunzip(&data, 4).expect("gzip"), b"abcd");
        assert!(matches!(gunzip(&data, 3), Err(GunzipError::TooLarge(3))));
    }

    #[test]
    fn invalid_gzip_is_an_error() {
        let data = gzip(b"abcd");
        for invalid in [b"plain", &data[..data.len() - 3]] {
            assert!(matches!(gunzip(invalid, 9), Err(GunzipError::Invalid(_))));
        }
    }

    #[test]
    fn extra_field_is_read_from_the_header() {
        let data = gzip_with_extra_field(b"text", b"field");
        assert_eq!(extra_field(&data).as_deref(), Some(&b"field"[..]));
        assert_eq!(gunzip(&data, 4).expect("gzip"), b"text");
        assert_eq!(extra_field(&gzip(b"text")), None);
        assert_eq!(extra_field(b"plain"), None);
    }
}
