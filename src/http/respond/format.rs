//! The formats of a response: JSON, formatted for people on request, and CSV of whatever has rows.

use std::borrow::Cow;
use std::collections::HashMap;

use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::IntoParams;

use crate::http::extract::accept;
use crate::http::extract::query::Param;
use crate::http::extract::values::{PrettyParam, choices};
use crate::http::respond::conditional::insert;

/// Initial capacity for JSON, in bytes: a page of 50 rows fits, so most responses never reallocate.
const JSON_CAPACITY_BYTES: usize = 4 << 10;

/// The media type of JSON.
pub(crate) const JSON: &str = "application/json";

/// The format of a list.
#[derive(Clone, Copy)]
pub(crate) enum ListFormat {
    Json,
    Csv,
}

/// The `format` parameter.
pub(crate) type FormatParam = Param<ListFormat>;

/// The query parameters of a list that has no others.
#[derive(Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListParams {
    /// `json` or `csv`; without it, the format that `Accept` prefers.
    #[param(inline)]
    format: FormatParam,
    /// Format the JSON for people.
    #[param(inline)]
    pretty: PrettyParam,
}

/// The query parameters of JSON that is not a list.
#[derive(Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct JsonParams {
    /// Format the JSON for people.
    #[param(inline)]
    pub(crate) pretty: PrettyParam,
}

/// The format of a response.
#[derive(Clone, Copy)]
pub(crate) enum ResponseFormat {
    Json {
        /// Whether it is formatted for people.
        pretty: bool,
    },
    /// A header and rows of cells (RFC 4180).
    Csv,
}

impl ListParams {
    /// Returns the format of the response.
    pub(crate) fn format(&self, headers: &HeaderMap) -> ResponseFormat {
        ResponseFormat::negotiate(self.format, self.pretty, headers)
    }
}

choices!(ListFormat, "json or csv", { "json" => ListFormat::Json, "csv" => ListFormat::Csv });

/// A response that has rows.
pub(crate) trait Rows: Serialize {
    /// Returns the names of the columns: fields of the rows.
    fn columns(&self) -> Vec<&'static str>;
    /// Returns the rows, each an object. A column without a field is an empty cell.
    fn rows(&self) -> impl Iterator<Item = impl Serialize>;
}

/// A row of a list.
pub(crate) trait Row: Serialize {
    /// The names of its columns.
    const COLUMNS: &[&str];
}

impl<T: Row> Rows for Vec<T> {
    fn columns(&self) -> Vec<&'static str> {
        T::COLUMNS.to_vec()
    }

    fn rows(&self) -> impl Iterator<Item = impl Serialize> {
        self.iter()
    }
}

impl ResponseFormat {
    /// Returns what `format` says, or else what `Accept` prefers.
    pub(crate) fn negotiate(format: FormatParam, pretty: PrettyParam, headers: &HeaderMap) -> Self {
        Self::new(format, pretty, accept::wants_csv(headers))
    }

    /// Returns what `format` says, or else what the client prefers.
    pub(crate) fn new(format: FormatParam, pretty: PrettyParam, wants_csv: bool) -> Self {
        match format.0 {
            Some(ListFormat::Csv) => Self::Csv,
            None if wants_csv => Self::Csv,
            _ => Self::Json {
                pretty: pretty.0.unwrap_or_default(),
            },
        }
    }

    /// Responds with rows.
    pub(crate) fn respond(self, rows: &impl Rows) -> Response {
        let mut response = respond(self.content_type(), self.text(rows));
        insert(response.headers_mut(), header::VARY, "accept");
        response
    }

    /// Returns the text of rows.
    pub(crate) fn text(self, rows: &impl Rows) -> Bytes {
        match self {
            Self::Json { pretty } => json_text(rows, pretty).into(),
            Self::Csv => csv_text(rows).into(),
        }
    }

    /// Returns the media type.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Json { .. } => JSON,
            Self::Csv => "text/csv; charset=utf-8; header=present",
        }
    }
}

/// Responds with JSON.
pub(crate) fn json(value: &impl Serialize, pretty: PrettyParam) -> Response {
    respond(JSON, json_text(value, pretty.0.unwrap_or_default()).into())
}

/// Returns JSON.
pub(crate) fn json_text(value: &impl Serialize, pretty: bool) -> Vec<u8> {
    let mut text = Vec::with_capacity(JSON_CAPACITY_BYTES);
    let written = if pretty {
        serde_json::to_writer_pretty(&mut text, value).map(|()| text.push(b'\n'))
    } else {
        serde_json::to_writer(&mut text, value)
    };
    written.expect("responses have string keys and finite numbers");
    text
}

fn respond(content_type: &'static str, text: Bytes) -> Response {
    // The next response may differ a millisecond later, and a delivery must be visible at once.
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}

/// Writes a header and rows (RFC 4180). Cells are not escaped for spreadsheets, where a leading `=`
/// starts a formula: a program must read a name back as it is.
fn csv_text(rows: &impl Rows) -> Vec<u8> {
    let columns = rows.columns();
    let mut csv = csv::WriterBuilder::new()
        .terminator(csv::Terminator::CRLF)
        .from_writer(Vec::new());
    csv.write_record(&columns).expect(TO_MEMORY);
    for row in rows.rows() {
        // Numbers are printed as in JSON.
        let row = json_text(&row, false);
        let cells: HashMap<&str, &RawValue> =
            serde_json::from_slice(&row).expect("rows are objects");
        for column in &columns {
            csv.write_field(&*cell(cells.get(column).copied()))
                .expect(TO_MEMORY);
        }
        csv.write_record(None::<&[u8]>).expect(TO_MEMORY);
    }
    csv.into_inner().expect(TO_MEMORY)
}

const TO_MEMORY: &str = "a vector accepts every byte, and rows have as many cells as columns";

/// Returns the text of a JSON value that is not an array or an object; empty for null and `None`.
fn cell(value: Option<&RawValue>) -> Cow<'_, str> {
    match value.map(RawValue::get) {
        None | Some("null") => Cow::Borrowed(""),
        Some(text) if text.starts_with('"') => {
            Cow::Owned(serde_json::from_str(text).expect("the text is JSON"))
        }
        Some(text) => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Name(Vec<(&'static str, &'static str)>);

    impl Rows for Name {
        fn columns(&self) -> Vec<&'static str> {
            self.0.iter().map(|(column, _)| *column).collect()
        }

        fn rows(&self) -> impl Iterator<Item = impl Serialize> {
            std::iter::once(self.0.iter().copied().collect::<HashMap<_, _>>())
        }
    }

    #[test]
    fn cells_with_separators_are_quoted() {
        let cell = |cell| {
            let text = csv_text(&Name(vec![("a", "1"), ("name", cell)]));
            let text = String::from_utf8(text).unwrap();
            let cell = text.strip_prefix("a,name\r\n1,").unwrap();
            cell.strip_suffix("\r\n").unwrap().to_owned()
        };
        assert_eq!(
            ["Hub", "", "a,b", "say \"hi\"", "two\nlines"].map(cell),
            ["Hub", "", "\"a,b\"", "\"say \"\"hi\"\"\"", "\"two\nlines\""]
        );
    }
}
