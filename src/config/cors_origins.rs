//! The origins of `--cors-origin`.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The origins whose pages may read the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CorsOrigins {
    /// Every origin: `*`.
    Any,
    /// These, at least one, as browsers write them in the `Origin` header.
    List(Vec<String>),
}

impl FromStr for CorsOrigins {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let origins = text.split(',').map(|origin| parse_origin(origin.trim()));
        origins.collect::<Result<_, _>>().map(Self::List)
    }
}

/// Returns an origin in the form in which browsers send it: in lower case and without its scheme's
/// default port.
fn parse_origin(text: &str) -> Result<String, String> {
    let invalid = |problem: &str| {
        format!(
            "\"{text}\" {problem}: write an origin as https://example.com or \
             http://localhost:5173, or * for all"
        )
    };
    let lower = text.to_ascii_lowercase();
    let Some((scheme, authority)) = lower.split_once("://") else {
        return Err(invalid("has no scheme"));
    };
    if authority.contains(['/', '?', '#']) {
        return Err(invalid("has a path or a slash at its end"));
    }
    let is_scheme = scheme.starts_with(|char: char| char.is_ascii_lowercase())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    if !is_scheme {
        return Err(invalid("has an invalid scheme"));
    }
    // A colon within brackets is an IPv6 address's.
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let ipv6 = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let last_label = host.rsplit('.').next().unwrap_or_default();
    // Browsers write an address in one form.
    let host = match ipv6 {
        Some(address) => {
            let address = address.parse::<Ipv6Addr>().ok();
            address.map(|address| format!("[{address}]"))
        }
        None if last_label.parse::<u64>().is_ok() => {
            let address = host.parse::<Ipv4Addr>().ok();
            address.map(|address| address.to_string())
        }
        None => (!host.is_empty() && host.bytes().all(is_name)).then(|| host.to_owned()),
    };
    let host = host.ok_or_else(|| invalid("has an invalid host"))?;
    match (scheme, port.map(str::parse::<u16>)) {
        (_, Some(Err(_)) | Some(Ok(0))) => Err(invalid("has an invalid port")),
        (_, None) | ("http", Some(Ok(80))) | ("https", Some(Ok(443))) => {
            Ok(format!("{scheme}://{host}"))
        }
        (_, Some(Ok(port))) => Ok(format!("{scheme}://{host}:{port}")),
    }
}
