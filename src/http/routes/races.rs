//! `/classes/{classId}/races`: recent races and their leaderboards, also while they are ridden.

use axum::extract::State;
use axum::http::header;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::domain::effort::{ClassId, Output, RaceId, RacerId, Second};
use crate::http::error::ApiError;
use crate::http::extract::path::{ClassPath, RacePath};
use crate::http::extract::query::QueryParams;
use crate::http::extract::values::{LimitParam, PrettyParam};
use crate::http::respond::board::{BoardResponse, ResponsePreferences};
use crate::http::respond::format::{FormatParam, Row, Rows};
use crate::http::routes::leaderboard::page::{BoardColumns, PageOptions, PageResponse};
use crate::http::routes::leaderboard::params::{
    CursorParam, LeaderboardParams, RaceLeaderboardParams,
};
use crate::http::state::AppState;
use crate::ledger::Ledger;
use crate::state::leaderboard::{
    Cursor, CursorRow, Leaderboard, LeaderboardQuery, PageLimit, RaceBoard, RacerNotFound,
    query as query_page,
};
use crate::state::races::RaceSummary;

/// The query parameters of the list of races.
#[derive(Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct RacesParams {
    /// Maximum number of races.
    #[param(inline)]
    limit: LimitParam,
    /// The page that a `Link` header of another page names.
    #[param(inline)]
    cursor: CursorParam,
    /// `json` or `csv`; without it, the format that `Accept` prefers.
    #[param(inline)]
    format: FormatParam,
    /// Format the JSON for people.
    #[param(inline)]
    pretty: PrettyParam,
}

/// Recent races
///
/// The races of the last `--races-kept` (24 hours by default), the newest first, from all
/// instances.
#[utoipa::path(
    get, path = "/classes/{classId}/races", tag = "Races", operation_id = "listRaces",
    params(ClassPath, RacesParams),
    responses(
        (status = 200, description = "The races.", content(
            (Vec<RaceResponse> = "application/json"),
            (String = "text/csv",
                example = "raceId,startedAt,racers,lastSecond,finished\r\n1619185620265,1619185620265,40,300,true\r\n"),
        ), headers(("Link" = String, description = "The pages after (`next`) and before (`prev`) this one, if any."))),
    )
)]
pub(crate) async fn races(
    ClassPath { class }: ClassPath,
    State(app): State<AppState>,
    QueryParams(query): QueryParams<RacesParams>,
    preferences: ResponsePreferences,
) -> Response {
    let races = app.ledger.races().summaries(class);
    let limit = query.limit.0.unwrap_or(PageLimit::DEFAULT);
    let (races, next, previous) = page_of_races(&races, limit, query.cursor.0);
    let races: Vec<_> = races.iter().map(RaceResponse::new).collect();
    let mut response = preferences
        .format(query.format, query.pretty)
        .respond(&races);
    if let Some(link) = preferences.link([next.as_deref(), previous.as_deref()]) {
        response.headers_mut().insert(header::LINK, link);
    }
    response
}

/// Returns a page of the races, which are the newest first, and the cursors of the pages beside it.
/// The cursor reuses two fields: its output is the race's start, its racer the race's id.
fn page_of_races(
    races: &[RaceSummary],
    limit: PageLimit,
    cursor: Option<Cursor>,
) -> (&[RaceSummary], Option<String>, Option<String>) {
    let row = |race: &RaceSummary| CursorRow {
        output: Output::new(race.started_ms as f64).expect("an integer is finite"),
        racer: RacerId(race.race.0),
        time_ms: None,
    };
    let rows_before =
        |is_before: &dyn Fn(CursorRow) -> bool| races.partition_point(|race| is_before(row(race)));
    let key = |row: CursorRow| (row.output, row.racer);
    let limit = limit.get();
    let page_from = |start: usize| start..races.len().min(start + limit);
    let page_until = |end: usize| end.saturating_sub(limit)..end;
    let page = match cursor {
        None | Some(Cursor::First) => page_from(0),
        Some(Cursor::After(last)) => page_from(rows_before(&|row| key(row) >= key(last))),
        Some(Cursor::Before(first)) => page_until(rows_before(&|row| key(row) > key(first))),
        Some(Cursor::Last) => page_until(races.len()),
    };
    let (has_next, has_previous) = (page.end < races.len(), page.start > 0);
    let page = &races[page];
    let next = page
        .last()
        .map_or(Cursor::First, |race| Cursor::After(row(race)));
    let previous = page
        .first()
        .map_or(Cursor::Last, |race| Cursor::Before(row(race)));
    (
        page,
        has_next.then(|| next.to_string()),
        has_previous.then(|| previous.to_string()),
    )
}

/// The leaderboard of a race
///
/// The current standings while the race is ridden, and later the results: every racer of the race
/// at the racer's latest second, ordered by output descending, then by racer id ascending.
#[utoipa::path(
    get, path = "/classes/{classId}/races/{raceId}/leaderboard", tag = "Races", operation_id = "getRaceLeaderboard",
    params(
        ClassPath,
        RacePath,
        RaceLeaderboardParams,
        ("If-None-Match" = String, Header, description = "ETags of versions that the client has."),
    ),
    responses(
        (status = 200, description = "The standings.", content(
            (RaceLeaderboard<'_> = "application/json"),
            (String = "text/csv", example = "rank,racerId,name,output,second\r\n1,17,Hubert,187.25,60\r\n"),
        ), headers(
            ("ETag" = String, description = "Strong; equal for equal content."),
            ("Link" = String, description = "With CSV: the next page (`next`) and the previous one (`prev`), if any."),
        )),
        (status = 304, description = "The client has this version."),
    )
)]
pub(crate) async fn race_leaderboard(
    ClassPath { class }: ClassPath,
    RacePath { race }: RacePath,
    State(app): State<AppState>,
    QueryParams(query): QueryParams<RaceLeaderboardParams>,
    preferences: ResponsePreferences,
) -> Result<Response, ApiError> {
    let format = preferences.format(query.format, query.pretty);
    let query = LeaderboardParams::from(query).board_query()?;
    let options = PageOptions::from(&query);
    let racers = app.ledger.races().racers(class, race);
    let ledger = app.ledger.clone();
    let work = move || race_page(&ledger, class, race, &query);
    let page = app.workers.work(racers, work).await?.ok_or_else(|| {
        ApiError::not_found(format!(
            "race {} is not among the recent races of class {class}; /classes/{class}/races lists them",
            race.0
        ))
    })?;
    let (summary, page) = page.map_err(|error| {
        ApiError::not_found(format!("{error}: race {} of class {class}", race.0))
    })?;
    let board = RaceLeaderboard::new(&app.ledger, class, &summary, page, &options);
    Ok(preferences.respond(format, &board))
}

/// A page of a race, with the race's numbers.
type RacePage = Result<(RaceSummary, Leaderboard), RacerNotFound>;

/// Returns the page of a race that a query selects; `None` for an unknown race.
fn race_page(
    ledger: &Ledger,
    class: ClassId,
    race: RaceId,
    query: &LeaderboardQuery,
) -> Option<RacePage> {
    let (summary, positions) = ledger.races().positions(class, race)?;
    let rows = positions.into_iter();
    let board = RaceBoard::new(rows.map(|row| (row.racer, row.output, row.second)));
    Some(query_page(&board, query).map(|page| (summary, page)))
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
    /// Whether that second is the race's last: it came with the event `final`, from any racer.
    /// Records of other racers may still arrive.
    finished: bool,
}

/// A race and a page of its standings.
#[derive(Serialize, ToSchema)]
#[schema(as = RaceLeaderboard)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RaceLeaderboard<'a> {
    /// The class.
    class_id: ClassId,
    /// The race.
    #[serde(flatten)]
    race: RaceResponse,
    /// The page.
    #[serde(flatten)]
    page: PageResponse<'a>,
}

impl RaceResponse {
    fn new(summary: &RaceSummary) -> Self {
        Self {
            race_id: summary.race,
            started_at: summary.started_ms,
            racers: summary.racers,
            last_second: summary.last_second,
            finished: summary.is_finished,
        }
    }
}

impl<'a> RaceLeaderboard<'a> {
    /// Returns the first rows; `None` for an unknown race.
    pub(crate) fn first(
        ledger: &'a Ledger,
        class: ClassId,
        race: RaceId,
        limit: PageLimit,
    ) -> Option<Self> {
        let query = LeaderboardQuery {
            limit,
            ..LeaderboardQuery::default()
        };
        let (summary, page) = race_page(ledger, class, race, &query)?.ok()?;
        let options = PageOptions::default();
        Some(Self::new(ledger, class, &summary, page, &options))
    }

    fn new(
        ledger: &'a Ledger,
        class: ClassId,
        summary: &RaceSummary,
        page: Leaderboard,
        options: &PageOptions,
    ) -> Self {
        let columns = BoardColumns {
            second: true,
            ..BoardColumns::default()
        };
        Self {
            class_id: class,
            race: RaceResponse::new(summary),
            page: PageResponse::new(page, options, columns, ledger.names()),
        }
    }
}

impl BoardResponse for RaceLeaderboard<'_> {
    fn cursors(&self) -> [Option<&str>; 2] {
        self.page.cursors()
    }
}

impl Row for RaceResponse {
    const COLUMNS: &[&str] = &["raceId", "startedAt", "racers", "lastSecond", "finished"];
}

impl Rows for RaceLeaderboard<'_> {
    fn columns(&self) -> Vec<&'static str> {
        self.page.columns()
    }

    fn rows(&self) -> impl Iterator<Item = impl Serialize> {
        self.page.rows()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_visit_every_race_both_ways() {
        // Newest first; three started at the same time.
        let races =
            [(9, 5), (7, 3), (7, 2), (7, 1), (4, 8)].map(|(started_ms, race)| RaceSummary {
                race: RaceId(race),
                started_ms,
                racers: 1,
                last_second: Second(0),
                is_finished: false,
                version: 0,
            });
        for rows in 1..=6 {
            let limit = PageLimit::new(rows).unwrap();
            let page = |cursor: Option<String>| {
                let cursor = cursor.map(|cursor| cursor.parse().unwrap());
                page_of_races(&races, limit, cursor)
            };
            let (mut walked, mut next, _) = page(None);
            let mut pages = vec![walked];
            while next.is_some() {
                (walked, next, _) = page(next);
                pages.push(walked);
            }
            assert_eq!(pages.concat(), races);
            let (mut walked, _, mut previous) = page(Some(Cursor::Last.to_string()));
            let mut pages = vec![walked];
            while previous.is_some() {
                (walked, _, previous) = page(previous);
                pages.insert(0, walked);
            }
            assert_eq!(pages.concat(), races);
            assert!(
                pages[1..]
                    .iter()
                    .all(|page| page.len() == rows.min(races.len()))
            );
        }
    }
}
