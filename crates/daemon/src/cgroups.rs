//! Where is a container's control group, and who makes it? The shim does, below `containers.cgroup_parent`; or systemd, as
//! a scope in `containers.cgroup_slice`, where that is asked for (`containers.cgroup_manager`). Whatever else is done with
//! a group is done with both in the same way.
//!
//! ```text
//!  cgroupfs   <cgroup_parent>/<namespace>/<id>
//!  systemd    gantry.slice/gantry-<id>.scope
//! ```
//!
//! Which it is stands in the bundle, as long as the container may have a group: a configuration that changes is for the
//! next starts. The link outlives the shim, so that the bundle does, and a sweep ends the scope before both.

use std::io;
use std::os::unix::fs::symlink;

use anyhow::Context;
use gantry_runtime::cgroup::{Cgroup, Host};
use gantry_runtime::systemd::{self, Scope, Systemd};
use gantry_types::{ContainerId, Namespace};

use crate::assemble::{Daemon, with_hint};
use crate::config::{CgroupDriver, Config};
use crate::error::Error;

/// In the bundle: a symbolic link to the scope's slice, prefix and name, which leads nowhere.
const SCOPE_LINK: &str = "scope";

/// Refuses a driver that this machine has not got, before a container asks for it.
pub(crate) fn check(config: &Config) -> anyhow::Result<()> {
    match config.containers.cgroup_manager {
        CgroupDriver::Cgroupfs => Ok(()),
        CgroupDriver::Systemd => {
            check_systemd().context("containers.cgroup_manager = \"systemd\" cannot be used on this machine")
        }
    }
}

fn check_systemd() -> anyhow::Result<()> {
    systemd::check(&Host::read().map_err(with_hint)?).map_err(with_hint)?;
    Systemd::connect().map(drop).map_err(with_hint)
}

impl Daemon {
    /// A container's control group, as a path in each hierarchy.
    pub(crate) fn cgroup_path(&self, namespace: &Namespace, id: &ContainerId) -> String {
        match self.scope(namespace, id) {
            Some(scope) => scope.folder(),
            None => {
                format!("{}/{namespace}/{id}", self.config.containers.cgroup_parent.trim_end_matches('/'))
            }
        }
    }

    /// Has systemd make the control group of a container's next run, if that is configured.
    pub(crate) fn name_scope(&self, namespace: &Namespace, id: &ContainerId) -> io::Result<()> {
        let containers = &self.config.containers;
        match containers.cgroup_manager {
            CgroupDriver::Cgroupfs => Ok(()),
            CgroupDriver::Systemd => {
                let name = format!("{}:gantry:{id}", containers.cgroup_slice);
                match symlink(name, self.layout.bundle(namespace, id).join(SCOPE_LINK)) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
                    _ => Ok(()),
                }
            }
        }
    }

    /// The scope of a container's run as other runtimes are told of it, slice, prefix and name; `None` where systemd does not
    /// make its control group.
    pub(crate) fn scope_name(&self, namespace: &Namespace, id: &ContainerId) -> Option<String> {
        let name = std::fs::read_link(self.layout.bundle(namespace, id).join(SCOPE_LINK)).ok()?;
        name.into_os_string().into_string().ok()
    }

    /// The scope of a container's run.
    pub(crate) fn scope(&self, namespace: &Namespace, id: &ContainerId) -> Option<Scope> {
        Scope::parse(&self.scope_name(namespace, id)?, id.as_str()).ok()
    }

    /// Takes away what a shim may have left of a container's control group, with whoever is in it, and its scope. Repeating
    /// it is harmless.
    pub(crate) fn remove_cgroup(&self, namespace: &Namespace, id: &ContainerId) -> Result<(), Error> {
        Cgroup::at(&self.cgroup_path(namespace, id), &self.cgroups)?.remove()?;
        if let Some(scope) = self.scope(namespace, id) {
            // It may have missed that the folder was empty.
            Systemd::connect()?.stop(&scope.unit)?;
        }
        Ok(())
    }
}
