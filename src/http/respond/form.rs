//! The forms of an answer: JSON, laid out for people where they ask for it, and CSV wherever there are rows.

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use crate::http::error::ApiError;
use crate::http::extract::accept;
use crate::http::extract::params::Params;

/// MemoryBudget for a page of 50 rows, in bytes: most answers are written without moving.
const ANSWER_BYTES: usize = 4 << 10;

/// The form that is asked for.
#[derive(Clone, Copy)]
pub(crate) enum Form {
    /// JSON.
    Json {
        /// Over several lines.
        pretty: bool,
    },
    /// A header and rows with commas between the cells (RFC 4180).
    Csv,
}

/// What can be told in rows.
pub(crate) trait Rows: Serialize {
    /// The names of the columns.
    fn columns(&self) -> Vec<&'static str>;
    /// The cells of every row, in the order of the columns; empty where there is nothing.
    fn rows(&self) -> impl Iterator<Item = Vec<String>>;
}

impl Form {
    /// Takes `format`, or else `Accept`, and `pretty`.
    pub(crate) fn take(params: &mut Params, headers: &HeaderMap) -> Result<Self, ApiError> {
        let csv = params.take("format", "json or csv", |text| match text {
            "json" => Some(false),
            "csv" => Some(true),
            _ => None,
        })?;
        let pretty = params.pretty()?;
        let csv = csv.unwrap_or_else(|| accept::wants_csv(headers));
        Ok(if csv {
            Self::Csv
        } else {
            Self::Json { pretty }
        })
    }

    /// Responds with rows in this form.
    pub(crate) fn of(self, rows: &impl Rows) -> Response {
        let text = match self {
            Self::Json { pretty } => json_text(rows, pretty).into(),
            Self::Csv => csv(rows).into(),
        };
        let kind = match self {
            Self::Json { .. } => "application/json",
            Self::Csv => "text/csv; charset=utf-8; header=present",
        };
        let mut response = respond(kind, text);
        response
            .headers_mut()
            .insert(header::VARY, HeaderValue::from_static("accept"));
        response
    }
}

/// An answer as JSON.
pub(crate) fn json(value: &impl Serialize, pretty: bool) -> Response {
    respond("application/json", json_text(value, pretty).into())
}

fn json_text(value: &impl Serialize, pretty: bool) -> Vec<u8> {
    let mut text = Vec::with_capacity(ANSWER_BYTES);
    let written = if pretty {
        serde_json::to_writer_pretty(&mut text, value).map(|()| text.push(b'\n'))
    } else {
        serde_json::to_writer(&mut text, value)
    };
    written.expect("answers have string keys and finite numbers");
    text
}

fn respond(kind: &'static str, text: Bytes) -> Response {
    // It may be another answer a millisecond later, and whoever delivered something wants to see it.
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}

/// Cells are as they are: one that begins with `=` is for a spreadsheet's owner to think about, not for a program that
/// reads the name back.
fn csv(rows: &impl Rows) -> String {
    let mut text = rows.columns().join(",");
    text.push_str("\r\n");
    for row in rows.rows() {
        for (place, cell) in row.iter().enumerate() {
            if place > 0 {
                text.push(',');
            }
            push_cell(&mut text, cell);
        }
        text.push_str("\r\n");
    }
    text
}

fn push_cell(text: &mut String, cell: &str) {
    if cell.contains([',', '"', '\r', '\n']) {
        text.push('"');
        text.push_str(&cell.replace('"', "\"\""));
        text.push('"');
    } else {
        text.push_str(cell);
    }
}

/// The form of a list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "tells what `Form` takes")]
pub(crate) struct ListParams {
    /// `json` or `csv`; without it, what `Accept` asks for.
    #[param(inline)]
    format: Option<FormatParam>,
    /// Lay the JSON out for people.
    pretty: Option<bool>,
}

/// A form of an answer.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "tells what `Form` is called on the wire")]
pub(crate) enum FormatParam {
    Json,
    Csv,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_quoted_where_it_must_be() {
        let cell = |cell| {
            let mut text = String::new();
            push_cell(&mut text, cell);
            text
        };
        assert_eq!(
            ["Hub", "", "a,b", "say \"hi\"", "two\nlines"].map(cell),
            ["Hub", "", "\"a,b\"", "\"say \"\"hi\"\"\"", "\"two\nlines\""]
        );
    }
}
