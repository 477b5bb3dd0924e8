//! What the default profile lets through, and what it costs.

use super::interpreter::{Call, run};
use super::*;

const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;

fn compiled(architecture: Architecture, capabilities: CapabilitySet) -> Filter {
    let profile = super::super::default_profile(&target(architecture, capabilities));
    compile_for(&profile, architecture).expect("compiles")
}

fn answer(filter: &Filter, architecture: Architecture, name: &str, first: u64) -> u32 {
    let number = architecture.number(name).expect("exists");
    run(&filter.instructions, &Call::new(architecture, number, [first, 0, 0, 0, 0, 0]))
}

#[test]
fn it_has_at_most_300_instructions_for_three_architectures() {
    let mut counts = Vec::new();
    for capabilities in [CapabilitySet::container_default(), CapabilitySet::EMPTY, CapabilitySet::ALL] {
        counts.push(compiled(Architecture::X86_64, capabilities).instructions.len());
        counts.push(compiled(Architecture::Aarch64, capabilities).instructions.len());
    }
    assert!(counts.iter().all(|count| *count <= 300), "{counts:?}");
}

#[test]
fn dangerous_address_families_answer_eperm_whatever_lies_above_the_low_word() {
    let filter = compiled(Architecture::X86_64, CapabilitySet::container_default());
    for architecture in [Architecture::X86_64, Architecture::X86, Architecture::X32] {
        for high in [0, 1 << 32, 0xffff_ffff << 32] {
            for family in 0..64_u64 {
                let expected = if matches!(family, 38 | 40 | 48..) { EPERM } else { ALLOW };
                let given = answer(&filter, architecture, "socket", high | family);
                assert_eq!(given, expected, "{architecture:?} {family} {high:#x}");
            }
            for family in [0x8000_0000, 0xffff_ffff, 0x1_0026] {
                assert_eq!(answer(&filter, architecture, "socket", high | family), EPERM);
            }
        }
    }
}

#[test]
fn namespaces_need_the_capability() {
    let plain = compiled(Architecture::X86_64, CapabilitySet::container_default());
    let all = compiled(Architecture::X86_64, CapabilitySet::ALL);
    let here = Architecture::X86_64;
    for flag in [0x0002_0000, 0x0200_0000, 0x0400_0000, 0x0800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000] {
        assert_eq!(answer(&plain, here, "clone", flag), EPERM, "{flag:#x}");
        assert_eq!(answer(&all, here, "clone", flag), ALLOW, "{flag:#x}");
    }
    assert_eq!(answer(&plain, here, "clone", 0x003d_0f00), ALLOW);
    assert_eq!(answer(&plain, here, "clone3", 0), ENOSYS);
    assert_eq!(answer(&all, here, "clone3", 0), ALLOW);
    for name in ["unshare", "mount", "setns", "bpf", "keyctl", "kexec_load", "init_module", "userfaultfd"] {
        assert_eq!(answer(&plain, here, name, 0), EPERM, "{name}");
    }
}

#[test]
fn execution_domains_are_the_harmless_ones() {
    let filter = compiled(Architecture::X86_64, CapabilitySet::EMPTY);
    for domain in [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff] {
        assert_eq!(answer(&filter, Architecture::X86_64, "personality", domain), ALLOW);
    }
    for domain in [1, 0x0040_0000, 0xffff_fffe, 0x1_0004_0000] {
        assert_eq!(answer(&filter, Architecture::X86_64, "personality", domain), EPERM);
    }
}

#[test]
fn calls_of_the_future_answer_enosys_and_foreign_architectures_die() {
    let filter = compiled(Architecture::X86_64, CapabilitySet::EMPTY);
    for architecture in [Architecture::X86_64, Architecture::X86] {
        let call = Call::new(architecture, 600, [0; 6]);
        assert_eq!(run(&filter.instructions, &call), ENOSYS);
    }
    let foreign = Call { number: 0, audit: Architecture::Aarch64.audit(), arguments: [0; 6] };
    assert_eq!(run(&filter.instructions, &foreign), 0);
}

#[test]
fn a_profile_without_x32_kills_its_calls() {
    let mut profile = super::super::default_profile(&target(Architecture::X86_64, CapabilitySet::EMPTY));
    profile.set_architectures(None);
    let filter = compile_for(&profile, Architecture::X86_64).expect("compiles");
    assert_eq!(run(&filter.instructions, &Call::new(Architecture::X32, 0, [0; 6])), 0);
    assert_eq!(run(&filter.instructions, &Call::new(Architecture::X86, 3, [0; 6])), 0);
    assert_eq!(run(&filter.instructions, &Call::new(Architecture::X86_64, 0, [0; 6])), ALLOW);
}

#[test]
fn cache_keys_tell_capabilities_apart() {
    let key =
        |capabilities| cache_key(&super::super::default_profile(&target(Architecture::X86_64, capabilities)));
    assert_eq!(key(CapabilitySet::EMPTY), key(CapabilitySet::EMPTY));
    assert_ne!(key(CapabilitySet::EMPTY), key(CapabilitySet::ALL));
}

#[test]
fn broken_rules_are_refused() {
    let refused = |rule: &str, default: &str| {
        let json = format!(r#"{{"defaultAction": "{default}", "syscalls": [{rule}]}}"#);
        let profile =
            parse_profile(&json, &target(Architecture::X86_64, CapabilitySet::EMPTY)).expect("parses");
        compile_for(&profile, Architecture::X86_64)
    };
    let allow = "SCMP_ACT_ALLOW";
    let argument = r#"{"names": ["read"], "action": "SCMP_ACT_KILL", "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]}"#;
    assert!(matches!(refused(argument, allow), Err(SeccompError::ArgumentIndex { index: 6, .. })));
    let errno = r#"{"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 4096}"#;
    assert_eq!(refused(errno, allow), Err(SeccompError::Errno { errno: 4096 }));
    let write = r#"{"names": ["write"], "action": "SCMP_ACT_NOTIFY"}"#;
    assert_eq!(refused(write, allow), Err(SeccompError::NotifyWrite));
    assert_eq!(refused(errno, "SCMP_ACT_NOTIFY"), Err(SeccompError::NotifyDefault));
    let read = r#"{"names": ["read", "unheard_of"], "action": "SCMP_ACT_NOTIFY"}"#;
    let filter = refused(read, allow).expect("compiles");
    let call = Call::new(Architecture::X86_64, 0, [0; 6]);
    assert_eq!(run(&filter.instructions, &call), 0x7fc0_0000);
}
