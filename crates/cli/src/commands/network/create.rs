//! `gantry network create`.

use std::process::ExitCode;

use gantry_api::networks::v1::{
    BridgeOptions, CniOptions, CreateNetworkRequest, ExternalOptions, NetworkDriver, NetworkOptions,
    ParentMode, ParentOptions, Subnet,
};

use crate::failure::Failure;
use crate::output;
use crate::parse::pair::{loose, strict};
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What makes it: bridge, macvlan, ipvlan, cni or a driver that the daemon's configuration names
    #[arg(short, long, default_value = "bridge")]
    driver: String,
    /// Subnet, at most one of each family; left out, a free one
    #[arg(long, value_name = "PREFIX")]
    subnet: Vec<String>,
    /// Gateway of the subnet that it is in
    #[arg(long, value_name = "ADDRESS")]
    gateway: Vec<String>,
    /// Part of a subnet that containers are given addresses from
    #[arg(long, value_name = "PREFIX")]
    ip_range: Vec<String>,
    /// No way in or out
    #[arg(long)]
    internal: bool,
    /// With IPv6 addresses
    #[arg(long)]
    ipv6: bool,
    /// Without IPv4 addresses
    #[arg(long)]
    no_ipv4: bool,
    /// Bytes of a packet at the most
    #[arg(long, value_name = "BYTES")]
    mtu: Option<u32>,
    /// Set a label
    #[arg(short, long, value_name = "KEY[=VALUE]", value_parser = loose)]
    label: Vec<(String, String)>,
    /// Option, by its own name or docker's: icc, masquerade, bridge, host-address, parent, mode, mtu; config or name
    /// for cni; what a driver of others takes
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = strict)]
    opt: Vec<(String, String)>,
    /// Accepted for docker's sake: every container can connect
    #[arg(long, hide = true)]
    attachable: bool,
    name: String,
}

pub(super) async fn run(args: Args, session: &Session) -> Result<ExitCode, Failure> {
    let request = CreateNetworkRequest {
        namespace: session.namespace(),
        name: args.name.clone(),
        labels: args.label.iter().cloned().collect(),
        options: Some(args.options()?),
        request_id: String::new(),
    };
    let answer = session.networks().await?.create_network(request).await?.into_inner();
    output::line(answer.network.unwrap_or_default().id)?;
    Ok(ExitCode::SUCCESS)
}

impl Args {
    fn options(&self) -> Result<NetworkOptions, Failure> {
        let driver = match self.driver.as_str() {
            "bridge" => NetworkDriver::Bridge,
            "macvlan" => NetworkDriver::Macvlan,
            "ipvlan" => NetworkDriver::Ipvlan,
            "cni" => NetworkDriver::Cni,
            _ => NetworkDriver::External,
        };
        let external = ExternalOptions { driver: self.driver.clone(), ..ExternalOptions::default() };
        let mut options = NetworkOptions {
            driver: driver.into(),
            no_ipv4: self.no_ipv4,
            ipv6: self.ipv6,
            subnets: self.subnets()?,
            internal: self.internal,
            mtu: self.mtu,
            bridge: (driver == NetworkDriver::Bridge).then(BridgeOptions::default),
            parent: matches!(driver, NetworkDriver::Macvlan | NetworkDriver::Ipvlan)
                .then(ParentOptions::default),
            cni: (driver == NetworkDriver::Cni).then(CniOptions::default),
            external: (driver == NetworkDriver::External).then_some(external),
        };
        for (key, value) in &self.opt {
            apply(&mut options, key, value)?;
        }
        Ok(options)
    }

    /// Each gateway and range goes to the subnet that it is in.
    fn subnets(&self) -> Result<Vec<Subnet>, Failure> {
        let mut subnets: Vec<Subnet> =
            self.subnet.iter().map(|prefix| Subnet { prefix: prefix.clone(), ..Subnet::default() }).collect();
        for gateway in &self.gateway {
            holder(&mut subnets, gateway, "gateway")?.gateway.clone_from(gateway);
        }
        for range in &self.ip_range {
            let first = range.split_once('/').map_or(range.as_str(), |(first, _)| first);
            holder(&mut subnets, first, "range")?.range.clone_from(range);
        }
        Ok(subnets)
    }
}

/// The subnet of an address.
fn holder<'a>(subnets: &'a mut [Subnet], address: &str, what: &str) -> Result<&'a mut Subnet, Failure> {
    let parsed: Option<std::net::IpAddr> = address.parse().ok();
    subnets
        .iter_mut()
        .find(|subnet| {
            let prefix: Option<ipnet::IpNet> = subnet.prefix.parse().ok();
            matches!((prefix, parsed), (Some(prefix), Some(parsed)) if prefix.contains(&parsed))
        })
        .ok_or_else(|| {
            Failure::new(format!("{what} {address} is in none of the subnets given"))
                .hint("give its --subnet too")
        })
}

/// One `--opt`, by Gantry's name or docker's.
fn apply(options: &mut NetworkOptions, key: &str, value: &str) -> Result<(), Failure> {
    let flag = || match value {
        "true" | "1" | "yes" => Ok(true),
        "false" | "0" | "no" => Ok(false),
        _ => Err(Failure::new(format!("--opt {key} is true or false, not {value:?}"))),
    };
    if let Some(external) = &mut options.external {
        external.options.insert(key.to_owned(), value.to_owned());
        return Ok(());
    }
    if let Some(cni) = &mut options.cni {
        return cni_option(cni, key, value);
    }
    let bridge = options.bridge.get_or_insert_default();
    match key {
        "icc" | "com.docker.network.bridge.enable_icc" => bridge.isolated_endpoints = !flag()?,
        "masquerade" | "com.docker.network.bridge.enable_ip_masquerade" => bridge.no_masquerade = !flag()?,
        "bridge" | "com.docker.network.bridge.name" => value.clone_into(&mut bridge.name),
        "host-address" | "com.docker.network.bridge.host_binding_ipv4" => {
            value.clone_into(&mut bridge.host_address);
        }
        "mtu" | "com.docker.network.driver.mtu" => {
            let mtu = value.parse().map_err(|_| Failure::new(format!("{value:?} is no number of bytes")))?;
            options.mtu = Some(mtu);
        }
        "parent" => value.clone_into(&mut options.parent.get_or_insert_default().link),
        "mode" | "macvlan_mode" | "ipvlan_mode" => {
            let mode = match value {
                "bridge" => ParentMode::Bridge,
                "private" => ParentMode::Private,
                "vepa" => ParentMode::Vepa,
                "passthru" => ParentMode::Passthru,
                "l2" => ParentMode::L2,
                "l3" => ParentMode::L3,
                "l3s" => ParentMode::L3s,
                _ => return Err(Failure::new(format!("{value:?} is no mode of macvlan or ipvlan"))),
            };
            options.parent.get_or_insert_default().set_mode(mode);
        }
        _ => {
            return Err(Failure::new(format!("a network has no option {key:?}"))
                .hint("there are icc, masquerade, bridge, host-address, mtu, parent and mode"));
        }
    }
    Ok(())
}

/// One `--opt` of a CNI network: a file that is read here, or the name of one that the daemon has.
fn cni_option(options: &mut CniOptions, key: &str, value: &str) -> Result<(), Failure> {
    match key {
        "config" => {
            options.configuration = std::fs::read_to_string(value)
                .map_err(|error| Failure::new(format!("{value} cannot be read: {error}")))?;
        }
        "name" => value.clone_into(&mut options.name),
        _ => {
            return Err(Failure::new(format!("a CNI network has no option {key:?}")).hint(
                "config=FILE gives a configuration, name=NAME one in the daemon's folders; the rest is in there",
            ));
        }
    }
    Ok(())
}
