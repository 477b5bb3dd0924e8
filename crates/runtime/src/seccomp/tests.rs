//! The compiler against an interpreter of classic BPF: the default profile's size and answers, every call
//! number against libseccomp's own filter, and random profiles against a naive reading of the rules.

mod default_profile;
mod interpreter;
mod kernel;
mod naive;
mod oracle;
mod random;

use super::*;
use crate::plan;
use crate::spec::CapabilitySet;

/// What the default profile is resolved against in most tests.
fn target(architecture: Architecture, capabilities: CapabilitySet) -> Target {
    Target { architecture, kernel: (6, 1), capabilities }
}

/// The number of a call with the mark that its architecture gives it.
fn marked(architecture: Architecture, number: u32) -> u32 {
    match architecture {
        Architecture::X32 => number | architecture::X32_BIT,
        Architecture::X86_64 | Architecture::X86 | Architecture::Aarch64 | Architecture::Arm => number,
    }
}
