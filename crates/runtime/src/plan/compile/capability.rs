//! The five capability sets of a process as the kernel's masks.

use oci_spec::runtime::{Capabilities as Set, LinuxCapabilities};

use crate::plan::Capabilities;
use crate::spec::CapabilitySet;

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
    set.map_or(0, |set| CapabilitySet::from_oci(set).bits())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_capability_has_its_number() {
        let names = CapabilitySet::ALL.names();
        let all: Set = names.map(|name| name.parse().expect("oci-spec knows the name")).collect();
        assert_eq!(mask(Some(&all)), (1 << 41) - 1);
        let admin: Set = ["SYS_ADMIN".parse().expect("known")].into_iter().collect();
        assert_eq!(mask(Some(&admin)), 1 << 21);
    }
}
