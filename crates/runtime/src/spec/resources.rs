//! Which limits does the container's control group get? Ranges are checked here, where the sentence can
//! name the flag, rather than by an EINVAL from a kernel file. Writing the files is the cgroup module's.

use gantry_types::Resources;
use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxDeviceCgroup, LinuxMemory, LinuxPids, LinuxResources};

use super::{HostFacts, SpecError};

/// Microseconds of the bandwidth period that quotas are counted in.
const CPU_PERIOD_US: u64 = 100_000;
/// The least memory that a container can start in.
const MEMORY_BYTES_MIN: u64 = 6 << 20;
/// The least processor time: a hundredth of one processor.
const NANO_CPUS_MIN: u64 = 10_000_000;
/// Billionths in one processor.
const NANO: u64 = 1_000_000_000;
/// No processor or memory node has a higher number (the kernel's largest `NR_CPUS`).
const CPU_NUMBER_MAX: u32 = 8191;
/// Bytes of a list of processors.
const CPUSET_BYTES_MAX: usize = 4096;

/// The request's limits and the device rules in the OCI crate's terms.
pub(crate) fn build(
    asked: &Resources,
    host: &HostFacts,
    devices: Vec<LinuxDeviceCgroup>,
) -> Result<LinuxResources, SpecError> {
    let mut resources = LinuxResources::default();
    resources.set_devices(Some(devices));
    resources.set_memory(memory(asked)?);
    resources.set_cpu(cpu(asked, host)?);
    if let Some(max) = asked.pids_max {
        if max == 0 {
            return Err(refused("pids", "at least one process is needed"));
        }
        let mut pids = LinuxPids::default();
        pids.set_limit(signed("pids", max)?);
        resources.set_pids(Some(pids));
    }
    if let Some(weight) = asked.blkio_weight {
        if !(10..=1000).contains(&weight) {
            return Err(refused("blkio weight", "it goes from 10 to 1000"));
        }
        let mut block = LinuxBlockIo::default();
        block.set_weight(Some(weight));
        resources.set_block_io(Some(block));
    }
    Ok(resources)
}

fn memory(asked: &Resources) -> Result<Option<LinuxMemory>, SpecError> {
    let Some(limit) = asked.memory_bytes else {
        if asked.memory_swap_bytes.is_some_and(|swap| swap != u64::MAX) {
            return Err(refused("memory swap", "it needs a memory limit"));
        }
        let Some(reservation) = asked.memory_reservation_bytes else {
            return Ok(None);
        };
        let mut memory = LinuxMemory::default();
        memory.set_reservation(Some(signed("memory reservation", reservation)?));
        return Ok(Some(memory));
    };
    if limit < MEMORY_BYTES_MIN {
        return Err(refused("memory", "the least is 6 MiB"));
    }
    let mut memory = LinuxMemory::default();
    memory.set_limit(Some(signed("memory", limit)?));
    memory.set_swap(Some(match asked.memory_swap_bytes {
        Some(u64::MAX) => -1,
        Some(swap) if swap < limit => {
            return Err(refused(
                "memory swap",
                "it counts memory and swap together, so it is not below memory",
            ));
        }
        Some(swap) => signed("memory swap", swap)?,
        // As much swap as memory, as docker does it.
        None => signed("memory swap", limit.saturating_mul(2)).unwrap_or(-1),
    }));
    if let Some(reservation) = asked.memory_reservation_bytes {
        if reservation > limit {
            return Err(refused("memory reservation", "it is not above memory"));
        }
        memory.set_reservation(Some(signed("memory reservation", reservation)?));
    }
    Ok(Some(memory))
}

fn cpu(asked: &Resources, host: &HostFacts) -> Result<Option<LinuxCpu>, SpecError> {
    let mut cpu = LinuxCpu::default();
    if let Some(nano) = asked.nano_cpus {
        if nano < NANO_CPUS_MIN {
            return Err(refused("cpus", "the least is 0.01"));
        }
        if nano > u64::from(host.cpus) * NANO {
            return Err(refused("cpus", "the host has not got so many"));
        }
        // Below the check above this is at most 8192 periods.
        let quota = u128::from(nano) * u128::from(CPU_PERIOD_US) / u128::from(NANO);
        cpu.set_quota(i64::try_from(quota).ok());
        cpu.set_period(Some(CPU_PERIOD_US));
    }
    if let Some(shares) = asked.cpu_shares {
        if !(2..=262_144).contains(&shares) {
            return Err(refused("cpu shares", "they go from 2 to 262144"));
        }
        cpu.set_shares(Some(shares));
    }
    if let Some(list) = &asked.cpuset_cpus {
        check_list(list, host.cpus.saturating_sub(1), "cpuset cpus")?;
        cpu.set_cpus(Some(list.clone()));
    }
    if let Some(list) = &asked.cpuset_mems {
        check_list(list, CPU_NUMBER_MAX, "cpuset mems")?;
        cpu.set_mems(Some(list.clone()));
    }
    Ok((cpu != LinuxCpu::default()).then_some(cpu))
}

/// Checks a list in the form of cpuset(7) (`0-2,4`) without ever expanding it: an absurd range must cost
/// nothing (CVE-2018-20699).
fn check_list(list: &str, highest: u32, name: &'static str) -> Result<(), SpecError> {
    let number = |text: &str| {
        let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| text.parse::<u32>().ok()).flatten()
    };
    if list.len() > CPUSET_BYTES_MAX {
        return Err(refused(name, "the list is too long"));
    }
    for range in list.split(',') {
        let (first, end) = range.split_once('-').unwrap_or((range, range));
        let (Some(first), Some(end)) = (number(first), number(end)) else {
            return Err(refused(name, "it is a list such as 0-2,4"));
        };
        if first > end {
            return Err(refused(name, "a range goes upwards"));
        }
        if end > highest.min(CPU_NUMBER_MAX) {
            return Err(refused(name, "the host has no such number"));
        }
    }
    Ok(())
}

fn signed(name: &'static str, value: u64) -> Result<i64, SpecError> {
    i64::try_from(value).map_err(|_| refused(name, "the number is too large"))
}

fn refused(name: &'static str, rule: &'static str) -> SpecError {
    SpecError::Resource { name, rule }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::tests::host;

    fn built(change: impl Fn(&mut Resources)) -> Result<LinuxResources, SpecError> {
        let mut asked = Resources::default();
        change(&mut asked);
        build(&asked, &host(), Vec::new())
    }

    #[test]
    fn limits_become_kernel_numbers() {
        let resources = built(|asked| {
            asked.memory_bytes = Some(64 << 20);
            asked.nano_cpus = Some(1_500_000_000);
            asked.pids_max = Some(100);
            asked.cpuset_cpus = Some("0-1,3".to_owned());
        })
        .expect("is valid");
        let memory = resources.memory().expect("has memory");
        assert_eq!((memory.limit(), memory.swap()), (Some(64 << 20), Some(128 << 20)));
        let cpu = resources.cpu().as_ref().expect("has cpu");
        assert_eq!((cpu.quota(), cpu.period()), (Some(150_000), Some(100_000)));
        assert_eq!(resources.pids().expect("has pids").limit(), 100);
        let unlimited = built(|asked| {
            asked.memory_bytes = Some(64 << 20);
            asked.memory_swap_bytes = Some(u64::MAX);
        });
        assert_eq!(unlimited.expect("is valid").memory().expect("has").swap(), Some(-1));
        let untouched = built(|_| {}).expect("is valid");
        assert!(untouched.memory().is_none() && untouched.cpu().is_none() && untouched.pids().is_none());
    }

    #[test]
    fn absurd_limits_are_refused() {
        let bad: [fn(&mut Resources); 12] = [
            |asked| asked.memory_bytes = Some(1),
            |asked| asked.memory_bytes = Some(u64::MAX),
            |asked| asked.memory_swap_bytes = Some(1 << 30),
            |asked| (asked.memory_bytes, asked.memory_swap_bytes) = (Some(64 << 20), Some(32 << 20)),
            |asked| (asked.memory_bytes, asked.memory_reservation_bytes) = (Some(64 << 20), Some(65 << 20)),
            |asked| asked.nano_cpus = Some(1),
            |asked| asked.nano_cpus = Some(u64::MAX),
            |asked| asked.pids_max = Some(0),
            |asked| asked.cpu_shares = Some(1),
            |asked| asked.blkio_weight = Some(9),
            |asked| asked.cpuset_cpus = Some("0-99999999999".to_owned()),
            |asked| asked.cpuset_mems = Some("9999".to_owned()),
        ];
        for (index, change) in bad.iter().enumerate() {
            assert!(built(change).is_err(), "case {index}");
        }
        for list in ["", ",", "1-", "-1", "2-1", "a", "0,+1", "0 ", "4", "0-4", "0-2-3"] {
            let answer = built(|asked| asked.cpuset_cpus = Some(list.to_owned()));
            assert!(answer.is_err(), "{list:?}");
        }
    }
}
