//! What the store counts, for the daemon's metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the store was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Syncs of the database that answers waited for, or lazy commits led to.
    pub fsyncs: u64,
    /// Transactions that changed something.
    pub commits: u64,
    /// Batches written; with group commit fewer than `commits`.
    pub batches: u64,
    /// Exports kept beside the database. Each syncs a file and a folder of its own.
    pub exports: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) fsyncs: Arc<AtomicU64>,
    pub(crate) commits: AtomicU64,
    pub(crate) batches: AtomicU64,
    pub(crate) exports: AtomicU64,
}

impl Counters {
    pub(crate) fn read(&self) -> Metrics {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Metrics {
            fsyncs: of(&self.fsyncs),
            commits: of(&self.commits),
            batches: of(&self.batches),
            exports: of(&self.exports),
        }
    }
}
