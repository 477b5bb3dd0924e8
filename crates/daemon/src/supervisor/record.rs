//! Recording a container's status: the row, the event that tells of it and the published copy change
//! together. Changes that a client is told of are made durable first; the rest becomes durable with the
//! next that is, or within a second.

use std::time::Duration;

use gantry_store::{Commit, Revision};
use gantry_types::{ContainerEvent, ContainerState, Exit, Labels};
use tokio::sync::watch;

use super::Supervisor;
use crate::error::Error;
use crate::tables::{CONTAINER_STATUS, ContainerStatus, EventKind};

/// The last recorded change, until it is known to be on disk.
#[derive(Debug)]
pub(super) struct Pending {
    revision: Revision,
    durable: watch::Receiver<Revision>,
}

impl Pending {
    pub(super) fn none(durable: watch::Receiver<Revision>) -> Self {
        Self { revision: Revision::default(), durable }
    }

    /// Whether the last change is on disk, waited for at most as long as `limit`. Cancel safe.
    pub(super) async fn settled(&mut self, limit: Duration) -> bool {
        let revision = self.revision;
        let on_disk = async {
            if self.durable.wait_for(|durable| *durable >= revision).await.is_err() {
                // The store is closed; nothing will become durable any more.
                std::future::pending::<()>().await;
            }
        };
        tokio::time::timeout(limit, on_disk).await.is_ok()
    }

    /// A later change is on disk, and so is this one.
    pub(super) fn clear(&mut self) {
        self.revision = Revision::default();
    }

    pub(super) fn is_settled(&self) -> bool {
        *self.durable.borrow() >= self.revision
    }
}

impl Supervisor {
    /// Records the state after `event`, with what `change` makes of the rest, and `told` beside it.
    pub(super) fn record(
        &mut self,
        event: ContainerEvent,
        told: Option<EventKind>,
        change: impl FnOnce(&mut ContainerStatus),
    ) -> Result<Commit, Error> {
        let mut status = self.status.clone();
        status.state = status
            .state
            .after(event)
            .map_err(|source| Error::Transition { name: self.record.name.clone(), source })?;
        change(&mut status);
        let key = (self.record.namespace.clone(), self.record.id.clone());
        let events = &self.daemon.events;
        let ((), commit) = self.daemon.store.transaction(|tx| {
            tx.insert(&CONTAINER_STATUS, &key, status.clone())?;
            if let Some(kind) = told {
                events.append(
                    tx,
                    &self.record.namespace,
                    kind,
                    self.record.id.as_str(),
                    self.attributes(&status),
                    &self.record.options.labels,
                )?;
            }
            Ok::<_, Error>(())
        })?;
        events.publish(&self.daemon.store);
        self.status = status;
        self.published.send_replace(self.status.clone());
        Ok(commit)
    }

    /// As [`Self::record`], for changes that nobody waits for.
    pub(super) fn record_lazily(
        &mut self,
        event: ContainerEvent,
        told: Option<EventKind>,
        change: impl FnOnce(&mut ContainerStatus),
    ) {
        match self.record(event, told, change) {
            Ok(commit) => self.pending.revision = commit.lazily(),
            Err(error) => {
                tracing::error!(error = %crate::error::Chain(&error), state = %self.status.state, "a change could not be recorded");
            }
        }
    }

    /// Tells of something that changes no status.
    pub(super) fn tell_event(&self, kind: EventKind, more: Labels) {
        let mut attributes = self.attributes(&self.status);
        attributes.extend(more);
        let (events, record) = (&self.daemon.events, &self.record);
        let told = self.daemon.store.transaction(|tx| {
            events.append(tx, &record.namespace, kind, record.id.as_str(), attributes, &record.options.labels)
        });
        match told {
            Ok(((), commit)) => _ = commit.lazily(),
            Err(error) => {
                tracing::warn!(error = %crate::error::Chain(&error), ?kind, "an event was not recorded");
            }
        }
        events.publish(&self.daemon.store);
    }

    pub(super) fn record_exit(&mut self, exit: Exit) {
        self.record_lazily(ContainerEvent::Exit, Some(EventKind::ContainerExit), |status| {
            status.pid = 0;
            status.exit = Some(exit);
        });
    }

    /// Facts that go with every event of this container.
    fn attributes(&self, status: &ContainerStatus) -> Labels {
        let mut attributes = Labels::from([
            ("name".to_owned(), self.record.name.to_string()),
            ("image".to_owned(), self.record.image.familiar()),
        ]);
        if let (ContainerState::Exited, Some(exit)) = (status.state, status.exit) {
            attributes.insert("exit_code".into(), exit.code.to_string());
        }
        attributes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn a_disk_that_does_not_answer_is_waited_for_no_longer_than_the_limit() {
        let (disk, durable) = watch::channel(Revision(1));
        let mut pending = Pending::none(durable);
        assert!(pending.settled(LIMIT).await, "nothing was recorded");
        pending.revision = Revision(2);
        assert!(!pending.settled(LIMIT).await, "it is not on the disk");
        disk.send_replace(Revision(2));
        assert!(pending.settled(LIMIT).await);
        pending.revision = Revision(3);
        drop(disk);
        assert!(!pending.settled(LIMIT).await, "a store that is closed takes nothing any more");
    }
}
