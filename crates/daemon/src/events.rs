//! The event log: durable, bounded, and numbered without gaps from 1. An event is written in the
//! transaction of the change that it tells of, so that neither can be without the other; readers resume
//! from a number, and one that comes back after too long is told that its place is gone.

use std::sync::Arc;

use gantry_store::{Page, Row, Store, Transaction};
use gantry_types::{Class, Classified, EVENTS_KEPT_MAX, Labels, Namespace};
use tokio::sync::watch;

use crate::clock;
use crate::error::Error;
use crate::tables::{EVENTS, EventKind, EventRow};

/// Events read at once.
const BATCH: usize = 256;

/// Wakes those who wait for events; the rows themselves are in the store.
#[derive(Debug)]
pub(crate) struct EventLog {
    latest: watch::Sender<u64>,
}

/// The place a reader wants to resume from is not there.
#[derive(Debug, thiserror::Error)]
#[error("events {oldest} to {latest} are kept, and the watch asked to go on after {after}")]
pub(crate) struct PlaceLost {
    /// The number after which the reader asked to go on.
    pub after: u64,
    /// The oldest event kept.
    pub oldest: u64,
    /// The newest.
    pub latest: u64,
}

impl Classified for PlaceLost {
    fn class(&self) -> Class {
        Class::OutOfRange
    }

    fn reason(&self) -> &'static str {
        "EVENTS_EXPIRED"
    }

    fn hint(&self) -> Option<String> {
        Some("list the resources again, and watch from the revision that the list returned".into())
    }
}

impl EventLog {
    pub(crate) fn new(store: &Store) -> Self {
        Self { latest: watch::Sender::new(latest(store)) }
    }

    /// Writes an event into the transaction of what it tells.
    #[expect(clippy::unused_self, reason = "who has no log has no business to write events")]
    pub(crate) fn append(
        &self,
        tx: &mut Transaction<'_>,
        namespace: &Namespace,
        kind: EventKind,
        resource: &str,
        attributes: Labels,
        labels: &Labels,
    ) -> Result<(), Error> {
        let row = EventRow {
            unix_ns: clock::unix_ns(),
            namespace: namespace.clone(),
            kind,
            resource: resource.to_owned(),
            attributes,
            labels: labels.clone(),
        };
        tx.append(&EVENTS, row)?;
        tx.keep_newest(&EVENTS, EVENTS_KEPT_MAX);
        Ok(())
    }

    /// Wakes the readers, after the transaction.
    pub(crate) fn publish(&self, store: &Store) {
        self.latest.send_if_modified(|known| {
            let latest = latest(store);
            let grown = latest > *known;
            *known = latest.max(*known);
            grown
        });
    }

    /// The newest event's number, 0 before the first.
    pub(crate) fn latest(&self) -> u64 {
        *self.latest.borrow()
    }

    /// A reader of everything after the event `after`.
    pub(crate) fn read_after(&self, store: &Store, after: u64) -> Result<EventReader, Error> {
        let reader = EventReader { store: store.clone(), latest: self.latest.subscribe(), after };
        reader.check_place()?;
        Ok(reader)
    }

    /// The number of the last event before `unix_ns`; reading after it gives everything from then on.
    pub(crate) fn last_before(&self, store: &Store, unix_ns: i64) -> u64 {
        let events = store.scan(&EVENTS, &Page::all());
        let first = events.partition_point(|(_, row)| row.value.unix_ns < unix_ns);
        match events.get(first) {
            Some((number, _)) => number - 1,
            None => self.latest(),
        }
    }
}

/// One reader's place.
#[derive(Debug)]
pub(crate) struct EventReader {
    store: Store,
    latest: watch::Receiver<u64>,
    after: u64,
}

impl EventReader {
    /// The next events, waiting until there is one. Cancel safe. Fails when the reader fell behind what is kept.
    pub(crate) async fn next(&mut self) -> Result<Vec<(u64, Arc<EventRow>)>, Error> {
        let after = self.after;
        if self.latest.wait_for(|latest| *latest > after).await.is_err() {
            std::future::pending::<()>().await;
        }
        self.check_place()?;
        let page = Page::all().after(&self.after).limit(BATCH);
        let rows = self.store.scan(&EVENTS, &page);
        if let Some((number, _)) = rows.last() {
            self.after = *number;
        }
        Ok(rows.into_iter().map(|(number, Row { value, .. })| (number, value)).collect())
    }

    fn check_place(&self) -> Result<(), Error> {
        let latest = latest(&self.store);
        let oldest = self.store.scan(&EVENTS, &Page::all().limit(1)).first().map_or(1, |(number, _)| *number);
        if self.after + 1 < oldest || self.after > latest {
            return Err(PlaceLost { after: self.after, oldest, latest }.into());
        }
        Ok(())
    }
}

fn latest(store: &Store) -> u64 {
    store.last(&EVENTS).map_or(0, |(number, _)| number)
}

#[cfg(test)]
mod tests {
    use gantry_store::{Options, Schema};

    use super::*;

    fn tell(log: &EventLog, store: &Store, count: usize) {
        for _ in 0..count {
            let namespace = Namespace::default();
            store
                .transaction(|tx| {
                    log.append(tx, &namespace, EventKind::ContainerCreate, "x", Labels::new(), &Labels::new())
                })
                .expect("room")
                .1
                .lazily();
        }
        log.publish(store);
    }

    #[tokio::test]
    async fn a_reader_resumes_where_it_was_and_is_told_when_its_place_is_gone() {
        let store = Store::in_memory(Schema::new(1).with(&EVENTS), Options::default()).expect("opens");
        let log = EventLog::new(&store);
        tell(&log, &store, 3);
        let mut reader = log.read_after(&store, 1).expect("kept");
        let numbers: Vec<u64> =
            reader.next().await.expect("kept").iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, [2, 3]);
        tell(&log, &store, 1);
        assert_eq!(reader.next().await.expect("kept")[0].0, 4);

        assert!(log.read_after(&store, 5).is_err(), "a place in the future");
        tell(&log, &store, EVENTS_KEPT_MAX);
        assert!(log.read_after(&store, 3).is_err(), "a place long gone");
        assert!(log.read_after(&store, 4).is_ok(), "the oldest kept is 5");
    }
}
