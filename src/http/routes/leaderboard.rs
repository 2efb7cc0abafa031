//! `/classes/{classId}/leaderboard`: the ranks of racers, at a second or over all of them.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::{Deserialize, Serialize, Serializer};
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{IntoParams, ToSchema};

use crate::domain::effort::{ClassId, Output, RacerId, Second};
use crate::domain::racer_names::RacerNames;
use crate::http::error::ApiError;
use crate::http::extract::path::ClassPath;
use crate::http::extract::query::{Param, ParamValue, QueryParams};
use crate::http::extract::values::{
    LimitParam, Offset, OffsetParam, OutputParam, PrettyParam, RacerList, RacerParam, RacersParam,
    SecondOrLast, SecondOrLastParam, choices,
};
use crate::http::respond::format::{FormatParam, ResponseFormat, Rows};
use crate::http::state::{AppState, Name};
use crate::state::leaderboard::{
    Cursor, LeaderboardQuery, PageLimit, PageSelector, Standing, Ties, WhatIf, query as page,
};
use crate::state::table::{Board, Table};

/// The query parameters of a leaderboard.
#[derive(Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct LeaderboardParams {
    /// The second of the race, from 0; or `last`, the last second that anyone in the class reached.
    /// Without it: the all-time board, by each racer's best output over all seconds.
    #[param(inline, example = 60)]
    second: SecondOrLastParam,
    /// The rank of racers with equal outputs: `competition` 1, 2, 2, 4; `dense` 1, 2, 2, 3;
    /// `ordinal` 1, 2, 3, 4.
    #[param(inline)]
    ties: TiesParam,
    /// Maximum number of rows.
    #[param(inline)]
    limit: LimitParam,
    /// Number of rows to skip. Not with `cursor` or `around`.
    #[param(inline)]
    offset: OffsetParam,
    /// The page named by `next` or `previous` of another page. It stays right while the board
    /// changes.
    #[param(inline)]
    cursor: CursorParam,
    /// The page with this racer in its middle; at either edge the page is still full.
    #[param(inline)]
    around: RacerParam,
    /// Only these racers, ranked among all racers: up to 1000 ids, separated by commas or in
    /// repeated parameters.
    #[param(inline, style = Form, explode = false, example = json!([1, 2, 3]))]
    racers: RacersParam,
    /// The racer of the what-if. The racer is ranked with `output` if that beats the racer's best.
    #[param(inline, rename = "racerId")]
    #[serde(rename = "racerId")]
    racer: RacerParam,
    /// The output of the what-if. Nothing is stored.
    #[param(inline)]
    output: OutputParam,
    /// `json` or `csv`; without it, the format that `Accept` prefers.
    #[param(inline)]
    format: FormatParam,
    /// Format the JSON for people.
    #[param(inline)]
    pretty: PrettyParam,
}

type CursorParam = Param<Cursor>;
type TiesParam = Param<Ties>;

choices!(Ties, "competition, dense or ordinal", {
    "competition" => Ties::Competition, "dense" => Ties::Dense, "ordinal" => Ties::Ordinal,
});

impl ParamValue for Cursor {
    fn expected() -> String {
        "the `next` or `previous` of a page".to_owned()
    }

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn schema() -> Schema {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some("^[A-Za-z0-9_-]{24}$"))
            .into()
    }
}

/// A page of a leaderboard
///
/// Ordered by output descending, then by racer id ascending. Empty for a class without efforts.
#[utoipa::path(
    get, path = "/classes/{classId}/leaderboard", tag = "Leaderboards",
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
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let format = ResponseFormat::negotiate(query.format, query.pretty, &headers);
    let (second, board) = board(app.ledger.table(), class, query.second);
    let is_all_time = query.second.0.is_none();
    let query = query.board_query()?;
    let is_what_if = query.what_if.is_some();
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
    Ok(format.respond(&LeaderboardResponse {
        class_id: class,
        second,
        total: page.total,
        standings: Standings {
            rows: &page.standings,
            names: app.ledger.names(),
            is_all_time,
        },
        next: page.next.map(|cursor| cursor.to_string()),
        previous: page.previous.map(|cursor| cursor.to_string()),
        is_what_if,
    }))
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

impl LeaderboardParams {
    fn board_query(self) -> Result<LeaderboardQuery, ApiError> {
        Ok(LeaderboardQuery {
            page: self.page()?,
            what_if: self.what_if()?,
            ties: self.ties.0.unwrap_or_default(),
            limit: self.limit.0.unwrap_or(PageLimit::DEFAULT),
            racers: self.racers.0.map(|RacerList(racers)| racers),
        })
    }

    fn page(&self) -> Result<PageSelector, ApiError> {
        let (offset, cursor, around) = (self.offset.0, self.cursor.0, self.around.0);
        match (offset, cursor, around) {
            (None, None, None) => Ok(PageSelector::default()),
            (Some(Offset(rows)), None, None) => Ok(PageSelector::Offset(rows)),
            (None, Some(cursor), None) => Ok(PageSelector::Cursor(cursor)),
            (None, None, Some(racer)) => Ok(PageSelector::Around(racer)),
            _ => {
                let given = [
                    offset.map(|Offset(rows)| format!("offset is {rows}")),
                    cursor.map(|cursor| format!("cursor is {cursor}")),
                    around.map(|racer| format!("around is {racer}")),
                ];
                let given: Vec<_> = given.into_iter().flatten().collect();
                Err(ApiError::bad_request(format!(
                    "{}, and they exclude each other: give one of offset, cursor and around",
                    given.join(" and ")
                )))
            }
        }
    }

    fn what_if(&self) -> Result<Option<WhatIf>, ApiError> {
        let (given, missing, expected) = match (self.racer.0, self.output.0) {
            (None, None) => return Ok(None),
            (Some(racer), Some(output)) => return Ok(Some(WhatIf { racer, output })),
            (Some(racer), None) => (format!("racerId is {racer}"), "output", Output::expected()),
            (None, Some(output)) => (
                format!("output is {output}"),
                "racerId",
                RacerId::expected(),
            ),
        };
        let detail = format!("{given}; give {missing} as well: {expected}");
        Err(ApiError::bad_request(detail))
    }
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
    /// Number of racers on the whole board.
    #[schema(example = 40000)]
    total: usize,
    /// The rows.
    #[schema(value_type = Vec<StandingResponse>)]
    standings: Standings<'a>,
    /// The `cursor` of the page after this one; null at the end.
    #[schema(required)]
    next: Option<String>,
    /// The `cursor` of the page before this one; null at the start.
    #[schema(required)]
    previous: Option<String>,
    #[serde(skip)]
    is_what_if: bool,
}

/// The rows of a page. Each is made when it is written: a page is read every second by every rider,
/// so it copies no names and allocates nothing for its rows.
struct Standings<'a> {
    rows: &'a [Standing],
    names: &'a RacerNames,
    is_all_time: bool,
}

/// A row of a leaderboard.
#[derive(Serialize, ToSchema)]
#[schema(as = Standing)]
#[serde(rename_all = "camelCase")]
struct StandingResponse {
    /// The rank among all, from 1.
    #[schema(minimum = 1, example = 1)]
    rank: usize,
    /// The racer.
    racer_id: RacerId,
    /// The racer's name; null if unknown.
    #[schema(value_type = Option<String>, required, example = "Hubert")]
    name: Name,
    /// The racer's output on this board.
    output: Output,
    /// Only on the all-time board: the second of the output; null for the new record of a what-if.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>, example = 60)]
    second: Option<Option<Second>>,
    /// Only on the row of the what-if: whether its output beats the racer's best.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    new_record: Option<bool>,
}

impl Standings<'_> {
    fn iter(&self) -> impl Iterator<Item = StandingResponse> {
        self.rows.iter().map(|row| StandingResponse {
            rank: row.rank,
            racer_id: row.racer,
            name: self.names.get(row.racer),
            output: row.output,
            second: self.is_all_time.then_some(row.second),
            new_record: row.new_record,
        })
    }
}

impl Serialize for Standings<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl Rows for LeaderboardResponse<'_> {
    fn columns(&self) -> Vec<&'static str> {
        let mut columns = vec!["rank", "racerId", "name", "output"];
        columns.extend(self.standings.is_all_time.then_some("second"));
        columns.extend(self.is_what_if.then_some("newRecord"));
        columns
    }

    fn rows(&self) -> impl Iterator<Item = impl Serialize> {
        self.standings.iter()
    }
}
