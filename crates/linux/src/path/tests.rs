use super::*;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::atomic::{AtomicBool, Ordering};

/// A root with a canary beside it that nothing may touch.
struct Hostile {
    base: tempfile::TempDir,
    root: RootDir,
}

fn hostile() -> Hostile {
    let base = tempfile::tempdir().expect("a temporary folder");
    fs::create_dir(base.path().join("root")).expect("create_dir");
    fs::create_dir(base.path().join("canary")).expect("create_dir");
    let root = RootDir::open_host(&base.path().join("root")).expect("open");
    Hostile { base, root }
}

impl Hostile {
    fn inside(&self, path: &str) -> std::path::PathBuf {
        self.base.path().join("root").join(path)
    }

    fn canary_is_untouched(&self) -> bool {
        fs::read_dir(self.base.path().join("canary")).expect("read_dir").next().is_none()
    }
}

#[test]
fn links_out_of_the_root_lead_back_into_it() {
    let hostile = hostile();
    let canary = hostile.base.path().join("canary");
    symlink(&canary, hostile.inside("absolute")).expect("symlink");
    symlink("../canary", hostile.inside("relative")).expect("symlink");
    for link in ["absolute", "relative"] {
        let path = format!("{link}/file");
        assert!(hostile.root.create_file(&path, 0o600).is_err(), "{path}");
        assert!(hostile.root.create_dir_all(format!("{link}/a/b"), 0o755).is_err());
        assert!(hostile.root.symlink("x", format!("{link}/c")).is_err());
    }
    assert!(hostile.canary_is_untouched());
    // The same target inside the root is where they lead.
    fs::create_dir(hostile.inside("canary")).expect("create_dir");
    hostile.root.create_file("relative/file", 0o600).expect("inside");
    assert!(hostile.inside("canary/file").is_file());
    assert!(hostile.canary_is_untouched());
}

#[test]
fn magic_links_are_refused() {
    let hostile = hostile();
    symlink("/proc/self/root", hostile.inside("magic")).expect("symlink");
    assert!(hostile.root.open("magic/etc").is_err());
    let host = RootDir::open_host(Path::new("/")).expect("open");
    assert_eq!(host.open("/proc/self/root").expect_err("magic").errno, Errno::LOOP);
    assert_eq!(host.open("/proc/self/exe").expect_err("magic").errno, Errno::LOOP);
}

#[test]
fn missing_folders_are_made_with_the_mode_asked_for() {
    let hostile = hostile();
    hostile.root.create_dir_all("/a/b/c", 0o751).expect("made");
    let mode =
        |path: &str| fs::metadata(hostile.inside(path)).expect("metadata").permissions().mode() & 0o7777;
    assert_eq!((mode("a"), mode("a/b/c")), (0o751, 0o751));
    hostile.root.create_dir_all("/a/b", 0o700).expect("there already");
    assert_eq!(mode("a/b"), 0o751);
    fs::write(hostile.inside("file"), "").expect("write");
    assert_eq!(hostile.root.create_dir_all("file/x", 0o755).expect_err("a file").errno, Errno::NOTDIR);
    assert!(hostile.root.create_dir_all("../x", 0o755).is_err());
}

#[test]
fn a_file_to_read_is_a_regular_file_of_bounded_size() {
    let hostile = hostile();
    fs::write(hostile.inside("passwd"), "root:x:0:0").expect("write");
    let open = |path: &str| hostile.root.open_file(path);
    assert_eq!(read_bounded(open("passwd").expect("open"), 10).expect("read"), b"root:x:0:0");
    assert_eq!(read_bounded(open("passwd").expect("open"), 9).expect_err("long").errno, Errno::FBIG);
    rustix::fs::mknodat(rustix::fs::CWD, hostile.inside("fifo"), FileType::Fifo, Mode::RWXU, 0)
        .expect("mkfifo");
    assert_eq!(open("fifo").expect_err("a fifo").errno, Errno::INVAL);
    assert_eq!(open("/").expect_err("a folder").errno, Errno::INVAL);
}

#[test]
fn a_device_node_is_what_was_asked_for() {
    if !crate::testing::is_root_or_skipped() {
        return;
    }
    let hostile = hostile();
    let null = Node::Character { major: 1, minor: 3 };
    hostile.root.make_node("dev/null", null, 0o666).expect("mknod");
    let handle = hostile.root.open("dev/null").expect("open");
    verify_node(handle.as_fd(), null).expect("it is");
    assert!(verify_node(handle.as_fd(), Node::Character { major: 1, minor: 5 }).is_err());
    assert!(verify_node(handle.as_fd(), Node::Block { major: 1, minor: 3 }).is_err());
    let mode = fs::metadata(hostile.inside("dev/null")).expect("metadata").permissions().mode();
    assert_eq!(mode & 0o777, 0o666);
    assert_eq!(
        hostile.root.make_node("dev/null", null, 0o666).expect_err("there already").errno,
        Errno::EXIST
    );
}

#[test]
fn a_racer_that_swaps_a_folder_for_a_link_never_gets_a_file_outside() {
    let hostile = hostile();
    let stop = AtomicBool::new(false);
    let (target, link) = (hostile.inside("dir"), hostile.inside("link"));
    fs::create_dir(&target).expect("create_dir");
    symlink("../canary", &link).expect("symlink");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                let cwd = rustix::fs::CWD;
                rustix::fs::renameat_with(cwd, &target, cwd, &link, flags).expect("renameat2");
            }
        });
        for round in 0..2000 {
            // Either outcome is right; only the canary counts.
            let _ = hostile.root.create_dir_all(format!("dir/{round}/x"), 0o755);
            let _ = hostile.root.create_file(format!("dir/file{round}"), 0o600);
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(hostile.canary_is_untouched());
}
