//! The flags that decide what a container may reach: namespaces, capabilities, seccomp, sysctls.

use clap::Args;
use gantry_api::containers::v1::{ContainerOptions, NamespaceMode, Seccomp, SeccompMode, SecurityOptions};

use crate::failure::Failure;
use crate::parse::pair::strict;

/// Flags of confinement.
#[derive(Debug, Args)]
pub(crate) struct ConfinementFlags {
    /// Pid namespace: private or host
    #[arg(long, value_name = "MODE", default_value = "private")]
    pid: String,
    /// Ipc namespace: private or host
    #[arg(long, value_name = "MODE", default_value = "private")]
    ipc: String,
    /// Uts namespace: private or host
    #[arg(long, value_name = "MODE", default_value = "private")]
    uts: String,
    /// Add a capability, or ALL
    #[arg(long, value_name = "CAPABILITY")]
    cap_add: Vec<String>,
    /// Take a capability away, or ALL
    #[arg(long, value_name = "CAPABILITY")]
    cap_drop: Vec<String>,
    /// Every capability and device, no seccomp filter, nothing masked
    #[arg(long)]
    privileged: bool,
    /// seccomp=FILE|unconfined, no-new-privileges, systempaths=unconfined
    #[arg(long, value_name = "OPTION")]
    security_opt: Vec<String>,
    /// Set a kernel parameter of the container's own
    #[arg(long, value_name = "KEY=VALUE", value_parser = strict)]
    sysctl: Vec<(String, String)>,
}

impl ConfinementFlags {
    /// The options that these flags decide; all others are at their defaults.
    pub(crate) fn options(self) -> Result<ContainerOptions, Failure> {
        let mut security = SecurityOptions {
            privileged: self.privileged,
            cap_add: self.cap_add,
            cap_drop: self.cap_drop,
            ..SecurityOptions::default()
        };
        for option in &self.security_opt {
            apply(&mut security, option)?;
        }
        Ok(ContainerOptions {
            pid_mode: mode("pid", &self.pid)?.into(),
            ipc_mode: mode("ipc", &self.ipc)?.into(),
            uts_mode: mode("uts", &self.uts)?.into(),
            security: Some(security),
            sysctls: self.sysctl.into_iter().collect(),
            ..ContainerOptions::default()
        })
    }
}

fn mode(flag: &str, text: &str) -> Result<NamespaceMode, Failure> {
    match text {
        "" | "private" => Ok(NamespaceMode::Private),
        "host" => Ok(NamespaceMode::Host),
        other => Err(Failure::new(format!("--{flag} {other:?} is not available"))
            .hint(format!("use --{flag} private or --{flag} host"))),
    }
}

/// One `--security-opt`. Docker takes `=` and, of old, `:` between key and value.
fn apply(security: &mut SecurityOptions, option: &str) -> Result<(), Failure> {
    let (key, value) = option.split_once(['=', ':']).unwrap_or((option, ""));
    match (key, value) {
        ("seccomp", "unconfined") => security.seccomp = Some(seccomp(SeccompMode::Unconfined, String::new())),
        ("seccomp", "default" | "builtin") => security.seccomp = None,
        ("seccomp", path) => {
            let json = std::fs::read_to_string(path)
                .map_err(|error| Failure::io(&format!("cannot read the seccomp profile {path}"), &error))?;
            security.seccomp = Some(seccomp(SeccompMode::Profile, json));
        }
        ("no-new-privileges", "" | "true") => security.no_new_privileges = true,
        ("no-new-privileges", "false") => security.no_new_privileges = false,
        ("systempaths", "unconfined") => security.unmasked_system_paths = true,
        // What they ask for is how it is: Gantry applies no such profile.
        ("apparmor", "unconfined") | ("label", "disable") => {}
        _ => {
            return Err(Failure::new(format!("security option {option:?} is not available"))
                .hint("use seccomp=FILE|unconfined, no-new-privileges or systempaths=unconfined"));
        }
    }
    Ok(())
}

fn seccomp(mode: SeccompMode, profile_json: String) -> Seccomp {
    Seccomp { mode: mode.into(), profile_json }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn security_options_add_up() {
        let mut security = SecurityOptions::default();
        for option in ["seccomp=unconfined", "no-new-privileges", "systempaths:unconfined", "label=disable"] {
            apply(&mut security, option).expect(option);
        }
        assert!(security.no_new_privileges && security.unmasked_system_paths);
        assert_eq!(security.seccomp.expect("set").mode(), SeccompMode::Unconfined);
        for option in ["apparmor=x", "seccomp=/no/such/file", "x", "systempaths=y"] {
            assert!(apply(&mut SecurityOptions::default(), option).is_err(), "{option}");
        }
    }
}
