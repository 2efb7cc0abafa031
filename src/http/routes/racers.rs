//! Racers: one in a class or in all classes, and the search by name.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{IntoParams, ToSchema};

use crate::domain::effort::{ClassId, Output, RacerId, Second, serialize_number};
use crate::domain::racer_names::NAME_CHARS_MAX;
use crate::http::error::ApiError;
use crate::http::extract::path::{ClassPath, RacerPath};
use crate::http::extract::query::{Param, ParamValue, QueryParams};
use crate::http::extract::values::{List, PrettyParam};
use crate::http::respond::format::{FormatParam, ListParams, ResponseFormat, Row, Rows};
use crate::http::state::{AppState, Name};
use crate::ledger::Ledger;
use crate::state::leaderboard::rank_info;
use crate::state::table::{Board, Table};

/// Maximum number of racers to compare with: nobody tells more curves apart, and each costs a rank
/// in every second of the class.
const COMPARED_MAX: usize = 20;

/// Maximum number of racers found: a screenful. A longer prefix finds fewer.
const FOUND_MAX: usize = 50;

/// The query parameters of a racer's personal bests in a class.
#[derive(Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct RacerBestsParams {
    /// Other racers to compare with: up to 20 ids, separated by commas or in repeated parameters.
    #[param(inline, style = Form, explode = false, example = json!([2, 3]))]
    compare: ComparedParam,
    /// `json` or `csv`; without it, the format that `Accept` prefers.
    #[param(inline)]
    format: FormatParam,
    /// Format the JSON for people.
    #[param(inline)]
    pretty: PrettyParam,
}

/// The query parameters of the search for racers.
#[derive(Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct SearchParams {
    /// The beginning of the name. Upper and lower case are the same, and accents do not count: `tomas`
    /// finds Tomás. `ß` is `ss`.
    #[param(inline, required = true, example = "hub")]
    name: NamePrefixParam,
    /// `json` or `csv`; without it, the format that `Accept` prefers.
    #[param(inline)]
    format: FormatParam,
    /// Format the JSON for people.
    #[param(inline)]
    pretty: PrettyParam,
}

type ComparedParam = Param<List<RacerId, COMPARED_MAX>>;
type NamePrefixParam = Param<NamePrefix>;

/// The beginning of a name.
pub(crate) struct NamePrefix(String);

impl ParamValue for NamePrefix {
    fn expected() -> String {
        format!("the beginning of a name, 1 to {NAME_CHARS_MAX} characters")
    }

    fn parse(text: &str) -> Option<Self> {
        let chars = text.chars().take(NAME_CHARS_MAX + 1).count();
        (1..=NAME_CHARS_MAX)
            .contains(&chars)
            .then(|| Self(text.to_owned()))
    }

    fn schema() -> Schema {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .min_length(Some(1))
            .max_length(Some(NAME_CHARS_MAX))
            .into()
    }
}

/// A racer in a class, second by second
///
/// The racer's personal best at every second, with its rank and percentile.
#[utoipa::path(
    get, path = "/classes/{classId}/racers/{racerId}", tag = "Racers", operation_id = "getRacerInClass",
    params(
        ClassPath,
        RacerPath,
        RacerBestsParams,
    ),
    responses(
        (status = 200, description = "The racer's personal bests.", content(
            (RacerBestsResponse = "application/json"),
            (String = "text/csv",
                example = "racerId,second,output,rank,total,percentile\r\n17,60,187.25,1,40000,99.9975\r\n"),
        )),
    )
)]
pub(crate) async fn racer_in_class(
    ClassPath { class }: ClassPath,
    RacerPath { racer }: RacerPath,
    State(app): State<AppState>,
    QueryParams(query): QueryParams<RacerBestsParams>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let format = ResponseFormat::negotiate(query.format, query.pretty, &headers);
    let compare = query.compare.0.map(|List(racers)| racers);
    let all_time = app.ledger.table().overall_board(class);
    if all_time.slot(racer).is_none() {
        return Err(ApiError::not_found(format!(
            "racer {racer} has no effort in class {class}"
        )));
    }
    let ledger = app.ledger.clone();
    let curve_count = 1 + compare.as_ref().map_or(0, Vec::len);
    let outputs = all_time.len() * ledger.table().seconds(class).len() * curve_count;
    let work = move || {
        let curve = |racer| RacerCurve::new(&ledger, class, racer);
        format.respond(&RacerBestsResponse {
            class_id: class,
            racer: curve(racer),
            compared: compare.map(|racers| racers.into_iter().map(curve).collect()),
        })
    };
    app.heavy_workers.work(outputs, work).await
}

/// A racer in all classes
#[utoipa::path(
    get, path = "/racers/{racerId}", tag = "Racers", operation_id = "getRacer",
    params(
        RacerPath,
        ListParams,
    ),
    responses(
        (status = 200, description = "The racer.", content(
            (RacerResponse = "application/json"),
            (String = "text/csv",
                example = "racerId,classId,seconds,second,output,rank,total,percentile\r\n\
                           17,1,300,60,187.25,1,40000,99.9975\r\n"),
        )),
    )
)]
pub(crate) async fn racer(
    RacerPath { racer }: RacerPath,
    State(app): State<AppState>,
    QueryParams(query): QueryParams<ListParams>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let table = app.ledger.table();
    let boards = table
        .classes()
        .map(|class| (class, table.overall_board(class)));
    let boards: Vec<_> = boards
        .filter(|(_, board)| board.slot(racer).is_some())
        .collect();
    if boards.is_empty() {
        let detail = format!("racer {racer} has no effort in any class");
        return Err(ApiError::not_found(detail));
    }
    let outputs = boards.iter().map(|(_, board)| board.len()).sum();
    let ledger = app.ledger.clone();
    let work = move || {
        let bests = boards.iter();
        let bests = bests
            .filter_map(|(class, board)| RacerClassBest::new(ledger.table(), *class, board, racer));
        bests.collect::<Vec<_>>()
    };
    let classes = app.workers.work(outputs, work).await?;
    Ok(query.format(&headers).respond(&RacerResponse {
        racer_id: racer,
        name: app.ledger.names().get(racer),
        classes,
    }))
}

/// Racers by name
///
/// At most 50, ordered by name, then by id.
#[utoipa::path(
    get, path = "/racers", tag = "Racers", operation_id = "findRacers",
    params(SearchParams),
    responses(
        (status = 200, description = "The racers.", content(
            (Vec<FoundRacer> = "application/json"),
            (String = "text/csv", example = "racerId,name\r\n17,Hubert\r\n"),
        )),
    )
)]
pub(crate) async fn search(
    State(app): State<AppState>,
    QueryParams(query): QueryParams<SearchParams>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Some(NamePrefix(name)) = query.name.0 else {
        let detail = format!("name is missing; it must be {}", NamePrefix::expected());
        return Err(ApiError::bad_request(detail));
    };
    let format = ResponseFormat::negotiate(query.format, query.pretty, &headers);
    let found = app.ledger.names().find_by_prefix(&name, FOUND_MAX);
    let found = found.into_iter().map(|(racer, name)| FoundRacer {
        racer_id: racer,
        name: Some(name),
    });
    let found: Vec<_> = found.collect();
    Ok(format.respond(&found))
}

/// A racer in a class, and the racers to compare with.
#[derive(Serialize, ToSchema)]
#[schema(as = RacerInClass)]
#[serde(rename_all = "camelCase")]
struct RacerBestsResponse {
    /// The class.
    class_id: ClassId,
    /// The racer.
    #[serde(flatten)]
    racer: RacerCurve,
    /// The racers of `compare`, in its order; without seconds where they have no effort.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    compared: Option<Vec<RacerCurve>>,
}

/// A racer second by second.
#[derive(Serialize, ToSchema)]
#[schema(as = Curve)]
#[serde(rename_all = "camelCase")]
struct RacerCurve {
    /// The racer.
    racer_id: RacerId,
    /// The racer's name; null if unknown.
    #[schema(value_type = Option<String>, required, example = "Hubert")]
    name: Name,
    /// The seconds with an effort of the racer, ascending.
    seconds: Vec<RankedBest>,
}

/// A racer's personal best at a second.
#[derive(Serialize, ToSchema)]
#[schema(as = Point)]
struct RankedBest {
    /// The second.
    second: Second,
    /// The racer's best output there.
    output: Output,
    /// The rank: 1 + the number of racers with greater outputs.
    #[schema(minimum = 1, example = 1)]
    rank: usize,
    /// Number of racers with an effort there.
    #[schema(example = 40000)]
    total: usize,
    /// (100 × racers with lower outputs) / total.
    #[schema(minimum = 0, maximum = 100, example = 99.9975)]
    #[serde(serialize_with = "serialize_number")]
    percentile: f64,
}

/// A racer in all classes.
#[derive(Serialize, ToSchema)]
#[schema(as = Racer)]
#[serde(rename_all = "camelCase")]
struct RacerResponse {
    /// The racer.
    racer_id: RacerId,
    /// The racer's name; null if unknown.
    #[schema(value_type = Option<String>, required, example = "Hubert")]
    name: Name,
    /// The classes in which the racer has an effort.
    classes: Vec<RacerClassBest>,
}

/// A racer's best output in a class, and its rank on the class's all-time board.
#[derive(Serialize, ToSchema)]
#[schema(as = Best)]
#[serde(rename_all = "camelCase")]
struct RacerClassBest {
    /// The class.
    class_id: ClassId,
    /// Number of seconds with an effort of the racer.
    #[schema(example = 300)]
    seconds: usize,
    /// The best.
    #[serde(flatten)]
    best: RankedBest,
}

/// A racer that was found.
#[derive(Serialize, ToSchema)]
#[schema(as = Found)]
#[serde(rename_all = "camelCase")]
struct FoundRacer {
    /// The racer.
    racer_id: RacerId,
    /// The racer's name.
    #[schema(value_type = String, example = "Hubert")]
    name: Name,
}

/// A CSV row: a racer's id before its other columns.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RacerRow<T> {
    racer_id: RacerId,
    #[serde(flatten)]
    rest: T,
}

impl RankedBest {
    fn new(board: &Board, racer: RacerId) -> Option<Self> {
        let slot = board.slot(racer)?;
        let info = rank_info(board, racer)?;
        Some(Self {
            second: board.second(slot),
            output: board.output(slot)?,
            rank: info.rank,
            total: info.total,
            percentile: info.percentile,
        })
    }
}

impl RacerCurve {
    fn new(ledger: &Ledger, class: ClassId, racer: RacerId) -> Self {
        let table = ledger.table();
        let seconds = table.seconds(class).into_iter();
        let bests =
            seconds.filter_map(|(second, _)| RankedBest::new(&table.board(class, second), racer));
        Self {
            racer_id: racer,
            name: ledger.names().get(racer),
            seconds: bests.collect(),
        }
    }
}

impl RacerClassBest {
    fn new(table: &Table, class: ClassId, all_time: &Board, racer: RacerId) -> Option<Self> {
        Some(Self {
            class_id: class,
            seconds: table.racer_bests(class, racer).len(),
            best: RankedBest::new(all_time, racer)?,
        })
    }
}

impl Rows for RacerBestsResponse {
    fn columns(&self) -> Vec<&'static str> {
        vec!["racerId", "second", "output", "rank", "total", "percentile"]
    }

    fn rows(&self) -> impl Iterator<Item = impl Serialize> {
        let curves = std::iter::once(&self.racer).chain(self.compared.iter().flatten());
        curves.flat_map(|curve| {
            curve.seconds.iter().map(|rest| RacerRow {
                racer_id: curve.racer_id,
                rest,
            })
        })
    }
}

impl Rows for RacerResponse {
    #[rustfmt::skip]
    fn columns(&self) -> Vec<&'static str> {
        vec!["racerId", "classId", "seconds", "second", "output", "rank", "total", "percentile"]
    }

    fn rows(&self) -> impl Iterator<Item = impl Serialize> {
        self.classes.iter().map(|rest| RacerRow {
            racer_id: self.racer_id,
            rest,
        })
    }
}

impl Row for FoundRacer {
    const COLUMNS: &[&str] = &["racerId", "name"];
}
