//! The scope of an erasure: racer, classes, seconds and outputs.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::domain::effort::{ClassId, Effort, Output, RacerId, Second};

/// The scope of an erasure: which efforts it covers, regardless of their time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ErasureScope {
    /// The racer whose efforts it covers.
    pub racer_id: RacerId,
    /// The class it covers. `None` covers all classes, and the racer's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_id: Option<ClassId>,
    /// The first second it covers.
    #[serde(default = "first_second", skip_serializing_if = "is_first_second")]
    pub from: Second,
    /// The last second it covers.
    #[serde(default = "last_second", skip_serializing_if = "is_last_second")]
    pub to: Second,
    /// It covers only outputs over this. `None` covers all outputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub above: Option<Output>,
}

pub(super) const FIRST_SECOND: Second = Second(0);
pub(super) const LAST_SECOND: Second = Second(u32::MAX);

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
    /// Returns the scope of everything of a racer, in one class or in all.
    pub fn all(racer_id: RacerId, class_id: Option<ClassId>) -> Self {
        Self {
            racer_id,
            class_id,
            from: FIRST_SECOND,
            to: LAST_SECOND,
            above: None,
        }
    }

    /// Returns the seconds it covers.
    pub fn seconds(&self) -> RangeInclusive<Second> {
        self.from..=self.to
    }

    /// Returns whether it covers this class.
    pub fn concerns(&self, class: ClassId) -> bool {
        self.class_id.is_none_or(|only| only == class)
    }

    /// Returns whether it covers only some seconds or outputs of a class.
    pub fn is_part_of_class(&self) -> bool {
        self.above.is_some() || (self.from, self.to) != (FIRST_SECOND, LAST_SECOND)
    }

    /// Returns whether it also covers the racer's name.
    pub fn concerns_names(&self) -> bool {
        self.class_id.is_none()
    }

    /// Returns whether the effort's racer, class and second are in scope, regardless of its output.
    pub fn reaches(&self, effort: &Effort) -> bool {
        self.racer_id == effort.racer
            && self.concerns(effort.class)
            && self.seconds().contains(&effort.second)
    }
}
