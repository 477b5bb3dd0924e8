//! The resources in version 1's files. Their order matters where one limit bounds another: memory before memory
//! with swap, the period before the quota.

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources, LinuxThrottleDevice};

use super::check;
use super::{CgroupPlanError, Limit};

pub(super) fn limits(resources: &LinuxResources) -> Result<Vec<Limit>, CgroupPlanError> {
    let mut limits = Vec::new();
    if resources.unified().as_ref().is_some_and(|unified| !unified.is_empty()) {
        return Err(CgroupPlanError::Unsupported { field: "unified", version: 1 });
    }
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
        let value = check::amount("hugepageLimits.limit", page.limit(), "-1")?;
        limits.push(Limit::new("hugetlb", format!("hugetlb.{size}.limit_in_bytes"), &value).neutral("-1"));
        let reserved = Limit::new("hugetlb", format!("hugetlb.{size}.rsvd.limit_in_bytes"), value);
        limits.push(reserved.neutral("-1").optional());
    }
    if let Some(network) = resources.network() {
        if let Some(class) = network.class_id() {
            limits.push(Limit::new("net_cls", "net_cls.classid", class).neutral("0"));
        }
        for priority in network.priorities().iter().flatten() {
            let name = check::word("network.priorities.name", priority.name())?;
            let value = format!("{name} {}", priority.priority());
            let limit = Limit::new("net_prio", "net_prio.ifpriomap", value);
            limits.push(limit.keyed(name).neutral(format!("{name} 0")));
        }
    }
    super::unified::add_rdma(resources, &mut limits)?;
    Ok(limits)
}

fn add_memory(memory: &LinuxMemory, limits: &mut Vec<Limit>) -> Result<(), CgroupPlanError> {
    let amount = |field, value: Option<i64>| match value {
        None | Some(0) => Ok(None),
        Some(value) => check::amount(field, value, "-1").map(Some),
    };
    let limit = amount("memory.limit", memory.limit())?;
    let swap = amount("memory.swap", memory.swap())?;
    if let (Some(bytes), Some(with_swap)) = (memory.limit(), memory.swap())
        && with_swap > 0
        && (bytes == -1 || with_swap < bytes)
    {
        let rule = "memory and swap together are not below memory";
        return Err(CgroupPlanError::value("memory.swap", with_swap, rule));
    }
    if let Some(value) = limit {
        limits.push(Limit::new("memory", "memory.limit_in_bytes", value).neutral("-1"));
    }
    if let Some(value) = swap {
        // A kernel may not account swap.
        limits.push(Limit::new("memory", "memory.memsw.limit_in_bytes", value).neutral("-1").optional());
    }
    if let Some(value) = amount("memory.reservation", memory.reservation())? {
        limits.push(Limit::new("memory", "memory.soft_limit_in_bytes", value).neutral("-1"));
    }
    if let Some(value) = amount("memory.kernelTCP", memory.kernel_tcp())? {
        limits.push(Limit::new("memory", "memory.kmem.tcp.limit_in_bytes", value).neutral("-1").optional());
    }
    match memory.swappiness() {
        None => {}
        Some(value @ 0..=100) => limits.push(Limit::new("memory", "memory.swappiness", value)),
        Some(value) => {
            return Err(CgroupPlanError::value("memory.swappiness", value, "it goes from 0 to 100"));
        }
    }
    if memory.disable_oom_killer() == Some(true) {
        limits.push(Limit::new("memory", "memory.oom_control", 1).neutral("0"));
    }
    if memory.use_hierarchy() == Some(true) {
        // Always so since Linux 5.11.
        limits.push(Limit::new("memory", "memory.use_hierarchy", 1).optional().neutral("1"));
    }
    // `kernel` is not obeyed: Linux 5.16 took its file away, and runc and crun ignore it too. `checkBeforeUpdate`
    // needs nothing: this version's kernel refuses a limit below what is in use by itself.
    Ok(())
}

fn add_cpu(cpu: &LinuxCpu, limits: &mut Vec<Limit>) -> Result<(), CgroupPlanError> {
    let mut add = |file: &str, value: Option<String>, neutral: &str| {
        limits.extend(value.map(|value| Limit::new("cpu", file, value).neutral(neutral)));
    };
    let positive = |value: Option<u64>| value.filter(|value| *value != 0).map(|value| value.to_string());
    add("cpu.shares", positive(cpu.shares()), "1024");
    add("cpu.cfs_period_us", positive(cpu.period()), "100000");
    let quota = cpu.quota().filter(|quota| *quota != 0).map(|quota| quota.max(-1).to_string());
    add("cpu.cfs_quota_us", quota, "-1");
    add("cpu.cfs_burst_us", cpu.burst().map(|burst| burst.to_string()), "0");
    add("cpu.rt_period_us", positive(cpu.realtime_period()), "1000000");
    let runtime = cpu.realtime_runtime().filter(|time| *time != 0).map(|time| time.to_string());
    add("cpu.rt_runtime_us", runtime, "0");
    // After the shares: an idle group takes none.
    add("cpu.idle", cpu.idle().map(|idle| idle.to_string()), "0");
    for (field, file, value) in
        [("cpu.cpus", "cpuset.cpus", cpu.cpus()), ("cpu.mems", "cpuset.mems", cpu.mems())]
    {
        if let Some(list) = value.as_deref().filter(|list| !list.is_empty()) {
            limits.push(Limit::new("cpuset", file, check::list(field, list)?));
        }
    }
    Ok(())
}

fn add_block(block: &LinuxBlockIo, limits: &mut Vec<Limit>) {
    let positive = |weight: Option<u16>| weight.filter(|weight| *weight != 0);
    // Which file there is depends on the I/O scheduler, and none has leaf weights any more.
    if let Some(weight) = positive(block.weight()) {
        let limit = Limit::new("blkio", "blkio.weight", weight).optional();
        limits.push(limit.preferring("blkio.bfq.weight", weight).neutral("100"));
    }
    for device in block.weight_device().iter().flatten() {
        if let Some(weight) = positive(device.weight()) {
            let number = format!("{}:{}", device.major(), device.minor());
            let value = format!("{number} {weight}");
            let limit = Limit::new("blkio", "blkio.weight_device", &value).optional();
            let limit = limit.preferring("blkio.bfq.weight_device", &value);
            limits.push(limit.neutral(format!("{number} 0")).keyed(number));
        }
    }
    let mut throttle = |file: &str, devices: &Option<Vec<LinuxThrottleDevice>>| {
        for device in devices.iter().flatten() {
            let number = format!("{}:{}", device.major(), device.minor());
            let limit = Limit::new("blkio", file, format!("{number} {}", device.rate()));
            limits.push(limit.neutral(format!("{number} 0")).keyed(number));
        }
    };
    throttle("blkio.throttle.read_bps_device", block.throttle_read_bps_device());
    throttle("blkio.throttle.write_bps_device", block.throttle_write_bps_device());
    throttle("blkio.throttle.read_iops_device", block.throttle_read_iops_device());
    throttle("blkio.throttle.write_iops_device", block.throttle_write_iops_device());
}
