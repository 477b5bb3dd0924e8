//! What a plan must know of the machine: which hierarchies are mounted where. Read once, by the daemon; the
//! compiler itself touches nothing.

use std::collections::BTreeMap;
use std::path::Path;

use gantry_linux::host::CgroupMounts;

use super::CgroupError;
use super::directory::read_file;

/// The machine's control group hierarchies.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Host {
    /// Version 1 hierarchies, in the order of their mountpoints.
    pub legacy: Vec<Hierarchy>,
    /// The version 2 hierarchy.
    pub unified: Option<UnifiedHierarchy>,
}

/// One version 1 hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Where it is mounted: `/sys/fs/cgroup/cpu,cpuacct`.
    pub mountpoint: String,
    /// What it controls, `cpu` and `cpuacct`, or its name, `name=systemd`.
    pub controllers: Vec<String>,
}

/// The version 2 hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnifiedHierarchy {
    /// Where it is mounted.
    pub mountpoint: String,
    /// What it controls; on a hybrid machine nothing, or what version 1 left.
    pub controllers: Vec<String>,
}

impl Host {
    /// Looks at this machine.
    pub fn read() -> Result<Self, CgroupError> {
        let mounts = CgroupMounts::read()
            .map_err(|source| CgroupError::Read { path: "/proc/self/mountinfo".to_owned(), source })?;
        Self::of(&mounts)
    }

    /// The hierarchies of a mount table; reads the controllers of the version 2 one.
    pub fn of(mounts: &CgroupMounts) -> Result<Self, CgroupError> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let mut by_mountpoint: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (controller, mountpoint) in &mounts.legacy {
            by_mountpoint.entry(text(mountpoint)).or_default().push(controller.clone());
        }
        let legacy = by_mountpoint
            .into_iter()
            .map(|(mountpoint, controllers)| Hierarchy { mountpoint, controllers })
            .collect();
        let unified = mounts.unified.as_deref().map(|mountpoint| {
            let path = format!("{}/cgroup.controllers", mountpoint.display());
            let names = read_file(&path).map_err(|source| CgroupError::Read { path, source })?;
            let controllers = names.split_whitespace().map(str::to_owned).collect();
            Ok(UnifiedHierarchy { mountpoint: text(mountpoint), controllers })
        });
        Ok(Self { legacy, unified: unified.transpose()? })
    }

    /// Whether version 1 has controllers, so that limits go there.
    pub fn has_legacy_controllers(&self) -> bool {
        self.legacy.iter().flat_map(|hierarchy| &hierarchy.controllers).any(|name| !name.starts_with("name="))
    }
}
