//! When may a client be told "done"? When the change survives a power cut, which the store's writer says. A disk that does
//! not answer must not hold the client for ever: after a limit the answer is an error that says so. The change then
//! stays staged, and is written if the disk ever comes back; a client that repeats its request id finds out.

use std::time::Duration;

use gantry_store::{Commit, Revision, STALL_TIMEOUT, Store, StoreError};
use tokio::sync::{oneshot, watch};

use crate::assemble::Daemon;
use crate::error::Error;

impl Daemon {
    /// Returns when the change survives a power cut.
    pub(crate) async fn durable(&self, commit: Commit) -> Result<(), Error> {
        settled(commit, STALL_TIMEOUT).await
    }
}

/// The newest revision that survives a power cut, as it grows.
pub(crate) fn watch_durable(store: &Store) -> watch::Receiver<Revision> {
    let (sender, receiver) = watch::channel(store.progress().durable);
    store.subscribe(move |progress| {
        sender.send_if_modified(|known| {
            let grown = progress.durable > *known;
            *known = progress.durable.max(*known);
            grown
        });
    });
    receiver
}

async fn settled(commit: Commit, limit: Duration) -> Result<(), Error> {
    let (told, outcome) = oneshot::channel();
    commit.on_durable(move |result| drop(told.send(result)));
    match tokio::time::timeout(limit, outcome).await {
        Ok(Ok(result)) => Ok(result?),
        // The store was closed under a request that shutdown did not wait for.
        Ok(Err(_)) => Err(Error::ShuttingDown),
        Err(_) => Err(StoreError::Stalled { waited_s: limit.as_secs() }.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use gantry_store::backend::{Backend, BackendError, Change, Record};
    use gantry_store::{Options, Schema, Table};
    use gantry_types::{Class, Classified as _};

    use super::*;

    const ROWS: Table<String, String> = Table::new("rows");

    /// A disk that answers a flush when it is told to.
    struct Hanging(Receiver<()>);

    impl Backend for Hanging {
        fn load(&mut self) -> Result<Vec<Record>, BackendError> {
            Ok(Vec::new())
        }

        fn apply(&mut self, _: &[Change]) -> Result<(), BackendError> {
            Ok(())
        }

        fn flush(&mut self) -> Result<(), BackendError> {
            let _ = self.0.recv();
            Ok(())
        }

        fn close(self: Box<Self>) -> Result<(), BackendError> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_disk_that_hangs_ends_the_wait_with_an_error_and_loses_nothing() {
        let (answer, disk) = channel();
        // A new store is written once as it is opened.
        answer.send(()).expect("the disk is there");
        let schema = Schema::new(1).with(&ROWS);
        let store = Store::with_backend(Box::new(Hanging(disk)), schema, Options::default()).expect("opens");
        // Dropped before the store, which waits for its writer.
        let answer = answer;
        let mut durable = watch_durable(&store);
        let written = store.transaction(|tx| tx.insert(&ROWS, &"key".to_owned(), "value".to_owned()));
        let ((), commit) = written.expect("memory takes it");
        let revision = commit.revision();
        let error = settled(commit, Duration::from_millis(50)).await.expect_err("the disk hangs");
        assert_eq!((error.class(), error.reason()), (Class::Unavailable, "STORE_STALLED"));
        assert!(error.hint().is_some(), "{error}");
        assert!(*durable.borrow() < revision);
        drop(answer);
        durable.wait_for(|durable| *durable >= revision).await.expect("the disk has come back");
    }
}
