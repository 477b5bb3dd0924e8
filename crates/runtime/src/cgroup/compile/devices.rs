//! Which devices may be opened or made? The spec's list is read as version 1's kernel reads it, rule after
//! rule: a rule for all devices decides what is the rule and what the exception. It begins with a denial of
//! everything, said or not (runc's GHSA-g54h-m393-cpwq), and ends with the devices that every container has, as
//! in runc. The result is written to version 1's files or compiled to version 2's eBPF programme.

use std::collections::{BTreeMap, BTreeSet};

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

use super::{CgroupPlanError, Limit};

mod programme;

/// The rules after all were read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rules {
    allow_by_default: bool,
    exceptions: BTreeMap<Devices, Access>,
}

/// A kind of devices and their numbers; `None` is every number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Devices {
    is_block: bool,
    major: Option<u32>,
    minor: Option<u32>,
}

impl Devices {
    /// The rule in version 1's words: `c 1:3 rwm`.
    fn line(&self, access: Access) -> String {
        let star = |number: Option<u32>| number.map_or_else(|| "*".to_owned(), |number| number.to_string());
        let kind = if self.is_block { 'b' } else { 'c' };
        format!("{kind} {}:{} {}", star(self.major), star(self.minor), letters(access))
    }
}

/// What is done with a device, in the bits of eBPF's context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Access(u8);

impl Access {
    const MKNOD: u8 = 1;
    const READ: u8 = 2;
    const WRITE: u8 = 4;
    const ALL: Self = Self(7);
}

/// What every container may use: making any node, and null, zero, full, random, urandom, tty, console, ptmx and
/// the pseudo terminals. The runtime makes these nodes, so that the spec need not allow them.
const DEFAULTS: [(bool, Option<u32>, Option<u32>, u8); 11] = [
    (false, None, None, Access::MKNOD),
    (true, None, None, Access::MKNOD),
    (false, Some(1), Some(3), 7),
    (false, Some(1), Some(5), 7),
    (false, Some(1), Some(7), 7),
    (false, Some(1), Some(8), 7),
    (false, Some(1), Some(9), 7),
    (false, Some(5), Some(0), 7),
    (false, Some(5), Some(1), 7),
    (false, Some(5), Some(2), 7),
    (false, Some(136), None, 7),
];

impl Rules {
    pub(super) fn of(spec: Option<&[LinuxDeviceCgroup]>) -> Result<Self, CgroupPlanError> {
        let mut rules = Self { allow_by_default: false, exceptions: BTreeMap::new() };
        for rule in spec.unwrap_or_default() {
            let access = access(rule.access().as_deref().unwrap_or("rwm"))?;
            let numbers = (number(rule.major())?, number(rule.minor())?);
            match (rule.typ().unwrap_or(LinuxDeviceType::A), numbers) {
                (LinuxDeviceType::A, (None, None)) => {
                    rules.allow_by_default = rule.allow();
                    rules.exceptions.clear();
                }
                (LinuxDeviceType::C | LinuxDeviceType::U, (major, minor)) => {
                    rules.apply(rule.allow(), Devices { is_block: false, major, minor }, access);
                }
                (LinuxDeviceType::B, (major, minor)) => {
                    rules.apply(rule.allow(), Devices { is_block: true, major, minor }, access);
                }
                (LinuxDeviceType::A, (Some(_), _) | (_, Some(_))) | (LinuxDeviceType::P, _) => {
                    let rule = "all devices have no numbers, and fifos are no devices";
                    return Err(CgroupPlanError::value("devices.type", "a", rule));
                }
            }
        }
        for (is_block, major, minor, access) in DEFAULTS {
            rules.apply(true, Devices { is_block, major, minor }, Access(access));
        }
        Ok(rules)
    }

    fn apply(&mut self, allow: bool, devices: Devices, access: Access) {
        let known = self.exceptions.get(&devices).map_or(0, |access| access.0);
        let bits = if allow == self.allow_by_default { known & !access.0 } else { known | access.0 };
        if bits == 0 {
            self.exceptions.remove(&devices);
        } else {
            self.exceptions.insert(devices, Access(bits));
        }
    }

    /// Version 1's files. A new folder allows what its parent does: everything.
    pub(super) fn legacy_writes(&self) -> Vec<Limit> {
        let file = if self.allow_by_default { "devices.deny" } else { "devices.allow" };
        let head = (!self.allow_by_default).then(|| Limit::new("devices", "devices.deny", "a"));
        let exceptions = self.exceptions.iter();
        let exceptions =
            exceptions.map(|(devices, access)| Limit::new("devices", file, devices.line(*access)));
        head.into_iter().chain(exceptions).collect()
    }

    /// Version 1's files, from other rules to these: only the difference, so that nothing is closed meanwhile that
    /// is open before and after.
    pub(super) fn legacy_changes(&self, old: &Self) -> Vec<Limit> {
        if self.allow_by_default != old.allow_by_default {
            let open = self.allow_by_default.then(|| Limit::new("devices", "devices.allow", "a"));
            return open.into_iter().chain(self.legacy_writes()).collect();
        }
        let (add, take) = if self.allow_by_default {
            ("devices.deny", "devices.allow")
        } else {
            ("devices.allow", "devices.deny")
        };
        let devices: BTreeSet<&Devices> = self.exceptions.keys().chain(old.exceptions.keys()).collect();
        let change = |devices: &Devices| {
            let (old, new) = (old.bits(devices), self.bits(devices));
            let write =
                |file, bits| (bits != 0).then(|| Limit::new("devices", file, devices.line(Access(bits))));
            [write(add, new & !old), write(take, old & !new)].into_iter().flatten()
        };
        devices.into_iter().flat_map(change).collect()
    }

    fn bits(&self, devices: &Devices) -> u8 {
        self.exceptions.get(devices).map_or(0, |access| access.0)
    }

    /// Version 2's programme, or nothing when everything is allowed.
    pub(super) fn programme(&self) -> Vec<u8> {
        if self.allow_by_default && self.exceptions.is_empty() {
            return Vec::new();
        }
        programme::compile(self)
    }
}

fn access(text: &str) -> Result<Access, CgroupPlanError> {
    let bit = |letter| match letter {
        'm' => Some(Access::MKNOD),
        'r' => Some(Access::READ),
        'w' => Some(Access::WRITE),
        _ => None,
    };
    let bits = text.chars().try_fold(0, |bits, letter| Some(bits | bit(letter)?));
    let refused = || CgroupPlanError::value("devices.access", text, "it is made of r, w and m");
    bits.filter(|bits| *bits != 0).map(Access).ok_or_else(refused)
}

fn letters(access: Access) -> String {
    [(Access::READ, 'r'), (Access::WRITE, 'w'), (Access::MKNOD, 'm')]
        .iter()
        .filter_map(|(bit, letter)| (access.0 & bit != 0).then_some(*letter))
        .collect()
}

/// A device number; missing or -1 is every number.
fn number(value: Option<i64>) -> Result<Option<u32>, CgroupPlanError> {
    const MAX: i64 = (1 << 20) - 1;
    match value {
        None | Some(-1) => Ok(None),
        Some(value @ 0..=MAX) => Ok(u32::try_from(value).ok()),
        Some(value) => Err(CgroupPlanError::value("devices", value, "a number goes from 0 to 1048575")),
    }
}

#[cfg(test)]
mod tests;
