//! Random profiles: whatever the rules, the program answers what the rules say.

use std::collections::BTreeSet;

use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSeccompArgBuilder,
    LinuxSeccompOperator as Op, LinuxSyscall,
};
use proptest::prelude::*;

use super::interpreter::{Call, run};
use super::{naive, *};
use crate::seccomp::syscalls::SYSCALLS;

/// Few values, so that registers and rules meet; near the edges of words.
const VALUES: [u64; 10] = [
    0,
    1,
    2,
    0x7fff_ffff,
    0xffff_ffff,
    0x1_0000_0000,
    0x1_0000_0001,
    0x5_ffff_ffff,
    0x8000_0000_0000_0000,
    u64::MAX,
];

fn value() -> impl Strategy<Value = u64> {
    prop_oneof![3 => proptest::sample::select(&VALUES[..]), 1 => any::<u64>()]
}

fn argument() -> impl Strategy<Value = LinuxSeccompArg> {
    let operator = proptest::sample::select(vec![
        Op::ScmpCmpNe,
        Op::ScmpCmpLt,
        Op::ScmpCmpLe,
        Op::ScmpCmpEq,
        Op::ScmpCmpGe,
        Op::ScmpCmpGt,
        Op::ScmpCmpMaskedEq,
    ]);
    (0_usize..3, value(), value(), operator).prop_map(|(index, value, second, op)| {
        LinuxSeccompArgBuilder::default()
            .index(index)
            .value(value)
            .value_two(second)
            .op(op)
            .build()
            .expect("is whole")
    })
}

fn action() -> impl Strategy<Value = (Action, Option<u32>)> {
    let actions = vec![
        Action::ScmpActAllow,
        Action::ScmpActAllow,
        Action::ScmpActErrno,
        Action::ScmpActLog,
        Action::ScmpActTrace,
        Action::ScmpActTrap,
        Action::ScmpActKillProcess,
        Action::ScmpActKill,
    ];
    (proptest::sample::select(actions), proptest::option::of(1_u32..60))
}

/// Names without the multiplexed ones, whose second way the naive reading does not know.
fn name() -> impl Strategy<Value = String> {
    (0..SYSCALLS.len())
        .prop_map(|row| SYSCALLS[row].0.to_owned())
        .prop_filter("is multiplexed on x86", |name| Architecture::X86.multiplexed(name).is_none())
}

fn rule() -> impl Strategy<Value = LinuxSyscall> {
    let names = prop_oneof![proptest::collection::vec(name(), 1..12), Just(vec!["openat".to_owned()])];
    let arguments = proptest::option::of(proptest::collection::vec(argument(), 1..4));
    (names, action(), arguments).prop_map(|(names, (action, data), arguments)| {
        let mut rule = LinuxSyscall::default();
        rule.set_names(names).set_action(action).set_errno_ret(data).set_args(arguments);
        rule
    })
}

fn profile() -> impl Strategy<Value = LinuxSeccomp> {
    (action(), proptest::collection::vec(rule(), 0..8)).prop_map(|((action, data), rules)| {
        let architectures = [Architecture::X86, Architecture::X32, Architecture::Arm];
        let mut profile = LinuxSeccomp::default();
        profile
            .set_default_action(action)
            .set_default_errno_ret(data)
            .set_architectures(Some(architectures.map(Architecture::oci).to_vec()))
            .set_syscalls(Some(rules));
        profile
    })
}

/// Every number that a profile names, and its neighbours.
fn numbers(profile: &LinuxSeccomp, architecture: Architecture) -> BTreeSet<u32> {
    let calls = profile.syscalls().iter().flatten().flat_map(LinuxSyscall::names);
    let named = calls.filter_map(|name| architecture.number(name));
    named.flat_map(|number| number.saturating_sub(1)..=number + 1).chain([0, 600]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_program_answers_what_its_profile_says(
        profile in profile(),
        registers in proptest::collection::vec(proptest::array::uniform6(value()), 4),
    ) {
        for native in [Architecture::X86_64, Architecture::Aarch64] {
            let filter = match compile_for(&profile, native) {
                Ok(filter) => filter,
                Err(SeccompError::TooManyInstructions { .. }) => continue,
                Err(error) => panic!("{error}"),
            };
            for architecture in std::iter::once(native).chain(native.companions().iter().copied()) {
                for number in numbers(&profile, architecture) {
                    for arguments in &registers {
                        let call = Call::new(architecture, number, *arguments);
                        prop_assert_eq!(
                            run(&filter.instructions, &call),
                            naive::evaluate(&profile, architecture, &call),
                            "{:?} {} {:?}", architecture, number, arguments
                        );
                    }
                }
            }
        }
    }
}
