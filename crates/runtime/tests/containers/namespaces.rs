//! User and time namespaces, and namespaces that are joined by path: mappings, shifted files, devices that
//! cannot be made, clocks.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use gantry_linux::Errno;
use gantry_linux::mount::{self, Propagation};
use gantry_linux::namespace::{Namespaces, unshare};
use gantry_runtime::execute::{self, Operation, Stdio};
use gantry_runtime::plan;
use gantry_types::Classified as _;
use serde_json::{Value, json};

use crate::support::{Bundle, Started, pipes};

const MAPPED: u32 = 700_000;

/// A bundle in a user namespace whose root filesystem is shifted.
fn mapped() -> Option<Bundle> {
    let mut bundle = Bundle::new_or_skip()?;
    let map = json!([{"containerID": 0, "hostID": MAPPED, "size": 65536}]);
    bundle.spec["linux"]["uidMappings"] = map.clone();
    bundle.spec["linux"]["gidMappings"] = map;
    namespaces(&mut bundle.spec).push(json!({"type": "user"}));
    bundle.id_mapped = true;
    Some(bundle)
}

fn namespaces(spec: &mut Value) -> &mut Vec<Value> {
    spec["linux"]["namespaces"].as_array_mut().expect("a list")
}

fn set(spec: &mut Value, kind: &str, path: &str) {
    let list = namespaces(spec);
    list.retain(|one| one["type"] != kind);
    list.push(json!({"type": kind, "path": path}));
}

#[test]
fn a_container_in_a_user_namespace_is_root_inside_and_nobody_outside() {
    let Some(bundle) = mapped() else { return };
    let script = "id -u; stat -c %u:%g /bin/busybox; touch /made; stat -c %u /made; \
                  echo x >/dev/null && head -c 1 /dev/zero | wc -c; cat /proc/self/uid_map";
    let outcome = bundle.run(&["sh", "-c", script]);
    let words: Vec<_> = outcome.stdout.split_whitespace().collect();
    assert_eq!(words, ["0", "0:0", "0", "1", "0", "700000", "65536"], "{outcome:?}");
    let made = fs::metadata(bundle.host("upper/made")).expect("it is in the upper folder");
    assert_eq!((made.uid(), made.gid()), (0, 0), "shifted back on the disk");
}

#[test]
fn devices_in_a_user_namespace_have_the_modes_and_owners_that_were_asked_for() {
    let Some(mut bundle) = mapped() else { return };
    // The host has no such path: the node is nobody's but the container's.
    bundle.spec["linux"]["devices"] = json!([{"path": "/dev/own", "type": "c", "major": 1, "minor": 7, "fileMode": 0o640, "uid": 5, "gid": 6}]);
    let script = "stat -c '%t:%T %a %u:%g' /dev/own /dev/null; grep -c ' /dev/own .*nosuid.*noexec' /proc/self/mountinfo; \
                  chmod 600 /dev/null && echo mine; echo x >/dev/null; grep -c ' / / ' /proc/self/mountinfo";
    let outcome = bundle.run(&["sh", "-c", script]);
    assert_eq!(outcome.stdout, "1:7 640 5:6\n1:3 666 0:0\n1\nmine\n1\n", "{outcome:?}");
    let host = fs::metadata("/dev/null").expect("the host's");
    assert_eq!(host.mode() & 0o777, 0o666, "the host's node is another one");
}

#[test]
fn limits_and_another_user_work_in_a_user_namespace() {
    let Some(mut bundle) = mapped() else { return };
    bundle.spec["process"]["user"] = json!({"uid": 1000, "gid": 1000, "additionalGids": [5]});
    bundle.spec["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 88}]);
    let outcome = bundle.run(&["sh", "-c", "id -u; id -G; ulimit -n; echo err >/dev/stderr"]);
    assert_eq!(outcome.stdout, "1000\n1000 5\n77\n", "{outcome:?}");
    assert_eq!(outcome.stderr, "err\n");
}

#[test]
fn a_bind_mount_is_shifted_by_its_own_mapping_or_by_the_containers() {
    let Some(mut bundle) = mapped() else { return };
    let source = bundle.host("shared");
    fs::create_dir(&source).expect("create_dir");
    fs::write(source.join("file"), "x").expect("write");
    let bind = |destination: &str, options: Value, more: Value| {
        let mut mount =
            json!({"destination": destination, "type": "bind", "source": source, "options": options});
        mount.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        mount
    };
    let own = json!([{"containerID": 0, "hostID": MAPPED + 7, "size": 1}]);
    let mounts = bundle.spec["mounts"].as_array_mut().expect("a list");
    mounts.push(bind("/plain", json!(["bind"]), json!({})));
    mounts.push(bind("/shifted", json!(["bind", "idmap"]), json!({})));
    mounts.push(bind("/own", json!(["rbind", "ridmap"]), json!({"uidMappings": own, "gidMappings": own})));
    let option = format!("idmap=uids=0-{0}-1;gids=0-{0}-1", MAPPED + 9);
    mounts.push(bind("/inline", json!(["bind", option]), json!({})));
    mounts.push(bind("/relative", json!(["bind", "idmap=uids=@0-11-1;gids=@0-11-1"]), json!({})));
    let files = ["/plain/file", "/shifted/file", "/own/file", "/inline/file", "/relative/file"];
    let outcome = bundle.run(&[&["stat", "-c", "%u"], &files[..]].concat());
    assert_eq!(outcome.stdout, "65534\n0\n7\n9\n11\n", "{outcome:?}");
    assert_eq!(fs::metadata(source.join("file")).expect("stat").uid(), 0, "nothing was changed on the disk");
}

#[test]
fn a_joined_process_is_in_the_user_namespace_too_and_may_have_a_terminal() {
    let Some(bundle) = mapped() else { return };
    let mut started = bundle.start(&["sh", "-c", "echo ready; exec sleep 60"]).expect("it starts");
    started.read_line();
    let process = json!({"user": {"uid": 0, "gid": 0}, "args": ["sh", "-c", "id -u; readlink /proc/self/ns/user"],
                         "env": ["PATH=/bin"], "cwd": "/"});
    let process = serde_json::from_value(process).expect("a process");
    let mut plan = plan::compile_exec(&bundle.plan(&["true"]), &process, None).expect("compiles");
    let (stdio, stdout, stderr) = pipes();
    let joined = execute::exec(&plan, started.process.pidfd.as_fd(), None, stdio).expect("joined");
    let outcome = Started::new(joined, stdout, stderr).outcome();
    let words: Vec<_> = outcome.stdout.split_whitespace().collect();
    let expected = fs::read_link(format!("/proc/{}/ns/user", started.process.pid)).expect("readlink");
    assert_eq!(words, ["0", expected.to_str().expect("utf-8")], "{outcome:?}");
    plan.process.as_mut().expect("a process").terminal = Some(plan::Terminal { rows: 3, columns: 4 });
    let joined = execute::exec(&plan, started.process.pidfd.as_fd(), None, Stdio::Terminal).expect("joined");
    assert!(joined.terminal.is_some());
    gantry_linux::wait::wait_pidfd(joined.pidfd.as_fd()).expect("waitid");
    started.kill();
}

#[test]
fn every_kind_of_namespace_can_be_joined_by_its_path() {
    let Some(first) = Bundle::new_or_skip() else { return };
    let mut started = first.start(&["sh", "-c", "echo ready; exec sleep 60"]).expect("it starts");
    started.read_line();
    let path = |name: &str| format!("/proc/{}/ns/{name}", started.process.pid);
    for (kind, name) in [
        ("pid", "pid"),
        ("network", "net"),
        ("ipc", "ipc"),
        ("uts", "uts"),
        ("cgroup", "cgroup"),
        ("time", "time"),
    ] {
        let Some(mut second) = Bundle::new_or_skip() else { return };
        if kind == "uts" {
            second.spec.as_object_mut().expect("an object").remove("hostname");
        }
        set(&mut second.spec, kind, &path(name));
        let outcome = second.run(&["readlink", &format!("/proc/self/ns/{name}")]);
        let expected = fs::read_link(path(name)).expect("readlink");
        assert_eq!(outcome.stdout.trim(), expected.to_str().expect("utf-8"), "{kind}: {outcome:?}");
    }
    started.kill();
}

#[test]
fn a_user_namespace_is_joined_with_or_without_others_of_its_own() {
    let Some(first) = mapped() else { return };
    let mut started = first.start(&["sh", "-c", "echo ready; exec sleep 60"]).expect("it starts");
    started.read_line();
    let path = |name: &str| format!("/proc/{}/ns/{name}", started.process.pid);
    for others in [&[][..], &["network", "ipc", "pid"]] {
        let Some(mut second) = Bundle::new_or_skip() else { return };
        second.id_mapped = true;
        set(&mut second.spec, "user", &path("user"));
        for kind in others {
            set(&mut second.spec, kind, &path(if *kind == "network" { "net" } else { kind }));
        }
        let outcome =
            second.run(&["sh", "-c", "readlink /proc/self/ns/user; id -u; touch /made && echo made"]);
        let expected = fs::read_link(path("user")).expect("readlink");
        assert_eq!(outcome.stdout, format!("{}\n0\nmade\n", expected.display()), "{others:?}: {outcome:?}");
    }
    started.kill();
}

#[test]
fn a_passed_network_namespace_is_joined_from_a_user_namespace() {
    let Some(mut bundle) = mapped() else { return };
    let made = std::thread::spawn(|| {
        gantry_linux::namespace::unshare(Namespaces::NETWORK).expect("unshare");
        gantry_linux::namespace::open_own(Namespaces::NETWORK).expect("open")
    });
    let made = made.join().expect("the thread ends well");
    let inode = rustix::fs::fstat(&made).expect("fstat").st_ino;
    bundle.passed = vec![plan::NamespaceKind::Network];
    // The kernel shows a sysfs only to who owns the network namespace.
    let mounts = bundle.spec["mounts"].as_array_mut().expect("a list");
    mounts.retain(|mount| !mount["destination"].as_str().is_some_and(|path| path.starts_with("/sys")));
    let plan = bundle.plan(&["readlink", "/proc/self/ns/net"]);
    let (stdio, stdout, stderr) = pipes();
    let namespaces = vec![(plan::NamespaceKind::Network, made)];
    let input = execute::Input { namespaces, ..execute::Input::from(stdio) };
    let running = execute::create(&plan, input).expect("created").start().expect("started");
    let mut started = Started::new(running.process, stdout, stderr);
    started.cgroup = running.cgroup;
    assert_eq!(started.outcome().stdout, format!("net:[{inode}]\n"));
}

#[test]
fn clocks_are_set_off_in_a_time_namespace() {
    for user in [false, true] {
        let Some(mut bundle) = (if user { mapped() } else { Bundle::new_or_skip() }) else { return };
        namespaces(&mut bundle.spec).push(json!({"type": "time"}));
        bundle.spec["linux"]["timeOffsets"] = json!({"boottime": {"secs": 1_000_000_000}});
        let outcome = bundle.run(&["cat", "/proc/uptime"]);
        let uptime: f64 =
            outcome.stdout.split(' ').next().and_then(|text| text.parse().ok()).expect("seconds");
        assert!(uptime > 1e9, "{outcome:?}");
        let joined = bundle.run(&[
            "sh",
            "-c",
            "test $(readlink /proc/self/ns/time) = $(readlink /proc/self/ns/time_for_children)",
        ]);
        assert_eq!(joined.code, 0, "{joined:?}");
    }
}

#[test]
fn a_network_device_of_the_host_becomes_the_containers_with_its_address() {
    let Some(mut bundle) = Bundle::new_or_skip() else { return };
    // A namespace of the test's own plays the host, on a thread of its own: no link of the machine is touched.
    std::thread::spawn(move || {
        gantry_linux::namespace::unshare(Namespaces::NETWORK).expect("unshare");
        let ip = |words: &str| {
            let status = command("ip", words);
            assert!(status, "ip {words}");
        };
        if !command("ip", "link add gvtest0 type veth peer name gvtest1") {
            return crate::support::skip("no veth links here");
        }
        ip("addr add 192.0.2.7/24 dev gvtest0");
        ip("link set gvtest0 up");
        bundle.spec["linux"]["netDevices"] = json!({"gvtest0": {"name": "eth7"}});
        let outcome = bundle.run(&["ifconfig", "eth7"]);
        assert!(
            outcome.stdout.contains("inet addr:192.0.2.7") && outcome.stdout.contains("UP"),
            "{outcome:?}"
        );
        bundle.spec["linux"]["netDevices"] = json!({"absent0": {}});
        let error = bundle.refuse(&["true"]);
        assert_eq!((error.operation, error.object.as_str()), (execute::Operation::NetDevice, "absent0"));
    })
    .join()
    .expect("the thread ends well");
}

/// Whether a programme of the machine succeeds.
fn command(name: &str, words: &str) -> bool {
    #[expect(clippy::disallowed_methods, reason = "a test's own preparation")]
    let mut command = std::process::Command::new(name);
    command
        .args(words.split(' '))
        .stderr(std::process::Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

#[test]
fn a_root_that_is_no_mount_point_is_told_with_what_makes_it_one() {
    let Some(bundle) = Bundle::new_or_skip() else { return };
    // The plan's paths lead to the bundle from inside, too.
    let folder = bundle.folder().to_owned();
    let inside = bundle.host(folder.to_str().expect("utf-8").trim_start_matches('/'));
    fs::create_dir_all(inside.parent().expect("not the root")).expect("create_dir_all");
    std::os::unix::fs::symlink("/", inside).expect("symlink");
    let refused = std::thread::spawn(move || {
        enter_chroot(&folder);
        // Given back, because it is to be removed from outside.
        (bundle.refuse(&["true"]), bundle)
    });
    let (error, _bundle) = refused.join().expect("the thread");
    assert_eq!((error.operation, error.errno), (Operation::Propagation, Errno::INVAL), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("mount --bind")), "{error}");
}

/// Makes a folder the calling thread's root, with the kernel's file systems in it, and nothing of that anybody else's.
fn enter_chroot(folder: &Path) {
    unshare(Namespaces::MOUNT).expect("a mount namespace");
    mount::set_propagation(c"/", Propagation::Private, true).expect("private");
    for name in ["proc", "sys", "dev"] {
        let host = fs::File::open(Path::new("/").join(name)).expect("the host's");
        let copy = mount::clone_tree(host.as_fd(), true).expect("a copy");
        fs::create_dir_all(folder.join(name)).expect("a folder");
        let place = fs::File::open(folder.join(name)).expect("the folder");
        mount::attach(copy.as_fd(), place.as_fd()).expect("attached");
    }
    rustix::process::chroot(folder).expect("chroot");
    rustix::process::chdir("/").expect("chdir");
}
