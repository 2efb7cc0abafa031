//! Tests of erasures.

use proptest::prelude::*;

use super::scope::{FIRST_SECOND, LAST_SECOND};
use super::*;
use crate::domain::effort::{Output, Second};

const CLASS: ClassId = ClassId::new(1).expect("1 is not 0");

fn effort(racer: u64, second: u32, output: f64, time: u64) -> Effort {
    Effort {
        time,
        ..Effort::of(1, second, racer, output)
    }
}

fn some_scope() -> impl Strategy<Value = ErasureScope> {
    let class = prop::option::of((1u16..3).prop_map(|class| ClassId::new(class).expect("from 1")));
    let seconds = prop_oneof![
        Just((FIRST_SECOND, LAST_SECOND)),
        (0u32..5).prop_map(|s| (Second(s), Second(s)))
    ];
    let above =
        prop::option::of((0u32..9).prop_map(|above| Output::new(above.into()).expect("valid")));
    (0u64..3, class, seconds, above).prop_map(|(racer, class_id, (from, to), above)| ErasureScope {
        racer_id: RacerId(racer),
        class_id,
        from,
        to,
        above,
    })
}

fn some_erasures() -> impl Strategy<Value = Erasures> {
    let each = (some_scope(), 0u64..100, prop::option::of("[ab]"));
    prop::collection::vec(each, 0..8).prop_map(|erasures| {
        erasures
            .into_iter()
            .fold(Erasures::default(), |known, (scope, until_ms, reason)| {
                known
                    .with(scope, until_ms, reason.map(Into::into))
                    .expect("under the limits")
            })
    })
}

fn merged(a: &Erasures, b: &Erasures) -> Erasures {
    let mut merged = a.clone();
    merged.merge(b);
    merged
}

proptest! {
    #[test]
    fn count_is_that_of_the_erasures(mut one in some_erasures(), other in some_erasures()) {
        prop_assert_eq!(one.count(), one.iter().count());
        one.merge(&other);
        prop_assert_eq!(one.count(), one.iter().count());
        let read = Erasures::from_json(&one.to_json()).expect("its own form");
        prop_assert_eq!(read.count(), one.count());
    }

    #[test]
    fn merge_is_commutative_associative_and_idempotent(
        a in some_erasures(), b in some_erasures(), c in some_erasures(),
    ) {
        prop_assert_eq!(merged(&a, &b).to_json(), merged(&b, &a).to_json());
        prop_assert_eq!(merged(&merged(&a, &b), &c).to_json(), merged(&a, &merged(&b, &c)).to_json());
        prop_assert_eq!(merged(&a, &a).to_json(), a.to_json());
        prop_assert_eq!(a.clone().merge(&a), []);
    }

    #[test]
    fn stored_form_reads_back(erasures in some_erasures()) {
        let stored = erasures.to_json();
        prop_assert_eq!(Erasures::from_json(&stored).expect("own stored form").to_json(), stored);
    }

    #[test]
    fn merge_undoes_no_erasure(a in some_erasures(), b in some_erasures(), time in 0u64..100) {
        let effort = effort(1, 2, 5.0, time);
        let either = a.any_covers(&effort, 0) || b.any_covers(&effort, 0);
        prop_assert_eq!(merged(&a, &b).any_covers(&effort, 0), either);
    }
}

const OTHER_CLASS: ClassId = ClassId::new(2).expect("2 is not 0");

/// Erases outputs over 300 of racer 1 in `CLASS` at seconds 3 and 4, until 50.
fn glitch() -> Erasures {
    let scope = ErasureScope {
        from: Second(3),
        to: Second(4),
        above: Output::new(300.0),
        ..ErasureScope::all(RacerId(1), Some(CLASS))
    };
    let erasures = Erasures::default().with(scope, 50, None);
    erasures.expect("under the limits")
}

/// Adds to [`glitch`] an erasure of all of racer 1, until 60.
fn glitch_and_racer() -> Erasures {
    let erasures = glitch().with(ErasureScope::all(RacerId(1), None), 60, None);
    erasures.expect("under the limits")
}

#[test]
fn efforts_in_scope_and_not_later_are_erased() {
    let erasures = glitch();
    let is_erased = |effort| erasures.any_covers(&effort, 0);
    assert!(is_erased(effort(1, 3, 300.5, 50)));
    assert!(is_erased(effort(1, 4, 301.0, 0)));
    assert!(!is_erased(effort(1, 3, 300.5, 51)), "later");
    assert!(!is_erased(effort(1, 3, 300.0, 50)), "not above");
    assert!(!is_erased(effort(1, 2, 300.5, 50)), "second before");
    assert!(!is_erased(effort(1, 5, 300.5, 50)), "second after");
    assert!(!is_erased(effort(2, 3, 300.5, 50)), "another racer");
    let in_other_class = Effort {
        class: OTHER_CLASS,
        ..effort(1, 3, 300.5, 50)
    };
    assert!(!is_erased(in_other_class), "another class");
}

#[test]
fn applied_erasures_are_not_applied_again() {
    assert!(!glitch().any_covers(&effort(1, 3, 300.5, 50), 1));
}

#[test]
fn names_are_erased_only_for_all_classes() {
    assert!(!glitch().any_covers_name(RacerId(1), 0), "of one class");
    let erasures = glitch_and_racer();
    assert!(erasures.any_covers_name(RacerId(1), 60));
    assert!(!erasures.any_covers_name(RacerId(1), 61), "later");
    assert!(!erasures.any_covers_name(RacerId(2), 0), "another racer");
}

#[test]
fn versions_concern_the_classes_and_names_in_scope() {
    assert_eq!(glitch().version_concerning(CLASS), 1);
    assert_eq!(glitch().version_concerning(OTHER_CLASS), 0);
    assert_eq!(glitch().version_concerning_names(), 0);
    let erasures = glitch_and_racer();
    assert_eq!(erasures.version(), 2);
    assert_eq!(erasures.version_concerning(CLASS), 2);
    assert_eq!(erasures.version_concerning_names(), 2);
}

#[test]
fn scopes_of_a_racer_are_limited() {
    let mut erasures = Erasures::default();
    let scope = |second| ErasureScope {
        from: Second(second),
        to: Second(second),
        ..ErasureScope::all(RacerId(1), None)
    };
    for second in 0..ERASURES_OF_RACER_MAX as u32 {
        erasures = erasures
            .with(scope(second), 1, None)
            .expect("under the limits");
    }
    assert!(erasures.with(scope(u32::MAX), 1, None).is_none());
    assert!(erasures.with(scope(0), 2, None).is_some(), "a known scope");
    assert!(
        erasures
            .with(ErasureScope::all(RacerId(1), None), 1, None)
            .is_some(),
        "the whole racer"
    );
}

#[test]
fn invalid_stored_form_names_the_fault() {
    let newer = br#"{"format":2,"version":0,"erasures":[]}"#;
    assert!(
        Erasures::from_json(newer)
            .expect_err("newer")
            .contains("format 2")
    );
    let odd = br#"{"format":1,"version":0,"erasures":[{"racerId":1,"until":2,"version":1}]}"#;
    assert!(
        Erasures::from_json(odd)
            .expect_err("odd")
            .contains("version 1")
    );
    assert!(Erasures::from_json(b"[]").is_err());
}

#[test]
fn erasure_version_is_read_from_its_own_subfield_only() {
    let own = extra_field(7);
    assert_eq!(version_in(&own), Some(7));
    assert_eq!(version_in(&[b"BC\x02\0xx", &own[..]].concat()), Some(7));
    for extra in [
        &b""[..],
        b"AC",
        b"AC\x08\0short",
        b"AC\x02\0xx",
        b"BC\x02\0xx",
    ] {
        assert_eq!(version_in(extra), None, "{extra:?}");
    }
}
