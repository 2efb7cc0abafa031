//! A store that falls back: it loses what it had acknowledged, by a restore, a failover to a lagging
//! replica, or a lie.
//!
//! Memory still has it. docs/decisions/0006 says how each loss is recognised.

use std::fmt::Display;

use crate::observability;
use crate::storage::ObjectKey;

/// Reports a loss. The caller writes what memory holds again.
pub(super) fn report_fallback(key: &ObjectKey, problem: impl Display) {
    metrics::counter!(observability::STORE_FALLBACKS_TOTAL).increment(1);
    tracing::warn!(%key, %problem, "the store fell back; writing what memory holds again");
}
