//! `[networks]`: where subnets come from, who answers for names, and who else makes networks.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use gantry_api::connect::Address;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// `[networks]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Networks {
    /// Where networks that ask for no IPv4 subnet get theirs: `base -> size of each`, in this order.
    pub ipv4_pools: Vec<Pool>,
    /// The same for IPv6.
    pub ipv6_pools: Vec<Pool>,
    /// Subnets of the default network, at most one of each family; empty takes them from the pools.
    pub default_subnets: Vec<IpNet>,
    /// Whether the default network has IPv6.
    pub default_ipv6: bool,
    /// Bytes of a packet at the most where a network says nothing; 0 means the kernel's 1500.
    pub mtu: u32,
    /// Whether gantry-netd runs: without it names do not resolve, and rules that others flush stay gone.
    pub dns: bool,
    /// Path of gantry-netd; empty means beside the daemon's own file.
    pub netd: PathBuf,
    /// Network namespaces kept ready, about 200 KiB of kernel memory each.
    pub namespaces_ready: usize,
    /// Folders with configurations of CNI networks, first match first.
    pub cni_config_dirs: Vec<PathBuf>,
    /// Folders with CNI plugins, first match first.
    pub cni_plugin_dirs: Vec<PathBuf>,
    /// Drivers of others, by the name that networks ask for.
    pub drivers: BTreeMap<String, Driver>,
}

/// `[networks.drivers.<name>]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Driver {
    /// Where it listens: `unix:///path/to/socket`.
    pub address: String,
    /// Milliseconds that one call may take, connecting included.
    #[serde(default = "driver_timeout_ms")]
    pub timeout_ms: u64,
}

fn driver_timeout_ms() -> u64 {
    30_000
}

impl Driver {
    /// The socket; `None` when the address is none.
    pub(crate) fn socket(&self) -> Option<PathBuf> {
        match self.address.parse() {
            Ok(Address::Unix(path)) => Some(path),
            Ok(Address::Tcp(_)) | Err(_) => None,
        }
    }

    fn check(&self) -> Result<(), (&'static str, &'static str)> {
        if self.socket().is_none() {
            return Err(("networks.drivers.<name>.address", "must be of the form unix:///path/to/socket"));
        }
        if !(1..=600_000).contains(&self.timeout_ms) {
            return Err(("networks.drivers.<name>.timeout_ms", "must be between 1 and 600000"));
        }
        Ok(())
    }
}

/// Subnets of one size within a larger one, written `10.200.0.0/13 -> 24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Pool {
    pub base: IpNet,
    /// The prefix length of each.
    pub size: u8,
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}", self.base, self.size)
    }
}

impl From<Pool> for String {
    fn from(pool: Pool) -> Self {
        pool.to_string()
    }
}

impl FromStr for Pool {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        const RULE: &str = "a pool is written `10.200.0.0/13 -> 24`, with no bit set behind the first prefix";
        let (base, size) = text.split_once("->").ok_or(RULE)?;
        let base: IpNet = base.trim().parse().map_err(|_| RULE)?;
        let size: u8 = size.trim().parse().map_err(|_| RULE)?;
        let fits = base.trunc() == base && size >= base.prefix_len() && size + 2 <= base.max_prefix_len();
        if fits { Ok(Self { base, size }) } else { Err(RULE) }
    }
}

impl TryFrom<String> for Pool {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        text.parse()
    }
}

impl Default for Networks {
    fn default() -> Self {
        let pools = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("a pool")).collect();
        Self {
            // 172.17 and what follows is docker's, 10.88 and 10.89 podman's; both may run beside Gantry.
            ipv4_pools: pools(&["10.200.0.0/14 -> 22", "172.31.0.0/16 -> 24", "192.168.128.0/17 -> 24"]),
            ipv6_pools: pools(&["fd67:616e:7472:7900::/56 -> 64"]),
            default_subnets: Vec::new(),
            default_ipv6: false,
            mtu: 0,
            dns: true,
            netd: PathBuf::new(),
            namespaces_ready: 4,
            cni_config_dirs: vec!["/etc/cni/net.d".into()],
            cni_plugin_dirs: vec!["/opt/cni/bin".into(), "/usr/lib/cni".into()],
            drivers: BTreeMap::new(),
        }
    }
}

impl Networks {
    pub(super) fn check(&self) -> Result<(), (&'static str, &'static str)> {
        if !self.netd.as_os_str().is_empty() && !self.netd.is_absolute() {
            return Err(("networks.netd", "must be an absolute path"));
        }
        if self.mtu != 0 && !(1280..=65535).contains(&self.mtu) {
            return Err(("networks.mtu", "must be 0 or between 1280 and 65535"));
        }
        if self.namespaces_ready > 256 {
            return Err(("networks.namespaces_ready", "must be at most 256"));
        }
        if !self.cni_config_dirs.iter().all(|path| path.is_absolute()) {
            return Err(("networks.cni_config_dirs", "must have absolute paths"));
        }
        if !self.cni_plugin_dirs.iter().all(|path| path.is_absolute()) {
            return Err(("networks.cni_plugin_dirs", "must have absolute paths"));
        }
        if self.drivers.keys().any(|name| !is_driver_name(name)) {
            return Err((
                "networks.drivers",
                "must have names of 1 to 64 letters, digits, '-', '_' and '.', and none of Gantry's own: bridge, \
                 macvlan, ipvlan, cni, host, none",
            ));
        }
        self.drivers.values().try_for_each(Driver::check)?;
        let ipv6 = |pool: &Pool| pool.base.addr().is_ipv6();
        if self.ipv4_pools.iter().any(ipv6) {
            return Err(("networks.ipv4_pools", "has a pool of IPv6"));
        }
        if !self.ipv6_pools.iter().all(ipv6) {
            return Err(("networks.ipv6_pools", "has a pool of IPv4"));
        }
        let of_family = |ipv6| self.default_subnets.iter().filter(|net| net.addr().is_ipv6() == ipv6).count();
        if of_family(false) > 1 || of_family(true) > 1 {
            return Err(("networks.default_subnets", "has two of one family"));
        }
        Ok(())
    }
}

fn is_driver_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && !["bridge", "macvlan", "ipvlan", "cni", "host", "none"].contains(&name)
}
