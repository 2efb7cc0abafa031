//! `/classes/{classId}/leaderboard`: the ranks of racers, at a second or over all of them.

pub(crate) mod page;
pub(crate) mod params;

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::effort::{ClassId, Second};
use crate::http::error::ApiError;
use crate::http::extract::path::ClassPath;
use crate::http::extract::query::QueryParams;
use crate::http::extract::values::{SecondOrLast, SecondOrLastParam};
use crate::http::respond::board::{BoardResponse, ResponsePreferences};
use crate::http::respond::format::Rows;
use crate::http::routes::leaderboard::page::{BoardColumns, PageOptions, PageResponse};
use crate::http::routes::leaderboard::params::LeaderboardParams;
use crate::http::state::{AppState, SharedState};
use crate::state::leaderboard::{
    Leaderboard, LeaderboardQuery, RacerNotFound, query as query_page,
};
use crate::state::table::{Board, Table};

/// A page of a leaderboard
///
/// Ordered by output descending, then by racer id ascending. Empty for a class without efforts.
/// With `by=finish`: each racer's best output at the end of a race, with `raceId` and `at`.
#[utoipa::path(
    get, path = "/classes/{classId}/leaderboard", tag = "Leaderboards", operation_id = "getLeaderboard",
    params(
        ClassPath,
        LeaderboardParams,
        ("If-None-Match" = String, Header, description = "ETags of versions that the client has."),
    ),
    responses(
        (status = 200, description = "The page.", content(
            (LeaderboardResponse<'_> = "application/json", example = json!({
                "classId": 1, "second": 60, "total": 40000,
                "standings": [{ "rank": 1, "racerId": 17, "name": "Hubert", "output": 187.25 }],
                "next": "AQEAAAAAAAAAEUBnaAAAAAAA", "previous": null,
            })),
            (String = "text/csv", example = "rank,racerId,name,output\r\n1,17,Hubert,187.25\r\n"),
        ), headers(
            ("ETag" = String, description = "Strong; equal for equal content."),
            ("Link" = String, description = "With CSV: the next page (`next`) and the previous one (`prev`), if any."),
        )),
        (status = 304, description = "The client has this version."),
    )
)]
pub(crate) async fn leaderboard(
    ClassPath { class }: ClassPath,
    State(app): State<AppState>,
    QueryParams(query): QueryParams<LeaderboardParams>,
    preferences: ResponsePreferences,
) -> Result<Response, ApiError> {
    let format = preferences.format(query.format, query.pretty);
    let (by_finish, second_param) = (query.is_by_finish()?, query.second);
    let query = query.board_query()?;
    let options = PageOptions::from(&query);
    let (second, page) = if by_finish {
        (None, finish_page(&app, class, query).await?)
    } else {
        let (second, board) = board(app.ledger.table(), class, second_param);
        (second, effort_page(&app, board, query).await?)
    };
    let page = page.map_err(|error| match second {
        Some(second) => ApiError::not_found(format!("{error}: second {second} of class {class}")),
        None => ApiError::not_found(format!("{error}: class {class}")),
    })?;
    let columns = BoardColumns {
        second: second_param.0.is_none() && !by_finish,
        finish: by_finish,
    };
    let page = PageResponse::new(page, &options, columns, app.ledger.names());
    Ok(preferences.respond(
        format,
        &LeaderboardResponse {
            class_id: class,
            second,
            page,
        },
    ))
}

/// A page, unless the query names a racer that is not on the board.
type PageResult = Result<Leaderboard, RacerNotFound>;

async fn effort_page(
    app: &SharedState,
    board: Board,
    query: LeaderboardQuery,
) -> Result<PageResult, ApiError> {
    // Reading a page from a cached order takes microseconds. Computing the order is work, so it
    // goes to a worker.
    let outputs = if board.has_order() { 0 } else { board.len() };
    app.workers
        .work(outputs, move || query_page(&board, &query))
        .await
}

async fn finish_page(
    app: &SharedState,
    class: ClassId,
    query: LeaderboardQuery,
) -> Result<PageResult, ApiError> {
    let races = app.ledger.races();
    if let Some(board) = races.cached_finish_board(class) {
        return Ok(query_page(&*board, &query));
    }
    let ledger = app.ledger.clone();
    let work = move || query_page(&*ledger.races().finish_board(class), &query);
    app.workers.work(races.finish_count(class), work).await
}

/// Returns the board of the query, and its second if it has one.
fn board(table: &Table, class: ClassId, second: SecondOrLastParam) -> (Option<Second>, Board) {
    let second = match second.0 {
        None => return (None, table.overall_board(class)),
        Some(SecondOrLast::Second(second)) => Some(second),
        Some(SecondOrLast::Last) => table.last_second(class),
    };
    // A class without efforts has no last second; any second would do: all are empty.
    (second, table.board(class, second.unwrap_or(Second(0))))
}

/// A page of a leaderboard.
#[derive(Serialize, ToSchema)]
#[schema(as = Leaderboard)]
#[serde(rename_all = "camelCase")]
struct LeaderboardResponse<'a> {
    /// The class.
    class_id: ClassId,
    /// The second; null on the all-time board, and for `last` in a class without efforts.
    #[schema(required)]
    second: Option<Second>,
    /// The page.
    #[serde(flatten)]
    page: PageResponse<'a>,
}

impl Rows for LeaderboardResponse<'_> {
    fn columns(&self) -> Vec<&'static str> {
        self.page.columns()
    }

    fn rows(&self) -> impl Iterator<Item = impl Serialize> {
        self.page.rows()
    }
}

impl BoardResponse for LeaderboardResponse<'_> {
    fn cursors(&self) -> [Option<&str>; 2] {
        self.page.cursors()
    }
}
