//! Root filesystems that an attacker made: links where folders should be, and working folders that lead out.
//! The rows of the threat table that are about the runtime are named by their number.

use std::fs;
use std::os::unix::fs::symlink;

use gantry_linux::Errno;
use gantry_runtime::execute::Operation;
use serde_json::json;

use crate::support::{Bundle, Started};

#[test]
fn a_link_at_proc_or_sys_is_refused_cve_2023_27561() {
    for name in ["proc", "sys"] {
        let Some(bundle) = Bundle::new_or_skip() else { return };
        fs::remove_dir(bundle.lower(name)).expect("remove_dir");
        symlink("/tmp", bundle.lower(name)).expect("symlink");
        let error = bundle.refuse(&["true"]);
        assert_eq!((error.operation, error.errno), (Operation::Mount, Errno::LOOP), "{error}");
        assert!(error.object.ends_with(&format!("at /{name}")), "{error}");
    }
}

#[test]
fn a_link_at_dev_puts_nothing_outside_the_root_cve_2026_41579() {
    let Some(bundle) = Bundle::new_or_skip() else { return };
    let canary = bundle.host("canary");
    fs::create_dir(&canary).expect("create_dir");
    fs::write(canary.join("ptmx"), "kept").expect("write");
    fs::remove_dir(bundle.lower("dev")).expect("remove_dir");
    symlink(&canary, bundle.lower("dev")).expect("symlink");
    // The link means a folder inside the root, which is made there, or nothing; never the host's.
    let _ = bundle.start(&["true"]).map(Started::outcome);
    let left: Vec<_> =
        fs::read_dir(&canary).expect("read_dir").map(|entry| entry.expect("entry").file_name()).collect();
    assert_eq!(left, ["ptmx"]);
    assert_eq!(fs::read_to_string(canary.join("ptmx")).expect("read"), "kept");
}

#[test]
fn a_working_folder_through_a_leaked_descriptor_leads_nowhere_cve_2024_21626() {
    let Some(mut bundle) = Bundle::new_or_skip() else { return };
    // A descriptor that was left open on purpose, without close-on-exec, like a careless caller's.
    let leaked =
        rustix::fs::open("/", rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty()).expect("open");
    let number = std::os::fd::AsRawFd::as_raw_fd(&leaked);
    for fd in (3..24).chain([number]) {
        bundle.spec["process"]["cwd"] = json!(format!("/proc/self/fd/{fd}"));
        let error = bundle.refuse(&["ls", "-d", "."]);
        assert!(matches!(error.operation, Operation::WorkingDir | Operation::Folder), "{fd}: {error}");
    }
    bundle.spec["process"]["cwd"] = json!("/");
    let outcome = bundle.run(&["sh", "-c", "ls /proc/$$/fd; true"]);
    assert_eq!(outcome.stdout, "0\n1\n2\n");
}

#[test]
fn a_mount_that_a_link_leads_into_proc_is_refused() {
    let Some(mut bundle) = Bundle::new_or_skip() else { return };
    symlink("/proc/self", bundle.lower("innocent")).expect("symlink");
    let mounts = bundle.spec["mounts"].as_array_mut().expect("a list");
    mounts.push(json!({"destination": "/innocent", "type": "tmpfs", "source": "tmpfs"}));
    let error = bundle.refuse(&["true"]);
    assert_eq!((error.operation, error.errno), (Operation::Mount, Errno::LOOP), "{error}");
}

#[test]
fn the_containers_null_device_is_not_what_masks_cve_2025_31133() {
    let Some(mut bundle) = Bundle::new_or_skip() else { return };
    // Without a /dev of its own the image's is used, and its null is a link to something writable.
    fs::remove_dir(bundle.lower("dev")).expect("remove_dir");
    fs::create_dir(bundle.lower("dev")).expect("create_dir");
    symlink("/proc/sys/kernel/core_pattern", bundle.lower("dev/null")).expect("symlink");
    bundle.spec["mounts"]
        .as_array_mut()
        .expect("a list")
        .retain(|mount| !mount["destination"].as_str().expect("text").starts_with("/dev"));
    let error = bundle.refuse(&["true"]);
    assert_eq!((error.operation, error.errno), (Operation::Device, Errno::NODEV), "{error}");
}

#[test]
fn a_missing_mountpoint_below_a_dangling_link_is_not_made_cve_2024_45310() {
    let Some(mut bundle) = Bundle::new_or_skip() else { return };
    symlink("../../../escaped", bundle.lower("dangling")).expect("symlink");
    let mounts = bundle.spec["mounts"].as_array_mut().expect("a list");
    mounts.push(json!({"destination": "/dangling/x", "type": "tmpfs", "source": "tmpfs"}));
    assert_eq!(bundle.refuse(&["true"]).operation, Operation::Mount);
    assert!(!bundle.host("escaped").exists() && !bundle.host("upper/escaped").exists());
}
