//! Parsers of option values. Their errors say what a value must be.

use std::net::{SocketAddr, ToSocketAddrs};
use std::ops::RangeInclusive;
use std::time::Duration;

use bytesize::ByteSize;

/// Parses `HOST:PORT`, or `:PORT` for all IPv4 addresses. A name is looked up; its first IPv4
/// address is preferred, as the default address is one.
pub(crate) fn socket_address(text: &str) -> Result<SocketAddr, String> {
    const EXPECTED: &str = "it must be HOST:PORT or :PORT, such as localhost:8080";
    let (host, port) = text.rsplit_once(':').ok_or(EXPECTED)?;
    if port.parse::<u16>().is_err() {
        return Err(EXPECTED.to_owned());
    }
    let text = match host {
        "" => format!("0.0.0.0:{port}"),
        _ => text.to_owned(),
    };
    let addresses: Vec<SocketAddr> = text
        .to_socket_addrs()
        .map_err(|error| format!("cannot look up {host}: {error}; {EXPECTED}"))?
        .collect();
    let ipv4 = addresses.iter().find(|address| address.is_ipv4());
    ipv4.or(addresses.first())
        .copied()
        .ok_or_else(|| format!("{host} has no address"))
}

/// Parses the ARN of a delivery stream. Spaces around it are dropped: lists are often written with
/// some.
pub(crate) fn stream_arn(text: &str) -> Result<String, &'static str> {
    const ACCOUNT_DIGITS: usize = 12;
    let arn = text.trim();
    let is_name = |name: &str, others: &[u8]| {
        let is_in_name = |byte: u8| byte.is_ascii_alphanumeric() || others.contains(&byte);
        !name.is_empty() && name.bytes().all(is_in_name)
    };
    let is_arn = match arn.splitn(6, ':').collect::<Vec<_>>()[..] {
        ["arn", partition, "firehose", region, account, stream] => {
            let is_account = account.bytes().all(|byte| byte.is_ascii_digit());
            let stream = stream.strip_prefix("deliverystream/");
            is_name(partition, b"-")
                && is_name(region, b"-")
                && is_account
                && account.len() == ACCOUNT_DIGITS
                && stream.is_some_and(|name| is_name(name, b"_.-"))
        }
        _ => false,
    };
    if is_arn {
        Ok(arn.to_owned())
    } else {
        Err("it must be the whole ARN of a delivery stream, such as \
             arn:aws:firehose:us-east-1:123456789012:deliverystream/rides")
    }
}

/// Lengths of a bucket's name. Names of old buckets have up to 255 characters.
const BUCKET_NAME_LENGTHS: RangeInclusive<usize> = 3..=255;

/// Parses the name of a bucket. Spaces around it are dropped.
pub(crate) fn bucket_name(text: &str) -> Result<String, &'static str> {
    let name = text.trim();
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let is_bounded = name.starts_with(|char: char| char.is_ascii_alphanumeric())
        && name.ends_with(|char: char| char.is_ascii_alphanumeric());
    let is_long = BUCKET_NAME_LENGTHS.contains(&name.len());
    if is_long && is_bounded && name.bytes().all(is_name) && !name.contains("..") {
        Ok(name.to_owned())
    } else {
        Err("it must be a bucket's name alone, such as my-delivery-bucket: no s3://, no path")
    }
}

/// Parses a duration such as `250ms` or `2s`, from `MIN_MS` to `MAX_MS` milliseconds.
pub(crate) fn duration<const MIN_MS: i64, const MAX_MS: i64>(
    text: &str,
) -> Result<Duration, String> {
    use jiff::SignedDuration;
    let min = SignedDuration::from_millis(MIN_MS);
    let max = SignedDuration::from_millis(MAX_MS);
    let parsed = text.parse::<SignedDuration>().ok();
    parsed
        .filter(|duration| (min..=max).contains(duration))
        .and_then(|duration| Duration::try_from(duration).ok())
        .ok_or_else(|| {
            format!("it must be a duration from {min:#} to {max:#}, written as 250ms, 2s or 36h")
        })
}

/// Parses a size such as `100MiB`, from 1 KiB to 1 GiB.
pub(crate) fn max_body_size(text: &str) -> Result<ByteSize, String> {
    size(text, ByteSize::kib(1), ByteSize::gib(1))
}

/// Parses a size such as `100MiB`, from `min` to `max`.
pub(crate) fn size(text: &str, min: ByteSize, max: ByteSize) -> Result<ByteSize, String> {
    let size = text.parse::<ByteSize>().ok();
    let size = size.filter(|size| (min..=max).contains(size));
    size.ok_or_else(|| {
        format!("it must be a size from {min} to {max}, written as 512KiB or 100MiB")
    })
}
