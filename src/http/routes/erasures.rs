//! Erasing, for whoever has an admin key.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use crate::domain::effort::{ClassId, Output, RacerId, Second};
use crate::domain::erasure::{Erasure, ErasureScope, ErasureVersion, REASON_CHARS_MAX};
use crate::http::auth::Admin;
use crate::http::error::ApiError;
use crate::http::extract::params::{Class, Params, Racer};
use crate::http::respond::form::{self, Form, Rows};
use crate::http::state::AppState;
use crate::ledger::{CommitError, EraseError, Erased};

/// What to erase of a racer in a class.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "tells what `erase_in_class` takes")]
struct ScopeParams {
    /// Only at this second.
    second: Option<u32>,
    /// Only from this second on.
    from: Option<u32>,
    /// Only up to this second, itself included.
    to: Option<u32>,
    /// Only outputs over this: a glitch, and not the racer's true best.
    #[param(minimum = 0, example = 300)]
    above: Option<f64>,
    /// Why, to be kept with it.
    #[param(max_length = 200, example = "a glitch of the bike")]
    reason: Option<String>,
}

/// Erase a racer from a class
///
/// Takes away what the racer rode in the class up to half a minute from now, or the part asked for, for ever: no later
/// delivery, replay or restart brings it back, on any instance. What is ridden later counts. 200 once that is durable.
#[utoipa::path(
    delete, path = "/classes/{classId}/racers/{racerId}", tag = "Erasing",
    params(
        ("classId" = u16, Path, description = "The exercise class.", minimum = 1, example = 1),
        ("racerId" = u64, Path, description = "The racer.", maximum = 9007199254740991_u64, example = 17),
        ScopeParams,
        ("pretty" = Option<bool>, Query, description = "Lay the JSON out for people."),
    ),
    responses(
        (status = 200, description = "It is gone.", body = ErasedResponse),
        (status = 400, description = "A parameter cannot be taken; the detail names it.", body = ApiError,
            content_type = "application/problem+json"),
        (status = 401, description = "The admin key is missing or wrong.", body = ApiError,
            content_type = "application/problem+json"),
        (status = 404, description = "No such class, or the service has no admin key.", body = ApiError,
            content_type = "application/problem+json"),
        (status = 503, description = "It may not be durable: ask again.", body = ApiError,
            content_type = "application/problem+json"),
        (status = 507, description = "There are too many erasures already.", body = ApiError,
            content_type = "application/problem+json"),
    ),
    security(("adminKey" = []))
)]
pub(crate) async fn erase_in_class(
    _: Admin,
    Class(class): Class,
    Racer(racer): Racer,
    State(app): State<AppState>,
    mut params: Params,
) -> Result<Response, ApiError> {
    let second_max = app.ledger.bounds().second_max;
    let mut scope = ErasureScope::all(racer, Some(class));
    let second = params.second("second", second_max)?;
    let (from, to) = (
        params.second("from", second_max)?,
        params.second("to", second_max)?,
    );
    if let (Some(second), Some((name, other))) = (
        second,
        from.map(|it| ("from", it)).or(to.map(|it| ("to", it))),
    ) {
        let detail =
            format!("second is {second} and {name} is {other}; give second alone, or from and to");
        return Err(ApiError::bad_request(detail));
    }
    scope.from = second.or(from).unwrap_or(scope.from);
    scope.to = second.or(to).unwrap_or(scope.to);
    let ErasureScope { from, to, .. } = scope;
    if from > to {
        return Err(ApiError::bad_request(format!(
            "from is {from}, and to is {to}: it must not be less"
        )));
    }
    scope.above = params.take("above", "an output, a number from 0 up", |text| {
        Output::new(text.parse().ok()?)
    })?;
    erase(&app, scope, params).await
}

/// Erase a racer
///
/// Takes away what the racer rode in any class up to half a minute from now, and the name, for ever: no later delivery,
/// replay or restart brings it back, on any instance. What is ridden later counts. 200 once that is durable.
#[utoipa::path(
    delete, path = "/racers/{racerId}", tag = "Erasing",
    params(
        ("racerId" = u64, Path, description = "The racer.", maximum = 9007199254740991_u64, example = 17),
        ("reason" = Option<String>, Query, description = "Why, to be kept with it.", max_length = 200,
            example = "asked to be forgotten"),
        ("pretty" = Option<bool>, Query, description = "Lay the JSON out for people."),
    ),
    responses(
        (status = 200, description = "It is gone.", body = ErasedResponse),
        (status = 400, description = "A parameter cannot be taken; the detail names it.", body = ApiError,
            content_type = "application/problem+json"),
        (status = 401, description = "The admin key is missing or wrong.", body = ApiError,
            content_type = "application/problem+json"),
        (status = 404, description = "The service has no admin key.", body = ApiError,
            content_type = "application/problem+json"),
        (status = 503, description = "It may not be durable: ask again.", body = ApiError,
            content_type = "application/problem+json"),
        (status = 507, description = "There are too many erasures already.", body = ApiError,
            content_type = "application/problem+json"),
    ),
    security(("adminKey" = []))
)]
pub(crate) async fn erase_everywhere(
    _: Admin,
    Racer(racer): Racer,
    State(app): State<AppState>,
    params: Params,
) -> Result<Response, ApiError> {
    erase(&app, ErasureScope::all(racer, None), params).await
}

/// What was erased
///
/// In the order in which it was.
#[utoipa::path(
    get, path = "/erasures", tag = "Erasing",
    params(crate::http::respond::form::ListParams),
    responses(
        (status = 200, description = "The erasures.", content(
            (Vec<ErasureResponse> = "application/json"),
            (String = "text/csv",
                example = "racerId,classId,from,to,above,until,reason,version\r\n\
                           17,1,60,61,300,1619185819755,a glitch of the bike,1\r\n"),
        )),
        (status = 400, description = "A parameter cannot be taken; the detail names it.", body = ApiError,
            content_type = "application/problem+json"),
        (status = 401, description = "The admin key is missing or wrong.", body = ApiError,
            content_type = "application/problem+json"),
        (status = 404, description = "The service has no admin key.", body = ApiError,
            content_type = "application/problem+json"),
        (status = 503, description = "The service is starting or stopping.", body = ApiError,
            content_type = "application/problem+json"),
    ),
    security(("adminKey" = []))
)]
pub(crate) async fn erasures(
    _: Admin,
    State(app): State<AppState>,
    mut params: Params,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let form = Form::take(&mut params, &headers)?;
    params.end()?;
    let erasures = app.ledger.erasures();
    let mut answer: Vec<_> = erasures
        .iter()
        .map(|erasure| ErasureResponse::of(erasure.clone()))
        .collect();
    answer.sort_by_key(|erasure| (erasure.version, erasure.racer_id, erasure.class_id));
    let mut response = form.of(&answer);
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

async fn erase(
    app: &AppState,
    scope: ErasureScope,
    mut params: Params,
) -> Result<Response, ApiError> {
    let reason = params.take(
        "reason",
        format_args!("up to {REASON_CHARS_MAX} characters"),
        |text| (text.chars().count() <= REASON_CHARS_MAX).then(|| Arc::<str>::from(text)),
    )?;
    let pretty = params.pretty()?;
    params.end()?;
    let deadline = app.config.limits.delivery_deadline;
    let erasing = app
        .ledger
        .erase(scope, reason.filter(|reason| !reason.is_empty()));
    let Ok(erased) = tokio::time::timeout(deadline, erasing).await else {
        return Err(ApiError::unavailable(format!(
            "not durable within {} s",
            deadline.as_secs_f64()
        )));
    };
    let Erased { erasure, efforts } = erased.map_err(|error| not_erased(&error))?;
    Ok(form::json(
        &ErasedResponse {
            erasure: ErasureResponse::of(erasure),
            efforts,
        },
        pretty,
    ))
}

fn not_erased(error: &EraseError) -> ApiError {
    match error {
        EraseError::TooMany => ApiError::new(StatusCode::INSUFFICIENT_STORAGE, error.to_string()),
        EraseError::Failed(CommitError::Store(problem)) => {
            tracing::warn!(%problem, "an erasure is perhaps not durable"); // what exactly is for the log alone
            ApiError::unavailable("the store failed: it may be erased, or come to be; ask again")
        }
        EraseError::Failed(error) => ApiError::unavailable(error.to_string()),
    }
}

/// What was erased just now.
#[derive(Serialize, ToSchema)]
#[schema(as = Erased)]
struct ErasedResponse {
    /// The erasure.
    #[serde(flatten)]
    erasure: ErasureResponse,
    /// How many efforts this instance took away.
    #[schema(example = 300)]
    efforts: u64,
}

/// What is gone, until when, and why.
#[derive(Serialize, ToSchema)]
#[schema(as = Erasure)]
#[serde(rename_all = "camelCase")]
struct ErasureResponse {
    /// Whose efforts.
    #[schema(value_type = u64, example = 17)]
    racer_id: RacerId,
    /// In which class; null for all, and the racer's name.
    #[schema(value_type = Option<u16>, required, example = 1)]
    class_id: Option<ClassId>,
    /// From which second on; null for the first.
    #[schema(value_type = Option<u32>, required, example = 60)]
    from: Option<Second>,
    /// Up to which second, itself included; null for the last.
    #[schema(value_type = Option<u32>, required, example = 61)]
    to: Option<Second>,
    /// Only outputs over this; null for all.
    #[schema(value_type = Option<f64>, required, minimum = 0, example = 300)]
    above: Option<Output>,
    /// What was ridden up to this time is gone, in milliseconds since 1970: half a minute after it was asked for.
    #[schema(example = 1619185819755_u64)]
    until: u64,
    /// Why.
    #[schema(value_type = Option<String>, required, example = "a glitch of the bike")]
    reason: Option<Arc<str>>,
    /// Counts the erasures; a stored history names the one that it has heeded.
    #[schema(value_type = u64, example = 1)]
    version: ErasureVersion,
}

impl ErasureResponse {
    fn of(
        Erasure {
            scope,
            until_ms,
            reason,
            version,
        }: Erasure,
    ) -> Self {
        let everything = ErasureScope::all(scope.racer_id, scope.class_id);
        Self {
            racer_id: scope.racer_id,
            class_id: scope.class_id,
            from: (scope.from != everything.from).then_some(scope.from),
            to: (scope.to != everything.to).then_some(scope.to),
            above: scope.above,
            until: until_ms,
            reason,
            version,
        }
    }
}

impl Rows for Vec<ErasureResponse> {
    fn columns(&self) -> Vec<&'static str> {
        vec![
            "racerId", "classId", "from", "to", "above", "until", "reason", "version",
        ]
    }

    fn rows(&self) -> impl Iterator<Item = Vec<String>> {
        fn cell(value: Option<impl ToString>) -> String {
            value.map(|value| value.to_string()).unwrap_or_default()
        }
        self.iter().map(|it| {
            vec![
                it.racer_id.to_string(),
                cell(it.class_id),
                cell(it.from),
                cell(it.to),
                cell(it.above),
                it.until.to_string(),
                cell(it.reason.as_ref()),
                it.version.to_string(),
            ]
        })
    }
}
