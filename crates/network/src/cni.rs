//! How does a network of somebody else's making become a container's? By the plugins of the Container Network
//! Interface (CNI specification 1.0.0): programs that are given a configuration and a namespace, one after
//! the other, each with the result of the one before. `list` reads a configuration, `plugin` runs one
//! program. Deliberately absent: CHECK and GC, and looking for configurations in folders.

mod list;
mod plugin;

use std::path::PathBuf;
use std::time::Duration;

use gantry_types::{Class, Classified, InterfaceName};
use ipnet::IpNet;
use serde_json::Value;

use crate::namespace::Netns;
pub use list::{CniList, PluginName};

/// Where a container gets its link from plugins.
#[derive(Debug)]
pub struct CniTarget<'a> {
    /// Where the programs are, first match first.
    pub folders: &'a [PathBuf],
    /// The container's id.
    pub container: &'a str,
    /// Its namespace.
    pub netns: &'a Netns,
    /// The link's name inside.
    pub interface: &'a InterfaceName,
}

/// What the last plugin answered. Kept for the removal, which gets it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CniResult(Value);

impl CniResult {
    /// From what was kept.
    pub fn from_json(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text).ok().map(Self)
    }

    /// To be kept.
    pub fn to_json(&self) -> Vec<u8> {
        self.0.to_string().into_bytes()
    }

    /// The addresses that the container has now.
    pub fn addresses(&self) -> Vec<IpNet> {
        let ips = self.0.get("ips").and_then(Value::as_array).into_iter().flatten();
        ips.filter_map(|ip| ip.get("address")?.as_str()?.parse().ok()).collect()
    }
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
}

/// A plugin's time at the most.
pub(crate) const PLUGIN_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of a configuration and of an answer at the most.
pub(crate) const CNI_BYTES_MAX: usize = 1 << 20;

impl Classified for CniError {
    fn class(&self) -> Class {
        match self {
            Self::Configuration { .. } | Self::Json { what: list::CONFIGURATION, .. } => {
                Class::InvalidArgument
            }
            Self::Missing { .. } | Self::Refused { .. } => Class::FailedPrecondition,
            Self::Json { .. } | Self::Run { .. } => Class::Internal,
            Self::Limit { .. } => Class::DeadlineExceeded,
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
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { plugin } => Some(format!(
                "install the package that has the CNI plugin {plugin} (containernetworking-plugins)"
            )),
            Self::Configuration { .. }
            | Self::Json { .. }
            | Self::Run { .. }
            | Self::Limit { .. }
            | Self::Refused { .. } => None,
        }
    }
}
