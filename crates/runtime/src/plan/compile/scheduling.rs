//! Scheduling, disk priority, processors, memory nodes and personality: words become the kernel's numbers.

use oci_spec::runtime::{
    ExecCPUAffinity, IOPriorityClass, Linux, LinuxIOPriority, LinuxMemoryPolicy, LinuxPersonalityDomain,
    LinuxSchedulerFlag, LinuxSchedulerPolicy, MemoryPolicyFlagType, MemoryPolicyModeType,
    Scheduler as SpecScheduler,
};

use crate::plan::{Affinity, IoPriority, MemoryPolicy, PlanError, Scheduler};

/// Processors and memory nodes are numbered below this.
const NUMBERS_MAX: u32 = 8192;

pub(super) fn scheduler(spec: &SpecScheduler) -> Result<Scheduler, PlanError> {
    let policy = match spec.policy() {
        LinuxSchedulerPolicy::SchedOther => 0,
        LinuxSchedulerPolicy::SchedFifo => 1,
        LinuxSchedulerPolicy::SchedRr => 2,
        LinuxSchedulerPolicy::SchedBatch => 3,
        LinuxSchedulerPolicy::SchedIso => 4,
        LinuxSchedulerPolicy::SchedIdle => 5,
        LinuxSchedulerPolicy::SchedDeadline => 6,
    };
    let nice = spec.nice().unwrap_or(0);
    if !(-20..=19).contains(&nice) {
        return Err(PlanError::invalid("process.scheduler.nice", nice.to_string()));
    }
    let priority = spec.priority().unwrap_or(0);
    let priority = u32::try_from(priority)
        .map_err(|_| PlanError::invalid("process.scheduler.priority", priority.to_string()))?;
    let flag = |flag: &LinuxSchedulerFlag| match flag {
        LinuxSchedulerFlag::SchedResetOnFork => 0x01,
        LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
        LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
        LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
        LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
        LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
        LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
    };
    Ok(Scheduler {
        policy,
        nice,
        priority,
        flags: spec.flags().iter().flatten().fold(0, |bits, one| bits | flag(one)),
        runtime_ns: spec.runtime().unwrap_or(0),
        deadline_ns: spec.deadline().unwrap_or(0),
        period_ns: spec.period().unwrap_or(0),
    })
}

pub(super) fn io_priority(spec: &LinuxIOPriority) -> Result<IoPriority, PlanError> {
    let class = match spec.class() {
        IOPriorityClass::IoprioClassRt => 1,
        IOPriorityClass::IoprioClassBe => 2,
        IOPriorityClass::IoprioClassIdle => 3,
    };
    let level = u32::try_from(spec.priority()).ok().filter(|level| *level <= 7);
    let level = level
        .ok_or_else(|| PlanError::invalid("process.ioPriority.priority", spec.priority().to_string()))?;
    Ok(IoPriority { class, level })
}

pub(super) fn affinity(spec: &ExecCPUAffinity) -> Result<Affinity, PlanError> {
    let mask = |field, list: Option<&String>| match list.map(|list| list.trim()) {
        None | Some("") => Ok(Vec::new()),
        Some(list) => numbers(field, list),
    };
    Ok(Affinity {
        initial: mask("process.execCPUAffinity.initial", spec.initial().as_ref())?,
        last: mask("process.execCPUAffinity.final", spec.cpu_affinity_final().as_ref())?,
    })
}

pub(super) fn memory_policy(spec: &LinuxMemoryPolicy) -> Result<MemoryPolicy, PlanError> {
    let mode = match spec.mode() {
        MemoryPolicyModeType::MpolDefault => 0,
        MemoryPolicyModeType::MpolPreferred => 1,
        MemoryPolicyModeType::MpolBind => 2,
        MemoryPolicyModeType::MpolInterleave => 3,
        MemoryPolicyModeType::MpolLocal => 4,
        MemoryPolicyModeType::MpolPreferredMany => 5,
        MemoryPolicyModeType::MpolWeightedInterleave => 6,
    };
    let flag = |flag: &MemoryPolicyFlagType| match flag {
        MemoryPolicyFlagType::MpolFNumaBalancing => 1 << 13,
        MemoryPolicyFlagType::MpolFRelativeNodes => 1 << 14,
        MemoryPolicyFlagType::MpolFStaticNodes => 1 << 15,
    };
    let nodes = match spec.nodes().as_deref().unwrap_or_default().trim() {
        "" => Vec::new(),
        nodes => numbers("linux.memoryPolicy.nodes", nodes)?,
    };
    Ok(MemoryPolicy { mode: spec.flags().iter().flatten().fold(mode, |bits, one| bits | flag(one)), nodes })
}

/// The number that personality(2) takes.
pub(super) fn personality(linux: &Linux) -> Result<Option<u32>, PlanError> {
    let Some(personality) = linux.personality() else { return Ok(None) };
    if let Some(flag) = personality.flags().iter().flatten().next() {
        return Err(PlanError::unsupported(format!("linux.personality.flags {flag:?}")));
    }
    Ok(Some(match personality.domain() {
        LinuxPersonalityDomain::PerLinux => 0,
        LinuxPersonalityDomain::PerLinux32 => 8,
    }))
}

/// `0-3,7` as a mask.
fn numbers(field: &str, text: &str) -> Result<Vec<u64>, PlanError> {
    let bad = || PlanError::invalid(field, text);
    let mut mask = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.trim().parse::<u32>().ok().filter(|number| *number < NUMBERS_MAX);
        let (first, last) = (number(first).ok_or_else(bad)?, number(last).ok_or_else(bad)?);
        if first > last {
            return Err(bad());
        }
        for number in first..=last {
            let word = (number / 64) as usize;
            if mask.len() <= word {
                mask.resize(word + 1, 0);
            }
            mask[word] |= 1 << (number % 64);
        }
    }
    Ok(mask)
}

#[cfg(test)]
mod tests {
    use super::numbers;

    #[test]
    fn a_list_of_numbers_and_ranges_is_a_mask() {
        assert_eq!(numbers("f", "0-3,7").expect("valid"), [0x8f]);
        assert_eq!(numbers("f", "64, 0").expect("valid"), [1, 1]);
        for bad in ["x", "3-1", "0-", "-1", "9999999", "0,,1", "8192"] {
            assert!(numbers("f", bad).is_err(), "{bad}");
        }
    }
}
