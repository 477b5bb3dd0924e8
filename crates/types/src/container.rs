//! What a caller asks of a container, in full and in domain terms: the request's own words, before the
//! image's defaults are merged in. It is stored as it is and never changed after create, so that a start
//! next month means what it meant today. Turning it into an OCI spec is the runtime crate's work.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{ExposedPort, Labels, NetworkMode, PublishedPort, RuntimeName, UserNamespace};

/// One process: the container's own, or an exec.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessOptions {
    /// Replaces the image's entrypoint; `Some` of an empty list clears it.
    pub entrypoint: Option<Vec<String>>,
    /// Arguments; empty means the image's command, unless the entrypoint is replaced.
    pub args: Vec<String>,
    /// `NAME=value` entries, added to the image's and winning over them.
    pub env: Vec<String>,
    /// Folder inside the container; `None` means the image's, else `/`.
    pub working_dir: Option<String>,
    /// `user[:group]`, names or numbers; `None` means the image's, else root.
    pub user: Option<String>,
    /// Supplementary groups, names or numbers, beside those of the container's group database.
    pub additional_groups: Vec<String>,
    /// Whether it gets a pseudo terminal.
    pub terminal: bool,
    /// Whether standard input is kept open; otherwise it reads end of file at once.
    pub stdin_open: bool,
    /// Every capability and no seccomp filter for this process. An exec's own; containers use [`SecurityOptions`].
    pub privileged: bool,
}

/// Everything asked of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerOptions {
    /// Its own process.
    pub process: ProcessOptions,
    /// Host name; `None` means the first twelve digits of its id.
    pub hostname: Option<String>,
    /// NIS domain name.
    pub domainname: Option<String>,
    /// Bind mounts and tmpfs, in the order asked.
    pub mounts: Vec<Mount>,
    /// Whether the root filesystem is read-only.
    pub read_only_rootfs: bool,
    /// Bytes of `/dev/shm`; `None` means 64 MiB.
    pub shm_size_bytes: Option<u64>,
    /// Which network it gets.
    pub network: NetworkMode,
    /// Ports of the host that lead to it; only with networks that have a way in.
    pub ports: Vec<PublishedPort>,
    /// Ports it says it listens on, beside the image's.
    pub exposed_ports: Vec<ExposedPort>,
    /// Whether every exposed port is published on a free port of the host.
    pub publish_all_ports: bool,
    /// The pid namespace.
    pub pid_mode: NamespaceMode,
    /// The ipc namespace.
    pub ipc_mode: NamespaceMode,
    /// The uts namespace.
    pub uts_mode: NamespaceMode,
    /// The user namespace. `None` means the daemon's default in a request, and the host's in a record.
    pub user_namespace: Option<UserNamespace>,
    /// Resource limits.
    pub resources: Resources,
    /// Capabilities, seccomp and the rest of its confinement.
    pub security: SecurityOptions,
    /// Rlimits by name (`nofile`, `nproc`…), soft and hard; `u64::MAX` is unlimited.
    pub ulimits: BTreeMap<String, Ulimit>,
    /// Kernel parameters, namespaced ones only.
    pub sysctls: BTreeMap<String, String>,
    /// Host devices.
    pub devices: Vec<Device>,
    /// Whether Gantry's own tiny init runs as pid 1 and reaps.
    pub init: bool,
    /// Whether it is removed when it exits.
    pub auto_remove: bool,
    /// Signal that asks it to end; `None` means the image's, else SIGTERM. A name (`SIGTERM`, `TERM`) or a number.
    pub stop_signal: Option<String>,
    /// Milliseconds from the stop signal to SIGKILL; `None` means [`crate::STOP_TIMEOUT_MS`].
    pub stop_timeout_ms: Option<u64>,
    /// The caller's labels.
    pub labels: Labels,
    /// OCI annotations, passed to the spec.
    pub annotations: BTreeMap<String, String>,
    /// Added to `/etc/hosts`, as name and address.
    pub extra_hosts: Vec<(String, String)>,
    /// DNS servers; empty means the host's.
    pub dns: Vec<String>,
    /// DNS search domains.
    pub dns_search: Vec<String>,
    /// DNS options.
    pub dns_options: Vec<String>,
    /// Whether overlay writes of this container may be lost in a power cut (`volatile` mount).
    pub volatile_rootfs: bool,
    /// Which OCI runtime makes it. `None` means the daemon's default in a request, and Gantry's own in a record.
    pub runtime: Option<RuntimeName>,
}

impl ContainerOptions {
    /// The container's own user namespace, if it has one.
    pub fn own_user_namespace(&self) -> Option<&UserNamespace> {
        self.user_namespace.as_ref().filter(|namespace| namespace.is_private())
    }
}

/// A mount into the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Mount {
    /// A host folder or file.
    Bind {
        /// Absolute host path.
        source: String,
        /// Absolute path inside the container.
        target: String,
        /// Whether the container may only read it; submounts too.
        read_only: bool,
        /// Whether submounts of the source come with it.
        recursive: bool,
        /// `private`, `rprivate`, `slave`, `rslave`, `shared`, `rshared`; `None` means `rprivate`.
        propagation: Option<String>,
        /// Whether a missing source folder is made (`-v`), instead of refused (`--mount`).
        create_source: bool,
        /// Whether its files' owners are ids of the container (an id-mapped mount); only in a user namespace.
        #[serde(default)]
        id_mapped: bool,
    },
    /// A fresh tmpfs.
    Tmpfs {
        /// Absolute path inside the container.
        target: String,
        /// Bytes at the most; `None` means the kernel's default.
        size_bytes: Option<u64>,
        /// Permission bits; `None` means 1777.
        mode: Option<u32>,
        /// Whether it is read-only.
        read_only: bool,
        /// Further options in the form of mount(8): `exec`, `nosuid`, `uid=…`.
        options: Vec<String>,
    },
}

impl Mount {
    /// The path inside the container.
    pub fn target(&self) -> &str {
        match self {
            Self::Bind { target, .. } | Self::Tmpfs { target, .. } => target,
        }
    }
}

/// Whether a namespace is the container's own or the host's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NamespaceMode {
    /// Its own.
    #[default]
    Private,
    /// The host's.
    Host,
}

/// Resource limits. `None` is unlimited, or the kernel's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// Bytes of memory.
    pub memory_bytes: Option<u64>,
    /// Bytes of memory and swap together; `u64::MAX` is unlimited swap. Needs `memory_bytes`.
    pub memory_swap_bytes: Option<u64>,
    /// Bytes of memory below which it is not reclaimed first.
    pub memory_reservation_bytes: Option<u64>,
    /// Processor time in thousandths of a billionth: 1 CPU is 1_000_000_000.
    pub nano_cpus: Option<u64>,
    /// Relative weight of processor time, 2 to 262144; 1024 is the default.
    pub cpu_shares: Option<u64>,
    /// Processors it may use, in the form `0-2,4`.
    pub cpuset_cpus: Option<String>,
    /// Memory nodes it may use, in the form `0-2,4`.
    pub cpuset_mems: Option<String>,
    /// Processes and threads.
    pub pids_max: Option<u64>,
    /// Relative weight of block I/O, 10 to 1000.
    pub blkio_weight: Option<u16>,
}

/// How a container is confined.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct SecurityOptions {
    /// Every capability, every device, no seccomp filter, nothing masked.
    pub privileged: bool,
    /// Capabilities added to the default set, in the form `NET_ADMIN`; `ALL` is every one.
    pub cap_add: BTreeSet<String>,
    /// Capabilities taken from it; `ALL` is every one. Adding wins over `ALL` here.
    pub cap_drop: BTreeSet<String>,
    /// The system call filter.
    pub seccomp: Seccomp,
    /// Whether set-user-id programmes and file capabilities give nothing.
    pub no_new_privileges: bool,
    /// Paths masked beside the defaults are the runtime's; this clears the defaults (`systempaths=unconfined`).
    pub unmasked_system_paths: bool,
}

/// Which system call filter applies.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Seccomp {
    /// Gantry's default profile.
    #[default]
    Default,
    /// None.
    Unconfined,
    /// A profile in docker's JSON format, given whole.
    Profile {
        /// The JSON text.
        json: String,
    },
}

/// A soft and a hard limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// What applies.
    pub soft: u64,
    /// What the soft limit may be raised to.
    pub hard: u64,
}

/// A host device given to the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Absolute host path.
    pub host_path: String,
    /// Absolute path inside the container.
    pub container_path: String,
    /// Any of `r`, `w`, `m`.
    pub permissions: String,
}

/// What an image says about running it (OCI image-spec, config.md); everything may be empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageConfig {
    /// `Entrypoint`.
    pub entrypoint: Vec<String>,
    /// `Cmd`.
    pub command: Vec<String>,
    /// `Env`.
    pub env: Vec<String>,
    /// `WorkingDir`.
    pub working_dir: String,
    /// `User`.
    pub user: String,
    /// `StopSignal`.
    pub stop_signal: String,
    /// `Volumes`, paths only.
    pub volumes: BTreeSet<String>,
    /// `ExposedPorts`, in the form `80/tcp`.
    pub exposed_ports: BTreeSet<String>,
    /// `Labels`.
    pub labels: Labels,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit status, or 128 plus the signal that ended it.
    pub code: u32,
    /// Nanoseconds since the epoch.
    pub at_unix_ns: i64,
    /// Whether the kernel's out-of-memory killer ended a process of it.
    pub oom_killed: bool,
}
