//! A backend that keeps nothing: the twin of the disk for tests and for a daemon without a folder.
//! Clones share their rows, so closing a store and opening another on a clone is a restart; [`Memory::power_cut`] is a
//! restart in which everything that was not flushed is gone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Backend, BackendError, Change, Record};

type Rows = BTreeMap<(String, Vec<u8>), (u64, Vec<u8>)>;

/// Rows in memory.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    applied: Rows,
    flushed: Rows,
    unflushed: Vec<Change>,
}

impl Memory {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// What a power cut at this moment would leave, as a backend of its own.
    #[must_use]
    pub fn power_cut(&self) -> Self {
        let flushed = self.lock().flushed.clone();
        Self {
            state: Arc::new(Mutex::new(State { applied: flushed.clone(), flushed, unflushed: Vec::new() })),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backend for Memory {
    fn load(&mut self) -> Result<Vec<Record>, BackendError> {
        let rows = self.lock().applied.clone().into_iter();
        Ok(rows.map(|((table, key), (revision, value))| Record { table, key, revision, value }).collect())
    }

    fn apply(&mut self, changes: &[Change]) -> Result<(), BackendError> {
        let mut state = self.lock();
        write(&mut state.applied, changes);
        state.unflushed.extend_from_slice(changes);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), BackendError> {
        let mut state = self.lock();
        let unflushed = std::mem::take(&mut state.unflushed);
        write(&mut state.flushed, &unflushed);
        Ok(())
    }

    fn close(mut self: Box<Self>) -> Result<(), BackendError> {
        self.flush()
    }
}

fn write(rows: &mut Rows, changes: &[Change]) {
    for change in changes {
        let key = (change.table.clone(), change.key.clone());
        match &change.row {
            Some(row) => rows.insert(key, row.clone()),
            None => rows.remove(&key),
        };
    }
}
