//! The domain: efforts, names, erasures and rejections, with the laws that they keep. Pure.

pub mod effort;
pub mod erasure;
pub(crate) mod json_number;
pub mod race_row;
pub mod racer_names;
pub mod rejection;
