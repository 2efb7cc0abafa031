//! Micro-benchmarks of the parts, in process: decode and merge, the ranks, the stitched history,
//! the journal.
//!
//! `cargo bench --bench micro -- NAME` runs those whose name contains NAME. `benches/run` measures the whole service.

#[path = "../load/mod.rs"]
mod load;

mod history;
mod ingest;
mod journal;
mod leaderboard;
mod pace;

fn main() {
    divan::main();
}
