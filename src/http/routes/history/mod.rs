//! Histories: the whole dataset of a class from the cache, or a part of it.
//!
//! The whole is never joined into one buffer: its compressed pieces are sent as they are, or
//! decompressed one by one.

mod part;

use std::ops::RangeInclusive;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use headers::ETag;
use serde::Deserialize;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::{IntoParams, PartialSchema, ToSchema};
use xxhash_rust::xxh3::xxh3_128;

use crate::domain::effort::{ClassId, Second};
use crate::http::error::ApiError;
use crate::http::extract::accept;
use crate::http::extract::path::ClassPath;
use crate::http::extract::query::{NoParams, Param, QueryParams};
use crate::http::extract::values::{IntegerParam, List, RacersParam, SecondParam, check_order};
use crate::http::respond::conditional::{Pieces, PiecesFn, Representation};
use crate::http::routes::history::part::{HistoryPart, PART_BYTES_MAX, PartCost};
use crate::http::state::{AppState, IN_PLACE_OUTPUTS_MAX};
use crate::memory_budget::{self, MemoryBudget};
use crate::storage::history_file::History;

/// Memory budget of all parts that are built or sent, and of histories that are decompressed, in
/// bytes.
const HISTORY_BYTES_MAX: usize = 1 << 30;

/// Estimated size of an output in a part, in bytes: an id of six digits and its quotes, colon and
/// comma, and six digits of output.
const OUTPUT_BYTES: usize = 16;

/// Maximum size of stale histories that slow readers keep in memory, in bytes, of all classes
/// together. A reader keeps the seconds that changed since it began: a class of 40,000 racers that
/// changes completely within 5 minutes keeps 0.5 GiB for readers at 256 kbit/s.
const STALE_BYTES_MAX: u64 = 1 << 30;

/// `Cache-Control`: caches may serve a history for 1 s and must then revalidate, mostly for a 304. A
/// history is 1 s behind while it is quick to build, 30 s at most; an erasure invalidates it at
/// once. A stale response is never served: an erased racer must be gone everywhere within seconds.
const CACHE_CONTROL: &str = "public, max-age=1, must-revalidate";

/// Returns the memory budget of parts of histories.
pub(crate) fn history_budget() -> MemoryBudget {
    MemoryBudget::new(HISTORY_BYTES_MAX)
}

/// The query parameters of a history.
#[derive(Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct HistoryParams {
    /// Only this many racers per second, the best; ties go to the smaller racer id.
    #[param(inline)]
    top: TopParam,
    /// Only these racers: up to 1000 ids, separated by commas or in repeated parameters.
    #[param(inline, style = Form, explode = false, example = json!([1, 2]))]
    racers: RacersParam,
    /// Only seconds from this one on.
    #[param(inline)]
    from: SecondParam,
    /// Only seconds up to this one.
    #[param(inline)]
    to: SecondParam,
}

type TopParam = Param<Top>;

/// A number of racers per second.
#[derive(Clone, Copy)]
pub(crate) struct Top(usize);

impl IntegerParam for Top {
    fn range() -> RangeInclusive<u64> {
        1..=u32::MAX.into()
    }

    fn from_integer(integer: u64) -> Option<Self> {
        usize::try_from(integer).ok().map(Self)
    }
}

/// The dataset of a class
///
/// Every racer's best output at every second: seconds, then racer ids, ascending by number. 1 s behind while it is
/// quick to build, 30 s at most; an erasure invalidates it at once. With parameters, a part of it in the same shape.
#[utoipa::path(
    get, path = "/classes/{classId}/history", tag = "Histories", operation_id = "getHistory",
    params(
        ClassPath,
        HistoryParams,
        ("Accept-Encoding" = String, Header, description = "With `gzip`, the response is compressed."),
        ("If-None-Match" = String, Header, description = "ETags of versions that the client has."),
    ),
    responses(
        (status = 200, description = "The dataset; `{}` for a class without efforts.",
            body = BTreeMap<String, BTreeMap<String, f64>>,
            headers(
                ("ETag" = String, description = "Strong; equal on every instance for equal content."),
            ),
            example = json!({ "1": { "1": 150, "17": 187.25 } })),
        (status = 304, description = "The client has this version."),
        (status = 412, description = "`If-Match` names other versions."),
    )
)]
pub(crate) async fn history(
    ClassPath { class }: ClassPath,
    State(app): State<AppState>,
    QueryParams(query): QueryParams<HistoryParams>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let gzip = accept::wants_gzip(&headers);
    let representation = match query.part()? {
        None => whole(&app, class, gzip).await,
        Some(part) => part_of(&app, class, part, gzip).await?,
    };
    Ok(representation.respond(&method, &headers))
}

/// The bytes of a file, as the OpenAPI document describes them. utoipa describes `Vec<u8>` as a list
/// of numbers.
struct FileBytes;

impl PartialSchema for FileBytes {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Binary)))
            .into()
    }
}

impl ToSchema for FileBytes {}

/// The dataset of a class as a gzip file
///
/// The bytes of the history with gzip, without `Content-Encoding`, for clients that gunzip themselves.
#[utoipa::path(
    get, path = "/class-{classId}.gz", tag = "Histories", operation_id = "getHistoryFile",
    params(
        ClassPath,
        ("Range" = String, Header, description = "One range of the file, such as `bytes=0-1023`."),
        ("If-Range" = String, Header, description = "The ETag of the version that the range belongs to."),
        ("If-None-Match" = String, Header, description = "ETags of versions that the client has."),
    ),
    responses(
        (status = 200, description = "The file.", body = inline(FileBytes), content_type = "application/gzip", headers(
            ("ETag" = String, description = "Strong; equal on every instance for equal content."),
        )),
        (status = 206, description = "The range.", body = inline(FileBytes), content_type = "application/gzip", headers(("Content-Range" = String))),
        (status = 304, description = "The client has this version."),
        (status = 412, description = "`If-Match` names other versions."),
        (status = 416, description = "These bytes do not exist."),
    )
)]
pub(crate) async fn file(
    ClassPath { class }: ClassPath,
    State(app): State<AppState>,
    QueryParams(NoParams {}): QueryParams<NoParams>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let file = Representation {
        content_type: "application/gzip",
        encoding: None,
        vary: None,
        ranges: true,
        ..whole(&app, class, true).await
    };
    file.respond(&method, &headers)
}

const VALID_ETAG: &str = "an ETag is hexadecimal digits in quotes";

async fn whole(app: &AppState, class: ClassId, gzip: bool) -> Representation {
    let history = app.ledger.history(class).await;
    let (etag, len) = if gzip {
        (history.etag(), history.len())
    } else {
        (history.text_etag(), history.text_len())
    };
    let (etag, app) = (etag.parse::<ETag>().expect(VALID_ETAG), app.clone());
    let pieces = Box::new(move || pieces(&app, &history, gzip));
    json(etag, gzip, len, pieces)
}

fn json(etag: ETag, gzip: bool, len: u64, pieces: PiecesFn) -> Representation {
    Representation {
        etag,
        content_type: "application/json",
        cache_control: CACHE_CONTROL,
        encoding: gzip.then_some("gzip"),
        vary: Some("accept-encoding"),
        ranges: false,
        len,
        pieces,
    }
}

/// Returns the pieces of a history, within the limits of memory that readers keep.
fn pieces(app: &AppState, history: &History, gzip: bool) -> Result<Pieces, ApiError> {
    if app.ledger.stale_history_bytes() > STALE_BYTES_MAX {
        return Err(ApiError::unavailable(
            "memory limit of stale histories reached",
        ));
    }
    if gzip {
        return Ok(Box::new(history.chunks())); // shared by all readers
    }
    // The piece in flight, and the next.
    let bytes = 2 * usize::try_from(history.text_piece_len()).unwrap_or(usize::MAX / 2);
    let permit = app.history_budget.try_acquire(bytes);
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
    part: HistoryPart,
    gzip: bool,
) -> Result<Representation, ApiError> {
    let ledger = app.ledger.clone();
    let PartCost { read, written } = part.cost(ledger.table(), class);
    let is_top = part.is_top();
    let budget = app.history_budget.clone();
    let build = move || {
        // Acquired by the worker: a query that waits for one holds nothing.
        let estimate = written.saturating_mul(OUTPUT_BYTES).min(PART_BYTES_MAX);
        let mut permit = budget.try_acquire(estimate).ok_or_else(memory_limit)?;
        let bytes = part.build(ledger.table(), class, gzip)?;
        permit.shrink_to(bytes.len());
        permit.grow_to(bytes.len()).ok_or_else(memory_limit)?;
        let etag = format!("\"{:032x}\"", xxh3_128(&bytes));
        Ok::<_, ApiError>((etag.parse::<ETag>().expect(VALID_ETAG), bytes, permit))
    };
    // Costs no more than a board: its orders are computed once.
    let is_cheap = is_top && written < IN_PLACE_OUTPUTS_MAX;
    let workers = if is_cheap {
        &app.workers
    } else {
        &app.heavy_workers
    };
    let (etag, bytes, permit) = workers.work(read, build).await??;
    let len = bytes.len() as u64;
    let bytes = memory_budget::guarded(bytes, permit);
    let pieces = Box::new(|| Ok(Box::new(std::iter::once(bytes)) as Pieces));
    Ok(json(etag, gzip, len, pieces))
}

impl HistoryParams {
    /// Returns the selected part; `None` for the whole history, which is cached.
    fn part(self) -> Result<Option<HistoryPart>, ApiError> {
        let (top, racers, from, to) = (self.top.0, self.racers.0, self.from.0, self.to.0);
        if top.is_none() && racers.is_none() && from.is_none() && to.is_none() {
            return Ok(None);
        }
        let from = from.unwrap_or(Second(0));
        let to = to.unwrap_or(Second(u32::MAX));
        check_order(from, to)?;
        Ok(Some(HistoryPart {
            seconds: from..=to,
            racers: racers.map(|List(racers)| racers),
            top: top.map(|Top(racers)| racers),
        }))
    }
}
