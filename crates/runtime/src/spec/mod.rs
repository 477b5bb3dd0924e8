//! What does a container's OCI spec look like? [`build`] merges the request, the image's config and the
//! facts of the host into one spec, by docker's rules where docker has any. It is pure: no file is read,
//! no name looked up, so that the same input gives the same spec and tables of input are the tests. Every
//! value is checked here, where the error can name what the caller wrote; compiling the spec to kernel
//! operations is `plan`'s work, and whatever a path turns out to be is decided there.

mod capabilities;
mod devices;
mod error;
mod mounts;
mod names;
mod paths;
mod process;
mod resources;
mod rlimits;
mod signal;
mod sysctls;
mod user_namespace;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use gantry_types::{ContainerId, ContainerOptions, ImageConfig, NamespaceMode, NetworkMode, Seccomp};
use oci_spec::runtime::{Linux, LinuxNamespace, LinuxNamespaceType, LinuxSeccomp, Root, Spec};

pub use capabilities::CapabilitySet;
pub use error::SpecError;
pub use mounts::image_volumes;
pub use process::{ExecInput, command, process_for_exec};
pub use signal::{Signal, stop_signal};

use crate::seccomp::{self, Architecture};
use crate::user::ResolvedUser;

/// The version of the runtime spec that [`build`] writes.
const OCI_VERSION: &str = "1.2.1";

/// What [`build`] needs.
#[derive(Debug, Clone, Copy)]
pub struct SpecInput<'a> {
    /// The container.
    pub id: &'a ContainerId,
    /// What was asked.
    pub options: &'a ContainerOptions,
    /// What the image says.
    pub image: &'a ImageConfig,
    /// Who the process runs as.
    pub user: &'a ResolvedUser,
    /// The host.
    pub host: &'a HostFacts,
    /// Where the root filesystem is, or will be, mounted.
    pub rootfs: &'a Path,
    /// Files that Gantry wrote for the container.
    pub files: &'a GeneratedFiles,
    /// The container's control group, below each hierarchy's root.
    pub cgroup_path: &'a Path,
    /// Whether the caller has the default profile's compiled filter for these options: the spec then says that there
    /// is one, without its four hundred names.
    pub default_filter_is_kept: bool,
}

/// What of the host decides about a spec.
#[derive(Debug, Clone)]
pub struct HostFacts {
    /// What the kernel knows and the daemon may give (its own bounding set).
    pub capabilities: CapabilitySet,
    /// Whether the kernel has seccomp filters.
    pub seccomp: bool,
    /// The machine's architecture.
    pub architecture: Architecture,
    /// The kernel's version, major and minor.
    pub kernel: (u32, u32),
    /// Processors that may ever be there (`/sys/devices/system/cpu/possible`).
    pub cpus: u32,
    /// Whether the processors tell of their thermal throttling, which is then masked.
    pub thermal_throttle: bool,
    /// The host's own name, for containers in its uts namespace.
    pub hostname: String,
    /// Device nodes by host path: those that the request names, and every one below `/dev` for a
    /// privileged container.
    pub devices: BTreeMap<String, DeviceNode>,
}

/// A device node of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceNode {
    /// Block or character.
    pub kind: DeviceKind,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// The two kinds of device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    /// A block device.
    Block,
    /// A character device.
    Character,
}

/// Host paths of what Gantry provides to one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneratedFiles {
    /// Becomes `/etc/hostname`.
    pub hostname: PathBuf,
    /// Becomes `/etc/hosts`.
    pub hosts: PathBuf,
    /// Becomes `/etc/resolv.conf`.
    pub resolv_conf: PathBuf,
}

/// Builds the container's spec.
pub fn build(input: &SpecInput<'_>) -> Result<Spec, SpecError> {
    names::check(input.options)?;
    image_volumes(input.image)?;
    stop_signal(input.options, input.image)?;
    user_namespace::check(input)?;
    let capabilities = process::capabilities(input.options, input.host)?;

    let mut root = Root::default();
    root.set_path(input.rootfs.to_owned()).set_readonly(Some(input.options.read_only_rootfs));
    let (hostname, domainname) = match input.options.uts_mode {
        NamespaceMode::Private => (Some(process::hostname(input)), input.options.domainname.clone()),
        NamespaceMode::Host => (None, None),
    };
    let annotations: HashMap<_, _> = input.options.annotations.clone().into_iter().collect();

    let mut spec = Spec::default();
    spec.set_version(OCI_VERSION.to_owned())
        .set_root(Some(root))
        .set_process(Some(process::build(input, capabilities)?))
        .set_mounts(Some(mounts::build(input.options, input.files)?))
        .set_hostname(hostname)
        .set_domainname(domainname)
        .set_annotations((!annotations.is_empty()).then_some(annotations))
        .set_linux(Some(linux(input, capabilities)?));
    Ok(spec)
}

fn linux(input: &SpecInput<'_>, capabilities: CapabilitySet) -> Result<Linux, SpecError> {
    let security = &input.options.security;
    let (nodes, rules) = devices::build(&input.options.devices, security.privileged, input.host)?;
    let exposed = security.privileged || security.unmasked_system_paths;
    let hidden = |paths: Vec<String>| Some(if exposed { Vec::new() } else { paths });
    let mut linux = Linux::default();
    linux
        .set_cgroups_path(Some(input.cgroup_path.to_owned()))
        .set_namespaces(Some(namespaces(input.options)))
        .set_uid_mappings(user_namespace::users(input.options))
        .set_gid_mappings(user_namespace::groups(input.options))
        .set_sysctl(sysctls::build(input.options)?)
        .set_resources(Some(resources::build(&input.options.resources, input.host, rules)?))
        .set_devices(Some(nodes))
        .set_seccomp(filter(input, capabilities)?)
        .set_rootfs_propagation(propagation(input.options))
        .set_masked_paths(hidden(paths::masked(input.host)))
        .set_readonly_paths(hidden(paths::read_only()));
    Ok(linux)
}

/// A container always has its own mount and cgroup namespace; the rest is asked.
fn namespaces(options: &ContainerOptions) -> Vec<LinuxNamespace> {
    let private = |mode| match mode {
        NamespaceMode::Private => true,
        NamespaceMode::Host => false,
    };
    [
        (LinuxNamespaceType::Mount, true),
        (LinuxNamespaceType::Cgroup, true),
        (LinuxNamespaceType::Uts, private(options.uts_mode)),
        (LinuxNamespaceType::Ipc, private(options.ipc_mode)),
        (LinuxNamespaceType::Pid, private(options.pid_mode)),
        (LinuxNamespaceType::Network, options.network != NetworkMode::Host),
        (LinuxNamespaceType::User, options.own_user_namespace().is_some()),
    ]
    .into_iter()
    .filter(|(_, own)| *own)
    .map(|(kind, _)| {
        let mut namespace = LinuxNamespace::default();
        namespace.set_typ(kind);
        namespace
    })
    .collect()
}

/// A bind that follows or shares the host's mounts needs a root that lets them through. Its own sharing is an
/// option of the bind: the plan clones its source before the container's mount namespace is there.
fn propagation(options: &ContainerOptions) -> Option<String> {
    let open = options.mounts.iter().any(|mount| match mount {
        gantry_types::Mount::Bind { propagation, .. } => propagation
            .as_deref()
            .is_some_and(|given| matches!(given, "slave" | "rslave" | "shared" | "rshared")),
        gantry_types::Mount::Tmpfs { .. } => false,
    });
    open.then(|| "rslave".to_owned())
}

fn filter(input: &SpecInput<'_>, capabilities: CapabilitySet) -> Result<Option<LinuxSeccomp>, SpecError> {
    let security = &input.options.security;
    let target =
        seccomp::Target { architecture: input.host.architecture, kernel: input.host.kernel, capabilities };
    let profile = match &security.seccomp {
        Seccomp::Unconfined => return Ok(None),
        Seccomp::Default if security.privileged => return Ok(None),
        // Four hundred names, for nobody.
        Seccomp::Default if input.default_filter_is_kept => LinuxSeccomp::default(),
        Seccomp::Default => seccomp::default_profile(&target),
        Seccomp::Profile { json } => seccomp::parse_profile(json, &target)?,
    };
    if !input.host.seccomp {
        return Err(SpecError::SeccompUnsupported);
    }
    Ok(Some(profile))
}

#[cfg(test)]
mod tests;
