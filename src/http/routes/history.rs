//! A class's dataset over HTTP: whole, in the pieces that are kept ready, or the part that is asked for.
//!
//! The whole is never joined into one buffer: its compressed pieces are sent as they are, or inflated one by one.

use std::io::Write;
use std::ops::RangeInclusive;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use utoipa::IntoParams;
use xxhash_rust::xxh3::xxh3_128;

use crate::domain::effort::{ClassId, RacerId, Second};
use crate::http::error::ApiError;
use crate::http::extract::accept;
use crate::http::extract::params::{Class, Params};
use crate::http::respond::conditional::{Pieces, Representation};
use crate::http::state::{AppState, IN_PLACE_OUTPUTS_MAX};
use crate::memory_budget::{self, MemoryBudget};
use crate::state::table::Table;
use crate::storage::history_file::{History, Selection, write_dataset};

/// The longest part that is made for one request, in bytes as they are sent: 300 seconds of 40,000 racers are 170 MB of
/// text. Whoever wants more is well served with the whole, which costs nothing to make.
const PART_BYTES_MAX: usize = 256 << 20;

/// The parts that are being made or sent, and what is decompressed of histories, may have this many bytes together.
const PARTS_BYTES_MAX: usize = 1 << 30;

/// What an output takes in a part's text, in bytes, where nothing better is known: an id of six digits, and six more.
const OUTPUT_BYTES: usize = 16;

/// What slow readers may have kept of histories that have newer ones, in bytes, of all classes together. A reader keeps
/// what has changed since it began: a class of 40,000 racers that changes altogether within five minutes has 0.5 GiB
/// kept by those who read it at 256 kbit/s.
const OUTDATED_BYTES_MAX: u64 = 1 << 30;

/// The most racers that may be asked for by id: as many as a leaderboard takes.
const RACERS_MAX: usize = 1000;

/// Quick, for each is compressed for one request; see [`crate::storage::history_file`] for what the levels cost.
const LEVEL: u32 = 2;

/// Returns the memory budget of parts of histories.
pub(crate) fn part_budget() -> MemoryBudget {
    MemoryBudget::new(PARTS_BYTES_MAX)
}

/// What part of a dataset is asked for.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
struct Asked {
    /// Per second only that many racers, the best; ties go to the smaller racer id.
    #[param(value_type = Option<u64>, minimum = 1, maximum = 4294967295_u64)]
    top: Option<usize>,
    /// Only these racers: up to 1000 ids with commas between them.
    #[param(value_type = Option<Vec<u64>>, style = Form, explode = false, example = json!([1, 2]))]
    racers: Option<Vec<RacerId>>,
    /// Only seconds from this one on.
    #[param(value_type = Option<u32>, minimum = 0)]
    from: Option<Second>,
    /// Only seconds up to this one.
    #[param(value_type = Option<u32>, minimum = 0)]
    to: Option<Second>,
}

/// The dataset of a class
///
/// Every racer's best output at every second: seconds, then racer ids, ascending by number. At most about a second
/// behind. With parameters, that part of it in the same shape.
#[utoipa::path(
    get, path = "/classes/{classId}/history", tag = "Histories",
    params(
        ("classId" = u16, Path, description = "The exercise class.", minimum = 1, example = 1),
        Asked,
        ("Accept-Encoding" = Option<String>, Header, description = "With `gzip`, the answer is compressed."),
        ("If-None-Match" = Option<String>, Header, description = "ETags of versions that the client has."),
    ),
    responses(
        (status = 200, description = "The dataset; `{}` where nobody rode yet.",
            body = BTreeMap<String, BTreeMap<String, f64>>,
            headers(
                ("ETag" = String, description = "Strong; equal on every instance for equal content."),
                ("Content-Encoding" = String, description = "`gzip`, or none."),
                ("Cache-Control" = String, description = "For a second."),
                ("Vary" = String, description = "`accept-encoding`."),
            ),
            example = json!({ "1": { "1": 150, "17": 187.25 } })),
        (status = 304, description = "The client has it.", headers(("ETag" = String))),
        (status = 400, description = "A parameter cannot be taken, or the part is too long; the detail says which.",
            body = ApiError, content_type = "application/problem+json"),
        (status = 404, description = "No such class.", body = ApiError, content_type = "application/problem+json"),
        (status = 412, description = "`If-Match` names other versions.", body = ApiError,
            content_type = "application/problem+json"),
        (status = 503, description = "The service is starting, stopping or overloaded.",
            body = ApiError, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn history(
    Class(class): Class,
    State(app): State<AppState>,
    params: Params,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let asked = Asked::read(params, app.ledger.bounds().second_max)?;
    let gzip = accept::wants_gzip(&headers);
    let representation = match asked.part()? {
        None => whole(&app, class, gzip).await,
        Some(part) => part_of(&app, class, part, gzip).await?,
    };
    Ok(representation.answer(&method, &headers))
}

/// The dataset of a class as a gzip file
///
/// The same bytes as the history with gzip, without `Content-Encoding`: for clients that gunzip themselves.
#[utoipa::path(
    get, path = "/class-{classId}.gz", tag = "Histories",
    params(
        ("classId" = u16, Path, description = "The exercise class.", minimum = 1, example = 1),
        ("Range" = Option<String>, Header, description = "One part of the file, such as `bytes=0-1023`."),
        ("If-Range" = Option<String>, Header, description = "The ETag of the version that the part is to be of."),
        ("If-None-Match" = Option<String>, Header, description = "ETags of versions that the client has."),
    ),
    responses(
        (status = 200, description = "The file.", body = Vec<u8>, content_type = "application/gzip", headers(
            ("ETag" = String, description = "Strong; equal on every instance for equal content."),
            ("Accept-Ranges" = String, description = "`bytes`."),
            ("Cache-Control" = String, description = "For a second."),
        )),
        (status = 206, description = "The part.", body = Vec<u8>, content_type = "application/gzip", headers(
            ("ETag" = String), ("Content-Range" = String),
        )),
        (status = 304, description = "The client has it.", headers(("ETag" = String))),
        (status = 404, description = "No such class.", body = ApiError, content_type = "application/problem+json"),
        (status = 412, description = "`If-Match` names other versions.", body = ApiError,
            content_type = "application/problem+json"),
        (status = 416, description = "There are no such bytes.", body = ApiError,
            content_type = "application/problem+json", headers(("Content-Range" = String))),
        (status = 503, description = "The service is starting, stopping or overloaded.", body = ApiError,
            content_type = "application/problem+json"),
    )
)]
pub(crate) async fn file(class: ClassId, app: &AppState, request: Request) -> Response {
    let file = whole(app, class, true).await;
    let file = Representation {
        kind: "application/gzip",
        gzip: false,
        varies: false,
        ranges: true,
        ..file
    };
    file.answer(request.method(), request.headers())
}

async fn whole(app: &AppState, class: ClassId, gzip: bool) -> Representation {
    let history = app.ledger.history(class).await;
    let (etag, len) = if gzip {
        (history.etag(), history.len())
    } else {
        (history.text_etag(), history.text_len())
    };
    let (etag, app) = (etag.to_owned(), app.clone());
    let pieces = Box::new(move || pieces(&app, &history, gzip));
    Representation {
        etag,
        kind: "application/json",
        gzip,
        varies: true,
        ranges: false,
        len,
        pieces,
    }
}

/// The pieces of a history, within what may be kept of histories for their readers.
fn pieces(app: &AppState, history: &History, gzip: bool) -> Result<Pieces, ApiError> {
    if app.ledger.stale_history_bytes() > OUTDATED_BYTES_MAX {
        return Err(ApiError::unavailable(
            "too much is still being sent of earlier histories",
        ));
    }
    if gzip {
        return Ok(Box::new(history.chunks())); // shared by all who are sent it
    }
    // One that is on its way, and the next.
    let bytes = 2 * usize::try_from(history.text_piece_len()).unwrap_or(usize::MAX / 2);
    let permit = app.part_budget.try_acquire(bytes);
    let permit = Arc::new(permit.ok_or_else(memory_limit)?);
    let pieces = history.text();
    Ok(Box::new(pieces.map(move |piece| {
        memory_budget::guarded(piece, permit.clone())
    })))
}

fn memory_limit() -> ApiError {
    ApiError::unavailable("memory limit of history parts reached")
}

async fn part_of(
    app: &AppState,
    class: ClassId,
    part: Part,
    gzip: bool,
) -> Result<Representation, ApiError> {
    let ledger = app.ledger.clone();
    let Cost { looked_at, written } = part.cost(ledger.table(), class);
    let is_of_the_top = part.is_of_the_top();
    let budget = app.part_budget.clone();
    let make = move || {
        // Acquired by the worker: a query that waits for one holds nothing.
        let estimate = written.saturating_mul(OUTPUT_BYTES).min(PART_BYTES_MAX);
        let mut permit = budget.try_acquire(estimate).ok_or_else(memory_limit)?;
        let bytes = part.make(ledger.table(), class, gzip)?;
        permit.shrink_to(bytes.len());
        permit.grow_to(bytes.len()).ok_or_else(memory_limit)?;
        Ok::<_, ApiError>((format!("\"{:032x}\"", xxh3_128(&bytes)), bytes, permit))
    };
    let only_orders = is_of_the_top && written < IN_PLACE_OUTPUTS_MAX; // as boards do
    let turns = if only_orders {
        &app.turns
    } else {
        &app.long_turns
    };
    let (etag, bytes, permit) = turns.work(looked_at, make).await??;
    let len = bytes.len() as u64;
    let bytes = memory_budget::guarded(bytes, permit);
    Ok(Representation {
        etag,
        kind: "application/json",
        gzip,
        varies: true,
        ranges: false,
        len,
        pieces: Box::new(|| Ok(Box::new(std::iter::once(bytes)))),
    })
}

impl Asked {
    fn read(mut params: Params, second_max: u32) -> Result<Self, ApiError> {
        let asked = Self {
            top: params
                .integer("top", 1..=u64::from(u32::MAX))?
                .map(|racers| usize::try_from(racers).unwrap_or(usize::MAX)),
            racers: params.racers("racers", RACERS_MAX)?,
            from: params.second("from", second_max)?,
            to: params.second("to", second_max)?,
        };
        params.end()?;
        Ok(asked)
    }

    /// The part that is asked for; `None` where it is the whole, as it is kept.
    fn part(self) -> Result<Option<Part>, ApiError> {
        let Self {
            top,
            racers,
            from,
            to,
        } = self;
        if let (Some(from), Some(to)) = (from, to)
            && from > to
        {
            return Err(ApiError::bad_request(format!(
                "from is {from} and to is {to}; from must not be after to"
            )));
        }
        let whole = (&top, &racers, from, to) == (&None, &None, None, None);
        let seconds = from.unwrap_or(Second(0))..=to.unwrap_or(Second(u32::MAX));
        Ok((!whole).then_some(Part {
            seconds,
            racers,
            top,
        }))
    }
}

/// How many outputs a part costs, at most.
struct Cost {
    looked_at: usize,
    written: usize,
}

/// A part of a dataset that is made for one request.
struct Part {
    seconds: RangeInclusive<Second>,
    racers: Option<Vec<RacerId>>,
    top: Option<usize>,
}

impl Part {
    /// Whether it is the best of all, for which orders are made.
    fn is_of_the_top(&self) -> bool {
        self.racers.is_none() && self.top.is_some()
    }

    fn cost(&self, table: &Table, class: ClassId) -> Cost {
        let seconds = table.seconds(class).into_iter().map(|(second, _)| second);
        let seconds: Vec<_> = seconds
            .filter(|second| self.seconds.contains(second))
            .collect();
        let standing = table.overall_board(class).len();
        let chosen = self.racers.as_ref().map_or(standing, Vec::len);
        let top = self.top.map_or(chosen, |top| top.min(chosen));
        let written = seconds.len() * top;
        let looked_at = if self.is_of_the_top() {
            // An order that is made is kept.
            let boards = seconds.into_iter().map(|second| table.board(class, second));
            written
                + boards
                    .filter(|board| !board.has_order(false))
                    .map(|board| board.len())
                    .sum::<usize>()
        } else {
            seconds.len() * chosen
        };
        Cost { looked_at, written }
    }

    /// Its bytes, second by second, so that one that is too long is found out before it fills the memory.
    fn make(self, table: &Table, class: ClassId, gzip: bool) -> Result<Bytes, ApiError> {
        let Self {
            seconds,
            racers,
            top,
        } = self;
        let mut out = PartWriter::new(gzip);
        let mut selection = Selection {
            seconds: seconds.clone(),
            racers,
            top,
        };
        let mut text = Vec::new();
        let mut anyone = false;
        out.push(b"{");
        for (second, _) in table
            .seconds(class)
            .into_iter()
            .filter(|(second, _)| seconds.contains(second))
        {
            selection.seconds = second..=second;
            text.clear();
            write_dataset(&mut text, table, class, &selection);
            let inner = &text[1..text.len() - 1]; // without the braces
            if inner.is_empty() {
                continue;
            }
            if anyone {
                out.push(b",");
            }
            anyone = true;
            out.push(inner);
            if out.len() > PART_BYTES_MAX {
                return Err(ApiError::bad_request(format!(
                    "this part is over {PART_BYTES_MAX} bytes; ask for fewer seconds or racers, or for the whole \
                     history, which is kept ready"
                )));
            }
        }
        out.push(b"}");
        Ok(out.finish())
    }
}

/// Writes the bytes of a part.
enum PartWriter {
    Plain(Vec<u8>),
    Gzip(Box<GzEncoder<Vec<u8>>>),
}

impl PartWriter {
    fn new(gzip: bool) -> Self {
        match gzip {
            true => Self::Gzip(Box::new(GzEncoder::new(
                Vec::new(),
                Compression::new(LEVEL),
            ))),
            false => Self::Plain(Vec::new()),
        }
    }

    fn push(&mut self, text: &[u8]) {
        match self {
            Self::Plain(bytes) => bytes.extend_from_slice(text),
            Self::Gzip(encoder) => encoder
                .write_all(text)
                .expect("a vector accepts every byte"),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Plain(bytes) => bytes.len(),
            Self::Gzip(encoder) => encoder.get_ref().len(),
        }
    }

    fn finish(self) -> Bytes {
        match self {
            Self::Plain(bytes) => bytes.into(),
            Self::Gzip(encoder) => encoder
                .finish()
                .expect("a vector accepts every byte")
                .into(),
        }
    }
}
