//! Erasures, with an admin key.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{IntoParams, ToSchema};

use crate::domain::effort::{ClassId, Output, RacerId, Second};
use crate::domain::erasure::{Erasure, ErasureScope, ErasureVersion, REASON_CHARS_MAX};
use crate::http::error::ApiError;
use crate::http::extract::path::{ClassPath, RacerPath};
use crate::http::extract::query::{Param, ParamValue, QueryParams};
use crate::http::extract::values::{OutputParam, PrettyParam, SecondParam, check_order};
use crate::http::respond::conditional::insert;
use crate::http::respond::format::{self, ListParams, Row};
use crate::http::state::AppState;
use crate::ledger::{CommitError, EraseError, Erased};

/// The query parameters of erasing a racer from a class.
#[derive(Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct EraseInClassParams {
    /// Only at this second.
    #[param(inline)]
    second: SecondParam,
    /// Only from this second on.
    #[param(inline)]
    from: SecondParam,
    /// Only up to this second, itself included.
    #[param(inline)]
    to: SecondParam,
    /// Only outputs over this, to erase a glitch and keep the racer's true best.
    #[param(inline, example = 300)]
    above: OutputParam,
    /// The reason, stored with the erasure.
    #[param(inline)]
    reason: ReasonParam,
    /// Format the JSON for people.
    #[param(inline)]
    pretty: PrettyParam,
}

/// The query parameters of erasing a racer.
#[derive(Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct EraseParams {
    /// The reason, stored with the erasure.
    #[param(inline)]
    reason: ReasonParam,
    /// Format the JSON for people.
    #[param(inline)]
    pretty: PrettyParam,
}

type ReasonParam = Param<ErasureReason>;

/// The reason of an erasure.
pub(crate) struct ErasureReason(Arc<str>);

impl ParamValue for ErasureReason {
    fn expected() -> String {
        format!("up to {REASON_CHARS_MAX} characters")
    }

    fn parse(text: &str) -> Option<Self> {
        (text.chars().count() <= REASON_CHARS_MAX).then(|| Self(text.into()))
    }

    fn schema() -> Schema {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .max_length(Some(REASON_CHARS_MAX))
            .into()
    }
}

impl EraseInClassParams {
    fn scope(&self, class: ClassId, racer: RacerId) -> Result<ErasureScope, ApiError> {
        let (Param(second), Param(from), Param(to)) = (self.second, self.from, self.to);
        for (name, bound) in [("from", from), ("to", to)] {
            if let (Some(second), Some(bound)) = (second, bound) {
                return Err(ApiError::bad_request(format!(
                    "second is {second} and {name} is {bound}; give second alone, or from and to"
                )));
            }
        }
        let mut scope = ErasureScope::all(racer, Some(class));
        scope.from = second.or(from).unwrap_or(scope.from);
        scope.to = second.or(to).unwrap_or(scope.to);
        check_order(scope.from, scope.to)?;
        scope.above = self.above.0;
        Ok(scope)
    }
}

/// Erase a racer from a class
///
/// Erases the racer's efforts in the class, or those of the parameters, up to 30 s from now. No later delivery, replay
/// or restart brings them back, on any instance; later efforts count. 200 once the erasure is durable; after 503 it may
/// be, and a retry settles it.
#[utoipa::path(
    delete, path = "/classes/{classId}/racers/{racerId}", tag = "Erasing", operation_id = "eraseRacerInClass",
    params(
        ClassPath,
        RacerPath,
        EraseInClassParams,
    ),
    responses(
        (status = 200, description = "The erasure.", body = ErasedResponse),
        (status = 507, description = "There are too many erasures already."),
    ),
)]
pub(crate) async fn erase_in_class(
    ClassPath { class }: ClassPath,
    RacerPath { racer }: RacerPath,
    State(app): State<AppState>,
    QueryParams(query): QueryParams<EraseInClassParams>,
) -> Result<Response, ApiError> {
    let scope = query.scope(class, racer)?;
    let erased = erase(&app, scope, query.reason).await?;
    Ok(format::json(&erased, query.pretty))
}

/// Erase a racer
///
/// Erases the racer's efforts in all classes up to 30 s from now, and the name. No later delivery, replay or restart
/// brings them back, on any instance; later efforts count. 200 once the erasure is durable; after 503 it may be, and a
/// retry settles it.
#[utoipa::path(
    delete, path = "/racers/{racerId}", tag = "Erasing", operation_id = "eraseRacer",
    params(
        RacerPath,
        EraseParams,
    ),
    responses(
        (status = 200, description = "The erasure.", body = ErasedResponse),
        (status = 507, description = "There are too many erasures already."),
    ),
)]
pub(crate) async fn erase_everywhere(
    RacerPath { racer }: RacerPath,
    State(app): State<AppState>,
    QueryParams(query): QueryParams<EraseParams>,
) -> Result<Response, ApiError> {
    let erased = erase(&app, ErasureScope::all(racer, None), query.reason).await?;
    Ok(format::json(&erased, query.pretty))
}

/// All erasures
///
/// In their order.
#[utoipa::path(
    get, path = "/erasures", tag = "Erasing", operation_id = "listErasures",
    params(ListParams),
    responses(
        (status = 200, description = "The erasures.", content(
            (Vec<ErasureResponse> = "application/json"),
            (String = "text/csv",
                example = "racerId,classId,from,to,above,until,reason,version\r\n\
                           17,1,60,61,300,1619185819755,a glitch of the bike,415303\r\n"),
        )),
    ),
)]
pub(crate) async fn erasures(
    State(app): State<AppState>,
    QueryParams(query): QueryParams<ListParams>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let erasures = app.ledger.erasures();
    let (count, format) = (erasures.count(), query.format(&headers));
    let work = move || {
        let mut rows: Vec<_> = erasures.iter().cloned().map(ErasureResponse::new).collect();
        rows.sort_by_key(|erasure| (erasure.version, erasure.racer_id, erasure.class_id));
        format.respond(&rows)
    };
    let mut response = app.heavy_workers.work(count, work).await?;
    insert(response.headers_mut(), header::CACHE_CONTROL, "no-store");
    Ok(response)
}

async fn erase(
    app: &AppState,
    scope: ErasureScope,
    reason: ReasonParam,
) -> Result<ErasedResponse, ApiError> {
    let reason = reason.0.map(|ErasureReason(reason)| reason);
    let reason = reason.filter(|reason| !reason.is_empty());
    let deadline = app.config.limits.delivery_deadline;
    let erased = tokio::time::timeout(deadline, app.ledger.erase(scope, reason)).await;
    let erased = erased.map_err(|_| {
        ApiError::unavailable(format!("not durable within {} s", deadline.as_secs_f64()))
    })?;
    let Erased { erasure, efforts } = erased.map_err(|error| erase_error(&error))?;
    Ok(ErasedResponse {
        erasure: ErasureResponse::new(erasure),
        efforts,
    })
}

fn erase_error(error: &EraseError) -> ApiError {
    match error {
        EraseError::TooMany => ApiError::new(StatusCode::INSUFFICIENT_STORAGE, error.to_string()),
        EraseError::Failed(CommitError::Store(error)) => {
            // The details are for the log alone.
            tracing::warn!(%error, "erasure may not be durable");
            ApiError::unavailable("the store failed; the erasure may be durable; retry it")
        }
        EraseError::Failed(error) => ApiError::unavailable(error.to_string()),
    }
}

/// An erasure of this request.
#[derive(Serialize, ToSchema)]
#[schema(as = Erased)]
struct ErasedResponse {
    /// The erasure.
    #[serde(flatten)]
    erasure: ErasureResponse,
    /// Number of efforts erased on this instance.
    #[schema(example = 300)]
    efforts: u64,
}

/// An erasure.
#[derive(Serialize, ToSchema)]
#[schema(as = Erasure)]
#[serde(rename_all = "camelCase")]
struct ErasureResponse {
    /// The racer.
    racer_id: RacerId,
    /// The class; null for all classes, and the racer's name.
    #[schema(required)]
    class_id: Option<ClassId>,
    /// The first second; null for the first of all.
    #[schema(required)]
    from: Option<Second>,
    /// The last second; null for the last of all.
    #[schema(required)]
    to: Option<Second>,
    /// Only outputs over this; null for all.
    #[schema(required)]
    above: Option<Output>,
    /// Efforts up to this time are erased, in milliseconds since 1970: 30 s after the request.
    #[schema(example = 1619185819755_u64)]
    until: u64,
    /// The reason.
    #[schema(value_type = Option<String>, required, example = "a glitch of the bike")]
    reason: Option<Arc<str>>,
    /// Grows with each erasure; a stored history names the version that it has applied.
    #[schema(value_type = u64, example = 415303)]
    version: ErasureVersion,
}

impl ErasureResponse {
    fn new(erasure: Erasure) -> Self {
        let scope = erasure.scope;
        let everything = ErasureScope::all(scope.racer_id, scope.class_id);
        Self {
            racer_id: scope.racer_id,
            class_id: scope.class_id,
            from: (scope.from != everything.from).then_some(scope.from),
            to: (scope.to != everything.to).then_some(scope.to),
            above: scope.above,
            until: erasure.until_ms,
            reason: erasure.reason,
            version: erasure.version,
        }
    }
}

impl Row for ErasureResponse {
    #[rustfmt::skip]
    const COLUMNS: &[&str] = &["racerId", "classId", "from", "to", "above", "until", "reason", "version"];
}
