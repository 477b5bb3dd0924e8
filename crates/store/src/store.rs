//! The store as the daemon holds it: reads, transactions, and its end.

use std::fmt;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::backend::{Backend, Memory};
use crate::commit::{Commit, Progress, Queue};
use crate::error::StoreError;
use crate::export;
use crate::folder::Folder;
use crate::key::Key;
use crate::metrics::{Counters, Metrics};
use crate::open;
use crate::rows::{Changes, Overlay, Page, Rows, typed_key, typed_rows};
use crate::schema::Schema;
use crate::table::{Revision, Row, Table};
use crate::transaction::{Stored, Transaction};
use crate::writer::{self, chain};

/// More pending than this is written without delay.
const PENDING_BYTES_SOON: usize = 1024 * 1024;
/// More pending than this is not taken.
const PENDING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How a store behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long a commit that nobody waits for may stay in memory only.
    pub lazy_delay: Duration,
    /// Time between two exports beside the database, counted from the first change after one; `None` makes none but at close.
    pub export_interval: Option<Duration>,
    /// Bytes of disk below which no rows are added, except by appending. Changing and removing rows goes on
    /// until a quarter of it.
    pub reserve_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            lazy_delay: Duration::from_secs(1),
            export_interval: Some(Duration::from_secs(300)),
            reserve_bytes: 16 * 1024 * 1024,
        }
    }
}

/// Gantry's metadata. Cloning gives another handle; the last one to go closes the store.
#[derive(Debug, Clone)]
pub struct Store {
    handle: Arc<Handle>,
}

impl Store {
    /// Opens the store in a folder, making it if it is missing.
    pub fn open(folder: &Path, schema: Schema, options: Options) -> Result<Self, StoreError> {
        let counters = Counters::default();
        let (folder, mut backend) = open::backend_in(folder, &counters)?;
        let rows = open::load(&mut backend, &schema, folder.is_founded())
            .map_err(|reason| reason.in_folder(folder.path()))?;
        open::check_not_rolled_back(rows.revision, folder.path())?;
        folder.set_founded()?;
        Self::start(Box::new(backend), rows, schema, options, counters, Some(folder))
    }

    /// A store that is gone when it is closed.
    pub fn in_memory(schema: Schema, options: Options) -> Result<Self, StoreError> {
        Self::with_backend(Box::new(Memory::new()), schema, options)
    }

    /// A store over any backend.
    pub fn with_backend(
        mut backend: Box<dyn Backend>,
        schema: Schema,
        options: Options,
    ) -> Result<Self, StoreError> {
        let rows =
            open::load(backend.as_mut(), &schema, false).map_err(|reason| reason.in_folder(Path::new("")))?;
        Self::start(backend, rows, schema, options, Counters::default(), None)
    }

    fn start(
        backend: Box<dyn Backend>,
        rows: Rows,
        schema: Schema,
        options: Options,
        counters: Counters,
        folder: Option<Folder>,
    ) -> Result<Self, StoreError> {
        let queue =
            Queue { staged: rows.revision, durable: rows.revision, census: rows.census, ..Queue::default() };
        let shared = Arc::new(Shared {
            rows: RwLock::new(rows),
            commits: Mutex::new(()),
            queue: Mutex::new(queue),
            work: Condvar::new(),
            settled: Condvar::new(),
            subscribers: RwLock::default(),
            exporting: Mutex::new(false),
            schema,
            options,
            counters,
            folder,
        });
        let writer = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer::run(&writer, backend))
            .map_err(|source| StoreError::Io {
                operation: "start the writer of",
                path: "store".into(),
                source,
            })?;
        Ok(Self { handle: Arc::new(Handle { shared, writer: Mutex::new(Some(thread)) }) })
    }

    /// A row, from memory.
    pub fn get<K: Key, V: Stored>(&self, table: &Table<K, V>, key: &K) -> Option<Row<V>> {
        Some(self.rows().table(table.name()).get(key.to_bytes().as_slice())?.row())
    }

    /// Rows in the order of their keys, from memory.
    pub fn scan<K: Key, V: Stored>(&self, table: &Table<K, V>, page: &Page) -> Vec<(K, Row<V>)> {
        let rows = self.rows();
        typed_rows(Overlay::new(rows.table(table.name()), None, rows.revision, page))
    }

    /// The row with the greatest key.
    pub fn last<K: Key, V: Stored>(&self, table: &Table<K, V>) -> Option<(K, Row<V>)> {
        let rows = self.rows();
        let (key, entry) = rows.table(table.name()).last_key_value()?;
        Some((typed_key(key), entry.row()))
    }

    /// The number of rows.
    pub fn count<K: Key, V: Stored>(&self, table: &Table<K, V>) -> usize {
        self.rows().table(table.name()).len()
    }

    /// Reads that belong together: `read` sees one revision of all tables. It must be short, since commits wait for it.
    pub fn view<T>(&self, read: impl FnOnce(&Transaction<'_>) -> T) -> T {
        read(&Transaction::new(&self.rows()))
    }

    /// Changes rows of any tables, all or none. `change` runs under the commit lock: it must not wait for
    /// anything, nor use the store but by its argument. When it fails nothing has changed.
    ///
    /// When this returns, every reader sees the change. It is on disk when the [`Commit`] says so.
    pub fn transaction<T, E: From<StoreError>>(
        &self,
        change: impl FnOnce(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<(T, Commit), E> {
        let shared = &self.handle.shared;
        let commits = lock(&shared.commits);
        shared.admit()?;
        let rows = self.rows();
        let mut transaction = Transaction::new(&rows);
        let value = change(&mut transaction)?;
        let (changes, adds_rows) = transaction.into_changes();
        let before = rows.revision;
        drop(rows);
        if changes.is_empty() {
            return Ok((value, Commit { shared: Arc::clone(shared), revision: before }));
        }
        shared.check_space(adds_rows)?;
        let revision = Revision(before.0 + 1);
        shared.stage(revision, changes)?;
        drop(commits);
        shared.counters.commits.fetch_add(1, Ordering::Relaxed);
        shared.tell_subscribers();
        Ok((value, Commit { shared: Arc::clone(shared), revision }))
    }

    /// How far the store is.
    pub fn progress(&self) -> Progress {
        self.handle.shared.progress()
    }

    /// Returns when everything committed so far survives a power cut.
    pub fn flush(&self) -> Result<(), StoreError> {
        let revision = self.progress().committed;
        Commit { shared: Arc::clone(&self.handle.shared), revision }.wait_durable()
    }

    /// Has `told` called after every commit and every flush, on the thread that did it, for the life of
    /// the store. It must not block, and calls may come in any order.
    pub fn subscribe(&self, told: impl Fn(Progress) + Send + Sync + 'static) {
        let mut subscribers = self.handle.shared.subscribers.write().unwrap_or_else(PoisonError::into_inner);
        subscribers.push(Box::new(told));
    }

    /// The store's counts.
    pub fn metrics(&self) -> Metrics {
        self.handle.shared.counters.read()
    }

    /// Writes what is pending, exports, and leaves the folder marked as closed in order. Other handles
    /// still read, and their transactions fail from here on.
    pub fn close(&self) -> Result<(), StoreError> {
        self.handle.close()
    }

    fn rows(&self) -> RwLockReadGuard<'_, Rows> {
        self.handle.shared.rows.read().unwrap_or_else(PoisonError::into_inner)
    }
}

type Subscriber = Box<dyn Fn(Progress) + Send + Sync>;

/// What the handles, the commits and the writer share.
pub(crate) struct Shared {
    pub(crate) rows: RwLock<Rows>,
    /// Held while a transaction is made; never while anything is written.
    commits: Mutex<()>,
    pub(crate) queue: Mutex<Queue>,
    /// The writer waits here.
    pub(crate) work: Condvar,
    /// Who wants to know about durability waits here.
    pub(crate) settled: Condvar,
    subscribers: RwLock<Vec<Subscriber>>,
    /// Held while an export is written; true when there will be no more.
    exporting: Mutex<bool>,
    pub(crate) schema: Schema,
    options: Options,
    pub(crate) counters: Counters,
    folder: Option<Folder>,
}

impl Shared {
    fn admit(&self) -> Result<(), StoreError> {
        let queue = lock(&self.queue);
        if let Some(source) = &queue.failure {
            return Err(StoreError::Poisoned { source: Arc::clone(source) });
        }
        if queue.closing {
            return Err(StoreError::Closed);
        }
        let bytes = queue.pending_bytes;
        if bytes > PENDING_BYTES_MAX { Err(StoreError::Backlog { bytes }) } else { Ok(()) }
    }

    /// sled cannot go on after a write that found the disk full, so the last bytes are not for new things.
    fn check_space(&self, adds_rows: bool) -> Result<(), StoreError> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let reserve = self.options.reserve_bytes;
        let needed_bytes = if adds_rows { reserve } else { reserve / 4 };
        let Ok(found) = rustix::fs::fstatvfs(folder.lock().as_fd()) else { return Ok(()) };
        let available_bytes = found.f_bavail.saturating_mul(found.f_frsize);
        if available_bytes >= needed_bytes {
            return Ok(());
        }
        Err(StoreError::DiskFull { path: folder.path().to_owned(), available_bytes, needed_bytes })
    }

    /// Gives a transaction to the writer and to the readers. The caller holds the commit lock.
    fn stage(&self, revision: Revision, mut changes: Changes) -> Result<(), StoreError> {
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        let census = rows.census_with(revision, &changes);
        drop(rows);
        let mut queue = lock(&self.queue);
        if let Some(source) = &queue.failure {
            return Err(StoreError::Poisoned { source: Arc::clone(source) });
        }
        if queue.closing {
            return Err(StoreError::Closed);
        }
        for (table, rows) in &mut changes {
            for (key, staged) in rows {
                let row = staged.as_mut().map(|staged| (revision.0, std::mem::take(&mut staged.json)));
                queue.pending_bytes += key.len() + row.as_ref().map_or(0, |(_, json)| json.len());
                queue.pending.insert((table, Arc::clone(key)), row);
            }
        }
        (queue.staged, queue.census) = (revision, census);
        let delay =
            if queue.pending_bytes > PENDING_BYTES_SOON { Duration::ZERO } else { self.options.lazy_delay };
        let at = Instant::now() + delay;
        if queue.flush_at.is_none_or(|due| at < due) {
            queue.flush_at = Some(at);
            self.work.notify_one();
        }
        drop(queue);
        // In the order of revisions, because the commit lock is still held.
        self.rows.write().unwrap_or_else(PoisonError::into_inner).apply(revision, changes, census);
        Ok(())
    }

    /// Has the writer start at once, unless `revision` is on disk already.
    pub(crate) fn want(&self, queue: &mut Queue, revision: Revision) {
        if queue.durable < revision && !queue.pending.is_empty() {
            queue.flush_at = Some(Instant::now());
            self.work.notify_one();
        }
    }

    fn progress(&self) -> Progress {
        let queue = lock(&self.queue);
        Progress { committed: queue.staged, durable: queue.durable }
    }

    pub(crate) fn tell_subscribers(&self) {
        let subscribers = self.subscribers.read().unwrap_or_else(PoisonError::into_inner);
        if !subscribers.is_empty() {
            let progress = self.progress();
            subscribers.iter().for_each(|told| writer::contained(|| told(progress)));
        }
    }

    pub(crate) fn export_interval(&self) -> Option<Duration> {
        self.folder.as_ref().and(self.options.export_interval)
    }

    /// Gives the folder up, marked as closed in order if it was.
    fn leave(&self, in_order: bool) -> Result<(), StoreError> {
        let mut ended = lock(&self.exporting);
        *ended = true;
        match &self.folder {
            Some(folder) => folder.leave(in_order),
            None => Ok(()),
        }
    }

    /// Writes the export beside the database. A failure is logged: the database itself is well.
    pub(crate) fn keep_export(self: &Arc<Self>) {
        let Some(folder) = &self.folder else { return };
        let ended = lock(&self.exporting);
        if *ended {
            return;
        }
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner).clone();
        // What an export has must not be lost with a power cut afterwards: see `export::kept_revision`.
        let durable = Commit { shared: Arc::clone(self), revision: rows.revision }.wait_durable();
        if durable.is_err() {
            return;
        }
        match export::keep(folder.path(), &rows, &self.schema) {
            Ok(_) => {
                self.counters.exports.fetch_add(1, Ordering::Relaxed);
            }
            Err(reason) => {
                tracing::warn!(error = %chain(&reason), "the database's export could not be written");
            }
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("progress", &self.progress()).finish_non_exhaustive()
    }
}

type Writer = JoinHandle<Option<Box<dyn Backend>>>;

/// Closes the store when the last [`Store`] goes.
#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    writer: Mutex<Option<Writer>>,
}

impl Handle {
    fn close(&self) -> Result<(), StoreError> {
        let Some(writer) = lock(&self.writer).take() else { return Ok(()) };
        lock(&self.shared.queue).closing = true;
        self.shared.work.notify_one();
        if writer.thread().id() == std::thread::current().id() {
            // The last handle went inside a callback. The writer ends by itself; without the mark the next
            // open takes this for a crash, which costs it a scan of the log.
            return Ok(());
        }
        let backend = writer.join().ok().flatten();
        let failure = lock(&self.shared.queue).failure.clone();
        match (backend, failure) {
            (Some(backend), _) => {
                self.shared.keep_export();
                let closed = backend.close();
                self.shared.leave(closed.is_ok())?;
                Ok(closed?)
            }
            (None, Some(source)) => Err(StoreError::Poisoned { source }),
            (None, None) => Err(StoreError::Closed),
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Err(reason) = self.close() {
            tracing::warn!(error = %chain(&reason), "the store was not closed in order");
        }
    }
}

/// A panic under one of the store's locks leaves what it guards whole: nothing is changed in more than one step.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
