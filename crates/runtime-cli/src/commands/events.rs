//! `events`: what the control group tells, as lines of JSON in the form that runc's callers read: a sample of
//! everything at each interval, and a line when the kernel killed a process for want of memory.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, OwnedFd};

use gantry_linux::event::wait_readable;
use gantry_runtime::cgroup::Host;
use gantry_runtime::cgroup::stats::{IoStats, Stats};
use serde_json::{Value, json};

use super::{Outcome, cgroup_of};
use crate::containers::{Containers, Folder};
use crate::failure::Failure;
use crate::options::Events;
use crate::output;
use crate::record::{Record, Status};

pub(super) fn events(options: &Events, containers: &Containers) -> Outcome {
    let (folder, record) = containers.find(&options.id)?;
    if !lives(&folder, &record) {
        return Err(Failure::NotRunning);
    }
    let (Some(cgroup), Some(group)) = (cgroup_of(&folder)?, folder.plan()?.cgroup) else {
        let why = "the container has no control group of its own".to_owned();
        return Err(Failure::Unavailable { what: "events", why });
    };
    let host = Host::read()?;
    let sample = || -> Result<(), Failure> {
        let stats = Stats::read(&host, &group.path)?;
        output::compact(&json!({"type": "stats", "id": record.id, "data": data(&stats)}))
    };
    if options.stats {
        sample()?;
        return Ok(None);
    }
    let notifier: Option<OwnedFd> = cgroup.oom_notifier()?;
    let mut kills = cgroup.oom_kills()?.unwrap_or(0);
    while lives(&folder, &record) {
        match &notifier {
            Some(notifier)
                if wait_readable(notifier.as_fd(), Some(options.interval)).map_err(Failure::kernel)? =>
            {
                // What it says is that something happened; what, is counted.
                let _ = rustix::io::read(notifier, &mut [0; 4096]);
                let counted = cgroup.oom_kills()?.unwrap_or(kills);
                if std::mem::replace(&mut kills, counted) < counted {
                    output::compact(&json!({"type": "oom", "id": record.id}))?;
                }
            }
            Some(_) => sample()?,
            None => {
                std::thread::sleep(options.interval);
                sample()?;
            }
        }
    }
    Ok(None)
}

fn lives(folder: &Folder, record: &Record) -> bool {
    matches!(folder.status(record), Status::Created | Status::Running | Status::Paused)
}

/// A sample in runc's form. A limit that is not there is the largest number, as version 1 tells it.
fn data(stats: &Stats) -> Value {
    let (cpu, memory) = (&stats.cpu, &stats.memory);
    let limit = |limit: Option<u64>| limit.unwrap_or(u64::MAX);
    json!({
        "cpu": {
            "usage": {"total": cpu.usage_ns, "percpu": cpu.per_cpu_ns, "kernel": cpu.system_ns, "user": cpu.user_ns},
            "throttling": {"periods": cpu.periods, "throttledPeriods": cpu.throttled_periods,
                           "throttledTime": cpu.throttled_ns}
        },
        "memory": {
            "cache": memory.file_bytes,
            "usage": {"limit": limit(memory.limit_bytes), "usage": memory.usage_bytes,
                      "max": memory.peak_bytes.unwrap_or(0), "failcnt": memory.limit_hits},
            "swap": {"limit": limit(memory.swap_limit_bytes), "usage": memory.swap_bytes.unwrap_or(0), "failcnt": 0},
            "kernel": {"limit": u64::MAX, "usage": memory.kernel_bytes.unwrap_or(0), "failcnt": 0},
            "kernelTCP": {"limit": u64::MAX, "failcnt": 0},
            "raw": memory.all
        },
        "pids": {"current": stats.pids.current, "limit": stats.pids.max.unwrap_or(0)},
        "blkio": {
            "ioServiceBytesRecursive": io(&stats.io, |io| (io.read_bytes, io.write_bytes)),
            "ioServicedRecursive": io(&stats.io, |io| (io.reads, io.writes))
        },
        "hugetlb": stats.hugetlb.iter().map(|(size, pages)| {
            let value = json!({"usage": pages.usage_bytes, "max": pages.peak_bytes.unwrap_or(0), "failcnt": pages.limit_hits});
            (size.clone(), value)
        }).collect::<BTreeMap<_, _>>(),
        "intel_rdt": {},
        "network_interfaces": null
    })
}

fn io(devices: &[IoStats], counters: impl Fn(&IoStats) -> (u64, u64)) -> Vec<Value> {
    let lines = |device: &IoStats| {
        let (reads, writes) = counters(device);
        [("Read", reads), ("Write", writes)].map(
            |(op, value)| json!({"major": device.major, "minor": device.minor, "op": op, "value": value}),
        )
    };
    devices.iter().flat_map(lines).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_has_the_fields_that_callers_read() {
        let io = vec![IoStats { major: 8, read_bytes: 7, ..IoStats::default() }];
        let data = data(&Stats { io, ..Stats::default() });
        assert_eq!(data["memory"]["usage"]["limit"], u64::MAX);
        assert_eq!(data["blkio"]["ioServiceBytesRecursive"][0]["value"], 7);
        for field in ["cpu", "memory", "pids", "blkio", "hugetlb"] {
            assert!(data.get(field).is_some(), "{field} is missing");
        }
    }
}
