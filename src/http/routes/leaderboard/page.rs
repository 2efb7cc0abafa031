//! A page of any board, as JSON and CSV.

use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use crate::domain::effort::{Output, RaceId, RacerId, Second, serialize_optional_number};
use crate::domain::racer_names::RacerNames;
use crate::http::state::Name;
use crate::state::leaderboard::{Leaderboard, LeaderboardQuery, Place, Standing};

/// The fields that the pages of all boards have.
#[derive(Serialize, ToSchema)]
#[schema(as = LeaderboardPage)]
pub(crate) struct PageResponse<'a> {
    /// Number of racers on the whole board.
    #[schema(example = 40000)]
    total: usize,
    /// Only with `output` and without `racerId`: where that output would stand.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    at: Option<PlaceResponse>,
    /// The rows.
    #[schema(value_type = Vec<StandingResponse>)]
    standings: Standings<'a>,
    /// The `cursor` of the page after this one; null at the end.
    #[schema(required)]
    next: Option<String>,
    /// The `cursor` of the page before this one; null at the start.
    #[schema(required)]
    previous: Option<String>,
}

/// Where an output would stand. Nobody is added to the board.
#[derive(Serialize, ToSchema)]
#[schema(as = Place)]
struct PlaceResponse {
    /// 1 + the number of racers with greater outputs; with `ties=dense`, of distinct greater
    /// outputs.
    #[schema(minimum = 1, example = 1)]
    rank: usize,
    /// (100 × racers with lower outputs) / total; null on an empty board.
    #[serde(serialize_with = "serialize_optional_number")]
    #[schema(required, minimum = 0, maximum = 100, example = 99.9975)]
    percentile: Option<f64>,
}

/// The rows of a page. Each is built during serialization, without copying names or allocating:
/// every rider polls a page each second.
struct Standings<'a> {
    rows: Vec<Standing>,
    names: &'a RacerNames,
    columns: BoardColumns,
    is_what_if: bool,
    is_group: bool,
}

/// The columns that only some boards have.
#[derive(Clone, Copy, Default)]
pub(crate) struct BoardColumns {
    /// The second of the output.
    pub(crate) second: bool,
    /// The race and time of a finish.
    pub(crate) finish: bool,
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
    /// Only on the all-time board and on boards of races: the second of the output; null for the
    /// new record of a what-if.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>, example = 60)]
    second: Option<Option<Second>>,
    /// Only on the board of finishes: the race; null for the new record of a what-if.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>, example = 1619185620265_u64)]
    race_id: Option<Option<RaceId>>,
    /// Only on the board of finishes: when the racer finished, in milliseconds since 1970; null if
    /// unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>, example = 1619185920265_u64)]
    at: Option<Option<u64>>,
    /// Only on the row of the what-if: whether its output beats the racer's best.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    new_record: Option<bool>,
    /// Only with `racers`: the rank among those, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 1, example = 1)]
    group_rank: Option<usize>,
}

impl<'a> PageResponse<'a> {
    /// Creates the response of a page to its query.
    pub(crate) fn new(
        page: Leaderboard,
        options: &PageOptions,
        columns: BoardColumns,
        names: &'a RacerNames,
    ) -> Self {
        let Leaderboard {
            total,
            place,
            standings: rows,
            next,
            previous,
        } = page;
        Self {
            total,
            at: place.map(|Place { rank, percentile }| PlaceResponse { rank, percentile }),
            standings: Standings {
                rows,
                names,
                columns,
                is_what_if: options.is_what_if,
                is_group: options.is_group,
            },
            next: next.map(|cursor| cursor.to_string()),
            previous: previous.map(|cursor| cursor.to_string()),
        }
    }

    /// Returns the cursors of the next and of the previous page.
    pub(crate) fn cursors(&self) -> [Option<&str>; 2] {
        [self.next.as_deref(), self.previous.as_deref()]
    }

    pub(crate) fn columns(&self) -> Vec<&'static str> {
        let Standings {
            columns,
            is_what_if,
            is_group,
            ..
        } = self.standings;
        let mut names = vec!["rank", "racerId", "name", "output"];
        names.extend(columns.second.then_some("second"));
        names.extend(
            columns
                .finish
                .then_some(["raceId", "at"])
                .into_iter()
                .flatten(),
        );
        names.extend(is_what_if.then_some("newRecord"));
        names.extend(is_group.then_some("groupRank"));
        names
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = impl Serialize> {
        self.standings.iter()
    }
}

/// The options of a query that decide the columns of its page.
#[derive(Clone, Copy, Default)]
pub(crate) struct PageOptions {
    is_what_if: bool,
    is_group: bool,
}

impl From<&LeaderboardQuery> for PageOptions {
    fn from(query: &LeaderboardQuery) -> Self {
        Self {
            is_what_if: query.what_if.is_some(),
            is_group: query.racers.is_some(),
        }
    }
}

impl Standings<'_> {
    fn iter(&self) -> impl Iterator<Item = StandingResponse> {
        let BoardColumns { second, finish } = self.columns;
        self.rows.iter().map(move |row| StandingResponse {
            rank: row.rank,
            racer_id: row.racer,
            name: self.names.get(row.racer),
            output: row.output,
            second: second.then_some(row.second),
            race_id: finish.then(|| row.finish.map(|finish| finish.race)),
            at: finish.then(|| row.finish.and_then(|finish| finish.at_ms)),
            new_record: row.new_record,
            group_rank: row.group_rank,
        })
    }
}

impl Serialize for Standings<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::state::leaderboard::{Finish, FinishBoard, WhatIf, query};

    #[test]
    fn rows_of_finishes_have_race_and_time() {
        let output = |watts| Output::new(watts).unwrap();
        let finish = |racer, watts, at_ms| {
            let race = RaceId(70 + racer);
            (RacerId(racer), output(watts), Finish { race, at_ms })
        };
        let finishes = [
            finish(1, 9.5, None),
            finish(2, 9.5, Some(8)),
            finish(3, 7.0, Some(1)),
        ];
        let request = LeaderboardQuery {
            what_if: Some(WhatIf {
                racer: RacerId(3),
                output: output(9.5),
            }),
            racers: Some([3, 2].map(RacerId).to_vec()),
            ..LeaderboardQuery::default()
        };
        let page = query(&FinishBoard::new(finishes), &request).unwrap();
        let columns = BoardColumns {
            finish: true,
            ..BoardColumns::default()
        };
        let names = RacerNames::default();
        let page = PageResponse::new(page, &(&request).into(), columns, &names);
        assert_eq!(
            page.columns().join(","),
            "rank,racerId,name,output,raceId,at,newRecord,groupRank"
        );
        let expected = json!({
            "total": 3, "next": null, "previous": null,
            "standings": [
                { "rank": 1, "racerId": 2, "name": null, "output": 9.5, "raceId": 72, "at": 8, "groupRank": 1 },
                { "rank": 1, "racerId": 3, "name": null, "output": 9.5, "raceId": null, "at": null,
                  "newRecord": true, "groupRank": 1 },
            ],
        });
        // Compared as text that was read back: 9.5 is one number, however it is written.
        let text = serde_json::to_string(&page).unwrap();
        let read: serde_json::Value = text.parse().unwrap();
        assert_eq!(read, expected);
    }
}
