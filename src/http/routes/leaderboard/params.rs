//! Parses the query parameters of leaderboards into a `LeaderboardQuery`.

use serde::Deserialize;
use utoipa::IntoParams;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};

use crate::domain::effort::Output;
use crate::http::error::ApiError;
use crate::http::extract::query::{Param, ParamValue};
use crate::http::extract::values::{
    LimitParam, List, Offset, OffsetParam, OutputParam, PrettyParam, RacerParam, RacersParam,
    SecondOrLastParam, choices,
};
use crate::http::respond::format::FormatParam;
use crate::state::leaderboard::{Cursor, LeaderboardQuery, PageLimit, PageSelector, Ties, WhatIf};

/// The query parameters of a class's leaderboard.
#[derive(Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct LeaderboardParams {
    /// The second of the race, from 0; or `last`, the last second that anyone in the class reached.
    /// Without it: the all-time board, by each racer's best output over all seconds.
    #[param(inline, example = 60)]
    pub(crate) second: SecondOrLastParam,
    /// `finish`: the board of each racer's best final output of any race. Among equal outputs the
    /// earlier stands first, unknown times last. Not with `second`.
    #[param(inline)]
    pub(crate) by: BoardByParam,
    /// The rank of racers with equal outputs: `competition` 1, 2, 2, 4; `dense` 1, 2, 2, 3;
    /// `ordinal` 1, 2, 3, 4.
    #[param(inline)]
    pub(crate) ties: TiesParam,
    /// Maximum number of rows.
    #[param(inline)]
    pub(crate) limit: LimitParam,
    /// Number of rows to skip. At most one of `offset`, `cursor`, `around`, and `output` without
    /// `racerId` is allowed.
    #[param(inline)]
    pub(crate) offset: OffsetParam,
    /// The page named by `next` or `previous` of another page. It stays right while the board
    /// changes.
    #[param(inline)]
    pub(crate) cursor: CursorParam,
    /// The page with this racer in its middle; at either edge the page is still full.
    #[param(inline)]
    pub(crate) around: RacerParam,
    /// Only these racers, ranked among all racers and, as `groupRank`, among themselves: up to 1000
    /// ids, separated by commas or in repeated parameters.
    #[param(inline, style = Form, explode = false, example = json!([1, 2, 3]))]
    pub(crate) racers: RacersParam,
    /// The racer of the what-if. The racer is ranked with `output` if that beats the racer's best.
    #[param(inline, rename = "racerId")]
    #[serde(rename = "racerId")]
    pub(crate) racer: RacerParam,
    /// The output of the what-if. Without `racerId`: the page around the place where this output
    /// would stand, with the place in `at`. Nothing is stored.
    #[param(inline)]
    pub(crate) output: OutputParam,
    /// `json` or `csv`; without it, the format that `Accept` prefers.
    #[param(inline)]
    pub(crate) format: FormatParam,
    /// Format the JSON for people.
    #[param(inline)]
    pub(crate) pretty: PrettyParam,
}

/// The query parameters of a race's leaderboard.
#[derive(Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct RaceLeaderboardParams {
    /// The rank of racers with equal outputs: `competition` 1, 2, 2, 4; `dense` 1, 2, 2, 3;
    /// `ordinal` 1, 2, 3, 4.
    #[param(inline)]
    ties: TiesParam,
    /// Maximum number of rows.
    #[param(inline)]
    limit: LimitParam,
    /// Number of rows to skip. At most one of `offset`, `cursor`, `around` and `output` is allowed.
    #[param(inline)]
    offset: OffsetParam,
    /// The page named by `next` or `previous` of another page. A cursor names the
    /// place of a row by its output, which changes every second: use `offset` until the race is over.
    #[param(inline)]
    cursor: CursorParam,
    /// The page with this racer in its middle; at either edge the page is still full.
    #[param(inline)]
    around: RacerParam,
    /// Only these racers, ranked among all racers and, as `groupRank`, among themselves: up to 1000
    /// ids, separated by commas or in repeated parameters.
    #[param(inline, style = Form, explode = false, example = json!([1, 2, 3]))]
    racers: RacersParam,
    /// The page around the place where this output would stand, with the place in `at`.
    #[param(inline)]
    output: OutputParam,
    /// `json` or `csv`; without it, the format that `Accept` prefers.
    #[param(inline)]
    pub(crate) format: FormatParam,
    /// Format the JSON for people.
    #[param(inline)]
    pub(crate) pretty: PrettyParam,
}

impl From<RaceLeaderboardParams> for LeaderboardParams {
    fn from(params: RaceLeaderboardParams) -> Self {
        Self {
            ties: params.ties,
            limit: params.limit,
            offset: params.offset,
            cursor: params.cursor,
            around: params.around,
            racers: params.racers,
            output: params.output,
            format: params.format,
            pretty: params.pretty,
            ..Self::default()
        }
    }
}

pub(crate) type BoardByParam = Param<BoardBy>;
pub(crate) type CursorParam = Param<Cursor>;
pub(crate) type TiesParam = Param<Ties>;

/// Rankings of a class other than by efforts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BoardBy {
    Finish,
}

choices!(BoardBy, "finish", { "finish" => BoardBy::Finish });

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
            .pattern(Some("^[A-Za-z0-9_-]{24}([A-Za-z0-9_-]{12})?$"))
            .into()
    }
}

impl LeaderboardParams {
    /// Returns the query of a board.
    pub(crate) fn board_query(self) -> Result<LeaderboardQuery, ApiError> {
        Ok(LeaderboardQuery {
            page: self.page()?,
            what_if: self.what_if()?,
            ties: self.ties.0.unwrap_or_default(),
            limit: self.limit.0.unwrap_or(PageLimit::DEFAULT),
            racers: self.racers.0.map(|List(racers)| racers),
        })
    }

    /// Returns whether the query is for the board of finishes.
    pub(crate) fn is_by_finish(&self) -> Result<bool, ApiError> {
        if self.by.0.is_some() && self.second.0.is_some() {
            return Err(ApiError::bad_request(
                "by is finish, and second is given; they exclude each other: give one of them",
            ));
        }
        Ok(self.by.0.is_some())
    }

    fn page(&self) -> Result<PageSelector, ApiError> {
        let output = self.output.0.filter(|_| self.racer.0.is_none());
        if let (Some(output), true) = (output, self.racers.0.is_some()) {
            return Err(ApiError::bad_request(format!(
                "output is {output} without racerId, and racers is given; they exclude each other: give one of them, \
                 or racerId for a what-if"
            )));
        }
        let given = [
            self.offset.0.map(|Offset(rows)| PageSelector::Offset(rows)),
            self.cursor.0.map(PageSelector::Cursor),
            self.around.0.map(PageSelector::Around),
            output.map(PageSelector::At),
        ];
        let mut given = given.into_iter().flatten();
        let page = given.next().unwrap_or_default();
        let others: Vec<PageSelector> = given.collect();
        if others.is_empty() {
            return Ok(page);
        }
        let shown = std::iter::once(&page).chain(&others).map(shown_page);
        Err(ApiError::bad_request(format!(
            "{}, and they exclude each other: give one of offset, cursor, around, and output without racerId",
            shown.collect::<Vec<_>>().join(" and ")
        )))
    }

    fn what_if(&self) -> Result<Option<WhatIf>, ApiError> {
        match (self.racer.0, self.output.0) {
            (None, _) => Ok(None),
            (Some(racer), Some(output)) => Ok(Some(WhatIf { racer, output })),
            (Some(racer), None) => {
                let expected = Output::expected();
                let detail = format!("racerId is {racer}; give output as well: {expected}");
                Err(ApiError::bad_request(detail))
            }
        }
    }
}

/// Returns the parameter that selects a page, with its value.
fn shown_page(page: &PageSelector) -> String {
    match page {
        PageSelector::Offset(rows) => format!("offset is {rows}"),
        PageSelector::Cursor(cursor) => format!("cursor is {cursor}"),
        PageSelector::Around(racer) => format!("around is {racer}"),
        PageSelector::At(output) => format!("output is {output} without racerId"),
    }
}
