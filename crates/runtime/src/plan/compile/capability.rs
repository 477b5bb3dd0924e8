//! The numbers of capabilities, for masks. Names that oci-spec parses and this table lacks cannot be: a test
//! walks both.

use oci_spec::runtime::{Capabilities as Set, LinuxCapabilities};

use crate::plan::Capabilities;

/// Names in the order of their numbers (include/uapi/linux/capability.h).
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

/// The five sets as masks.
pub(super) fn masks(sets: &LinuxCapabilities) -> Capabilities {
    Capabilities {
        bounding: mask(sets.bounding().as_ref()),
        effective: mask(sets.effective().as_ref()),
        inheritable: mask(sets.inheritable().as_ref()),
        permitted: mask(sets.permitted().as_ref()),
        ambient: mask(sets.ambient().as_ref()),
    }
}

fn mask(set: Option<&Set>) -> u64 {
    set.into_iter().flatten().fold(0, |mask, capability| {
        let name = capability.to_string();
        let number = NAMES.iter().position(|known| *known == name).expect("the table has every capability");
        mask | (1 << number)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_capability_has_its_number() {
        let all: Set = NAMES.iter().map(|name| name.parse().expect("oci-spec knows the name")).collect();
        assert_eq!(mask(Some(&all)), (1 << 41) - 1);
        let admin: Set = ["SYS_ADMIN".parse().expect("known")].into_iter().collect();
        assert_eq!(mask(Some(&admin)), 1 << 21);
    }
}
