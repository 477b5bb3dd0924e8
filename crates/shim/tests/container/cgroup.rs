//! What the control group does for the shim: all processes are reached, and the out-of-memory killer is noticed.

use std::path::Path;

use gantry_api::shim::stdio::Tag;
use gantry_api::shim::v1::request::Action;
use gantry_api::shim::v1::{KillRequest, Stdio, event};
use gantry_runtime::cgroup::{CgroupPlan, Folder, Version, Write};
use gantry_runtime::plan::{NamespaceKind, Plan};

use crate::bench::{Bench, Daemon, launch_request, open_stdin, until};

/// A group below each hierarchy that matters here, with 32 MiB of memory.
fn cgroup(test: &str) -> CgroupPlan {
    let path = format!("gantry-shim-test-{}-{test}", std::process::id());
    let write = |file: &str, value: &str, optional| Write {
        file: file.to_owned(),
        value: value.to_owned(),
        optional,
        preferred: None,
        usage: String::new(),
    };
    let folder = |mountpoint: &str, version: Version, controller: &str, writes| Folder {
        mountpoint: mountpoint.to_owned(),
        version: version.into(),
        controllers: vec![controller.to_owned()],
        writes,
    };
    let folders = if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        let writes = vec![write("memory.max", "33554432", false), write("memory.swap.max", "0", true)];
        vec![folder("/sys/fs/cgroup", Version::Unified, "memory", writes)]
    } else {
        let limit = vec![
            write("memory.limit_in_bytes", "33554432", false),
            write("memory.memsw.limit_in_bytes", "33554432", true),
        ];
        vec![folder("/sys/fs/cgroup/memory", Version::Legacy, "memory", limit)]
    };
    CgroupPlan { path, folders, ..CgroupPlan::default() }
}

/// What watches memory: an eventfd on version 1, inotify on version 2. The shim has no other of either.
const NOTIFIERS: [&str; 2] = ["anon_inode:[eventfd]", "anon_inode:inotify"];

fn run(bench: &Bench, daemon: &mut Daemon, plan: &Plan) {
    daemon.hello();
    daemon.ask(Action::Launch(launch_request(bench, plan, Stdio::default()))).expect("launched");
    daemon.start().expect("started");
}

fn folder(cgroup: &CgroupPlan) -> std::path::PathBuf {
    Path::new(&cgroup.folders[0].mountpoint).join(&cgroup.path)
}

#[test]
fn a_container_that_uses_too_much_memory_is_told_apart_from_a_killed_one() {
    let (bench, mut daemon) = Bench::new();
    let mut plan = bench.plan(&["sh", "-c", "x=0123456789abcdef; while :; do x=$x$x; done"], false);
    let cgroup = plan.cgroup.insert(cgroup("oom")).clone();
    run(&bench, &mut daemon, &plan);
    assert!(matches!(daemon.event(), event::Event::OutOfMemory(_)));
    let exited = daemon.exited();
    assert!(exited.oom_killed && exited.exit_code == 137, "{exited:?}");
    assert!(daemon.state().oom_kills > 0);
    daemon.release(&bench);
    assert!(!folder(&cgroup).exists());
}

#[test]
fn a_container_that_lives_on_after_an_out_of_memory_kill_tells_of_it() {
    let (bench, mut daemon) = Bench::new();
    let script = "read line; sh -c 'x=0123456789abcdef; while :; do x=$x$x; done'; read line";
    let mut plan = bench.plan(&["sh", "-c", script], false);
    plan.cgroup = Some(cgroup("survivor"));
    daemon.hello();
    daemon.ask(Action::Launch(launch_request(&bench, &plan, open_stdin()))).expect("launched");
    daemon.start().expect("started");
    until("the memory is watched", || {
        let links = std::fs::read_dir(format!("/proc/{}/fd", bench.shim.pid)).expect("it runs");
        let mut targets = links.filter_map(|link| std::fs::read_link(link.ok()?.path()).ok());
        targets.any(|target| NOTIFIERS.contains(&target.to_str().unwrap_or_default()))
    });
    daemon.attach("").send(Tag::Stdin, b"\n");
    assert!(matches!(daemon.event(), event::Event::OutOfMemory(_)));
    assert!(daemon.state().init.is_some_and(|init| init.exit.is_none()), "it lives on");
    daemon.kill("", 9).expect("sent");
    assert!(daemon.exited().oom_killed);
    daemon.release(&bench);
}

#[test]
fn a_signal_to_all_reaches_every_process() {
    let (bench, mut daemon) = Bench::new();
    let script = "trap 'wait; exit 4' TERM; sh -c 'echo ready; exec sleep 1000' & wait";
    let mut plan = bench.plan(&["sh", "-c", script], false);
    plan.cgroup = Some(cgroup("all"));
    run(&bench, &mut daemon, &plan);
    until("the trap is set", || bench.logged("stdout") == "ready\n");
    let all = KillRequest { exec_id: String::new(), signal: 15, all: true };
    daemon.ask(Action::Kill(all)).expect("sent");
    assert_eq!(daemon.exited().exit_code, 4);
    daemon.release(&bench);
}

#[test]
fn without_a_pid_namespace_the_end_of_init_is_still_the_end_of_all() {
    let (bench, mut daemon) = Bench::new();
    let mut plan = bench.plan(&["sh", "-c", "sleep 1000 & echo $!; exit 6"], false);
    plan.namespaces.retain(|one| one.kind() != NamespaceKind::Pid);
    plan.steps.remove(0);
    let cgroup = plan.cgroup.insert(cgroup("host-pid")).clone();
    run(&bench, &mut daemon, &plan);
    assert_eq!(daemon.exited().exit_code, 6);
    let orphan = bench.logged("stdout");
    until("the orphan is gone", || !Path::new("/proc").join(orphan.trim()).exists());
    daemon.release(&bench);
    assert!(!folder(&cgroup).exists());
}

#[test]
fn a_container_that_never_starts_leaves_no_group() {
    let (bench, mut daemon) = Bench::new();
    let mut plan = bench.plan(&["true"], false);
    let cgroup = plan.cgroup.insert(cgroup("unstarted")).clone();
    daemon.hello();
    daemon.ask(Action::Launch(launch_request(&bench, &plan, Stdio::default()))).expect("launched");
    assert!(folder(&cgroup).exists());
    drop(daemon);
    bench.expect_nothing_left();
    assert!(!folder(&cgroup).exists());
}
