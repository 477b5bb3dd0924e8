//! Gantry's metadata: typed tables and transactions over sled, the only crate that names it.
//!
//! Reads come from memory and never wait for a disk. A transaction changes memory under one short lock
//! and is staged; one writer thread puts everything staged since its last round on disk as one atomic
//! batch with one `fdatasync`, and whoever waits for it is told. Nothing here is asynchronous: a caller
//! with a runtime either waits on a blocking thread or leaves a callback ([`Commit::on_durable`]).

pub mod backend;
mod commit;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod error;
mod export;
mod folder;
mod key;
mod metrics;
mod open;
mod rebuild;
mod rows;
mod schema;
mod store;
mod table;
mod transaction;
mod writer;

pub use commit::{Commit, Progress, STALL_TIMEOUT};
pub use error::StoreError;
pub use export::{ExportError, Summary, verify};
pub use folder::{EXPORT, database_file, kept_export};
pub use key::Key;
pub use metrics::Metrics;
pub use rebuild::{Rebuilt, RescueError, export, rebuild};
pub use rows::Page;
pub use schema::{Migration, RawTables, Schema};
pub use store::{Options, Store};
pub use table::{Revision, Row, Table};
pub use transaction::{Stored, Transaction};
