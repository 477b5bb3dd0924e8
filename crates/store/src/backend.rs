//! What the store needs of whatever keeps its bytes. So little that a second backend is a day's work:
//! everything is read once, at open, and later written in atomic batches by one thread.
//!
//! Deliberately absent: reading one row, ranges, concurrency. The store does those in memory.

mod before;
mod disk;
mod journal;
mod journaled;
mod memory;

pub use disk::Disk;
pub use journaled::Journaled;
pub use memory::Memory;

use std::path::PathBuf;

use gantry_types::{Class, Classified};

/// A row as bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Record {
    /// The table's name.
    pub table: String,
    /// The encoded key.
    pub key: Vec<u8>,
    /// The revision of the transaction that last wrote it.
    pub revision: u64,
    /// The value, in JSON.
    pub value: Vec<u8>,
}

/// One row's part in a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The table's name.
    pub table: String,
    /// The encoded key.
    pub key: Vec<u8>,
    /// The new revision and value, or `None` when the row goes.
    pub row: Option<(u64, Vec<u8>)>,
}

/// A keeper of bytes. One thread uses it at a time.
pub trait Backend: Send {
    /// Every row, in any order.
    fn load(&mut self) -> Result<Vec<Record>, BackendError>;

    /// Makes all of `changes`, or after a crash none of them. Each row occurs once at the most.
    /// They need not survive a power cut before [`Backend::flush`].
    fn apply(&mut self, changes: &[Change]) -> Result<(), BackendError>;

    /// Returns when everything applied survives a power cut. After a failure the backend is not used
    /// again: what it was given may be gone, and a second attempt could report success regardless.
    fn flush(&mut self) -> Result<(), BackendError>;

    /// Ends the use in an orderly way, so that the next open need not distrust anything.
    fn close(self: Box<Self>) -> Result<(), BackendError>;
}

/// Why a backend failed.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// The database refused.
    #[error("the database could not {operation}")]
    Database {
        /// What was being done.
        operation: &'static str,
        /// The database's own error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The database's code panicked, which damaged files make it do.
    #[error("the database broke off while it was to {operation}: {message}")]
    Panicked {
        /// What was being done.
        operation: &'static str,
        /// The panic's message.
        message: String,
    },
    /// A file could not be used.
    #[error("cannot {operation} {path:?}")]
    Io {
        /// What was being done.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// What the kernel says.
        source: std::io::Error,
    },
    /// A row is not whole.
    #[error("the row {key} of table {table:?} is not whole")]
    Torn {
        /// Its table.
        table: String,
        /// Its key.
        key: String,
    },
    /// Rows are missing, or older than they were.
    #[error("{found} rows were found where {expected} were written, or some are older than what was written")]
    Incomplete {
        /// What is there.
        found: u64,
        /// What was there with the last batch.
        expected: u64,
    },
    /// There was a database, and nothing of it is left.
    #[error("the database has lost everything it held")]
    Emptied,
    /// The end of the database is missing: it is as it was at an earlier time.
    #[error("the database is at revision {found}, and was at {expected} when it was last exported")]
    RolledBack {
        /// Its revision.
        found: u64,
        /// The kept export's.
        expected: u64,
    },
    /// A record of the journal is damaged or missing, and later ones are there.
    #[error("record {expected} of the journal {path:?} is damaged or missing, and record {found} is there")]
    JournalDamaged {
        /// The journal.
        path: PathBuf,
        /// The number of the record that should be there.
        expected: u64,
        /// One that was found.
        found: u64,
    },
    /// The database had a journal, which may have held what the database has not.
    #[error("the journal {path:?} is missing")]
    JournalMissing {
        /// Where it was.
        path: PathBuf,
    },
    /// Bytes under a key that this layout does not have.
    #[error("the entry {entry} belongs to no row")]
    Stray {
        /// The entry's own key.
        entry: String,
    },
}

impl Classified for BackendError {
    fn class(&self) -> Class {
        match self {
            Self::Database { .. } | Self::Io { .. } => Class::Unavailable,
            Self::Panicked { .. }
            | Self::Torn { .. }
            | Self::Incomplete { .. }
            | Self::Emptied
            | Self::RolledBack { .. }
            | Self::JournalDamaged { .. }
            | Self::JournalMissing { .. }
            | Self::Stray { .. } => Class::DataLoss,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Database { .. } => "DATABASE_REFUSED",
            Self::Io { .. } => "DATABASE_FILE_UNUSABLE",
            Self::Panicked { .. } => "DATABASE_BROKE_OFF",
            Self::Torn { .. } | Self::Stray { .. } => "DATABASE_ROW_TORN",
            Self::JournalDamaged { .. } | Self::JournalMissing { .. } => "DATABASE_JOURNAL_DAMAGED",
            Self::Incomplete { .. } | Self::Emptied | Self::RolledBack { .. } => "DATABASE_INCOMPLETE",
        }
    }
}
