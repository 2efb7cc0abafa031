//! Snapshots: the journal is folded into `class-N.gz`, `races-N.gz`, `finishes-N.gz` and
//! `racers.gz`, and covered segments are deleted.
//!
//! Every put of a snapshot is conditional on the body that this instance has merged. So every
//! snapshot holds all that its predecessor held, and no instance undoes another's.
//!
//! Invariant: an instance sends an ETag only if it merged that body, or put it itself. It never
//! sends an ETag from a listing.

mod build_races;
mod compare;
mod deletion;
mod listed;
mod load;
mod locks;
mod scheduler;
mod state;
mod write;

pub(super) use build_races::RaceParts;
pub(super) use load::{
    applied_erasure_version, class_beyond_options, decode_snapshot, second_beyond_options,
};
pub(super) use locks::SnapshotLocks;
pub(super) use state::{SnapshotStates, SnapshotTarget};
