use super::*;
use crate::cgroup::{Hierarchy, UnifiedHierarchy};

pub(super) fn hybrid() -> Host {
    let hierarchy = |name: &str| Hierarchy {
        mountpoint: format!("/sys/fs/cgroup/{}", name.trim_start_matches("name=")),
        controllers: name.split(',').map(str::to_owned).collect(),
    };
    Host {
        legacy: ["blkio", "cpu,cpuacct", "cpuset", "devices", "freezer", "memory", "name=systemd", "pids"]
            .map(hierarchy)
            .into(),
        unified: Some(UnifiedHierarchy {
            mountpoint: "/sys/fs/cgroup/unified".into(),
            controllers: vec!["hugetlb".into()],
        }),
    }
}

pub(super) fn unified() -> Host {
    let controllers =
        "cpuset cpu io memory hugetlb pids rdma misc perf_event".split(' ').map(str::to_owned).collect();
    Host {
        legacy: Vec::new(),
        unified: Some(UnifiedHierarchy { mountpoint: "/sys/fs/cgroup".into(), controllers }),
    }
}

pub(super) fn resources(json: &str) -> LinuxResources {
    serde_json::from_str(json).expect("resources")
}

/// `folder: file=value` of every write but those of devices.
fn lines(plan: &CgroupPlan) -> Vec<String> {
    let of = |folder: &Folder| {
        let name = folder.mountpoint.rsplit('/').next().unwrap_or_default().to_owned();
        folder.writes.clone().into_iter().map(move |write| format!("{name}: {}={}", write.file, write.value))
    };
    plan.folders.iter().flat_map(of).filter(|line| !line.starts_with("devices:")).collect()
}

const USUAL: &str = r#"{
    "memory": {"limit": 536870912, "swap": 1073741824, "reservation": 268435456},
    "cpu": {"shares": 512, "quota": 50000, "period": 100000, "cpus": "0-1", "mems": "0"},
    "pids": {"limit": 64},
    "blockIO": {"weight": 500, "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1048576}]}
}"#;

#[test]
fn the_usual_limits_on_version_1() {
    let plan = plan(Some(&resources(USUAL)), "/gantry/default/one", &hybrid()).expect("plan");
    assert_eq!(plan.path, "gantry/default/one");
    assert_eq!(
        lines(&plan),
        [
            "blkio: blkio.weight=500",
            "blkio: blkio.throttle.read_bps_device=8:0 1048576",
            "cpu,cpuacct: cpu.shares=512",
            "cpu,cpuacct: cpu.cfs_period_us=100000",
            "cpu,cpuacct: cpu.cfs_quota_us=50000",
            "cpuset: cpuset.cpus=0-1",
            "cpuset: cpuset.mems=0",
            "memory: memory.limit_in_bytes=536870912",
            "memory: memory.memsw.limit_in_bytes=1073741824",
            "memory: memory.soft_limit_in_bytes=268435456",
            "pids: pids.max=64",
        ]
    );
    assert!(plan.device_filter.is_empty(), "devices are version 1's");
    let unified = plan.folders.last().expect("the unified folder is the last");
    assert_eq!((unified.version(), unified.controllers.len()), (Version::Unified, 0));
    assert_eq!(plan.folders.len(), 9);
}

#[test]
fn the_usual_limits_on_version_2() {
    let plan = plan(Some(&resources(USUAL)), "/gantry/default/one", &unified()).expect("plan");
    assert_eq!(
        lines(&plan),
        [
            "cgroup: memory.swap.max=536870912",
            "cgroup: memory.max=536870912",
            "cgroup: memory.low=268435456",
            "cgroup: cpu.weight=59",
            "cgroup: cpu.max=50000 100000",
            "cgroup: cpuset.cpus=0-1",
            "cgroup: cpuset.mems=0",
            "cgroup: pids.max=64",
            "cgroup: io.weight=4950",
            "cgroup: io.max=8:0 rbps=1048576",
        ]
    );
    assert_eq!(
        plan.folders[0].controllers,
        ["cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc"]
    );
    assert!(!plan.device_filter.is_empty());
}

#[test]
fn shares_and_weights_are_converted_as_runc_and_crun_do() {
    for (shares, weight) in
        [(2, 1), (1024, 100), (262_144, 10_000), (512, 59), (2048, 174), (1, 1), (u64::MAX, 10_000)]
    {
        assert_eq!(unified::cpu_weight(shares), weight, "{shares}");
    }
    for (weight, converted) in [(10, 1), (1000, 10_000), (500, 4950)] {
        assert_eq!(unified::io_weight(weight), converted);
    }
}

#[test]
fn unlimited_is_said_in_each_versions_word() {
    let asked = resources(
        r#"{"memory": {"limit": -1, "swap": -1}, "cpu": {"quota": -1, "period": 20000}, "pids": {"limit": -1}}"#,
    );
    let legacy = plan(Some(&asked), "/g", &hybrid()).expect("plan");
    assert_eq!(
        lines(&legacy),
        [
            "cpu,cpuacct: cpu.cfs_period_us=20000",
            "cpu,cpuacct: cpu.cfs_quota_us=-1",
            "memory: memory.limit_in_bytes=-1",
            "memory: memory.memsw.limit_in_bytes=-1",
        ]
    );
    let unified = plan(Some(&asked), "/g", &unified()).expect("plan");
    assert_eq!(
        lines(&unified),
        ["cgroup: memory.swap.max=max", "cgroup: memory.max=max", "cgroup: cpu.max=max 20000"]
    );
}

#[test]
fn files_by_name_come_last_and_only_on_version_2() {
    let asked = resources(r#"{"unified": {"memory.high": "1000000", "io.max": "8:0 rbps=1\n8:16 rbps=2"}}"#);
    let planned = plan(Some(&asked), "/g", &unified()).expect("plan");
    assert_eq!(
        lines(&planned),
        ["cgroup: io.max=8:0 rbps=1", "cgroup: io.max=8:16 rbps=2", "cgroup: memory.high=1000000"]
    );
    let refused = plan(Some(&asked), "/g", &hybrid()).expect_err("version 1 has no such files");
    assert_eq!(refused, CgroupPlanError::Unsupported { field: "unified", version: 1 });
}

#[test]
fn impossible_values_are_refused_with_their_field() {
    for (json, field) in [
        (r#"{"cpu": {"cpus": "0-99999999999"}}"#, "cpu.cpus"),
        (r#"{"cpu": {"mems": "x"}}"#, "cpu.mems"),
        (r#"{"memory": {"limit": -2}}"#, "memory.limit"),
        (r#"{"memory": {"limit": 1000000, "swap": 10}}"#, "memory.swap"),
        (r#"{"hugepageLimits": [{"pageSize": "../x", "limit": 1}]}"#, "hugepageLimits.pageSize"),
    ] {
        for host in [hybrid(), unified()] {
            let error = plan(Some(&resources(json)), "/g", &host).expect_err(json);
            assert!(matches!(error, CgroupPlanError::Value { field: of, .. } if of == field), "{error:?}");
        }
    }
    let realtime = resources(r#"{"cpu": {"realtimeRuntime": 1000}}"#);
    assert!(plan(Some(&realtime), "/g", &unified()).is_err());
    let swappiness = resources(r#"{"memory": {"swappiness": 101}}"#);
    assert!(plan(Some(&swappiness), "/g", &hybrid()).is_err());
}

#[test]
fn a_limit_without_its_controller_is_refused_and_an_optional_one_left_out() {
    let mut host = hybrid();
    host.legacy
        .retain(|hierarchy| !hierarchy.controllers.iter().any(|name| name == "pids" || name == "blkio"));
    let pids = resources(r#"{"pids": {"limit": 5}}"#);
    let error = plan(Some(&pids), "/g", &host).expect_err("no pids");
    assert_eq!(error, CgroupPlanError::NoController { controller: "pids".into() });
    assert!(plan(Some(&resources(r#"{"blockIO": {"weight": 100}}"#)), "/g", &host).is_ok());
    assert_eq!(plan(None, "/g", &Host::default()).expect_err("nothing"), CgroupPlanError::NoHierarchy);
}
