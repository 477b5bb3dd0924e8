//! libseccomp as the oracle: its numbers for every name, and its filter's answer for every call number of
//! every architecture. A small C program speaks for it; where that cannot be built the test says so.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompArg, LinuxSyscall};

use super::interpreter::{Call, run};
use super::*;
use crate::seccomp::rules::rules;
use crate::seccomp::syscalls::SYSCALLS;

const SOURCE: &str = include_str!("oracle.c");
/// Podman's profile, where Debian puts it.
pub(super) const PODMAN_PROFILE: &str = "/usr/share/containers/seccomp.json";
const ARCHITECTURES: [Architecture; 5] =
    [Architecture::X86_64, Architecture::X86, Architecture::X32, Architecture::Aarch64, Architecture::Arm];

/// The built C program; its folder goes when this does.
pub(super) struct Oracle {
    _folder: tempfile::TempDir,
    program: PathBuf,
}

impl Oracle {
    /// Builds it, or says why not.
    #[expect(clippy::disallowed_methods, reason = "a test runs the C compiler")]
    fn build() -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let (source, program) = (folder.path().join("oracle.c"), folder.path().join("oracle"));
        std::fs::write(&source, SOURCE).map_err(|error| error.to_string())?;
        let output = Command::new("cc")
            .arg("-o")
            .args([&program, &source])
            .arg("-lseccomp")
            .output()
            .map_err(|error| format!("no C compiler: {error}"))?;
        if !output.status.success() {
            return Err(format!("libseccomp-dev is missing: {}", String::from_utf8_lossy(&output.stderr)));
        }
        Ok(Self { _folder: folder, program })
    }

    #[expect(clippy::disallowed_methods, reason = "a test runs what it built")]
    fn ask(&self, words: &[&str], input: &str) -> Vec<u8> {
        let mut child = Command::new(&self.program)
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the oracle starts");
        let mut stdin = child.stdin.take().expect("is piped");
        let input = input.to_owned();
        let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
        let output = child.wait_with_output().expect("the oracle ends");
        writer.join().expect("no panic").expect("the oracle reads");
        assert!(output.status.success(), "the oracle failed: {:?}", output.status);
        output.stdout
    }

    /// libseccomp's number of every name of our table; below zero where it knows none.
    fn numbers(&self) -> Vec<(String, Vec<i64>)> {
        let names: Vec<&str> = SYSCALLS.iter().map(|(name, _)| *name).collect();
        let output = String::from_utf8(self.ask(&["resolve"], &names.join("\n"))).expect("is text");
        let lines = output.lines().map(|line| {
            let mut words = line.split(' ');
            let name = words.next().expect("has a name").to_owned();
            (name, words.map(|word| word.parse().expect("is a number")).collect())
        });
        lines.collect()
    }

    /// libseccomp's filter of a profile, as a plan has it.
    pub(super) fn program(&self, profile: &LinuxSeccomp, native: Architecture) -> plan::Seccomp {
        let default = profile.default_action().as_u32(profile.default_errno_ret());
        let mut input = String::new();
        for rule in profile.syscalls().iter().flatten() {
            let action = rule.action().as_u32(rule.errno_ret());
            let arguments = rule.args().clone().unwrap_or_default();
            let words: Vec<String> = arguments.iter().map(argument_words).collect();
            for name in rule.names().iter().filter(|_| action != default) {
                input += &[action.to_string(), name.clone(), arguments.len().to_string(), words.concat()]
                    .join(" ");
                input.push('\n');
            }
        }
        let family = if native == Architecture::Aarch64 { "aarch64" } else { "x86_64" };
        let program = self.ask(&["compile", family, &default.to_string()], &input);
        plan::Seccomp { program, flags: 4 }
    }

    fn compile(&self, profile: &LinuxSeccomp, native: Architecture) -> Vec<Instruction> {
        let read = |record: &[u8]| Instruction {
            code: u16::from_ne_bytes([record[0], record[1]]),
            jt: record[2],
            jf: record[3],
            k: u32::from_ne_bytes([record[4], record[5], record[6], record[7]]),
        };
        self.program(profile, native).program.chunks_exact(8).map(read).collect()
    }
}

fn argument_words(argument: &LinuxSeccompArg) -> String {
    let (value, second) = (argument.value(), argument.value_two().unwrap_or(0));
    format!("{} {} {value} {second} ", argument.index(), argument.op() as u32)
}

#[expect(clippy::print_stdout, reason = "a skipped test says so")]
pub(super) fn oracle() -> Option<Oracle> {
    match Oracle::build() {
        Ok(oracle) => Some(oracle),
        Err(reason) => {
            println!("SKIP: {reason}");
            None
        }
    }
}

#[test]
fn numbers_are_libseccomps() {
    let Some(oracle) = oracle() else { return };
    let mut compared = 0;
    for (name, theirs) in oracle.numbers() {
        for (architecture, theirs) in ARCHITECTURES.iter().zip(theirs) {
            let ours = architecture.number(&name);
            match u32::try_from(theirs) {
                Ok(number) => {
                    let number = if *architecture == Architecture::X32 {
                        number & !architecture::X32_BIT
                    } else {
                        number
                    };
                    assert_eq!(ours, Some(number), "{name} on {architecture:?}");
                    compared += 1;
                }
                // Multiplexed and unknown names have no number there, or none yet.
                Err(_) => assert!(theirs < 0),
            }
        }
    }
    assert!(compared > 1500, "{compared}");
}

#[test]
fn the_table_is_sorted_and_has_each_name_once() {
    assert!(SYSCALLS.windows(2).all(|pair| pair[0].0 < pair[1].0));
}

/// Whether a number belongs to a name that this libseccomp does not know on the architecture yet. Below
/// -10000 are its stand-ins for such names; those of multiplexed calls are above.
fn unknown(numbers: &[(String, Vec<i64>)], architecture: Architecture, number: u32) -> bool {
    let column = ARCHITECTURES.iter().position(|one| *one == architecture).expect("is one of them");
    let stand_in = |theirs: i64| theirs == -1 || theirs <= -10_000;
    numbers.iter().any(|(name, theirs)| stand_in(theirs[column]) && architecture.number(name) == Some(number))
}

/// The profile without the names that this libseccomp does not know yet.
fn known_only(profile: &LinuxSeccomp, numbers: &[(String, Vec<i64>)]) -> LinuxSeccomp {
    let known = |name: &String| {
        numbers.iter().any(|(known, theirs)| known == name && theirs.iter().any(|one| *one != -1))
    };
    let rules = profile.syscalls().iter().flatten().map(|rule| {
        let mut rule: LinuxSyscall = rule.clone();
        rule.set_names(rule.names().iter().filter(|name| known(name)).cloned().collect());
        rule
    });
    let mut profile = profile.clone();
    profile.set_syscalls(Some(rules.collect()));
    profile
}

fn compare(oracle: &Oracle, numbers: &[(String, Vec<i64>)], profile: &LinuxSeccomp, native: Architecture) {
    let theirs = oracle.compile(profile, native);
    let ours = compile_for(profile, native).expect("compiles").instructions;
    let values = [
        0,
        1,
        8,
        9,
        16,
        38,
        39,
        40,
        41,
        0x2_0000,
        0x2_0008,
        0x0002_0000,
        0x1000_0000,
        0x7e02_0000,
        0x7fff_ffff,
        0xffff_ffff,
    ];
    for architecture in std::iter::once(native).chain(native.companions().iter().copied()) {
        let beyond = rules(profile, architecture).expect("are valid").beyond;
        for number in (0..=600).filter(|number| !unknown(numbers, architecture, *number)) {
            for first in values {
                for third in [0, 9, 16] {
                    let call = Call::new(architecture, number, [first, first, third, first, first, first]);
                    // Runc puts this before libseccomp's program.
                    let expected = match beyond {
                        Some((newest, action)) if number >= newest => action,
                        Some(_) | None => run(&theirs, &call),
                    };
                    assert_eq!(run(&ours, &call), expected, "{architecture:?} {number} {first:#x} {third}");
                }
            }
        }
    }
}

#[test]
fn the_default_profile_answers_like_libseccomps_filter() {
    let Some(oracle) = oracle() else { return };
    let numbers = oracle.numbers();
    for native in [Architecture::X86_64, Architecture::Aarch64] {
        for capabilities in [CapabilitySet::container_default(), CapabilitySet::EMPTY, CapabilitySet::ALL] {
            let profile = super::super::default_profile(&target(native, capabilities));
            compare(&oracle, &numbers, &known_only(&profile, &numbers), native);
        }
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "a skipped test says so, and the counts are for people")]
fn podmans_profile_answers_like_libseccomps_filter() {
    let Some(oracle) = oracle() else { return };
    let Ok(json) = std::fs::read_to_string(PODMAN_PROFILE) else {
        println!("SKIP: golang-github-containers-common is missing");
        return;
    };
    let numbers = oracle.numbers();
    for native in [Architecture::X86_64, Architecture::Aarch64] {
        for capabilities in [CapabilitySet::container_default(), CapabilitySet::ALL] {
            let profile = parse_profile(&json, &target(native, capabilities)).expect("parses");
            let ours = compile_for(&profile, native).expect("compiles").instructions.len();
            println!(
                "podman's profile, {native:?}: {ours} instructions, libseccomp {}",
                oracle.compile(&profile, native).len()
            );
            compare(&oracle, &numbers, &known_only(&profile, &numbers), native);
        }
    }
}

#[test]
fn several_actions_and_comparisons_answer_like_libseccomps_filter() {
    let Some(oracle) = oracle() else { return };
    let numbers = oracle.numbers();
    for (default, operator) in [
        ("SCMP_ACT_ERRNO", "SCMP_CMP_NE"),
        ("SCMP_ACT_ALLOW", "SCMP_CMP_LT"),
        ("SCMP_ACT_KILL_PROCESS", "SCMP_CMP_LE"),
        ("SCMP_ACT_TRAP", "SCMP_CMP_EQ"),
        ("SCMP_ACT_LOG", "SCMP_CMP_GE"),
        ("SCMP_ACT_ERRNO", "SCMP_CMP_GT"),
        ("SCMP_ACT_ERRNO", "SCMP_CMP_MASKED_EQ"),
    ] {
        let json = format!(
            r#"{{"defaultAction": "{default}", "archMap": [
              {{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]}},
              {{"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]}}], "syscalls": [
              {{"names": ["read", "openat"], "action": "SCMP_ACT_TRACE", "errnoRet": 7,
                "args": [{{"index": 0, "value": 39, "valueTwo": 1, "op": "{operator}"}}]}},
              {{"names": ["close"], "action": "SCMP_ACT_ERRNO", "errnoRet": 9,
                "args": [{{"index": 1, "value": 2147483647, "valueTwo": 16, "op": "{operator}"}},
                         {{"index": 2, "value": 9, "valueTwo": 9, "op": "{operator}"}}]}},
              {{"names": ["getpid", "ioctl"], "action": "SCMP_ACT_NOTIFY"}},
              {{"names": ["mmap"], "action": "SCMP_ACT_KILL",
                "args": [{{"index": 0, "value": 8, "valueTwo": 0, "op": "{operator}"}}]}},
              {{"names": ["mmap", "futex"], "action": "SCMP_ACT_TRAP"}},
              {{"names": ["futex"], "action": "SCMP_ACT_KILL"}},
              {{"names": ["socket", "shmat", "bind"], "action": "SCMP_ACT_KILL_THREAD"}}]}}"#
        );
        for native in [Architecture::X86_64, Architecture::Aarch64] {
            let profile = parse_profile(&json, &target(native, CapabilitySet::EMPTY)).expect("parses");
            compare(&oracle, &numbers, &known_only(&profile, &numbers), native);
        }
    }
}
