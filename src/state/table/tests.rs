//! Property tests of the table against a naive model.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::sample::select;

use super::*;

const CLASSES: u16 = 2;
const SECONDS: u32 = 4;
const RACERS: u64 = 6;
const NO_LIMIT: usize = usize::MAX;

/// A naive table.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    efforts: BTreeMap<(ClassId, Second, RacerId), Output>,
}

type Row = (RacerId, Output, Second);

impl Model {
    fn merge(&mut self, efforts: &[Effort]) {
        for effort in efforts {
            let best = self
                .efforts
                .entry((effort.class, effort.second, effort.racer))
                .or_insert(effort.output);
            *best = effort.output.max(*best);
        }
    }

    fn erase(
        &mut self,
        class: ClassId,
        racer: RacerId,
        seconds: &RangeInclusive<Second>,
        above: Option<Output>,
    ) -> u64 {
        let before = self.efforts.len();
        self.efforts.retain(|&(of, second, by), output| {
            (of, by) != (class, racer)
                || !seconds.contains(&second)
                || above.is_some_and(|above| *output <= above)
        });
        (before - self.efforts.len()) as u64
    }

    /// Returns the rows of a board in order; without a second, of the all-time board.
    fn board(&self, class: ClassId, second: Option<Second>) -> Vec<Row> {
        let mut rows: Vec<Row> = Vec::new();
        for (&(of, at, racer), &output) in &self.efforts {
            if of == class && second.is_none_or(|second| second == at) {
                rows.push((racer, output, at));
            }
        }
        rows.sort_by_key(|&(racer, output, second)| (racer, Reverse(output), second));
        rows.dedup_by_key(|row| row.0);
        rows.sort_by_key(|&(racer, output, _)| (Reverse(output), racer));
        rows
    }

    fn racer_bests(&self, class: ClassId, racer: RacerId) -> Vec<(Second, Output)> {
        let mine = self
            .efforts
            .iter()
            .filter(|&(&(of, _, by), _)| (of, by) == (class, racer));
        mine.map(|(&(_, second, _), &output)| (second, output))
            .collect()
    }
}

fn class(number: u16) -> ClassId {
    ClassId::new(number).expect("classes count from 1")
}

fn output(output: f64) -> Output {
    Output::new(output).expect("a finite output that is not negative")
}

fn effort(second: u32, racer: u64, watts: f64) -> Effort {
    Effort::of(1, second, racer, watts)
}

/// Returns the rows of a board in its order.
fn rows(board: &Board) -> Vec<Row> {
    let row = |slot| {
        (
            board.racer(slot),
            board.output(slot).expect("it is in the order"),
            board.second(slot),
        )
    };
    board.order().slots().map(row).collect()
}

/// Checks everything that a board shows against the expected rows.
fn check_board(board: &Board, expected: &[Row]) -> Result<(), TestCaseError> {
    // The first round counts without an order; the second searches the cached one.
    for _ in 0..2 {
        for watts in [0.0, 0.5, 1.0, 1.5, 2.0, 2.5].map(output) {
            let count = |holds: fn(&Output, &Output) -> bool| {
                expected.iter().filter(|row| holds(&row.1, &watts)).count()
            };
            prop_assert_eq!(
                board.above_and_below(watts),
                (count(Output::gt), count(Output::lt))
            );
        }
        prop_assert_eq!(rows(board), expected);
    }
    let dense: Vec<u32> = expected
        .iter()
        .map(|row| {
            expected
                .iter()
                .map(|other| other.1)
                .filter(|&other| other >= row.1)
                .collect::<BTreeSet<_>>()
        })
        .map(|outputs| outputs.len() as u32)
        .collect();
    let distinct = (1..=board.len()).map(|position| board.distinct_before(position) as u32);
    prop_assert_eq!(distinct.collect::<Vec<_>>(), dense);
    prop_assert_eq!(board.distinct_before(0), 0);
    prop_assert_eq!(board.len(), expected.len());
    prop_assert_eq!(board.is_empty(), expected.is_empty());
    let mut by_id: Vec<_> = expected
        .iter()
        .map(|&(racer, output, _)| (racer, output))
        .collect();
    by_id.sort();
    prop_assert_eq!(board.by_id().collect::<Vec<_>>(), by_id);
    for racer in (0..=RACERS).map(RacerId) {
        let expected = expected.iter().find(|row| row.0 == racer).map(|row| row.1);
        prop_assert_eq!(
            board.slot(racer).and_then(|slot| board.output(slot)),
            expected
        );
    }
    Ok(())
}

/// Checks everything that a table shows against the model.
fn check(table: &Table, model: &Model) -> Result<(), TestCaseError> {
    for class in table.classes() {
        let seconds: BTreeSet<Second> = model
            .efforts
            .keys()
            .filter(|(of, ..)| *of == class)
            .map(|&(_, second, _)| second)
            .collect();
        let all_time = model.board(class, None);
        let summary = table.summary(class);
        prop_assert_eq!(summary.racers, all_time.len());
        prop_assert_eq!(summary.seconds, seconds.len());
        prop_assert_eq!(
            summary.efforts,
            model.efforts.keys().filter(|(of, ..)| *of == class).count() as u64
        );
        prop_assert_eq!(
            table
                .seconds(class)
                .iter()
                .map(|(second, _)| *second)
                .collect::<BTreeSet<_>>(),
            seconds.clone()
        );
        prop_assert_eq!(table.last_second(class), seconds.last().copied());
        check_board(&table.overall_board(class), &all_time)?;
        for second in (0..=SECONDS).map(Second) {
            check_board(
                &table.board(class, second),
                &model.board(class, Some(second)),
            )?;
        }
        for racer in (0..=RACERS).map(RacerId) {
            prop_assert_eq!(
                table.racer_bests(class, racer),
                model.racer_bests(class, racer)
            );
        }
    }
    Ok(())
}

fn hashes(table: &Table) -> Vec<u64> {
    table
        .classes()
        .map(|class| table.summary(class).state_hash)
        .collect()
}

/// Returns a new table with the model's efforts alone.
fn fresh(model: &Model) -> Table {
    let table = Table::new(CLASSES);
    let efforts = model.efforts.iter().rev();
    let efforts = efforts.map(|(&(class, second, racer), &output)| Effort {
        class,
        output,
        ..effort(second.0, racer.0, 0.0)
    });
    table.merge(&efforts.collect::<Vec<_>>(), 0);
    table
}

fn some_output() -> impl Strategy<Value = Output> {
    select(vec![0.0, 0.5, 1.0, 1.5, 2.0]).prop_map(output)
}

fn some_effort() -> impl Strategy<Value = Effort> {
    (1..=CLASSES, 0..SECONDS, 0..RACERS, some_output()).prop_map(|(of, second, racer, output)| {
        Effort {
            class: class(of),
            output,
            ..effort(second, racer, 0.0)
        }
    })
}

fn some_efforts(most: usize) -> impl Strategy<Value = Vec<Effort>> {
    prop::collection::vec(some_effort(), 0..most)
}

#[derive(Clone, Debug)]
enum Step {
    Merge(Vec<Effort>),
    Erase(ClassId, RacerId, RangeInclusive<Second>, Option<Output>),
    /// Takes a board and checks it at once (true), or only at the end.
    View(ClassId, Option<Second>, bool),
}

fn some_step() -> impl Strategy<Value = Step> {
    let some_class = || (1..=CLASSES).prop_map(class);
    let erase = (
        some_class(),
        0..RACERS,
        0..SECONDS,
        0..SECONDS,
        prop::option::of(some_output()),
    );
    prop_oneof![
        2 => some_efforts(8).prop_map(Step::Merge),
        1 => erase.prop_map(|(class, racer, from, to, above)| {
            Step::Erase(class, RacerId(racer), Second(from)..=Second(to), above)
        }),
        2 => (some_class(), prop::option::of((0..SECONDS).prop_map(Second)), any::<bool>())
            .prop_map(|(class, second, at_once)| Step::View(class, second, at_once)),
    ]
}

fn run(table: &Table, model: &mut Model, step: &Step) -> Result<(), TestCaseError> {
    match step {
        Step::Merge(efforts) => {
            table.merge(efforts, 0);
            model.merge(efforts);
        }
        Step::Erase(class, racer, seconds, above) => {
            let erased = table.erase(*class, *racer, seconds.clone(), *above, 0);
            prop_assert_eq!(erased, model.erase(*class, *racer, seconds, *above));
        }
        Step::View(..) => {}
    }
    Ok(())
}

fn take_board(table: &Table, class: ClassId, second: Option<Second>) -> Board {
    second.map_or_else(
        || table.overall_board(class),
        |second| table.board(class, second),
    )
}

proptest! {
    #[test]
    fn merge_is_a_maximum_in_any_order_and_any_number_of_times(
        (efforts, shuffled) in some_efforts(40).prop_flat_map(|efforts| {
            // Half of them again, in any order, as a stream with at-least-once delivery sends them.
            let twice: Vec<_> = efforts.iter().chain(&efforts[..efforts.len() / 2]).copied().collect();
            (Just(efforts), Just(twice).prop_shuffle())
        }),
        batch in 1..10_usize,
    ) {
        let (once, pieces) = (Table::new(CLASSES), Table::new(CLASSES));
        once.merge(&efforts, 0);
        shuffled.chunks(batch).for_each(|batch| drop(pieces.merge(batch, 0)));
        let mut model = Model::default();
        model.merge(&efforts);
        check(&once, &model)?;
        check(&pieces, &model)?;
        prop_assert_eq!(hashes(&once), hashes(&pieces));
    }

    #[test]
    fn merging_known_efforts_changes_nothing(efforts in some_efforts(40)) {
        let table = Table::new(CLASSES);
        table.merge(&efforts, 1);
        let before: Vec<_> = table.classes().map(|class| (table.summary(class), table.seconds(class))).collect();
        let versions = table.merge(&efforts, 2);
        let after: Vec<_> = table.classes().map(|class| (table.summary(class), table.seconds(class))).collect();
        prop_assert_eq!(before, after);
        prop_assert!(versions.iter().all(|&(class, version)| version == table.version(class)));
        prop_assert_eq!(table.compare(&efforts, 0, &mut Newcomers::default()), Comparison::default());
    }

    #[test]
    fn merges_and_erasures_match_the_model(steps in prop::collection::vec(some_step(), 0..20)) {
        let (table, mut model) = (Table::new(CLASSES), Model::default());
        for step in &steps {
            run(&table, &mut model, step)?;
        }
        check(&table, &model)?;
        prop_assert_eq!(hashes(&table), hashes(&fresh(&model)));
    }

    #[test]
    fn board_never_changes_after_it_was_taken(
        (steps, check_order) in prop::collection::vec(some_step(), 0..30).prop_flat_map(|steps| {
            let check_order: Vec<usize> = (0..steps.len()).collect();
            (Just(steps), Just(check_order).prop_shuffle())
        }),
    ) {
        let (table, mut model) = (Table::new(CLASSES), Model::default());
        let mut boards = Vec::new();
        let mut versions: BTreeMap<(ClassId, Option<Second>, StateVersion), Vec<Row>> = BTreeMap::new();
        for step in &steps {
            run(&table, &mut model, step)?;
            let Step::View(class, second, at_once) = *step else { continue };
            let (board, expected) = (take_board(&table, class, second), model.board(class, second));
            // Equal versions of one board are equal boards.
            let same = versions.entry((class, second, board.version())).or_insert_with(|| expected.clone());
            prop_assert_eq!(&*same, &expected);
            if at_once {
                check_board(&board, &expected)?;
            }
            boards.push((board, expected));
        }
        for index in check_order {
            if let Some((board, expected)) = boards.get(index) {
                check_board(board, expected)?;
            }
        }
    }

    #[test]
    fn state_hashes_are_equal_only_for_equal_states(
        all in prop::array::uniform2(prop::collection::vec((0..2_u32, 0..2_u64, select(vec![0.0, 1.0])), 0..5)),
    ) {
        let [a, b] = all.map(|efforts| {
            let efforts: Vec<_> = efforts.iter().map(|&(second, racer, watts)| effort(second, racer, watts)).collect();
            let (table, mut model) = (Table::new(CLASSES), Model::default());
            table.merge(&efforts, 0);
            model.merge(&efforts);
            (hashes(&table), model.efforts)
        });
        prop_assert_eq!(a.0 == b.0, a.1 == b.1);
    }

    #[test]
    fn comparison_finds_exactly_the_efforts_that_change_the_state(
        steps in prop::collection::vec(some_step(), 0..10),
        efforts in some_efforts(30),
        racers_max in prop_oneof![0..RACERS as usize + 2, Just(NO_LIMIT)],
    ) {
        let (table, mut model) = (Table::new(CLASSES), Model::default());
        for step in &steps {
            run(&table, &mut model, step)?;
        }
        let mut expected = Comparison::default();
        let mut known: BTreeSet<_> = model.efforts.keys().map(|&(class, _, racer)| (class, racer)).collect();
        for (index, effort) in efforts.iter().enumerate() {
            let has_space = known.iter().filter(|(class, _)| *class == effort.class).count() < racers_max;
            if !known.contains(&(effort.class, effort.racer)) && !has_space {
                expected.class_full.push(index);
                continue;
            }
            known.insert((effort.class, effort.racer));
            let old = model.efforts.get(&(effort.class, effort.second, effort.racer));
            if old.is_none_or(|&old| effort.output > old) {
                expected.improving.push(index);
            }
        }
        let comparison = table.compare(&efforts, racers_max, &mut Newcomers::default());
        prop_assert_eq!(&comparison, &expected);

        // Merging only the improving ones equals merging all that were not rejected.
        let pick = |keep: &dyn Fn(usize) -> bool| {
            efforts.iter().enumerate().filter(|(index, _)| keep(*index)).map(|(_, effort)| *effort).collect::<Vec<_>>()
        };
        table.merge(&pick(&|index| comparison.improving.contains(&index)), 0);
        model.merge(&pick(&|index| !comparison.class_full.contains(&index)));
        check(&table, &model)?;
    }
}

#[test]
fn full_class_accepts_only_its_own_racers() {
    let table = Table::new(1);
    table.merge(&[effort(1, 1, 5.0), effort(1, 2, 5.0)], 0);
    let efforts = [
        effort(1, 1, 6.0),
        effort(1, 3, 9.0),
        effort(2, 2, 1.0),
        effort(2, 3, 1.0),
    ];
    let comparison = table.compare(&efforts, 3, &mut Newcomers::default());
    assert_eq!(
        comparison,
        Comparison {
            improving: vec![0, 1, 2, 3],
            class_full: vec![]
        }
    );
    let efforts = [
        effort(1, 1, 6.0),
        effort(1, 3, 9.0),
        effort(1, 4, 9.0),
        effort(2, 3, 1.0),
    ];
    let comparison = table.compare(&efforts, 3, &mut Newcomers::default());
    assert_eq!(
        comparison,
        Comparison {
            improving: vec![0, 1, 3],
            class_full: vec![2]
        }
    );
    let efforts = [effort(1, 1, 5.0), effort(2, 2, 0.0), effort(1, 3, 9.0)];
    let comparison = table.compare(&efforts, 2, &mut Newcomers::default());
    assert_eq!(
        comparison,
        Comparison {
            improving: vec![1],
            class_full: vec![2]
        }
    );
}

#[test]
fn newcomer_merged_by_another_path_counts_once() {
    let table = Table::new(1);
    let mut newcomers = Newcomers::default();
    assert_eq!(
        table
            .compare(&[effort(1, 1, 5.0)], 2, &mut newcomers)
            .improving,
        [0]
    );
    table.merge(&[effort(2, 1, 5.0)], 0); // from another instance
    let comparison = table.compare(&[effort(1, 2, 5.0), effort(1, 3, 5.0)], 2, &mut newcomers);
    assert_eq!(
        comparison,
        Comparison {
            improving: vec![0],
            class_full: vec![1]
        }
    );
}

#[test]
fn erased_effort_can_be_merged_again() {
    let table = Table::new(1);
    table.merge(
        &[effort(1, 7, 5.0), effort(2, 7, 9.0), effort(3, 7, 9.0)],
        10,
    );
    let hash = table.summary(class(1)).state_hash;
    let erase = |above| table.erase(class(1), RacerId(7), Second(2)..=Second(3), above, 20);
    assert_eq!(erase(Some(output(9.0))), 0);
    assert_eq!(table.summary(class(1)).updated_at_ms, Some(10));
    assert_eq!(erase(None), 2);
    assert_eq!(table.summary(class(1)).updated_at_ms, Some(20));
    assert_eq!(
        rows(&table.overall_board(class(1))),
        [(RacerId(7), output(5.0), Second(1))]
    );
    table.merge(&[effort(3, 7, 9.0)], 30);
    assert_eq!(
        rows(&table.overall_board(class(1))),
        [(RacerId(7), output(9.0), Second(3))]
    );
    table.merge(&[effort(2, 7, 9.0)], 40);
    assert_eq!(
        rows(&table.overall_board(class(1))),
        [(RacerId(7), output(9.0), Second(2))]
    );
    assert_eq!(table.summary(class(1)).state_hash, hash);
}

#[test]
fn racer_without_remaining_efforts_is_on_no_board() {
    let table = Table::new(1);
    table.merge(&[effort(0, 7, 0.0), effort(5, 7, 1.0)], 0);
    assert_eq!(
        table.erase(class(1), RacerId(7), Second(0)..=Second(5), None, 0),
        2
    );
    let summary = table.summary(class(1));
    assert_eq!(summary.racers, 0);
    assert_eq!(summary.seconds, 0);
    assert_eq!(summary.efforts, 0);
    assert_eq!(summary.state_hash, 0);
    assert!(table.overall_board(class(1)).is_empty());
    assert_eq!(table.last_second(class(1)), None);
    assert_eq!(table.racer_bests(class(1), RacerId(7)), []);
    assert_eq!(table.overall_board(class(1)).slot(RacerId(7)), None);
}

#[test]
fn earliest_second_of_equal_bests_counts_in_any_order() {
    for seconds in [[3, 5, 8], [8, 5, 3], [5, 8, 3]] {
        let table = Table::new(1);
        for second in seconds {
            table.merge(&[effort(second, 7, 4.0)], 0);
        }
        assert_eq!(
            rows(&table.overall_board(class(1))),
            [(RacerId(7), output(4.0), Second(3))]
        );
    }
}
