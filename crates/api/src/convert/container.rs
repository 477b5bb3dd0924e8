//! Everything asked of a container, both ways.

use std::collections::BTreeMap;
use std::net::IpAddr;

use gantry_types::{
    ContainerName, ContainerOptions, DEVICES_MAX, DNS_SERVERS_MAX, EXPOSED_PORTS_MAX, MOUNTS_MAX, Namespace,
    PUBLISHED_PORTS_MAX, Platform, RequestId, Ulimit,
};

use super::field::{FieldProblem, InvalidField};
use super::request;
use super::{check, network, state, user_namespace};
use crate::containers::v1;

/// Stands for the host's address on the container's first network.
const HOST_GATEWAY: &str = "host-gateway";

/// A create request, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerRequest {
    /// The tenant.
    pub namespace: Namespace,
    /// The name asked for; `None` means a generated one.
    pub name: Option<ContainerName>,
    /// The image as the caller wrote it: a name, an id or the beginning of one.
    pub image: String,
    /// The platform the image must be of.
    pub platform: Option<Platform>,
    /// Everything else, the labels too.
    pub options: ContainerOptions,
    /// The caller's name for the request.
    pub request_id: Option<RequestId>,
}

impl TryFrom<v1::CreateContainerRequest> for ContainerRequest {
    type Error = InvalidField;

    fn try_from(given: v1::CreateContainerRequest) -> Result<Self, InvalidField> {
        let options = given.options.unwrap_or_default();
        let mut options = ContainerOptions::try_from(options).map_err(|error| error.inside("options"))?;
        options.labels = request::labels(given.labels)?;
        Ok(Self {
            namespace: request::namespace(&given.namespace)?,
            name: match given.name.as_str() {
                "" => None,
                name => Some(request::id("name", name)?),
            },
            image: request::identifier("image", &given.image)?.to_owned(),
            platform: request::platform(&given.platform)?,
            options,
            request_id: request::request_id(&given.request_id)?,
        })
    }
}

/// Labels are a field of the resource on the wire, so they are empty in what this gives.
impl TryFrom<v1::ContainerOptions> for ContainerOptions {
    type Error = InvalidField;

    fn try_from(given: v1::ContainerOptions) -> Result<Self, InvalidField> {
        let user_namespace = user_namespace::read(&given)?;
        let process = given.process.unwrap_or_default();
        if process.privileged {
            let problem = FieldProblem::Conflict { other: "security.privileged, which is a container's own" };
            return Err(InvalidField::new("process.privileged", problem));
        }
        Ok(Self {
            process: process.try_into().map_err(|error: InvalidField| error.inside("process"))?,
            hostname: given.hostname.map(|name| host_name("hostname", name)).transpose()?,
            domainname: given.domainname.map(|name| host_name("domainname", name)).transpose()?,
            mounts: check::list("mounts", given.mounts, MOUNTS_MAX, TryInto::try_into)?,
            read_only_rootfs: given.read_only_rootfs,
            shm_size_bytes: check::within("shm_size_bytes", given.shm_size_bytes, 1..=u64::MAX)?,
            network: network::mode(
                given.network,
                &given.network_container,
                &given.network_sandbox,
                given.networks,
            )?,
            ports: check::list("ports", given.ports, PUBLISHED_PORTS_MAX, TryInto::try_into)?,
            exposed_ports: check::list(
                "exposed_ports",
                given.exposed_ports,
                EXPOSED_PORTS_MAX,
                TryInto::try_into,
            )?,
            publish_all_ports: given.publish_all_ports,
            pid_mode: state::mode("pid_mode", given.pid_mode)?,
            ipc_mode: state::mode("ipc_mode", given.ipc_mode)?,
            uts_mode: state::mode("uts_mode", given.uts_mode)?,
            user_namespace,
            resources: nested("resources", given.resources)?,
            security: nested("security", given.security)?,
            ulimits: ulimits(given.ulimits)?,
            sysctls: sysctls(given.sysctls)?,
            devices: check::list("devices", given.devices, DEVICES_MAX, TryInto::try_into)?,
            init: given.init,
            auto_remove: given.auto_remove,
            stop_signal: given.stop_signal.map(stop_signal).transpose()?,
            stop_timeout_ms: given.stop_timeout_ms,
            labels: BTreeMap::new(),
            annotations: request::bounded_map("annotations", given.annotations)?,
            extra_hosts: check::list("extra_hosts", given.extra_hosts, 256, extra_host)?,
            dns: check::list("dns", given.dns, DNS_SERVERS_MAX, |text| address("", text))?,
            dns_search: check::list("dns_search", given.dns_search, 32, resolver_word)?,
            dns_options: check::list("dns_options", given.dns_options, 32, resolver_word)?,
            volatile_rootfs: given.volatile_rootfs,
            runtime: match given.runtime.as_str() {
                "" => None,
                name => Some(request::id("runtime", name)?),
            },
        })
    }
}

/// A message within the options; unset means its defaults.
fn nested<P, T>(name: &str, given: Option<P>) -> Result<T, InvalidField>
where
    T: Default + TryFrom<P, Error = InvalidField>,
{
    given.map_or_else(
        || Ok(T::default()),
        |given| given.try_into().map_err(|error: InvalidField| error.inside(name)),
    )
}

/// sethostname(2) takes 64 bytes; the letters are RFC 1123's and the underscore that people use.
fn host_name(name: &str, text: String) -> Result<String, InvalidField> {
    check::must(name, check::text(name, text, 64)?, "made of letters, digits, '-', '_' and '.'", |text| {
        !text.starts_with(['-', '.'])
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    })
}

fn stop_signal(text: String) -> Result<String, InvalidField> {
    check::must("stop_signal", check::text("stop_signal", text, 32)?, "a signal's name or number", |text| {
        text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-'))
    })
}

fn address(name: &str, text: String) -> Result<String, InvalidField> {
    check::must(name, check::text(name, text, 64)?, "an IP address", |text| text.parse::<IpAddr>().is_ok())
}

/// A word of resolv.conf(5), which nothing could turn into a second word or line.
fn resolver_word(text: String) -> Result<String, InvalidField> {
    check::must("", check::text("", text, 255)?, "one word of visible ASCII characters", |text| {
        text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'#' | b';'))
    })
}

fn extra_host(entry: v1::HostEntry) -> Result<(String, String), InvalidField> {
    let name = check::must("name", check::text("name", entry.name, 253)?, "a host name", |text| {
        text.bytes().all(|b| b.is_ascii_graphic() && b != b'#')
    })?;
    let address = match entry.address.as_str() {
        HOST_GATEWAY => entry.address,
        _ => address("address", entry.address)?,
    };
    Ok((name, address))
}

fn ulimits(given: BTreeMap<String, v1::Ulimit>) -> Result<BTreeMap<String, Ulimit>, InvalidField> {
    /// setrlimit(2).
    const NAMES: [&str; 16] = [
        "as",
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    ];
    given
        .into_iter()
        .map(|(name, limit)| {
            let path = format!("ulimits[{name:?}]");
            let name = check::must(&path, name, "a resource of setrlimit(2)", |name| NAMES.contains(&name))?;
            Ok((name, limit.try_into().map_err(|error: InvalidField| error.inside(&path))?))
        })
        .collect()
}

fn sysctls(given: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, InvalidField> {
    for name in given.keys() {
        let path = format!("sysctls[{name:?}]");
        check::must(&path, name.clone(), "a sysctl's dotted name", |name| {
            !name.contains("..")
                && !name.starts_with('.')
                && name.contains('.')
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
        })?;
    }
    request::bounded_map("sysctls", given)
}

impl From<&ContainerOptions> for v1::ContainerOptions {
    fn from(options: &ContainerOptions) -> Self {
        let mut message = Self {
            process: Some((&options.process).into()),
            hostname: options.hostname.clone(),
            domainname: options.domainname.clone(),
            mounts: options.mounts.iter().map(Into::into).collect(),
            read_only_rootfs: options.read_only_rootfs,
            shm_size_bytes: options.shm_size_bytes,
            network: v1::NetworkMode::from(&options.network).into(),
            network_container: network::container_of(&options.network),
            network_sandbox: network::sandbox_of(&options.network),
            networks: options.network.attachments().iter().map(Into::into).collect(),
            ports: options.ports.iter().map(Into::into).collect(),
            exposed_ports: options.exposed_ports.iter().map(Into::into).collect(),
            publish_all_ports: options.publish_all_ports,
            pid_mode: v1::NamespaceMode::from(options.pid_mode).into(),
            ipc_mode: v1::NamespaceMode::from(options.ipc_mode).into(),
            uts_mode: v1::NamespaceMode::from(options.uts_mode).into(),
            resources: Some((&options.resources).into()),
            security: Some((&options.security).into()),
            ulimits: options.ulimits.iter().map(|(name, limit)| (name.clone(), (*limit).into())).collect(),
            sysctls: options.sysctls.clone(),
            devices: options.devices.iter().map(Into::into).collect(),
            init: options.init,
            auto_remove: options.auto_remove,
            stop_signal: options.stop_signal.clone(),
            stop_timeout_ms: options.stop_timeout_ms,
            annotations: options.annotations.clone(),
            extra_hosts: options
                .extra_hosts
                .iter()
                .map(|(name, address)| v1::HostEntry { name: name.clone(), address: address.clone() })
                .collect(),
            dns: options.dns.clone(),
            dns_search: options.dns_search.clone(),
            dns_options: options.dns_options.clone(),
            volatile_rootfs: options.volatile_rootfs,
            runtime: options.runtime.as_ref().map(ToString::to_string).unwrap_or_default(),
            ..Self::default()
        };
        user_namespace::write(options.user_namespace.as_ref(), &mut message);
        message
    }
}
