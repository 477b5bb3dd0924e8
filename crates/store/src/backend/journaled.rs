//! The database with a journal in front of it: a batch is durable when the journal has it, and goes into the database with
//! many others when the journal is full or the store closes. What the database has of the journal it says itself,
//! in a row that is written in the same atomic batch; so a crash at any point is either before or after.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::before::Before;
use super::journal::{Batch, Journal, encode};
use super::{Backend, BackendError, Change, Disk, Record};
use crate::folder::io;

/// Beside sled's own files: what is put aside with them is put aside with it.
const FILE: &str = "journal";
/// Room for some hundred batches. Also what is read at an open, and held in memory while it goes into the database.
const CAPACITY_BYTES: usize = 1024 * 1024;
/// Rows that go into the database at once. sled may use a part of its log again within one batch, before what replaced that
/// part is on disk; a batch far smaller than a segment frees none.
const SETTLED_BYTES_AT_ONCE: usize = 64 * 1024;
/// The table of the row that says up to which number the database has the journal. Nobody else sees it.
const TABLE: &str = "journal";

/// The newest version of each row.
type Changed = BTreeMap<(String, Vec<u8>), Option<(u64, Vec<u8>)>>;

/// A database and its journal.
#[derive(Debug)]
pub struct Journaled {
    database: Disk,
    journal: Journal,
    /// The newest number that is in the database.
    settled: u64,
    /// The newest number given out.
    newest: u64,
    /// Records to be written by the next flush.
    staged: Vec<u8>,
    /// What the open read, until it is asked for.
    loaded: Option<Vec<Record>>,
    /// Counts the syncs that answers wait for.
    fsyncs: Arc<AtomicU64>,
}

impl Journaled {
    /// Opens or makes both in `folder`, and reads them. When the last stop was not `clean`, an open that fails with sled's
    /// snapshot is tried without it, on the files as they were: the snapshot may be what is damaged. Not the other way
    /// round: the log alone is whole only if no open before has zeroed what the snapshot said is not needed. `fsyncs`
    /// counts the syncs that answers wait for.
    pub fn open(folder: &Path, clean: bool, fsyncs: Arc<AtomicU64>) -> Result<Self, BackendError> {
        // A disk that is too full for a copy does not keep a database from opening that has no need of one.
        let no_copy = |reason| {
            tracing::warn!(error = %reason, "the database is opened without a copy of it");
            None
        };
        let before = if clean { None } else { Before::of(folder).unwrap_or_else(no_copy) };
        let with_snapshot = Self::open_as_it_is(folder, Arc::clone(&fsyncs));
        let (first, before) = match (with_snapshot, before) {
            (Err(first), Some(before)) if before.has_snapshots() => (first, before),
            (result, _) => return result,
        };
        before.put_back_log()?;
        if let Ok(opened) = Self::open_as_it_is(folder, fsyncs) {
            tracing::warn!(error = %first, "the database opened without the snapshot that kept it from opening");
            return Ok(opened);
        }
        before.put_back()?;
        Err(first)
    }

    fn open_as_it_is(folder: &Path, fsyncs: Arc<AtomicU64>) -> Result<Self, BackendError> {
        let database = Disk::open(folder, Arc::clone(&fsyncs))?;
        let journal = Journal::open(&folder.join(FILE), CAPACITY_BYTES)?;
        let mut opened =
            Self { database, journal, settled: 0, newest: 0, staged: Vec::new(), loaded: None, fsyncs };
        match opened.read() {
            Ok(records) => {
                opened.loaded = Some(records);
                Ok(opened)
            }
            Err(reason) => {
                if opened.journal.is_new() {
                    // Or the next open would not miss what the database needs.
                    let path = opened.journal.path();
                    std::fs::remove_file(path).map_err(io("remove", path))?;
                }
                Err(reason)
            }
        }
    }

    /// Every row of both.
    fn read(&mut self) -> Result<Vec<Record>, BackendError> {
        let mut records = self.database.load()?;
        let marker = records.iter().position(|record| record.table == TABLE && record.key.is_empty());
        let marker = marker.map(|at| records.swap_remove(at).value);
        let number = |value: Vec<u8>| String::from_utf8(value).ok()?.parse().ok();
        if marker.is_some() && self.journal.is_new() {
            return Err(BackendError::JournalMissing { path: self.journal.path().to_owned() });
        }
        let torn = || BackendError::Torn { table: TABLE.to_owned(), key: String::new() };
        self.settled = marker.map(|value| number(value).ok_or_else(torn)).transpose()?.unwrap_or(0);
        let batches = self.journal.read(self.settled)?;
        self.newest = batches.last().map_or(self.settled, |batch| batch.sequence);
        Ok(replayed(records, batches))
    }

    /// Puts everything into the database, durably and a part at a time, with `more` behind it, and starts the journal anew.
    fn settle(&mut self, more: Option<Batch>) -> Result<(), BackendError> {
        let mut rows = BTreeMap::new();
        let (mut bytes, mut newest) = (0, self.settled);
        let batches = self.journal.read(self.settled)?;
        for batch in batches.into_iter().chain(more) {
            newest = batch.sequence;
            for change in batch.changes {
                bytes += change.key.len() + change.row.as_ref().map_or(0, |(_, value)| value.len());
                rows.insert((change.table, change.key), change.row);
            }
            if bytes > SETTLED_BYTES_AT_ONCE {
                self.write_through(std::mem::take(&mut rows), newest)?;
                bytes = 0;
            }
        }
        if newest > self.settled {
            self.write_through(rows, newest)?;
        }
        self.journal.restart();
        Ok(())
    }

    /// Makes rows durable in the database, which then has the journal up to number `newest`.
    fn write_through(&mut self, rows: Changed, newest: u64) -> Result<(), BackendError> {
        let marker = (0, newest.to_string().into_bytes());
        let mut changes: Vec<Change> =
            rows.into_iter().map(|((table, key), row)| Change { table, key, row }).collect();
        changes.push(Change { table: TABLE.to_owned(), key: Vec::new(), row: Some(marker) });
        self.database.apply(&changes)?;
        self.database.flush()?;
        self.settled = newest;
        Ok(())
    }

    fn write_staged(&mut self) -> Result<(), BackendError> {
        if self.staged.is_empty() {
            return Ok(());
        }
        self.journal.append(&self.staged)?;
        self.fsyncs.fetch_add(1, Ordering::Relaxed);
        self.staged.clear();
        Ok(())
    }
}

impl Backend for Journaled {
    fn load(&mut self) -> Result<Vec<Record>, BackendError> {
        match self.loaded.take() {
            Some(records) => Ok(records),
            None => self.read(),
        }
    }

    fn apply(&mut self, changes: &[Change]) -> Result<(), BackendError> {
        let before = self.staged.len();
        self.newest += 1;
        encode(self.newest, changes, &mut self.staged);
        if self.journal.has_room(self.staged.len()) {
            return Ok(());
        }
        let record = self.staged.split_off(before);
        self.write_staged()?;
        if self.journal.could_hold(record.len()) {
            self.settle(None)?;
            self.staged = record;
            return Ok(());
        }
        // Larger than the journal: it is in the database and nowhere else, under a number of its own.
        self.settle(Some(Batch { sequence: self.newest, changes: changes.to_vec() }))
    }

    fn flush(&mut self) -> Result<(), BackendError> {
        self.write_staged()
    }

    fn close(mut self: Box<Self>) -> Result<(), BackendError> {
        self.write_staged()?;
        if self.newest > self.settled {
            self.settle(None)?;
        }
        Box::new(self.database).close()
    }
}

/// The rows after the batches.
fn replayed(records: Vec<Record>, batches: Vec<Batch>) -> Vec<Record> {
    if batches.is_empty() {
        return records;
    }
    let mut rows: BTreeMap<(String, Vec<u8>), (u64, Vec<u8>)> = records
        .into_iter()
        .map(|record| ((record.table, record.key), (record.revision, record.value)))
        .collect();
    for change in batches.into_iter().flat_map(|batch| batch.changes) {
        let key = (change.table, change.key);
        match change.row {
            Some(row) => rows.insert(key, row),
            None => rows.remove(&key),
        };
    }
    let record = |((table, key), (revision, value))| Record { table, key, revision, value };
    rows.into_iter().map(record).collect()
}
