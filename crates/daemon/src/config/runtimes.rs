//! `[runtimes.<name>]`: other OCI runtimes that containers may ask for by a name.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// `[runtimes.<name>]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Runtime {
    /// Absolute path of the programme; it has runc's command line. Scripts are no programmes.
    pub path: PathBuf,
    /// Arguments in front of the command word (`--systemd-cgroup` is not among them: Gantry says who makes the group).
    pub args: Vec<String>,
    /// Absolute folder where it keeps its state; empty means in each container's bundle, which goes with it.
    pub root: PathBuf,
}

impl Runtime {
    /// What no type can say.
    pub(super) fn check(&self) -> Result<(), (&'static str, &'static str)> {
        if !self.path.is_absolute() {
            return Err(("runtimes.<name>.path", "must be an absolute path"));
        }
        if !self.root.as_os_str().is_empty() && !self.root.is_absolute() {
            return Err(("runtimes.<name>.root", "must be empty or an absolute path"));
        }
        Ok(())
    }
}
