//! The schedule of a simulated world.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::RACES_KEPT;
use crate::bucket::Faults;

/// The schedule of a world.
#[derive(Clone, Debug)]
pub struct Plan {
    pub instances: usize,
    pub faults: Faults,
    /// Total number of deliveries.
    pub deliveries: usize,
    /// Total number of erasures.
    pub erasures: usize,
    /// Number of crashes and suspensions.
    pub events: usize,
    /// Number of times that the store falls back.
    pub fallbacks: usize,
    /// Number of segments that are damaged until the store is well.
    pub damages: usize,
    /// Duration over which all of these happen.
    pub span: Duration,
    /// Time for which race rows are kept.
    pub races_kept: Duration,
    /// Crashes the first instance at this step of its store.
    pub crash_after: Option<u32>,
}

impl Plan {
    pub fn short() -> Self {
        Self {
            instances: 1,
            faults: Faults::default(),
            deliveries: 6,
            erasures: 1,
            events: 0,
            fallbacks: 0,
            damages: 0,
            span: Duration::from_secs(100),
            races_kept: RACES_KEPT,
            crash_after: None,
        }
    }

    pub fn random(seed: u64) -> Self {
        let mut chance = StdRng::seed_from_u64(seed ^ 0x706c_616e);
        let mut share = |most: f64| {
            if chance.random() {
                chance.random_range(0.0..most)
            } else {
                0.0
            }
        };
        let faults = Faults {
            failed: share(0.3),
            lost_response: share(0.3),
            late: share(0.2),
            conflict: share(0.3),
            hang: share(0.05),
            cut: share(0.1),
            doubled: share(0.3),
            stale: 0.0,
        };
        let plan = Self {
            instances: chance.random_range(1..=3),
            faults,
            deliveries: chance.random_range(5..40),
            erasures: if chance.random() {
                chance.random_range(1..5)
            } else {
                0
            },
            events: chance.random_range(0..10),
            fallbacks: 0,
            damages: 0,
            span: Duration::from_secs(chance.random_range(20..400)),
            races_kept: if chance.random_bool(0.7) {
                RACES_KEPT
            } else {
                Duration::from_secs(chance.random_range(20..400))
            },
            crash_after: None,
        };
        match chance.random_range(0..4) {
            0 => Self {
                damages: chance.random_range(1..4),
                ..plan
            },
            1 => plan.with_lapses(&mut chance),
            _ => plan,
        }
    }

    /// Returns the plan with fallbacks and stale listings, which a store must not have. Nothing is
    /// lost as long as memory has it. So no instance crashes, and none reads what it missed by a stale
    /// listing.
    fn with_lapses(self, chance: &mut StdRng) -> Self {
        Self {
            faults: Faults {
                hang: 0.0,
                cut: 0.0,
                stale: chance.random_range(0.0..0.3),
                ..self.faults
            },
            events: 0,
            fallbacks: chance.random_range(0..5),
            ..self
        }
    }
}
