//! Kernel parameters: only those of a namespace that the container owns, so that nothing of the host's can
//! be changed (CVE-2022-0811, CVE-2022-0532).

use std::collections::BTreeMap;

use oci_spec::runtime::Linux;

use super::namespaces::Namespaces;
use crate::plan::{NamespaceKind, Op, PlanError, Step, Sysctl};

/// Parameters of the ipc namespace beside everything below `fs/mqueue/`.
const IPC: [&str; 8] = [
    "kernel/msgmax",
    "kernel/msgmnb",
    "kernel/msgmni",
    "kernel/sem",
    "kernel/shmall",
    "kernel/shmmax",
    "kernel/shmmni",
    "kernel/shm_rmid_forced",
];

/// The parameters of `linux.sysctl`. `domainname` is the spec's own, which one of them sets too: two values are refused.
pub(super) fn compile(
    linux: &Linux,
    domainname: Option<&str>,
    namespaces: &Namespaces,
    steps: &mut Vec<Step>,
) -> Result<(), PlanError> {
    let sorted: BTreeMap<&String, &String> = linux.sysctl().iter().flatten().collect();
    for (name, value) in sorted {
        let refused = || PlanError::invalid(format!("linux.sysctl {name:?}"), value.as_str());
        let path = to_path(name).ok_or_else(refused)?;
        let owner = if path.starts_with("net/") {
            NamespaceKind::Network
        } else if path.starts_with("fs/mqueue/") || IPC.contains(&path.as_str()) {
            NamespaceKind::Ipc
        } else if path == "kernel/domainname" {
            NamespaceKind::Uts
        } else {
            return Err(refused());
        };
        let two_names =
            owner == NamespaceKind::Uts && domainname.is_some_and(|name| !name.is_empty() && name != value);
        if two_names || namespaces.is_host(owner) || value.contains(['\0', '\n']) || value.len() > 4096 {
            return Err(refused());
        }
        steps.push(Op::Sysctl(Sysctl { path, value: value.clone() }).into());
    }
    Ok(())
}

/// `net.ipv4.ip_forward` as a path. As in sysctl(8) the separator that comes first decides, so that a link
/// named `eth0.1` can be written with slashes.
fn to_path(name: &str) -> Option<String> {
    let dots = name.find(['.', '/']).is_some_and(|at| name.as_bytes()[at] == b'.');
    let path: String = name
        .chars()
        .map(|c| match c {
            '.' if dots => '/',
            '/' if dots => '.',
            other => other,
        })
        .collect();
    let allowed = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b':' | b'@'))
    };
    (path.len() < 256 && path.split('/').all(allowed)).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::to_path;

    #[test]
    fn the_first_separator_decides() {
        assert_eq!(to_path("net.ipv4.ip_forward").as_deref(), Some("net/ipv4/ip_forward"));
        assert_eq!(
            to_path("net/ipv4/conf/eth0.1/rp_filter").as_deref(),
            Some("net/ipv4/conf/eth0.1/rp_filter")
        );
        assert_eq!(
            to_path("net.ipv4.conf.eth0/1.rp_filter").as_deref(),
            Some("net/ipv4/conf/eth0.1/rp_filter")
        );
        for name in ["", "net..x", "net/../kernel/core_pattern", "a b", "net.ipv4.a+b=kernel.core_pattern"] {
            assert_eq!(to_path(name), None, "{name}");
        }
    }
}
