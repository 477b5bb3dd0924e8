//! What a caller of the store can rely on, on sled and on its twin in memory alike.

use std::sync::mpsc;
use std::time::Duration;

use gantry_store::{Options, Page, Revision, Schema, Store, StoreError, Table};
use gantry_types::Namespace;

const NAMES: Table<(Namespace, String), u32> = Table::new("names");
const PLAIN: Table<String, String> = Table::new("plain");
const EVENTS: Table<u64, String> = Table::new("events");

fn schema() -> Schema {
    Schema::new(1).with(&NAMES).with(&PLAIN).with(&EVENTS)
}

/// Runs a test on both kinds of store.
fn on_both(test: impl Fn(&Store)) {
    test(&Store::in_memory(schema(), Options::default()).expect("it opens"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = Store::open(&folder.path().join("meta"), schema(), Options::default()).expect("it opens");
    test(&store);
}

fn name(namespace: &str, name: &str) -> (Namespace, String) {
    (namespace.parse().expect("a namespace"), name.to_owned())
}

fn put(store: &Store, key: &(Namespace, String), value: u32) -> Revision {
    let change = store.transaction::<_, StoreError>(|tx| tx.insert(&NAMES, key, value));
    change.expect("it commits").1.lazily()
}

#[test]
fn a_transaction_changes_all_tables_or_none() {
    on_both(|store| {
        let refused = store.transaction(|tx| {
            tx.insert(&NAMES, &name("a", "x"), 1)?;
            tx.insert(&PLAIN, &"x".to_owned(), "one".to_owned())?;
            tx.expect_present(&PLAIN, &"missing".to_owned())
        });
        assert!(matches!(refused, Err(StoreError::Missing { table: "plain", .. })));
        assert!(store.get(&NAMES, &name("a", "x")).is_none());
        assert_eq!(store.count(&PLAIN), 0);
        assert_eq!(store.progress().committed, Revision(0));
    });
}

#[test]
fn a_transaction_sees_its_own_changes_and_nobody_else_does() {
    on_both(|store| {
        put(store, &name("a", "one"), 1);
        put(store, &name("a", "three"), 3);
        let (rows, commit) = store
            .transaction::<_, StoreError>(|tx| {
                tx.insert(&NAMES, &name("a", "two"), 2)?;
                tx.update(&NAMES, &name("a", "three"), |value| *value = 33)?;
                assert_eq!(tx.remove(&NAMES, &name("a", "one")).map(|row| *row.value), Some(1));
                assert!(tx.get(&NAMES, &name("a", "one")).is_none());
                assert!(store.get(&NAMES, &name("a", "one")).is_some());
                Ok(tx.scan(&NAMES, &Page::all()))
            })
            .expect("it commits");
        let rows: Vec<_> = rows.into_iter().map(|(key, row)| (key.1, *row.value, row.revision)).collect();
        let at = commit.lazily();
        assert_eq!(rows, [("three".to_owned(), 33, at), ("two".to_owned(), 2, at)]);
        let after: Vec<_> = store.scan(&NAMES, &Page::all()).into_iter().map(|(key, _)| key.1).collect();
        assert_eq!(after, ["three", "two"]);
    });
}

#[test]
fn a_row_carries_the_revision_of_its_last_change() {
    on_both(|store| {
        let first = put(store, &name("a", "x"), 1);
        let other = put(store, &name("a", "y"), 1);
        assert!(first < other);
        assert_eq!(store.get(&NAMES, &name("a", "x")).map(|row| row.revision), Some(first));
        let stale = store.transaction(|tx| tx.expect_revision(&NAMES, &name("a", "y"), first).map(drop));
        let stale = stale.expect_err("it was changed later");
        assert!(
            matches!(stale, StoreError::Changed { expected, found, .. } if expected == first && found == other)
        );
        let fresh = store.transaction(|tx| tx.expect_revision(&NAMES, &name("a", "y"), other).map(drop));
        assert_eq!(fresh.expect("it is as it was read").1.revision(), other, "nothing changed");
    });
}

#[test]
fn creating_a_row_twice_is_refused() {
    on_both(|store| {
        put(store, &name("a", "x"), 1);
        let refused = store.transaction(|tx| tx.create(&NAMES, &name("a", "x"), 2));
        let refused = refused.expect_err("it is there");
        assert_eq!(refused.to_string(), "the row a%00x%00 of table \"names\" exists already");
    });
}

#[test]
fn pages_follow_each_other_without_gaps_or_repeats() {
    on_both(|store| {
        for n in 0..25 {
            put(store, &name("a", &format!("{n:02}")), n);
            put(store, &name("ab", &format!("{n:02}")), n);
        }
        let mut page = Page::prefix(&name("a", "").0).limit(10);
        let mut seen = Vec::new();
        loop {
            let rows = store.scan(&NAMES, &page);
            assert!(rows.len() <= 10);
            let Some((last, _)) = rows.last() else { break };
            page = page.after(last);
            seen.extend(rows.iter().map(|(_, row)| *row.value));
        }
        assert_eq!(seen, (0..25).collect::<Vec<_>>());
        let tens = store.scan(&NAMES, &Page::prefix(&name("a", "").0).and_text("1"));
        assert_eq!(tens.len(), 10);
    });
}

#[test]
fn appended_rows_are_numbered_on_and_dropped_from_the_front() {
    on_both(|store| {
        for n in 1..=5_u64 {
            let append = store.transaction::<_, StoreError>(|tx| tx.append(&EVENTS, n.to_string()));
            assert_eq!(append.expect("it commits").0, n);
        }
        let (gone, commit) = store
            .transaction::<_, StoreError>(|tx| {
                assert_eq!(tx.append(&EVENTS, "6".to_owned())?, 6);
                assert_eq!(tx.append(&EVENTS, "7".to_owned())?, 7);
                Ok(tx.keep_newest(&EVENTS, 0))
            })
            .expect("it commits");
        assert_eq!(gone, 6, "the newest stays, so that numbers never come again");
        commit.wait_durable().expect("it is durable");
        assert_eq!(store.last(&EVENTS).map(|(number, _)| number), Some(7));
        let append = store.transaction::<_, StoreError>(|tx| tx.append(&EVENTS, String::new()));
        assert_eq!(append.expect("it commits").0, 8);
    });
}

#[test]
fn a_lazy_commit_becomes_durable_by_itself() {
    on_both(|store| {
        let (told, telling) = mpsc::channel();
        store.subscribe(move |progress| {
            // The test may be over.
            let _ = told.send(progress.durable);
        });
        let revision = put(store, &name("a", "x"), 1);
        while telling.recv_timeout(Duration::from_secs(20)).expect("it is flushed within a second") < revision
        {
        }
        assert_eq!(store.progress().durable, revision);
    });
}

#[test]
fn a_callback_is_told_when_its_commit_is_durable() {
    on_both(|store| {
        let (told, telling) = mpsc::channel();
        for _ in 0..2 {
            let told = told.clone();
            let change = store.transaction::<_, StoreError>(|tx| tx.insert(&NAMES, &name("a", "x"), 1));
            let commit = change.expect("it commits").1;
            let revision = commit.revision();
            commit
                .on_durable(move |outcome| told.send((revision, outcome.is_ok())).expect("the test listens"));
            let answer = telling.recv_timeout(Duration::from_secs(20)).expect("it is told");
            assert_eq!(answer, (revision, true));
        }
    });
}

#[test]
fn commits_that_wait_together_share_flushes() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = Store::open(&folder.path().join("meta"), schema(), Options::default()).expect("it opens");
    let before = store.metrics();
    let commits: Vec<_> = (0..50)
        .map(|n| store.transaction::<_, StoreError>(|tx| tx.insert(&NAMES, &name("a", &n.to_string()), n)))
        .map(|change| change.expect("it commits").1)
        .collect();
    for commit in commits {
        commit.wait_durable().expect("it is durable");
    }
    let after = store.metrics();
    assert_eq!(after.commits - before.commits, 50);
    assert_eq!(after.fsyncs - before.fsyncs, 1);
}

#[test]
fn one_commit_that_is_waited_for_is_one_flush() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = Store::open(&folder.path().join("meta"), schema(), Options::default()).expect("it opens");
    let before = store.metrics().fsyncs;
    for n in 0..20 {
        let change = store.transaction::<_, StoreError>(|tx| tx.insert(&NAMES, &name("a", "x"), n));
        change.expect("it commits").1.wait_durable().expect("it is durable");
    }
    assert_eq!(store.metrics().fsyncs - before, 20);
}

#[test]
fn rows_that_are_too_large_are_refused() {
    on_both(|store| {
        let key = "k".repeat(481);
        let refused = store.transaction::<_, StoreError>(|tx| tx.insert(&PLAIN, &key, String::new()));
        assert!(matches!(refused, Err(StoreError::TooLarge { what: "key", .. })));
        let value = "v".repeat(4 * 1024 * 1024);
        let refused = store.transaction::<_, StoreError>(|tx| tx.insert(&PLAIN, &"k".to_owned(), value));
        assert!(matches!(refused, Err(StoreError::TooLarge { what: "value", .. })));
    });
}

#[test]
fn a_closed_store_still_reads_and_takes_no_more() {
    on_both(|store| {
        put(store, &name("a", "x"), 1);
        store.close().expect("it closes");
        store.close().expect("and is closed");
        assert!(store.get(&NAMES, &name("a", "x")).is_some());
        let refused = store.transaction::<_, StoreError>(|tx| tx.insert(&NAMES, &name("a", "x"), 2));
        assert!(matches!(refused, Err(StoreError::Closed)));
        assert_eq!(store.progress().durable, store.progress().committed);
    });
}

#[test]
fn a_nearly_full_disk_takes_no_new_rows() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("meta");
    let store = Store::open(&path, schema(), Options::default()).expect("it opens");
    put(&store, &name("a", "x"), 1);
    store.close().expect("it closes");
    // A reserve that no disk has stands for a full disk.
    let options = Options { reserve_bytes: u64::MAX, ..Options::default() };
    let store = Store::open(&path, schema(), options).expect("it opens");
    let refused = store.transaction::<_, StoreError>(|tx| tx.insert(&NAMES, &name("a", "y"), 1));
    assert!(matches!(refused, Err(StoreError::DiskFull { .. })));
    assert!(store.get(&NAMES, &name("a", "y")).is_none());
}
