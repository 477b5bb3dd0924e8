use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use gantry_linux::clone::{Clone, CloneOptions, clone};
use gantry_linux::process::{ExecArgs, exec, exit_now};
use gantry_linux::wait::{Exit, wait_pidfd};
use prost::Message;

use super::*;

mod live;

/// This machine's hierarchies, or `None` with the reason said.
#[expect(clippy::print_stdout, reason = "the test harness shows it")]
fn machine() -> Option<Host> {
    let host = Host::read().expect("the mount table");
    if !rustix::process::geteuid().is_root() || (host.legacy.is_empty() && host.unified.is_none()) {
        println!("SKIP: needs root and mounted control groups");
        return None;
    }
    Some(host)
}

/// The version 2 hierarchy alone, without controllers, as far as this machine has one.
fn unified_only() -> Option<Host> {
    let unified = machine()?.unified?;
    Some(Host { legacy: Vec::new(), unified: Some(UnifiedHierarchy { controllers: Vec::new(), ..unified }) })
}

/// A group of the test's own, removed with the folders above it.
struct Group {
    plan: CgroupPlan,
    cgroup: Cgroup,
}

fn group(name: &str, host: &Host, json: &str) -> Group {
    let resources = serde_json::from_str(json).expect("resources");
    let path = format!("/gantry-test-{}-{name}/default/one", std::process::id());
    let plan = plan(Some(&resources), &path, host).expect("plan");
    let plan = CgroupPlan::decode(plan.encode_to_vec().as_slice()).expect("it travels");
    Group { cgroup: Cgroup::create(&plan).expect("create"), plan }
}

impl Group {
    /// The text of a file in whichever hierarchy has it.
    fn read(&self, file: &str) -> Option<String> {
        let path = |folder: &Folder| format!("{}/{}/{file}", folder.mountpoint, self.plan.path);
        self.plan
            .folders
            .iter()
            .find_map(|folder| Some(directory::read_file(&path(folder)).ok()?.trim().to_owned()))
    }

    /// Starts a shell script in it; the child enters first of all.
    fn start(&self, script: &str) -> std::os::fd::OwnedFd {
        self.start_as(script, false)
    }

    /// Starts a shell script, which enters by itself or is put in from outside. It begins at a byte, not at the
    /// pipe's end: a child of another test may hold a copy of the writer, and wait for ours.
    fn start_as(&self, script: &str, from_outside: bool) -> std::os::fd::OwnedFd {
        let (reader, writer) = std::io::pipe().expect("pipe");
        let script = std::ffi::CString::new(script).expect("no zero");
        let args =
            ExecArgs::new(vec![c"sh".into(), c"-c".into(), script], vec![c"PATH=/usr/bin:/bin".into()]);
        let options = CloneOptions { cgroup: self.cgroup.clone_target(), ..CloneOptions::default() };
        let doors = (!from_outside).then(|| self.cgroup.doors().expect("doors"));
        match clone(&options).expect("clone3") {
            Clone::Child => {
                drop(writer);
                if let Some(Err(_)) = doors.as_ref().map(Doors::enter) {
                    exit_now(126);
                }
                let _ = rustix::io::read(&reader, &mut [0u8; 1]);
                let _ = exec(c"/bin/sh", &args);
                exit_now(127)
            }
            Clone::Parent { pid, pidfd } => {
                if from_outside {
                    self.cgroup.join(pid).expect("join");
                }
                rustix::io::write(&writer, b"!").expect("write");
                pidfd
            }
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let top = self.plan.path.split('/').next().expect("not empty");
        let host = Host::read().expect("the mount table");
        let removed = self.cgroup.kill().and_then(|()| self.cgroup.remove()).and_then(|()| prune(&host, top));
        // A test that fails already has said why.
        if !std::thread::panicking() {
            removed.expect("it goes");
            for folder in &self.plan.folders {
                let gone = rustix::fs::stat(format!("{}/{top}", folder.mountpoint));
                assert_eq!(
                    gone.err(),
                    Some(gantry_linux::Errno::NOENT),
                    "the folders above are empty and go"
                );
            }
        }
    }
}

#[test]
fn limits_are_on_this_machine_what_the_plan_says() {
    let Some(host) = machine() else { return };
    let group = group(
        "limits",
        &host,
        r#"{"memory": {"limit": 67108864}, "pids": {"limit": 11}, "cpu": {"shares": 512, "quota": 20000, "period": 100000, "cpus": "0"}}"#,
    );
    let either =
        |legacy: &str, unified: &str| group.read(legacy).or_else(|| group.read(unified)).expect("a file");
    assert_eq!(either("memory.limit_in_bytes", "memory.max"), "67108864");
    assert_eq!(group.read("pids.max").as_deref(), Some("11"));
    assert_eq!(group.read("cpuset.cpus").as_deref(), Some("0"));
    assert!(group.read("cpu.cfs_quota_us").is_none_or(|quota| quota == "20000"));
    if let Some(devices) = group.read("devices.list") {
        assert!(devices.contains("c 1:3 rwm") && !devices.contains("a *:* rwm"), "{devices}");
    }
}

#[test]
fn a_group_below_is_joined_where_it_is_and_the_containers_own_elsewhere() {
    let Some(host) = machine() else { return };
    let group = group("nested", &host, "{}");
    let missing = Cgroup::open_below(&group.plan, "below").expect_err("it is nowhere");
    assert_eq!(missing.errno(), gantry_linux::Errno::NOENT);
    let first = &group.plan.folders[0];
    let below = format!("{}/{}/below", first.mountpoint, group.plan.path);
    std::fs::create_dir(&below).expect("create_dir");
    let joined =
        Group { cgroup: Cgroup::open_below(&group.plan, "below").expect("open"), plan: group.plan.clone() };
    let script = "test $(grep -c '/one/below$' /proc/self/cgroup) -eq 1 && \
                  test $(grep -c '/one' /proc/self/cgroup) -eq $(wc -l </proc/self/cgroup)";
    for from_outside in [false, true] {
        let process = joined.start_as(script, from_outside);
        assert_eq!(wait_pidfd(process.as_fd()).expect("waitid"), Exit::Code { code: 0 });
    }
    std::mem::forget(joined);
}

#[test]
fn a_process_is_in_every_folder_and_sees_only_its_devices() {
    let Some(host) = machine() else { return };
    let group = group("devices", &host, "{}");
    let script = ": </dev/null && ! (: </dev/kmsg) 2>/dev/null && \
                  test $(grep -c gantry-test /proc/self/cgroup) -eq $(wc -l </proc/self/cgroup)";
    for from_outside in [false, true] {
        let process = group.start_as(script, from_outside);
        assert_eq!(wait_pidfd(process.as_fd()).expect("waitid"), Exit::Code { code: 0 });
    }
}

#[test]
fn the_device_programme_is_loaded_and_obeyed_on_version_2() {
    let Some(host) = unified_only() else { return };
    let group = group("programme", &host, "{}");
    assert!(!group.plan.device_filter.is_empty());
    let process = group.start(": </dev/null && ! (: </dev/kmsg) 2>/dev/null");
    assert_eq!(wait_pidfd(process.as_fd()).expect("waitid"), Exit::Code { code: 0 });
}

#[test]
fn a_fork_bomb_dies_whole_and_the_folders_go() {
    for host in [machine(), unified_only(), machine().map(|host| Host { unified: None, ..host })] {
        let Some(host) = host.filter(|host| host.unified.is_some() || !host.legacy.is_empty()) else {
            continue;
        };
        let limit = if host.has_legacy_controllers() { r#"{"pids": {"limit": 30}}"# } else { "{}" };
        let group = group("bomb", &host, limit);
        let process = group.start(
            "n=0; while [ $n -lt 20 ]; do sleep 1000 & n=$((n+1)); done; while :; do (:); done 2>/dev/null",
        );
        let deadline = Instant::now() + Duration::from_secs(20);
        while group.cgroup.processes().expect("processes").len() < 10 {
            assert!(Instant::now() < deadline, "the children do not appear");
            std::thread::yield_now();
        }
        group.cgroup.kill().expect("kill");
        wait_pidfd(process.as_fd()).expect("waitid");
        group.cgroup.wait_empty().expect("empty");
        assert!(group.cgroup.processes().expect("processes").is_empty());
    }
}

#[test]
fn running_out_of_memory_is_counted() {
    let Some(host) = machine() else { return };
    let group = group("oom", &host, r#"{"memory": {"limit": 16777216, "swap": 16777216}}"#);
    assert_eq!(group.cgroup.oom_kills().expect("read"), Some(0));
    let notifier = group.cgroup.oom_notifier().expect("a notifier").expect("memory is controlled");
    let process = group.start("exec tail /dev/zero");
    let exit = wait_pidfd(process.as_fd()).expect("waitid");
    assert_eq!(exit.shell_code(), 137);
    let mut told = [rustix::event::PollFd::new(&notifier, rustix::event::PollFlags::IN)];
    let limit = rustix::event::Timespec { tv_sec: 10, tv_nsec: 0 };
    assert_eq!(rustix::event::poll(&mut told, Some(&limit)), Ok(1));
    assert!(group.cgroup.oom_kills().expect("read") >= Some(1));
}

#[test]
fn a_folder_left_by_a_crash_is_made_anew_with_what_was_nested_in_it() {
    let Some(host) = machine() else { return };
    let first = group("again", &host, r#"{"pids": {"limit": 5}}"#);
    for folder in &first.plan.folders {
        let nested = format!("{}/{}/nested", folder.mountpoint, first.plan.path);
        rustix::fs::mkdir(nested.as_str(), rustix::fs::Mode::RWXU).expect("mkdir");
    }
    let again = Cgroup::create(&CgroupPlan { folders: without_limits(&first.plan), ..first.plan.clone() })
        .expect("create");
    assert_eq!(first.read("pids.max").as_deref(), Some("max"));
    assert!(first.read("nested/cgroup.procs").is_none());
    drop(again);
    assert!(Cgroup::open(&first.plan).is_ok());
}

fn without_limits(plan: &CgroupPlan) -> Vec<Folder> {
    plan.folders.iter().map(|folder| Folder { writes: Vec::new(), ..folder.clone() }).collect()
}

#[test]
fn a_refused_limit_names_its_file_and_leaves_nothing() {
    let Some(host) = machine() else { return };
    let resources = serde_json::from_str(r#"{"cpu": {"cpus": "8000"}}"#).expect("resources");
    let path = format!("/gantry-test-{}-refused", std::process::id());
    let plan = plan(Some(&resources), &path, &host).expect("plan");
    let error = Cgroup::create(&plan).expect_err("this machine has no processor 8000");
    assert!(error.path().ends_with("cpuset.cpus"), "{error}");
    assert_eq!(gantry_types::Classified::class(&error), gantry_types::Class::InvalidArgument);
    for folder in &plan.folders {
        let gone = rustix::fs::stat(format!("{}{path}", folder.mountpoint));
        assert_eq!(gone.err(), Some(gantry_linux::Errno::NOENT));
    }
}

#[test]
fn kernel_files_that_may_be_missing_are_left_out() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (root, text) = (folder.path().to_str().expect("utf-8").to_owned(), |file: &str| {
        directory::read_file(&format!("{}/{file}", folder.path().display())).expect("read")
    });
    let write = |file: &str, optional, preferred: Option<&str>| Write {
        file: file.into(),
        value: "5".into(),
        optional,
        preferred: preferred.map(|file| PreferredFile { file: file.into(), value: "50".into() }),
        usage: String::new(),
    };
    let apply = |write: Write| {
        let base = Folder { mountpoint: root.clone(), version: Version::Legacy.into(), ..Folder::default() };
        directory::apply(&base, ".", &[write])
    };
    std::fs::write(folder.path().join("plain"), "").expect("write");
    std::fs::write(folder.path().join("better"), "").expect("write");
    apply(write("missing", true, None)).expect("optional");
    apply(write("plain", true, Some("missing"))).expect("the plain one");
    assert_eq!(text("plain"), "5");
    apply(write("missing", false, Some("better"))).expect("the better one");
    assert_eq!(text("better"), "50");
    assert!(apply(write("missing", false, None)).is_err());
}

#[test]
fn the_cost_of_a_group_on_this_machine() {
    let Some(host) = machine() else { return };
    // The folders above stay: they are there on a machine at work.
    let keeper = group("cost", &host, "{}");
    let resources = serde_json::from_str(r#"{"memory": {"limit": 67108864}, "pids": {"limit": 100}}"#)
        .expect("resources");
    let path = format!("/{}", keeper.plan.path.replace("/one", "/two"));
    let plan = plan(Some(&resources), &path, &host).expect("plan");
    let mut times: Vec<[Duration; 3]> = (0..51)
        .map(|_| {
            let begin = Instant::now();
            let cgroup = Cgroup::create(&plan).expect("create");
            let created = begin.elapsed();
            let measured = Group { cgroup, plan: plan.clone() };
            let begin = Instant::now();
            let process = measured.start("exit 0");
            let joined = begin.elapsed();
            wait_pidfd(process.as_fd()).expect("waitid");
            let begin = Instant::now();
            measured.cgroup.remove().expect("remove");
            let removed = begin.elapsed();
            std::mem::forget(measured);
            [created, joined, removed]
        })
        .collect();
    times.sort();
    show(times[25], plan.folders.len());
}

#[expect(clippy::print_stderr, reason = "a measurement for whoever reads the test's output")]
fn show([created, joined, removed]: [Duration; 3], folders: usize) {
    eprintln!("{folders} folders: create {created:?}, clone and join {joined:?}, remove {removed:?}");
}
