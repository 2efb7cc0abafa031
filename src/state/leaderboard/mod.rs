//! Leaderboards: the ranks, pages and what-ifs of a board.
//!
//! Racers stand by output descending, then by id ascending. Every option works on a `RankedView`, the order with the
//! what-if racer moved to where it would stand, so all options combine. Nothing here scans or copies a board whose
//! order is kept: a page costs at most a binary search per row, however many racers stand.

use std::cell::OnceCell;
use std::cmp::Reverse;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;

use base64_simd::URL_SAFE_NO_PAD;

use crate::domain::effort::{INTEGER_MAX, Output, RacerId, Second};
use crate::state::table::Board;

/// The most racers a query may name, in racers: as many as the longest page has rows.
pub const QUERY_RACERS_MAX: usize = PageLimit::MAX;

/// What is asked of a board. The default is its first page.
#[derive(Clone, Debug, Default)]
pub struct LeaderboardQuery {
    /// How racers with equal outputs are ranked.
    pub ties: Ties,
    /// How long a page is.
    pub limit: PageLimit,
    /// Which page.
    pub page: PageSelector,
    /// Only these racers, with their ranks among all; at most [`QUERY_RACERS_MAX`]. Those who do not stand are left out.
    pub racers: Option<Vec<RacerId>>,
    /// An output that a racer might ride.
    pub what_if: Option<WhatIf>,
}

/// How racers with equal outputs are ranked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Ties {
    /// One more than there are racers with greater outputs: 1, 2, 2, 4.
    #[default]
    Competition,
    /// One more than there are greater outputs: 1, 2, 2, 3.
    Dense,
    /// The position, whatever the output: 1, 2, 3, 4.
    Ordinal,
}

/// How many rows a page has at most: 1 to [`PageLimit::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PageLimit(usize);

impl PageLimit {
    /// The longest page, in rows: some 60 kB of JSON.
    pub const MAX: usize = 1000;

    /// The page that is given unasked, in rows.
    pub const DEFAULT: Self = Self(50);

    /// That many rows; `None` for 0 and for more than [`Self::MAX`].
    pub fn new(rows: usize) -> Option<Self> {
        (1..=Self::MAX).contains(&rows).then_some(Self(rows))
    }

    /// How many rows.
    pub const fn get(self) -> usize {
        self.0
    }
}

impl Default for PageLimit {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Which rows are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageSelector {
    /// Those after so many rows.
    Offset(usize),
    /// Those on one side of a row that was seen.
    Cursor(Cursor),
    /// Those around a racer, who is in the middle, or nearer to an edge so that the page is full. Where the racer
    /// stands but is not among the racers asked for, those around the place where it would be.
    Around(RacerId),
}

impl Default for PageSelector {
    fn default() -> Self {
        Self::Offset(0)
    }
}

/// What if a racer rode that output? It counts if it beats the racer's best.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WhatIf {
    /// Who.
    pub racer: RacerId,
    /// How well.
    pub output: Output,
}

/// One page of a board.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaderboard {
    /// How many racers stand on the whole board, the what-if racer counted in.
    pub total: usize,
    /// The rows.
    pub standings: Vec<Standing>,
    /// The page after this one, if there is a row after this page.
    pub next: Option<Cursor>,
    /// The page before this one, if there is a row before this page. It repeats no row, so the one at the start is
    /// shorter where the pages were not counted from there.
    pub previous: Option<Cursor>,
}

/// One row of a leaderboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The rank among all, from 1.
    pub rank: usize,
    /// Who.
    pub racer: RacerId,
    /// The output the racer stands at.
    pub output: Output,
    /// The second at which it was ridden; `None` where it was not: the what-if racer's new record.
    pub second: Option<Second>,
    /// On the what-if racer's row: whether the output asked about beats the racer's best.
    pub new_record: Option<bool>,
}

/// The racer that a page was to be around does not stand here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("racer {0} has no effort here")]
pub struct RacerNotFound(pub RacerId);

/// Answers a query. Fails only when the page is to be around a racer that does not stand here.
pub fn query(board: &Board, query: &LeaderboardQuery) -> Result<Leaderboard, RacerNotFound> {
    let lineup = RankedView::new(board, query.what_if);
    let picked = query.racers.as_ref().map(|racers| lineup.places(racers));
    let list = PageSource {
        lineup: &lineup,
        picked,
    };
    let rows = list.page(query.page, query.limit)?;

    let mut standings: Vec<Standing> = Vec::with_capacity(rows.len());
    for place in rows.clone().map(|index| list.place(index)) {
        let BoardRow {
            racer,
            output,
            second,
        } = lineup.at(place);
        let new_record = query
            .what_if
            .filter(|what_if| what_if.racer == racer)
            .map(|_| lineup.moved.is_some());
        let rank = match standings.last() {
            Some(before) if before.output == output && query.ties != Ties::Ordinal => before.rank,
            _ => lineup.rank(query.ties, place, output),
        };
        standings.push(Standing {
            rank,
            racer,
            output,
            second,
            new_record,
        });
    }
    // An empty page is at an end of the list, so its only neighbour is the page at that end.
    let next = standings
        .last()
        .map_or(Cursor::First, |last| Cursor::After(last.output, last.racer));
    let previous = standings.first().map_or(Cursor::Last, |first| {
        Cursor::Before(first.output, first.racer)
    });
    Ok(Leaderboard {
        total: lineup.len(),
        standings,
        next: (rows.end < list.len()).then_some(next),
        previous: (rows.start > 0).then_some(previous),
    })
}

/// Where a racer stands among all on a board.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RankInfo {
    /// The competition rank, from 1.
    pub rank: usize,
    /// How many racers stand.
    pub total: usize,
    /// How many of 100 racers stand strictly below, 0 to less than 100.
    pub percentile: f64,
}

/// Where the racer stands, if it does. Does not need the board's order.
pub fn rank_info(board: &Board, racer: RacerId) -> Option<RankInfo> {
    let output = board.output(board.slot(racer)?)?;
    let (above, below) = board.above_and_below(output);
    let total = board.len();
    Some(RankInfo {
        rank: above + 1,
        total,
        percentile: 100.0 * below as f64 / total as f64,
    })
}

/// A page by the row next to it rather than by number: it stays right while others come, go and change. It fits any
/// board; made on another one, it means the rows on that side of where the row it names would be.
///
/// Its text is opaque: 24 letters, URL-safe, of `Cursor::VERSION`, the kind, the racer and the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cursor {
    /// The first rows.
    First,
    /// The rows after the one that has that output and racer.
    After(Output, RacerId),
    /// The rows before the one that has that output and racer.
    Before(Output, RacerId),
    /// The last rows.
    Last,
}

impl Cursor {
    const VERSION: u8 = 1;
    const BYTES: usize = 18;
    const LETTERS: usize = Self::BYTES / 3 * 4;

    fn bytes(self) -> [u8; Self::BYTES] {
        let (kind, key) = match self {
            Self::First => (0, None),
            Self::After(output, racer) => (1, Some((output, racer))),
            Self::Before(output, racer) => (2, Some((output, racer))),
            Self::Last => (3, None),
        };
        let mut bytes = [0; Self::BYTES];
        bytes[..2].copy_from_slice(&[Self::VERSION, kind]);
        if let Some((output, racer)) = key {
            bytes[2..10].copy_from_slice(&racer.0.to_be_bytes());
            bytes[10..].copy_from_slice(&output.get().to_bits().to_be_bytes());
        }
        bytes
    }

    fn from_bytes(bytes: &[u8; Self::BYTES]) -> Option<Self> {
        let number = |at: usize| {
            bytes[at..at + 8]
                .iter()
                .fold(0, |number, &byte| number << 8 | u64::from(byte))
        };
        let racer = Some(RacerId(number(2))).filter(|racer| racer.0 <= INTEGER_MAX)?;
        let output = Output::new(f64::from_bits(number(10)))?;
        let cursor = match bytes[1] {
            0 => Self::First,
            1 => Self::After(output, racer),
            2 => Self::Before(output, racer),
            3 => Self::Last,
            _ => return None,
        };
        (cursor.bytes() == *bytes).then_some(cursor)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode_to_string(self.bytes()))
    }
}

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        if text.len() != Self::LETTERS {
            return Err(InvalidCursor);
        }
        let bytes = URL_SAFE_NO_PAD
            .decode_to_vec(text)
            .map_err(|_| InvalidCursor)?;
        <&[u8; Self::BYTES]>::try_from(&*bytes)
            .ok()
            .and_then(Self::from_bytes)
            .ok_or(InvalidCursor)
    }
}

/// A text that is no cursor of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor that this service gave out as `next` or `previous`")]
pub struct InvalidCursor;

/// The racers in order, the what-if racer where it would stand. A place counts from 0.
struct RankedView<'a> {
    board: &'a Board,
    order: Arc<Vec<u32>>,
    dense_ranks: OnceCell<Arc<Vec<u32>>>,
    moved: Option<WhatIfMove>,
}

/// The what-if racer, where its output counts.
struct WhatIfMove {
    what_if: WhatIf,
    /// Its place in the lineup. Never after the place it leaves, so the same with and without that.
    to: usize,
    /// Its place in the order, where it has one.
    from: Option<usize>,
    /// Its old output, where nobody else has that.
    output_left: Option<Output>,
    /// Its new output, where nobody else has that.
    output_brought: Option<Output>,
}

#[derive(Clone, Copy)]
struct BoardRow {
    racer: RacerId,
    output: Output,
    second: Option<Second>,
}

/// What rows are ordered by, ascending.
type RankKey = (Reverse<Output>, RacerId);

impl BoardRow {
    fn key(&self) -> RankKey {
        (Reverse(self.output), self.racer)
    }
}

impl<'a> RankedView<'a> {
    fn new(board: &'a Board, what_if: Option<WhatIf>) -> Self {
        let mut lineup = Self {
            board,
            order: board.order(),
            dense_ranks: OnceCell::new(),
            moved: None,
        };
        lineup.moved = what_if.and_then(|what_if| lineup.try_move(what_if));
        lineup
    }

    fn try_move(&self, what_if: WhatIf) -> Option<WhatIfMove> {
        let WhatIf { racer, output } = what_if;
        let old = self
            .board
            .slot(racer)
            .and_then(|slot| self.board.output(slot));
        if old.is_some_and(|old| old >= output) {
            return None;
        }
        let having = |output| self.partition_point(|row| row.output >= output) - self.above(output);
        Some(WhatIfMove {
            what_if,
            to: self.before((Reverse(output), racer)),
            from: old.map(|old| self.before((Reverse(old), racer))),
            output_left: old.filter(|&old| having(old) == 1),
            output_brought: Some(output).filter(|&output| having(output) == 0),
        })
    }

    fn len(&self) -> usize {
        self.order.len()
            + usize::from(
                self.moved
                    .as_ref()
                    .is_some_and(|moved| moved.from.is_none()),
            )
    }

    fn at(&self, place: usize) -> BoardRow {
        let Some(moved) = &self.moved else {
            return self.ridden(place);
        };
        if place == moved.to {
            let WhatIf { racer, output } = moved.what_if;
            return BoardRow {
                racer,
                output,
                second: None,
            };
        }
        let without = place - usize::from(place > moved.to);
        self.ridden(without + usize::from(moved.from.is_some_and(|from| from <= without)))
    }

    fn ridden(&self, place_in_order: usize) -> BoardRow {
        let slot = self.order[place_in_order];
        let output = self
            .board
            .output(slot)
            .expect("an order holds only slots that have an output");
        BoardRow {
            racer: self.board.racer(slot),
            output,
            second: Some(self.board.second(slot)),
        }
    }

    /// How many rows lead the lineup that the condition holds for; it must hold for no row after one that it fails.
    fn partition_point(&self, holds: impl Fn(&BoardRow) -> bool) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            if holds(&self.at(middle)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// How many rows are before the one with that key, whether or not there is one.
    fn before(&self, key: RankKey) -> usize {
        self.partition_point(|row| row.key() < key)
    }

    /// How many outputs are greater.
    fn above(&self, output: Output) -> usize {
        self.partition_point(|row| row.output > output)
    }

    /// How many different outputs are greater.
    fn distinct_above(&self, output: Output) -> usize {
        let ranks = self.dense_ranks.get_or_init(|| self.board.dense_ranks());
        let above = self
            .order
            .partition_point(|&slot| self.board.output(slot) > Some(output));
        let ridden = above.checked_sub(1).map_or(0, |last| ranks[last] as usize);
        let is_above = |other: Option<Output>| usize::from(other > Some(output));
        let Some(moved) = &self.moved else {
            return ridden;
        };
        ridden + is_above(moved.output_brought) - is_above(moved.output_left)
    }

    fn rank(&self, ties: Ties, place: usize, output: Output) -> usize {
        match ties {
            // Only where the row before has the same output is it searched for how far that goes.
            Ties::Competition if place == 0 || self.at(place - 1).output != output => place + 1,
            Ties::Competition => self.above(output) + 1,
            Ties::Dense => self.distinct_above(output) + 1,
            Ties::Ordinal => place + 1,
        }
    }

    fn place(&self, racer: RacerId) -> Option<usize> {
        match &self.moved {
            Some(moved) if moved.what_if.racer == racer => Some(moved.to),
            _ => {
                let output = self.board.output(self.board.slot(racer)?)?;
                Some(self.before((Reverse(output), racer)))
            }
        }
    }

    /// The places of those of the racers that stand, ascending.
    fn places(&self, racers: &[RacerId]) -> Vec<usize> {
        let mut places: Vec<_> = racers
            .iter()
            .filter_map(|&racer| self.place(racer))
            .collect();
        places.sort_unstable();
        places.dedup();
        places
    }
}

/// What pages are cut from: the lineup, or the places picked from it, ascending.
struct PageSource<'a> {
    lineup: &'a RankedView<'a>,
    picked: Option<Vec<usize>>,
}

impl PageSource<'_> {
    fn len(&self) -> usize {
        self.picked.as_ref().map_or(self.lineup.len(), Vec::len)
    }

    fn place(&self, index: usize) -> usize {
        self.picked.as_ref().map_or(index, |picked| picked[index])
    }

    /// How many rows of the list are before a place of the lineup.
    fn index(&self, place: usize) -> usize {
        self.picked.as_ref().map_or(place, |picked| {
            picked.partition_point(|&other| other < place)
        })
    }

    fn page(
        &self,
        page: PageSelector,
        PageLimit(limit): PageLimit,
    ) -> Result<Range<usize>, RacerNotFound> {
        let len = self.len();
        let from = |start: usize| start..len.min(start + limit);
        let to = |end: usize| end.saturating_sub(limit)..end;
        Ok(match page {
            PageSelector::Offset(offset) => from(offset.min(len)),
            PageSelector::Around(racer) => {
                let middle = self.index(self.lineup.place(racer).ok_or(RacerNotFound(racer))?);
                from(
                    middle
                        .saturating_sub(limit / 2)
                        .min(len.saturating_sub(limit)),
                )
            }
            PageSelector::Cursor(Cursor::First) => from(0),
            PageSelector::Cursor(Cursor::After(output, racer)) => {
                let key = (Reverse(output), racer);
                from(self.index(self.lineup.partition_point(|row| row.key() <= key)))
            }
            PageSelector::Cursor(Cursor::Before(output, racer)) => {
                to(self.index(self.lineup.before((Reverse(output), racer))))
            }
            PageSelector::Cursor(Cursor::Last) => to(len),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet, HashMap};

    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::domain::effort::{ClassId, Effort};
    use crate::state::table::Table;

    const CLASS: ClassId = ClassId::new(1).expect("1 is a class");

    fn output(output: f64) -> Output {
        Output::new(output).expect("a finite output that is not negative")
    }

    fn effort(second: u32, racer: u64, watts: f64) -> Effort {
        let (racer, second) = (RacerId(racer), Second(second));
        Effort {
            class: CLASS,
            second,
            racer,
            output: output(watts),
            race: None,
            time: 0,
        }
    }

    fn table(efforts: &[(u64, f64)]) -> Table {
        let table = Table::new(1);
        table.merge(
            &efforts
                .iter()
                .map(|&(racer, watts)| effort(60, racer, watts))
                .collect::<Vec<_>>(),
            0,
        );
        table
    }

    fn board(efforts: &[(u64, f64)]) -> Board {
        table(efforts).board(CLASS, Second(60))
    }

    fn limit(rows: usize) -> PageLimit {
        PageLimit::new(rows).expect("a limit in bounds")
    }

    fn ask(board: &Board, rows: usize, page: PageSelector) -> Leaderboard {
        query(
            board,
            &LeaderboardQuery {
                limit: limit(rows),
                page,
                ..LeaderboardQuery::default()
            },
        )
        .expect("the racer stands")
    }

    fn around(racer: u64) -> PageSelector {
        PageSelector::Around(RacerId(racer))
    }

    /// The page behind a cursor that must be there.
    fn turn(cursor: Option<Cursor>) -> PageSelector {
        PageSelector::Cursor(cursor.expect("a page on that side"))
    }

    fn ranks(leaderboard: &Leaderboard) -> Vec<(usize, u64)> {
        leaderboard
            .standings
            .iter()
            .map(|standing| (standing.rank, standing.racer.0))
            .collect()
    }

    fn racers(leaderboard: &Leaderboard) -> Vec<u64> {
        leaderboard
            .standings
            .iter()
            .map(|standing| standing.racer.0)
            .collect()
    }

    // Four racers, two of them tied.
    const TIED: [(u64, f64); 4] = [(4, 10.0), (3, 20.0), (2, 20.0), (1, 30.0)];

    #[test]
    fn ties_are_ranked_three_ways() {
        let ranked = |ties| {
            ranks(
                &query(
                    &board(&TIED),
                    &LeaderboardQuery {
                        ties,
                        ..LeaderboardQuery::default()
                    },
                )
                .expect("no pivot"),
            )
        };
        assert_eq!(ranked(Ties::Competition), [(1, 1), (2, 2), (2, 3), (4, 4)]);
        assert_eq!(ranked(Ties::Dense), [(1, 1), (2, 2), (2, 3), (3, 4)]);
        assert_eq!(ranked(Ties::Ordinal), [(1, 1), (2, 2), (3, 3), (4, 4)]);
    }

    #[test]
    fn a_previous_page_has_the_ranks_it_had() {
        let board = board(&TIED);
        let first = ask(&board, 2, PageSelector::default());
        let second = ask(&board, 2, turn(first.next));
        assert_eq!(ranks(&second), [(2, 3), (4, 4)]);
        assert_eq!(second.next, None);
        assert_eq!(ask(&board, 2, turn(second.previous)), first);
        assert_eq!(first.previous, None);
    }

    #[test]
    fn the_page_before_an_odd_offset_is_short_rather_than_seen_twice() {
        let board = board(&TIED);
        let page = ask(&board, 2, PageSelector::Offset(1));
        assert_eq!(racers(&page), [2, 3]);
        let before = ask(&board, 2, turn(page.previous));
        assert_eq!((ranks(&before), before.previous), (vec![(1, 1)], None));
        assert_eq!(ask(&board, 2, turn(before.next)), page);
    }

    #[test]
    fn an_offset_beyond_the_end_gives_an_empty_page_and_a_way_back() {
        let board = board(&TIED);
        for offset in [4, 5, usize::MAX] {
            let page = ask(&board, 3, PageSelector::Offset(offset));
            assert_eq!((page.total, page.standings.len(), page.next), (4, 0, None));
            assert_eq!(racers(&ask(&board, 3, turn(page.previous))), [2, 3, 4]);
        }
    }

    #[test]
    fn a_page_around_the_first_and_the_last_is_full() {
        let board = board(&[(1, 50.0), (2, 40.0), (3, 30.0), (4, 20.0), (5, 10.0)]);
        let page = |racer, rows| ask(&board, rows, around(racer));
        assert_eq!(racers(&page(1, 3)), [1, 2, 3]);
        assert_eq!(racers(&page(2, 3)), [1, 2, 3]);
        assert_eq!(racers(&page(3, 3)), [2, 3, 4]);
        assert_eq!(racers(&page(4, 3)), [3, 4, 5]);
        assert_eq!(racers(&page(5, 3)), [3, 4, 5]);
        assert_eq!(racers(&page(5, 1)), [5]);
        assert_eq!(racers(&page(5, 9)), [1, 2, 3, 4, 5]);
        assert_eq!((page(1, 3).previous, page(5, 3).next), (None, None));
        assert_eq!((page(5, 9).previous, page(5, 9).next), (None, None));
        assert_eq!(racers(&ask(&board, 2, turn(page(3, 3).next))), [5]);
        assert_eq!(racers(&ask(&board, 2, turn(page(3, 3).previous))), [1]);
    }

    #[test]
    fn nobody_stands_around_a_racer_without_an_effort() {
        let query = |what_if| {
            let page = around(9);
            query(
                &board(&TIED),
                &LeaderboardQuery {
                    page,
                    what_if,
                    limit: limit(3),
                    ..LeaderboardQuery::default()
                },
            )
            .map(|page| ranks(&page))
        };
        let what_if = |racer, watts| {
            Some(WhatIf {
                racer: RacerId(racer),
                output: output(watts),
            })
        };
        assert_eq!(query(None), Err(RacerNotFound(RacerId(9))));
        assert_eq!(query(what_if(8, 10.0)), Err(RacerNotFound(RacerId(9))));
        assert_eq!(query(what_if(9, 10.0)), Ok(vec![(2, 3), (4, 4), (4, 9)]));
    }

    #[test]
    fn full_ties_stand_by_id_whatever_came_first() {
        for ids in [[1, 2, 3, 10], [10, 3, 2, 1], [3, 10, 1, 2]] {
            let board = board(&ids.map(|id| (id, 7.0)));
            assert_eq!(
                ranks(&ask(&board, 9, PageSelector::default())),
                [(1, 1), (1, 2), (1, 3), (1, 10)]
            );
            assert_eq!(
                racers(&ask(
                    &board,
                    2,
                    PageSelector::Cursor(Cursor::After(output(7.0), RacerId(1)))
                )),
                [2, 3]
            );
        }
    }

    #[test]
    fn output_0_stands_like_any_other() {
        let board = board(&[(1, 0.0), (2, -0.0), (3, 1.0)]);
        assert_eq!(
            ranks(&ask(&board, 9, PageSelector::default())),
            [(1, 3), (2, 1), (2, 2)]
        );
        let page = ask(&board, 2, PageSelector::Cursor(Cursor::Last));
        assert_eq!((racers(&page), page.next), (vec![1, 2], None));
        let what_if = Some(WhatIf {
            racer: RacerId(9),
            output: output(0.0),
        });
        let page = query(
            &board,
            &LeaderboardQuery {
                what_if,
                ..LeaderboardQuery::default()
            },
        )
        .expect("no pivot");
        assert_eq!(page.standings[3], standing(2, 9, 0.0, None, Some(true)));
        assert_eq!(
            rank_info(&board, RacerId(1)),
            Some(RankInfo {
                rank: 2,
                total: 3,
                percentile: 0.0
            })
        );
    }

    fn standing(
        rank: usize,
        racer: u64,
        watts: f64,
        second: Option<u32>,
        new_record: Option<bool>,
    ) -> Standing {
        Standing {
            rank,
            racer: RacerId(racer),
            output: output(watts),
            second: second.map(Second),
            new_record,
        }
    }

    #[test]
    fn one_racer_is_first_last_and_the_middle() {
        let board = board(&[(5, 1.0)]);
        let expected = Leaderboard {
            total: 1,
            standings: vec![standing(1, 5, 1.0, Some(60), None)],
            next: None,
            previous: None,
        };
        for page in [
            PageSelector::default(),
            around(5),
            PageSelector::Cursor(Cursor::First),
            PageSelector::Cursor(Cursor::Last),
        ] {
            assert_eq!(ask(&board, 1, page), expected);
            assert_eq!(ask(&board, 50, page), expected);
        }
        assert_eq!(
            rank_info(&board, RacerId(5)),
            Some(RankInfo {
                rank: 1,
                total: 1,
                percentile: 0.0
            })
        );
    }

    #[test]
    fn an_empty_board_has_no_neighbours() {
        for page in [
            PageSelector::Offset(0),
            PageSelector::Offset(9),
            PageSelector::Cursor(Cursor::First),
            PageSelector::Cursor(Cursor::Last),
        ] {
            let empty = Leaderboard {
                total: 0,
                standings: vec![],
                next: None,
                previous: None,
            };
            assert_eq!(ask(&board(&[]), 1, page), empty);
        }
        assert_eq!(rank_info(&board(&[]), RacerId(1)), None);
    }

    #[test]
    fn a_what_if_counts_only_if_it_beats_the_best() {
        let rows = |racer, watts| {
            let what_if = Some(WhatIf {
                racer: RacerId(racer),
                output: output(watts),
            });
            query(
                &board(&TIED),
                &LeaderboardQuery {
                    what_if,
                    ..LeaderboardQuery::default()
                },
            )
            .expect("no pivot")
        };
        assert_eq!(
            rows(3, 20.0).standings[2],
            standing(2, 3, 20.0, Some(60), Some(false))
        );
        assert_eq!(
            rows(3, 30.0).standings[1],
            standing(1, 3, 30.0, None, Some(true))
        );
        assert_eq!(ranks(&rows(3, 30.0)), [(1, 1), (1, 3), (3, 2), (4, 4)]);
        assert_eq!((rows(3, 30.0).total, rows(9, 15.0).total), (4, 5));
        assert_eq!(
            ranks(&rows(9, 15.0)),
            [(1, 1), (2, 2), (2, 3), (4, 9), (5, 4)]
        );
    }

    #[test]
    fn rows_of_the_all_time_board_say_their_second() {
        let table = Table::new(1);
        table.merge(
            &[
                effort(1, 7, 5.0),
                effort(4, 7, 9.0),
                effort(3, 7, 9.0),
                effort(2, 8, 6.0),
            ],
            0,
        );
        let page = ask(&table.overall_board(CLASS), 9, PageSelector::default());
        assert_eq!(
            page.standings,
            [
                standing(1, 7, 9.0, Some(3), None),
                standing(2, 8, 6.0, Some(2), None)
            ]
        );
    }

    #[test]
    fn a_page_around_a_racer_that_was_not_asked_for_is_around_its_place() {
        let board = board(&[(1, 50.0), (2, 40.0), (3, 30.0), (4, 20.0), (5, 10.0)]);
        let racers = Some([5, 4, 2, 1, 99, 5].map(RacerId).to_vec());
        let page = query(
            &board,
            &LeaderboardQuery {
                racers,
                page: around(3),
                limit: limit(2),
                ..LeaderboardQuery::default()
            },
        );
        assert_eq!(ranks(&page.expect("racer 3 stands")), [(2, 2), (4, 4)]);
    }

    #[test]
    fn two_cursors_meet_every_racer_once_while_others_ride() {
        let table = table(&[
            (1, 60.0),
            (2, 50.0),
            (3, 50.0),
            (4, 50.0),
            (5, 20.0),
            (6, 10.0),
        ]);
        let page = |page| ask(&table.board(CLASS, Second(60)), 2, page);
        let down = page(PageSelector::default());
        let up = page(PageSelector::Cursor(Cursor::Last));
        assert_eq!((racers(&down), racers(&up)), (vec![1, 2], vec![5, 6]));
        // 6 overtakes all, 7 joins among those tied, and 2, which the next page is to follow, goes.
        table.merge(&[effort(60, 6, 70.0), effort(60, 7, 50.0)], 0);
        table.erase(CLASS, RacerId(2), Second(0)..=Second(60), None, 0);
        let (down, up) = (page(turn(down.next)), page(turn(up.previous)));
        assert_eq!(
            (ranks(&down), ranks(&up)),
            (vec![(3, 3), (3, 4)], vec![(3, 4), (3, 7)])
        );
        let (down, up) = (page(turn(down.next)), page(turn(up.previous)));
        assert_eq!((racers(&down), racers(&up)), (vec![7, 5], vec![1, 3]));
        assert_eq!(
            (down.next, racers(&page(turn(up.previous)))),
            (None, vec![6])
        );
    }

    #[test]
    fn an_empty_page_leads_back_to_the_end_it_is_at() {
        let board = board(&TIED);
        let above = ask(
            &board,
            3,
            PageSelector::Cursor(Cursor::Before(output(90.0), RacerId(1))),
        );
        assert_eq!(
            (
                above.standings.len(),
                above.previous,
                racers(&ask(&board, 3, turn(above.next)))
            ),
            (0, None, vec![1, 2, 3])
        );
        let below = ask(
            &board,
            3,
            PageSelector::Cursor(Cursor::After(output(0.0), RacerId(1))),
        );
        assert_eq!(
            (
                below.standings.len(),
                below.next,
                racers(&ask(&board, 3, turn(below.previous)))
            ),
            (0, None, vec![2, 3, 4])
        );
    }

    #[test]
    fn a_cursor_of_another_board_is_a_place_on_this_one() {
        let board = board(&TIED);
        let page = |cursor| racers(&ask(&board, 9, PageSelector::Cursor(cursor)));
        assert_eq!(page(Cursor::After(output(25.0), RacerId(99))), [2, 3, 4]);
        assert_eq!(page(Cursor::Before(output(25.0), RacerId(99))), [1]);
        assert_eq!(
            page(Cursor::After(output(f64::MAX), RacerId(0))),
            [1, 2, 3, 4]
        );
        assert_eq!(
            page(Cursor::After(output(0.0), RacerId(INTEGER_MAX))),
            [0; 0]
        );
    }

    #[test]
    fn a_text_that_is_no_cursor_is_refused() {
        let mut wrong = vec![
            String::new(),
            "2".into(),
            "A".repeat(24),
            "=".repeat(24),
            "é".repeat(12),
        ];
        let good = Cursor::After(output(1.0), RacerId(1));
        for (byte, value) in [(0, 2), (1, 0), (1, 4), (2, 0xff), (10, 0xbf), (10, 0x7f)] {
            let mut bytes = good.bytes();
            bytes[byte] = value;
            if byte == 10 && value == 0x7f {
                bytes[11] = 0xf8; // NaN
            }
            wrong.push(URL_SAFE_NO_PAD.encode_to_string(bytes));
        }
        wrong.push(format!("{good}A"));
        wrong.push(format!("{good}=="));
        for text in wrong {
            assert_eq!(text.parse::<Cursor>(), Err(InvalidCursor), "{text}");
        }
    }

    #[test]
    fn a_limit_is_1_to_1000() {
        let limits =
            [0, 1, 1000, 1001].map(|rows| PageLimit::new(rows).map(|PageLimit(rows)| rows));
        assert_eq!(limits, [None, Some(1), Some(1000), None]);
        assert_eq!(LeaderboardQuery::default().limit, limit(50));
    }

    const RACERS: u64 = 12;
    const SECONDS: u32 = 3;

    fn some_output() -> impl Strategy<Value = Output> {
        select(vec![0.0, 0.5, 1.0, 1.5, 2.0]).prop_map(output)
    }

    fn some_racer() -> impl Strategy<Value = RacerId> {
        (0..RACERS + 2).prop_map(RacerId)
    }

    fn some_effort() -> impl Strategy<Value = Effort> {
        (0..SECONDS, 0..RACERS, some_output()).prop_map(|(second, racer, output)| Effort {
            output,
            ..effort(second, racer, 0.0)
        })
    }

    fn some_cursor() -> impl Strategy<Value = Cursor> {
        prop_oneof![
            Just(Cursor::First),
            (some_output(), some_racer()).prop_map(|(output, racer)| Cursor::After(output, racer)),
            (some_output(), some_racer()).prop_map(|(output, racer)| Cursor::Before(output, racer)),
            Just(Cursor::Last),
        ]
    }

    fn some_query() -> impl Strategy<Value = LeaderboardQuery> {
        let ties = select(vec![Ties::Competition, Ties::Dense, Ties::Ordinal]);
        let page = prop_oneof![
            (0..16_usize).prop_map(PageSelector::Offset),
            some_cursor().prop_map(PageSelector::Cursor),
            some_racer().prop_map(PageSelector::Around),
        ];
        let racers = prop::option::of(prop::collection::vec(some_racer(), 0..12));
        let what_if = prop::option::of((some_racer(), some_output()));
        (ties, 1..9_usize, page, racers, what_if).prop_map(|(ties, rows, page, racers, what_if)| {
            let what_if = what_if.map(|(racer, output)| WhatIf { racer, output });
            LeaderboardQuery {
                ties,
                limit: limit(rows),
                page,
                racers,
                what_if,
            }
        })
    }

    /// Each racer's best among those efforts, by definition.
    fn bests(efforts: &[Effort], second: Option<Second>) -> BTreeMap<RacerId, (Output, Second)> {
        let mut bests = BTreeMap::new();
        for effort in efforts
            .iter()
            .filter(|effort| second.is_none_or(|second| second == effort.second))
        {
            let best = bests
                .entry(effort.racer)
                .or_insert((effort.output, effort.second));
            if (effort.output, Reverse(effort.second)) > (best.0, Reverse(best.1)) {
                *best = (effort.output, effort.second);
            }
        }
        bests
    }

    /// All rows, and those that a query picks from them, by definition.
    fn listed(
        bests: &BTreeMap<RacerId, (Output, Second)>,
        query: &LeaderboardQuery,
    ) -> (Vec<Standing>, Vec<Standing>) {
        let row = |(&racer, &(output, second)): (&RacerId, &(Output, Second))| {
            standing_of(racer, output, Some(second))
        };
        let mut rows: Vec<Standing> = bests.iter().map(row).collect();
        if let Some(WhatIf { racer, output }) = query.what_if {
            let old = bests.get(&racer).map(|best| best.0);
            if old.is_none_or(|old| output > old) {
                rows.retain(|row| row.racer != racer);
                rows.push(Standing {
                    new_record: Some(true),
                    ..standing_of(racer, output, None)
                });
            } else {
                rows.iter_mut()
                    .filter(|row| row.racer == racer)
                    .for_each(|row| row.new_record = Some(false));
            }
        }
        rows.sort_by_key(|row| (Reverse(row.output), row.racer));
        let outputs: Vec<Output> = rows.iter().map(|row| row.output).collect();
        for (place, row) in rows.iter_mut().enumerate() {
            let above = outputs.iter().filter(|&&output| output > row.output);
            row.rank = 1 + match query.ties {
                Ties::Competition => above.count(),
                Ties::Dense => above.collect::<BTreeSet<_>>().len(),
                Ties::Ordinal => place,
            };
        }
        let mut picked = rows.clone();
        picked.retain(|row| {
            query
                .racers
                .as_ref()
                .is_none_or(|racers| racers.contains(&row.racer))
        });
        (rows, picked)
    }

    fn standing_of(racer: RacerId, output: Output, second: Option<Second>) -> Standing {
        Standing {
            rank: 0,
            racer,
            output,
            second,
            new_record: None,
        }
    }

    fn key(row: &Standing) -> RankKey {
        (Reverse(row.output), row.racer)
    }

    /// The answer by definition. Of the neighbouring pages only whether there are any.
    fn naive(
        bests: &BTreeMap<RacerId, (Output, Second)>,
        query: &LeaderboardQuery,
    ) -> Result<(usize, Vec<Standing>, bool, bool), RacerNotFound> {
        let (all, rows) = listed(bests, query);
        let rows_max = query.limit.0;
        let places = 0..rows.len();
        let page: Vec<usize> = match query.page {
            PageSelector::Offset(offset) => places.skip(offset).take(rows_max).collect(),
            PageSelector::Cursor(Cursor::First) => places.take(rows_max).collect(),
            PageSelector::Cursor(Cursor::After(output, racer)) => places
                .filter(|&place| key(&rows[place]) > (Reverse(output), racer))
                .take(rows_max)
                .collect(),
            PageSelector::Cursor(Cursor::Before(output, racer)) => {
                let before = places
                    .rev()
                    .filter(|&place| key(&rows[place]) < (Reverse(output), racer));
                before
                    .take(rows_max)
                    .collect::<Vec<_>>()
                    .into_iter()
                    .rev()
                    .collect()
            }
            PageSelector::Cursor(Cursor::Last) => {
                places.skip(rows.len().saturating_sub(rows_max)).collect()
            }
            PageSelector::Around(racer) => {
                let pivot = all
                    .iter()
                    .find(|row| row.racer == racer)
                    .ok_or(RacerNotFound(racer))?;
                let middle = rows.iter().filter(|&row| key(row) < key(pivot)).count();
                // Of all pages that are as full as can be, the one in which half of the limit is before the middle.
                let full = rows_max.min(rows.len());
                let start = (0..=rows.len() - full)
                    .min_by_key(|start| middle.abs_diff(start + rows_max / 2));
                places
                    .skip(start.expect("one page at least"))
                    .take(full)
                    .collect()
            }
        };
        let (previous, next) = match (page.first(), page.last()) {
            (Some(&first), Some(&last)) => (first > 0, last + 1 < rows.len()),
            _ if matches!(query.page, PageSelector::Cursor(Cursor::Before(..))) => {
                (false, !rows.is_empty())
            }
            _ => (!rows.is_empty(), false),
        };
        Ok((
            all.len(),
            page.iter().map(|&place| rows[place]).collect(),
            previous,
            next,
        ))
    }

    proptest! {
        #[test]
        fn every_answer_is_the_naive_models(
            efforts in prop::collection::vec(some_effort(), 0..40),
            second in prop::option::of((0..SECONDS).prop_map(Second)),
            asked in some_query(),
        ) {
            let table = Table::new(1);
            table.merge(&efforts, 0);
            let board = second.map_or_else(|| table.overall_board(CLASS), |second| table.board(CLASS, second));
            let answer = query(&board, &asked).map(|answer| {
                (answer.total, answer.standings, answer.previous.is_some(), answer.next.is_some())
            });
            prop_assert_eq!(answer, naive(&bests(&efforts, second), &asked));
        }

        #[test]
        fn cursors_visit_every_row_once_both_ways(
            efforts in prop::collection::vec(some_effort(), 0..40),
            asked in some_query(),
        ) {
            let table = Table::new(1);
            table.merge(&efforts, 0);
            let board = table.overall_board(CLASS);
            let rows = listed(&bests(&efforts, None), &asked).1;
            let Ok(from) = query(&board, &asked) else { return Ok(()) };

            // From any page at all: what is before it, the page and what is after it are all there is.
            let page = |cursor| {
                query(&board, &LeaderboardQuery { page: PageSelector::Cursor(cursor), ..asked.clone() }).expect("no pivot")
            };
            let mut walked = from.standings.clone();
            let mut next = from.next;
            while let Some(cursor) = next {
                let page = page(cursor);
                prop_assert!(!page.standings.is_empty());
                prop_assert!(page.next.is_none() || page.standings.len() == asked.limit.0);
                walked.extend(page.standings);
                next = page.next;
            }
            let mut previous = from.previous;
            while let Some(cursor) = previous {
                let page = page(cursor);
                prop_assert!(!page.standings.is_empty());
                prop_assert!(page.previous.is_none() || page.standings.len() == asked.limit.0);
                walked.splice(0..0, page.standings);
                previous = page.previous;
            }
            prop_assert_eq!(walked, rows);
        }

        #[test]
        fn whose_output_stays_is_met_once_while_the_board_changes(
            efforts in prop::collection::vec(some_effort(), 0..40),
            rows in 1..4_usize,
            changes in prop::collection::vec((any::<bool>(), some_effort()), 0..20),
        ) {
            let table = Table::new(1);
            table.merge(&efforts, 0);
            let outputs = || table.overall_board(CLASS).by_id().collect::<HashMap<RacerId, Output>>();
            let mut unchanged = outputs();
            let mut met: [Vec<RacerId>; 2] = Default::default();
            let mut walkers = [Some(Cursor::First), Some(Cursor::Last)];
            let mut changes = changes.iter();
            while walkers != [None, None] {
                for (way, walker) in walkers.iter_mut().enumerate() {
                    let Some(cursor) = *walker else { continue };
                    let page = ask(&table.overall_board(CLASS), rows, PageSelector::Cursor(cursor));
                    met[way].extend(page.standings.iter().map(|standing| standing.racer));
                    *walker = [page.next, page.previous][way];
                    let Some(&(rides, effort)) = changes.next() else { continue };
                    if rides {
                        table.merge(&[effort], 0);
                    } else {
                        table.erase(CLASS, effort.racer, Second(0)..=effort.second, Some(effort.output), 0);
                    }
                    let now = outputs();
                    unchanged.retain(|racer, output| now.get(racer) == Some(output));
                }
            }
            for met in met {
                for racer in unchanged.keys() {
                    prop_assert_eq!(met.iter().filter(|other| *other == racer).count(), 1);
                }
            }
        }

        #[test]
        fn a_place_is_the_naive_models_with_or_without_an_order(
            efforts in prop::collection::vec(some_effort(), 0..40),
            ordered in any::<bool>(),
        ) {
            let table = Table::new(1);
            table.merge(&efforts, 0);
            let board = table.overall_board(CLASS);
            if ordered {
                board.order();
            }
            let bests = bests(&efforts, None);
            for racer in (0..=RACERS).map(RacerId) {
                let expected = bests.get(&racer).map(|&(output, _)| {
                    let count = |holds: fn(&Output, &Output) -> bool| {
                        bests.values().filter(|(other, _)| holds(other, &output)).count()
                    };
                    let percentile = 100.0 * count(Output::lt) as f64 / bests.len() as f64;
                    RankInfo { rank: 1 + count(Output::gt), total: bests.len(), percentile }
                });
                prop_assert_eq!(rank_info(&board, racer), expected);
            }
        }

        #[test]
        fn a_cursor_is_read_back_from_its_text(
            kind in 0..4_u8, racer in 0..=INTEGER_MAX, watts in 0.0..f64::MAX, noise in any::<[u8; 18]>(),
        ) {
            let cursor = match kind {
                0 => Cursor::First,
                1 => Cursor::After(output(watts), RacerId(racer)),
                2 => Cursor::Before(output(watts), RacerId(racer)),
                _ => Cursor::Last,
            };
            prop_assert_eq!(cursor.to_string().parse(), Ok(cursor));
            let text = URL_SAFE_NO_PAD.encode_to_string(noise);
            if let Ok(cursor) = text.parse::<Cursor>() {
                prop_assert_eq!(cursor.to_string(), text);
            }
        }

        #[test]
        fn no_text_makes_a_cursor_panic(text in ".{0,30}") {
            prop_assert!(text.parse::<Cursor>().is_err() || text.len() == Cursor::LETTERS);
        }
    }
}
