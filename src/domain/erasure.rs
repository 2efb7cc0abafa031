//! What was erased: which efforts and names are gone and never come back.
//!
//! The state is a lattice of maxima, and a maximum never comes down. So what must go is told by a lattice of its own
//! beside it: an [`Erasure`] is a scope and a time until which it holds, and merging keeps the latest time of each
//! scope. An effort that is not after that time is no effort; a later one counts.

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::effort::{ClassId, Effort, INTEGER_MAX, Output, RacerId, Second};

/// Counts the changes of what is erased; 0 before the first.
pub type ErasureVersion = u64;

/// The greatest length of a reason, in characters.
pub const REASON_CHARS_MAX: usize = 200;

/// The most scopes that may be erased: some 20 MB of them, and as much again where all have reasons.
pub const ERASURES_MAX: usize = 100_000;

/// The most scopes of one racer that may be erased, but for the whole of the racer: each of the racer's efforts is held
/// against all of them.
pub const ERASURES_OF_RACER_MAX: usize = 1_000;

/// The version of the stored form. One that is greater is not read.
const FORMAT_VERSION: u32 = 1;

/// What an erasure covers, but for the time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ErasureScope {
    /// Whose efforts.
    pub racer_id: RacerId,
    /// In which class; `None` for all, and the racer's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_id: Option<ClassId>,
    /// From which second on.
    #[serde(default = "first_second", skip_serializing_if = "is_first_second")]
    pub from: Second,
    /// Up to which second, itself included.
    #[serde(default = "last_second", skip_serializing_if = "is_last_second")]
    pub to: Second,
    /// Only outputs over this; `None` for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub above: Option<Output>,
}

const FIRST_SECOND: Second = Second(0);
const LAST_SECOND: Second = Second(u32::MAX);

fn first_second() -> Second {
    FIRST_SECOND
}

fn last_second() -> Second {
    LAST_SECOND
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_first_second(second: &Second) -> bool {
    *second == FIRST_SECOND
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_last_second(second: &Second) -> bool {
    *second == LAST_SECOND
}

impl ErasureScope {
    /// All of a racer, in one class or in all.
    pub fn all(racer_id: RacerId, class_id: Option<ClassId>) -> Self {
        Self {
            racer_id,
            class_id,
            from: FIRST_SECOND,
            to: LAST_SECOND,
            above: None,
        }
    }

    /// Its seconds.
    pub fn seconds(&self) -> RangeInclusive<Second> {
        self.from..=self.to
    }

    /// Whether it is about that class.
    pub fn concerns(&self, class: ClassId) -> bool {
        self.class_id.is_none_or(|only| only == class)
    }

    /// Whether that racer's name goes, too.
    pub fn concerns_names(&self) -> bool {
        self.class_id.is_none()
    }

    /// Whether the effort is of that racer, class and second, whatever its output.
    pub fn reaches(&self, effort: &Effort) -> bool {
        self.racer_id == effort.racer
            && self.concerns(effort.class)
            && self.seconds().contains(&effort.second)
    }
}

/// What is gone, until when, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Erasure {
    /// What it covers.
    #[serde(flatten)]
    pub scope: ErasureScope,
    /// What was ridden up to this time is gone, in milliseconds since 1970.
    #[serde(rename = "until")]
    pub until_ms: u64,
    /// Why, in a person's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Arc<str>>,
    /// The version at which it became so.
    pub version: ErasureVersion,
}

impl Erasure {
    /// Whether the effort is gone.
    pub fn covers(&self, effort: &Effort) -> bool {
        self.reaches(effort) && self.scope.above.is_none_or(|above| effort.output > above)
    }

    /// Whether something that is gone may have stood above the effort, which is not.
    pub fn uncovers(&self, effort: &Effort) -> bool {
        self.reaches(effort) && self.scope.above.is_some_and(|above| effort.output <= above)
    }

    fn reaches(&self, effort: &Effort) -> bool {
        effort.time <= self.until_ms && self.scope.reaches(effort)
    }

    /// By which of two of the same scope the other is replaced.
    fn is_before(&self, other: &Self) -> bool {
        (self.until_ms, &self.reason, self.version) < (other.until_ms, &other.reason, other.version)
    }
}

/// Everything that was erased.
#[derive(Clone, Debug, Default)]
pub struct Erasures {
    version: ErasureVersion,
    by_racer: HashMap<RacerId, Vec<Erasure>, foldhash::fast::RandomState>,
    count: usize,
    /// The highest version of those of one class, and of those of all.
    of_class: BTreeMap<ClassId, ErasureVersion>,
    of_all: ErasureVersion,
}

impl Erasures {
    /// Its version: what an object that names it had heeded.
    pub fn version(&self) -> ErasureVersion {
        self.version
    }

    /// The highest version that concerns the class.
    pub fn concerning(&self, class: ClassId) -> ErasureVersion {
        self.of_class
            .get(&class)
            .map_or(self.of_all, |&version| version.max(self.of_all))
    }

    /// The highest version that concerns names.
    pub fn concerning_names(&self) -> ErasureVersion {
        self.of_all
    }

    /// Whether the effort is gone. `heeded` is the version that whoever hands it on has heeded already.
    pub fn cover(&self, effort: &Effort, heeded: ErasureVersion) -> bool {
        let Some(erasures) = self.by_racer.get(&effort.racer) else {
            return false;
        };
        erasures
            .iter()
            .any(|it| it.version > heeded && it.covers(effort))
    }

    /// Whether something that is gone may have stood above the effort where `heeded` had not been heeded.
    pub fn uncover(&self, effort: &Effort, heeded: ErasureVersion) -> bool {
        let Some(erasures) = self.by_racer.get(&effort.racer) else {
            return false;
        };
        erasures
            .iter()
            .any(|it| it.version > heeded && it.uncovers(effort))
    }

    /// Whether a name that was given at that time is gone.
    pub fn cover_name(&self, racer: RacerId, at_ms: u64) -> bool {
        let Some(erasures) = self.by_racer.get(&racer) else {
            return false;
        };
        erasures
            .iter()
            .any(|it| it.scope.concerns_names() && at_ms <= it.until_ms)
    }

    /// The erasure of that scope.
    pub fn find(&self, scope: &ErasureScope) -> Option<&Erasure> {
        self.by_racer
            .get(&scope.racer_id)?
            .iter()
            .find(|it| it.scope == *scope)
    }

    /// Every erasure, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Erasure> {
        self.by_racer.values().flatten()
    }

    /// These and one more, as the next version. `None` where there are as many as there may be.
    pub fn with(
        &self,
        scope: ErasureScope,
        until_ms: u64,
        reason: Option<Arc<str>>,
    ) -> Option<Self> {
        let mut next = self.clone();
        next.version += 1;
        let of_racer = next
            .by_racer
            .get(&scope.racer_id)
            .map_or(&[][..], Vec::as_slice);
        let is_new = !of_racer.iter().any(|it| it.scope == scope);
        let is_whole = scope == ErasureScope::all(scope.racer_id, None);
        if is_new
            && (next.count >= ERASURES_MAX || of_racer.len() >= ERASURES_OF_RACER_MAX && !is_whole)
        {
            return None;
        }
        next.keep(Erasure {
            scope,
            until_ms,
            reason,
            version: next.version,
        });
        Some(next)
    }

    /// Takes in what another knows. Returns what of it is news.
    pub fn merge(&mut self, other: &Self) -> Vec<Erasure> {
        self.version = self.version.max(other.version);
        other
            .iter()
            .filter(|erasure| self.keep((*erasure).clone()))
            .cloned()
            .collect()
    }

    /// Takes in one, unless one of the same scope that is as late is here. Whether it was taken.
    fn keep(&mut self, erasure: Erasure) -> bool {
        let version = erasure.version;
        let highest = match erasure.scope.class_id {
            Some(class) => self.of_class.entry(class).or_default(),
            None => &mut self.of_all,
        };
        let of_racer = self.by_racer.entry(erasure.scope.racer_id).or_default();
        match of_racer.iter_mut().find(|it| it.scope == erasure.scope) {
            Some(known) if !known.is_before(&erasure) => return false,
            Some(known) => *known = erasure,
            None => {
                of_racer.push(erasure);
                self.count += 1;
            }
        }
        *highest = version.max(*highest);
        true
    }

    /// The stored form, as JSON.
    pub fn to_json(&self) -> Vec<u8> {
        let mut erasures: Vec<&Erasure> = self.iter().collect();
        // By version: whoever looks into it finds the newest at its end. A scope's version is its own but for those
        // that were written again, so the rest only keeps equal states' bytes equal.
        erasures.sort_by_key(|it| {
            let ErasureScope {
                racer_id,
                class_id,
                from,
                to,
                above,
            } = it.scope;
            (it.version, racer_id, class_id, from, to, above)
        });
        let stored = Stored {
            format: FORMAT_VERSION,
            version: self.version,
            erasures,
        };
        serde_json::to_vec(&stored).expect("erasures always serialise")
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// What is wrong with it, for a person.
    pub fn from_json(json: &[u8]) -> Result<Self, String> {
        let stored: Stored<Erasure> =
            serde_json::from_slice(json).map_err(|error| error.to_string())?;
        if stored.format > FORMAT_VERSION {
            return Err(format!(
                "it has format {}, and this program reads up to {FORMAT_VERSION}: run the newer program",
                stored.format
            ));
        }
        if stored.version > INTEGER_MAX {
            return Err(format!("version {} is over {INTEGER_MAX}", stored.version));
        }
        let mut erasures = Self {
            version: stored.version,
            ..Self::default()
        };
        for erasure in stored.erasures {
            if erasure.version > stored.version {
                return Err(format!(
                    "an erasure has version {}, and all have {}",
                    erasure.version, stored.version
                ));
            }
            erasures.keep(erasure);
        }
        Ok(erasures)
    }
}

#[derive(Serialize, Deserialize)]
struct Stored<E> {
    format: u32,
    version: ErasureVersion,
    erasures: Vec<E>,
}

/// The subfield of a gzip header's extra field (RFC 1952, 2.3.1.1) in which an object names the version that it has
/// heeded: two letters of ours, the length of what follows, the version.
pub const fn extra_field(version: ErasureVersion) -> [u8; 12] {
    let [a, b, c, d, e, f, g, h] = version.to_le_bytes();
    [SUBFIELD[0], SUBFIELD[1], 8, 0, a, b, c, d, e, f, g, h]
}

const SUBFIELD: [u8; 2] = *b"AC";

/// The version that an extra field names; `None` where it names none.
pub fn version_in(mut extra_field: &[u8]) -> Option<ErasureVersion> {
    while let Some((&[a, b, low, high], rest)) = extra_field.split_first_chunk() {
        let (field, rest) = rest.split_at_checked(u16::from_le_bytes([low, high]).into())?;
        if [a, b] == SUBFIELD {
            return field.try_into().ok().map(u64::from_le_bytes);
        }
        extra_field = rest;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CLASS: ClassId = ClassId::new(1).expect("1 is not 0");

    fn effort(racer: u64, second: u32, output: f64, time: u64) -> Effort {
        let output = Output::new(output).expect("valid");
        Effort {
            class: CLASS,
            second: Second(second),
            racer: RacerId(racer),
            output,
            race: None,
            time,
        }
    }

    fn some_scope() -> impl Strategy<Value = ErasureScope> {
        let class =
            prop::option::of((1u16..3).prop_map(|class| ClassId::new(class).expect("from 1")));
        let seconds = prop_oneof![
            Just((FIRST_SECOND, LAST_SECOND)),
            (0u32..5).prop_map(|s| (Second(s), Second(s)))
        ];
        let above =
            prop::option::of((0u32..9).prop_map(|above| Output::new(above.into()).expect("valid")));
        (0u64..3, class, seconds, above).prop_map(|(racer, class_id, (from, to), above)| {
            ErasureScope {
                racer_id: RacerId(racer),
                class_id,
                from,
                to,
                above,
            }
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
                        .expect("there is room")
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
        fn merging_is_commutative_associative_and_idempotent(
            a in some_erasures(), b in some_erasures(), c in some_erasures(),
        ) {
            prop_assert_eq!(merged(&a, &b).to_json(), merged(&b, &a).to_json());
            prop_assert_eq!(merged(&merged(&a, &b), &c).to_json(), merged(&a, &merged(&b, &c)).to_json());
            prop_assert_eq!(merged(&a, &a).to_json(), a.to_json());
            prop_assert_eq!(a.clone().merge(&a), []);
        }

        #[test]
        fn what_is_stored_reads_back(erasures in some_erasures()) {
            let stored = erasures.to_json();
            prop_assert_eq!(Erasures::from_json(&stored).expect("ours").to_json(), stored);
        }

        #[test]
        fn an_erasure_is_never_undone_by_another(a in some_erasures(), b in some_erasures(), time in 0u64..100) {
            let effort = effort(1, 2, 5.0, time);
            let either = a.cover(&effort, 0) || b.cover(&effort, 0);
            prop_assert_eq!(merged(&a, &b).cover(&effort, 0), either);
        }
    }

    #[test]
    fn what_is_in_scope_and_not_later_is_gone() {
        let second = ErasureScope {
            from: Second(3),
            to: Second(4),
            ..ErasureScope::all(RacerId(1), Some(CLASS))
        };
        let glitch = ErasureScope {
            above: Output::new(300.0),
            ..second
        };
        let erasures = Erasures::default()
            .with(glitch, 50, None)
            .expect("there is room");
        let gone = |effort| erasures.cover(&effort, 0);
        assert!(gone(effort(1, 3, 300.5, 50)) && gone(effort(1, 4, 301.0, 0)));
        assert!(!gone(effort(1, 3, 300.5, 51)), "later");
        assert!(!gone(effort(1, 3, 300.0, 50)), "not above");
        assert!(
            !gone(effort(1, 2, 300.5, 50)) && !gone(effort(1, 5, 300.5, 50)),
            "another second"
        );
        assert!(!gone(effort(2, 3, 300.5, 50)), "another racer");
        assert!(
            !gone(Effort {
                class: ClassId::new(2).expect("2"),
                ..effort(1, 3, 300.5, 50)
            }),
            "another class"
        );
        assert!(!erasures.cover(&effort(1, 3, 300.5, 50), 1), "heeded");
        assert!(
            !erasures.cover_name(RacerId(1), 0),
            "a name belongs to no class"
        );
        let all = erasures
            .with(ErasureScope::all(RacerId(1), None), 60, None)
            .expect("there is room");
        assert!(
            all.cover_name(RacerId(1), 60)
                && !all.cover_name(RacerId(1), 61)
                && !all.cover_name(RacerId(2), 0)
        );
        assert_eq!(
            (all.version(), all.concerning(CLASS), all.concerning_names()),
            (2, 2, 2)
        );
        assert_eq!(
            (erasures.concerning(CLASS), erasures.concerning_names()),
            (1, 0)
        );
        assert_eq!(erasures.concerning(ClassId::new(2).expect("2")), 0);
    }

    #[test]
    fn a_racer_has_a_bounded_number_of_scopes() {
        let mut erasures = Erasures::default();
        let scope = |second| ErasureScope {
            from: Second(second),
            to: Second(second),
            ..ErasureScope::all(RacerId(1), None)
        };
        for second in 0..ERASURES_OF_RACER_MAX as u32 {
            erasures = erasures
                .with(scope(second), 1, None)
                .expect("there is room");
        }
        assert!(erasures.with(scope(u32::MAX), 1, None).is_none());
        assert!(
            erasures.with(scope(0), 2, None).is_some(),
            "a scope that is there is written again"
        );
        assert!(
            erasures
                .with(ErasureScope::all(RacerId(1), None), 1, None)
                .is_some(),
            "who asks to be forgotten, is"
        );
    }

    #[test]
    fn what_is_not_ours_says_why() {
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
    fn only_our_own_subfield_of_the_extra_field_is_an_erasure_version() {
        let ours = extra_field(7);
        assert_eq!(version_in(&ours), Some(7));
        assert_eq!(version_in(&[b"BC\x02\0xx", &ours[..]].concat()), Some(7));
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
}
