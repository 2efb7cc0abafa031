//! Content negotiation by the weighted lists of `Accept` and `Accept-Encoding` (RFC 9110, 12.4.2 and 12.5).

use axum::http::{HeaderMap, HeaderName, header};

/// A weight in thousandths: the grammar allows three digits.
type Weight = u16;

const WEIGHT_MAX: Weight = 1000;

/// Returns whether CSV is preferred to JSON.
pub(crate) fn wants_csv(headers: &HeaderMap) -> bool {
    let json = ["application/json", "application/*", "*/*"];
    prefers(headers, ["text/csv", "text/*", "*/*"], json)
}

/// Returns whether HTML is preferred to plain text. Browsers name it; curl accepts `*/*`.
pub(crate) fn wants_html(headers: &HeaderMap) -> bool {
    let plain = ["text/plain", "text/*", "*/*"];
    prefers(headers, ["text/html", "text/*", "*/*"], plain)
}

/// The names of gzip and of plain bytes in `Accept-Encoding`, the most specific first.
const GZIP: &[&str] = &["gzip", "x-gzip", "*"];
const IDENTITY: &[&str] = &["identity", "*"];

/// Returns whether gzip may be sent, and has at least the weight of plain bytes.
pub(crate) fn wants_gzip(headers: &HeaderMap) -> bool {
    let gzip = coding_weight(headers, GZIP);
    gzip > 0 && gzip >= coding_weight(headers, IDENTITY)
}

/// Returns whether brotli may be sent, and has at least the weight of gzip and of plain bytes.
pub(crate) fn wants_brotli(headers: &HeaderMap) -> bool {
    let brotli = coding_weight(headers, &["br", "*"]);
    let is_at_least = |names| brotli >= coding_weight(headers, names);
    brotli > 0 && is_at_least(GZIP) && is_at_least(IDENTITY)
}

/// Returns the weight of a content coding, given as its names, the most specific first.
fn coding_weight(headers: &HeaderMap, names: &[&str]) -> Weight {
    let mut weights = names.iter();
    weights
        .find_map(|name| weight(headers, header::ACCEPT_ENCODING, name))
        .unwrap_or(0)
}

/// Compares two media types, each given as the ranges that match it, the most specific first. The
/// most specific range decides a type's weight. At equal weights the more specific range wins, so
/// that `text/csv, */*` is CSV.
fn prefers(headers: &HeaderMap, wanted: [&str; 3], default: [&str; 3]) -> bool {
    let preference = |ranges: [&str; 3]| {
        let mut ranges = ranges.into_iter().zip([2, 1, 0]);
        let found = ranges.find_map(|(range, specificity)| {
            Some((weight(headers, header::ACCEPT, range)?, specificity))
        });
        found.unwrap_or_default()
    };
    let wanted = preference(wanted);
    wanted.0 > 0 && wanted > preference(default)
}

/// Returns the weight that a header gives to a name; `None` where it does not name it.
fn weight(headers: &HeaderMap, header: HeaderName, name: &str) -> Option<Weight> {
    let lists = headers.get_all(header).into_iter();
    let lists = lists.filter_map(|list| list.to_str().ok());
    lists.flat_map(|list| list.split(',')).find_map(|item| {
        let mut parts = item.split(';').map(str::trim);
        if !parts.next()?.eq_ignore_ascii_case(name) {
            return None;
        }
        let weight =
            parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        Some(weight.map_or(WEIGHT_MAX, |weight| {
            let share: f64 = weight.parse().unwrap_or(0.0); // an invalid weight is not a wish
            (share.clamp(0.0, 1.0) * f64::from(WEIGHT_MAX)).round() as Weight
        }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn gzip_needs_at_least_the_weight_of_identity() {
        let wants = |value| wants_gzip(&headers(header::ACCEPT_ENCODING, value));
        for value in [
            "gzip",
            "x-gzip",
            "br, GZIP;q=0.1",
            "*",
            "gzip, identity",
            "deflate, gzip ; q=1.0",
            "identity;q=0, *",
        ] {
            assert!(wants(value), "{value}");
        }
        for value in [
            "",
            "identity",
            "gzip;q=0",
            "br",
            "gzip;q=0.5, identity",
            "gzip;q=0, *",
            "*;q=0",
            "gzip;q=x",
        ] {
            assert!(!wants(value), "{value}");
        }
        assert!(!wants_gzip(&HeaderMap::new()));
    }

    #[test]
    fn brotli_needs_at_least_the_weight_of_others() {
        let wants = |value| wants_brotli(&headers(header::ACCEPT_ENCODING, value));
        for value in ["br", "gzip, deflate, br", "*", "gzip;q=0.5, BR;q=0.5"] {
            assert!(wants(value), "{value}");
        }
        for value in ["", "gzip", "br;q=0", "br;q=0.5, gzip", "br;q=0.5, identity"] {
            assert!(!wants(value), "{value}");
        }
    }

    #[test]
    fn csv_and_html_must_be_preferred() {
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8";
        assert!(wants_html(&headers(header::ACCEPT, browser)));
        for value in [
            "*/*",
            "text/*",
            "text/plain",
            "text/html;q=0",
            "application/json",
        ] {
            assert!(!wants_html(&headers(header::ACCEPT, value)), "{value}");
        }
        for (value, csv) in [
            ("text/csv", true),
            ("text/csv, */*", true),
            ("application/json;q=0.5, text/csv", true),
            ("application/json, text/csv", false),
            ("text/csv;q=0.1, */*", false),
            ("*/*", false),
            ("text/*", true),
            ("text/*, application/json", false),
            ("application/*, text/csv;q=0.9", false),
            ("text/csv;q=0", false),
        ] {
            assert_eq!(wants_csv(&headers(header::ACCEPT, value)), csv, "{value}");
        }
    }
}
