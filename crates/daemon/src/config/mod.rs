//! The daemon's configuration: a typed tree in TOML. Every key has a default, an unknown key is an error,
//! and there is one order: defaults, `config.toml`, then `config.d/*.toml` beside it by name, then flags.
//! Deliberately absent: environment variables, and values that change while the daemon runs.

mod load;
mod networks;
mod runtimes;
mod user_namespaces;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gantry_types::RuntimeName;
use serde::{Deserialize, Serialize};

pub(crate) use load::{Overrides, load};
pub(crate) use networks::{Driver, Networks, Pool};
pub(crate) use runtimes::Runtime;
pub(crate) use user_namespaces::{DefaultUserNamespace, IdPool};

/// Where the configuration is looked for when no `--config` is given.
pub(crate) const DEFAULT_PATH: &str = "/etc/gantry/config.toml";

/// The whole configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Folder of everything that outlives a reboot.
    pub root: PathBuf,
    /// Folder of what is true only while the machine is up.
    pub state: PathBuf,
    /// How clients reach the daemon.
    pub grpc: Grpc,
    /// What the daemon says about itself.
    pub log: Log,
    /// Prometheus metrics.
    pub metrics: Metrics,
    /// Defaults and bounds of containers.
    pub containers: Containers,
    /// Where images come from.
    pub images: Images,
    /// Networks and their names.
    pub networks: Networks,
    /// Other OCI runtimes, by the name that containers ask for.
    pub runtimes: BTreeMap<RuntimeName, Runtime>,
}

/// `[grpc]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Grpc {
    /// Path of the unix socket, mode 0660; empty means `gantry.sock` in the state folder.
    pub address: PathBuf,
    /// Group that may use the socket; without such a group it is root's alone.
    pub group: String,
    /// `host:port` to serve over TCP, with mutual TLS only; empty means no TCP.
    pub tcp_address: String,
    /// PEM file of the server's certificate chain.
    pub tls_certificate: PathBuf,
    /// PEM file of its key.
    pub tls_key: PathBuf,
    /// PEM file of the authority that client certificates must come from.
    pub tls_client_ca: PathBuf,
    /// Connections served at once, over the unix socket and over TCP each.
    pub connections_max: usize,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Log {
    /// `error`, `warn`, `info`, `debug` or `trace`, or directives of tracing's filter.
    pub level: String,
    /// How lines are written.
    pub format: LogFormat,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// `[metrics]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Metrics {
    /// `host:port` that answers `GET /metrics`; empty means none.
    pub address: String,
}

/// `[containers]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Containers {
    /// Who makes containers' cgroups: `cgroupfs`, Gantry itself, or `systemd`, as scopes.
    pub cgroup_manager: CgroupDriver,
    /// Cgroup below which every container's own is made by Gantry, as an absolute path in each hierarchy.
    pub cgroup_parent: String,
    /// Slice that every container's scope is in where systemd makes them.
    pub cgroup_slice: String,
    /// Path of the shim; empty means `gantry-shim` beside the daemon's own file.
    pub shim: PathBuf,
    /// Bytes of one log segment.
    pub log_segment_bytes: u64,
    /// Log segments kept of one container.
    pub log_segments_max: u32,
    /// Milliseconds between the stop signal and SIGKILL where neither request nor container says.
    pub stop_timeout_ms: u64,
    /// Whether a container may lose recent writes of its root filesystem in a power cut, for speed.
    pub volatile_rootfs: bool,
    /// Which runtime makes a container that asks for none: `gantry`, or whatever a container may ask for.
    pub default_runtime: RuntimeName,
    /// Which user namespace a container has that asks for none: `host`, or `auto`, a range of ids of its own.
    pub default_userns: DefaultUserNamespace,
    /// Ids of the host that are given to such containers, `first/size`. Nobody else on the machine may use them.
    pub userns_pool: IdPool,
}

/// Who makes containers' cgroups. podman's words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum CgroupDriver {
    /// Gantry, below `cgroup_parent`.
    #[default]
    Cgroupfs,
    /// systemd, in `cgroup_slice`.
    Systemd,
}

/// `[images]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Images {
    /// `host:port` of registries that may be spoken to in plain HTTP; loopback always may.
    pub insecure_registries: Vec<String>,
    /// Credentials file in docker's format; empty means none.
    pub credentials_file: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            root: "/var/lib/gantry".into(),
            state: "/run/gantry".into(),
            grpc: Grpc::default(),
            log: Log::default(),
            metrics: Metrics::default(),
            containers: Containers::default(),
            images: Images::default(),
            networks: Networks::default(),
            runtimes: BTreeMap::new(),
        }
    }
}

impl Default for Grpc {
    fn default() -> Self {
        Self {
            address: PathBuf::new(),
            group: "gantry".into(),
            tcp_address: String::new(),
            tls_certificate: PathBuf::new(),
            tls_key: PathBuf::new(),
            tls_client_ca: PathBuf::new(),
            connections_max: gantry_types::CONNECTIONS_MAX,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::Text }
    }
}

impl Default for Containers {
    fn default() -> Self {
        Self {
            cgroup_manager: CgroupDriver::default(),
            cgroup_parent: "/gantry".into(),
            cgroup_slice: "gantry.slice".into(),
            shim: PathBuf::new(),
            log_segment_bytes: gantry_types::LOG_SEGMENT_BYTES,
            log_segments_max: u32::try_from(gantry_types::LOG_SEGMENTS_MAX).expect("a small constant"),
            stop_timeout_ms: gantry_types::STOP_TIMEOUT_MS,
            volatile_rootfs: false,
            default_runtime: RuntimeName::default(),
            default_userns: DefaultUserNamespace::default(),
            userns_pool: IdPool::default(),
        }
    }
}

impl Config {
    /// The unix socket's path.
    pub(crate) fn socket_path(&self) -> PathBuf {
        if self.grpc.address.as_os_str().is_empty() {
            self.state.join("gantry.sock")
        } else {
            self.grpc.address.clone()
        }
    }

    /// The text of `gantryd config default`.
    pub(crate) fn to_toml(&self) -> String {
        toml::to_string_pretty(self).expect("the configuration has only plain tables and scalars")
    }

    /// What no type can say: absolute folders, complete TLS, sane bounds.
    fn check(&self) -> Result<(), (&'static str, &'static str)> {
        let absolute = |path: &Path| path.is_absolute();
        if !absolute(&self.root) {
            return Err(("root", "must be an absolute path"));
        }
        if !absolute(&self.state) {
            return Err(("state", "must be an absolute path"));
        }
        if !self.grpc.address.as_os_str().is_empty() && !absolute(&self.grpc.address) {
            return Err(("grpc.address", "must be an absolute path"));
        }
        // sockaddr_un holds 107 bytes and a terminator (unix(7)).
        if self.socket_path().as_os_str().len() > 107 {
            return Err(("grpc.address", "must be at most 107 bytes, or the kernel cannot bind it"));
        }
        let tls = [&self.grpc.tls_certificate, &self.grpc.tls_key, &self.grpc.tls_client_ca];
        if !self.grpc.tcp_address.is_empty() && tls.iter().any(|path| path.as_os_str().is_empty()) {
            return Err((
                "grpc.tcp_address",
                "needs tls_certificate, tls_key and tls_client_ca: TCP is served with mutual TLS only",
            ));
        }
        if self.grpc.connections_max == 0 {
            return Err(("grpc.connections_max", "must be at least 1"));
        }
        let parent = &self.containers.cgroup_parent;
        if !parent.starts_with('/') || parent.len() < 2 || parent.split('/').any(|part| part == "..") {
            return Err(("containers.cgroup_parent", "must be an absolute path other than / and without .."));
        }
        if !gantry_runtime::systemd::is_slice(&self.containers.cgroup_slice) {
            return Err((
                "containers.cgroup_slice",
                "must be the name of a slice, such as machine-gantry.slice",
            ));
        }
        if self.containers.log_segment_bytes < 4096 {
            return Err(("containers.log_segment_bytes", "must be at least 4096"));
        }
        if self.containers.log_segments_max < 2 {
            return Err(("containers.log_segments_max", "must be at least 2"));
        }
        if self.runtimes.keys().any(|name| name.is_own() || name.is_path()) {
            return Err(("runtimes", "must have names that are no paths, and not `gantry`, Gantry's own"));
        }
        self.runtimes.values().try_for_each(Runtime::check)?;
        self.networks.check()
    }
}
