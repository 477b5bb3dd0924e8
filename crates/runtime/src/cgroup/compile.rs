//! Which files of which hierarchies say what the spec's `linux.resources` says? Pure: the same resources, path
//! and machine give the same plan. Values are checked here as far as they can be without the kernel, at a cost
//! that does not depend on them (CVE-2018-20699).

mod check;
mod devices;
mod error;
mod legacy;
mod unified;
mod update;

use oci_spec::runtime::LinuxResources;

pub(super) use check::group_path as check_path;
pub use error::CgroupPlanError;
pub use update::{CgroupUpdate, merge, update};

use super::{CgroupPlan, Folder, Host, Version, Write};
use crate::cgroup::PreferredFile;

/// The plan for a container's group at `path` (`/gantry/default/1f2e`) below every hierarchy of the machine.
pub fn plan(
    resources: Option<&LinuxResources>,
    path: &str,
    host: &Host,
) -> Result<CgroupPlan, CgroupPlanError> {
    let path = check::group_path(path)?;
    let rules = devices::Rules::of(resources.and_then(|resources| resources.devices().as_deref()))?;
    let on_legacy = host.has_legacy_controllers();
    let mut limits = limits(resources, on_legacy)?;
    if on_legacy {
        limits.extend(rules.legacy_writes());
    }
    let mut folders = folders(host)?;
    place(limits, &mut folders)?;
    let device_filter = if on_legacy || host.unified.is_none() { Vec::new() } else { rules.programme() };
    Ok(CgroupPlan { path, folders, device_filter, given: false })
}

/// The limits of whichever version has the controllers; devices are apart.
fn limits(resources: Option<&LinuxResources>, on_legacy: bool) -> Result<Vec<Limit>, CgroupPlanError> {
    match resources {
        Some(resources) if on_legacy => legacy::limits(resources),
        Some(resources) => unified::limits(resources),
        None => Ok(Vec::new()),
    }
}

/// A folder for every hierarchy of the machine, without limits.
fn folders(host: &Host) -> Result<Vec<Folder>, CgroupPlanError> {
    let on_legacy = host.has_legacy_controllers();
    let mut folders: Vec<Folder> = host
        .legacy
        .iter()
        .map(|hierarchy| Folder {
            mountpoint: hierarchy.mountpoint.clone(),
            version: Version::Legacy.into(),
            controllers: hierarchy.controllers.clone(),
            writes: Vec::new(),
        })
        .collect();
    if let Some(unified) = &host.unified {
        folders.push(Folder {
            mountpoint: unified.mountpoint.clone(),
            version: Version::Unified.into(),
            // On a hybrid machine the folder is for processes only.
            controllers: if on_legacy { Vec::new() } else { enabled(&unified.controllers) },
            writes: Vec::new(),
        });
    }
    if folders.is_empty() { Err(CgroupPlanError::NoHierarchy) } else { Ok(folders) }
}

/// A write, the controller that has its file, and how it is taken back.
#[derive(Clone, PartialEq, Eq)]
struct Limit {
    controller: &'static str,
    write: Write,
    /// In a file with many values, which one this is: `8:0 rbps`. Empty in a file with one.
    key: String,
    /// The value that means no limit, or the kernel's default. `None` when there is none.
    neutral: Option<String>,
}

impl Limit {
    #[expect(clippy::needless_pass_by_value, reason = "numbers and texts, written where they are made")]
    fn new(controller: &'static str, file: impl Into<String>, value: impl ToString) -> Self {
        let (file, value) = (file.into(), value.to_string());
        let write = Write { file, value, ..Write::default() };
        Self { controller, write, key: String::new(), neutral: None }
    }

    /// The value that takes it back.
    fn neutral(mut self, value: impl Into<String>) -> Self {
        self.neutral = Some(value.into());
        self
    }

    /// One of several values in the file.
    fn keyed(mut self, key: impl Into<String>) -> Self {
        self.key = key.into();
        self
    }

    /// Refused unless what the file `usage` says is at most the value.
    fn not_below(mut self, usage: &str) -> Self {
        usage.clone_into(&mut self.write.usage);
        self
    }

    /// A kernel without the file, or without the controller, is good enough.
    fn optional(mut self) -> Self {
        self.write.optional = true;
        self
    }

    /// Whether both set the same thing, to whatever value.
    fn is_same_value(&self, other: &Self) -> bool {
        self.write.file == other.write.file && self.key == other.key
    }

    #[expect(clippy::needless_pass_by_value, reason = "numbers and texts, written where they are made")]
    fn preferring(mut self, file: &str, value: impl ToString) -> Self {
        self.write.preferred = Some(PreferredFile { file: file.to_owned(), value: value.to_string() });
        self
    }
}

/// Gives each limit to the folder whose hierarchy has its controller.
fn place(limits: Vec<Limit>, folders: &mut [Folder]) -> Result<(), CgroupPlanError> {
    for limit in limits {
        let has = |folder: &&mut Folder| folder.controllers.iter().any(|name| name == limit.controller);
        match folders.iter_mut().find(has) {
            Some(folder) => folder.writes.push(limit.write),
            None if limit.write.optional => {}
            None => return Err(CgroupPlanError::NoController { controller: limit.controller.to_owned() }),
        }
    }
    Ok(())
}

/// The controllers that a container gets on version 2, of those that the machine has.
fn enabled(available: &[String]) -> Vec<String> {
    const WANTED: [&str; 8] = ["cpu", "cpuset", "hugetlb", "io", "memory", "misc", "pids", "rdma"];
    available.iter().filter(|name| WANTED.contains(&name.as_str())).cloned().collect()
}

#[cfg(test)]
mod tests;
