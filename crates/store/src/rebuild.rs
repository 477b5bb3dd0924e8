//! The way out when a database does not open, or opens and holds a row nobody can read: everything that
//! can be read goes to an export, and an export becomes a new database. Neither needs the schema, so both work
//! when a newer or an older Gantry wrote the rows. The daemon must not be running.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use gantry_types::{Class, Classified};

use crate::backend::{Backend as _, BackendError, Change, Disk};
use crate::error::StoreError;
use crate::export::{self, ExportError, Summary, Writer};
use crate::folder::{Folder, database_file, kept_export};
use crate::metrics::Counters;
use crate::open::{Own, backend_in, census, own_row, take_own};
use crate::rows::Census;
use crate::table::Revision;

/// Rows written in one batch of a rebuild.
const BATCH_ROWS: usize = 256;

type RawRow = crate::backend::Record;

/// Why a database was not exported or rebuilt.
#[derive(Debug, thiserror::Error)]
pub enum RescueError {
    /// The folder or the database in it cannot be used.
    #[error("the store cannot be used")]
    Store {
        /// Why.
        #[from]
        source: StoreError,
    },
    /// The export cannot be written or used.
    #[error("the export cannot be used")]
    Export {
        /// Why.
        #[from]
        source: ExportError,
    },
    /// The new database cannot be written.
    #[error("the new database cannot be written")]
    Write {
        /// Why.
        #[from]
        source: BackendError,
    },
}

impl RescueError {
    fn cause(&self) -> &dyn Classified {
        match self {
            Self::Store { source } => source,
            Self::Export { source } => source,
            Self::Write { source } => source,
        }
    }
}

impl Classified for RescueError {
    fn class(&self) -> Class {
        self.cause().class()
    }

    fn reason(&self) -> &'static str {
        self.cause().reason()
    }

    fn hint(&self) -> Option<String> {
        self.cause().hint()
    }
}

/// What a rebuild did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebuilt {
    /// What the new database holds.
    pub summary: Summary,
    /// Where the old database is now.
    pub aside: Option<PathBuf>,
}

/// Writes every row of the database in `folder` to the file `to`, without parsing values.
pub fn export(folder: &Path, to: &Path) -> Result<Summary, RescueError> {
    let (held, mut backend) = backend_in(folder, &Counters::default())?;
    let damaged = |source| StoreError::Damaged { path: database_file(folder), source };
    let mut records = backend.load().map_err(damaged)?;
    let newest = records.iter().map(|record| record.revision).max().unwrap_or(0);
    let own = take_own(&mut records)?.unwrap_or_else(|| Own {
        schema: 1,
        revision: Revision(newest),
        census: Census::default(),
    });
    let mut out = Writer::create(to, own.schema, own.revision)?;
    for record in &records {
        out.row(&record.table, &record.key, record.revision, &record.value)?;
    }
    let summary = out.finish()?;
    Box::new(backend).close()?;
    held.leave(true)?;
    Ok(summary)
}

/// Makes a new database in `folder` from an export, after checking all of it, and puts the old one aside.
pub fn rebuild(folder: &Path, from: &Path) -> Result<Rebuilt, RescueError> {
    let mut records = Vec::new();
    let summary = export::read(from, |record| records.push(record))?;
    let held = Folder::take(folder)?;
    let new = held.fresh_sled()?;
    let mut backend = Disk::open(&new, Arc::default())?;
    for batch in records.chunks(BATCH_ROWS) {
        let change = |record: &RawRow| Change {
            table: record.table.clone(),
            key: record.key.clone(),
            row: Some((record.revision, record.value.clone())),
        };
        backend.apply(&batch.iter().map(change).collect::<Vec<_>>())?;
        backend.flush()?;
    }
    let own = Own { schema: summary.schema, revision: summary.revision, census: census(&records) };
    backend.apply(&[own_row(own)])?;
    Box::new(backend).close()?;
    // The mark speaks of the old database; the new one starts without.
    held.take_clean_mark()?;
    let aside = held.adopt()?;
    // The kept export may be of a later time than what the new database holds, which would speak against it.
    let mut kept = Writer::create(&kept_export(folder), summary.schema, summary.revision)?;
    for record in &records {
        kept.row(&record.table, &record.key, record.revision, &record.value)?;
    }
    kept.finish()?;
    Ok(Rebuilt { summary, aside })
}
