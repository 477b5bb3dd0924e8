//! Scheduling, personality, the filter's listener, the mounts' finer points.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;

use gantry_runtime::execute::Operation;
use gantry_runtime::seccomp;
use serde_json::{Value, json};

use crate::support::Bundle;

#[test]
fn scheduling_and_personality_are_the_specs() {
    let Some(mut bundle) = Bundle::new_or_skip() else { return };
    bundle.spec["process"]["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 7});
    bundle.spec["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_IDLE", "priority": 0});
    bundle.spec["linux"]["personality"] = json!({"domain": "LINUX32"});
    bundle.spec["linux"]["memoryPolicy"] = json!({"mode": "MPOL_BIND", "nodes": "0"});
    let script = "cut -d' ' -f19,41 /proc/self/stat; uname -m; cat /proc/self/personality; grep -m1 -o bind:0 /proc/self/numa_maps";
    let outcome = bundle.run(&["sh", "-c", script]);
    let lines: Vec<_> = outcome.stdout.lines().collect();
    assert_eq!(lines[0], "7 3", "nice and policy: {outcome:?}");
    assert!(["i686", "armv8l"].contains(&lines[1]), "{outcome:?}");
    assert_eq!(lines[2], "00000008");
    if lines.len() > 3 {
        assert_eq!(lines[3], "bind:0");
    }
}

#[test]
fn a_tmpfs_that_is_told_no_mode_has_that_of_the_folder_it_covers() {
    let Some(mut bundle) = Bundle::new_or_skip() else { return };
    fs::create_dir(bundle.lower("there")).expect("create_dir");
    fs::set_permissions(bundle.lower("there"), fs::Permissions::from_mode(0o2712)).expect("chmod");
    let mounts = bundle.spec["mounts"].as_array_mut().expect("mounts");
    mounts.push(json!({"destination": "/there", "type": "tmpfs", "source": "tmpfs", "options": ["ro"]}));
    mounts.push(json!({"destination": "/told", "type": "tmpfs", "source": "tmpfs", "options": ["mode=700"]}));
    mounts.push(json!({"destination": "/missing", "type": "tmpfs", "source": "tmpfs"}));
    let outcome = bundle.run(&["stat", "-c", "%a", "/there", "/told", "/missing"]);
    assert_eq!(outcome.stdout, "2712\n700\n1777\n", "{outcome:?}");
}

#[test]
fn a_label_without_its_security_module_is_a_clear_error() {
    if std::path::Path::new("/sys/kernel/security/apparmor").exists() {
        return crate::support::skip("the kernel has AppArmor");
    }
    let Some(mut bundle) = Bundle::new_or_skip() else { return };
    bundle.spec["process"]["apparmorProfile"] = json!("some-profile");
    let error = bundle.refuse(&["true"]);
    assert_eq!((error.operation, error.object.as_str()), (Operation::Label, "some-profile"));
}

#[test]
fn the_filters_listener_goes_to_its_socket_with_the_state() {
    let Some(mut bundle) = Bundle::new_or_skip() else { return };
    let path = bundle.host("listener");
    let listener = UnixListener::bind(&path).expect("bind");
    let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": path, "listenerMetadata": "mine",
                         "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]});
    bundle.filter = Some(
        seccomp::compile(&serde_json::from_value(profile.clone()).expect("a profile")).expect("a filter"),
    );
    bundle.spec["linux"]["seccomp"] = profile;
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("accept");
        let mut buffer = [0; 4096];
        let received =
            gantry_linux::socket::receive(std::os::fd::AsFd::as_fd(&stream), &mut buffer).expect("receive");
        let mut text = String::from_utf8_lossy(&buffer[..received.length]).into_owned();
        stream.read_to_string(&mut text).expect("utf-8");
        (received.descriptors.len(), text)
    });
    let outcome = bundle.run(&["true"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let (descriptors, text) = answering.join().expect("the thread ends well");
    let state: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(descriptors, 1);
    assert_eq!((&state["fds"], &state["metadata"]), (&json!(["seccompFd"]), &json!("mine")));
    assert_eq!((&state["state"]["id"], &state["state"]["status"]), (&json!("box"), &json!("creating")));
    assert_eq!(state["pid"], state["state"]["pid"]);
}

#[test]
fn a_tmpfs_begins_with_what_the_image_has_there_if_asked() {
    let Some(mut bundle) = Bundle::new_or_skip() else { return };
    fs::create_dir_all(bundle.lower("etc/inner")).expect("create_dir_all");
    fs::write(bundle.lower("etc/inner/file"), "kept").expect("write");
    let mounts = bundle.spec["mounts"].as_array_mut().expect("a list");
    mounts.push(json!({"destination": "/etc", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]}));
    let outcome =
        bundle.run(&["sh", "-c", "cat /etc/inner/file; grep -c ' /etc tmpfs ' /proc/mounts; touch /etc/new"]);
    assert_eq!(outcome.stdout, "kept1\n", "{outcome:?}");
    assert!(!bundle.host("upper/etc").exists(), "nothing was written to the layer");
}

#[test]
fn the_root_mount_has_the_propagation_that_was_asked_for() {
    for (word, shown) in [("shared", "shared:"), ("unbindable", "unbindable"), ("private", ""), ("slave", "")]
    {
        let Some(mut bundle) = Bundle::new_or_skip() else { return };
        bundle.spec["linux"]["rootfsPropagation"] = json!(word);
        let outcome = bundle.run(&["grep", " / / ", "/proc/self/mountinfo"]);
        let optional = outcome.stdout.split_whitespace().nth(6).unwrap_or_default().trim_start_matches('-');
        assert!(
            optional.starts_with(shown) && optional.is_empty() == shown.is_empty(),
            "{word}: {outcome:?}"
        );
    }
}

#[test]
fn without_a_cgroup_namespace_the_container_sees_its_own_folders() {
    let Some(mut bundle) = Bundle::new_or_skip() else { return };
    let namespaces = bundle.spec["linux"]["namespaces"].as_array_mut().expect("a list");
    namespaces.retain(|one| one["type"] != "cgroup");
    let outcome =
        bundle.run(&["sh", "-c", "cat /sys/fs/cgroup/pids/pids.max || cat /sys/fs/cgroup/pids.max"]);
    assert_eq!(outcome.stdout, "64\n", "{outcome:?}");
}
