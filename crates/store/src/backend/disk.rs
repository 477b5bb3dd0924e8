//! The backend that keeps everything, over sled 0.34, and everything that sled needs from us to be
//! trusted with it (the reasons are in `docs/decisions/0002-store.md`).
//!
//! One sled tree, because a batch is atomic within one tree only:
//!
//! ```text
//! key     table 00 key chunk          chunk: two bytes, big endian, from 0
//! value   revision count part         in chunk 0; revision: eight bytes, count of chunks: two, both big endian
//!         part                        in the others
//! ```
//!
//! A value is cut into parts of [`PART_BYTES_MAX`], because what is large sled puts beside its log into
//! files it neither syncs nor orders. Only one thread writes, and it flushes after every batch, so that sled
//! never reuses a part of its log before what replaced it is on disk.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use super::{Backend, BackendError, Change, Record};
use crate::folder::{self, io};
use crate::key::readable;

/// A leaf page holds at most 17 rows before sled splits it, and a page must stay below a quarter of a
/// segment to stay in the log: 17 * (4096 + 515) < 131072.
const PART_BYTES_MAX: usize = 4096;
const SEGMENT_BYTES: usize = 512 * 1024;
/// What sled keeps of its pages. Reads never come here, so this only spares the writer some `pread`.
const CACHE_BYTES: u64 = 256 * 1024;
/// How long sled's threads may take to let go of their file after the database is dropped.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two looks at whether they have.
const RELEASE_POLL: Duration = Duration::from_millis(5);
/// Bytes of value and count of chunks before the first part.
const HEAD_BYTES: usize = 10;

/// sled in a folder.
#[derive(Debug)]
pub struct Disk {
    folder: PathBuf,
    db: Option<sled::Db>,
    /// Our own descriptor of sled's log, to sync it by.
    log: File,
    /// When sled's folder of large pages last changed; see [`Disk::sync_large_pages`].
    large_pages: Option<SystemTime>,
    /// Chunks of the rows that have more than one.
    chunks: HashMap<Vec<u8>, u16>,
    fsyncs: Arc<AtomicU64>,
}

impl Disk {
    /// Opens or makes the database in `folder`, a folder that holds nothing else. `fsyncs` counts the syncs that answers
    /// wait for.
    pub fn open(folder: &Path, fsyncs: Arc<AtomicU64>) -> Result<Self, BackendError> {
        let db = open_when_released(folder)?;
        let path = folder::log_in(folder);
        let log = File::options().read(true).write(true).open(&path).map_err(io("open", &path))?;
        let mut disk = Self {
            folder: folder.to_owned(),
            db: Some(db),
            log,
            large_pages: None,
            chunks: HashMap::new(),
            fsyncs,
        };
        disk.sync_large_pages()?;
        disk.log.sync_all().map_err(io("sync", &path))?;
        folder::sync_path(&folder.join("conf"))?;
        folder::sync_path(folder)?;
        Ok(disk)
    }

    fn db(&self) -> &sled::Db {
        self.db.as_ref().expect("the database is there until close")
    }

    /// sled does not sync the files of pages that outgrew its log. The layout above makes none, but should
    /// one ever appear, it is on disk before the batch that needs it is called durable.
    fn sync_large_pages(&mut self) -> Result<(), BackendError> {
        let folder = self.folder.join("blobs");
        let changed =
            std::fs::metadata(&folder).and_then(|found| found.modified()).map_err(io("read", &folder))?;
        if self.large_pages == Some(changed) {
            return Ok(());
        }
        for entry in std::fs::read_dir(&folder).map_err(io("list", &folder))? {
            let path = entry.map_err(io("list", &folder))?.path();
            folder::sync_path(&path)?;
        }
        folder::sync_path(&folder)?;
        self.large_pages = Some(changed);
        Ok(())
    }

    fn batch(&mut self, changes: &[Change]) -> sled::Batch {
        let mut batch = sled::Batch::default();
        for change in changes {
            let key = row_key(&change.table, &change.key);
            let before = self.chunks.get(&key).copied().unwrap_or(1);
            let after = match &change.row {
                Some((revision, value)) => insert_parts(&mut batch, &key, *revision, value),
                None => 0,
            };
            for chunk in after..before {
                batch.remove(chunk_key(&key, chunk));
            }
            if after > 1 {
                self.chunks.insert(key, after);
            } else {
                self.chunks.remove(&key);
            }
        }
        batch
    }
}

impl Backend for Disk {
    fn load(&mut self) -> Result<Vec<Record>, BackendError> {
        const READ: &str = "read its rows";
        let db = self.db().clone();
        let entries = guarded(READ, move || db.iter().collect::<Result<Vec<_>, _>>())?;
        let mut rows: BTreeMap<Vec<u8>, Parts> = BTreeMap::new();
        for (key, value) in entries {
            let stray = || BackendError::Stray { entry: readable(&key) };
            let (row, chunk) = key.split_last_chunk().ok_or_else(stray)?;
            let parts = rows.entry(row.to_vec()).or_default();
            parts.add(u16::from_be_bytes(*chunk), &value).ok_or_else(stray)?;
        }
        let mut records = Vec::with_capacity(rows.len());
        for (row, parts) in rows {
            let end = row.iter().position(|&byte| byte == 0);
            let end = end.ok_or_else(|| BackendError::Stray { entry: readable(&row) })?;
            let table = String::from_utf8_lossy(&row[..end]).into_owned();
            let key = row[end + 1..].to_vec();
            let count = parts.count;
            let Some((revision, value)) = parts.join() else {
                return Err(BackendError::Torn { table, key: readable(&key) });
            };
            if count > 1 {
                self.chunks.insert(row, count);
            }
            records.push(Record { table, key, revision, value });
        }
        Ok(records)
    }

    fn apply(&mut self, changes: &[Change]) -> Result<(), BackendError> {
        let batch = self.batch(changes);
        let db = self.db();
        guarded("write a batch", || db.apply_batch(batch))
    }

    fn flush(&mut self) -> Result<(), BackendError> {
        let db = self.db();
        guarded("flush", || db.flush())?;
        self.sync_large_pages()?;
        // sled's flush has written and started write-back, no more: this is what makes it durable.
        let result = self.log.sync_data();
        self.fsyncs.fetch_add(1, Ordering::Relaxed);
        result.map_err(io("sync", &folder::log_in(&self.folder)))
    }

    fn close(mut self: Box<Self>) -> Result<(), BackendError> {
        let db = self.db.take();
        guarded("close", move || {
            drop(db);
            Ok(())
        })?;
        wait_for_release(&self.log, &self.folder)?;
        self.log.sync_all().map_err(io("sync", &self.folder))?;
        folder::sync_path(&self.folder)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let db = self.db.take();
        // A database that broke may break again on its way out; there is nothing left to lose then.
        let _ = guarded("close", move || {
            drop(db);
            Ok(())
        });
    }
}

/// The parts of one row, as they are found.
#[derive(Default)]
struct Parts {
    revision: u64,
    count: u16,
    found: BTreeMap<u16, Vec<u8>>,
}

impl Parts {
    fn add(&mut self, chunk: u16, mut value: &[u8]) -> Option<()> {
        if chunk == 0 {
            let (revision, rest) = value.split_first_chunk()?;
            let (count, rest) = rest.split_first_chunk()?;
            (self.revision, self.count) = (u64::from_be_bytes(*revision), u16::from_be_bytes(*count));
            value = rest;
        }
        self.found.insert(chunk, value.to_vec());
        Some(())
    }

    /// The revision and the whole value, if all parts and no others are there.
    fn join(self) -> Option<(u64, Vec<u8>)> {
        let whole =
            self.found.len() == usize::from(self.count) && self.found.keys().copied().eq(0..self.count);
        whole.then(|| (self.revision, self.found.into_values().flatten().collect()))
    }
}

fn row_key(table: &str, key: &[u8]) -> Vec<u8> {
    let mut row = Vec::with_capacity(table.len() + key.len() + 3);
    row.extend_from_slice(table.as_bytes());
    row.push(0);
    row.extend_from_slice(key);
    row
}

fn chunk_key(row: &[u8], chunk: u16) -> Vec<u8> {
    [row, &chunk.to_be_bytes()].concat()
}

/// Returns the number of parts.
fn insert_parts(batch: &mut sled::Batch, row: &[u8], revision: u64, value: &[u8]) -> u16 {
    let first = value.len().min(PART_BYTES_MAX - HEAD_BYTES);
    let (first, rest) = value.split_at(first);
    let count = u16::try_from(1 + rest.len().div_ceil(PART_BYTES_MAX)).expect("a value's size is limited");
    let head = [&revision.to_be_bytes()[..], &count.to_be_bytes(), first].concat();
    batch.insert(chunk_key(row, 0), head);
    for (chunk, part) in (1..count).zip(rest.chunks(PART_BYTES_MAX)) {
        batch.insert(chunk_key(row, chunk), part);
    }
    count
}

/// A database dropped in this process may still be in the hands of sled's threads for a moment. Nobody
/// else can have it: the caller holds the folder's lock.
fn open_when_released(folder: &Path) -> Result<sled::Db, BackendError> {
    let path = folder::log_in(folder);
    if let Ok(log) = File::open(&path) {
        wait_for_release(&log, folder)?;
    }
    let config = sled::Config::new()
        .path(folder)
        .segment_size(SEGMENT_BYTES)
        .cache_capacity(CACHE_BYTES)
        .use_compression(false)
        .flush_every_ms(None);
    guarded("open", || config.open())
}

/// sled holds a lock on its log for as long as any of its threads has it open.
fn wait_for_release(log: &File, folder: &Path) -> Result<(), BackendError> {
    let deadline = Instant::now() + RELEASE_TIMEOUT;
    loop {
        match log.try_lock() {
            Ok(()) => return log.unlock().map_err(io("unlock", folder)),
            Err(std::fs::TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(RELEASE_POLL);
            }
            Err(reason) => return Err(io("lock", folder)(reason.into())),
        }
    }
}

/// sled answers damage with panics as often as with errors; here both are errors.
fn guarded<T>(operation: &'static str, work: impl FnOnce() -> sled::Result<T>) -> Result<T, BackendError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(source)) => Err(BackendError::Database { operation, source: Box::new(source) }),
        Err(payload) => {
            let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
            Err(BackendError::Panicked { operation, message: text.unwrap_or_default() })
        }
    }
}
