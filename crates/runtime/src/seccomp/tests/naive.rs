//! A profile read word by word, with none of the compiler's code: what the documentation of `rules` says.

use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator as Op, LinuxSyscall,
};

use super::interpreter::Call;
use crate::seccomp::Architecture;

/// The action that a profile means for a call of an architecture that it lists.
pub(super) fn evaluate(profile: &LinuxSeccomp, architecture: Architecture, call: &Call) -> u32 {
    let number = call.number & !0x4000_0000;
    let default = profile.default_action().as_u32(profile.default_errno_ret());
    let rules = || profile.syscalls().iter().flatten();
    let names = |name: &String| architecture.number(name) == Some(number);
    let narrow = matches!(architecture, Architecture::X86 | Architecture::Arm);

    let newest = rules().flat_map(LinuxSyscall::names).filter_map(|name| architecture.number(name)).max();
    let permissive = matches!(
        profile.default_action(),
        LinuxSeccompAction::ScmpActAllow | LinuxSeccompAction::ScmpActLog | LinuxSeccompAction::ScmpActTrace
    );
    if newest.is_some_and(|newest| number > newest) && !permissive {
        return 0x0005_0026;
    }
    let about: Vec<(&LinuxSyscall, u32)> = rules()
        .filter(|rule| rule.names().iter().any(names))
        .map(|rule| (rule, rule.action().as_u32(rule.errno_ret())))
        .filter(|(_, action)| *action != default)
        .collect();
    if let Some((_, action)) = about.iter().find(|(rule, _)| arguments(rule).is_empty()) {
        return *action;
    }
    about
        .iter()
        .find(|(rule, _)| {
            let arguments = arguments(rule);
            let mut indexes: Vec<_> = arguments.iter().map(LinuxSeccompArg::index).collect();
            indexes.sort_unstable();
            indexes.dedup();
            let mut each = arguments.iter().map(|argument| holds(argument, call, narrow));
            if indexes.len() < arguments.len() { each.any(|one| one) } else { each.all(|one| one) }
        })
        .map_or(default, |(_, action)| *action)
}

fn arguments(rule: &LinuxSyscall) -> Vec<LinuxSeccompArg> {
    rule.args().clone().unwrap_or_default()
}

fn holds(argument: &LinuxSeccompArg, call: &Call, narrow: bool) -> bool {
    let register = call.arguments[argument.index()];
    let given = if narrow { register & 0xffff_ffff } else { register };
    let value = argument.value();
    match argument.op() {
        Op::ScmpCmpEq => given == value,
        Op::ScmpCmpNe => given != value,
        Op::ScmpCmpLt => given < value,
        Op::ScmpCmpLe => given <= value,
        Op::ScmpCmpGt => given > value,
        Op::ScmpCmpGe => given >= value,
        Op::ScmpCmpMaskedEq => given & value == argument.value_two().unwrap_or(0) & value,
    }
}
