//! Pace curves: the output at a percentile or at a rank of every second of a class, to ride
//! against.
//!
//! Curves are cached by the versions of the columns: for an unchanged class a curve is a lookup,
//! and after an improvement one column is read again.

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::num::NonZeroUsize;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::domain::effort::{ClassId, Output, RacerId, Second};
use crate::state::leaderboard::{partition_point, percentile};
use crate::state::table::{Board, StateVersion, Table};

/// Maximum number of cached curves of a class: some 1 MB at 600 seconds. More evict the least
/// recently used ones. Three times as many as one query may ask for.
const CACHED_CURVES_MAX: usize = 64;

/// A share of racers strictly below, in percent: 0 to 100.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Percentile(f64);

impl Percentile {
    /// Creates a percentile; `None` outside of 0 to 100.
    pub fn new(percent: f64) -> Option<Self> {
        (0.0..=100.0)
            .contains(&percent)
            .then_some(Self(percent + 0.0)) // -0 becomes 0
    }

    /// Returns the percentile as a double.
    pub fn get(self) -> f64 {
        self.0
    }
}

/// The target of a curve in every second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PaceTarget {
    /// The lowest output with at least this share of the second's racers strictly below it; if no
    /// output has, the highest.
    Percentile(Percentile),
    /// The output at this rank of the second, from 1. Equal outputs count one by one.
    Rank(NonZeroUsize),
}

/// A curve: the output at each of the seconds; `None` if the curve has no output there.
pub type PaceOutputs = Arc<[Option<Output>]>;

/// Curves of a class.
#[derive(Clone, Debug)]
pub struct Pace {
    /// The seconds with an effort, ascending.
    pub seconds: Arc<[Second]>,
    /// The curves, in the order of their targets.
    pub curves: Vec<PaceOutputs>,
}

/// The curves of every class.
#[derive(Debug)]
pub struct PaceCache {
    classes: Box<[Mutex<ClassPace>]>,
}

#[derive(Debug, Default)]
struct ClassPace {
    /// The class's version at which `seconds` was read. Curves with the same version are current.
    version: Option<StateVersion>,
    seconds: Arc<[Second]>,
    curves: Vec<CachedCurve>,
    /// Counts queries.
    queries: u64,
}

#[derive(Debug)]
struct CachedCurve {
    target: PaceTarget,
    /// The class's version at the curve's last comparison with the columns.
    version: StateVersion,
    /// The columns that it was read from, each with its version.
    columns: Arc<[(Second, StateVersion)]>,
    /// By position in `columns`.
    outputs: PaceOutputs,
    /// The query that used it last.
    used: u64,
}

impl PaceCache {
    /// Creates an empty cache for the classes 1 to `classes`.
    pub fn new(classes: u16) -> Self {
        Self {
            classes: ClassId::all(classes).map(|_| Mutex::default()).collect(),
        }
    }

    /// Returns the curves if they are cached for the class as it is now.
    pub fn cached(&self, table: &Table, class: ClassId, targets: &[PaceTarget]) -> Option<Pace> {
        // A cache that is being filled right now would block the caller.
        let mut cache = self.classes[class.index()].try_lock()?;
        cache.current(table.version(class), targets)
    }

    /// Returns the curves. Reads the columns that changed since they were cached.
    pub fn curves(&self, table: &Table, class: ClassId, targets: &[PaceTarget]) -> Pace {
        let mut cache = self.classes[class.index()].lock();
        // Read before the columns. If one changes in between, the curves are newer than this
        // version, and the next query compares them again.
        let version = table.version(class);
        if let Some(pace) = cache.current(version, targets) {
            return pace;
        }
        cache.refresh(table, class, version, targets);
        let pace = cache.current(version, targets);
        cache.evict();
        pace.expect("refreshed curves are current")
    }
}

impl ClassPace {
    fn current(&mut self, version: StateVersion, targets: &[PaceTarget]) -> Option<Pace> {
        if self.version != Some(version) {
            return None;
        }
        self.queries += 1;
        let curve = |target: &PaceTarget| {
            let is_current = |it: &&mut CachedCurve| it.target == *target && it.version == version;
            let curve = self.curves.iter_mut().find(is_current)?;
            curve.used = self.queries;
            Some(curve.outputs.clone())
        };
        let curves = targets.iter().map(curve).collect::<Option<_>>()?;
        Some(Pace {
            seconds: self.seconds.clone(),
            curves,
        })
    }

    /// Makes the curves of these targets current, and adds those that are missing.
    fn refresh(
        &mut self,
        table: &Table,
        class: ClassId,
        version: StateVersion,
        targets: &[PaceTarget],
    ) {
        let seconds = table.seconds(class);
        let mut old: Vec<Option<CachedCurve>> = Vec::with_capacity(targets.len());
        let mut new: Vec<Vec<Option<Output>>> = Vec::with_capacity(targets.len());
        for target in targets {
            let index = self.curves.iter().position(|it| it.target == *target);
            old.push(index.map(|index| self.curves.swap_remove(index)));
            new.push(Vec::with_capacity(seconds.len()));
        }
        let mut columns = Vec::with_capacity(seconds.len());
        for (second, column_version) in seconds {
            let known = old
                .iter()
                .map(|curve| curve.as_ref()?.output(second, column_version));
            // All outputs are of one version of the column.
            let (version, outputs) = match known.collect::<Option<Vec<_>>>() {
                Some(outputs) => (column_version, outputs),
                None => {
                    let board = table.board(class, second);
                    (board.version(), column_outputs(&board, targets))
                }
            };
            columns.push((second, version));
            for (curve, output) in new.iter_mut().zip(outputs) {
                curve.push(output);
            }
        }
        let columns: Arc<[_]> = columns.into();
        self.version = Some(version);
        self.seconds = columns.iter().map(|&(second, _)| second).collect();
        for (&target, outputs) in targets.iter().zip(new) {
            self.curves.push(CachedCurve {
                target,
                version,
                columns: columns.clone(),
                outputs: outputs.into(),
                used: self.queries,
            });
        }
    }

    fn evict(&mut self) {
        if self.curves.len() > CACHED_CURVES_MAX {
            self.curves
                .sort_unstable_by_key(|curve| Reverse(curve.used));
            self.curves.truncate(CACHED_CURVES_MAX);
        }
    }
}

impl CachedCurve {
    /// Returns the curve's output at a second if its column has this version; `Some(None)` where
    /// the curve has none.
    fn output(&self, second: Second, version: StateVersion) -> Option<Option<Output>> {
        let index = self.columns.binary_search(&(second, version)).ok()?;
        Some(self.outputs[index])
    }
}

/// Returns a racer's outputs at these seconds.
pub fn racer_outputs(
    table: &Table,
    class: ClassId,
    racer: RacerId,
    seconds: &[Second],
) -> Vec<Option<Output>> {
    let mut bests = table.racer_bests(class, racer).into_iter().peekable();
    let at = |&second: &Second| {
        while bests.next_if(|best| best.0 < second).is_some() {}
        bests.next_if(|best| best.0 == second).map(|best| best.1)
    };
    seconds.iter().map(at).collect()
}

/// Returns the output of every target on a board.
fn column_outputs(board: &Board, targets: &[PaceTarget]) -> Vec<Option<Output>> {
    let total = board.len();
    let positions = targets.iter().map(|target| position(*target, total));
    let positions: Vec<Option<usize>> = positions.collect();
    let outputs = AscendingOutputs::new(board, positions.iter().flatten().copied().collect());
    let output = |(target, position): (&PaceTarget, &Option<usize>)| {
        Some(match target {
            PaceTarget::Rank(_) => outputs.at((*position)?),
            PaceTarget::Percentile(_) => outputs.first_of_tie((*position)?),
        })
    };
    targets.iter().zip(&positions).map(output).collect()
}

/// Returns the index of a target among `total` ascending outputs, as if there were no ties.
fn position(target: PaceTarget, total: usize) -> Option<usize> {
    match target {
        PaceTarget::Rank(rank) => total.checked_sub(rank.get()),
        PaceTarget::Percentile(Percentile(percent)) => {
            let first = partition_point(total, |below| percentile(below, total) < percent);
            Some(first.min(total.checked_sub(1)?))
        }
    }
}

/// Some of a board's outputs by their ascending position.
enum AscendingOutputs<'a> {
    /// The board's order, if it is cached.
    Ordered(&'a Board),
    /// The bits of all outputs, partially sorted: those at `positions` are where a sort would put
    /// them. Selecting is faster than sorting.
    Selected {
        bits: Vec<u64>,
        /// Ascending.
        positions: Vec<usize>,
    },
}

impl<'a> AscendingOutputs<'a> {
    fn new(board: &'a Board, mut positions: Vec<usize>) -> Self {
        if board.has_order() {
            return Self::Ordered(board);
        }
        positions.sort_unstable();
        positions.dedup();
        let mut bits = board.output_bits();
        select(&mut bits, 0, &positions);
        Self::Selected { bits, positions }
    }

    fn at(&self, position: usize) -> Output {
        match self {
            Self::Ordered(board) => board
                .output(board.order().slot(board.len() - 1 - position))
                .expect("an order contains only slots with an output"),
            Self::Selected { bits, .. } => output_of(bits[position]),
        }
    }

    /// Returns the least output whose tie begins at this position or after it, or else the greatest
    /// output. In a tie, all rows have the share below of the tie's first row.
    fn first_of_tie(&self, position: usize) -> Output {
        let output = self.at(position);
        match self {
            Self::Ordered(board) => {
                let (above, below) = board.above_and_below(output);
                let is_first = below == position || above == 0;
                if is_first {
                    output
                } else {
                    self.at(board.len() - above)
                }
            }
            Self::Selected { bits, positions } => {
                // Elements before the previous selected position are not greater than the one
                // there. So if any of them ties with `output`, that one does too, and the search
                // may begin with it.
                let before = positions.partition_point(|&other| other < position);
                let before = before.checked_sub(1).map_or(0, |index| positions[index]);
                let output = output.get().to_bits();
                if !bits[before..position].contains(&output) {
                    return output_of(output);
                }
                let above = bits[position..].iter().filter(|&&other| other > output);
                output_of(*above.min().unwrap_or(&output))
            }
        }
    }
}

fn output_of(bits: u64) -> Output {
    Output::new(f64::from_bits(bits)).expect("the bits of an output")
}

/// Puts the elements at these positions, ascending, where a sort would put them. Positions count
/// from `offset`.
fn select(elements: &mut [u64], offset: usize, positions: &[usize]) {
    let middle = positions.len() / 2;
    let Some(&position) = positions.get(middle) else {
        return;
    };
    let (before, _, after) = elements.select_nth_unstable(position - offset);
    select(before, offset, &positions[..middle]);
    select(after, position + 1, &positions[middle + 1..]);
}
