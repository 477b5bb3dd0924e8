//! Which capabilities does a container have? The names of capabilities(7) in the kernel's own order, the
//! default set, and the arithmetic of adding and dropping. Putting a set on a process is the plan's work.

use std::collections::BTreeSet;
use std::str::FromStr;

use oci_spec::runtime::{Capabilities, Capability};

use super::SpecError;

/// Names in the kernel's numbering (`linux/capability.h`), without `CAP_`.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What a container has unless it is told otherwise: docker's fourteen.
const DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SYS_CHROOT",
    "MKNOD",
    "AUDIT_WRITE",
    "SETFCAP",
];

/// A set of capabilities as the kernel's bits: bit `n` is capability number `n`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CapabilitySet(u64);

impl CapabilitySet {
    /// No capability.
    pub const EMPTY: Self = Self(0);
    /// Every capability that Gantry knows by name.
    pub const ALL: Self = Self((1 << NAMES.len()) - 1);

    /// The known capabilities among the kernel's bits (`CapBnd` of `/proc/self/status`).
    pub fn from_bits(bits: u64) -> Self {
        Self(bits & Self::ALL.0)
    }

    /// The kernel's bits.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// The default set of a container.
    pub fn container_default() -> Self {
        DEFAULT.iter().filter_map(|name| position(name)).fold(Self::EMPTY, |set, bit| Self(set.0 | 1 << bit))
    }

    /// One capability by name, with or without `CAP_`, in any case; `None` when there is none of that name.
    pub fn named(name: &str) -> Option<Self> {
        let name = name.to_ascii_uppercase();
        position(name.strip_prefix("CAP_").unwrap_or(&name)).map(|bit| Self(1 << bit))
    }

    /// Whether every capability of `other` is in this set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// What is in either set.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in both sets.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What is in this set and not in the other.
    #[must_use]
    pub fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Names in the kernel's order, without `CAP_`.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        NAMES.iter().enumerate().filter(move |(bit, _)| self.0 >> bit & 1 == 1).map(|(_, name)| *name)
    }

    /// The set in the OCI crate's terms.
    pub(crate) fn to_oci(self) -> Capabilities {
        self.names()
            .map(|name| Capability::from_str(name).expect("the OCI crate knows every capability named here"))
            .collect()
    }

    /// The set from the OCI crate's terms.
    pub(crate) fn from_oci(capabilities: &Capabilities) -> Self {
        capabilities
            .iter()
            .map(|capability| Self::named(&capability.to_string()).expect("the table has every capability"))
            .fold(Self::EMPTY, Self::union)
    }
}

/// The set of a container: `start`, plus `add`, minus `drop`; `ALL` in either means every one that the
/// host has, and what is added by name outlives a `drop` of `ALL`.
pub(crate) fn choose(
    add: &BTreeSet<String>,
    drop: &BTreeSet<String>,
    host: CapabilitySet,
) -> Result<CapabilitySet, SpecError> {
    let (add_all, added) = parse(add)?;
    let (drop_all, dropped) = parse(drop)?;
    if let Some(name) = added.difference(host).names().next() {
        return Err(SpecError::CapabilityMissing { name });
    }
    let start = if drop_all {
        CapabilitySet::EMPTY
    } else if add_all {
        host
    } else {
        CapabilitySet::container_default().intersection(host)
    };
    let start = start.difference(dropped);
    Ok(if add_all && drop_all { host.difference(dropped) } else { start.union(added) })
}

/// Whether `ALL` is among the names, and the set of the others.
fn parse(names: &BTreeSet<String>) -> Result<(bool, CapabilitySet), SpecError> {
    let mut all = false;
    let mut set = CapabilitySet::EMPTY;
    for name in names {
        if name.eq_ignore_ascii_case("ALL") {
            all = true;
        } else {
            set = set.union(
                CapabilitySet::named(name)
                    .ok_or_else(|| SpecError::UnknownCapability { name: name.clone() })?,
            );
        }
    }
    Ok((all, set))
}

fn position(name: &str) -> Option<usize> {
    NAMES.iter().position(|known| *known == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn chosen(add: &[&str], drop: &[&str]) -> Vec<&'static str> {
        choose(&set(add), &set(drop), CapabilitySet::ALL).expect("is valid").names().collect()
    }

    #[test]
    fn every_name_has_the_kernels_number_and_the_oci_crate_knows_it() {
        assert_eq!(CapabilitySet::named("cap_sys_admin"), Some(CapabilitySet(1 << 21)));
        assert_eq!(CapabilitySet::named("CHECKPOINT_RESTORE"), Some(CapabilitySet(1 << 40)));
        assert_eq!(CapabilitySet::from_oci(&CapabilitySet::ALL.to_oci()), CapabilitySet::ALL);
        assert_eq!(CapabilitySet::container_default().bits(), 0xa804_25fb);
    }

    #[test]
    fn adding_and_dropping_follow_dockers_rules() {
        assert_eq!(chosen(&[], &["ALL"]), Vec::<&str>::new());
        assert_eq!(chosen(&["net_admin"], &["all"]), vec!["NET_ADMIN"]);
        assert_eq!(chosen(&["ALL"], &["CAP_SYS_ADMIN"]).len(), 40);
        assert_eq!(chosen(&["ALL"], &["ALL"]).len(), 41);
        assert!(!chosen(&[], &["CHOWN"]).contains(&"CHOWN"));
        assert!(chosen(&["CHOWN"], &["CHOWN"]).contains(&"CHOWN"));
    }

    #[test]
    fn unknown_and_missing_capabilities_are_refused() {
        assert_eq!(
            choose(&set(&["FLY"]), &set(&[]), CapabilitySet::ALL),
            Err(SpecError::UnknownCapability { name: "FLY".to_owned() })
        );
        let old = CapabilitySet::from_bits(0x3f_ffff_ffff);
        assert_eq!(choose(&set(&["BPF"]), &set(&[]), old), Err(SpecError::CapabilityMissing { name: "BPF" }));
    }
}
