//! What does a filter answer to each call of one architecture? Names become numbers, and the rules for one
//! number become one outcome, by the habits of libseccomp and runc, which profiles are written against:
//!
//! - a rule that only repeats the default action is as if it were not there;
//! - the first rule without conditions decides, before or after those with conditions;
//! - otherwise rules with conditions are tried in their order, and the default action is last;
//! - conditions on different arguments hold together, several on one argument hold each for itself;
//! - names that an architecture does not have are skipped;
//! - calls newer than the newest that the profile names answer ENOSYS, if the default is to refuse, so
//!   that programs fall back instead of giving up (glibc takes EPERM for an answer).

use std::collections::BTreeMap;

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction, LinuxSyscall};

use super::condition::Condition;
use super::{Architecture, SeccompError};

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;
/// `MAX_ERRNO` of the kernel.
const ERRNO_MAX: u32 = 4095;
/// `SECCOMP_RET_DATA` of `linux/seccomp.h`.
const DATA_MAX: u32 = 0xffff;
const RET_ERRNO: u32 = 0x0005_0000;

/// What a filter answers to one call.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    /// This action.
    Action(u32),
    /// The action of the first branch that holds, else the last one.
    Branches(Vec<Branch>, u32),
}

/// An action and the conditions that must hold together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Branch {
    pub(crate) conditions: Vec<Condition>,
    pub(crate) action: u32,
}

/// What a filter answers to every call of one architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rules {
    /// Calls that do not get the default action.
    pub(crate) calls: BTreeMap<u32, Outcome>,
    /// What every other call gets.
    pub(crate) default: u32,
    /// The first number that the profile is too old to know, and what it and all above it get.
    pub(crate) beyond: Option<(u32, u32)>,
}

/// The rules of a profile for one architecture.
pub(crate) fn rules(profile: &LinuxSeccomp, architecture: Architecture) -> Result<Rules, SeccompError> {
    let default = action(profile.default_action(), profile.default_errno_ret())?;
    if profile.default_action() == LinuxSeccompAction::ScmpActNotify {
        return Err(SeccompError::NotifyDefault);
    }
    let mut named: BTreeMap<u32, Named> = BTreeMap::new();
    let mut newest = None;
    for rule in profile.syscalls().iter().flatten() {
        let action = checked_action(rule)?;
        let branches = branches(rule, action)?;
        for name in rule.names() {
            let number = architecture.number(name);
            newest = newest.max(number);
            if action == default {
                continue;
            }
            if let Some(number) = number {
                named.entry(number).or_default().add(action, &branches);
            }
            // What a multiplexed call passes lies in memory, where no filter can compare it.
            if let (Some((number, operation)), true) = (architecture.multiplexed(name), branches.is_empty()) {
                newest = newest.max(Some(number));
                let condition = Condition { index: 0, test: super::condition::Test::Equal(operation) };
                let branch = Branch { conditions: vec![condition], action };
                named.entry(number).or_default().add(action, &[branch]);
            }
        }
    }
    let calls = named.into_iter().map(|(number, named)| (number, named.outcome(default))).collect();
    let beyond = newest
        .filter(|_| refuses(profile.default_action()) && default != RET_ERRNO | ENOSYS)
        .map(|newest| (newest + 1, RET_ERRNO | ENOSYS));
    Ok(Rules { calls, default, beyond })
}

/// The rules for one call as they are found.
#[derive(Debug, Default)]
struct Named {
    unconditional: Option<u32>,
    branches: Vec<Branch>,
}

impl Named {
    fn add(&mut self, action: u32, branches: &[Branch]) {
        if branches.is_empty() {
            self.unconditional.get_or_insert(action);
        }
        self.branches.extend_from_slice(branches);
    }

    fn outcome(self, default: u32) -> Outcome {
        match self.unconditional {
            Some(action) => Outcome::Action(action),
            None => Outcome::Branches(self.branches, default),
        }
    }
}

/// The conditions of a rule; empty when it has none.
fn branches(rule: &LinuxSyscall, action: u32) -> Result<Vec<Branch>, SeccompError> {
    let mut conditions = Vec::new();
    for argument in rule.args().iter().flatten() {
        conditions.push(Condition::new(argument).ok_or_else(|| SeccompError::ArgumentIndex {
            syscall: rule.names().first().cloned().unwrap_or_default(),
            index: argument.index(),
        })?);
    }
    let repeated = conditions
        .iter()
        .enumerate()
        .any(|(at, condition)| conditions[..at].iter().any(|other| other.index == condition.index));
    Ok(if conditions.is_empty() {
        Vec::new()
    } else if repeated {
        conditions.into_iter().map(|condition| Branch { conditions: vec![condition], action }).collect()
    } else {
        vec![Branch { conditions, action }]
    })
}

fn checked_action(rule: &LinuxSyscall) -> Result<u32, SeccompError> {
    let notifies = rule.action() == LinuxSeccompAction::ScmpActNotify;
    if notifies && rule.names().iter().any(|name| name == "write") {
        return Err(SeccompError::NotifyWrite);
    }
    action(rule.action(), rule.errno_ret())
}

/// `SECCOMP_RET_*` of `linux/seccomp.h` with its data.
fn action(action: LinuxSeccompAction, data: Option<u32>) -> Result<u32, SeccompError> {
    let data = data.unwrap_or(EPERM);
    Ok(match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => 0,
        LinuxSeccompAction::ScmpActKillProcess => 0x8000_0000,
        LinuxSeccompAction::ScmpActTrap => 0x0003_0000,
        LinuxSeccompAction::ScmpActErrno if data > ERRNO_MAX => {
            return Err(SeccompError::Errno { errno: data });
        }
        LinuxSeccompAction::ScmpActErrno => RET_ERRNO | data,
        LinuxSeccompAction::ScmpActNotify => 0x7fc0_0000,
        LinuxSeccompAction::ScmpActTrace if data > DATA_MAX => {
            return Err(SeccompError::TraceMessage { message: data });
        }
        LinuxSeccompAction::ScmpActTrace => 0x7ff0_0000 | data,
        LinuxSeccompAction::ScmpActLog => 0x7ffc_0000,
        LinuxSeccompAction::ScmpActAllow => 0x7fff_0000,
    })
}

fn refuses(action: LinuxSeccompAction) -> bool {
    match action {
        LinuxSeccompAction::ScmpActKill
        | LinuxSeccompAction::ScmpActKillThread
        | LinuxSeccompAction::ScmpActKillProcess
        | LinuxSeccompAction::ScmpActTrap
        | LinuxSeccompAction::ScmpActErrno => true,
        // A tracer or a log is there to be told the number.
        LinuxSeccompAction::ScmpActNotify
        | LinuxSeccompAction::ScmpActTrace
        | LinuxSeccompAction::ScmpActLog
        | LinuxSeccompAction::ScmpActAllow => false,
    }
}
