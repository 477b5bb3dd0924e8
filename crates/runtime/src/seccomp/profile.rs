//! What does a profile in docker's JSON format mean on this machine, for this container? Its rules may
//! depend on granted capabilities, on the architecture and on the kernel; what is left once those are
//! known is the filter of an OCI spec. Unknown keys are refused: a misspelt `excludes` must not open a door.

use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag, LinuxSyscall,
};
use serde::Deserialize;

use super::{Architecture, ProfileError};
use crate::spec::CapabilitySet;

/// Bytes of one profile; docker's own has 20 kB.
const PROFILE_BYTES_MAX: usize = 1 << 20;

/// What the conditions of a profile are resolved against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Target {
    /// The machine's own architecture.
    pub architecture: Architecture,
    /// The kernel's version, major and minor.
    pub kernel: (u32, u32),
    /// Capabilities granted to the container (its bounding set).
    pub capabilities: CapabilitySet,
}

/// Reads a profile and resolves its conditions.
pub fn parse_profile(json: &str, target: &Target) -> Result<LinuxSeccomp, ProfileError> {
    if json.len() > PROFILE_BYTES_MAX {
        return Err(ProfileError::TooLarge { bytes_max: PROFILE_BYTES_MAX });
    }
    let profile: Profile = serde_json::from_str(json).map_err(|error| ProfileError::Json {
        line: error.line(),
        column: error.column(),
        problem: error.to_string(),
    })?;
    let architectures = architectures(&profile, target)?;
    let mut rules = Vec::new();
    for rule in profile.syscalls {
        if let Some(rule) = resolve(rule, target)? {
            rules.push(rule);
        }
    }
    let mut seccomp = LinuxSeccomp::default();
    seccomp
        .set_default_action(profile.default_action)
        .set_default_errno_ret(profile.default_errno_ret)
        .set_architectures(Some(architectures))
        .set_flags(profile.flags)
        .set_listener_path(profile.listener_path)
        .set_listener_metadata(profile.listener_metadata)
        .set_syscalls(Some(rules));
    Ok(seccomp)
}

/// Docker's format, and the two fields that podman adds to it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Profile {
    default_action: LinuxSeccompAction,
    default_errno_ret: Option<u32>,
    /// Podman's name for the number above.
    #[serde(rename = "defaultErrno")]
    _default_errno: Option<String>,
    architectures: Option<Vec<Arch>>,
    arch_map: Option<Vec<ArchitectureMap>>,
    flags: Option<Vec<LinuxSeccompFilterFlag>>,
    listener_path: Option<std::path::PathBuf>,
    listener_metadata: Option<String>,
    #[serde(default, deserialize_with = "nullable")]
    syscalls: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ArchitectureMap {
    architecture: Arch,
    #[serde(default, deserialize_with = "nullable")]
    sub_architectures: Vec<Arch>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    /// The older form of `names`.
    name: Option<String>,
    #[serde(default, deserialize_with = "nullable")]
    names: Vec<String>,
    action: LinuxSeccompAction,
    errno_ret: Option<u32>,
    /// Podman's name for the number above.
    #[serde(rename = "errno")]
    _errno: Option<String>,
    #[serde(default, deserialize_with = "nullable")]
    args: Vec<LinuxSeccompArg>,
    #[serde(default, deserialize_with = "nullable")]
    includes: Conditions,
    #[serde(default, deserialize_with = "nullable")]
    excludes: Conditions,
    #[serde(rename = "comment")]
    _comment: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Conditions {
    #[serde(default, deserialize_with = "nullable")]
    caps: Vec<String>,
    #[serde(default, deserialize_with = "nullable")]
    arches: Vec<String>,
    min_kernel: Option<String>,
}

/// Go writes an empty list as null.
fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

fn architectures(profile: &Profile, target: &Target) -> Result<Vec<Arch>, ProfileError> {
    let own = target.architecture.oci();
    match (&profile.architectures, &profile.arch_map) {
        (Some(given), Some(map)) if !given.is_empty() && !map.is_empty() => {
            Err(ProfileError::Both { first: "architectures", second: "archMap" })
        }
        (Some(given), _) if !given.is_empty() => Ok(given.clone()),
        (_, Some(map)) => {
            Ok(map.iter().find(|entry| entry.architecture == own).map_or_else(Vec::new, |entry| {
                std::iter::once(own).chain(entry.sub_architectures.iter().copied()).collect()
            }))
        }
        (_, None) => Ok(Vec::new()),
    }
}

/// A rule holds when everything that includes it is there and nothing that excludes it is.
fn resolve(rule: Rule, target: &Target) -> Result<Option<LinuxSyscall>, ProfileError> {
    let mut names = rule.names;
    if let Some(name) = rule.name {
        if !names.is_empty() {
            return Err(ProfileError::Both { first: "name", second: "names" });
        }
        names.push(name);
    }
    let granted = |name: &String| {
        CapabilitySet::named(name).is_some_and(|capability| target.capabilities.contains(capability))
    };
    let here = |name: &String| name == target.architecture.docker();
    let includes = rule.includes;
    if !includes.arches.is_empty() && !includes.arches.iter().any(here) {
        return Ok(None);
    }
    if !includes.caps.iter().all(granted) || !new_enough(includes.min_kernel.as_deref(), target, true)? {
        return Ok(None);
    }
    let excludes = rule.excludes;
    if excludes.arches.iter().any(here)
        || excludes.caps.iter().any(granted)
        || new_enough(excludes.min_kernel.as_deref(), target, false)?
    {
        return Ok(None);
    }
    let mut syscall = LinuxSyscall::default();
    syscall
        .set_names(names)
        .set_action(rule.action)
        .set_errno_ret(rule.errno_ret)
        .set_args((!rule.args.is_empty()).then_some(rule.args));
    Ok(Some(syscall))
}

fn new_enough(wanted: Option<&str>, target: &Target, absent: bool) -> Result<bool, ProfileError> {
    let Some(text) = wanted.filter(|text| !text.is_empty()) else {
        return Ok(absent);
    };
    let version = text
        .split_once('.')
        .and_then(|(major, minor)| Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?)))
        .ok_or_else(|| ProfileError::KernelVersion { text: text.to_owned() })?;
    Ok(target.kernel >= version)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(capabilities: CapabilitySet) -> Target {
        Target { architecture: Architecture::X86_64, kernel: (5, 10), capabilities }
    }

    fn names(json: &str, capabilities: CapabilitySet) -> Vec<String> {
        let profile = parse_profile(json, &target(capabilities)).expect("is valid");
        profile.syscalls().iter().flatten().flat_map(|rule| rule.names().clone()).collect()
    }

    #[test]
    fn rules_hold_by_capability_architecture_and_kernel() {
        let json = r#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1, "archMap": [
            {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}], "syscalls": [
            {"names": ["a"], "action": "SCMP_ACT_ALLOW", "args": null, "includes": {}, "excludes": null},
            {"names": ["b"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["c"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["d"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["arm64"]}},
            {"names": ["e"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "5.11"}},
            {"name": "f", "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}, "comment": "x"},
            {"names": ["g"], "action": "SCMP_ACT_ALLOW", "excludes": {"minKernel": "4.8"}},
            {"names": ["h"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_FROM_THE_FUTURE"]}}]}"#;
        assert_eq!(names(json, CapabilitySet::EMPTY), ["a", "c", "f"]);
        assert_eq!(names(json, CapabilitySet::ALL), ["a", "b", "f"]);
        let profile = parse_profile(json, &target(CapabilitySet::EMPTY)).expect("is valid");
        assert_eq!(profile.architectures(), &Some(vec![Arch::ScmpArchX86_64, Arch::ScmpArchX86]));
    }

    #[test]
    fn malformed_profiles_are_refused_with_their_place() {
        for (json, reason) in [
            ("", "SECCOMP_PROFILE_MALFORMED"),
            ("{}", "SECCOMP_PROFILE_MALFORMED"),
            (r#"{"defaultAction": "SCMP_ACT_NOPE"}"#, "SECCOMP_PROFILE_MALFORMED"),
            (r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscals": []}"#, "SECCOMP_PROFILE_MALFORMED"),
            (
                r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"],
                    "archMap": [{"architecture": "SCMP_ARCH_X86"}]}"#,
                "SECCOMP_PROFILE_AMBIGUOUS",
            ),
            (
                r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"name": "a", "names": ["b"], "action": "SCMP_ACT_KILL"}]}"#,
                "SECCOMP_PROFILE_AMBIGUOUS",
            ),
            (
                r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["b"], "action": "SCMP_ACT_KILL", "includes": {"minKernel": "x"}}]}"#,
                "SECCOMP_PROFILE_KERNEL_VERSION",
            ),
        ] {
            let error = parse_profile(json, &target(CapabilitySet::EMPTY)).expect_err("is refused");
            assert_eq!(gantry_types::Classified::reason(&error), reason, "{json}");
        }
        let large = " ".repeat(PROFILE_BYTES_MAX + 1);
        assert!(matches!(
            parse_profile(&large, &target(CapabilitySet::EMPTY)),
            Err(ProfileError::TooLarge { .. })
        ));
    }
}
