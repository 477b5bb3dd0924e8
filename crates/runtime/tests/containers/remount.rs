//! Mounts that the spec changes after it made them.

use std::fs;
use std::os::unix::fs::symlink;

use gantry_linux::Errno;
use gantry_runtime::execute::Operation;
use serde_json::{Value, json};

use crate::support::Bundle;

fn with_mounts(bundle: &mut Bundle, more: &Value) {
    let mounts = bundle.spec["mounts"].as_array_mut().expect("a list");
    mounts.extend(more.as_array().expect("a list").iter().cloned());
}

/// The options of a mount in the container's own table.
fn options_of<'a>(table: &'a str, target: &str) -> &'a str {
    let line = table.lines().rev().find(|line| line.split(' ').nth(4) == Some(target));
    line.and_then(|line| line.split(' ').nth(5)).unwrap_or_else(|| panic!("{target} in {table}"))
}

#[test]
fn a_remount_changes_what_it_names_and_nothing_else() {
    let Some(mut bundle) = Bundle::new_or_skip() else { return };
    let source = bundle.host("shared");
    fs::create_dir(&source).expect("create_dir");
    with_mounts(
        &mut bundle,
        &json!([
            {"destination": "/data", "type": "bind", "source": source, "options": ["rbind", "nosuid", "rprivate"]},
            {"destination": "/data/new", "type": "tmpfs", "source": "tmpfs", "options": ["size=64k"]},
            {"destination": "/data", "options": ["remount", "bind", "ro", "noexec"]},
            {"destination": "/data/new", "options": ["remount", "size=128k", "nodev"]},
            {"destination": "/all", "type": "tmpfs", "source": "tmpfs", "options": ["ro"]},
            {"destination": "/all", "options": ["remount", "bind", "rw"]},
            {"destination": "/dev", "options": ["remount", "ro"]}
        ]),
    );
    let script = "cat /proc/self/mountinfo; echo x > /data/x; echo x > /dev/x; echo x > /data/new/x && echo x > /all/x && echo written";
    let outcome = bundle.run(&["sh", "-c", script]);
    let table = outcome.stdout.as_str();
    assert!(options_of(table, "/data").starts_with("ro,nosuid,noexec"), "{outcome:?}");
    assert!(options_of(table, "/data/new").starts_with("rw,nodev"), "{outcome:?}");
    assert!(options_of(table, "/all").starts_with("rw"), "{outcome:?}");
    assert!(table.lines().any(|line| line.contains(" /data/new ") && line.contains("size=128k")), "{table}");
    assert!(table.ends_with("written\n"), "{outcome:?}");
    assert_eq!(outcome.stderr.matches("Read-only file system").count(), 2, "{outcome:?}");
    assert!(outcome.stderr.contains("/data/x") && outcome.stderr.contains("/dev/x"), "{outcome:?}");
}

#[test]
fn a_remount_of_every_mount_below_reaches_them() {
    let Some(mut bundle) = Bundle::new_or_skip() else { return };
    with_mounts(
        &mut bundle,
        &json!([
            {"destination": "/top", "type": "tmpfs", "source": "tmpfs"},
            {"destination": "/top/below", "type": "tmpfs", "source": "tmpfs"},
            {"destination": "/top", "options": ["remount", "rro"]}
        ]),
    );
    let outcome = bundle.run(&["sh", "-c", "echo > /top/x; echo > /top/below/x"]);
    assert_eq!(outcome.stderr.matches("Read-only file system").count(), 2, "{outcome:?}");
}

#[test]
fn where_nothing_is_mounted_there_is_nothing_to_remount() {
    for (destination, errno) in [("/tmp", Errno::INVAL), ("/missing", Errno::NOENT)] {
        let Some(mut bundle) = Bundle::new_or_skip() else { return };
        with_mounts(
            &mut bundle,
            &json!([{"destination": destination, "options": ["remount", "bind", "ro"]}]),
        );
        let error = bundle.refuse(&["true"]);
        let found = (error.operation, error.object.as_str(), error.errno);
        assert_eq!(found, (Operation::Remount, destination, errno));
    }
}

#[test]
fn a_link_of_the_image_leads_no_remount_into_procfs_or_out_of_the_root() {
    for (target, errno) in [("/proc", Errno::LOOP), ("../../../../../../tmp", Errno::INVAL)] {
        let Some(mut bundle) = Bundle::new_or_skip() else { return };
        symlink(target, bundle.lower("link")).expect("symlink");
        with_mounts(&mut bundle, &json!([{"destination": "/link", "options": ["remount", "bind", "rw"]}]));
        let error = bundle.refuse(&["true"]);
        assert_eq!((error.operation, error.errno), (Operation::Remount, errno), "{target}");
    }
}
