//! Version 2's files: one folder has all.

use super::text::{device, nested, table};
use super::{CpuStats, Files, HugetlbStats, IoStats, MemoryStats, PidsStats, RdmaStats, Stats};
use crate::cgroup::CgroupError;

pub(super) fn read(files: &Files) -> Result<Stats, CgroupError> {
    Ok(Stats {
        cpu: cpu(files)?,
        memory: memory(files)?,
        pids: PidsStats {
            current: files.number("pids.current")?.unwrap_or_default(),
            max: files.number("pids.max")?,
        },
        io: io(files)?,
        io_pressure: None,
        hugetlb: files
            .between("hugetlb.", ".current")
            .into_iter()
            .map(|size| {
                let events = files.table(&format!("hugetlb.{size}.events"))?;
                let stats = HugetlbStats {
                    usage_bytes: files.number(&format!("hugetlb.{size}.current"))?.unwrap_or_default(),
                    peak_bytes: None,
                    limit_hits: events.get("max").copied().unwrap_or_default(),
                };
                Ok((size, stats))
            })
            .collect::<Result<_, CgroupError>>()?,
        rdma: rdma(&files.text("rdma.current")?.unwrap_or_default()),
    })
}

fn cpu(files: &Files) -> Result<CpuStats, CgroupError> {
    // Without its controller the file has the times alone.
    let stat = table(&files.must("cpu.stat")?);
    let of = |name: &str| stat.get(name).copied().unwrap_or_default();
    Ok(CpuStats {
        usage_ns: of("usage_usec").saturating_mul(1000),
        user_ns: of("user_usec").saturating_mul(1000),
        system_ns: of("system_usec").saturating_mul(1000),
        per_cpu_ns: Vec::new(),
        periods: of("nr_periods"),
        throttled_periods: of("nr_throttled"),
        throttled_ns: of("throttled_usec").saturating_mul(1000),
        pressure: None,
    })
}

fn memory(files: &Files) -> Result<MemoryStats, CgroupError> {
    let (all, events) = (files.table("memory.stat")?, files.table("memory.events")?);
    let of = |name: &str| all.get(name).copied().unwrap_or_default();
    let event = |name: &str| events.get(name).copied().unwrap_or_default();
    Ok(MemoryStats {
        usage_bytes: files.number("memory.current")?.unwrap_or_default(),
        peak_bytes: files.number("memory.peak")?,
        limit_bytes: files.number("memory.max")?,
        limit_hits: event("max"),
        swap_bytes: files.number("memory.swap.current")?,
        swap_limit_bytes: files.number("memory.swap.max")?,
        kernel_bytes: all.get("kernel").copied(),
        anonymous_bytes: of("anon"),
        file_bytes: of("file"),
        inactive_file_bytes: of("inactive_file"),
        oom_kills: event("oom_kill"),
        all,
        pressure: None,
    })
}

fn io(files: &Files) -> Result<Vec<IoStats>, CgroupError> {
    let text = files.text("io.stat")?.unwrap_or_default();
    let mut devices: Vec<IoStats> = nested(&text)
        .filter_map(|(head, values)| {
            let (major, minor) = device(head)?;
            let of = |name: &str| values.get(name).copied().unwrap_or_default();
            Some(IoStats {
                major,
                minor,
                read_bytes: of("rbytes"),
                write_bytes: of("wbytes"),
                reads: of("rios"),
                writes: of("wios"),
            })
        })
        .collect();
    devices.sort_by_key(|device| (device.major, device.minor));
    Ok(devices)
}

/// The same in both versions.
pub(super) fn rdma(text: &str) -> std::collections::BTreeMap<String, RdmaStats> {
    let stats = |(name, values): (&str, std::collections::BTreeMap<&str, u64>)| {
        let of = |name: &str| values.get(name).copied().unwrap_or_default();
        (name.to_owned(), RdmaStats { hca_handles: of("hca_handle"), hca_objects: of("hca_object") })
    };
    nested(text).map(stats).collect()
}
