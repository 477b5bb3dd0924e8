//! What the store does when the disk fails it: it says so to everybody who waits, and writes no more.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use gantry_store::backend::{Backend, BackendError, Change, Memory, Record};
use gantry_store::{Options, Schema, Store, StoreError, Table};
use gantry_types::{Class, Classified as _};

const PLAIN: Table<String, String> = Table::new("plain");

/// A memory backend whose flush fails when told to.
struct FailingDisk {
    memory: Memory,
    fails: Arc<AtomicBool>,
}

impl Backend for FailingDisk {
    fn load(&mut self) -> Result<Vec<Record>, BackendError> {
        self.memory.load()
    }

    fn apply(&mut self, changes: &[Change]) -> Result<(), BackendError> {
        self.memory.apply(changes)
    }

    fn flush(&mut self) -> Result<(), BackendError> {
        if self.fails.load(Ordering::Relaxed) {
            let source = std::io::Error::from_raw_os_error(5);
            return Err(BackendError::Io { operation: "sync", path: "db".into(), source });
        }
        self.memory.flush()
    }

    fn close(self: Box<Self>) -> Result<(), BackendError> {
        Ok(())
    }
}

fn store() -> (Store, Memory, Arc<AtomicBool>) {
    let memory = Memory::new();
    let fails = Arc::new(AtomicBool::new(false));
    let disk = FailingDisk { memory: memory.clone(), fails: Arc::clone(&fails) };
    let store = Store::with_backend(Box::new(disk), Schema::new(1).with(&PLAIN), Options::default());
    (store.expect("it opens"), memory, fails)
}

fn put(store: &Store, key: &str) -> Result<gantry_store::Commit, StoreError> {
    Ok(store.transaction::<_, StoreError>(|tx| tx.insert(&PLAIN, &key.to_owned(), key.to_owned()))?.1)
}

#[test]
fn a_failed_sync_is_never_tried_again_and_believed() {
    let (store, memory, fails) = store();
    put(&store, "before").expect("it commits").wait_durable().expect("it is durable");
    fails.store(true, Ordering::Relaxed);
    let commit = put(&store, "lost").expect("it commits in memory");
    let failure = commit.wait_durable().expect_err("the sync failed");
    assert!(matches!(failure, StoreError::Poisoned { .. }));
    assert_eq!(failure.class(), Class::Unavailable);
    // The disk works again, which proves nothing about what it was given before.
    fails.store(false, Ordering::Relaxed);
    assert!(matches!(commit.wait_durable(), Err(StoreError::Poisoned { .. })));
    assert!(matches!(put(&store, "after"), Err(StoreError::Poisoned { .. })));
    assert!(matches!(store.close(), Err(StoreError::Poisoned { .. })));
    drop(store);
    let survivor =
        Store::with_backend(Box::new(memory.power_cut()), Schema::new(1).with(&PLAIN), Options::default());
    let survivor = survivor.expect("it opens");
    assert!(survivor.get(&PLAIN, &"before".to_owned()).is_some());
    assert_eq!(survivor.count(&PLAIN), 1);
}

#[test]
fn a_callback_is_told_of_the_failure_too() {
    let (store, _, fails) = store();
    fails.store(true, Ordering::Relaxed);
    let (told, telling) = mpsc::channel();
    for _ in 0..2 {
        let told = told.clone();
        match put(&store, "lost") {
            Ok(commit) => {
                commit.on_durable(move |outcome| told.send(outcome.is_err()).expect("the test listens"));
            }
            Err(reason) => {
                told.send(matches!(reason, StoreError::Poisoned { .. })).expect("the test listens");
            }
        }
        assert!(telling.recv_timeout(Duration::from_secs(20)).expect("it is told"));
    }
}

#[test]
fn a_callback_that_panics_does_not_stop_the_store() {
    let (store, _, _) = store();
    put(&store, "one").expect("it commits").on_durable(|_| panic!("a bug of the caller's"));
    store.flush().expect("it is durable");
    put(&store, "two").expect("it commits").wait_durable().expect("it is durable");
}
