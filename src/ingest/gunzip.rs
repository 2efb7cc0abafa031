//! Gunzips data from outside, with a limit on the result: a few bytes of gzip can expand to
//! gigabytes.

use std::io::{self, Read};

use flate2::read::MultiGzDecoder;

/// The first bytes of gzip data.
pub const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// An error of [`gunzip`].
#[derive(Debug, thiserror::Error)]
pub enum GunzipError {
    /// The data is not gzip, is damaged, or is cut short.
    #[error("invalid gzip data: {0}")]
    Invalid(io::Error),
    /// The result exceeds this limit, in bytes.
    #[error("the data is over {0} bytes when gunzipped")]
    TooLarge(usize),
}

/// Gunzips `data`, which has one or several gzip members, to at most `bytes_max` bytes.
pub fn gunzip(data: &[u8], bytes_max: usize) -> Result<Vec<u8>, GunzipError> {
    let mut plain = Vec::new();
    gunzip_into(data, &mut plain, bytes_max)?;
    Ok(plain)
}

/// Appends the gunzipped data to `plain`, as [`gunzip`] does. After an error, `plain` holds what
/// came before the fault, or a byte over the limit.
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

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(data).expect("in memory");
        encoder.finish().expect("in memory")
    }

    #[test]
    fn several_members_gunzip_up_to_the_limit() {
        let data = [gzip(b"ab"), gzip(b"cd")].concat();
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
}
