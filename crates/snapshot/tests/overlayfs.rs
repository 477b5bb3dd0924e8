//! The overlayfs driver passes the suite that every driver passes, and keeps what only overlayfs promises.

mod conformance;

use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use gantry_snapshot::{Overlayfs, SnapshotKind, Snapshotter};

#[test]
fn overlayfs_passes_the_suite() {
    conformance::run(&|folder| Box::new(Overlayfs::open(folder).expect("the folder opens")));
}

#[test]
fn a_container_root_takes_after_the_top_layer() {
    let folder = tempfile::tempdir().expect("a folder");
    let driver = Overlayfs::open(&folder.path().join("overlayfs")).expect("opens");
    let base = conformance::layer(&driver, "base", &[("a", "1")]);
    let top = conformance::key("top");
    let prepared = driver.prepare_layer(&top).expect("prepares");
    let sticky = rustix::fs::Mode::from_raw_mode(0o1770);
    let (uid, gid) = (rustix::fs::Uid::from_raw(1234), rustix::fs::Gid::from_raw(4321));
    rustix::fs::fchown(prepared.as_fd(), Some(uid), Some(gid)).expect("owner");
    rustix::fs::fchmod(prepared.as_fd(), sticky).expect("mode");
    driver.commit_layer(prepared).expect("commits");
    let rootfs = driver.create(&conformance::key("box"), &[base, top]).expect("creates");
    let made = std::fs::metadata(&rootfs.upper).expect("upper");
    assert_eq!((made.uid(), made.gid()), (1234, 4321));
    assert_eq!(made.permissions().mode() & 0o7777, 0o1770);
}

#[test]
fn what_every_container_mounts_over_is_below_the_layers_and_empty() {
    let folder = tempfile::tempdir().expect("a folder");
    let driver = Overlayfs::open(&folder.path().join("overlayfs")).expect("opens");
    let rootfs = driver.create(&conformance::key("box"), &[]).expect("creates");
    assert_eq!(rootfs.lower.len(), 1);
    for name in ["dev", "proc", "sys"] {
        assert_eq!(std::fs::read_dir(rootfs.top().join(name)).expect("a folder").count(), 0, "{name}");
    }
    for name in ["etc/hostname", "etc/hosts", "etc/resolv.conf"] {
        assert_eq!(std::fs::metadata(rootfs.top().join(name)).expect("a file").len(), 0, "{name}");
    }
}

#[test]
fn a_cut_off_creation_is_incomplete_and_can_be_removed() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("overlayfs");
    let driver = Overlayfs::open(&root).expect("opens");
    std::fs::create_dir_all(root.join("half/work")).expect("half a snapshot");
    let key = conformance::key("half");
    assert_eq!(driver.kind(&key).expect("kind"), Some(SnapshotKind::Incomplete));
    driver.remove(&key).expect("removes").finish().expect("deletes");
    assert_eq!(driver.kind(&key).expect("kind"), None);
}

#[test]
fn deleting_follows_no_symbolic_link_and_takes_any_depth() {
    let folder = tempfile::tempdir().expect("a folder");
    let canary = folder.path().join("canary");
    std::fs::create_dir(&canary).expect("canary");
    std::fs::write(canary.join("file"), "alive").expect("canary file");
    let driver = Overlayfs::open(&folder.path().join("overlayfs")).expect("opens");
    let key = conformance::key("deep");
    let prepared = driver.prepare_layer(&key).expect("prepares");
    rustix::fs::symlinkat(&canary, prepared.as_fd(), "out").expect("link");
    let mut at = prepared.as_fd().try_clone_to_owned().expect("descriptor");
    for _ in 0..2000 {
        rustix::fs::mkdirat(&at, "down", rustix::fs::Mode::from_raw_mode(0o755)).expect("folder");
        let flags = rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
        at = rustix::fs::openat(&at, "down", flags, rustix::fs::Mode::empty()).expect("opens");
    }
    driver.commit_layer(prepared).expect("commits");
    assert!(driver.usage(&key).expect("usage").inodes > 500);
    driver.remove(&key).expect("removes").finish().expect("deletes");
    assert_eq!(std::fs::read_to_string(canary.join("file")).expect("canary"), "alive");
    assert_eq!(driver.cleanup().expect("cleans"), 0);
}
