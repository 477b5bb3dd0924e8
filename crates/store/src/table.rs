//! What a table is: a name, and the types of its keys and values. Declared as constants where the values'
//! types are, so that code which reads a table cannot disagree with code which writes it.
//!
//! Deliberately absent: a version per table. A migration may span tables, so the schema has one version.

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::key::Key;

/// A number that grows by one with every transaction that changes something, over the store's whole life.
/// A row carries that of the transaction which last wrote it.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A row as it is in memory. Cloning shares the value.
#[derive(Debug)]
pub struct Row<V> {
    /// The transaction that last wrote it.
    pub revision: Revision,
    /// What it holds.
    pub value: Arc<V>,
}

impl<V> Clone for Row<V> {
    fn clone(&self) -> Self {
        Self { revision: self.revision, value: Arc::clone(&self.value) }
    }
}

/// A table of the schema.
///
/// ```
/// # use gantry_store::Table;
/// const RESTARTS: Table<String, u32> = Table::new("restarts");
/// ```
pub struct Table<K, V> {
    name: &'static str,
    types: PhantomData<fn(K) -> V>,
}

impl<K, V> Table<K, V>
where
    K: Key,
    V: Serialize + DeserializeOwned + Send + Sync + 'static,
{
    /// A table of this name: 1 to 32 of `a-z`, `0-9` and `_`.
    ///
    /// # Panics
    /// When the name is another: for a constant, while it is compiled.
    pub const fn new(name: &'static str) -> Self {
        let bytes = name.as_bytes();
        assert!(!bytes.is_empty() && bytes.len() <= 32, "a table's name has 1 to 32 characters");
        let mut i = 0;
        while i < bytes.len() {
            assert!(
                matches!(bytes[i], b'a'..=b'z' | b'0'..=b'9' | b'_'),
                "a table's name is of a-z, 0-9 and _"
            );
            i += 1;
        }
        Self { name, types: PhantomData }
    }

    /// Its name, on disk and in an export.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn definition(&self) -> Definition {
        Definition {
            name: self.name,
            is_key: |bytes| K::from_bytes(bytes).is_some(),
            decode: |bytes| Ok(Arc::new(serde_json::from_slice::<V>(bytes)?)),
            encode: |value| serde_json::to_vec(typed::<V>(value)),
        }
    }
}

impl<K, V> fmt::Debug for Table<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Table({:?})", self.name)
    }
}

/// A row's value with its type set aside, so that rows of all tables live in one structure.
pub(crate) type Value = Arc<dyn Any + Send + Sync>;

/// What the store must know of a table when it does not know its types.
#[derive(Clone, Copy)]
pub(crate) struct Definition {
    pub(crate) name: &'static str,
    pub(crate) is_key: fn(&[u8]) -> bool,
    pub(crate) decode: fn(&[u8]) -> Result<Value, serde_json::Error>,
    pub(crate) encode: fn(&Value) -> Result<Vec<u8>, serde_json::Error>,
}

/// The value again as what its table says it is.
pub(crate) fn typed<V: 'static>(value: &Value) -> &V {
    value.downcast_ref().expect("one name stands for one table")
}

/// As [`typed`], sharing the value.
pub(crate) fn shared<V: Send + Sync + 'static>(value: &Value) -> Arc<V> {
    Arc::clone(value).downcast().expect("one name stands for one table")
}
