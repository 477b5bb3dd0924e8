//! The tasks of all containers, by namespace and id; and how a caller's words (a name, an id, the beginning
//! of an id) find one. Records are read from the store, never kept here a second time.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use gantry_store::{Page, Store};
use gantry_types::{ContainerId, ContainerName, Namespace};

use crate::error::Error;
use crate::supervisor::Handle;
use crate::tables::{CONTAINER_NAMES, CONTAINERS};

/// The tasks. The lock is held for a map operation and nothing else.
#[derive(Debug, Default)]
pub(crate) struct Containers {
    handles: Mutex<HashMap<(Namespace, ContainerId), Handle>>,
}

impl Containers {
    pub(crate) fn insert(&self, namespace: &Namespace, id: &ContainerId, handle: Handle) {
        self.lock().insert((namespace.clone(), id.clone()), handle);
    }

    pub(crate) fn forget(&self, namespace: &Namespace, id: &ContainerId) {
        self.lock().remove(&(namespace.clone(), id.clone()));
    }

    /// The task of a container that [`find`] found; an error when it was removed in between.
    pub(crate) fn handle(&self, namespace: &Namespace, id: &ContainerId) -> Result<Handle, Error> {
        let key = (namespace.clone(), id.clone());
        self.lock().get(&key).cloned().ok_or(Error::ContainerGone)
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(Namespace, ContainerId), Handle>> {
        // A map operation does not panic half-way, so a poisoned map is still whole.
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which container `text` means: an id, else a name, else the only id that begins so.
pub(crate) fn find(store: &Store, namespace: &Namespace, text: &str) -> Result<ContainerId, Error> {
    if let Ok(id) = text.parse::<ContainerId>()
        && store.get(&CONTAINERS, &(namespace.clone(), id.clone())).is_some()
    {
        return Ok(id);
    }
    if let Ok(name) = text.parse::<ContainerName>()
        && let Some(row) = store.get(&CONTAINER_NAMES, &(namespace.clone(), name))
    {
        return Ok((*row.value).clone());
    }
    let not_found = || Error::ContainerNotFound {
        text: text.chars().take(160).collect(),
        namespace: namespace.to_string(),
    };
    if text.is_empty() || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(not_found());
    }
    let page = Page::prefix(namespace).after(&(namespace.clone(), text.to_owned())).limit(2);
    let mut matches = store
        .scan(&CONTAINERS, &page)
        .into_iter()
        .map(|((_, id), _)| id)
        .filter(|id| id.as_str().starts_with(text));
    match (matches.next(), matches.next()) {
        (Some(id), None) => Ok(id),
        (Some(_), Some(_)) => Err(Error::ContainerAmbiguous { text: text.to_owned() }),
        (None, _) => Err(not_found()),
    }
}
