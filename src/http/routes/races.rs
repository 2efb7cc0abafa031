//! `/classes/{classId}/races`: here now, and the results of recent races.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use crate::domain::effort::{ClassId, INTEGER_MAX, Output, RaceId, RacerId, Second};
use crate::http::error::ApiError;
use crate::http::extract::params::{Class, Params, Race};
use crate::http::respond::form::ListParams;
use crate::http::respond::form::{Form, Rows};
use crate::http::state::{AppState, Name};
use crate::ledger::Ledger;
use crate::state::leaderboard::PageLimit;
use crate::state::races::{RacePosition, RaceSummary};

/// Recent races
///
/// The last dozen that this instance heard of, the newest first. In memory only: after a restart there is none until
/// the next delivery.
#[utoipa::path(
    get, path = "/classes/{classId}/races", tag = "Races",
    params(("classId" = u16, Path, description = "The exercise class.", minimum = 1, example = 1), ListParams),
    responses(
        (status = 200, description = "The races.", content(
            (Vec<RaceResponse> = "application/json"),
            (String = "text/csv",
                example = "raceId,startedAt,racers,lastSecond,finished\r\n1619185620265,1619185620265,40,300,true\r\n"),
        )),
        (status = 400, description = "A parameter cannot be taken; the detail names it.", body = ApiError,
            content_type = "application/problem+json"),
        (status = 404, description = "No such class.", body = ApiError, content_type = "application/problem+json"),
        (status = 503, description = "The service is starting, stopping or overloaded.", body = ApiError,
            content_type = "application/problem+json"),
    )
)]
pub(crate) async fn races(
    Class(class): Class,
    State(app): State<AppState>,
    mut params: Params,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let form = Form::take(&mut params, &headers)?;
    params.end()?;
    let summaries = app.ledger.races().summaries(class);
    Ok(form.of(&summaries
        .into_iter()
        .map(RaceResponse::of)
        .collect::<Vec<_>>()))
}

/// Which rows.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "tells what `race_leaderboard` takes")]
struct RowsParams {
    /// The most rows.
    #[param(minimum = 1, maximum = 1000, default = 50)]
    limit: Option<u64>,
    /// How many rows to leave out.
    #[param(minimum = 0, maximum = 9007199254740991_u64, default = 0)]
    offset: Option<u64>,
}

/// Here now, and later the results
///
/// Every racer of the race at the racer's latest second, by output descending, then by racer id ascending.
#[utoipa::path(
    get, path = "/classes/{classId}/races/{raceId}/leaderboard", tag = "Races",
    params(
        ("classId" = u16, Path, description = "The exercise class.", minimum = 1, example = 1),
        ("raceId" = u64, Path, description = "The race.", maximum = 9007199254740991_u64, example = 1619185620265_u64),
        RowsParams, ListParams,
    ),
    responses(
        (status = 200, description = "The standings.", content(
            (RaceLeaderboard = "application/json"),
            (String = "text/csv", example = "rank,racerId,name,output,second\r\n1,17,Hubert,187.25,60\r\n"),
        )),
        (status = 400, description = "A parameter cannot be taken; the detail names it.", body = ApiError,
            content_type = "application/problem+json"),
        (status = 404, description = "No such class, or the race is not among its recent ones.", body = ApiError,
            content_type = "application/problem+json"),
        (status = 503, description = "The service is starting, stopping or overloaded.", body = ApiError,
            content_type = "application/problem+json"),
    )
)]
pub(crate) async fn race_leaderboard(
    Class(class): Class,
    Race(race): Race,
    State(app): State<AppState>,
    mut params: Params,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let limit = params.integer("limit", 1..=PageLimit::MAX as u64)?;
    let limit = limit
        .and_then(|rows| PageLimit::new(usize::try_from(rows).ok()?))
        .unwrap_or_default();
    let offset = params.integer("offset", 0..=INTEGER_MAX)?.unwrap_or(0);
    let offset = usize::try_from(offset).unwrap_or(usize::MAX);
    let form = Form::take(&mut params, &headers)?;
    params.end()?;
    let summaries = app.ledger.races().summaries(class);
    let racers = summaries
        .iter()
        .find(|it| it.race == race)
        .map_or(0, |it| it.racers);
    let ledger = app.ledger.clone();
    let board = app
        .turns
        .work(racers, move || {
            RaceLeaderboard::of(&ledger, class, race, offset, limit.get())
        })
        .await?;
    let board = board.ok_or_else(|| {
        let detail = format!(
            "race {} is not among the recent races of class {class}",
            race.0
        );
        ApiError::not_found(format!("{detail}; /classes/{class}/races lists them"))
    })?;
    Ok(form.of(&board))
}

/// A race.
#[derive(Serialize, ToSchema)]
#[schema(as = Race)]
#[serde(rename_all = "camelCase")]
struct RaceResponse {
    /// The race.
    #[schema(value_type = u64, maximum = 9007199254740991_u64, example = 1619185620265_u64)]
    race_id: RaceId,
    /// When it started, in milliseconds since 1970, as the first effort that was heard of tells.
    #[schema(example = 1619185620265_u64)]
    started_at: u64,
    /// How many racers were heard of.
    #[schema(example = 40)]
    racers: usize,
    /// The last second that anyone reached.
    #[schema(value_type = u32, example = 60)]
    last_second: Second,
    /// Whether that second came with the event `final`, from any racer: it is the race's last. The others' records of
    /// it may still be on their way.
    finished: bool,
}

/// A race and who stands where in it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RaceLeaderboard {
    /// The class.
    #[schema(value_type = u16, example = 1)]
    class_id: ClassId,
    /// The race.
    #[serde(flatten)]
    race: RaceResponse,
    /// The rows.
    standings: Vec<RaceStanding>,
}

/// A racer's place in a race.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RaceStanding {
    /// The rank among all in the race, from 1; racers with equal outputs share one.
    #[schema(minimum = 1, example = 1)]
    rank: usize,
    /// The racer.
    #[schema(value_type = u64, example = 17)]
    racer_id: RacerId,
    /// The racer's name; null where it is not known.
    #[schema(value_type = Option<String>, required, example = "Hubert")]
    name: Name,
    /// The output at the racer's latest second.
    #[schema(value_type = f64, minimum = 0, example = 187.25)]
    output: Output,
    /// That second.
    #[schema(value_type = u32, example = 60)]
    second: Second,
}

impl RaceResponse {
    fn of(summary: RaceSummary) -> Self {
        Self {
            race_id: summary.race,
            started_at: summary.started_ms,
            racers: summary.racers,
            last_second: summary.last_second,
            finished: summary.is_finished,
        }
    }
}

impl RaceLeaderboard {
    /// Up to `limit` rows from `offset` on, where the race is remembered.
    pub(crate) fn of(
        ledger: &Ledger,
        class: ClassId,
        race: RaceId,
        offset: usize,
        limit: usize,
    ) -> Option<Self> {
        let (summary, standings) = ledger.races().standings(class, race)?;
        let rows = standings.into_iter().skip(offset).take(limit);
        let rows = rows.map(
            |RacePosition {
                 rank,
                 racer,
                 output,
                 second,
             }| {
                let name = ledger.names().get(racer);
                RaceStanding {
                    rank,
                    racer_id: racer,
                    name,
                    output,
                    second,
                }
            },
        );
        Some(Self {
            class_id: class,
            race: RaceResponse::of(summary),
            standings: rows.collect(),
        })
    }
}

impl Rows for Vec<RaceResponse> {
    fn columns(&self) -> Vec<&'static str> {
        vec!["raceId", "startedAt", "racers", "lastSecond", "finished"]
    }

    fn rows(&self) -> impl Iterator<Item = Vec<String>> {
        self.iter().map(|it| {
            let (race, second) = (it.race_id.0.to_string(), it.last_second.to_string());
            vec![
                race,
                it.started_at.to_string(),
                it.racers.to_string(),
                second,
                it.finished.to_string(),
            ]
        })
    }
}

impl Rows for RaceLeaderboard {
    fn columns(&self) -> Vec<&'static str> {
        vec!["rank", "racerId", "name", "output", "second"]
    }

    fn rows(&self) -> impl Iterator<Item = Vec<String>> {
        self.standings.iter().map(|it| {
            let name = it.name.as_deref().unwrap_or_default().to_owned();
            vec![
                it.rank.to_string(),
                it.racer_id.to_string(),
                name,
                it.output.to_string(),
                it.second.to_string(),
            ]
        })
    }
}
