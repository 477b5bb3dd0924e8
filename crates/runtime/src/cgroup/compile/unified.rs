//! The resources in version 2's files. The spec speaks version 1's language: shares and weights are converted by
//! the formulas that runc and crun use, so that a container weighs the same under all three. For shares those
//! two changed theirs in 2025 (runc 1.3.2, crun 1.23): the older one, a straight line from 2..262144 to 1..10000,
//! gave the default of 1024 shares a weight of 39 instead of 100, so that a container with the default weighed
//! less than one that said nothing. This is the newer one.

use std::collections::BTreeMap;

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources, LinuxThrottleDevice};

use super::check;
use super::{CgroupPlanError, Limit};

pub(super) fn limits(resources: &LinuxResources) -> Result<Vec<Limit>, CgroupPlanError> {
    let mut limits = Vec::new();
    if let Some(memory) = resources.memory() {
        add_memory(memory, &mut limits)?;
    }
    if let Some(cpu) = resources.cpu() {
        add_cpu(cpu, &mut limits)?;
    }
    match resources.pids().as_ref().map(oci_spec::runtime::LinuxPids::limit) {
        // A new group has no limit.
        None | Some(i64::MIN..=0) => {}
        Some(limit) => limits.push(Limit::new("pids", "pids.max", limit).neutral("max")),
    }
    if let Some(block) = resources.block_io() {
        add_block(block, &mut limits);
    }
    for page in resources.hugepage_limits().iter().flatten() {
        let size = check::page_size(page.page_size())?;
        let value = check::amount("hugepageLimits.limit", page.limit(), "max")?;
        limits.push(Limit::new("hugetlb", format!("hugetlb.{size}.max"), &value).neutral("max"));
        let reserved = Limit::new("hugetlb", format!("hugetlb.{size}.rsvd.max"), value);
        limits.push(reserved.neutral("max").optional());
    }
    let asks_network = resources.network().as_ref().is_some_and(|network| {
        network.class_id().is_some() || network.priorities().as_ref().is_some_and(|list| !list.is_empty())
    });
    if asks_network {
        return Err(CgroupPlanError::Unsupported { field: "network", version: 2 });
    }
    add_rdma(resources, &mut limits)?;
    add_unified(resources, &mut limits)?;
    Ok(limits)
}

/// `cpu.weight` for `cpu.shares`: the quadratic in the logarithm that maps 2, 1024 and 262144 to 1, 100 and 10000.
pub(super) fn cpu_weight(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        _ => {
            #[expect(clippy::cast_precision_loss, reason = "shares are below 2^18 here")]
            let logarithm = (shares as f64).log2();
            let exponent = (logarithm * logarithm + 125.0 * logarithm) / 612.0 - 7.0 / 34.0;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "between 1 and 10000"
            )]
            let weight = 10f64.powf(exponent).ceil() as u64;
            weight
        }
    }
}

/// `io.weight` (1 to 10000) for `blkio.weight` (10 to 1000).
pub(super) fn io_weight(weight: u16) -> u64 {
    1 + u64::from(weight.clamp(10, 1000) - 10) * 9999 / 990
}

fn add_memory(memory: &LinuxMemory, limits: &mut Vec<Limit>) -> Result<(), CgroupPlanError> {
    let limit = memory.limit().filter(|limit| *limit != 0);
    let swap_max = |value: String| Limit::new("memory", "memory.swap.max", value).optional().neutral("max");
    match (memory.swap().filter(|swap| *swap != 0), limit) {
        (Some(-1), _) | (None, Some(-1)) => limits.push(swap_max("max".to_owned())),
        (None, _) => {}
        // Version 1 counts memory and swap together, version 2 swap alone.
        (Some(swap), Some(bytes)) if bytes >= 0 && swap >= bytes => {
            limits.push(swap_max((swap - bytes).to_string()));
        }
        (Some(swap), _) => {
            let rule = "memory and swap together are not below memory, which has a limit";
            return Err(CgroupPlanError::value("memory.swap", swap, rule));
        }
    }
    if let Some(bytes) = limit {
        let value = check::amount("memory.limit", bytes, "max")?;
        let limit = Limit::new("memory", "memory.max", value).neutral("max");
        // This version's kernel would rather kill than refuse.
        let checks = memory.check_before_update() == Some(true) && bytes >= 0;
        limits.push(if checks { limit.not_below("memory.current") } else { limit });
    }
    if let Some(bytes) = memory.reservation().filter(|bytes| *bytes != 0) {
        let value = check::amount("memory.reservation", bytes, "max")?;
        limits.push(Limit::new("memory", "memory.low", value).neutral("0"));
    }
    // Swappiness, kernel memory and disabling the OOM killer have no counterpart; like runc we leave them.
    Ok(())
}

fn add_cpu(cpu: &LinuxCpu, limits: &mut Vec<Limit>) -> Result<(), CgroupPlanError> {
    if cpu.realtime_period().is_some_and(|value| value != 0)
        || cpu.realtime_runtime().is_some_and(|value| value != 0)
    {
        return Err(CgroupPlanError::Unsupported { field: "cpu.realtimeRuntime", version: 2 });
    }
    if let Some(shares) = cpu.shares().filter(|shares| *shares != 0) {
        limits.push(Limit::new("cpu", "cpu.weight", cpu_weight(shares)).neutral("100"));
    }
    let quota = cpu.quota().filter(|quota| *quota != 0);
    let period = cpu.period().filter(|period| *period != 0);
    if quota.is_some() || period.is_some() {
        let quota =
            quota.filter(|quota| *quota > 0).map_or_else(|| "max".to_owned(), |quota| quota.to_string());
        let period = period.map_or_else(String::new, |period| format!(" {period}"));
        limits.push(Limit::new("cpu", "cpu.max", format!("{quota}{period}")).neutral("max 100000"));
    }
    if let Some(burst) = cpu.burst() {
        limits.push(Limit::new("cpu", "cpu.max.burst", burst).neutral("0"));
    }
    if let Some(idle) = cpu.idle() {
        // After the weight: an idle group takes none.
        limits.push(Limit::new("cpu", "cpu.idle", idle).neutral("0"));
    }
    for (field, file, value) in
        [("cpu.cpus", "cpuset.cpus", cpu.cpus()), ("cpu.mems", "cpuset.mems", cpu.mems())]
    {
        if let Some(list) = value.as_deref().filter(|list| !list.is_empty()) {
            limits.push(Limit::new("cpuset", file, check::list(field, list)?).neutral("\n"));
        }
    }
    Ok(())
}

fn add_block(block: &LinuxBlockIo, limits: &mut Vec<Limit>) {
    let positive = |weight: Option<u16>| weight.filter(|weight| *weight != 0);
    // The BFQ scheduler has a file of its own, in version 1's range.
    if let Some(weight) = positive(block.weight()) {
        let limit = Limit::new("io", "io.weight", io_weight(weight)).optional();
        limits.push(limit.preferring("io.bfq.weight", weight).neutral("default 100"));
    }
    for device in block.weight_device().iter().flatten() {
        if let Some(weight) = positive(device.weight()) {
            let number = format!("{}:{}", device.major(), device.minor());
            let limit = Limit::new("io", "io.weight", format!("{number} {}", io_weight(weight))).optional();
            let limit = limit.preferring("io.bfq.weight", format!("{number} {weight}"));
            limits.push(limit.neutral(format!("{number} default")).keyed(number));
        }
    }
    let mut throttle = |key: &str, devices: &Option<Vec<LinuxThrottleDevice>>| {
        for device in devices.iter().flatten() {
            let name = format!("{}:{} {key}", device.major(), device.minor());
            let limit = Limit::new("io", "io.max", format!("{name}={}", device.rate()));
            limits.push(limit.neutral(format!("{name}=max")).keyed(name));
        }
    };
    throttle("rbps", block.throttle_read_bps_device());
    throttle("wbps", block.throttle_write_bps_device());
    throttle("riops", block.throttle_read_iops_device());
    throttle("wiops", block.throttle_write_iops_device());
}

/// The same files in both versions.
pub(super) fn add_rdma(resources: &LinuxResources, limits: &mut Vec<Limit>) -> Result<(), CgroupPlanError> {
    let Some(devices) = resources.rdma() else { return Ok(()) };
    // Sorted: the same resources give the same plan.
    let devices: BTreeMap<_, _> = devices.iter().collect();
    for (name, limit) in devices {
        let number = |value: Option<u32>| value.map_or_else(|| "max".to_owned(), |value| value.to_string());
        let (handles, objects) = (number(limit.hca_handles()), number(limit.hca_objects()));
        let name = check::word("rdma", name)?;
        let value = format!("{name} hca_handle={handles} hca_object={objects}");
        let limit = Limit::new("rdma", "rdma.max", value);
        limits.push(limit.neutral(format!("{name} hca_handle=max hca_object=max")).keyed(name));
    }
    Ok(())
}

/// What a line of a file with many lines is about, a device for example; empty for a value that is alone.
fn line_key(line: &str) -> &str {
    let first = line.split_whitespace().next().unwrap_or_default();
    if first.contains(':') || first == "default" || line.contains('=') { first } else { "" }
}

/// Files by their own names, after everything else, so that they win.
fn add_unified(resources: &LinuxResources, limits: &mut Vec<Limit>) -> Result<(), CgroupPlanError> {
    let Some(files) = resources.unified() else { return Ok(()) };
    let files: BTreeMap<_, _> = files.iter().collect();
    for (file, value) in files {
        const CONTROLLERS: [&str; 8] = ["cpu", "cpuset", "hugetlb", "io", "memory", "misc", "pids", "rdma"];
        let name = check::unified_file(file)?;
        let controller = name.split('.').next().unwrap_or_default();
        let Some(controller) = CONTROLLERS.iter().find(|known| **known == controller) else {
            return Err(CgroupPlanError::NoController { controller: controller.to_owned() });
        };
        if value.len() > 4096 || value.contains('\0') {
            return Err(CgroupPlanError::value("unified", value, "a value has at most 4096 bytes"));
        }
        for line in value.lines() {
            limits.push(Limit::new(controller, name, line).keyed(line_key(line)));
        }
    }
    Ok(())
}
