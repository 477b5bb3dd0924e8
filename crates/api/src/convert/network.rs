//! Networks and the places on them, both ways. Whether an address is inside a subnet, and whether there is
//! such a network, is the use case's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use gantry_types::{
    ALIASES_MAX, ATTACHMENTS_MAX, BridgeOptions, EndpointOptions, InterfaceName, Labels, NetworkAttachment,
    NetworkDriver, NetworkMode, NetworkOptions, PUBLISHED_PORTS_MAX, ParentMode, ParentOptions,
    PublishedPort, Subnet, is_dns_name,
};

use super::field::{FieldProblem, InvalidField};
use super::{check, foreign, request};
use crate::containers;
use crate::networks::v1;

/// What is asked of a sandbox, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxRequest {
    /// The caller's labels.
    pub labels: Labels,
    /// Its places.
    pub networks: Vec<NetworkAttachment>,
    /// The ports that lead to it.
    pub ports: Vec<PublishedPort>,
    /// Host name; `None` means the short id.
    pub hostname: Option<String>,
}

impl TryFrom<v1::CreateSandboxRequest> for SandboxRequest {
    type Error = InvalidField;

    fn try_from(given: v1::CreateSandboxRequest) -> Result<Self, InvalidField> {
        Ok(Self {
            labels: request::labels(given.labels)?,
            networks: check::list("networks", given.networks, ATTACHMENTS_MAX, TryInto::try_into)?,
            ports: check::list("ports", given.ports, PUBLISHED_PORTS_MAX, TryInto::try_into)?,
            hostname: match given.hostname.as_str() {
                "" => None,
                _ => Some(dns_name("hostname", given.hostname)?),
            },
        })
    }
}

/// Ports to publish or to take back, in the field `ports`; never empty.
pub fn ports(given: Vec<v1::PublishedPort>) -> Result<Vec<PublishedPort>, InvalidField> {
    if given.is_empty() {
        return Err(InvalidField::new("ports", FieldProblem::Missing));
    }
    check::list("ports", given, PUBLISHED_PORTS_MAX, TryInto::try_into)
}

/// A place asked for, in the field `attachment`.
pub fn attachment(given: Option<v1::NetworkAttachment>) -> Result<NetworkAttachment, InvalidField> {
    let given = given.ok_or_else(|| InvalidField::new("attachment", FieldProblem::Missing))?;
    given.try_into().map_err(|error: InvalidField| error.inside("attachment"))
}

/// What is asked of a network, in the field `options`, with its labels.
pub fn network_options(
    given: Option<v1::NetworkOptions>,
    labels: Labels,
) -> Result<NetworkOptions, InvalidField> {
    let labels = request::labels(labels)?;
    let options = given.map_or_else(|| Ok(NetworkOptions::default()), TryInto::try_into);
    let options = options.map_err(|error: InvalidField| error.inside("options"))?;
    Ok(NetworkOptions { labels, ..options })
}

/// Labels are a field of the resource on the wire, so they are empty in what this gives.
impl TryFrom<v1::NetworkOptions> for NetworkOptions {
    type Error = InvalidField;

    fn try_from(given: v1::NetworkOptions) -> Result<Self, InvalidField> {
        let driver = match check::known::<v1::NetworkDriver>("driver", "NetworkDriver", given.driver)? {
            v1::NetworkDriver::Unspecified | v1::NetworkDriver::Bridge => NetworkDriver::Bridge,
            v1::NetworkDriver::Macvlan => NetworkDriver::Macvlan,
            v1::NetworkDriver::Ipvlan => NetworkDriver::Ipvlan,
            v1::NetworkDriver::Cni => NetworkDriver::Cni,
            v1::NetworkDriver::External => NetworkDriver::External,
        };
        foreign::check(driver, &given)?;
        if given.no_ipv4 && !given.ipv6 {
            return Err(InvalidField::new("no_ipv4", FieldProblem::Conflict { other: "ipv6 being false" }));
        }
        let subnets: Vec<Subnet> = check::list("subnets", given.subnets, 2, TryInto::try_into)?;
        if let [first, second] = subnets[..]
            && first.prefix.addr().is_ipv4() == second.prefix.addr().is_ipv4()
        {
            return Err(InvalidField::new(
                "subnets[1].prefix",
                FieldProblem::Conflict { other: "subnets[0].prefix, which is of the same family" },
            ));
        }
        let least = if given.ipv6 { 1280 } else { 68 };
        let mtu = check::within("mtu", given.mtu.map(Into::into), least..=65535)?;
        Ok(Self {
            driver,
            ipv4: !given.no_ipv4,
            // Who names a subnet of IPv6 wants IPv6.
            ipv6: given.ipv6 || subnets.iter().any(|subnet| subnet.prefix.addr().is_ipv6()),
            subnets,
            internal: given.internal,
            mtu: mtu.map(|mtu| u32::try_from(mtu).expect("it is at most 65535")),
            bridge: bridge(&given.bridge.unwrap_or_default()).map_err(|error| error.inside("bridge"))?,
            parent: parent(driver, given.parent).map_err(|error| error.inside("parent"))?,
            cni: foreign::cni(given.cni).map_err(|error| error.inside("cni"))?,
            external: foreign::external(driver, given.external).map_err(|error| error.inside("external"))?,
            labels: Labels::new(),
        })
    }
}

fn bridge(given: &v1::BridgeOptions) -> Result<BridgeOptions, InvalidField> {
    Ok(BridgeOptions {
        name: interface("name", &given.name)?,
        inter_container: !given.isolated_endpoints,
        masquerade: !given.no_masquerade,
        host_address: address("host_address", &given.host_address)?,
    })
}

fn parent(driver: NetworkDriver, given: Option<v1::ParentOptions>) -> Result<ParentOptions, InvalidField> {
    let given = match (driver, given) {
        (NetworkDriver::Bridge | NetworkDriver::Cni | NetworkDriver::External, None) => {
            return Ok(ParentOptions::default());
        }
        (NetworkDriver::Bridge | NetworkDriver::Cni | NetworkDriver::External, Some(_)) => {
            let problem = FieldProblem::Conflict { other: "driver, which has no parent link" };
            return Err(InvalidField::new("", problem));
        }
        (NetworkDriver::Macvlan | NetworkDriver::Ipvlan, given) => given.unwrap_or_default(),
    };
    let mode = match check::known::<v1::ParentMode>("mode", "ParentMode", given.mode)? {
        v1::ParentMode::Unspecified => None,
        v1::ParentMode::Bridge => Some(ParentMode::Bridge),
        v1::ParentMode::Private => Some(ParentMode::Private),
        v1::ParentMode::Vepa => Some(ParentMode::Vepa),
        v1::ParentMode::Passthru => Some(ParentMode::Passthru),
        v1::ParentMode::L2 => Some(ParentMode::L2),
        v1::ParentMode::L3 => Some(ParentMode::L3),
        v1::ParentMode::L3s => Some(ParentMode::L3s),
    };
    let fits = mode.is_none_or(|mode| match mode {
        ParentMode::Bridge | ParentMode::Private | ParentMode::Vepa | ParentMode::Passthru => {
            driver == NetworkDriver::Macvlan
        }
        ParentMode::L2 | ParentMode::L3 | ParentMode::L3s => driver == NetworkDriver::Ipvlan,
    });
    if !fits {
        let problem = FieldProblem::Conflict { other: "driver, which has no such mode" };
        return Err(InvalidField::new("mode", problem));
    }
    let link = interface("link", &given.link)?;
    if link.is_none() {
        return Err(InvalidField::new("link", FieldProblem::Missing));
    }
    Ok(ParentOptions { link, mode })
}

impl From<&NetworkOptions> for v1::NetworkOptions {
    fn from(options: &NetworkOptions) -> Self {
        let bridge = &options.bridge;
        let driver = match options.driver {
            NetworkDriver::Bridge => v1::NetworkDriver::Bridge,
            NetworkDriver::Macvlan => v1::NetworkDriver::Macvlan,
            NetworkDriver::Ipvlan => v1::NetworkDriver::Ipvlan,
            NetworkDriver::Cni => v1::NetworkDriver::Cni,
            NetworkDriver::External => v1::NetworkDriver::External,
        };
        Self {
            driver: driver.into(),
            no_ipv4: !options.ipv4,
            ipv6: options.ipv6,
            subnets: options.subnets.iter().map(Into::into).collect(),
            internal: options.internal,
            mtu: options.mtu,
            bridge: (options.driver == NetworkDriver::Bridge).then(|| v1::BridgeOptions {
                name: text(bridge.name.as_ref()),
                isolated_endpoints: !bridge.inter_container,
                no_masquerade: !bridge.masquerade,
                host_address: text(bridge.host_address),
            }),
            parent: options.parent.link.as_ref().map(|link| v1::ParentOptions {
                link: link.to_string(),
                mode: options.parent.mode.map_or(v1::ParentMode::Unspecified, Into::into).into(),
            }),
            cni: (options.driver == NetworkDriver::Cni).then(|| v1::CniOptions {
                name: options.cni.name.clone(),
                configuration: options.cni.configuration.clone(),
            }),
            external: (options.driver == NetworkDriver::External).then(|| v1::ExternalOptions {
                driver: options.external.driver.clone(),
                options: options.external.options.clone(),
            }),
        }
    }
}

impl From<ParentMode> for v1::ParentMode {
    fn from(mode: ParentMode) -> Self {
        match mode {
            ParentMode::Bridge => Self::Bridge,
            ParentMode::Private => Self::Private,
            ParentMode::Vepa => Self::Vepa,
            ParentMode::Passthru => Self::Passthru,
            ParentMode::L2 => Self::L2,
            ParentMode::L3 => Self::L3,
            ParentMode::L3s => Self::L3s,
        }
    }
}

impl TryFrom<v1::Subnet> for Subnet {
    type Error = InvalidField;

    fn try_from(given: v1::Subnet) -> Result<Self, InvalidField> {
        let prefix = prefix("prefix", &given.prefix)?;
        let prefix = prefix.ok_or_else(|| InvalidField::new("prefix", FieldProblem::Missing))?;
        let gateway = address("gateway", &given.gateway)?;
        if gateway.is_some_and(|gateway| !prefix.contains(&gateway)) {
            return Err(InvalidField::new(
                "gateway",
                FieldProblem::Conflict { other: "prefix, outside of which it is" },
            ));
        }
        let range = self::prefix("range", &given.range)?;
        if range.is_some_and(|range| !prefix.contains(&range)) {
            return Err(InvalidField::new(
                "range",
                FieldProblem::Conflict { other: "prefix, outside of which it is" },
            ));
        }
        Ok(Self { prefix, gateway, range })
    }
}

impl From<&Subnet> for v1::Subnet {
    fn from(subnet: &Subnet) -> Self {
        Self { prefix: subnet.prefix.to_string(), gateway: text(subnet.gateway), range: text(subnet.range) }
    }
}

impl TryFrom<v1::NetworkAttachment> for NetworkAttachment {
    type Error = InvalidField;

    fn try_from(given: v1::NetworkAttachment) -> Result<Self, InvalidField> {
        let network = request::identifier("network", &given.network)?.to_owned();
        let options = given.options.map_or_else(|| Ok(EndpointOptions::default()), TryInto::try_into);
        Ok(Self { network, options: options.map_err(|error: InvalidField| error.inside("options"))? })
    }
}

impl From<&NetworkAttachment> for v1::NetworkAttachment {
    fn from(attachment: &NetworkAttachment) -> Self {
        Self { network: attachment.network.clone(), options: Some((&attachment.options).into()) }
    }
}

impl TryFrom<v1::EndpointOptions> for EndpointOptions {
    type Error = InvalidField;

    fn try_from(given: v1::EndpointOptions) -> Result<Self, InvalidField> {
        Ok(Self {
            aliases: check::list("aliases", given.aliases, ALIASES_MAX, |name| dns_name("", name))?,
            ipv4: parsed::<Ipv4Addr>("ipv4", &given.ipv4, "an IPv4 address")?,
            ipv6: parsed::<Ipv6Addr>("ipv6", &given.ipv6, "an IPv6 address")?,
            mac: parsed("mac", &given.mac, "a station's Ethernet address like 02:42:ac:11:00:02")?,
            interface: interface("interface", &given.interface)?,
            gateway_priority: given.gateway_priority,
        })
    }
}

impl From<&EndpointOptions> for v1::EndpointOptions {
    fn from(options: &EndpointOptions) -> Self {
        Self {
            aliases: options.aliases.clone(),
            ipv4: text(options.ipv4),
            ipv6: text(options.ipv6),
            mac: text(options.mac),
            interface: text(options.interface.as_ref()),
            gateway_priority: options.gateway_priority,
        }
    }
}

/// A container's network, of the four fields that say so.
pub(super) fn mode(
    mode: i32,
    container: &str,
    sandbox: &str,
    networks: Vec<v1::NetworkAttachment>,
) -> Result<NetworkMode, InvalidField> {
    use containers::v1::NetworkMode as Given;
    let given = check::known::<containers::v1::NetworkMode>("network", "NetworkMode", mode)?;
    let networks: Vec<_> = check::list("networks", networks, ATTACHMENTS_MAX, TryInto::try_into)?;
    let allowed = |is_empty: bool, name: &str, other: &'static str| {
        if is_empty { Ok(()) } else { Err(InvalidField::new(name, FieldProblem::Conflict { other })) }
    };
    if given != Given::Container {
        allowed(container.is_empty(), "network_container", "network, which is not NETWORK_MODE_CONTAINER")?;
    }
    if given != Given::Sandbox {
        allowed(sandbox.is_empty(), "network_sandbox", "network, which is not NETWORK_MODE_SANDBOX")?;
    }
    if !matches!(given, Given::Networks | Given::Unspecified) {
        allowed(networks.is_empty(), "networks", "network, which is not NETWORK_MODE_NETWORKS")?;
    }
    Ok(match given {
        Given::Unspecified if !networks.is_empty() => NetworkMode::Networks(networks),
        Given::Unspecified | Given::None => NetworkMode::None,
        Given::Host => NetworkMode::Host,
        Given::Container => {
            NetworkMode::Container(request::identifier("network_container", container)?.to_owned())
        }
        Given::Sandbox => NetworkMode::Sandbox(request::identifier("network_sandbox", sandbox)?.to_owned()),
        Given::Networks if networks.is_empty() => {
            return Err(InvalidField::new("networks", FieldProblem::Missing));
        }
        Given::Networks => NetworkMode::Networks(networks),
    })
}

impl From<&NetworkMode> for containers::v1::NetworkMode {
    fn from(mode: &NetworkMode) -> Self {
        match mode {
            NetworkMode::None => Self::None,
            NetworkMode::Host => Self::Host,
            NetworkMode::Container(_) => Self::Container,
            NetworkMode::Sandbox(_) => Self::Sandbox,
            NetworkMode::Networks(_) => Self::Networks,
        }
    }
}

pub(super) fn container_of(mode: &NetworkMode) -> String {
    if let NetworkMode::Container(container) = mode { container.clone() } else { String::new() }
}

pub(super) fn sandbox_of(mode: &NetworkMode) -> String {
    if let NetworkMode::Sandbox(sandbox) = mode { sandbox.clone() } else { String::new() }
}

/// An address; empty means none.
pub(super) fn address(name: &str, text: &str) -> Result<Option<IpAddr>, InvalidField> {
    parsed(name, text, "an IP address")
}

fn interface(name: &str, text: &str) -> Result<Option<InterfaceName>, InvalidField> {
    parsed(name, text, "a link's name of 1 to 15 letters, digits, '-', '_' and '.'")
}

fn dns_name(name: &str, text: String) -> Result<String, InvalidField> {
    check::must(name, text, "a host name of letters, digits, '-', '_' and '.'", is_dns_name)
}

/// A prefix with no bit set behind it; empty means none.
fn prefix(name: &str, text: &str) -> Result<Option<ipnet::IpNet>, InvalidField> {
    let rule = "a subnet like 10.1.0.0/16, with no bit set behind the prefix";
    let prefix = parsed::<ipnet::IpNet>(name, text, rule)?;
    match prefix {
        Some(prefix) if prefix.trunc() != prefix => {
            Err(InvalidField::new(name, FieldProblem::Malformed { text: text.to_owned(), rule }))
        }
        other => Ok(other),
    }
}

/// What `text` says; empty means nothing.
fn parsed<T: FromStr>(name: &str, text: &str, rule: &'static str) -> Result<Option<T>, InvalidField> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        let text = text.chars().take(160).collect();
        InvalidField::new(name, FieldProblem::Malformed { text, rule })
    })
}

fn text<T: ToString>(value: Option<T>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}
