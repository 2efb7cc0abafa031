//! Tests of racer names.

use super::*;

fn is_newer(names: &RacerNames, at_ms: u64, text: &str) -> bool {
    let text = text.into();
    names.observe(RacerId(1), &RacerName { at_ms, text })
}

fn merge(names: &RacerNames, racer: u64, at_ms: u64, text: &str) {
    names.merge(
        RacerId(racer),
        &RacerName {
            at_ms,
            text: text.into(),
        },
    );
}

fn find(names: &RacerNames, prefix: &str, racers_max: usize) -> Vec<u64> {
    names
        .find_by_prefix(prefix, racers_max)
        .into_iter()
        .map(|(racer, _)| racer.0)
        .collect()
}

#[test]
fn memory_of_replaced_and_erased_names_is_released() {
    let names = RacerNames::default();
    merge(&names, 1, 1, "short");
    let short = names.bytes();
    merge(&names, 1, 2, &"ß".repeat(NAME_CHARS_MAX)); // on the heap, and longer in the index
    assert!(names.bytes() > short + 2 * NAME_CHARS_MAX);
    merge(&names, 1, 3, "again");
    assert_eq!(names.bytes(), short);
    names.erase(RacerId(1), 3);
    assert_eq!(names.bytes(), 0);
}

#[test]
fn newer_name_differs_and_is_later_than_the_known_one_was_seen() {
    for (known, other) in [
        ("Hubert", "Huber"),
        ("Hubert", "Hubert\0"),
        ("sixteen bytes it", "sixteen bytes is"),
        ("sixteen bytes it", "sixteen bytes it is"),
        ("as long as it and more", "as long as it and less"),
        ("", "\0"),
    ] {
        let names = RacerNames::default();
        assert!(is_newer(&names, 0, known));
        merge(&names, 1, 5, known);
        assert!(!is_newer(&names, 9, known), "{known:?} is known");
        assert!(!is_newer(&names, 8, known), "{known:?} is known");
        assert!(!is_newer(&names, 8, other), "{known:?} was seen at 9");
        assert!(is_newer(&names, 10, other), "{other:?} after {known:?}");
    }
}

#[test]
fn search_ignores_case_and_accents() {
    let names = RacerNames::default();
    for (racer, name) in [
        (1, "Tom\u{e1}s"),
        (2, "TOMA\u{301}S"),
        (3, "Tomasz"),
        (4, "\u{130}lker"),
        (5, "Stra\u{df}er"),
        (6, "\u{930}\u{93e}\u{92e}"), // its vowel sign is no accent
    ] {
        merge(&names, racer, 1, name);
    }
    for prefix in ["tomas", "Tom\u{e1}s", "toma\u{301}s"] {
        assert_eq!(find(&names, prefix, 10), [1, 2, 3], "{prefix}");
    }
    assert_eq!(find(&names, "ilk", 10), [4]);
    assert_eq!(find(&names, "STRASSE", 10), [5]);
    assert_eq!(find(&names, "\u{930}\u{92e}", 10), [0; 0]);
    assert_eq!(find(&names, "\u{301}", 10), [0; 0], "an accent alone");
}

#[test]
fn prefix_finds_racers_by_their_latest_name_only() {
    let names = RacerNames::default();
    merge(&names, 1, 1, "Hubert");
    merge(&names, 2, 1, "hub");
    merge(&names, 3, 1, "HUBA");
    merge(&names, 4, 1, "Zoë");
    assert_eq!(find(&names, "hUb", 9), [2, 3, 1]);
    assert_eq!(find(&names, "hub", 2), [2, 3]);
    assert_eq!(find(&names, "ZOË", 9), [4]);
    assert_eq!(find(&names, "", 9), [2, 3, 1, 4]);
    merge(&names, 1, 2, "Zorro");
    merge(&names, 2, 0, "Older");
    assert_eq!(find(&names, "hub", 9), [2, 3]);
    assert_eq!(find(&names, "zo", 9), [4, 1]);
    assert!(names.erase(RacerId(2), 1));
    assert!(!names.erase(RacerId(1), 1));
    assert_eq!(find(&names, "hub", 9), [3]);
    assert_eq!(find(&names, "o", 9), [0; 0]);
}
