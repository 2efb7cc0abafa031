//! One racer: second by second in a class, in all classes, or found by name.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use crate::domain::effort::{ClassId, Output, RacerId, Second, serialize_number};
use crate::domain::racer_names::NAME_CHARS_MAX;
use crate::http::error::ApiError;
use crate::http::extract::params::{Class, Params, Racer};
use crate::http::respond::form::ListParams;
use crate::http::respond::form::{Form, Rows};
use crate::http::state::{AppState, Name};
use crate::ledger::Ledger;
use crate::state::leaderboard::{RankInfo, rank_info};
use crate::state::table::{Board, Table};

/// The most racers that one may be compared with: more curves than anyone tells apart, and each is as many counts of a
/// class as it has seconds.
pub(crate) const COMPARED_MAX: usize = 20;

/// The most racers that a search finds: a screenful. Whoever gets as many types on.
const FOUND_MAX: usize = 50;

/// Whom to compare with.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "tells what `curve` takes")]
struct CurveParams {
    /// Other racers, to be told of in the same way: up to 20 ids with commas between them.
    #[param(value_type = Option<Vec<u64>>, style = Form, explode = false, example = json!([2, 3]))]
    compare: Option<Vec<RacerId>>,
}

/// A racer in a class, second by second
///
/// The racer's personal best at every second, with the rank and the percentile among all who have one there.
#[utoipa::path(
    get, path = "/classes/{classId}/racers/{racerId}", tag = "Racers",
    params(
        ("classId" = u16, Path, description = "The exercise class.", minimum = 1, example = 1),
        ("racerId" = u64, Path, description = "The racer.", maximum = 9007199254740991_u64, example = 17),
        CurveParams, ListParams,
    ),
    responses(
        (status = 200, description = "The racer's curve.", content(
            (RacerBestsResponse = "application/json"),
            (String = "text/csv",
                example = "racerId,second,output,rank,total,percentile\r\n17,60,187.25,1,40000,99.9975\r\n"),
        )),
        (status = 400, description = "A parameter cannot be taken; the detail names it.", body = ApiError,
            content_type = "application/problem+json"),
        (status = 404, description = "No such class, or the racer never rode in it.", body = ApiError,
            content_type = "application/problem+json"),
        (status = 503, description = "The service is starting, stopping or overloaded.", body = ApiError,
            content_type = "application/problem+json"),
    )
)]
pub(crate) async fn curve(
    Class(class): Class,
    Racer(racer): Racer,
    State(app): State<AppState>,
    mut params: Params,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let compare = params.racers("compare", COMPARED_MAX)?;
    let form = Form::take(&mut params, &headers)?;
    params.end()?;
    let all_time = app.ledger.table().overall_board(class);
    if all_time.slot(racer).is_none() {
        return Err(ApiError::not_found(format!(
            "racer {racer} has no effort in class {class}"
        )));
    }
    let ledger = app.ledger.clone();
    let curves = 1 + compare.as_ref().map_or(0, Vec::len);
    let outputs = all_time.len() * ledger.table().seconds(class).len() * curves;
    let curves = app.long_turns.work(outputs, move || {
        let others = compare.map(|others| {
            others
                .into_iter()
                .map(|other| Curve::of(&ledger, class, other))
                .collect()
        });
        RacerBestsResponse {
            class_id: class,
            racer: Curve::of(&ledger, class, racer),
            compared: others,
        }
    });
    Ok(form.of(&curves.await?))
}

/// A racer in all classes
#[utoipa::path(
    get, path = "/racers/{racerId}", tag = "Racers",
    params(
        ("racerId" = u64, Path, description = "The racer.", maximum = 9007199254740991_u64, example = 17),
        ListParams,
    ),
    responses(
        (status = 200, description = "The racer.", content(
            (RacerResponse = "application/json"),
            (String = "text/csv",
                example = "racerId,classId,seconds,second,output,rank,total,percentile\r\n\
                           17,1,300,60,187.25,1,40000,99.9975\r\n"),
        )),
        (status = 400, description = "A parameter cannot be taken; the detail names it.", body = ApiError,
            content_type = "application/problem+json"),
        (status = 404, description = "Nobody by that id ever rode.", body = ApiError,
            content_type = "application/problem+json"),
        (status = 503, description = "The service is starting, stopping or overloaded.", body = ApiError,
            content_type = "application/problem+json"),
    )
)]
pub(crate) async fn racer(
    Racer(racer): Racer,
    State(app): State<AppState>,
    mut params: Params,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let form = Form::take(&mut params, &headers)?;
    params.end()?;
    let table = app.ledger.table();
    let boards = table
        .classes()
        .map(|class| (class, table.overall_board(class)));
    let boards: Vec<_> = boards
        .filter(|(_, board)| board.slot(racer).is_some())
        .collect();
    if boards.is_empty() {
        return Err(ApiError::not_found(format!(
            "racer {racer} has no effort in any class"
        )));
    }
    let racers = boards.iter().map(|(_, board)| board.len()).sum();
    let ledger = app.ledger.clone();
    let classes = app.turns.work(racers, move || {
        let bests = boards
            .iter()
            .filter_map(|(class, board)| Best::of(ledger.table(), *class, board, racer));
        bests.collect::<Vec<_>>()
    });
    let classes = classes.await?;
    Ok(form.of(&RacerResponse {
        racer_id: racer,
        name: app.ledger.names().get(racer),
        classes,
    }))
}

/// Racers by name
///
/// At most 50, by name, then by id.
#[utoipa::path(
    get, path = "/racers", tag = "Racers",
    params(
        ("name" = String, Query, description = "What the name begins with, in upper or lower case.", min_length = 1,
            max_length = 100, example = "hub"),
        ListParams,
    ),
    responses(
        (status = 200, description = "The racers.", content(
            (Vec<Found> = "application/json"),
            (String = "text/csv", example = "racerId,name\r\n17,Hubert\r\n"),
        )),
        (status = 400, description = "A parameter is missing or cannot be taken; the detail names it.", body = ApiError,
            content_type = "application/problem+json"),
        (status = 503, description = "The service is starting, stopping or overloaded.", body = ApiError,
            content_type = "application/problem+json"),
    )
)]
pub(crate) async fn search(
    State(app): State<AppState>,
    mut params: Params,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let takes = format!("what a name begins with, 1 to {NAME_CHARS_MAX} characters");
    let name = params.take("name", &takes, |text| {
        (1..=NAME_CHARS_MAX)
            .contains(&text.chars().take(NAME_CHARS_MAX + 1).count())
            .then(|| text.to_owned())
    })?;
    let form = Form::take(&mut params, &headers)?;
    params.end()?;
    let name =
        name.ok_or_else(|| ApiError::bad_request(format!("name is missing; it must be {takes}")))?;
    let found = app
        .ledger
        .names()
        .find_by_prefix(&name, FOUND_MAX)
        .into_iter();
    let found: Vec<_> = found
        .map(|(racer, name)| Found {
            racer_id: racer,
            name: Some(name),
        })
        .collect();
    Ok(form.of(&found))
}

/// A racer in a class, and those that are compared.
#[derive(Serialize, ToSchema)]
#[schema(as = RacerInClass)]
#[serde(rename_all = "camelCase")]
struct RacerBestsResponse {
    /// The class.
    #[schema(value_type = u16, example = 1)]
    class_id: ClassId,
    /// The racer.
    #[serde(flatten)]
    racer: Curve,
    /// The others, as they were asked for; those who never rode in the class have no seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    compared: Option<Vec<Curve>>,
}

/// A racer second by second.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Curve {
    /// The racer.
    #[schema(value_type = u64, example = 17)]
    racer_id: RacerId,
    /// The racer's name; null where it is not known.
    #[schema(value_type = Option<String>, required, example = "Hubert")]
    name: Name,
    /// The seconds at which the racer has an effort, ascending.
    seconds: Vec<Point>,
}

/// A racer at a second.
#[derive(Serialize, ToSchema)]
struct Point {
    /// The second.
    #[schema(value_type = u32, example = 60)]
    second: Second,
    /// The racer's best output there.
    #[schema(value_type = f64, minimum = 0, example = 187.25)]
    output: Output,
    /// The rank, from 1: one more than there are racers with greater outputs.
    #[schema(minimum = 1, example = 1)]
    rank: usize,
    /// How many racers have an effort there.
    #[schema(example = 40000)]
    total: usize,
    /// 100 × the share of racers strictly below.
    #[schema(minimum = 0, maximum = 100, example = 99.9975)]
    #[serde(serialize_with = "serialize_number")]
    percentile: f64,
}

impl Point {
    fn of(board: &Board, racer: RacerId) -> Option<Self> {
        let slot = board.slot(racer)?;
        let RankInfo {
            rank,
            total,
            percentile,
        } = rank_info(board, racer)?;
        Some(Self {
            second: board.second(slot),
            output: board.output(slot)?,
            rank,
            total,
            percentile,
        })
    }

    fn cells(&self) -> Vec<String> {
        let percentile = Output::new(self.percentile)
            .map(|percentile| percentile.to_string())
            .unwrap_or_default();
        let (second, output) = (self.second.to_string(), self.output.to_string());
        vec![
            second,
            output,
            self.rank.to_string(),
            self.total.to_string(),
            percentile,
        ]
    }
}

impl Curve {
    fn of(ledger: &Ledger, class: ClassId, racer: RacerId) -> Self {
        let table = ledger.table();
        let seconds = table.seconds(class).into_iter();
        let points =
            seconds.filter_map(|(second, _)| Point::of(&table.board(class, second), racer));
        Self {
            racer_id: racer,
            name: ledger.names().get(racer),
            seconds: points.collect(),
        }
    }
}

impl Rows for RacerBestsResponse {
    fn columns(&self) -> Vec<&'static str> {
        vec!["racerId", "second", "output", "rank", "total", "percentile"]
    }

    fn rows(&self) -> impl Iterator<Item = Vec<String>> {
        let curves = std::iter::once(&self.racer).chain(self.compared.iter().flatten());
        let points =
            curves.flat_map(|curve| curve.seconds.iter().map(|point| (curve.racer_id, point)));
        points.map(|(racer, point)| [vec![racer.to_string()], point.cells()].concat())
    }
}

/// A racer in all classes.
#[derive(Serialize, ToSchema)]
#[schema(as = Racer)]
#[serde(rename_all = "camelCase")]
struct RacerResponse {
    /// The racer.
    #[schema(value_type = u64, example = 17)]
    racer_id: RacerId,
    /// The racer's name; null where it is not known.
    #[schema(value_type = Option<String>, required, example = "Hubert")]
    name: Name,
    /// The classes in which the racer has an effort.
    classes: Vec<Best>,
}

impl Rows for RacerResponse {
    fn columns(&self) -> Vec<&'static str> {
        vec![
            "racerId",
            "classId",
            "seconds",
            "second",
            "output",
            "rank",
            "total",
            "percentile",
        ]
    }

    fn rows(&self) -> impl Iterator<Item = Vec<String>> {
        self.classes.iter().map(|it| {
            let of_class = vec![
                self.racer_id.to_string(),
                it.class_id.to_string(),
                it.seconds.to_string(),
            ];
            [of_class, it.best.cells()].concat()
        })
    }
}

/// A racer's best output in a class, and where it stands on the class's all-time board.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Best {
    /// The class.
    #[schema(value_type = u16, example = 1)]
    class_id: ClassId,
    /// At how many seconds the racer has an effort.
    #[schema(example = 300)]
    seconds: usize,
    /// The best, and where it stands.
    #[serde(flatten)]
    best: Point,
}

impl Best {
    fn of(table: &Table, class: ClassId, all_time: &Board, racer: RacerId) -> Option<Self> {
        let best = Point::of(all_time, racer)?;
        Some(Self {
            class_id: class,
            seconds: table.racer_bests(class, racer).len(),
            best,
        })
    }
}

/// A racer that was found.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Found {
    /// The racer.
    #[schema(value_type = u64, example = 17)]
    racer_id: RacerId,
    /// The racer's name.
    #[schema(value_type = String, example = "Hubert")]
    name: Name,
}

impl Rows for Vec<Found> {
    fn columns(&self) -> Vec<&'static str> {
        vec!["racerId", "name"]
    }

    fn rows(&self) -> impl Iterator<Item = Vec<String>> {
        self.iter().map(|found| {
            vec![
                found.racer_id.to_string(),
                found.name.as_deref().unwrap_or_default().to_owned(),
            ]
        })
    }
}
