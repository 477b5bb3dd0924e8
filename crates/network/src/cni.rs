//! How does a network of somebody else's making become a container's? By the plugins of the Container Network
//! Interface (CNI specification 1.0.0): programs that are given a configuration and a namespace, one after
//! the other, each with the result of the one before. `list` reads a configuration, `folder` finds one by its name,
//! `plugin` runs one program, `result` reads what they answer. Deliberately absent: GC and STATUS.

mod folder;
mod list;
mod plugin;
mod result;

use std::path::{Path, PathBuf};
use std::time::Duration;

use gantry_types::{Class, Classified, InterfaceName, MacAddress, PublishedPort};
use serde_json::{Map, Value, json};

pub use folder::find;
pub use list::{Capability, CniList, PluginName};
pub use result::CniResult;

/// Where a container gets its link from plugins.
#[derive(Debug)]
pub struct CniTarget<'a> {
    /// Where the programs are, first match first.
    pub folders: &'a [PathBuf],
    /// The container's id.
    pub container: &'a str,
    /// Its namespace, by a path that other programs can open; `None` when it is gone, which only a removal can bear.
    pub netns: Option<&'a Path>,
    /// The link's name inside.
    pub interface: &'a InterfaceName,
    /// A file of this link's own. It has what the plugin that runs is given, and is locked as long as one runs: a
    /// plugin that outlives its daemon is waited for by the next one.
    pub input: &'a Path,
    /// What is asked beside the configuration; the same at the removal.
    pub wishes: &'a CniWishes,
}

/// What is asked of a link. Plugins hear of it whose configuration says that they can do it (`capabilities`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CniWishes {
    /// Ports of the host that are to lead to it; those without a host port are left out.
    pub ports: Vec<PublishedPort>,
    /// Addresses that it is to have, each with or without the length of its prefix.
    pub addresses: Vec<String>,
    /// Its hardware address.
    pub mac: Option<MacAddress>,
    /// Further names of it.
    pub aliases: Vec<String>,
}

/// Ports that are passed to plugins at the most, each of a range counted: they make rules for every one.
pub const CNI_PORTS_MAX: u32 = 1024;

impl CniWishes {
    /// What one plugin is given as `runtimeConfig` (conventions of CNI, "dynamic plugin specific fields").
    fn of(&self, network: &str, can: impl Fn(Capability) -> bool) -> Map<String, Value> {
        let mut all = Map::new();
        if can(Capability::PortMappings) && !self.ports.is_empty() {
            all.insert("portMappings".to_owned(), self.ports.iter().flat_map(mappings).collect());
        }
        if can(Capability::Ips) && !self.addresses.is_empty() {
            all.insert("ips".to_owned(), json!(self.addresses));
        }
        if can(Capability::Mac)
            && let Some(mac) = self.mac
        {
            all.insert("mac".to_owned(), mac.to_string().into());
        }
        if can(Capability::Aliases) && !self.aliases.is_empty() {
            all.insert("aliases".to_owned(), json!({ network: self.aliases }));
        }
        all
    }
}

fn mappings(port: &PublishedPort) -> Vec<Value> {
    let Some(host) = port.host_ports else { return Vec::new() };
    let pairs = (host.first()..=host.last()).zip(port.container_ports.first()..=port.container_ports.last());
    pairs
        .map(|(host, container)| {
            let mut mapping = json!({
                "hostPort": host, "containerPort": container, "protocol": port.protocol.to_string(),
            });
            if let Some(address) = port.host_address {
                mapping["hostIP"] = address.to_string().into();
            }
            mapping
        })
        .collect()
}

/// Why plugins did not do it.
#[derive(Debug, thiserror::Error)]
pub enum CniError {
    /// The configuration is none.
    #[error("the network configuration is not valid: {rule}")]
    Configuration {
        /// The rule it breaks.
        rule: &'static str,
    },
    /// The configuration, or an answer, is no JSON.
    #[error("{what} is not JSON")]
    Json {
        /// Which text.
        what: &'static str,
        /// Where it ends to be.
        #[source]
        source: serde_json::Error,
    },
    /// There is no such program.
    #[error("plugin {plugin} is in none of the folders for plugins")]
    Missing {
        /// Its name.
        plugin: PluginName,
    },
    /// The program could not be run.
    #[error("running plugin {plugin} failed")]
    Run {
        /// Its name.
        plugin: PluginName,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The program takes too long, or says too much.
    #[error("plugin {plugin} was ended: {limit}")]
    Limit {
        /// Its name.
        plugin: PluginName,
        /// The limit that it broke.
        limit: &'static str,
    },
    /// The program refuses.
    #[error("plugin {plugin} refuses {command}: {message} (code {code})")]
    Refused {
        /// Its name.
        plugin: PluginName,
        /// What it was asked.
        command: &'static str,
        /// Its number for why; below 100 the specification's, 0 when it gave none.
        code: u64,
        /// Its words, cut to 1,000 characters.
        message: String,
    },
    /// A plugin that another daemon started for this link is still at work.
    #[error("a plugin that was started before still runs for this link")]
    Busy,
    /// The file of its input cannot be written.
    #[error("the plugins' input {} cannot be written", path.display())]
    Input {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A folder of configurations cannot be read.
    #[error("{} cannot be read", path.display())]
    Folder {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// No configuration has this name.
    #[error("no network configuration is named {name:?} in {folders}")]
    NotFound {
        /// The name.
        name: String,
        /// Where was looked.
        folders: String,
    },
}

/// A plugin's time at the most.
pub(crate) const PLUGIN_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of a configuration and of an answer at the most.
pub const CNI_BYTES_MAX: usize = 1 << 20;

impl Classified for CniError {
    fn class(&self) -> Class {
        match self {
            Self::Configuration { .. } | Self::Json { what: list::CONFIGURATION, .. } => {
                Class::InvalidArgument
            }
            Self::Missing { .. } | Self::Refused { .. } => Class::FailedPrecondition,
            Self::Json { .. } | Self::Run { .. } | Self::Input { .. } | Self::Folder { .. } => {
                Class::Internal
            }
            Self::Limit { .. } | Self::Busy => Class::DeadlineExceeded,
            Self::NotFound { .. } => Class::NotFound,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Configuration { .. } => "CNI_CONFIGURATION_INVALID",
            Self::Json { .. } => "CNI_JSON_INVALID",
            Self::Missing { .. } => "CNI_PLUGIN_MISSING",
            Self::Run { .. } => "CNI_PLUGIN_NOT_RUN",
            Self::Limit { .. } => "CNI_PLUGIN_LIMIT",
            Self::Refused { .. } => "CNI_PLUGIN_REFUSED",
            Self::Busy => "CNI_PLUGIN_BUSY",
            Self::Input { .. } => "CNI_INPUT",
            Self::Folder { .. } => "CNI_CONFIGURATIONS_UNREADABLE",
            Self::NotFound { .. } => "CNI_CONFIGURATION_NOT_FOUND",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { plugin } => Some(format!(
                "install the package that has the CNI plugin {plugin} (containernetworking-plugins)"
            )),
            Self::NotFound { .. } => Some(
                "give a configuration itself, or put it into one of the folders (networks.cni_config_dirs)"
                    .to_owned(),
            ),
            Self::Configuration { .. }
            | Self::Json { .. }
            | Self::Run { .. }
            | Self::Limit { .. }
            | Self::Busy
            | Self::Input { .. }
            | Self::Folder { .. }
            | Self::Refused { .. } => None,
        }
    }
}
