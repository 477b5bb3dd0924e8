//! Every row of every table, in memory: what reads are answered from. One revision of the whole at a
//! time; readers hold the lock for a look-up, writers for putting a finished transaction in.

use std::collections::BTreeMap;
use std::collections::btree_map;
use std::iter::Peekable;
use std::ops::Bound;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::key::Key;
use crate::table::{Revision, Row, Value, shared};

/// Which rows of a table a scan returns, in the order of their keys.
#[derive(Debug, Clone)]
pub struct Page {
    prefix: Vec<u8>,
    after: Option<Vec<u8>>,
    limit: usize,
}

impl Page {
    /// All of them.
    pub fn all() -> Self {
        Self { prefix: Vec::new(), after: None, limit: usize::MAX }
    }

    /// Those whose key begins with these fields: with a namespace, where keys are of a namespace and a name.
    pub fn prefix(fields: &impl Key) -> Self {
        Self { prefix: fields.to_bytes(), ..Self::all() }
    }

    /// Of those, the ones whose next field is a text that begins so.
    #[must_use]
    pub fn and_text(mut self, beginning: &str) -> Self {
        self.prefix.extend(beginning.to_owned().to_bytes());
        self.prefix.pop();
        self
    }

    /// Only rows behind this key, which is the last one of the page before and may be gone by now.
    #[must_use]
    pub fn after(mut self, key: &impl Key) -> Self {
        self.after = Some(key.to_bytes());
        self
    }

    /// At most so many rows.
    #[must_use]
    pub fn limit(mut self, rows_max: usize) -> Self {
        self.limit = rows_max;
        self
    }

    fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        let low = match &self.after {
            Some(after) if *after >= self.prefix => Bound::Excluded(after.as_slice()),
            Some(_) | None => Bound::Included(self.prefix.as_slice()),
        };
        (low, Bound::Unbounded)
    }
}

/// A row without its type.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) revision: Revision,
    pub(crate) value: Value,
}

impl Entry {
    pub(crate) fn row<V: Send + Sync + 'static>(&self) -> Row<V> {
        Row { revision: self.revision, value: shared(&self.value) }
    }
}

pub(crate) type Bytes = Arc<[u8]>;

/// The rows of one table, sorted by key.
pub(crate) type Sorted<T> = BTreeMap<Bytes, T>;

/// All tables at one revision. A copy shares keys and values.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rows {
    pub(crate) revision: Revision,
    pub(crate) tables: BTreeMap<&'static str, Sorted<Entry>>,
    /// Which rows of which revisions these are.
    pub(crate) census: Census,
}

/// A count and a checksum of rows that does not depend on their order, so that it follows every change at
/// the cost of that change. It is written with every batch: what is found at open must be what was there
/// then, since sled drops damaged parts of its log without a word.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Census {
    pub(crate) rows: u64,
    pub(crate) sum: u64,
}

impl Census {
    pub(crate) fn add(&mut self, table: &str, key: &[u8], revision: u64) {
        self.rows += 1;
        self.sum = self.sum.wrapping_add(digest(table, key, revision));
    }

    fn subtract(&mut self, table: &str, key: &[u8], revision: u64) {
        self.rows -= 1;
        self.sum = self.sum.wrapping_sub(digest(table, key, revision));
    }
}

fn digest(table: &str, key: &[u8], revision: u64) -> u64 {
    let mut sha = Sha256::new();
    sha.update(revision.to_be_bytes());
    sha.update(table);
    sha.update([0]);
    sha.update(key);
    let digest = sha.finalize();
    u64::from_be_bytes(*digest.first_chunk().expect("a digest has 32 bytes"))
}

impl Rows {
    /// The rows of a table.
    ///
    /// # Panics
    /// When the schema that the store was opened with lacks the table.
    pub(crate) fn table(&self, name: &'static str) -> &Sorted<Entry> {
        self.tables.get(name).expect("the schema lists every table that is used")
    }

    /// The census as it will be with a transaction.
    pub(crate) fn census_with(&self, revision: Revision, changes: &Changes) -> Census {
        let mut census = self.census;
        for (name, rows) in changes {
            let table = self.table(name);
            for (key, value) in rows {
                if let Some(old) = table.get(key) {
                    census.subtract(name, key, old.revision.0);
                }
                if value.is_some() {
                    census.add(name, key, revision.0);
                }
            }
        }
        census
    }

    /// Puts a transaction in.
    pub(crate) fn apply(&mut self, revision: Revision, changes: Changes, census: Census) {
        (self.revision, self.census) = (revision, census);
        for (name, rows) in changes {
            let table = self.tables.get_mut(name).expect("the schema lists every table that is used");
            for (key, value) in rows {
                match value {
                    Some(staged) => table.insert(key, Entry { revision, value: staged.value }),
                    None => table.remove(&key),
                };
            }
        }
    }
}

/// A value on its way to memory, and its bytes on their way to disk.
#[derive(Debug)]
pub(crate) struct Staged {
    pub(crate) value: Value,
    pub(crate) json: Vec<u8>,
}

/// What a transaction changes: `None` removes.
pub(crate) type Changes = BTreeMap<&'static str, Sorted<Option<Staged>>>;

/// The rows of one table as a transaction sees them: the committed ones with its own changes over them.
pub(crate) struct Overlay<'a> {
    rows: Peekable<btree_map::Range<'a, Bytes, Entry>>,
    changes: Peekable<btree_map::Range<'a, Bytes, Option<Staged>>>,
    revision: Revision,
    prefix: &'a [u8],
    left: usize,
}

static UNCHANGED: Sorted<Option<Staged>> = BTreeMap::new();

impl<'a> Overlay<'a> {
    pub(crate) fn new(
        rows: &'a Sorted<Entry>,
        changes: Option<&'a Sorted<Option<Staged>>>,
        revision: Revision,
        page: &'a Page,
    ) -> Self {
        let changes = changes.unwrap_or(&UNCHANGED);
        Self {
            rows: rows.range::<[u8], _>(page.bounds()).peekable(),
            changes: changes.range::<[u8], _>(page.bounds()).peekable(),
            revision,
            prefix: &page.prefix,
            left: page.limit,
        }
    }

    /// The next key in order, changed or not, with its row if it has one.
    fn step(&mut self) -> Option<(&'a Bytes, Option<Entry>)> {
        let committed = self.rows.peek().map(|(key, _)| *key);
        let changed = self.changes.peek().map(|(key, _)| *key);
        match (committed, changed) {
            (Some(committed), changed) if changed.is_none_or(|changed| committed < changed) => {
                self.rows.next().map(|(key, entry)| (key, Some(entry.clone())))
            }
            (committed, Some(changed)) => {
                if committed == Some(changed) {
                    self.rows.next();
                }
                let entry =
                    |staged: &Staged| Entry { revision: self.revision, value: Arc::clone(&staged.value) };
                self.changes.next().map(|(key, staged)| (key, staged.as_ref().map(entry)))
            }
            (Some(_) | None, None) => None,
        }
    }
}

impl<'a> Iterator for Overlay<'a> {
    type Item = (&'a Bytes, Entry);

    fn next(&mut self) -> Option<Self::Item> {
        while self.left > 0 {
            let (key, entry) = self.step()?;
            if !key.starts_with(self.prefix) {
                return None;
            }
            if let Some(entry) = entry {
                self.left -= 1;
                return Some((key, entry));
            }
        }
        None
    }
}

/// Keys and values with their types.
pub(crate) fn typed_rows<'a, K: Key, V: Send + Sync + 'static>(
    rows: impl Iterator<Item = (&'a Bytes, Entry)>,
) -> Vec<(K, Row<V>)> {
    rows.map(|(key, entry)| (typed_key(key), entry.row())).collect()
}

/// A key with its type. Keys are checked when they are loaded.
pub(crate) fn typed_key<K: Key>(key: &[u8]) -> K {
    K::from_bytes(key).expect("one name stands for one table")
}
