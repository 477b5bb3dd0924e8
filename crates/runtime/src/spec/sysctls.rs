//! Which kernel parameters may a container set? Only those that belong to a namespace, and only when the
//! container has that namespace to itself; everything else would change the host (CVE-2022-0532). The
//! grammar of keys and values is narrow so that no text can mean a second key (CVE-2022-0811).

use std::collections::HashMap;

use gantry_types::{ContainerOptions, NamespaceMode, NetworkMode};

use super::SpecError;

/// Kernel parameters of an ipc namespace (namespaces(7), ipc_namespaces(7)).
const IPC_KEYS: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];
/// Bytes of one value.
const VALUE_BYTES_MAX: usize = 1024;
/// Bytes of one key.
const KEY_BYTES_MAX: usize = 256;

/// The request's parameters, once each is allowed.
pub(crate) fn build(options: &ContainerOptions) -> Result<Option<HashMap<String, String>>, SpecError> {
    for (key, value) in &options.sysctls {
        check(key, value, options)
            .map_err(|rule| SpecError::Sysctl { key: key.chars().take(KEY_BYTES_MAX).collect(), rule })?;
    }
    let sysctls: HashMap<_, _> = options.sysctls.clone().into_iter().collect();
    Ok((!sysctls.is_empty()).then_some(sysctls))
}

fn check(key: &str, value: &str, options: &ContainerOptions) -> Result<(), &'static str> {
    let part = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
    };
    if key.len() > KEY_BYTES_MAX || !key.contains('.') || !key.split('.').all(part) {
        return Err("is not words of letters, digits, '_' and '-' joined by dots");
    }
    if value.is_empty() || value.len() > VALUE_BYTES_MAX {
        return Err("has a value that is empty or longer than 1024 bytes");
    }
    if !value.chars().all(|c| c == '\t' || (' '..='~').contains(&c)) {
        return Err("has a value with control or non-ASCII characters");
    }
    if IPC_KEYS.contains(&key) || key.starts_with("fs.mqueue.") {
        return match options.ipc_mode {
            NamespaceMode::Private => Ok(()),
            NamespaceMode::Host => Err("belongs to the ipc namespace, which is the host's"),
        };
    }
    if key.starts_with("net.") {
        return match options.network {
            NetworkMode::None | NetworkMode::Networks(_) => Ok(()),
            NetworkMode::Host => Err("belongs to the network namespace, which is the host's"),
            NetworkMode::Container(_) | NetworkMode::Sandbox(_) => {
                Err("belongs to the network namespace, which is shared")
            }
        };
    }
    if key == "kernel.domainname" {
        return match options.uts_mode {
            NamespaceMode::Private => Ok(()),
            NamespaceMode::Host => Err("belongs to the uts namespace, which is the host's"),
        };
    }
    Err("belongs to no namespace, so setting it would change the host")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(key: &str, value: &str, change: impl Fn(&mut ContainerOptions)) -> bool {
        let mut options = ContainerOptions::default();
        options.sysctls.insert(key.to_owned(), value.to_owned());
        change(&mut options);
        build(&options).is_ok()
    }

    #[test]
    fn namespaced_parameters_are_taken_when_the_namespace_is_private() {
        let private = |_: &mut ContainerOptions| {};
        assert!(ask("net.ipv4.ip_forward", "1", private));
        assert!(ask("net.ipv4.ping_group_range", "0\t2147483647", private));
        assert!(ask("kernel.sem", "250 32000 100 128", private));
        assert!(ask("fs.mqueue.msg_max", "10", private));
        assert!(ask("kernel.domainname", "example.org", private));
        let host = |options: &mut ContainerOptions| {
            options.network = NetworkMode::Host;
            options.ipc_mode = NamespaceMode::Host;
            options.uts_mode = NamespaceMode::Host;
        };
        for key in ["net.ipv4.ip_forward", "kernel.sem", "fs.mqueue.msg_max", "kernel.domainname"] {
            assert!(!ask(key, "1", host), "{key}");
        }
    }

    #[test]
    fn host_parameters_and_smuggled_keys_are_refused() {
        let private = |_: &mut ContainerOptions| {};
        for key in [
            "kernel.core_pattern",
            "vm.swappiness",
            "fs.file-max",
            "net",
            "",
            "net.",
            ".net",
            "net..x",
            "net.ipv4/../../kernel/core_pattern",
            "net/ipv4/ip_forward",
            "net.ipv4.x=y",
            "net.ipv4.x\n",
            "net.../kernel",
            "kernel.shm_rmid_forced+kernel.core_pattern",
            "kernel.hostname",
            "net.ipv4.é",
        ] {
            assert!(!ask(key, "1", private), "{key:?}");
        }
        for value in ["", "1\n2", "1\0", "é"] {
            assert!(!ask("net.ipv4.ip_forward", value, private), "{value:?}");
        }
    }
}
