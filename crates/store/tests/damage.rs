//! A database that was torn or overwritten is an error with a way out, never a panic, and the way out works.

use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use gantry_store::{Options, Schema, Store, StoreError, Table, database_file, kept_export, rebuild, verify};
use gantry_types::{Class, Classified as _};

const PLAIN: Table<String, String> = Table::new("plain");

fn open(folder: &Path) -> Result<Store, StoreError> {
    Store::open(folder, Schema::new(1).with(&PLAIN), Options::default())
}

/// A folder with 500 rows, closed in order.
fn filled() -> (tempfile::TempDir, PathBuf) {
    let parent = tempfile::tempdir().expect("a temporary folder");
    let folder = parent.path().join("meta");
    let store = open(&folder).expect("it opens");
    for n in 0..500 {
        let put = store.transaction::<_, StoreError>(|tx| tx.insert(&PLAIN, &n.to_string(), "v".repeat(n)));
        put.expect("it commits").1.lazily();
    }
    store.close().expect("it closes");
    (parent, folder)
}

fn snapshots(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder.join("sled")).expect("the folder is there");
    let paths = entries.map(|entry| entry.expect("it can be listed").path());
    paths.filter(|path| path.to_string_lossy().contains("/snap.")).collect()
}

/// A copy of what is on disk while the store is open.
fn as_a_kill_leaves_it(folder: &Path, copy: &Path) {
    std::fs::create_dir(copy).expect("it is made");
    for entry in std::fs::read_dir(folder).expect("it is there").map(|entry| entry.expect("it is listed")) {
        let to = copy.join(entry.file_name());
        if entry.path().is_dir() {
            as_a_kill_leaves_it(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).expect("it is copied");
        }
    }
}

#[test]
fn torn_snapshots_do_not_matter_after_an_unclean_stop() {
    let (_parent, folder) = filled();
    // Opening after writes makes sled write a snapshot.
    open(&folder).expect("it opens").close().expect("it closes");
    let snapshot = snapshots(&folder).pop().expect("sled wrote a snapshot");
    std::fs::write(&snapshot, b"torn").expect("it can be torn");
    std::fs::remove_file(folder.join("clean")).expect("the mark is there after a close");
    let store = open(&folder).expect("it opens without the snapshot");
    assert_eq!(store.count(&PLAIN), 500);
}

#[test]
fn a_copy_that_cannot_be_made_keeps_no_database_from_opening() {
    let (parent, folder) = filled();
    let copy = parent.path().join("copy");
    let store = open(&folder).expect("it opens");
    as_a_kill_leaves_it(&folder, &copy);
    drop(store);
    // In the way of the folder with the copy, as a full disk is.
    std::fs::write(copy.join("sled.before"), "").expect("it is writable");
    assert_eq!(open(&copy).expect("it opens").count(&PLAIN), 500);
}

#[test]
fn a_snapshot_torn_after_a_clean_stop_is_no_panic_and_the_next_open_works() {
    let (_parent, folder) = filled();
    open(&folder).expect("it opens").close().expect("it closes");
    let snapshot = snapshots(&folder).pop().expect("sled wrote a snapshot");
    std::fs::write(&snapshot, b"torn").expect("it can be torn");
    let refused = open(&folder).expect_err("a torn snapshot is trusted only with the mark");
    assert!(matches!(refused, StoreError::Damaged { .. }));
    assert_eq!(open(&folder).expect("the mark is gone by now").count(&PLAIN), 500);
}

#[test]
fn a_damaged_database_names_its_file_and_is_rebuilt_from_the_kept_export() {
    let (_parent, folder) = filled();
    let config = folder.join("sled/conf");
    std::fs::write(&config, b"segment_size: what\nuse_compression: 7\nnothing that parses")
        .expect("it is writable");
    let refused = open(&folder).expect_err("sled cannot read its settings");
    assert!(matches!(&refused, StoreError::Damaged { path, .. } if *path == database_file(&folder)));
    assert_eq!(refused.class(), Class::DataLoss);
    assert!(refused.hint().is_some_and(|hint| hint.contains("gantryd store rebuild")));
    let rebuilt = rebuild(&folder, &kept_export(&folder)).expect("the export is good");
    assert_eq!(rebuilt.summary.rows, 500);
    assert!(rebuilt.aside.is_some_and(|aside| aside.join("db").exists()));
    let store = open(&folder).expect("the new database opens");
    assert_eq!(store.get(&PLAIN, &"77".to_owned()).map(|row| row.value.len()), Some(77));
    assert_eq!(store.count(&PLAIN), 500);
}

#[test]
fn overwritten_bytes_anywhere_are_never_a_panic_and_never_fewer_rows() {
    for part in 0..16 {
        let (_parent, folder) = filled();
        std::fs::remove_file(folder.join("clean")).expect("the mark is there after a close");
        let path = database_file(&folder);
        let file = std::fs::File::options().write(true).open(&path).expect("it is there");
        let length = file.metadata().expect("it is there").len();
        file.write_all_at(&[0xa5; 3_000], length / 16 * part).expect("it is writable");
        // sled may drop what it cannot read without a word, but then the store must not open with less.
        match open(&folder) {
            Ok(store) => assert_eq!(store.count(&PLAIN), 500, "part {part}"),
            Err(reason) => assert!(matches!(reason, StoreError::Damaged { .. }), "part {part}: {reason:?}"),
        }
        rebuild(&folder, &kept_export(&folder)).expect("the export is as good as before");
        assert_eq!(open(&folder).expect("the rebuilt database opens").count(&PLAIN), 500);
    }
}

#[test]
fn a_damaged_or_missing_journal_is_an_error_and_what_only_it_has_is_not_lost_unnoticed() {
    for damaged in [true, false] {
        let (_parent, folder) = filled();
        let store = open(&folder).expect("it opens");
        for n in 500..520 {
            let put = store.transaction::<_, StoreError>(|tx| tx.insert(&PLAIN, &n.to_string(), "v".into()));
            put.expect("it commits").1.wait_durable().expect("it is durable");
        }
        let copy = folder.with_file_name("copy");
        as_a_kill_leaves_it(&folder, &copy);
        assert_eq!(open(&copy).expect("the journal is read").count(&PLAIN), 520);
        std::fs::remove_dir_all(&copy).expect("it is ours");
        as_a_kill_leaves_it(&folder, &copy);
        let journal = copy.join("sled/journal");
        if damaged {
            let file = std::fs::File::options().write(true).open(&journal).expect("it is there");
            file.write_all_at(&[0xa5; 600], 3_000).expect("it is writable");
        } else {
            std::fs::remove_file(&journal).expect("it is there");
        }
        let refused = open(&copy).expect_err("records are missing");
        assert!(matches!(refused, StoreError::Damaged { .. }), "{refused:?}");
        open(&copy).expect_err("records are still missing");
        rebuild(&copy, &kept_export(&copy)).expect("the export is as good as before");
        assert_eq!(open(&copy).expect("the rebuilt database opens").count(&PLAIN), 500);
    }
}

#[test]
fn an_export_that_was_cut_or_changed_is_refused_before_anything_is_touched() {
    let (_parent, folder) = filled();
    let export = kept_export(&folder);
    let text = std::fs::read_to_string(&export).expect("a close leaves an export");
    assert_eq!(verify(&export).expect("it is whole").rows, 500);
    let copy = folder.join("copy.jsonl");
    for damaged in
        [text.replacen("vvvv", "vvwv", 1), text[..text.len() / 2].to_owned(), text.replace(":1,", ";1,")]
    {
        std::fs::write(&copy, damaged).expect("it is writable");
        verify(&copy).expect_err("it is not whole");
        rebuild(&folder, &copy).expect_err("it is not whole");
    }
    assert_eq!(open(&folder).expect("nothing was touched").count(&PLAIN), 500);
}

#[test]
fn two_daemons_cannot_use_one_folder() {
    let (_parent, folder) = filled();
    let first = open(&folder).expect("it opens");
    let refused = open(&folder).expect_err("it is in use");
    assert!(refused.to_string().starts_with("another daemon uses the folder"));
    rebuild(&folder, &kept_export(&folder)).expect_err("it is in use");
    drop(first);
    open(&folder).expect("it is free again");
}
