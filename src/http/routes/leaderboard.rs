//! `/classes/{classId}/leaderboard`: who stands where, at a second or over all of them.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use crate::domain::effort::{ClassId, INTEGER_MAX, Output, RacerId, Second};
use crate::domain::racer_names::RacerNames;
use crate::http::error::ApiError;
use crate::http::extract::params::{Class, Params};
use crate::http::respond::form::{Form, Rows};
use crate::http::state::{AppState, Name};
use crate::state::leaderboard::{
    Cursor, Leaderboard, LeaderboardQuery, PageLimit, PageSelector, QUERY_RACERS_MAX, Ties, WhatIf,
    query,
};
use crate::state::table::{Board, Table};

/// What may be asked of a leaderboard.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
struct Asked {
    /// The second of the race, from 0; or `last`, the last second that anyone in the class reached. Without it: the
    /// all-time board, by each racer's best output over all seconds.
    #[param(value_type = Option<u32>, example = 60)]
    second: Option<At>,
    /// How racers with equal outputs are ranked: `competition` 1, 2, 2, 4; `dense` 1, 2, 2, 3; `ordinal` 1, 2, 3, 4.
    #[param(inline, value_type = Option<TiesParam>)]
    ties: Option<Ties>,
    /// The most rows of a page.
    #[param(value_type = Option<u64>, minimum = 1, maximum = 1000, default = 50)]
    limit: Option<PageLimit>,
    /// How many rows to leave out. Not with `cursor` or `around`.
    #[param(value_type = Option<u64>, minimum = 0, maximum = 9007199254740991_u64, default = 0)]
    offset: Option<u64>,
    /// The page that an answer named as `next` or `previous`. It stays right while the board changes.
    #[param(value_type = Option<String>, pattern = "^[A-Za-z0-9_-]{24}$")]
    cursor: Option<Cursor>,
    /// The page with this racer in its middle; at either edge the page is still full.
    #[param(value_type = Option<u64>, maximum = 9007199254740991_u64)]
    around: Option<RacerId>,
    /// Only these racers, with their ranks among all: up to 1000 ids with commas between them.
    #[param(value_type = Option<Vec<u64>>, style = Form, explode = false, example = json!([1, 2, 3]))]
    racers: Option<Vec<RacerId>>,
    /// What if this racer rode `output`? The racer stands where that would be if it beats the racer's best.
    #[param(rename = "racerId", value_type = Option<u64>, maximum = 9007199254740991_u64)]
    racer: Option<RacerId>,
    /// The output of the what-if. Nothing is stored.
    #[param(value_type = Option<f64>, minimum = 0)]
    output: Option<Output>,
    /// `json` or `csv`; without it, what `Accept` asks for.
    #[param(inline, value_type = Option<crate::http::respond::form::FormatParam>)]
    format: Form,
    /// Lay the JSON out for people.
    #[param(value_type = Option<bool>)]
    #[expect(
        dead_code,
        reason = "`format` has it; here it is told to readers of the document"
    )]
    pretty: (),
}

/// How racers with equal outputs are ranked.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "tells what `Ties` is called on the wire")]
pub(crate) enum TiesParam {
    Competition,
    Dense,
    Ordinal,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Last,
    Second(Second),
}

/// A page of a leaderboard
///
/// By output descending, then by racer id ascending. A class in which nobody rode yet has an empty one.
#[utoipa::path(
    get, path = "/classes/{classId}/leaderboard", tag = "Leaderboards",
    params(("classId" = u16, Path, description = "The exercise class.", minimum = 1, example = 1), Asked),
    responses(
        (status = 200, description = "The page.", content(
            (LeaderboardResponse = "application/json", example = json!({
                "classId": 1, "second": 60, "total": 40000,
                "standings": [{ "rank": 1, "racerId": 17, "name": "Hubert", "output": 187.25 }],
                "next": "AQEAAAAAAAAAEUBnaAAAAAAA", "previous": null,
            })),
            (String = "text/csv", example = "rank,racerId,name,output\r\n1,17,Hubert,187.25\r\n"),
        )),
        (status = 400, description = "A parameter cannot be taken; the detail names it.", body = ApiError,
            content_type = "application/problem+json"),
        (status = 404, description = "No such class, or the racer of `around` does not stand here.", body = ApiError,
            content_type = "application/problem+json"),
        (status = 503, description = "The service is starting, stopping or overloaded.", body = ApiError,
            content_type = "application/problem+json"),
    )
)]
pub(crate) async fn leaderboard(
    Class(class): Class,
    State(app): State<AppState>,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let asked = Asked::read(params, &headers, app.ledger.bounds().second_max)?;
    let (second, board) = view(app.ledger.table(), class, asked.second);
    let all_time = asked.second.is_none();
    let form = asked.format;
    let query_of = asked.query()?;
    let what_if = query_of.what_if.is_some();
    // Finding rows takes microseconds; only an order that is to be made is work.
    let to_order = if board.has_order(query_of.ties == Ties::Dense) {
        0
    } else {
        board.len()
    };
    let answered = app
        .turns
        .work(to_order, move || query(&board, &query_of))
        .await?;
    let answered = answered.map_err(|error| match second {
        Some(second) => ApiError::not_found(format!("{error}: second {second} of class {class}")),
        None => ApiError::not_found(format!("{error}: class {class}")),
    })?;
    Ok(form.of(&LeaderboardResponse::of(
        class,
        second,
        answered,
        all_time,
        what_if,
        app.ledger.names(),
    )))
}

/// The board that is asked for, and its second, if it has one.
fn view(table: &Table, class: ClassId, at: Option<At>) -> (Option<Second>, Board) {
    let second = match at {
        None => return (None, table.overall_board(class)),
        Some(At::Second(second)) => Some(second),
        Some(At::Last) => table.last_second(class),
    };
    // In a class that nobody rode any second is as empty as the last.
    (second, table.board(class, second.unwrap_or(Second(0))))
}

impl Asked {
    fn read(mut params: Params, headers: &HeaderMap, second_max: u32) -> Result<Self, ApiError> {
        let takes_second = format!("an integer from 0 to {second_max}, or last");
        let asked = Self {
            second: params.take("second", takes_second, |text| match text {
                "last" => Some(At::Last),
                _ => crate::http::extract::params::integer(text, 0..=second_max.into())
                    .and_then(|second| u32::try_from(second).ok())
                    .map(|second| At::Second(Second(second))),
            })?,
            ties: params.take("ties", "competition, dense or ordinal", |text| match text {
                "competition" => Some(Ties::Competition),
                "dense" => Some(Ties::Dense),
                "ordinal" => Some(Ties::Ordinal),
                _ => None,
            })?,
            limit: params
                .integer("limit", 1..=PageLimit::MAX as u64)?
                .and_then(|rows| usize::try_from(rows).ok().and_then(PageLimit::new)),
            offset: params.integer("offset", 0..=INTEGER_MAX)?,
            cursor: params.take(
                "cursor",
                "what an answer named as next or previous",
                |text| text.parse().ok(),
            )?,
            around: params.racer("around")?,
            racers: params.racers("racers", QUERY_RACERS_MAX)?,
            racer: params.racer("racerId")?,
            output: params.take("output", "a number, 0 or more", |text| {
                text.parse().ok().and_then(Output::new)
            })?,
            format: Form::take(&mut params, headers)?,
            pretty: (),
        };
        params.end()?;
        Ok(asked)
    }

    fn query(self) -> Result<LeaderboardQuery, ApiError> {
        let page = match (self.offset, self.cursor, self.around) {
            (None, None, None) => PageSelector::default(),
            (Some(offset), None, None) => {
                PageSelector::Offset(usize::try_from(offset).unwrap_or(usize::MAX))
            }
            (None, Some(cursor), None) => PageSelector::Cursor(cursor),
            (None, None, Some(racer)) => PageSelector::Around(racer),
            (offset, cursor, around) => {
                let given = [
                    offset.map(|offset| format!("offset is {offset}")),
                    cursor.map(|cursor| format!("cursor is {cursor}")),
                    around.map(|racer| format!("around is {racer}")),
                ];
                let given = given
                    .into_iter()
                    .flatten()
                    .collect::<Vec<_>>()
                    .join(" and ");
                return Err(ApiError::bad_request(format!(
                    "{given}, and they exclude each other: give one of offset, cursor and around"
                )));
            }
        };
        let what_if = match (self.racer, self.output) {
            (None, None) => None,
            (Some(racer), Some(output)) => Some(WhatIf { racer, output }),
            (Some(racer), None) => {
                let detail = format!(
                    "racerId is {racer}, and output is missing; what if it were a number, 0 or more?"
                );
                return Err(ApiError::bad_request(detail));
            }
            (None, Some(output)) => {
                let detail = format!(
                    "output is {output}, and racerId is missing; it must be who would ride that"
                );
                return Err(ApiError::bad_request(detail));
            }
        };
        let (ties, limit) = (
            self.ties.unwrap_or_default(),
            self.limit.unwrap_or_default(),
        );
        Ok(LeaderboardQuery {
            ties,
            limit,
            page,
            racers: self.racers,
            what_if,
        })
    }
}

/// A page of a leaderboard.
#[derive(Serialize, ToSchema)]
#[schema(as = Leaderboard)]
#[serde(rename_all = "camelCase")]
struct LeaderboardResponse {
    /// The class.
    #[schema(value_type = u16, example = 1)]
    class_id: ClassId,
    /// The second; null on the all-time board, and for `last` in a class that nobody rode yet.
    #[schema(value_type = Option<u32>, required, example = 60)]
    second: Option<Second>,
    /// How many racers stand on the whole board.
    #[schema(example = 40000)]
    total: usize,
    /// The rows.
    standings: Vec<Standing>,
    /// The `cursor` of the page after this one; null at the end.
    #[schema(required)]
    next: Option<String>,
    /// The `cursor` of the page before this one; null at the start.
    #[schema(required)]
    previous: Option<String>,
    #[serde(skip)]
    all_time: bool,
    #[serde(skip)]
    what_if: bool,
}

/// A row of a leaderboard.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Standing {
    /// The rank among all, from 1.
    #[schema(minimum = 1, example = 1)]
    rank: usize,
    /// The racer.
    #[schema(value_type = u64, example = 17)]
    racer_id: RacerId,
    /// The racer's name; null where it is not known.
    #[schema(value_type = Option<String>, required, example = "Hubert")]
    name: Name,
    /// The output at which the racer stands.
    #[schema(value_type = f64, minimum = 0, example = 187.25)]
    output: Output,
    /// On the all-time board alone: the second at which that was ridden; null for the new record of a what-if.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>, example = 60)]
    second: Option<Option<Second>>,
    /// On the row of the what-if alone: whether its output beats the racer's best.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    new_record: Option<bool>,
}

impl LeaderboardResponse {
    fn of(
        class: ClassId,
        second: Option<Second>,
        answered: Leaderboard,
        all_time: bool,
        what_if: bool,
        names: &RacerNames,
    ) -> Self {
        let standings = answered.standings.into_iter().map(|row| Standing {
            rank: row.rank,
            racer_id: row.racer,
            name: names.get(row.racer),
            output: row.output,
            second: all_time.then_some(row.second),
            new_record: row.new_record,
        });
        Self {
            class_id: class,
            second,
            total: answered.total,
            standings: standings.collect(),
            next: answered.next.map(|cursor| cursor.to_string()),
            previous: answered.previous.map(|cursor| cursor.to_string()),
            all_time,
            what_if,
        }
    }
}

impl Rows for LeaderboardResponse {
    fn columns(&self) -> Vec<&'static str> {
        let mut columns = vec!["rank", "racerId", "name", "output"];
        columns.extend(self.all_time.then_some("second"));
        columns.extend(self.what_if.then_some("newRecord"));
        columns
    }

    fn rows(&self) -> impl Iterator<Item = Vec<String>> {
        self.standings.iter().map(|row| {
            let name = row.name.as_deref().unwrap_or_default();
            let mut cells = vec![
                row.rank.to_string(),
                row.racer_id.to_string(),
                name.into(),
                row.output.to_string(),
            ];
            let text = |cell: Option<String>| cell.unwrap_or_default();
            cells.extend(
                row.second
                    .map(|second| text(second.map(|second| second.to_string()))),
            );
            cells.extend(
                self.what_if
                    .then(|| text(row.new_record.map(|new| new.to_string()))),
            );
            cells
        })
    }
}
