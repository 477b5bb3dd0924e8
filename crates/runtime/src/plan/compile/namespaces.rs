//! Which namespaces the container owns, joins or shares with the host.

use std::collections::BTreeMap;

use oci_spec::runtime::{Linux, LinuxNamespaceType};

use super::path;
use crate::plan::{Namespace, NamespaceKind, PlanError};

/// Whose a namespace is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Owner {
    New,
    Joined(String),
    Passed,
}

/// The container's namespaces; a kind that is missing is the host's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Namespaces(BTreeMap<NamespaceKind, Owner>);

impl Namespaces {
    /// A kind in `passed` that the spec wants new is one that the executor's caller made.
    pub(super) fn read(linux: &Linux, passed: &[NamespaceKind]) -> Result<Self, PlanError> {
        let mut all = BTreeMap::new();
        for namespace in linux.namespaces().iter().flatten() {
            let kind = kind(namespace.typ());
            let path = namespace.path().as_ref().filter(|path| !path.as_os_str().is_empty());
            let owner = match path {
                Some(path) => Owner::Joined(path::host("linux.namespaces.path", &path.to_string_lossy())?),
                None if passed.contains(&kind) => Owner::Passed,
                None => Owner::New,
            };
            if all.insert(kind, owner).is_some() {
                return Err(PlanError::invalid("linux.namespaces", format!("{} twice", namespace.typ())));
            }
        }
        Ok(Self(all))
    }

    pub(super) fn is_new(&self, kind: NamespaceKind) -> bool {
        self.0.get(&kind) == Some(&Owner::New)
    }

    pub(super) fn is_host(&self, kind: NamespaceKind) -> bool {
        !self.0.contains_key(&kind)
    }

    pub(super) fn to_plan(&self) -> Vec<Namespace> {
        let one = |(kind, owner): (&NamespaceKind, &Owner)| {
            let kind = (*kind).into();
            match owner {
                Owner::New => Namespace { kind, ..Namespace::default() },
                Owner::Joined(path) => Namespace { kind, path: path.clone(), passed: false },
                Owner::Passed => Namespace { kind, path: String::new(), passed: true },
            }
        };
        self.0.iter().map(one).collect()
    }
}

fn kind(kind: LinuxNamespaceType) -> NamespaceKind {
    match kind {
        LinuxNamespaceType::Mount => NamespaceKind::Mount,
        LinuxNamespaceType::Pid => NamespaceKind::Pid,
        LinuxNamespaceType::Uts => NamespaceKind::Uts,
        LinuxNamespaceType::Ipc => NamespaceKind::Ipc,
        LinuxNamespaceType::Network => NamespaceKind::Network,
        LinuxNamespaceType::Cgroup => NamespaceKind::Cgroup,
        LinuxNamespaceType::User => NamespaceKind::User,
        LinuxNamespaceType::Time => NamespaceKind::Time,
    }
}
