//! The one thread that writes. It sleeps until somebody waits for a transaction or the oldest pending one
//! has been lazy for long enough, then takes everything that is pending, writes it as one batch, syncs once,
//! and tells all who wait. While it syncs the next batch gathers: that is the whole of group commit.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::backend::{Backend, BackendError, Change};
use crate::commit::Pending;
use crate::open::{Own, own_row};
use crate::store::{Shared, lock};
use crate::table::Revision;

/// What there is to do.
enum Work {
    Write(Pending, Own),
    Export,
    End,
}

/// Works until the store closes, and gives the backend back if it can still be trusted.
pub(crate) fn run(shared: &Arc<Shared>, mut backend: Box<dyn Backend>) -> Option<Box<dyn Backend>> {
    loop {
        match next(shared) {
            Work::Write(pending, own) => {
                let written = write(shared, backend.as_mut(), pending, own);
                let failed = written.is_err();
                settle(shared, own.revision, written);
                if failed {
                    return None;
                }
            }
            Work::Export => export(shared),
            Work::End => return Some(backend),
        }
    }
}

fn next(shared: &Shared) -> Work {
    let mut queue = lock(&shared.queue);
    loop {
        let now = Instant::now();
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if !queue.pending.is_empty() && (queue.closing || due(queue.flush_at)) {
            queue.flush_at = None;
            queue.pending_bytes = 0;
            let own = Own { schema: shared.schema.version, revision: queue.staged, census: queue.census };
            return Work::Write(std::mem::take(&mut queue.pending), own);
        }
        if queue.closing {
            return Work::End;
        }
        if due(queue.export_at) {
            queue.export_at = None;
            return Work::Export;
        }
        let wake_at = [queue.flush_at, queue.export_at].into_iter().flatten().min();
        queue = match wake_at {
            Some(at) => {
                let waited = shared.work.wait_timeout(queue, at.saturating_duration_since(now));
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
            None => shared.work.wait(queue).unwrap_or_else(PoisonError::into_inner),
        };
    }
}

fn write(shared: &Shared, backend: &mut dyn Backend, pending: Pending, own: Own) -> Result<(), BackendError> {
    let rows = pending.into_iter();
    let mut changes: Vec<Change> =
        rows.map(|((table, key), row)| Change { table: table.to_owned(), key: key.to_vec(), row }).collect();
    changes.push(own_row(own));
    backend.apply(&changes)?;
    backend.flush()?;
    shared.counters.batches.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

fn settle(shared: &Shared, revision: Revision, written: Result<(), BackendError>) {
    let mut queue = lock(&shared.queue);
    match written {
        Ok(()) => {
            queue.durable = revision;
            if let (None, Some(interval)) = (queue.export_at, shared.export_interval()) {
                queue.export_at = Instant::now().checked_add(interval);
            }
        }
        Err(failure) => {
            let failure = Arc::new(failure);
            tracing::error!(error = %chain(&failure), "a write to the database failed; the store takes no more");
            queue.failure = Some(failure);
        }
    }
    let due = queue.take_due();
    drop(queue);
    shared.settled.notify_all();
    for (callback, outcome) in due {
        contained(|| callback(outcome));
    }
    shared.tell_subscribers();
}

/// On a thread of its own, because nobody's commit should wait for it. One at a time.
fn export(shared: &Arc<Shared>) {
    let keeper = Arc::clone(shared);
    let started = std::thread::Builder::new().name("store-export".to_owned()).spawn(move || {
        keeper.keep_export();
    });
    if let Err(reason) = started {
        tracing::warn!(error = %reason, "no thread to export the database with; trying again later");
    }
}

/// A panic in somebody's callback must not end the writer.
pub(crate) fn contained(callback: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(callback)).is_err() {
        tracing::error!("a callback of the store's panicked");
    }
}

/// An error with everything that led to it, for the log: this is where it stops.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
