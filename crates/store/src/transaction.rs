//! A transaction while it is being made: reads see its own changes, and nobody else does until it is
//! whole. It runs under the store's one commit lock, so what it reads stays true until it commits, and nothing
//! ever has to be tried again. It must not wait for anything.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::StoreError;
use crate::key::{KEY_BYTES_MAX, Key, readable};
use crate::rows::{Bytes, Changes, Entry, Overlay, Page, Rows, Staged, typed_rows};
use crate::table::{Revision, Row, Table};

/// A value's longest JSON: far above every row Gantry has, far below what would hold up the others' commits.
pub(crate) const VALUE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Changes to any tables, made together or not at all.
#[derive(Debug)]
pub struct Transaction<'a> {
    rows: &'a Rows,
    revision: Revision,
    changes: Changes,
    adds_rows: bool,
}

impl<'a> Transaction<'a> {
    pub(crate) fn new(rows: &'a Rows) -> Self {
        let revision = Revision(rows.revision.0 + 1);
        Self { rows, revision, changes: BTreeMap::new(), adds_rows: false }
    }

    /// The changes, and whether there are new rows among them other than appended ones.
    pub(crate) fn into_changes(self) -> (Changes, bool) {
        (self.changes, self.adds_rows)
    }

    /// The revision that its rows will have.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// A row.
    pub fn get<K: Key, V: Stored>(&self, table: &Table<K, V>, key: &K) -> Option<Row<V>> {
        Some(self.entry(table.name(), &key.to_bytes())?.row())
    }

    /// Rows in the order of their keys.
    pub fn scan<K: Key, V: Stored>(&self, table: &Table<K, V>, page: &Page) -> Vec<(K, Row<V>)> {
        let changes = self.changes.get(table.name());
        typed_rows(Overlay::new(self.rows.table(table.name()), changes, self.revision, page))
    }

    /// Puts a row in, over one that is there.
    pub fn insert<K: Key, V: Stored>(
        &mut self,
        table: &Table<K, V>,
        key: &K,
        value: V,
    ) -> Result<(), StoreError> {
        let key = self.encode_key(table.name(), key)?;
        self.adds_rows |= self.entry(table.name(), &key).is_none();
        self.stage(table.name(), key, value)
    }

    /// Puts a new row in; one that is there is an error.
    pub fn create<K: Key, V: Stored>(
        &mut self,
        table: &Table<K, V>,
        key: &K,
        value: V,
    ) -> Result<(), StoreError> {
        self.expect_absent(table, key)?;
        self.insert(table, key, value)
    }

    /// Changes a row that is there, and returns what it is now.
    pub fn update<K: Key, V: Stored + Clone>(
        &mut self,
        table: &Table<K, V>,
        key: &K,
        change: impl FnOnce(&mut V),
    ) -> Result<Row<V>, StoreError> {
        let mut value = V::clone(&self.expect_present(table, key)?.value);
        change(&mut value);
        self.stage(table.name(), key.to_bytes().into(), value)?;
        self.expect_present(table, key)
    }

    /// Takes a row out and returns it.
    pub fn remove<K: Key, V: Stored>(&mut self, table: &Table<K, V>, key: &K) -> Option<Row<V>> {
        let key = key.to_bytes();
        let entry = self.entry(table.name(), &key)?;
        self.take_out(table.name(), key.into());
        Some(entry.row())
    }

    /// Puts a row behind the last one and returns its number. Numbers start at 1 and never come again,
    /// as long as the newest row is not removed by hand; [`Transaction::keep_newest`] leaves it.
    /// Appending works on a nearly full disk, because it records what happens anyway.
    pub fn append<V: Stored>(&mut self, table: &Table<u64, V>, value: V) -> Result<u64, StoreError> {
        let last = |keys: Option<&Bytes>| keys.and_then(|key| u64::from_bytes(key)).unwrap_or(0);
        let committed = last(self.rows.table(table.name()).keys().next_back());
        let staged = last(self.changes.get(table.name()).and_then(|rows| rows.keys().next_back()));
        let number = committed.max(staged) + 1;
        self.stage(table.name(), number.to_bytes().into(), value)?;
        Ok(number)
    }

    /// Removes rows from the front until `rows` are left, at least one. Returns how many went.
    /// It looks at the rows that go and no others.
    pub fn keep_newest<V: Stored>(&mut self, table: &Table<u64, V>, rows: usize) -> usize {
        let name = table.name();
        let staged = self.changes.get(name);
        let is_new = |key: &&Bytes| !self.rows.table(name).contains_key(*key);
        let added =
            staged.map_or(0, |rows| rows.iter().filter(|(key, row)| row.is_some() && is_new(key)).count());
        let removed =
            staged.map_or(0, |rows| rows.iter().filter(|(key, row)| row.is_none() && !is_new(key)).count());
        let present = self.rows.table(name).len() + added - removed;
        let page = Page::all().limit(present.saturating_sub(rows.max(1)));
        let front: Vec<Bytes> = Overlay::new(self.rows.table(name), staged, self.revision, &page)
            .map(|(key, _)| Arc::clone(key))
            .collect();
        let count = front.len();
        for key in front {
            self.take_out(name, key);
        }
        count
    }

    /// Fails when the row is there.
    pub fn expect_absent<K: Key, V: Stored>(&self, table: &Table<K, V>, key: &K) -> Result<(), StoreError> {
        match self.entry(table.name(), &key.to_bytes()) {
            Some(_) => Err(StoreError::Exists { table: table.name(), key: readable(&key.to_bytes()) }),
            None => Ok(()),
        }
    }

    /// The row, or a failure when it is not there.
    pub fn expect_present<K: Key, V: Stored>(
        &self,
        table: &Table<K, V>,
        key: &K,
    ) -> Result<Row<V>, StoreError> {
        let missing = || StoreError::Missing { table: table.name(), key: readable(&key.to_bytes()) };
        self.get(table, key).ok_or_else(missing)
    }

    /// The row, or a failure when it was changed or removed since the caller saw this revision of it.
    pub fn expect_revision<K: Key, V: Stored>(
        &self,
        table: &Table<K, V>,
        key: &K,
        expected: Revision,
    ) -> Result<Row<V>, StoreError> {
        let row = self.expect_present(table, key)?;
        if row.revision == expected {
            return Ok(row);
        }
        let (table, key) = (table.name(), readable(&key.to_bytes()));
        Err(StoreError::Changed { table, key, expected, found: row.revision })
    }

    fn entry(&self, table: &'static str, key: &[u8]) -> Option<Entry> {
        match self.changes.get(table).and_then(|rows| rows.get(key)) {
            Some(staged) => {
                let value = Arc::clone(&staged.as_ref()?.value);
                Some(Entry { revision: self.revision, value })
            }
            None => self.rows.table(table).get(key).cloned(),
        }
    }

    fn encode_key(&self, table: &'static str, key: &impl Key) -> Result<Bytes, StoreError> {
        let key = key.to_bytes();
        check_size("key", table, key.len(), KEY_BYTES_MAX)?;
        // Interning: an update shares the key that is there instead of keeping a second copy.
        let known = self.rows.table(table).get_key_value(key.as_slice());
        Ok(known.map_or_else(|| key.into(), |(known, _)| Arc::clone(known)))
    }

    fn stage<V: Stored>(&mut self, table: &'static str, key: Bytes, value: V) -> Result<(), StoreError> {
        let json = serde_json::to_vec(&value).map_err(|source| StoreError::Unwritable { table, source })?;
        check_size("value", table, json.len(), VALUE_BYTES_MAX)?;
        let staged = Staged { value: Arc::new(value), json };
        self.changes.entry(table).or_default().insert(key, Some(staged));
        Ok(())
    }

    fn take_out(&mut self, table: &'static str, key: Bytes) {
        self.changes.entry(table).or_default().insert(key, None);
    }
}

/// What a value must be able to do.
pub trait Stored: Serialize + DeserializeOwned + Send + Sync + 'static {}

impl<V: Serialize + DeserializeOwned + Send + Sync + 'static> Stored for V {}

fn check_size(
    what: &'static str,
    table: &'static str,
    bytes: usize,
    bytes_max: usize,
) -> Result<(), StoreError> {
    if bytes <= bytes_max { Ok(()) } else { Err(StoreError::TooLarge { what, table, bytes, bytes_max }) }
}
