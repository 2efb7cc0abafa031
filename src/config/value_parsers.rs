//! Parsers of option values. Their errors say what a value must be.

use std::net::{SocketAddr, ToSocketAddrs};
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
    let arn = text.trim();
    if arn.starts_with("arn:") && !arn.contains(char::is_whitespace) {
        Ok(arn.to_owned())
    } else {
        Err(
            "it must be an ARN, such as arn:aws:firehose:us-east-1:123456789012:deliverystream/rides",
        )
    }
}

/// Parses the name of a bucket. Spaces around it are dropped.
pub(crate) fn bucket_name(text: &str) -> Result<String, &'static str> {
    let name = text.trim();
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if !name.is_empty() && name.bytes().all(is_name) {
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
    let duration: SignedDuration = text
        .parse()
        .map_err(|error| format!("{error}: it must be a duration such as 250ms or 2s"))?;
    let min = SignedDuration::from_millis(MIN_MS);
    let max = SignedDuration::from_millis(MAX_MS);
    Duration::try_from(duration)
        .ok()
        .filter(|_| (min..=max).contains(&duration))
        .ok_or_else(|| format!("it must be from {min:#} to {max:#}"))
}

/// Parses a size such as `100MiB`, from 1 KiB to 1 GiB.
pub(crate) fn max_body_size(text: &str) -> Result<ByteSize, String> {
    let size: ByteSize = text.parse()?;
    let (min, max) = (ByteSize::kib(1), ByteSize::gib(1));
    if (min..=max).contains(&size) {
        Ok(size)
    } else {
        Err(format!("it must be from {min} to {max}"))
    }
}
