//! What an ordinary spec becomes, as text.

use insta::assert_snapshot;
use serde_json::json;

use crate::text::lines;
use crate::{extraordinary, legacy, ordinary, plan, smallest, unified};

#[test]
fn an_ordinary_container_on_version_2() {
    assert_snapshot!(lines(&plan(&ordinary(), unified()).expect("it compiles")));
}

#[test]
fn an_ordinary_container_on_version_1() {
    assert_snapshot!(lines(&plan(&ordinary(), legacy()).expect("it compiles")));
}

#[test]
fn a_container_whose_mounts_change_after_they_are_made() {
    let mut spec = smallest();
    spec["mounts"] = json!([
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
        {"destination": "/own", "type": "tmpfs", "source": "tmpfs", "options": ["size=1k", "nodev"]},
        {"destination": "/data", "type": "bind", "source": "/host/data", "options": ["rbind", "rslave"]},
        {"destination": "/data/new", "type": "tmpfs", "source": "tmpfs"},
        {"destination": "/data", "options": ["remount", "bind", "ro", "nosuid", "sync"]},
        {"destination": "/own", "options": ["remount", "rro", "dev", "size=2k", "rshared"]},
        {"destination": "/dev", "type": "bind", "options": ["remount", "bind", "ro", "noexec"]}
    ]);
    assert_snapshot!(lines(&plan(&spec, unified()).expect("it compiles")));
}

#[test]
fn the_options_of_a_cgroup_mount_reach_the_kernel() {
    let mut spec = smallest();
    spec["linux"]["namespaces"] = json!([{"type": "mount"}, {"type": "cgroup"}]);
    let options = json!(["ro", "nosuid", "memory_recursiveprot"]);
    spec["mounts"] = json!([{"destination": "/sys/fs/cgroup", "type": "cgroup2", "options": options}]);
    let text = lines(&plan(&spec, unified()).expect("it compiles"));
    assert!(text.contains("memory_recursiveprot"), "{text}");
}

#[test]
fn the_smallest_container() {
    assert_snapshot!(lines(&plan(&smallest(), unified()).expect("it compiles")));
}

#[test]
fn a_container_with_everything_of_version_2() {
    assert_snapshot!(lines(&plan(&extraordinary(), legacy()).expect("it compiles")));
}
