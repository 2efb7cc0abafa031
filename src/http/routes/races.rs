//! `/classes/{classId}/races`: here now, and the results of recent races.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::domain::effort::{ClassId, Output, RaceId, RacerId, Second};
use crate::http::error::ApiError;
use crate::http::extract::path::{ClassPath, RacePath};
use crate::http::extract::query::QueryParams;
use crate::http::extract::values::{LimitParam, OffsetParam, PrettyParam};
use crate::http::respond::format::{FormatParam, ListParams, ResponseFormat, Row, Rows};
use crate::http::state::{AppState, Name};
use crate::ledger::Ledger;
use crate::state::leaderboard::PageLimit;
use crate::state::races::RaceSummary;

/// Recent races
///
/// The races of the last `--races-kept` (24 hours by default), the newest first, whichever instance took in their riders.
#[utoipa::path(
    get, path = "/classes/{classId}/races", tag = "Races",
    params(ClassPath, ListParams),
    responses(
        (status = 200, description = "The races.", content(
            (Vec<RaceResponse> = "application/json"),
            (String = "text/csv",
                example = "raceId,startedAt,racers,lastSecond,finished\r\n1619185620265,1619185620265,40,300,true\r\n"),
        )),
    )
)]
pub(crate) async fn races(
    ClassPath { class }: ClassPath,
    State(app): State<AppState>,
    QueryParams(query): QueryParams<ListParams>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let races = app.ledger.races().summaries(class);
    let races: Vec<_> = races.into_iter().map(RaceResponse::new).collect();
    Ok(query.format(&headers).respond(&races))
}

/// The query parameters of a race's leaderboard.
#[derive(Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct RaceLeaderboardParams {
    /// Maximum number of rows.
    #[param(inline)]
    limit: LimitParam,
    /// Number of rows to skip.
    #[param(inline)]
    offset: OffsetParam,
    /// `json` or `csv`; without it, the format that `Accept` prefers.
    #[param(inline)]
    format: FormatParam,
    /// Format the JSON for people.
    #[param(inline)]
    pretty: PrettyParam,
}

/// The leaderboard of a race
///
/// Here now, and later the results: every racer of the race at the racer's latest second, ordered by output descending,
/// then by racer id ascending.
#[utoipa::path(
    get, path = "/classes/{classId}/races/{raceId}/leaderboard", tag = "Races",
    params(
        ClassPath,
        RacePath,
        RaceLeaderboardParams,
    ),
    responses(
        (status = 200, description = "The standings.", content(
            (RaceLeaderboard = "application/json"),
            (String = "text/csv", example = "rank,racerId,name,output,second\r\n1,17,Hubert,187.25,60\r\n"),
        )),
    )
)]
pub(crate) async fn race_leaderboard(
    ClassPath { class }: ClassPath,
    RacePath { race }: RacePath,
    State(app): State<AppState>,
    QueryParams(query): QueryParams<RaceLeaderboardParams>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let format = ResponseFormat::negotiate(query.format, query.pretty, &headers);
    let limit = query.limit.0.unwrap_or(PageLimit::DEFAULT);
    let offset = query.offset.0.unwrap_or_default().0;
    let races = app.ledger.races().summaries(class);
    let racers = races.iter().find(|it| it.race == race);
    let racers = racers.map_or(0, |it| it.racers);
    let ledger = app.ledger.clone();
    let work = move || RaceLeaderboard::new(&ledger, class, race, offset, limit.get());
    let board = app.workers.work(racers, work).await?.ok_or_else(|| {
        ApiError::not_found(format!(
            "race {} is not among the recent races of class {class}; /classes/{class}/races lists them",
            race.0
        ))
    })?;
    Ok(format.respond(&board))
}

/// A race.
#[derive(Serialize, ToSchema)]
#[schema(as = Race)]
#[serde(rename_all = "camelCase")]
struct RaceResponse {
    /// The race.
    race_id: RaceId,
    /// Time of the start, in milliseconds since 1970: the least time of a row minus its second.
    #[schema(example = 1619185620265_u64)]
    started_at: u64,
    /// Number of racers seen.
    #[schema(example = 40)]
    racers: usize,
    /// The last second that anyone reached.
    last_second: Second,
    /// Whether that second is the race's last: it came with the event `final`, from any racer. Records of other racers
    /// may still arrive.
    finished: bool,
}

/// A race and its standings.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RaceLeaderboard {
    /// The class.
    class_id: ClassId,
    /// The race.
    #[serde(flatten)]
    race: RaceResponse,
    /// The rows.
    standings: Vec<RaceStanding>,
}

/// A racer's standing in a race.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RaceStanding {
    /// The rank among all in the race, from 1; racers with equal outputs share one.
    #[schema(minimum = 1, example = 1)]
    rank: usize,
    /// The racer.
    racer_id: RacerId,
    /// The racer's name; null if unknown.
    #[schema(value_type = Option<String>, required, example = "Hubert")]
    name: Name,
    /// The output at the racer's latest second.
    output: Output,
    /// That second.
    second: Second,
}

impl RaceResponse {
    fn new(summary: RaceSummary) -> Self {
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
    /// Returns up to `limit` rows from `offset` on; `None` for an unknown race.
    pub(crate) fn new(
        ledger: &Ledger,
        class: ClassId,
        race: RaceId,
        offset: usize,
        limit: usize,
    ) -> Option<Self> {
        let (summary, positions) = ledger.races().standings(class, race)?;
        let rows = positions.into_iter().skip(offset).take(limit);
        let rows = rows.map(|it| RaceStanding {
            rank: it.rank,
            racer_id: it.racer,
            name: ledger.names().get(it.racer),
            output: it.output,
            second: it.second,
        });
        Some(Self {
            class_id: class,
            race: RaceResponse::new(summary),
            standings: rows.collect(),
        })
    }
}

impl Row for RaceResponse {
    const COLUMNS: &[&str] = &["raceId", "startedAt", "racers", "lastSecond", "finished"];
}

impl Rows for RaceLeaderboard {
    fn columns(&self) -> Vec<&'static str> {
        vec!["rank", "racerId", "name", "output", "second"]
    }

    fn rows(&self) -> impl Iterator<Item = impl Serialize> {
        self.standings.iter()
    }
}
