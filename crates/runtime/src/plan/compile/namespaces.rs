//! Which namespaces the container owns, joins or shares with the host.

use oci_spec::runtime::{Linux, LinuxNamespaceType};

use super::path;
use crate::plan::{Namespace, NamespaceKind, PlanError};

/// One namespace of the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Owner {
    Host,
    New,
    Joined(String),
    Passed,
}

impl Owner {
    pub(super) fn is_new(&self) -> bool {
        *self == Self::New
    }

    pub(super) fn is_host(&self) -> bool {
        *self == Self::Host
    }
}

/// All of them; the mount namespace is always new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Namespaces {
    pub(super) pid: Owner,
    pub(super) uts: Owner,
    pub(super) ipc: Owner,
    pub(super) network: Owner,
    pub(super) cgroup: Owner,
}

impl Namespaces {
    /// A kind in `passed` that the spec wants new is one that the executor's caller made.
    pub(super) fn read(linux: &Linux, passed: &[NamespaceKind]) -> Result<Self, PlanError> {
        let mut mount = false;
        let mut all = Self {
            pid: Owner::Host,
            uts: Owner::Host,
            ipc: Owner::Host,
            network: Owner::Host,
            cgroup: Owner::Host,
        };
        for namespace in linux.namespaces().iter().flatten() {
            let owner = match namespace.path() {
                None => Owner::New,
                Some(path) if path.as_os_str().is_empty() => Owner::New,
                Some(path) => Owner::Joined(path::host("linux.namespaces.path", &path.to_string_lossy())?),
            };
            let joined = |kind: &str| PlanError::unsupported(format!("linux.namespaces {kind} with a path"));
            let slot = match (namespace.typ(), &owner) {
                (LinuxNamespaceType::Mount, Owner::New) => {
                    mount = true;
                    continue;
                }
                (LinuxNamespaceType::Mount, _) => return Err(joined("mount")),
                (LinuxNamespaceType::Pid, Owner::Joined(_)) => return Err(joined("pid")),
                (LinuxNamespaceType::Cgroup, Owner::Joined(_)) => return Err(joined("cgroup")),
                (LinuxNamespaceType::User, _) => return Err(PlanError::unsupported("linux.namespaces user")),
                (LinuxNamespaceType::Time, _) => return Err(PlanError::unsupported("linux.namespaces time")),
                (LinuxNamespaceType::Pid, _) => &mut all.pid,
                (LinuxNamespaceType::Uts, _) => &mut all.uts,
                (LinuxNamespaceType::Ipc, _) => &mut all.ipc,
                (LinuxNamespaceType::Network, _) => &mut all.network,
                (LinuxNamespaceType::Cgroup, _) => &mut all.cgroup,
            };
            if !slot.is_host() {
                return Err(PlanError::invalid("linux.namespaces", format!("{} twice", namespace.typ())));
            }
            *slot = owner;
        }
        for kind in passed {
            if let Some(owner) = all.slot(*kind).filter(|owner| owner.is_new()) {
                *owner = Owner::Passed;
            }
        }
        if mount { Ok(all) } else { Err(PlanError::Missing { field: "a new mount namespace" }) }
    }

    fn slot(&mut self, kind: NamespaceKind) -> Option<&mut Owner> {
        match kind {
            NamespaceKind::Pid => Some(&mut self.pid),
            NamespaceKind::Uts => Some(&mut self.uts),
            NamespaceKind::Ipc => Some(&mut self.ipc),
            NamespaceKind::Network => Some(&mut self.network),
            NamespaceKind::Cgroup => Some(&mut self.cgroup),
            NamespaceKind::Unspecified | NamespaceKind::Mount => None,
        }
    }

    pub(super) fn to_plan(&self) -> Vec<Namespace> {
        let named = [
            (NamespaceKind::Pid, &self.pid),
            (NamespaceKind::Uts, &self.uts),
            (NamespaceKind::Ipc, &self.ipc),
            (NamespaceKind::Network, &self.network),
            (NamespaceKind::Cgroup, &self.cgroup),
        ];
        let mut list = vec![Namespace { kind: NamespaceKind::Mount.into(), ..Namespace::default() }];
        list.extend(named.into_iter().filter_map(|(kind, owner)| {
            let path = match owner {
                Owner::Host => return None,
                Owner::New | Owner::Passed => String::new(),
                Owner::Joined(path) => path.clone(),
            };
            Some(Namespace { kind: kind.into(), path, passed: *owner == Owner::Passed })
        }));
        list
    }
}
