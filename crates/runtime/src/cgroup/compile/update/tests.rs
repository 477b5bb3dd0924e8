use super::super::tests::{hybrid, resources, unified};
use super::*;

/// `file=value` of every write, in order.
fn lines(current: &str, wanted: &str, host: &Host) -> Vec<String> {
    let update = update(&resources(current), &resources(wanted), "/g", host).expect("an update");
    let writes = update.folders.iter().flat_map(|folder| &folder.writes);
    writes.map(|write| format!("{}={}", write.file, write.value)).collect()
}

#[test]
fn only_what_differs_is_written() {
    let json = r#"{"memory": {"limit": 1000000}, "cpu": {"shares": 512}, "pids": {"limit": 5}}"#;
    for host in [hybrid(), unified()] {
        let same = update(&resources(json), &resources(json), "/g", &host).expect("an update");
        assert!(same.is_empty(), "{same:?}");
    }
    let more = r#"{"memory": {"limit": 1000000}, "cpu": {"shares": 1024}, "pids": {"limit": 5}}"#;
    assert_eq!(lines(json, more, &hybrid()), ["cpu.shares=1024"]);
    assert_eq!(lines(json, more, &unified()), ["cpu.weight=100"]);
}

#[test]
fn memory_with_swap_is_never_below_memory_on_the_way() {
    let small = r#"{"memory": {"limit": 100, "swap": 200}}"#;
    let large = r#"{"memory": {"limit": 1000, "swap": 2000}}"#;
    let near = r#"{"memory": {"limit": 150, "swap": 180}}"#;
    let (limit, swap) = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes");
    assert_eq!(lines(small, large, &hybrid()), [format!("{swap}=2000"), format!("{limit}=1000")]);
    assert_eq!(lines(large, small, &hybrid()), [format!("{limit}=100"), format!("{swap}=200")]);
    assert_eq!(lines(small, near, &hybrid()), [format!("{swap}=180"), format!("{limit}=150")]);
    assert_eq!(lines("{}", small, &hybrid()), [format!("{limit}=100"), format!("{swap}=200")]);
    assert_eq!(lines(small, "{}", &hybrid()), [format!("{swap}=-1"), format!("{limit}=-1")]);
    assert_eq!(lines(small, "{}", &unified()), ["memory.max=max", "memory.swap.max=max"]);
}

#[test]
fn a_quota_never_takes_more_of_its_period_than_before_or_after() {
    let slow = r#"{"cpu": {"quota": 50000, "period": 100000}}"#;
    let quick = r#"{"cpu": {"quota": 5000, "period": 10000}}"#;
    let (quota, period) = ("cpu.cfs_quota_us", "cpu.cfs_period_us");
    assert_eq!(lines(slow, quick, &hybrid()), [format!("{quota}=5000"), format!("{period}=10000")]);
    assert_eq!(lines(quick, slow, &hybrid()), [format!("{period}=100000"), format!("{quota}=50000")]);
    assert_eq!(lines(slow, quick, &unified()), ["cpu.max=5000 10000"]);
    assert_eq!(lines(slow, "{}", &unified()), ["cpu.max=max 100000"]);
}

#[test]
fn a_burst_is_never_above_its_quota_on_the_way() {
    let small = r#"{"cpu": {"quota": 10000, "burst": 10000}}"#;
    let large = r#"{"cpu": {"quota": 50000, "burst": 50000}}"#;
    assert_eq!(lines(small, large, &unified()), ["cpu.max=50000", "cpu.max.burst=50000"]);
    assert_eq!(lines(large, small, &unified()), ["cpu.max.burst=10000", "cpu.max=10000"]);
    assert_eq!(lines(large, small, &hybrid()), ["cpu.cfs_burst_us=10000", "cpu.cfs_quota_us=10000"]);
}

#[test]
fn an_idle_group_is_given_no_weight() {
    let idle = r#"{"cpu": {"shares": 512, "idle": 1}}"#;
    let busy = r#"{"cpu": {"shares": 2048, "idle": 0}}"#;
    assert_eq!(lines(idle, busy, &unified()), ["cpu.idle=0", "cpu.weight=174"]);
    assert_eq!(lines(busy, idle, &hybrid()), ["cpu.shares=512", "cpu.idle=1"]);
    let still_idle = r#"{"cpu": {"shares": 2048, "idle": 1}}"#;
    assert!(lines(idle, still_idle, &unified()).is_empty());
}

#[test]
fn one_devices_throttle_is_replaced_and_anothers_taken_back() {
    let both = r#"{"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 10}, {"major": 8, "minor": 16, "rate": 10}]}}"#;
    let one = r#"{"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 20}]}}"#;
    assert_eq!(lines(both, one, &unified()), ["io.max=8:16 rbps=max", "io.max=8:0 rbps=20"]);
    let file = "blkio.throttle.read_bps_device";
    assert_eq!(lines(both, one, &hybrid()), [format!("{file}=8:16 0"), format!("{file}=8:0 20")]);
}

#[test]
fn a_file_by_name_wins_over_a_resource_that_changes() {
    let before = r#"{"memory": {"limit": 1000}, "unified": {"memory.max": "500"}}"#;
    let after = r#"{"memory": {"limit": 2000}, "unified": {"memory.max": "500"}}"#;
    assert!(lines(before, after, &unified()).is_empty());
    let named = r#"{"unified": {"memory.high": "500"}}"#;
    let error = update(&resources(named), &resources("{}"), "/g", &unified()).expect_err("what is neutral?");
    assert_eq!(error, CgroupPlanError::Permanent { file: "memory.high".into() });
}

#[test]
fn a_limit_below_what_is_in_use_is_refused_where_asked() {
    let wanted = r#"{"memory": {"limit": 1000, "checkBeforeUpdate": true}}"#;
    let update = update(&resources("{}"), &resources(wanted), "/g", &unified()).expect("an update");
    assert_eq!(update.folders[0].writes[0].usage, "memory.current");
}

#[test]
fn device_rules_change_by_their_difference() {
    let null_only = r#"{"devices": [{"allow": false, "access": "rwm"}]}"#;
    let with_disk = r#"{"devices": [{"allow": false, "access": "rwm"}, {"allow": true, "type": "b", "major": 8, "minor": 0, "access": "rw"}]}"#;
    assert_eq!(lines(null_only, with_disk, &hybrid()), ["devices.allow=b 8:0 rw"]);
    assert_eq!(lines(with_disk, null_only, &hybrid()), ["devices.deny=b 8:0 rw"]);
    let changed = update(&resources(null_only), &resources(with_disk), "/g", &unified()).expect("an update");
    assert!(changed.device_filter.is_some_and(|filter| !filter.is_empty()));
    let everything = r#"{"devices": [{"allow": true, "access": "rwm"}]}"#;
    let opened = update(&resources(null_only), &resources(everything), "/g", &unified()).expect("an update");
    assert_eq!(opened.device_filter, Some(Vec::new()));
    assert_eq!(lines(null_only, everything, &hybrid()), ["devices.allow=a"]);
}

#[test]
fn a_change_is_merged_field_by_field() {
    let current =
        resources(r#"{"memory": {"limit": 100, "swap": 200}, "cpu": {"shares": 512, "cpus": "0"}}"#);
    let change = resources(r#"{"cpu": {"shares": 1024}, "pids": {"limit": 7}}"#);
    let wanted = resources(
        r#"{"memory": {"limit": 100, "swap": 200}, "cpu": {"shares": 1024, "cpus": "0"}, "pids": {"limit": 7}}"#,
    );
    assert_eq!(merge(&current, &change), wanted);
    let freed = merge(&current, &resources(r#"{"memory": {"limit": -1}}"#));
    assert_eq!(freed.memory().and_then(|memory| memory.swap()), Some(-1));
}
