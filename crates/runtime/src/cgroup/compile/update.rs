//! Which files change when a live container's resources do? Pure: the difference between what was asked and
//! what is asked now, and an order in which the kernel takes every single write. A limit that is no longer asked
//! for goes back to the kernel's default. What the container's folders hold is not read: whoever wrote into them
//! beside us is overruled only where something changes.
//!
//! The orders: a limit that bounds another is raised before it and lowered after it. Version 1 wants memory
//! with swap never below memory, the quota's share of the period never above what it was or becomes (a parent
//! may bound it), the burst never above the quota; both versions refuse a weight to an idle group.

use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxResources};
use serde_json::Value;

use super::{CgroupPlanError, Limit, check, devices, folders, limits, place};
use crate::cgroup::{Folder, Host, Write};

/// What has to be written to a live group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CgroupUpdate {
    /// The folder below each mountpoint, without a slash at either end.
    pub path: String,
    /// Those that change, with their writes in order.
    pub folders: Vec<Folder>,
    /// Version 2's new device filter, as in [`crate::cgroup::CgroupPlan`]; `Some` of nothing takes it away, `None`
    /// leaves it.
    pub device_filter: Option<Vec<u8>>,
}

impl CgroupUpdate {
    /// Whether nothing has to be done.
    pub fn is_empty(&self) -> bool {
        self.folders.is_empty() && self.device_filter.is_none()
    }
}

/// The way of the group at `path` from `current` to `wanted`, each the whole of the resources: see [`merge`].
pub fn update(
    current: &LinuxResources,
    wanted: &LinuxResources,
    path: &str,
    host: &Host,
) -> Result<CgroupUpdate, CgroupPlanError> {
    let path = check::group_path(path)?;
    let on_legacy = host.has_legacy_controllers();
    let old = effective(limits(Some(current), on_legacy)?);
    let new = effective(limits(Some(wanted), on_legacy)?);
    let mut changes = taken_back(&old, &new)?;
    changes.extend(new.iter().filter(|limit| !old.contains(limit)).cloned());
    order_cpu(current.cpu().as_ref(), wanted.cpu().as_ref(), &mut changes);
    order_memory(current.memory().as_ref(), wanted.memory().as_ref(), &mut changes);

    let rules = |resources: &LinuxResources| devices::Rules::of(resources.devices().as_deref());
    let (old_rules, new_rules) = (rules(current)?, rules(wanted)?);
    if on_legacy {
        changes.extend(new_rules.legacy_changes(&old_rules));
    }
    let filters = !on_legacy && host.unified.is_some() && old_rules != new_rules;
    let mut folders = folders(host)?;
    place(changes, &mut folders)?;
    folders.retain(|folder| !folder.writes.is_empty());
    Ok(CgroupUpdate { path, folders, device_filter: filters.then(|| new_rules.programme()) })
}

/// The resources after a change of those that `change` names: its objects are merged field by field, its lists
/// and its values replace. Memory without a limit frees swap too unless it says otherwise, as in runc.
#[expect(clippy::missing_panics_doc, reason = "resources are a tree of numbers and texts, which JSON holds")]
pub fn merge(current: &LinuxResources, change: &LinuxResources) -> LinuxResources {
    const TREE: &str = "resources are a tree of numbers and texts";
    let json = |resources| serde_json::to_value(resources).expect(TREE);
    let mut merged = json(current);
    merge_values(&mut merged, json(change));
    let mut merged: LinuxResources = serde_json::from_value(merged).expect(TREE);
    let frees = change
        .memory()
        .is_some_and(|memory| memory.limit() == Some(-1) && memory.swap().is_none_or(|swap| swap == 0));
    if let (true, Some(memory)) = (frees, *merged.memory()) {
        let mut memory = memory;
        memory.set_swap(Some(-1));
        merged.set_memory(Some(memory));
    }
    merged
}

fn merge_values(current: &mut Value, change: Value) {
    match (current, change) {
        (Value::Object(current), Value::Object(change)) => {
            for (name, value) in change {
                merge_values(current.entry(name).or_insert(Value::Null), value);
            }
        }
        (_, Value::Null) => {}
        (current, change) => *current = change,
    }
}

/// The last of those that write the same value: files by name win over resources.
fn effective(limits: Vec<Limit>) -> Vec<Limit> {
    let mut kept: Vec<Limit> = Vec::with_capacity(limits.len());
    for limit in limits {
        kept.retain(|earlier| !earlier.is_same_value(&limit));
        kept.push(limit);
    }
    kept
}

/// Limits that are not asked for any more, the last first: a bound stands after what it bounds.
fn taken_back(old: &[Limit], new: &[Limit]) -> Result<Vec<Limit>, CgroupPlanError> {
    let gone = old.iter().rev().filter(|limit| !new.iter().any(|other| other.is_same_value(limit)));
    gone.map(|limit| {
        let Some(value) = limit.neutral.clone() else {
            return Err(CgroupPlanError::Permanent { file: limit.write.file.clone() });
        };
        let mut back = limit.clone();
        back.write = Write { value: value.clone(), usage: String::new(), ..back.write };
        if let Some(preferred) = &mut back.write.preferred {
            preferred.value = value;
        }
        Ok(back)
    })
    .collect()
}

fn order_memory(old: Option<&LinuxMemory>, new: Option<&LinuxMemory>, changes: &mut Vec<Limit>) {
    let finite = |value: Option<i64>| value.filter(|value| *value > 0);
    let old_limit = finite(old.and_then(LinuxMemory::limit));
    let new_swap = finite(new.and_then(LinuxMemory::swap));
    let rises = match (old_limit, new_swap) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(limit), Some(swap)) => limit < swap,
    };
    let (limit, with_swap) = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes");
    if rises {
        put_before(with_swap, limit, changes);
    } else {
        put_before(limit, with_swap, changes);
    }
}

fn order_cpu(old: Option<&LinuxCpu>, new: Option<&LinuxCpu>, changes: &mut Vec<Limit>) {
    /// The kernel's defaults.
    const PERIOD_US: u64 = 100_000;
    const REALTIME_PERIOD_US: u64 = 1_000_000;
    let pair = |read: fn(&LinuxCpu) -> Option<u64>, default| {
        let value =
            |cpu: Option<&LinuxCpu>| cpu.and_then(read).filter(|value| *value != 0).unwrap_or(default);
        (value(old), value(new))
    };
    let mut period_first = |(old, new): (u64, u64), period, quota| {
        if new < old {
            put_before(quota, period, changes);
        } else {
            put_before(period, quota, changes);
        }
    };
    period_first(pair(LinuxCpu::period, PERIOD_US), "cpu.cfs_period_us", "cpu.cfs_quota_us");
    period_first(
        pair(LinuxCpu::realtime_period, REALTIME_PERIOD_US),
        "cpu.rt_period_us",
        "cpu.rt_runtime_us",
    );
    let (old_burst, new_burst) = pair(LinuxCpu::burst, 0);
    for (quota, burst) in [("cpu.cfs_quota_us", "cpu.cfs_burst_us"), ("cpu.max", "cpu.max.burst")] {
        if new_burst < old_burst {
            put_before(burst, quota, changes);
        } else {
            put_before(quota, burst, changes);
        }
    }
    let is_idle = |cpu: Option<&LinuxCpu>| cpu.and_then(LinuxCpu::idle) == Some(1);
    for weight in ["cpu.shares", "cpu.weight"] {
        match (is_idle(old), is_idle(new)) {
            (true, true) => changes.retain(|limit| limit.write.file != weight),
            (true, false) => put_before("cpu.idle", weight, changes),
            (false, true | false) => put_before(weight, "cpu.idle", changes),
        }
    }
}

/// Moves the write of `first` to just before that of `second`, when both are there the other way round.
fn put_before(first: &str, second: &str, changes: &mut Vec<Limit>) {
    let position = |file: &str| changes.iter().position(|limit| limit.write.file == file);
    if let (Some(first), Some(second)) = (position(first), position(second))
        && first > second
    {
        let limit = changes.remove(first);
        changes.insert(second, limit);
    }
}

#[cfg(test)]
mod tests;
