//! Requests that carry an id are done once: a retry that comes while the first is under way joins it, one
//! that comes later gets its answer (AIP-155). What is kept of an answer is the id of what it made or
//! changed; the caller reads the resource as it is now.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use gantry_store::{Page, Store, Transaction};
use gantry_types::{Namespace, RequestId};
use tokio::sync::watch;

use crate::assemble::Daemon;
use crate::clock;
use crate::error::Error;
use crate::tables::{REQUESTS, RequestRow};

/// How long an answer is repeated.
const KEPT_NS: i64 = 10 * 60 * 1_000_000_000;
/// Answers kept; beyond it, those that ran out go.
const KEPT_ROWS: usize = 1024;

/// The requests under way.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    under_way: Mutex<HashMap<(Namespace, RequestId), watch::Receiver<()>>>,
}

/// What a caller with a request id is to do.
#[derive(Debug)]
pub(crate) enum Turn<'a> {
    /// The work; drop the guard when it is done.
    Work(Option<Guard<'a>>),
    /// Nothing: it was done, and this is the resource.
    Done(String),
}

/// Marks a request as under way.
#[derive(Debug)]
pub(crate) struct Guard<'a> {
    requests: &'a Requests,
    key: (Namespace, RequestId),
    method: &'static str,
    /// Those who joined wake when this goes.
    _under_way: watch::Sender<()>,
}

impl Requests {
    /// Waits for the first of equal requests, if this is not it.
    pub(crate) async fn turn(
        &self,
        store: &Store,
        namespace: &Namespace,
        id: Option<RequestId>,
        method: &'static str,
    ) -> Result<Turn<'_>, Error> {
        let Some(id) = id else { return Ok(Turn::Work(None)) };
        let key = (namespace.clone(), id);
        loop {
            let mut joined = {
                let mut under_way = self.lock();
                let Some(joined) = under_way.get(&key) else {
                    if let Some(done) = done(store, &key, method)? {
                        return Ok(Turn::Done(done));
                    }
                    let (sender, receiver) = watch::channel(());
                    under_way.insert(key.clone(), receiver);
                    return Ok(Turn::Work(Some(Guard { requests: self, key, method, _under_way: sender })));
                };
                joined.clone()
            };
            // The sender says nothing; it only goes away.
            let _gone = joined.changed().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(Namespace, RequestId), watch::Receiver<()>>> {
        // A map operation does not panic half-way, so a poisoned map is still whole.
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guard<'_> {
    /// Writes down, in the transaction that does the work, what it made.
    pub(crate) fn note(&self, tx: &mut Transaction<'_>, resource: &str) -> Result<(), Error> {
        let now = clock::unix_ns();
        let rows = tx.scan(&REQUESTS, &Page::all());
        if rows.len() >= KEPT_ROWS {
            for (key, _) in rows.into_iter().filter(|(_, row)| row.value.unix_ns + KEPT_NS <= now) {
                tx.remove(&REQUESTS, &key);
            }
        }
        let row = RequestRow { method: self.method.into(), resource: resource.into(), unix_ns: now };
        Ok(tx.insert(&REQUESTS, &self.key, row)?)
    }
}

impl Guard<'_> {
    /// As [`Self::note`], for work that has no transaction of its own. It is on the disk before the answer is given, so that
    /// no retry does answered work again; only a daemon that ends between the work and the note does.
    pub(crate) async fn note_alone(&self, daemon: &Daemon, resource: &str) -> Result<(), Error> {
        let ((), commit) = daemon.store.transaction(|tx| self.note(tx, resource))?;
        daemon.durable(commit).await
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.requests.lock().remove(&self.key);
    }
}

/// What an equal request made or changed, if one was answered not long ago.
fn done(store: &Store, key: &(Namespace, RequestId), method: &str) -> Result<Option<String>, Error> {
    let row = store.get(&REQUESTS, key).map(|row| row.value);
    let Some(row) = row.filter(|row| row.unix_ns + KEPT_NS > clock::unix_ns()) else { return Ok(None) };
    if row.method != method {
        return Err(Error::RequestIdReused { id: key.1.to_string(), method: row.method.clone() });
    }
    Ok(Some(row.resource.clone()))
}
