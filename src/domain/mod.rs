//! The words of the service and the laws they keep: efforts, names, erasures. Pure.

pub mod effort;
pub mod erasure;
pub mod json_scan;
pub mod racer_names;
pub mod rejection;
