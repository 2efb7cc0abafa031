//! What a client would rather have: the weighted lists of `Accept` and `Accept-Encoding` (RFC 9110, 12.4.2 and 12.5).

use axum::http::{HeaderMap, HeaderName, header};

/// A weight in thousandths, as exact as the grammar allows.
type Weight = u16;

const WEIGHT_MAX: Weight = 1000;

/// Whether rows are wanted as CSV: only where it is asked for by name, and JSON is not as welcome.
pub(crate) fn wants_csv(headers: &HeaderMap) -> bool {
    named_before(headers, "text/csv", "application/json")
}

/// Whether a page is wanted rather than text. Browsers ask for HTML by name; curl takes anything.
pub(crate) fn wants_html(headers: &HeaderMap) -> bool {
    named_before(headers, "text/html", "text/plain")
}

/// Whether gzip may be sent, and is not liked less than plain bytes.
pub(crate) fn wants_gzip(headers: &HeaderMap) -> bool {
    let weight = |names: &[&str]| {
        names
            .iter()
            .find_map(|name| weight(headers, header::ACCEPT_ENCODING, name))
    };
    let gzip = weight(&["gzip", "x-gzip", "*"]).unwrap_or(0);
    gzip > 0 && gzip >= weight(&["identity", "*"]).unwrap_or(0)
}

fn named_before(headers: &HeaderMap, name: &str, other: &str) -> bool {
    let weight = |name| weight(headers, header::ACCEPT, name).unwrap_or(0);
    let named = weight(name);
    named > weight(other) && named >= weight("*/*")
}

/// The weight that a header gives to a name; `None` where it does not name it.
fn weight(headers: &HeaderMap, header: HeaderName, name: &str) -> Option<Weight> {
    let lists = headers
        .get_all(header)
        .into_iter()
        .filter_map(|list| list.to_str().ok());
    lists.flat_map(|list| list.split(',')).find_map(|item| {
        let mut parts = item.split(';').map(str::trim);
        if !parts.next()?.eq_ignore_ascii_case(name) {
            return None;
        }
        let weight =
            parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        Some(weight.map_or(WEIGHT_MAX, |weight| {
            let share: f64 = weight.parse().unwrap_or(0.0); // what cannot be read is not wanted
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
    fn gzip_is_sent_to_those_who_like_it_no_less() {
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
    fn csv_and_html_are_sent_when_named() {
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8";
        assert!(wants_html(&headers(header::ACCEPT, browser)));
        for value in ["*/*", "text/plain", "text/html;q=0", "application/json"] {
            assert!(!wants_html(&headers(header::ACCEPT, value)), "{value}");
        }
        for (value, csv) in [
            ("text/csv", true),
            ("text/csv, */*", true),
            ("application/json;q=0.5, text/csv", true),
            ("application/json, text/csv", false),
            ("text/csv;q=0.1, */*", false),
            ("*/*", false),
        ] {
            assert_eq!(wants_csv(&headers(header::ACCEPT, value)), csv, "{value}");
        }
    }
}
