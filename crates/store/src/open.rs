//! From bytes to a store that can be used: the folder is taken, the database opened with no trust in what a
//! crash may have torn, the schema brought up to date, and every row parsed. A row that cannot be parsed is
//! found here, by name, and not by whoever first needs it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::backend::{Backend, BackendError, Change, Journaled, Record};
use crate::error::StoreError;
use crate::folder::{Folder, database_file};
use crate::key::readable;
use crate::metrics::Counters;
use crate::rows::{Census, Entry, Rows, Sorted};
use crate::schema::{OWN_TABLE, RawTables, Schema};
use crate::table::Revision;

/// The key of the store's own row.
const OWN_KEY: &[u8] = b"store";

/// The store's own row: written with every batch, so that revisions go on where they stopped.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Own {
    pub(crate) schema: u32,
    pub(crate) revision: Revision,
    #[serde(flatten)]
    pub(crate) census: Census,
}

/// The change that writes the store's own row.
pub(crate) fn own_row(own: Own) -> Change {
    let json = serde_json::to_vec(&own).expect("numbers turn into JSON");
    Change { table: OWN_TABLE.to_owned(), key: OWN_KEY.to_vec(), row: Some((own.revision.0, json)) }
}

/// Why loading failed, before it is known where the database is.
#[derive(Debug)]
pub(crate) enum LoadError {
    Backend(BackendError),
    Store(StoreError),
}

impl LoadError {
    /// The error for whoever opened the store in this folder.
    pub(crate) fn in_folder(self, folder: &Path) -> StoreError {
        match self {
            Self::Backend(source) => StoreError::Damaged { path: database_file(folder), source },
            Self::Store(reason) => reason,
        }
    }
}

impl From<BackendError> for LoadError {
    fn from(reason: BackendError) -> Self {
        Self::Backend(reason)
    }
}

impl From<StoreError> for LoadError {
    fn from(reason: StoreError) -> Self {
        Self::Store(reason)
    }
}

/// Takes the folder and opens the database in it.
pub(crate) fn backend_in(path: &Path, counters: &Counters) -> Result<(Folder, Journaled), StoreError> {
    let folder = Folder::take(path)?;
    let clean = folder.take_clean_mark()?;
    let backend = Journaled::open(&folder.sled(), clean, Arc::clone(&counters.fsyncs))
        .map_err(|source| StoreError::Damaged { path: database_file(path), source })?;
    crate::folder::sync_path(path)?;
    Ok((folder, backend))
}

/// Everything in `backend`, brought to the version of `schema`. One that was `founded` before is never empty.
pub(crate) fn load(backend: &mut dyn Backend, schema: &Schema, founded: bool) -> Result<Rows, LoadError> {
    let mut records = backend.load()?;
    let Some(own) = take_own(&mut records)? else {
        if founded {
            return Err(BackendError::Emptied.into());
        }
        if let Some(record) = records.first() {
            let torn = BackendError::Torn { table: OWN_TABLE.to_owned(), key: readable(&record.key) };
            return Err(torn.into());
        }
        let own = Own { schema: schema.version, revision: Revision(0), census: Census::default() };
        backend.apply(&[own_row(own)])?;
        backend.flush()?;
        return Ok(typed(Vec::new(), Revision(0), schema)?);
    };
    let found = census(&records);
    if found != own.census {
        return Err(BackendError::Incomplete { found: found.rows, expected: own.census.rows }.into());
    }
    if own.schema > schema.version {
        return Err(StoreError::TooNew { found: own.schema, known: schema.version }.into());
    }
    let mut revision = own.revision;
    if own.schema < schema.version {
        revision = Revision(revision.0 + 1);
        let (migrated, mut changes) = migrate(records, own.schema, revision, schema)?;
        // Parsed before it is written: a migration that makes rows nobody can read must not stick.
        let rows = typed(migrated, revision, schema)?;
        changes.push(own_row(Own { schema: schema.version, revision, census: rows.census }));
        backend.apply(&changes)?;
        backend.flush()?;
        tracing::info!(from = own.schema, to = schema.version, rows = changes.len(), "migrated the store");
        return Ok(rows);
    }
    Ok(typed(records, revision, schema)?)
}

/// sled takes a log that is damaged in the middle for one that ends there; then the database is behind its export.
pub(crate) fn check_not_rolled_back(found: Revision, folder: &Path) -> Result<(), StoreError> {
    match crate::export::kept_revision(folder) {
        Some(expected) if found < expected => {
            let source = BackendError::RolledBack { found: found.0, expected: expected.0 };
            Err(StoreError::Damaged { path: database_file(folder), source })
        }
        Some(_) | None => Ok(()),
    }
}

/// The census of rows as they are on disk, the store's own row aside.
pub(crate) fn census(records: &[Record]) -> Census {
    records.iter().fold(Census::default(), |mut census, record| {
        census.add(&record.table, &record.key, record.revision);
        census
    })
}

/// Takes the store's own row out of the others.
pub(crate) fn take_own(records: &mut Vec<Record>) -> Result<Option<Own>, StoreError> {
    let Some(at) = records.iter().position(|record| record.table == OWN_TABLE && record.key == OWN_KEY)
    else {
        return Ok(None);
    };
    let record = records.swap_remove(at);
    let unreadable = |source| StoreError::RowUnreadable {
        table: OWN_TABLE.to_owned(),
        key: readable(OWN_KEY),
        source: Some(source),
    };
    serde_json::from_slice(&record.value).map(Some).map_err(unreadable)
}

/// The rows after all migrations from version `from` on, and what changes on disk.
fn migrate(
    records: Vec<Record>,
    from: u32,
    revision: Revision,
    schema: &Schema,
) -> Result<(Vec<Record>, Vec<Change>), StoreError> {
    let mut before: BTreeMap<(String, Vec<u8>), (u64, Vec<u8>)> = BTreeMap::new();
    let mut raw = RawTables::default();
    for record in records {
        raw.tables.entry(record.table.clone()).or_default().insert(record.key.clone(), record.value.clone());
        before.insert((record.table, record.key), (record.revision, record.value));
    }
    for to in from + 1..=schema.version {
        let step = schema.migrations.iter().find(|migration| migration.to == to);
        let step = step.ok_or(StoreError::TooOld { found: to - 1 })?;
        raw.to = to;
        (step.run)(&mut raw)?;
    }
    let mut after = Vec::new();
    let mut changes = Vec::new();
    for (table, rows) in raw.tables {
        for (key, value) in rows {
            let old = before.remove(&(table.clone(), key.clone()));
            let same = old.filter(|(_, old)| *old == value).map(|(revision, _)| revision);
            if same.is_none() {
                let row = Some((revision.0, value.clone()));
                changes.push(Change { table: table.clone(), key: key.clone(), row });
            }
            after.push(Record { table: table.clone(), key, revision: same.unwrap_or(revision.0), value });
        }
    }
    changes.extend(before.into_keys().map(|(table, key)| Change { table, key, row: None }));
    Ok((after, changes))
}

fn typed(records: Vec<Record>, revision: Revision, schema: &Schema) -> Result<Rows, StoreError> {
    let mut rows = Rows { revision, tables: BTreeMap::new(), census: census(&records) };
    rows.tables.extend(schema.tables.keys().map(|name| (*name, Sorted::new())));
    for record in records {
        let Some(definition) = schema.tables.get(record.table.as_str()) else {
            return Err(StoreError::TableUnknown { table: record.table });
        };
        let key = readable(&record.key);
        let unreadable =
            |source| StoreError::RowUnreadable { table: definition.name.to_owned(), key, source };
        if !(definition.is_key)(&record.key) {
            return Err(unreadable(None));
        }
        let value = (definition.decode)(&record.value).map_err(|source| unreadable(Some(source)))?;
        let entry = Entry { revision: Revision(record.revision), value };
        let table = rows.tables.get_mut(definition.name).expect("made from the same schema");
        table.insert(record.key.into(), entry);
    }
    Ok(rows)
}
