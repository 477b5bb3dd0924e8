//! Which tables there are, at which version of the whole, and how the rows of older versions become rows
//! of this one. Migrations see rows as JSON, because the types they were written with are gone.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use crate::error::StoreError;
use crate::key::readable;
use crate::table::{Definition, Table};

/// The store's own table, in which its schema version and revision are.
pub(crate) const OWN_TABLE: &str = "gantry";

/// One step from the version before.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// The version it leads to; it starts from the one before.
    pub to: u32,
    /// Changes the rows. Everything is written in one batch after the last step, or nothing is.
    pub run: fn(&mut RawTables) -> Result<(), StoreError>,
}

/// The tables of a store, their version, and the way there.
pub struct Schema {
    pub(crate) version: u32,
    pub(crate) tables: BTreeMap<&'static str, Definition>,
    pub(crate) migrations: Vec<Migration>,
}

impl Schema {
    /// A schema of this version, without tables yet. The first version is 1.
    pub fn new(version: u32) -> Self {
        Self { version, tables: BTreeMap::new(), migrations: Vec::new() }
    }

    /// Adds a table.
    ///
    /// # Panics
    /// When two tables have one name, or one has the store's own.
    #[must_use]
    pub fn with<K, V>(mut self, table: &Table<K, V>) -> Self
    where
        K: crate::Key,
        V: serde::Serialize + serde::de::DeserializeOwned + Send + Sync + 'static,
    {
        let taken = table.name() == OWN_TABLE || self.tables.contains_key(table.name());
        assert!(!taken, "one name stands for one table");
        self.tables.insert(table.name(), table.definition());
        self
    }

    /// Adds a step from an older version.
    #[must_use]
    pub fn migrated_by(mut self, migration: Migration) -> Self {
        self.migrations.push(migration);
        self
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schema {} of {:?}", self.version, self.tables.keys())
    }
}

type RawRows = BTreeMap<Vec<u8>, Vec<u8>>;

/// The tables as a migration finds them.
#[derive(Debug, Default)]
pub struct RawTables {
    pub(crate) tables: BTreeMap<String, RawRows>,
    pub(crate) to: u32,
}

impl RawTables {
    /// Changes the value of every row of a table. A table that is not there has no rows.
    pub fn for_each(
        &mut self,
        table: &str,
        mut change: impl FnMut(&[u8], &mut Value) -> Result<(), serde_json::Error>,
    ) -> Result<(), StoreError> {
        let to = self.to;
        for (key, json) in self.tables.get_mut(table).into_iter().flatten() {
            let fail =
                |source| StoreError::Migration { to, table: table.to_owned(), key: readable(key), source };
            let mut value = serde_json::from_slice(json).map_err(fail)?;
            change(key, &mut value).map_err(fail)?;
            *json = value.to_string().into_bytes();
        }
        Ok(())
    }

    /// Puts a row in, over one that is there.
    pub fn insert(&mut self, table: &str, key: &impl crate::Key, value: &Value) {
        let rows = self.tables.entry(table.to_owned()).or_default();
        rows.insert(key.to_bytes(), value.to_string().into_bytes());
    }

    /// Gives every row of a table another key, or none, which removes it.
    pub fn rekey(&mut self, table: &str, new_key: impl Fn(&[u8]) -> Option<Vec<u8>>) {
        if let Some(rows) = self.tables.get_mut(table) {
            let old = std::mem::take(rows);
            rows.extend(old.into_iter().filter_map(|(key, json)| Some((new_key(&key)?, json))));
        }
    }

    /// Gives a table another name.
    pub fn rename(&mut self, from: &str, to: &str) {
        if let Some(rows) = self.tables.remove(from) {
            self.tables.entry(to.to_owned()).or_default().extend(rows);
        }
    }

    /// Removes a table with all its rows.
    pub fn drop_table(&mut self, table: &str) {
        self.tables.remove(table);
    }
}
