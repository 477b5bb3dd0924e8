//! Version 1's files: a folder per controller. Numbers are those of the group with all below it, as version 2's
//! are.

use std::collections::BTreeMap;

use super::{CpuStats, Files, HugetlbStats, IoStats, MemoryStats, PidsStats, Stats};
use crate::cgroup::CgroupError;

/// A limit this high is none: the kernel rounds its largest number down to a page.
const UNLIMITED: u64 = 0x7fff_ffff_ffff_0000;
/// Nanoseconds in a clock tick of user space (`USER_HZ`, the same on every architecture Linux has today).
const TICK_NS: u64 = 10_000_000;

pub(super) fn read(folder: impl Fn(&str) -> Option<Files>) -> Result<Stats, CgroupError> {
    let mut stats = Stats::default();
    if let Some(files) = folder("cpu") {
        bandwidth(&files, &mut stats.cpu)?;
    }
    if let Some(files) = folder("cpuacct") {
        times(&files, &mut stats.cpu)?;
    }
    if let Some(files) = folder("memory") {
        stats.memory = memory(&files)?;
    }
    if let Some(files) = folder("pids") {
        stats.pids = PidsStats {
            current: files.number("pids.current")?.unwrap_or_default(),
            max: files.number("pids.max")?,
        };
    }
    if let Some(files) = folder("blkio") {
        stats.io = io(&files)?;
    }
    if let Some(files) = folder("hugetlb") {
        stats.hugetlb = hugetlb(&files)?;
    }
    if let Some(files) = folder("rdma") {
        stats.rdma = super::unified::rdma(&files.text("rdma.current")?.unwrap_or_default());
    }
    Ok(stats)
}

fn bandwidth(files: &Files, stats: &mut CpuStats) -> Result<(), CgroupError> {
    let stat = files.table("cpu.stat")?;
    let of = |name: &str| stat.get(name).copied().unwrap_or_default();
    stats.periods = of("nr_periods");
    stats.throttled_periods = of("nr_throttled");
    stats.throttled_ns = of("throttled_time");
    Ok(())
}

fn times(files: &Files, stats: &mut CpuStats) -> Result<(), CgroupError> {
    stats.usage_ns = files.must("cpuacct.usage")?.trim().parse().unwrap_or_default();
    let text = files.text("cpuacct.usage_percpu")?.unwrap_or_default();
    stats.per_cpu_ns = text.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    let precise = (files.number("cpuacct.usage_user")?, files.number("cpuacct.usage_sys")?);
    (stats.user_ns, stats.system_ns) = if let (Some(user), Some(system)) = precise {
        (user, system)
    } else {
        // Before Linux 4.8.
        let ticks = files.table("cpuacct.stat")?;
        let of = |name: &str| ticks.get(name).copied().unwrap_or_default().saturating_mul(TICK_NS);
        (of("user"), of("system"))
    };
    Ok(())
}

fn memory(files: &Files) -> Result<MemoryStats, CgroupError> {
    let all = files.table("memory.stat")?;
    let of = |name: &str| all.get(name).copied().unwrap_or_default();
    let limit = |value: Option<u64>| value.filter(|value| *value < UNLIMITED);
    let usage_bytes = files.must("memory.usage_in_bytes")?.trim().parse().unwrap_or_default();
    let limit_bytes = limit(files.number("memory.limit_in_bytes")?);
    // Memory and swap together, here.
    let with_swap = files.number("memory.memsw.usage_in_bytes")?;
    let with_swap_limit = limit(files.number("memory.memsw.limit_in_bytes")?);
    let swap_limit = |total: u64| total.saturating_sub(limit_bytes.unwrap_or_default());
    Ok(MemoryStats {
        usage_bytes,
        peak_bytes: files.number("memory.max_usage_in_bytes")?,
        limit_bytes,
        limit_hits: files.number("memory.failcnt")?.unwrap_or_default(),
        swap_bytes: with_swap.map(|_| of("total_swap")),
        swap_limit_bytes: with_swap_limit.map(swap_limit),
        kernel_bytes: files.number("memory.kmem.usage_in_bytes")?,
        anonymous_bytes: of("total_rss"),
        file_bytes: of("total_cache"),
        inactive_file_bytes: of("total_inactive_file"),
        oom_kills: files.table("memory.oom_control")?.get("oom_kill").copied().unwrap_or_default(),
        all,
        pressure: None,
    })
}

/// The throttling layer counts whatever the I/O scheduler; the older file has the group alone.
fn io(files: &Files) -> Result<Vec<IoStats>, CgroupError> {
    let read = |name: &str| match files.text(&format!("blkio.throttle.{name}_recursive"))? {
        Some(text) => Ok(text),
        None => Ok::<_, CgroupError>(files.text(&format!("blkio.throttle.{name}"))?.unwrap_or_default()),
    };
    let mut devices: BTreeMap<(u32, u32), IoStats> = BTreeMap::new();
    for (name, is_bytes) in [("io_service_bytes", true), ("io_serviced", false)] {
        for (numbers, operation, value) in read(name)?.lines().filter_map(operation) {
            let device = devices.entry(numbers).or_default();
            (device.major, device.minor) = numbers;
            match (operation, is_bytes) {
                ("Read", true) => device.read_bytes = value,
                ("Write", true) => device.write_bytes = value,
                ("Read", false) => device.reads = value,
                ("Write", false) => device.writes = value,
                _ => {}
            }
        }
    }
    Ok(devices.into_values().collect())
}

/// `8:0 Read 4096`.
fn operation(line: &str) -> Option<((u32, u32), &str, u64)> {
    let mut words = line.split_whitespace();
    let numbers = super::text::device(words.next()?)?;
    Some((numbers, words.next()?, words.next()?.parse().ok()?))
}

fn hugetlb(files: &Files) -> Result<BTreeMap<String, HugetlbStats>, CgroupError> {
    let sizes = files.between("hugetlb.", ".usage_in_bytes");
    let stats = |size: String| {
        let number = |name: &str| files.number(&format!("hugetlb.{size}.{name}"));
        let stats = HugetlbStats {
            usage_bytes: number("usage_in_bytes")?.unwrap_or_default(),
            peak_bytes: number("max_usage_in_bytes")?,
            limit_hits: number("failcnt")?.unwrap_or_default(),
        };
        Ok((size, stats))
    };
    sizes.into_iter().map(stats).collect()
}
