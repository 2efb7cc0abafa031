//! Ledger instances on a faulty store, in virtual time: thousands of schedules, each from a seed.
//!
//! Invariants under all faults: every acknowledged effort is recovered; nothing is invented; what a
//! reader saw never goes back; all instances converge once the faults stop; no segment is deleted
//! before a durable snapshot covers it; no fallback is counted of a store that never falls back. And
//! progress: once the faults stop, every instance is ready again, and shows the others' rides and
//! erasures in the contract's time.
//!
//! `ALLEYCAT_TEST_SEEDS=100000` runs more seeds; `ALLEYCAT_TEST_SEED=17` runs one seed.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect should stop there"
)]

#[allow(dead_code, reason = "the black-box suites use the rest")]
#[path = "../support/broken_store.rs"]
mod broken_store;
mod bucket;
#[allow(dead_code, reason = "the black-box suites use the rest")]
#[path = "../support/builders.rs"]
mod builders;
mod durability;
mod lapses;
mod world;

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};

use bucket::Faults;
use world::{Plan, World};

/// Number of seeds: about ten seconds on a small machine.
const SEEDS: u64 = 2_000;

fn seeds() -> Vec<u64> {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .map(|text| text.parse::<u64>().expect("a number"))
    };
    match number("ALLEYCAT_TEST_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("ALLEYCAT_TEST_SEEDS").unwrap_or(SEEDS)).collect(),
    }
}

/// Runs one schedule on its own runtime.
fn run(seed: u64, plan: &Plan) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(World::run(seed, plan))
    }));
    if let Err(panic) = outcome {
        eprintln!(
            "the schedule of seed {seed} failed; ALLEYCAT_TEST_SEED={seed} runs it alone: {plan:?}"
        );
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn random_faults_lose_nothing_and_instances_converge() {
    let seeds = seeds();
    let next = AtomicUsize::new(0);
    std::thread::scope(|threads| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            threads.spawn(|| {
                while let Some(&seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
                    run(seed, &Plan::random(seed));
                }
            });
        }
    });
}

#[test]
fn crash_at_every_store_step_loses_nothing() {
    let mut steps = 0;
    loop {
        let plan = Plan {
            instances: 1,
            crash_after: Some(steps),
            faults: Faults::default(),
            events: 0,
            ..Plan::short()
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let crashed = runtime.block_on(World::run(steps.into(), &plan));
        if !crashed {
            break; // the schedule has no further step
        }
        steps += 1;
    }
    assert!(steps > 50, "only {steps} steps to crash at");
}
