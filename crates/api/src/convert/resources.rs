//! Resource limits, rlimits and confinement, both ways.

use std::collections::BTreeSet;

use gantry_types::{Resources, Seccomp, SecurityOptions, Ulimit};

use super::check;
use super::field::{FieldProblem, InvalidField};
use crate::containers::v1;

/// Capabilities that one list may name; the kernel has 41.
const CAPABILITIES_MAX: usize = 128;
/// Bytes of a seccomp profile; the stock one has 20 KiB.
const PROFILE_BYTES_MAX: usize = 1 << 20;

impl TryFrom<v1::Resources> for Resources {
    type Error = InvalidField;

    fn try_from(given: v1::Resources) -> Result<Self, InvalidField> {
        if let Some(total) = given.memory_swap_bytes {
            let Some(memory) = given.memory_bytes else {
                return Err(InvalidField::new("memory_bytes", FieldProblem::Missing));
            };
            check::within("memory_swap_bytes", Some(total), memory..=u64::MAX)?;
        }
        let weight = check::within("blkio_weight", given.blkio_weight.map(u64::from), 10..=1000)?;
        Ok(Self {
            // The kernel cannot run a process in less; docker refuses below 6 MiB for the same reason.
            memory_bytes: check::within("memory_bytes", given.memory_bytes, 1 << 19..=u64::MAX)?,
            memory_swap_bytes: given.memory_swap_bytes,
            memory_reservation_bytes: given.memory_reservation_bytes,
            nano_cpus: check::within("nano_cpus", given.nano_cpus, 1_000_000..=u64::from(u32::MAX) << 20)?,
            cpu_shares: check::within("cpu_shares", given.cpu_shares, 2..=262_144)?,
            cpuset_cpus: given.cpuset_cpus.map(|set| cpuset("cpuset_cpus", set)).transpose()?,
            cpuset_mems: given.cpuset_mems.map(|set| cpuset("cpuset_mems", set)).transpose()?,
            pids_max: check::within("pids_max", given.pids_max, 1..=u64::MAX)?,
            blkio_weight: weight.map(|weight| u16::try_from(weight).expect("at most 1000")),
        })
    }
}

/// Numbers and ranges, in the form `0-2,4` (cpuset(7), list format).
fn cpuset(name: &str, text: String) -> Result<String, InvalidField> {
    check::must(name, check::text(name, text, 4096)?, "a list of the form 0-2,4", |text| {
        text.split(',').all(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            match (first.parse::<u32>(), last.parse::<u32>()) {
                (Ok(first), Ok(last)) => first <= last,
                _ => false,
            }
        })
    })
}

impl From<&Resources> for v1::Resources {
    fn from(resources: &Resources) -> Self {
        Self {
            memory_bytes: resources.memory_bytes,
            memory_swap_bytes: resources.memory_swap_bytes,
            memory_reservation_bytes: resources.memory_reservation_bytes,
            nano_cpus: resources.nano_cpus,
            cpu_shares: resources.cpu_shares,
            cpuset_cpus: resources.cpuset_cpus.clone(),
            cpuset_mems: resources.cpuset_mems.clone(),
            pids_max: resources.pids_max,
            blkio_weight: resources.blkio_weight.map(u32::from),
        }
    }
}

impl TryFrom<v1::Ulimit> for Ulimit {
    type Error = InvalidField;

    fn try_from(given: v1::Ulimit) -> Result<Self, InvalidField> {
        check::within("hard", Some(given.hard), given.soft..=u64::MAX)?;
        Ok(Self { soft: given.soft, hard: given.hard })
    }
}

impl From<Ulimit> for v1::Ulimit {
    fn from(limit: Ulimit) -> Self {
        Self { soft: limit.soft, hard: limit.hard }
    }
}

impl TryFrom<v1::SecurityOptions> for SecurityOptions {
    type Error = InvalidField;

    fn try_from(given: v1::SecurityOptions) -> Result<Self, InvalidField> {
        let seccomp = match given.seccomp {
            Some(seccomp) => seccomp.try_into().map_err(|error: InvalidField| error.inside("seccomp"))?,
            None => Seccomp::Default,
        };
        Ok(Self {
            privileged: given.privileged,
            cap_add: capabilities("cap_add", given.cap_add)?,
            cap_drop: capabilities("cap_drop", given.cap_drop)?,
            seccomp,
            no_new_privileges: given.no_new_privileges,
            unmasked_system_paths: given.unmasked_system_paths,
        })
    }
}

/// Names in the one form that the vocabulary uses: upper case, without `CAP_`.
fn capabilities(name: &str, given: Vec<String>) -> Result<BTreeSet<String>, InvalidField> {
    let names = check::list(name, given, CAPABILITIES_MAX, |text| {
        let upper = check::text("", text, 64)?.to_ascii_uppercase();
        let bare = upper.strip_prefix("CAP_").unwrap_or(&upper).to_owned();
        check::must("", bare, "a capability's name", |text| {
            !text.is_empty()
                && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
        })
    });
    Ok(names?.into_iter().collect())
}

impl From<&SecurityOptions> for v1::SecurityOptions {
    fn from(security: &SecurityOptions) -> Self {
        Self {
            privileged: security.privileged,
            cap_add: security.cap_add.iter().cloned().collect(),
            cap_drop: security.cap_drop.iter().cloned().collect(),
            seccomp: Some((&security.seccomp).into()),
            no_new_privileges: security.no_new_privileges,
            unmasked_system_paths: security.unmasked_system_paths,
        }
    }
}

impl TryFrom<v1::Seccomp> for Seccomp {
    type Error = InvalidField;

    fn try_from(given: v1::Seccomp) -> Result<Self, InvalidField> {
        let mode = check::known::<v1::SeccompMode>("mode", "SeccompMode", given.mode)?;
        if mode != v1::SeccompMode::Profile && !given.profile_json.is_empty() {
            return Err(InvalidField::new("profile_json", FieldProblem::Conflict { other: "mode" }));
        }
        Ok(match mode {
            v1::SeccompMode::Unspecified | v1::SeccompMode::Default => Self::Default,
            v1::SeccompMode::Unconfined => Self::Unconfined,
            v1::SeccompMode::Profile => {
                Self::Profile { json: check::text("profile_json", given.profile_json, PROFILE_BYTES_MAX)? }
            }
        })
    }
}

impl From<&Seccomp> for v1::Seccomp {
    fn from(seccomp: &Seccomp) -> Self {
        let (mode, profile_json) = match seccomp {
            Seccomp::Default => (v1::SeccompMode::Default, String::new()),
            Seccomp::Unconfined => (v1::SeccompMode::Unconfined, String::new()),
            Seccomp::Profile { json } => (v1::SeccompMode::Profile, json.clone()),
        };
        Self { mode: mode.into(), profile_json }
    }
}
