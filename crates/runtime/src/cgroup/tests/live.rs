//! A group that lives: changed, frozen, watched.

use super::*;

fn resources(json: &str) -> oci_spec::runtime::LinuxResources {
    serde_json::from_str(json).expect("resources")
}

/// The machine as it is, version 2 alone, and version 1 alone, as far as they are there.
fn views() -> Vec<Host> {
    let Some(host) = machine() else { return Vec::new() };
    let mut views = vec![host.clone()];
    views.extend(unified_only());
    if host.has_legacy_controllers() {
        views.push(Host { unified: None, ..host });
    }
    views
}

fn change(group: &Group, host: &Host, from: &str, to: &str) -> Result<(), CgroupError> {
    let path = format!("/{}", group.plan.path);
    let update = update(&resources(from), &resources(to), &path, host).expect("an update");
    group.cgroup.update(&update)
}

#[test]
fn every_process_stands_still_while_the_group_is_frozen() {
    for host in views() {
        let group = group("freeze", &host, "{}");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("count");
        let script = format!("while :; do echo x >>{}; done", file.display());
        let process = group.start(&script);
        let length = || std::fs::metadata(&file).map_or(0, |metadata| metadata.len());
        let grows_beyond = |least: u64| {
            let deadline = Instant::now() + Duration::from_secs(10);
            while length() <= least {
                assert!(Instant::now() < deadline, "it does not run");
                std::thread::yield_now();
            }
        };
        grows_beyond(0);
        assert!(!group.cgroup.is_frozen().expect("state"));
        group.cgroup.freeze().expect("freeze");
        group.cgroup.freeze().expect("twice is once");
        assert!(group.cgroup.is_frozen().expect("state"));
        let at_rest = length();
        for _ in 0..1000 {
            std::thread::yield_now();
            assert_eq!(length(), at_rest, "somebody ran");
        }
        group.cgroup.thaw().expect("thaw");
        grows_beyond(at_rest);
        // A frozen group can be killed.
        group.cgroup.freeze().expect("freeze");
        group.cgroup.kill().expect("kill");
        assert_eq!(wait_pidfd(process.as_fd()).expect("waitid").shell_code(), 137);
        group.cgroup.wait_empty().expect("empty");
    }
}

#[test]
fn limits_of_a_live_group_go_up_and_down_and_away() {
    let Some(host) = machine() else { return };
    let small = r#"{"memory": {"limit": 33554432, "swap": 67108864}, "cpu": {"shares": 512, "quota": 20000, "period": 100000, "burst": 10000}, "pids": {"limit": 11}}"#;
    let large = r#"{"memory": {"limit": 134217728, "swap": 268435456}, "cpu": {"shares": 2048, "quota": 5000, "period": 10000, "burst": 1000}, "pids": {"limit": 50}}"#;
    let group = group("live", &host, small);
    let process = group.start("sleep 1000");
    let limits = || {
        let stats = stats::Stats::read(&host, &group.plan.path).expect("stats");
        (stats.memory.limit_bytes, stats.pids.max)
    };
    assert_eq!(limits(), (Some(33_554_432), Some(11)));
    change(&group, &host, small, large).expect("up");
    assert_eq!(limits(), (Some(134_217_728), Some(50)));
    change(&group, &host, large, small).expect("down");
    assert_eq!(limits(), (Some(33_554_432), Some(11)));
    change(&group, &host, small, "{}").expect("away");
    assert_eq!(limits(), (None, None));
    group.cgroup.kill().expect("kill");
    wait_pidfd(process.as_fd()).expect("waitid");
}

#[test]
#[expect(clippy::print_stdout, reason = "the test harness shows it")]
fn a_group_in_a_folder_of_another_has_the_controllers_of_the_plan() {
    let Some(host) = machine() else { return };
    let Some(unified) = host.unified.as_ref().filter(|unified| !unified.controllers.is_empty()) else {
        println!("SKIP: needs controllers of version 2");
        return;
    };
    let foreign = format!("{}/gantry-test-{}-foreign/default", unified.mountpoint, std::process::id());
    std::fs::create_dir_all(foreign).expect("made");
    let group = group("foreign", &host, "{}");
    let there = group.read("cgroup.controllers").expect("version 2");
    let unified = group.plan.folders.iter().find(|folder| folder.version() == Version::Unified);
    for name in &unified.expect("version 2").controllers {
        assert!(there.split(' ').any(|one| one == name), "{name} is not in {there}");
    }
}

#[test]
fn a_limit_below_what_is_in_use_is_refused_by_its_file() {
    let Some(host) = machine() else { return };
    let group = group("below", &host, "{}");
    let process = group.start("a=$(head -c 20000000 /dev/zero | tr '\\0' x); echo started >&2; sleep 1000");
    // Version 2 adds its details up every two seconds only; the sum is exact.
    let used = || stats::Stats::read(&host, &group.plan.path).expect("stats").memory.usage_bytes;
    let deadline = Instant::now() + Duration::from_secs(60);
    while used() < 8_000_000 {
        assert!(Instant::now() < deadline, "it uses {}", used());
        // Not in a circle: on an emulated machine of one processor, looking is what keeps the shell from growing.
        std::thread::sleep(Duration::from_millis(10));
    }
    let tight = r#"{"memory": {"limit": 4194304, "swap": 4194304, "checkBeforeUpdate": true}}"#;
    let error = change(&group, &host, "{}", tight).expect_err("it is in use");
    assert_eq!(gantry_types::Classified::class(&error), gantry_types::Class::FailedPrecondition, "{error}");
    assert!(
        gantry_linux::wait::try_wait_pidfd(process.as_fd()).expect("waitid").is_none(),
        "nobody was killed"
    );
    group.cgroup.kill().expect("kill");
    wait_pidfd(process.as_fd()).expect("waitid");
}

#[test]
fn what_a_process_used_is_told() {
    let Some(host) = machine() else { return };
    let group = group("stats", &host, r#"{"pids": {"limit": 10}}"#);
    let before = stats::Stats::read(&host, &group.plan.path).expect("stats");
    assert_eq!((before.pids.current, before.cpu.usage_ns), (0, 0));
    let process = group.start("n=0; while [ $n -lt 200000 ]; do n=$((n+1)); done; sleep 1000");
    let deadline = Instant::now() + Duration::from_secs(20);
    let told = loop {
        let told = stats::Stats::read(&host, &group.plan.path).expect("stats");
        if told.cpu.usage_ns > 20_000_000 && told.memory.usage_bytes > 0 {
            break told;
        }
        assert!(Instant::now() < deadline, "{told:?}");
        std::thread::yield_now();
    };
    assert!(told.pids.current >= 1 && told.pids.max == Some(10), "{:?}", told.pids);
    assert!(told.memory.working_set_bytes() <= told.memory.usage_bytes);
    assert!(!told.memory.all.is_empty());
    assert!(told.cpu.user_ns + told.cpu.system_ns > 0);
    let has_pressure = std::fs::exists("/proc/pressure/cpu").expect("look");
    let unified = host.unified.is_some();
    assert_eq!(told.cpu.pressure.is_some(), has_pressure && unified, "{:?}", told.cpu.pressure);
    group.cgroup.kill().expect("kill");
    wait_pidfd(process.as_fd()).expect("waitid");
    assert!(stats::Stats::read(&host, "/gantry-test-nobody").is_err(), "a group that is not there");
}

#[test]
fn device_rules_change_under_a_live_process() {
    const CLOSED: &str = r#"{"devices": [{"allow": false, "access": "rwm"}]}"#;
    // /dev/kmsg.
    const OPEN: &str = r#"{"devices": [{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "rw"}]}"#;
    for host in views() {
        let group = group("rules", &host, CLOSED);
        let opens = |name: &str| {
            let process = group.start(&format!(": <{name}"));
            wait_pidfd(process.as_fd()).expect("waitid") == Exit::Code { code: 0 }
        };
        assert!(!opens("/dev/kmsg") && opens("/dev/null"));
        change(&group, &host, CLOSED, OPEN).expect("open");
        assert!(opens("/dev/kmsg") && opens("/dev/null"));
        change(&group, &host, OPEN, CLOSED).expect("close");
        assert!(!opens("/dev/kmsg") && opens("/dev/null"));
        change(&group, &host, CLOSED, r#"{"devices": [{"allow": true, "access": "rwm"}]}"#).expect("all");
        assert!(opens("/dev/kmsg"));
    }
}

#[test]
fn a_group_is_found_again_by_its_path() {
    let Some(host) = machine() else { return };
    let group = group("found", &host, "{}");
    let process = group.start("exec sleep 1000");
    let found = Cgroup::at(&format!("/{}", group.plan.path), &host).expect("found");
    assert_eq!(found.processes().expect("processes").len(), 1);
    found.kill().expect("kill");
    wait_pidfd(process.as_fd()).expect("waitid");
    found.remove().expect("removed");
    assert_eq!(found.is_frozen(), Ok(false), "in a group that is gone nobody is held");
    assert!(Cgroup::at("no path", &host).is_err());
}
