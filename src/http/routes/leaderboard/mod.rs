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
use crate::http::respond::board::{BoardRequest, BoardResponse};
use crate::http::respond::format::Rows;
use crate::http::routes::leaderboard::page::{BoardColumns, PageOptions, PageResponse};
use crate::http::routes::leaderboard::params::LeaderboardParams;
use crate::http::state::AppState;
use crate::state::leaderboard::{Ties, query as page};
use crate::state::table::{Board, Table};

/// A page of a leaderboard
///
/// Ordered by output descending, then by racer id ascending. Empty for a class without efforts.
#[utoipa::path(
    get, path = "/classes/{classId}/leaderboard", tag = "Leaderboards", operation_id = "getLeaderboard",
    params(ClassPath, LeaderboardParams),
    responses(
        (status = 200, description = "The page.", content(
            (LeaderboardResponse<'_> = "application/json", example = json!({
                "classId": 1, "second": 60, "total": 40000,
                "standings": [{ "rank": 1, "racerId": 17, "name": "Hubert", "output": 187.25 }],
                "next": "AQEAAAAAAAAAEUBnaAAAAAAA", "previous": null,
            })),
            (String = "text/csv", example = "rank,racerId,name,output\r\n1,17,Hubert,187.25\r\n"),
        )),
    )
)]
pub(crate) async fn leaderboard(
    ClassPath { class }: ClassPath,
    State(app): State<AppState>,
    QueryParams(query): QueryParams<LeaderboardParams>,
    request: BoardRequest,
) -> Result<Response, ApiError> {
    let format = request.format(query.format, query.pretty);
    let (second, board) = board(app.ledger.table(), class, query.second);
    let is_all_time = query.second.0.is_none();
    let query = query.board_query()?;
    let options = PageOptions::from(&query);
    // Reading a page from a cached order takes microseconds. Computing the order is work, so it goes
    // to a worker.
    let is_ordered = board.has_order(query.ties == Ties::Dense);
    let outputs = if is_ordered { 0 } else { board.len() };
    let page = app
        .workers
        .work(outputs, move || page(&board, &query))
        .await?;
    let page = page.map_err(|error| match second {
        Some(second) => ApiError::not_found(format!("{error}: second {second} of class {class}")),
        None => ApiError::not_found(format!("{error}: class {class}")),
    })?;
    let columns = BoardColumns {
        second: is_all_time,
        ..BoardColumns::default()
    };
    let page = PageResponse::new(page, &options, columns, app.ledger.names());
    Ok(request.respond(
        format,
        &LeaderboardResponse {
            class_id: class,
            second,
            page,
        },
    ))
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
