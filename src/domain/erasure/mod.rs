//! Erasures: what was removed and must not return.
//!
//! The state is a lattice of maxima, and a maximum never decreases. So erasures are a lattice of
//! their own beside it. An [`Erasure`] is a scope and a time `until`. Merging keeps the latest
//! `until` of each scope. An effort in scope counts only if its time is after `until`.

mod scope;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use self::scope::ErasureScope;
use crate::domain::effort::{ClassId, Effort, INTEGER_MAX, RacerId};

/// Orders the changes of the set of erasures. 0 before the first change.
pub type ErasureVersion = u64;

/// Maximum length of a reason, in characters.
pub const REASON_CHARS_MAX: usize = 200;

/// Maximum number of erased scopes. They need about 20 MB, and twice that if all have reasons.
pub const ERASURES_MAX: usize = 100_000;

/// Maximum number of erased scopes of one racer, the whole racer included. Only the whole racer may
/// still be added then. Each effort of the racer is compared with all of them.
pub const ERASURES_OF_RACER_MAX: usize = 1_000;

/// The format version of the stored form. A newer one is an error.
const FORMAT_VERSION: u32 = 1;

/// An erasure: a scope, the time until which it holds, and its reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Erasure {
    /// The efforts it covers, regardless of their time.
    #[serde(flatten)]
    pub scope: ErasureScope,
    /// It erases efforts ridden up to this time, in ms since 1970.
    #[serde(rename = "until")]
    pub until_ms: u64,
    /// The reason, as the operator wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Arc<str>>,
    /// The version with which it came, or last changed.
    pub version: ErasureVersion,
}

impl Erasure {
    /// Returns whether it erases the effort.
    pub fn covers(&self, effort: &Effort) -> bool {
        self.reaches(effort) && self.scope.above.is_none_or(|above| effort.output > above)
    }

    /// Returns whether the effort is in scope and not above the limit: a higher, erased effort may
    /// have hidden it.
    pub fn exposes(&self, effort: &Effort) -> bool {
        self.reaches(effort) && self.scope.above.is_some_and(|above| effort.output <= above)
    }

    fn reaches(&self, effort: &Effort) -> bool {
        effort.time <= self.until_ms && self.scope.reaches(effort)
    }

    /// Returns whether `other`, an erasure of the same scope, replaces this one.
    fn is_replaced_by(&self, other: &Self) -> bool {
        (self.until_ms, &self.reason, self.version) < (other.until_ms, &other.reason, other.version)
    }
}

/// All erasures.
#[derive(Clone, Debug, Default)]
pub struct Erasures {
    version: ErasureVersion,
    by_racer: HashMap<RacerId, Vec<Erasure>, foldhash::fast::RandomState>,
    count: usize,
    /// The highest version among the erasures of one class, by class.
    of_class: BTreeMap<ClassId, ErasureVersion>,
    /// The highest version among the erasures of all classes.
    of_all: ErasureVersion,
}

impl Erasures {
    /// Returns the version. An object with this version contains nothing that these erasures cover.
    pub fn version(&self) -> ErasureVersion {
        self.version
    }

    /// Returns whether this set had the version. It also did not if the erasure with that version
    /// has been replaced since.
    pub fn has_version(&self, version: ErasureVersion) -> bool {
        version == 0 || version == self.version || self.iter().any(|it| it.version == version)
    }

    /// Leaves out the next `count` versions.
    pub fn skip_versions(&mut self, count: u64) {
        self.version += count;
    }

    /// Returns the highest version that concerns the class.
    pub fn version_concerning(&self, class: ClassId) -> ErasureVersion {
        self.of_class
            .get(&class)
            .map_or(self.of_all, |&version| version.max(self.of_all))
    }

    /// Returns the highest version that concerns names.
    pub fn version_concerning_names(&self) -> ErasureVersion {
        self.of_all
    }

    /// Returns whether an erasure covers the effort. Only erasures with a version over `applied`
    /// count: the source of the effort knew the others.
    pub fn any_covers(&self, effort: &Effort, applied: ErasureVersion) -> bool {
        let Some(erasures) = self.by_racer.get(&effort.racer) else {
            return false;
        };
        erasures
            .iter()
            .any(|it| it.version > applied && it.covers(effort))
    }

    /// Returns whether an erasure exposes the effort. Only erasures with a version over `applied`
    /// count: the source of the effort knew the others.
    pub fn any_exposes(&self, effort: &Effort, applied: ErasureVersion) -> bool {
        let Some(erasures) = self.by_racer.get(&effort.racer) else {
            return false;
        };
        erasures
            .iter()
            .any(|it| it.version > applied && it.exposes(effort))
    }

    /// Returns whether an erasure of some of a racer's race rows in a class may expose others of
    /// them. Only erasures with a version over `applied` count.
    pub fn any_exposes_rows(
        &self,
        class: ClassId,
        racer: RacerId,
        applied: ErasureVersion,
    ) -> bool {
        let Some(erasures) = self.by_racer.get(&racer) else {
            return false;
        };
        erasures.iter().any(|it| {
            it.version > applied && it.scope.concerns(class) && it.scope.is_part_of_class()
        })
    }

    /// Returns whether a name of that time is erased.
    pub fn any_covers_name(&self, racer: RacerId, at_ms: u64) -> bool {
        let Some(erasures) = self.by_racer.get(&racer) else {
            return false;
        };
        erasures
            .iter()
            .any(|it| it.scope.concerns_names() && at_ms <= it.until_ms)
    }

    /// Returns the erasure of exactly this scope.
    pub fn find(&self, scope: &ErasureScope) -> Option<&Erasure> {
        self.by_racer
            .get(&scope.racer_id)?
            .iter()
            .find(|it| it.scope == *scope)
    }

    /// Returns the number of erasures. Cheap: they are counted as they come.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Returns all erasures, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Erasure> {
        self.by_racer.values().flatten()
    }

    /// Returns these erasures with one more, as the next version. Returns `None` if a limit on the
    /// number of scopes is reached.
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
        next.insert(Erasure {
            scope,
            until_ms,
            reason,
            version: next.version,
        });
        Some(next)
    }

    /// Merges the erasures of another. Returns those that changed something here.
    pub fn merge(&mut self, other: &Self) -> Vec<Erasure> {
        self.version = self.version.max(other.version);
        other
            .iter()
            .filter(|erasure| self.insert((*erasure).clone()))
            .cloned()
            .collect()
    }

    /// Inserts an erasure, unless the known one of the scope wins (`is_replaced_by`). Returns whether
    /// it was inserted.
    fn insert(&mut self, erasure: Erasure) -> bool {
        let version = erasure.version;
        let highest = match erasure.scope.class_id {
            Some(class) => self.of_class.entry(class).or_default(),
            None => &mut self.of_all,
        };
        let of_racer = self.by_racer.entry(erasure.scope.racer_id).or_default();
        match of_racer.iter_mut().find(|it| it.scope == erasure.scope) {
            Some(known) if !known.is_replaced_by(&erasure) => return false,
            Some(known) => *known = erasure,
            None => {
                of_racer.push(erasure);
                self.count += 1;
            }
        }
        *highest = version.max(*highest);
        true
    }

    /// Returns the stored form, as JSON.
    pub fn to_json(&self) -> Vec<u8> {
        let mut erasures: Vec<&Erasure> = self.iter().collect();
        // The order is by version, so the newest stands at the end, where a person looks for it.
        // Two scopes rarely have the same version. The other keys make equal states give equal
        // bytes.
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
        let stored = StoredErasures {
            format: FORMAT_VERSION,
            version: self.version,
            erasures,
        };
        serde_json::to_vec(&stored).expect("erasures always serialise")
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// A sentence for people, if it is not valid JSON, has a newer format, or contradicts itself.
    pub fn from_json(json: &[u8]) -> Result<Self, String> {
        let stored: StoredErasures<Erasure> =
            serde_json::from_slice(json).map_err(|error| error.to_string())?;
        if stored.format > FORMAT_VERSION {
            return Err(format!(
                "format {} is newer than {FORMAT_VERSION}, the newest that this program reads; start a newer version of alleycat",
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
                    "an erasure has version {}, but the latest version is {}",
                    erasure.version, stored.version
                ));
            }
            erasures.insert(erasure);
        }
        Ok(erasures)
    }
}

#[derive(Serialize, Deserialize)]
struct StoredErasures<E> {
    format: u32,
    version: ErasureVersion,
    erasures: Vec<E>,
}

/// Returns the extra field of a gzip header that carries an erasure version. An object with this
/// version contains nothing that the erasures up to it cover.
///
/// It is one subfield by RFC 1952, 2.3.1.1: two letters that identify it, the length, the version.
pub const fn extra_field(version: ErasureVersion) -> [u8; 12] {
    let [a, b, c, d, e, f, g, h] = version.to_le_bytes();
    [SUBFIELD[0], SUBFIELD[1], 8, 0, a, b, c, d, e, f, g, h]
}

const SUBFIELD: [u8; 2] = *b"AC";

/// Returns the erasure version in an extra field, if there is one.
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
mod tests;
