//! What every driver does, whatever it is made of. Each check gets a fresh folder; a driver passes all or none.

use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::path::Path;

use gantry_snapshot::{Committed, SnapshotError, SnapshotKind, Snapshotter};
use gantry_types::{Class, Classified as _, SnapshotKey};

/// Opens the driver under test over a folder.
type Open = dyn Fn(&Path) -> Box<dyn Snapshotter>;

/// Runs every check.
pub(crate) fn run(open: &Open) {
    type Check = fn(&Open, &Path);
    let checks: [(&str, Check); 7] = [
        ("layers are immutable by name and may be committed twice", layers_commit_once),
        ("a race of two pulls has two winners", race_has_two_winners),
        ("a snapshot stands on its layers, top first", snapshot_stands_on_layers),
        ("a snapshot is made once and found again", snapshot_is_made_once),
        ("a missing parent is named", missing_parent_is_named),
        ("removal takes the name at once and the bytes later", removal_in_two_steps),
        ("leftovers of a crash are deleted and nothing else", cleanup_takes_leftovers),
    ];
    for (name, check) in checks {
        let folder = tempfile::tempdir().expect("a folder");
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            check(open, &folder.path().join("driver"));
        }));
        assert!(result.is_ok(), "failed: {name}");
    }
}

/// A key from a plain word.
pub(crate) fn key(text: &str) -> SnapshotKey {
    text.parse().expect("a word is a key")
}

/// Commits a layer of small files.
pub(crate) fn layer(driver: &dyn Snapshotter, name: &str, files: &[(&str, &str)]) -> SnapshotKey {
    let key = key(name);
    let prepared = driver.prepare_layer(&key).expect("prepares");
    fill(prepared.as_fd(), files);
    driver.sync().expect("flushes");
    driver.commit_layer(prepared).expect("commits");
    key
}

fn fill(root: std::os::fd::BorrowedFd<'_>, files: &[(&str, &str)]) {
    use rustix::fs::{Mode, OFlags};
    for (name, text) in files {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(root, *name, flags, Mode::from_raw_mode(0o644)).expect("makes a file");
        std::fs::File::from(fd).write_all(text.as_bytes()).expect("writes");
    }
}

fn layers_commit_once(open: &Open, folder: &Path) {
    let driver = open(folder);
    let base = layer(&*driver, "base", &[("file", "first")]);
    assert_eq!(driver.kind(&base).expect("kind"), Some(SnapshotKind::Layer));
    let again = driver.prepare_layer(&base).expect("a known layer may be prepared");
    fill(again.as_fd(), &[("file", "second")]);
    assert_eq!(driver.commit_layer(again).expect("commits"), Committed::AlreadyThere);
    let rootfs = driver.create(&key("box"), std::slice::from_ref(&base)).expect("creates");
    assert_eq!(std::fs::read_to_string(rootfs.top().join("file")).expect("reads"), "first");
    // A new driver over the same folder finds the same.
    assert_eq!(open(folder).kind(&base).expect("kind"), Some(SnapshotKind::Layer));
}

fn race_has_two_winners(open: &Open, folder: &Path) {
    let driver = open(folder);
    let results: Vec<Committed> = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let prepared = driver.prepare_layer(&key("base")).expect("prepares");
                    fill(prepared.as_fd(), &[("file", "same")]);
                    driver.sync().expect("flushes");
                    driver.commit_layer(prepared).expect("commits")
                })
            })
            .collect();
        racers.into_iter().map(|racer| racer.join().expect("no panic")).collect()
    });
    assert_eq!(results.iter().filter(|result| **result == Committed::New).count(), 1);
    assert_eq!(driver.cleanup().expect("cleans"), 0, "losers clean up after themselves");
}

fn snapshot_stands_on_layers(open: &Open, folder: &Path) {
    let driver = open(folder);
    let parents = [
        layer(&*driver, "l1", &[("one", "1")]),
        layer(&*driver, "l2", &[("two", "2")]),
        layer(&*driver, "l3", &[]),
    ];
    let rootfs = driver.create(&key("box"), &parents).expect("creates");
    // What the driver itself has is below the layers, as it is where there are none.
    let own = driver.create(&key("bare"), &[]).expect("creates").lower;
    assert_eq!(rootfs.lower[3..], own);
    assert!(rootfs.lower[1].join("two").exists() && rootfs.lower[2].join("one").exists());
    assert!(rootfs.lower.iter().all(|path| path.is_absolute()));
    assert_eq!(std::fs::read_dir(&rootfs.upper).expect("upper").count(), 0);
    assert_eq!(driver.describe(&key("box"), &parents).expect("describes"), rootfs);
    let usage = driver.usage(&parents[0]).expect("usage");
    assert!(usage.inodes >= 2);
}

fn snapshot_is_made_once(open: &Open, folder: &Path) {
    let driver = open(folder);
    let base = layer(&*driver, "base", &[]);
    driver.create(&key("box"), std::slice::from_ref(&base)).expect("creates");
    let twice = driver.create(&key("box"), std::slice::from_ref(&base)).expect_err("exists");
    assert_eq!(twice.class(), Class::AlreadyExists);
    let mut listed = driver.list().expect("lists");
    listed.sort_by(|a, b| a.key.cmp(&b.key));
    let found: Vec<_> = listed.iter().map(|line| (line.key.as_str(), line.kind)).collect();
    assert_eq!(found, [("base", SnapshotKind::Layer), ("box", SnapshotKind::Active)]);
}

fn missing_parent_is_named(open: &Open, folder: &Path) {
    let driver = open(folder);
    let base = layer(&*driver, "base", &[]);
    driver.create(&key("box"), std::slice::from_ref(&base)).expect("creates");
    for bad in ["nothing", "box"] {
        let error = driver.create(&key("other"), &[base.clone(), key(bad)]).expect_err("refused");
        assert!(matches!(&error, SnapshotError::Parent { parent, .. } if parent.as_str() == bad), "{error}");
        assert_eq!(error.class(), Class::FailedPrecondition);
        assert_eq!(driver.kind(&key("other")).expect("kind"), None, "nothing is half done");
    }
}

fn removal_in_two_steps(open: &Open, folder: &Path) {
    let driver = open(folder);
    let base = layer(&*driver, "base", &[("a", "1"), ("b", "2")]);
    let removal = driver.remove(&base).expect("removes");
    assert_eq!(driver.kind(&base).expect("kind"), None);
    assert!(driver.list().expect("lists").is_empty());
    assert_eq!(driver.remove(&base).expect_err("gone").class(), Class::NotFound);
    // The name is free at once.
    layer(&*driver, "base", &[("c", "3")]);
    removal.finish().expect("deletes");
    assert_eq!(driver.cleanup().expect("cleans"), 0);
    assert_eq!(driver.kind(&base).expect("kind"), Some(SnapshotKind::Layer));
    assert_eq!(driver.usage(&key("nothing")).expect_err("nothing").class(), Class::NotFound);
}

fn cleanup_takes_leftovers(open: &Open, folder: &Path) {
    let driver = open(folder);
    let base = layer(&*driver, "base", &[("a", "1")]);
    let other = layer(&*driver, "other", &[("a", "1")]);
    driver.create(&key("box"), std::slice::from_ref(&base)).expect("creates");
    let unfinished = driver.prepare_layer(&key("next")).expect("prepares");
    fill(unfinished.as_fd(), &[("half", "1")]);
    drop(unfinished);
    drop(driver.remove(&other).expect("removes"));
    drop(driver);
    let driver = open(folder);
    assert_eq!(driver.cleanup().expect("cleans"), 2);
    assert_eq!(driver.cleanup().expect("cleans"), 0);
    assert_eq!(driver.list().expect("lists").len(), 2);
    assert_eq!(driver.kind(&base).expect("kind"), Some(SnapshotKind::Layer));
}
