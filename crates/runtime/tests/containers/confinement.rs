//! What the command cannot do: identity, capabilities, protected paths, and what the host sees of it.

use std::fs;

use gantry_runtime::plan::Seccomp;
use serde_json::json;

use crate::support::{Bundle, run_plan};

#[test]
fn capabilities_are_exactly_the_plans_and_never_inheritable() {
    let Some(bundle) = Bundle::new_or_skip() else { return };
    let outcome =
        bundle.run(&["grep", "-e", "Cap", "-e", "NoNewPrivs", "-e", "Seccomp:", "/proc/self/status"]);
    let given = "00000000000000e3";
    let expected = format!(
        "CapInh:\t0000000000000000\nCapPrm:\t{given}\nCapEff:\t{given}\nCapBnd:\t{given}\n\
         CapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t0\n"
    );
    assert_eq!(outcome.stdout, expected);
}

#[test]
fn another_user_has_no_capabilities_and_exactly_its_groups() {
    let Some(mut bundle) = Bundle::new_or_skip() else { return };
    bundle.spec["process"]["user"] = json!({"uid": 1000, "gid": 1001, "additionalGids": [1001, 1002]});
    bundle.spec["process"]["capabilities"] = json!({"bounding": ["CAP_KILL"]});
    let outcome = bundle.run(&[
        "sh",
        "-c",
        "id -u; id -g; id -G; grep -e CapEff -e CapPrm /proc/self/status; echo again > /dev/stdout",
    ]);
    let none = "0000000000000000";
    assert_eq!(outcome.stdout, format!("1000\n1001\n1001 1002\nCapPrm:\t{none}\nCapEff:\t{none}\nagain\n"));
}

#[test]
fn ambient_capabilities_reach_another_user() {
    let Some(mut bundle) = Bundle::new_or_skip() else { return };
    let kill = json!(["CAP_KILL"]);
    bundle.spec["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    bundle.spec["process"]["capabilities"] =
        json!({"bounding": kill, "effective": kill, "permitted": kill, "inheritable": kill, "ambient": kill});
    let outcome = bundle.run(&["grep", "CapEff", "/proc/self/status"]);
    assert_eq!(outcome.stdout, "CapEff:\t0000000000000020\n");
}

#[test]
fn masked_paths_are_empty_and_read_only_paths_cannot_be_written() {
    let Some(mut bundle) = Bundle::new_or_skip() else { return };
    bundle.spec["linux"]["maskedPaths"] =
        json!(["/proc/timer_list", "/proc/keys", "/etc", "/tmp", "/missing", "/bin/cat/x"]);
    fs::write(bundle.lower("etc/secret"), "x").expect("write");
    let script = "cat /proc/keys /proc/timer_list; ls /etc /tmp; touch /etc/x; \
                  echo 1 > /proc/sys/net/ipv4/ip_forward; echo x > /sys/kernel/x";
    let outcome = bundle.run(&["sh", "-c", script]);
    assert_eq!(outcome.stdout, "/etc:\n\n/tmp:\n");
    let refused = outcome.stderr.lines().filter(|line| line.contains("Read-only file system")).count();
    assert_eq!(refused, 3, "{}", outcome.stderr);
}

#[test]
fn a_read_only_root_cannot_be_written_but_what_is_mounted_on_it_can() {
    let Some(mut bundle) = Bundle::new_or_skip() else { return };
    bundle.spec["root"]["readonly"] = json!(true);
    let outcome = bundle.run(&["sh", "-c", "echo x > /file || echo > /dev/shm/file && echo done"]);
    assert_eq!(outcome.stdout, "done\n");
    assert!(outcome.stderr.contains("Read-only file system"));
}

#[test]
fn devices_are_the_default_ones_and_the_specs() {
    let Some(mut bundle) = Bundle::new_or_skip() else { return };
    bundle.spec["linux"]["devices"] = json!([{"path": "/dev/own", "type": "c", "major": 1, "minor": 7, "fileMode": 0o600, "uid": 5, "gid": 6}]);
    let outcome = bundle.run(&[
        "sh",
        "-c",
        "cd /dev; stat -c '%n %F %t:%T %a %u:%g' null own; ls; readlink fd; readlink ptmx",
    ]);
    let expected = "null character special file 1:3 666 0:0\nown character special file 1:7 600 5:6\n\
        fd\nfull\nmqueue\nnull\nown\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n\
        /proc/self/fd\npts/ptmx\n";
    assert_eq!(outcome.stdout, expected);
}

#[test]
fn a_read_only_dev_has_its_devices_and_what_is_mounted_on_it_is_writable() {
    let Some(mut bundle) = Bundle::new_or_skip() else { return };
    bundle.spec["mounts"][1]["options"].as_array_mut().expect("a list").push(json!("ro"));
    let outcome = bundle.run(&["sh", "-c", "echo > /dev/null && echo > /dev/shm/x && echo > /dev/x"]);
    assert!(outcome.stderr.contains("/dev/x: Read-only file system"), "{}", outcome.stderr);
}

#[test]
fn the_hosts_mount_table_does_not_know_the_container() {
    let Some(bundle) = Bundle::new_or_skip() else { return };
    let mut started = bundle.start(&["sh", "-c", "echo up; sleep 60"]).expect("started");
    started.read_line();
    let table = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    let folder = bundle.host("").to_str().expect("utf-8").trim_end_matches('/').to_owned();
    assert!(!table.contains(&folder), "{table}");
    let inside = fs::read_to_string(format!("/proc/{}/mountinfo", started.process.pid)).expect("mountinfo");
    assert!(
        inside.lines().next().is_some_and(|line| line.contains(" / / ") && line.contains("overlay")),
        "{inside}"
    );
    assert!(!inside.contains(" ext4 "), "nothing of the host is mounted in it: {inside}");
    started.kill();
}

#[test]
fn only_standard_descriptors_are_open_and_only_loopback_is_there() {
    let Some(bundle) = Bundle::new_or_skip() else { return };
    let outcome = bundle.run(&[
        "sh",
        "-c",
        "ls /proc/$$/fd; ifconfig -a | grep -c Link; ifconfig lo | grep -c UP; ls /proc | grep -c '^[0-9]'",
    ]);
    let lines: Vec<_> = outcome.stdout.lines().collect();
    assert_eq!(lines[..5], ["0", "1", "2", "1", "1"], "{}", outcome.stdout);
    assert!(lines[5].parse::<u32>().expect("a number") <= 4, "only its own processes are seen");
}

#[test]
fn a_bind_mount_is_read_only_or_not_as_asked() {
    let Some(mut bundle) = Bundle::new_or_skip() else { return };
    fs::create_dir(bundle.host("shared")).expect("create_dir");
    fs::write(bundle.host("shared/file"), "from the host\n").expect("write");
    let source = bundle.host("shared").to_str().expect("utf-8").to_owned();
    let mounts = bundle.spec["mounts"].as_array_mut().expect("a list");
    mounts.push(
        json!({"destination": "/new/rw", "type": "bind", "source": source, "options": ["rbind", "rw"]}),
    );
    mounts.push(
        json!({"destination": "/ro", "type": "bind", "source": source, "options": ["rbind", "ro", "rro"]}),
    );
    mounts.push(
        json!({"destination": "/one-file", "source": format!("{source}/file"), "options": ["bind", "ro"]}),
    );
    let outcome =
        bundle.run(&["sh", "-c", "cat /one-file; echo x > /new/rw/new; echo x > /ro/y; echo x > /one-file"]);
    assert_eq!(outcome.stdout, "from the host\n");
    assert_eq!(outcome.stderr.matches("Read-only file system").count(), 2, "{}", outcome.stderr);
    assert!(bundle.host("shared/new").exists() && !bundle.host("shared/y").exists());
}

#[test]
fn sysctls_are_the_containers_own() {
    let Some(mut bundle) = Bundle::new_or_skip() else { return };
    let host = fs::read_to_string("/proc/sys/kernel/shmmni").expect("sysctl");
    bundle.spec["linux"]["sysctl"] = json!({"kernel.shmmni": "77", "net.ipv4.ip_default_ttl": "33"});
    let outcome = bundle.run(&["cat", "/proc/sys/kernel/shmmni", "/proc/sys/net/ipv4/ip_default_ttl"]);
    assert_eq!(outcome.stdout, "77\n33\n");
    assert_eq!(fs::read_to_string("/proc/sys/kernel/shmmni").expect("sysctl"), host);
}

#[test]
fn a_filter_holds_with_and_without_new_privileges() {
    let Some(mut bundle) = Bundle::new_or_skip() else { return };
    for no_new_privileges in [true, false] {
        bundle.spec["process"]["noNewPrivileges"] = json!(no_new_privileges);
        let mut plan = bundle.plan(&["sh", "-c", "grep Seccomp: /proc/self/status; mkdir /x"]);
        let process = plan.process.as_mut().expect("a process");
        process.seccomp = Some(Seccomp { program: mkdir_is_refused(), flags: 0 });
        let outcome = run_plan(&plan);
        assert_eq!(outcome.stdout, "Seccomp:\t2\n");
        assert!(outcome.stderr.contains("Operation not permitted"), "{}", outcome.stderr);
    }
}

/// mkdir(2) and mkdirat(2) give EPERM, everything else goes (x86-64 and aarch64 numbers).
fn mkdir_is_refused() -> Vec<u8> {
    let (mkdir, mkdirat) = if cfg!(target_arch = "x86_64") { (83, 258) } else { (34, 34) };
    let instructions: [(u16, u8, u8, u32); 5] = [
        (0x20, 0, 0, 0),           // load the number
        (0x15, 1, 0, mkdir),       // equal: to the refusal
        (0x15, 0, 1, mkdirat),     // not equal: to the allowance
        (0x06, 0, 0, 0x0005_0001), // errno EPERM
        (0x06, 0, 0, 0x7fff_0000), // allow
    ];
    let bytes = instructions.iter().flat_map(|(code, jt, jf, k)| {
        let mut bytes = code.to_ne_bytes().to_vec();
        bytes.extend([*jt, *jf]);
        bytes.extend(k.to_ne_bytes());
        bytes
    });
    bytes.collect()
}

#[test]
fn its_control_group_is_the_root_it_sees_and_holds_its_limit() {
    let Some(bundle) = Bundle::new_or_skip() else { return };
    let script = "cat /proc/self/cgroup | grep -v ':/$'; cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/pids/pids.max; \
                  mkdir /sys/fs/cgroup/x /sys/fs/cgroup/pids/x";
    let outcome = bundle.run(&["sh", "-c", script]);
    assert_eq!(outcome.stdout, "64\n", "{}", outcome.stderr);
    let refused =
        outcome.stderr.lines().filter(|line| line.contains("mkdir") && line.contains("Read-only")).count();
    assert!(refused >= 1, "{}", outcome.stderr);
}

#[test]
fn a_container_that_does_not_start_leaves_no_control_group() {
    let Some(bundle) = Bundle::new_or_skip() else { return };
    assert_eq!(bundle.refuse(&["no-such-command"]).exit_code(), 127);
    let plan = bundle.plan(&["true"]).cgroup.expect("a control group");
    for folder in plan.folders {
        let path = format!("{}/{}", folder.mountpoint, plan.path);
        assert!(!std::path::Path::new(&path).exists(), "{path}");
    }
}
