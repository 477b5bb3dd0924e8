use super::*;
use proptest::prelude::*;

fn rule(
    allow: bool,
    kind: Option<LinuxDeviceType>,
    numbers: (Option<i64>, Option<i64>),
    access: &str,
) -> LinuxDeviceCgroup {
    let mut rule = LinuxDeviceCgroup::default();
    rule.set_allow(allow)
        .set_typ(kind)
        .set_major(numbers.0)
        .set_minor(numbers.1)
        .set_access(Some(access.to_owned()));
    rule
}

/// What the programme answers, as the kernel would run it.
fn run(programme: &[u8], is_block: bool, major: u32, minor: u32, access: u8) -> bool {
    let context = [u32::from(access) << 16 | if is_block { 1 } else { 2 }, major, minor];
    let mut registers = [0u64; 11];
    let mut at = 0usize;
    while at * 8 < programme.len() {
        let one = &programme[at * 8..at * 8 + 8];
        let (target, source) = (usize::from(one[1] & 15), usize::from(one[1] >> 4));
        let offset = i16::from_ne_bytes([one[2], one[3]]);
        let immediate = u64::from(u32::from_ne_bytes([one[4], one[5], one[6], one[7]]));
        at += 1;
        let mut jump = |holds: bool| {
            if holds {
                at = at.checked_add_signed(offset.into()).expect("jumps stay inside");
            }
        };
        match one[0] {
            0x61 => registers[target] = u64::from(context[usize::try_from(offset).expect("positive") / 4]),
            0x54 => registers[target] &= immediate,
            0x74 => registers[target] >>= immediate,
            0xbc => registers[target] = registers[source],
            0xb7 => registers[target] = immediate,
            0x55 => jump(registers[target] != immediate),
            0x15 => jump(registers[target] == immediate),
            0x1d => jump(registers[target] == registers[source]),
            0x05 => jump(true),
            0x95 => return registers[0] == 1,
            other => panic!("unknown operation {other:#x}"),
        }
    }
    panic!("it ran over its end");
}

/// What the rules say, in plain words.
fn allowed(rules: &Rules, is_block: bool, major: u32, minor: u32, access: u8) -> bool {
    let matches = |devices: &Devices| {
        devices.is_block == is_block
            && devices.major.is_none_or(|number| number == major)
            && devices.minor.is_none_or(|number| number == minor)
    };
    let mut matching = rules.exceptions.iter().filter(|(devices, _)| matches(devices));
    if rules.allow_by_default {
        !matching.any(|(_, exception)| exception.0 & access != 0)
    } else {
        matching.any(|(_, exception)| access & !exception.0 == 0)
    }
}

#[test]
fn without_rules_only_the_usual_devices_are_allowed() {
    let rules = Rules::of(None).expect("no rules");
    let programme = rules.programme();
    assert!(run(&programme, false, 1, 3, 6), "null");
    assert!(run(&programme, false, 136, 77, 6), "any pseudo terminal");
    assert!(run(&programme, true, 8, 0, Access::MKNOD), "a node may be made");
    assert!(!run(&programme, true, 8, 0, Access::READ), "but not opened");
    assert!(!run(&programme, false, 1, 1, Access::READ), "mem");
    assert!(!run(&programme, false, 1, 4, Access::READ), "port");
    assert!(!run(&programme, false, 10, 200, 6), "tun");
}

#[test]
fn a_list_with_allows_alone_still_denies_the_rest() {
    let fuse = rule(true, Some(LinuxDeviceType::C), (Some(10), Some(229)), "rw");
    let programme = Rules::of(Some(&[fuse])).expect("good").programme();
    assert!(run(&programme, false, 10, 229, 6));
    assert!(!run(&programme, false, 10, 228, 2));
}

#[test]
fn allowing_everything_needs_no_programme_and_no_writes() {
    let rules = Rules::of(Some(&[rule(true, None, (None, None), "rwm")])).expect("good");
    assert!(rules.programme().is_empty());
    assert!(rules.legacy_writes().is_empty());
}

#[test]
fn an_exception_from_everything_is_denied_in_part() {
    let everything = rule(true, Some(LinuxDeviceType::A), (None, None), "rwm");
    let no_write = rule(false, Some(LinuxDeviceType::B), (Some(8), Some(-1)), "w");
    let rules = Rules::of(Some(&[everything, no_write])).expect("good");
    let programme = rules.programme();
    assert!(run(&programme, true, 8, 5, Access::READ));
    assert!(!run(&programme, true, 8, 5, Access::READ | Access::WRITE));
    assert!(run(&programme, true, 9, 5, 7));
    let writes: Vec<String> =
        rules.legacy_writes().into_iter().map(|l| format!("{} {}", l.write.file, l.write.value)).collect();
    assert_eq!(writes, ["devices.deny b 8:* w"]);
}

#[test]
fn version_1_is_told_to_deny_everything_first() {
    let writes = Rules::of(None).expect("no rules").legacy_writes();
    let lines: Vec<String> =
        writes.into_iter().map(|l| format!("{} {}", l.write.file, l.write.value)).collect();
    assert_eq!(lines[0], "devices.deny a");
    assert!(lines.contains(&"devices.allow c 1:3 rwm".to_owned()));
    assert!(lines.contains(&"devices.allow b *:* m".to_owned()));
    assert_eq!(lines.len(), 12);
}

#[test]
fn impossible_rules_are_refused() {
    for bad in [
        rule(true, Some(LinuxDeviceType::A), (Some(1), None), "rwm"),
        rule(true, Some(LinuxDeviceType::P), (None, None), "rwm"),
        rule(true, Some(LinuxDeviceType::C), (Some(-2), None), "rwm"),
        rule(true, Some(LinuxDeviceType::C), (Some(1 << 40), None), "rwm"),
        rule(true, Some(LinuxDeviceType::C), (None, None), "x"),
        rule(true, Some(LinuxDeviceType::C), (None, None), ""),
    ] {
        assert!(Rules::of(Some(&[bad])).is_err());
    }
}

#[test]
fn the_usual_programme_is_short_because_the_kernel_verifies_every_instruction() {
    assert!(Rules::of(None).expect("no rules").programme().len() / 8 <= 32);
}

/// Whatever the rules are, the kernel's verifier takes the programme: no loops, nothing unreachable.
#[test]
#[expect(clippy::print_stdout, reason = "the test harness shows it")]
fn the_kernel_takes_every_programme() {
    if !rustix::process::geteuid().is_root() {
        println!("SKIP: needs root");
        return;
    }
    let numbers = [(None, None), (Some(1), None), (None, Some(2)), (Some(3), Some(4)), (Some(3), Some(5))];
    let kinds = [LinuxDeviceType::B, LinuxDeviceType::C];
    for default in [true, false] {
        for (kind, access) in
            kinds.into_iter().flat_map(|kind| ["rwm", "r", "wm"].map(|access| (kind, access)))
        {
            for taken in 0..1 << numbers.len() {
                let chosen = numbers.iter().enumerate().filter(|(at, _)| taken >> at & 1 == 1);
                let mut spec = vec![rule(default, None, (None, None), "rwm")];
                spec.extend(chosen.map(|(_, numbers)| rule(!default, Some(kind), *numbers, access)));
                let programme = Rules::of(Some(&spec)).expect("good").programme();
                if !programme.is_empty() {
                    let instructions = crate::cgroup::directory::instructions(&programme);
                    gantry_linux::bpf::load_device_filter(&instructions).expect("the verifier agrees");
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn the_programme_says_what_the_rules_say(
        spec in proptest::collection::vec(
            (any::<bool>(), 0..3u8, proptest::option::of(0..3i64), proptest::option::of(0..3i64), 1..8u8), 0..12),
        asked in proptest::collection::vec((any::<bool>(), 0..4u32, 0..4u32, 1..8u8), 1..40),
    ) {
        let spec: Vec<LinuxDeviceCgroup> = spec
            .into_iter()
            .map(|(allow, kind, major, minor, access)| match kind {
                0 => rule(allow, None, (None, None), "rwm"),
                1 => rule(allow, Some(LinuxDeviceType::B), (major, minor), &letters(Access(access))),
                _ => rule(allow, Some(LinuxDeviceType::C), (major, minor), &letters(Access(access))),
            })
            .collect();
        let rules = Rules::of(Some(&spec)).expect("good");
        let programme = rules.programme();
        for (is_block, major, minor, access) in asked {
            let says = programme.is_empty() || run(&programme, is_block, major, minor, access);
            prop_assert_eq!(says, allowed(&rules, is_block, major, minor, access));
        }
    }
}
