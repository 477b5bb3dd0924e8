//! Leases: keeping things from collection while a client works with them.

use gantry_types::{Labels, LeaseId, Namespace};

use crate::assemble::Daemon;
use crate::clock;
use crate::error::Error;
use crate::requests::Guard;
use crate::tables::{EventKind, LEASES, LeaseRow};

/// Things that one lease may keep.
const RESOURCES_MAX: usize = 4096;

impl Daemon {
    /// Makes a lease, generated `id` and all.
    pub(crate) async fn create_lease(
        &self,
        namespace: &Namespace,
        id: LeaseId,
        labels: Labels,
        ttl_ms: Option<u64>,
        request: Option<&Guard<'_>>,
    ) -> Result<(), Error> {
        let now = clock::unix_ns();
        let expires_unix_ns = ttl_ms.map_or(0, |ttl| {
            now.saturating_add(i64::try_from(ttl).unwrap_or(i64::MAX).saturating_mul(1_000_000))
        });
        let row = LeaseRow { labels, created_unix_ns: now, expires_unix_ns, ..LeaseRow::default() };
        let key = (namespace.clone(), id.clone());
        let ((), commit) = self.store.transaction(|tx| {
            if tx.get(&LEASES, &key).is_some_and(|row| row.value.is_alive(now)) {
                return Err(Error::LeaseExists { id: id.clone() });
            }
            tx.insert(&LEASES, &key, row)?;
            if let Some(request) = request {
                request.note(tx, id.as_str())?;
            }
            self.events.append(
                tx,
                namespace,
                EventKind::LeaseCreate,
                id.as_str(),
                Labels::new(),
                &Labels::new(),
            )
        })?;
        self.durable(commit).await?;
        self.events.publish(&self.store);
        Ok(())
    }

    /// Ends a lease, and takes away what only it kept.
    pub(crate) async fn delete_lease(&self, namespace: &Namespace, id: &LeaseId) -> Result<(), Error> {
        let key = (namespace.clone(), id.clone());
        let ((), commit) = self.store.transaction(|tx| {
            if tx.remove(&LEASES, &key).is_none() {
                return Err(Error::LeaseNotFound { id: id.clone() });
            }
            self.events.append(
                tx,
                namespace,
                EventKind::LeaseRemove,
                id.as_str(),
                Labels::new(),
                &Labels::new(),
            )
        })?;
        self.durable(commit).await?;
        self.events.publish(&self.store);
        self.collect().await;
        Ok(())
    }

    /// Lets a lease keep one more thing.
    pub(crate) async fn add_lease_resource(
        &self,
        namespace: &Namespace,
        id: &LeaseId,
        resource: String,
    ) -> Result<(), Error> {
        let now = clock::unix_ns();
        let key = (namespace.clone(), id.clone());
        let (_, commit) = self.store.transaction(|tx| {
            let row = tx.get(&LEASES, &key).filter(|row| row.value.is_alive(now));
            let row = row.ok_or_else(|| Error::LeaseNotFound { id: id.clone() })?;
            if row.value.resources.len() >= RESOURCES_MAX {
                return Err(Error::LeaseFull { id: id.clone(), max: RESOURCES_MAX });
            }
            Ok(tx.update(&LEASES, &key, |lease| _ = lease.resources.insert(resource))?)
        })?;
        self.durable(commit).await
    }
}
