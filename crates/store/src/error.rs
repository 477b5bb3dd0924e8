//! Every way the store refuses.

use std::path::PathBuf;
use std::sync::Arc;

use gantry_types::{Class, Classified, Resource};

use crate::backend::BackendError;
use crate::table::Revision;

/// Why the store did not do it. Whatever is refused changed nothing, except where [`StoreError::Poisoned`] says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the folder open.
    #[error("another daemon uses the folder {path:?}")]
    InUse {
        /// The store's folder.
        path: PathBuf,
    },
    /// The database does not open, or what it holds is not whole.
    #[error("the database {path:?} cannot be read")]
    Damaged {
        /// sled's log file.
        path: PathBuf,
        /// What is wrong with it.
        source: BackendError,
    },
    /// A row does not parse as its table says it must.
    #[error("the row {key} of table {table:?} cannot be read")]
    RowUnreadable {
        /// Its table.
        table: String,
        /// Its key, in readable form.
        key: String,
        /// What is wrong with its value; `None` when its key is wrong.
        source: Option<serde_json::Error>,
    },
    /// The database holds a table that this version of Gantry does not know.
    #[error("the database holds an unknown table {table:?}")]
    TableUnknown {
        /// Its name.
        table: String,
    },
    /// A newer Gantry has written the database.
    #[error("the database has schema version {found}, and this version of Gantry knows {known} at the most")]
    TooNew {
        /// What is on disk.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// The database is too old: no migration leads from it to now.
    #[error("there is no migration from schema version {found}")]
    TooOld {
        /// What is on disk.
        found: u32,
    },
    /// A migration could not change a row.
    #[error("the migration to schema version {to} failed at the row {key} of table {table:?}")]
    Migration {
        /// The version it leads to.
        to: u32,
        /// The row's table.
        table: String,
        /// The row's key, in readable form.
        key: String,
        /// What is wrong with its value.
        source: serde_json::Error,
    },
    /// A value does not turn into JSON (a map with keys that are no text, a float that is no number).
    #[error("a value of table {table:?} cannot be written")]
    Unwritable {
        /// The table.
        table: &'static str,
        /// Why.
        source: serde_json::Error,
    },
    /// A key or a value is larger than a row may be.
    #[error("a {what} of table {table:?} has {bytes} bytes, and {bytes_max} is the limit")]
    TooLarge {
        /// `key` or `value`.
        what: &'static str,
        /// The table.
        table: &'static str,
        /// Its size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// A row is there that must not be.
    #[error("the row {key} of table {table:?} exists already")]
    Exists {
        /// The table.
        table: &'static str,
        /// The key, in readable form.
        key: String,
    },
    /// A row is missing.
    #[error("there is no row {key} in table {table:?}")]
    Missing {
        /// The table.
        table: &'static str,
        /// The key, in readable form.
        key: String,
    },
    /// A row was changed since the caller read it.
    #[error("the row {key} of table {table:?} is at revision {found}, not {expected}")]
    Changed {
        /// The table.
        table: &'static str,
        /// The key, in readable form.
        key: String,
        /// What the caller read.
        expected: Revision,
        /// What it is now.
        found: Revision,
    },
    /// A write to disk failed. Nothing is written any more: what memory holds may be ahead of the disk.
    #[error("the store takes no more writes because an earlier one failed")]
    Poisoned {
        /// The write that failed.
        source: Arc<BackendError>,
    },
    /// The disk is nearly full, and the transaction would add rows.
    #[error("the disk of {path:?} has {available_bytes} bytes left, and {needed_bytes} must stay free")]
    DiskFull {
        /// The store's folder.
        path: PathBuf,
        /// What is left.
        available_bytes: u64,
        /// What must be.
        needed_bytes: u64,
    },
    /// More is staged than may be: the disk does not keep up.
    #[error("{bytes} bytes wait to be written, and the disk does not keep up")]
    Backlog {
        /// What waits.
        bytes: usize,
    },
    /// The disk has not answered for a long time.
    #[error("the disk has not answered for {waited_s} seconds")]
    Stalled {
        /// How long the caller waited.
        waited_s: u64,
    },
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
    /// A file of the store's could not be used.
    #[error("cannot {operation} {path:?}")]
    Io {
        /// What was being done.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// What the kernel says.
        source: std::io::Error,
    },
    /// A file of the database's could not be used.
    #[error("the database's files cannot be used")]
    Files {
        /// Which, and why.
        #[from]
        source: BackendError,
    },
}

impl Classified for StoreError {
    fn class(&self) -> Class {
        match self {
            Self::InUse { .. } | Self::TooNew { .. } | Self::TooOld { .. } | Self::TableUnknown { .. } => {
                Class::FailedPrecondition
            }
            Self::Damaged { .. } | Self::RowUnreadable { .. } | Self::Migration { .. } => Class::DataLoss,
            Self::Unwritable { .. } => Class::Internal,
            Self::TooLarge { .. } => Class::InvalidArgument,
            Self::Exists { .. } => Class::AlreadyExists,
            Self::Missing { .. } => Class::NotFound,
            Self::Changed { .. } => Class::Aborted,
            Self::DiskFull { .. } | Self::Backlog { .. } => Class::ResourceExhausted,
            Self::Poisoned { .. }
            | Self::Stalled { .. }
            | Self::Closed
            | Self::Io { .. }
            | Self::Files { .. } => Class::Unavailable,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::InUse { .. } => "STORE_IN_USE",
            Self::Damaged { .. } => "STORE_DAMAGED",
            Self::RowUnreadable { .. } => "STORE_ROW_UNREADABLE",
            Self::TableUnknown { .. } => "STORE_TABLE_UNKNOWN",
            Self::TooNew { .. } => "STORE_TOO_NEW",
            Self::TooOld { .. } => "STORE_TOO_OLD",
            Self::Migration { .. } => "STORE_MIGRATION_FAILED",
            Self::Unwritable { .. } => "STORE_VALUE_UNWRITABLE",
            Self::TooLarge { .. } => "STORE_ROW_TOO_LARGE",
            Self::Exists { .. } => "STORE_ROW_EXISTS",
            Self::Missing { .. } => "STORE_ROW_MISSING",
            Self::Changed { .. } => "STORE_ROW_CHANGED",
            Self::Poisoned { .. } => "STORE_WRITE_FAILED",
            Self::DiskFull { .. } => "STORE_DISK_FULL",
            Self::Backlog { .. } => "STORE_BACKLOG",
            Self::Stalled { .. } => "STORE_STALLED",
            Self::Closed => "STORE_CLOSED",
            Self::Io { .. } | Self::Files { .. } => "STORE_FILE_UNUSABLE",
        }
    }

    fn resource(&self) -> Option<Resource> {
        match self {
            Self::Exists { table, key } | Self::Missing { table, key } | Self::Changed { table, key, .. } => {
                Some(Resource { kind: table, name: key.clone() })
            }
            Self::InUse { .. }
            | Self::Damaged { .. }
            | Self::RowUnreadable { .. }
            | Self::TableUnknown { .. }
            | Self::TooNew { .. }
            | Self::TooOld { .. }
            | Self::Migration { .. }
            | Self::Unwritable { .. }
            | Self::TooLarge { .. }
            | Self::Poisoned { .. }
            | Self::DiskFull { .. }
            | Self::Backlog { .. }
            | Self::Stalled { .. }
            | Self::Closed
            | Self::Io { .. }
            | Self::Files { .. } => None,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::InUse { .. } => Some(
                "stop the other daemon, or give this one folders of its own (--root, --state)".to_owned(),
            ),
            Self::Damaged { path, .. } => Some(format!(
                "keep {}; `gantryd store rebuild` makes a new database from the export beside it, and \
                 `gantryd store export` tries to read the old one first",
                path.parent().unwrap_or(path).display()
            )),
            Self::RowUnreadable { .. } | Self::Migration { .. } => Some(
                "`gantryd store export` writes every row to a file that can be mended, and \
                 `gantryd store rebuild` makes a database from it"
                    .to_owned(),
            ),
            Self::TooNew { .. } | Self::TableUnknown { .. } => {
                Some("run the newer version of Gantry again".to_owned())
            }
            Self::Poisoned { .. } => {
                Some("look after the disk, then restart the daemon; containers keep running".to_owned())
            }
            Self::Stalled { .. } => {
                Some("look after the disk; the change may still be made when it answers again".to_owned())
            }
            Self::DiskFull { .. } => Some("free some space; removing and stopping still work".to_owned()),
            Self::TooOld { .. }
            | Self::Unwritable { .. }
            | Self::TooLarge { .. }
            | Self::Exists { .. }
            | Self::Missing { .. }
            | Self::Changed { .. }
            | Self::Backlog { .. }
            | Self::Closed
            | Self::Io { .. }
            | Self::Files { .. } => None,
        }
    }
}
