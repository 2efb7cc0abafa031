//! Tests of pace curves against a naive model.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::domain::effort::Effort;

const CLASS: ClassId = ClassId::new(1).expect("1 is a class");
const SECONDS: u32 = 4;
const RACERS: u64 = 9;

/// The outputs of every second, by racer.
type Model = BTreeMap<Second, BTreeMap<RacerId, Output>>;

fn output(watts: f64) -> Output {
    Output::new(watts).unwrap()
}

fn percentile(percent: f64) -> PaceTarget {
    PaceTarget::Percentile(Percentile::new(percent).unwrap())
}

fn rank(rank: usize) -> PaceTarget {
    PaceTarget::Rank(NonZeroUsize::new(rank).unwrap())
}

/// A change of a class, or a query.
#[derive(Clone, Debug)]
enum Step {
    Ride(u32, u64, f64),
    Erase(u64, u32, f64),
    /// Caches the order of a second.
    Order(u32),
    Query(Vec<PaceTarget>),
}

fn arbitrary_step() -> impl Strategy<Value = Step> {
    let watts = || select(vec![0.0, 0.5, 1.0, 2.0, 2.5]);
    let percents = vec![0.0, 10.0, 100.0 / 3.0, 50.0, 62.5, 66.0, 75.0, 99.0, 100.0];
    let target = prop_oneof![
        select(percents).prop_map(percentile),
        (1..11_usize).prop_map(rank),
    ];
    prop_oneof![
        4 => (0..SECONDS, 0..RACERS, watts()).prop_map(|(s, r, w)| Step::Ride(s, r, w)),
        1 => (0..RACERS, 0..SECONDS, watts()).prop_map(|(r, s, w)| Step::Erase(r, s, w)),
        1 => (0..SECONDS).prop_map(Step::Order),
        2 => prop::collection::vec(target, 1..5).prop_map(Step::Query),
    ]
}

fn naive(model: &Model, target: PaceTarget) -> Vec<Option<Output>> {
    let at = |racers: &BTreeMap<RacerId, Output>| {
        let mut outputs: Vec<Output> = racers.values().copied().collect();
        outputs.sort_by(|a, b| b.cmp(a));
        match target {
            PaceTarget::Rank(rank) => outputs.get(rank.get() - 1).copied(),
            PaceTarget::Percentile(percent) => {
                let percentile_of = |output: Output| {
                    let below = outputs.iter().filter(|&&other| other < output).count();
                    100.0 * below as f64 / outputs.len() as f64
                };
                let reach = outputs
                    .iter()
                    .filter(|&&output| percentile_of(output) >= percent.get());
                reach.min().or(outputs.first()).copied()
            }
        }
    };
    model.values().map(at).collect()
}

proptest! {
    #[test]
    fn curves_equal_the_naive_model(steps in prop::collection::vec(arbitrary_step(), 0..60)) {
        let (table, cache) = (Table::new(1), PaceCache::new(1));
        let mut model = Model::new();
        for step in steps {
            match step {
                Step::Ride(second, racer, watts) => {
                    table.merge(&[Effort::of(1, second, racer, watts)], 0);
                    let racers = model.entry(Second(second)).or_default();
                    let best = racers.entry(RacerId(racer)).or_insert(output(watts));
                    *best = output(watts).max(*best);
                }
                Step::Erase(racer, last, above) => {
                    let (racer, above) = (RacerId(racer), output(above));
                    table.erase(CLASS, racer, Second(0)..=Second(last), Some(above), 0);
                    for (_, racers) in model.range_mut(..=Second(last)) {
                        racers.retain(|&other, best| other != racer || *best <= above);
                    }
                    model.retain(|_, racers| !racers.is_empty());
                }
                Step::Order(second) => _ = table.board(CLASS, Second(second)).order(),
                Step::Query(targets) => {
                    let pace = cache.curves(&table, CLASS, &targets);
                    let seconds: Vec<_> = model.keys().copied().collect();
                    prop_assert_eq!(&*pace.seconds, &*seconds);
                    prop_assert_eq!(pace.curves.len(), targets.len());
                    for (curve, target) in pace.curves.iter().zip(&targets) {
                        prop_assert_eq!(&**curve, naive(&model, *target), "{:?}", target);
                    }
                    for racer in (0..RACERS).map(RacerId) {
                        let bests = model.values().map(|racers| racers.get(&racer).copied());
                        let outputs = racer_outputs(&table, CLASS, racer, &pace.seconds);
                        prop_assert_eq!(outputs, bests.collect::<Vec<_>>());
                    }
                }
            }
        }
    }
}

#[test]
fn unchanged_class_is_a_lookup_and_an_improvement_reads_one_column() {
    let (table, cache) = (Table::new(1), PaceCache::new(1));
    let targets = [percentile(50.0), rank(1)];
    let efforts = (0..SECONDS).flat_map(|second| (0..9).map(move |racer| (second, racer)));
    let efforts = efforts.map(|(second, racer)| Effort::of(1, second, racer, racer as f64));
    table.merge(&efforts.collect::<Vec<_>>(), 0);
    assert!(cache.cached(&table, CLASS, &targets).is_none());
    let first = cache.curves(&table, CLASS, &targets);
    let cached = cache.cached(&table, CLASS, &targets).expect("cached");
    assert!(Arc::ptr_eq(&first.curves[0], &cached.curves[0]));

    // The cached values of other columns are used as they are: here they are wrong on purpose.
    for curve in &mut cache.classes[0].lock().curves {
        curve.outputs = [Some(output(77.0)); SECONDS as usize].into();
    }
    table.merge(&[Effort::of(1, 2, 3, 500.0)], 0);
    assert!(cache.cached(&table, CLASS, &targets).is_none());
    let after = cache.curves(&table, CLASS, &targets);
    let watts = |curve: &PaceOutputs| curve.iter().map(|it| it.unwrap().get()).collect::<Vec<_>>();
    assert_eq!(watts(&after.curves[0]), [77.0, 77.0, 6.0, 77.0]);
    assert_eq!(watts(&after.curves[1]), [77.0, 77.0, 500.0, 77.0]);
}

#[test]
fn least_recently_used_curves_are_evicted() {
    let (table, cache) = (Table::new(1), PaceCache::new(1));
    table.merge(&[Effort::of(1, 0, 1, 9.0)], 0);
    let is_cached = |rank_| cache.cached(&table, CLASS, &[rank(rank_)]).is_some();
    for rank_ in 1..=CACHED_CURVES_MAX {
        cache.curves(&table, CLASS, &[rank(rank_)]);
    }
    assert!(is_cached(1));
    cache.curves(&table, CLASS, &[rank(CACHED_CURVES_MAX + 1)]);
    assert!(is_cached(1));
    assert!(!is_cached(2));
    assert!(is_cached(CACHED_CURVES_MAX + 1));
    assert_eq!(cache.classes[0].lock().curves.len(), CACHED_CURVES_MAX);
}

#[test]
fn percentiles_are_0_to_100() {
    let percents = [-0.1, 100.1, f64::NAN, f64::INFINITY].map(Percentile::new);
    assert_eq!(percents, [None; 4]);
    assert!(Percentile::new(-0.0).unwrap().get().is_sign_positive());
}
