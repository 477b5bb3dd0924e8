//! The way from "in memory" to "survives a power cut": what is staged, who waits for it, and what a
//! transaction's caller holds to wait by.
//!
//! ```text
//! transaction ──> pending ──(writer takes all of it)──> batch + fdatasync ──> durable ──> waiters, callbacks
//!                                                              └──(failed)──> poisoned, for good
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::backend::BackendError;
use crate::error::StoreError;
use crate::rows::{Bytes, Census};
use crate::store::{Shared, lock};
use crate::table::Revision;

/// How long a waiter waits for a disk that does not answer, before it gives up with [`StoreError::Stalled`]. A callback has
/// no deadline of its own: whoever leaves one keeps it.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(60);

/// How far the store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The newest transaction; every read sees it.
    pub committed: Revision,
    /// The newest transaction that survives a power cut.
    pub durable: Revision,
}

/// A transaction that is in memory, and not yet on disk. Whoever drops it leaves it to the next flush, its own or
/// somebody else's, within the store's lazy delay (one second).
#[must_use = "an answer means it is durable: wait, leave a callback, or say `lazily`"]
pub struct Commit {
    pub(crate) shared: Arc<Shared>,
    pub(crate) revision: Revision,
}

impl Commit {
    /// The revision of the rows it wrote.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Has the writer start at once, and does not wait. For work that goes on beside the flush.
    pub fn flush_soon(&self) {
        self.shared.want(&mut lock(&self.shared.queue), self.revision);
    }

    /// Returns when it survives a power cut. Blocks; not for a thread of an asynchronous runtime.
    pub fn wait_durable(&self) -> Result<(), StoreError> {
        let shared = &self.shared;
        let deadline = Instant::now() + STALL_TIMEOUT;
        let mut queue = lock(&shared.queue);
        shared.want(&mut queue, self.revision);
        loop {
            if let Some(outcome) = queue.outcome(self.revision) {
                return outcome;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(StoreError::Stalled { waited_s: STALL_TIMEOUT.as_secs() });
            }
            let waited = shared.settled.wait_timeout(queue, left);
            queue = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
    }

    /// Has the writer start at once, and calls back when it is durable or never will be: on the writer's
    /// thread, or on this one if that is known already. The callback must not block.
    pub fn on_durable(self, done: impl FnOnce(Result<(), StoreError>) + Send + 'static) {
        let mut queue = lock(&self.shared.queue);
        if let Some(outcome) = queue.outcome(self.revision) {
            drop(queue);
            done(outcome);
        } else {
            self.shared.want(&mut queue, self.revision);
            queue.callbacks.push((self.revision, Box::new(done)));
        }
    }

    /// Leaves it to the next flush, within the store's lazy delay. For what can be found again after a crash.
    pub fn lazily(self) -> Revision {
        self.revision
    }
}

impl fmt::Debug for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Commit({})", self.revision)
    }
}

pub(crate) type Callback = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// Rows to be written: the newest version of each.
pub(crate) type Pending = BTreeMap<(&'static str, Bytes), Option<(u64, Vec<u8>)>>;

/// What is between memory and disk.
#[derive(Default)]
pub(crate) struct Queue {
    pub(crate) pending: Pending,
    pub(crate) pending_bytes: usize,
    /// The newest transaction in `pending` or before it.
    pub(crate) staged: Revision,
    /// All rows with that transaction.
    pub(crate) census: Census,
    pub(crate) durable: Revision,
    /// When `pending` is written at the latest.
    pub(crate) flush_at: Option<Instant>,
    pub(crate) export_at: Option<Instant>,
    pub(crate) callbacks: Vec<(Revision, Callback)>,
    pub(crate) failure: Option<Arc<BackendError>>,
    /// No transaction is taken any more, and the writer ends when nothing is pending.
    pub(crate) closing: bool,
}

impl Queue {
    /// What became of a transaction; `None` while it is on its way.
    fn outcome(&self, revision: Revision) -> Option<Result<(), StoreError>> {
        if self.durable >= revision {
            return Some(Ok(()));
        }
        self.failure.as_ref().map(|source| Err(StoreError::Poisoned { source: Arc::clone(source) }))
    }

    /// The callbacks that are due, with what to tell them.
    pub(crate) fn take_due(&mut self) -> Vec<(Callback, Result<(), StoreError>)> {
        let mut due = Vec::new();
        for (revision, callback) in std::mem::take(&mut self.callbacks) {
            match self.outcome(revision) {
                Some(outcome) => due.push((callback, outcome)),
                None => self.callbacks.push((revision, callback)),
            }
        }
        due
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("pending", &self.pending.len())
            .field("staged", &self.staged)
            .field("durable", &self.durable)
            .finish_non_exhaustive()
    }
}
