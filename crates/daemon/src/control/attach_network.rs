//! Which network a new container gets, resolved from the caller's words within the transaction that records the
//! container: its places with their addresses, and the ports of the host that lead to it.

use gantry_network::cni::CNI_PORTS_MAX;
use gantry_store::{Store, Transaction};
use gantry_types::{
    ContainerId, ContainerName, ContainerOptions, ExposedPort, ImageConfig, Namespace, NetworkAttachment,
    NetworkMode, PublishedPort, SandboxId,
};

use crate::containers;
use crate::error::Error;
use crate::networks::tables::{NETWORKS, Owner, SANDBOXES, SandboxRecord};
use crate::networks::{NetworkProblem, Networks, address, port, record};
use crate::tables::{CONTAINERS, ContainerRecord};

/// Whether the default network has to be there first.
pub(crate) fn needs_default(attachments: &[NetworkAttachment]) -> bool {
    attachments.iter().any(|attachment| record::is_default(&attachment.network))
}

/// What the container's network is, in ids, before the transaction: other containers and sandboxes.
pub(crate) fn resolve_peer(
    store: &Store,
    namespace: &Namespace,
    mode: &mut NetworkMode,
) -> Result<(), Error> {
    match mode {
        NetworkMode::Container(text) => {
            let id = containers::find(store, namespace, text)?;
            let peer =
                store.get(&CONTAINERS, &(namespace.clone(), id.clone())).ok_or(Error::ContainerGone)?;
            if !peer.value.options.network.is_private() {
                return Err(NetworkProblem::PeerHasNone { name: peer.value.name.to_string() }.into());
            }
            *text = id.to_string();
        }
        NetworkMode::Sandbox(text) => *text = find_sandbox(store, namespace, text)?.id.to_string(),
        NetworkMode::None | NetworkMode::Host | NetworkMode::Networks(_) => {}
    }
    Ok(())
}

/// Which sandbox `text` means: an id, or the only one that begins so.
pub(crate) fn find_sandbox(
    store: &Store,
    namespace: &Namespace,
    text: &str,
) -> Result<SandboxRecord, NetworkProblem> {
    let not_found = || NetworkProblem::SandboxNotFound {
        text: text.chars().take(160).collect(),
        namespace: namespace.to_string(),
    };
    if let Ok(id) = text.parse::<SandboxId>() {
        let row = store.get(&SANDBOXES, &(namespace.clone(), id)).ok_or_else(not_found)?;
        return Ok((*row.value).clone());
    }
    let rows = store.scan(&SANDBOXES, &gantry_store::Page::prefix(namespace));
    let mut matches = rows.into_iter().filter(|((_, id), _)| id.as_str().starts_with(text));
    match (matches.next(), matches.next()) {
        (Some((_, row)), None) if !text.is_empty() => Ok((*row.value).clone()),
        _ => Err(not_found()),
    }
}

/// Takes the places and the ports of a new container; its record has ids afterwards.
pub(crate) fn take(
    tx: &mut Transaction<'_>,
    networks: &Networks,
    container: &mut ContainerRecord,
) -> Result<(), Error> {
    let owner = Owner::Container(container.namespace.clone(), container.id.clone());
    let ports = asked_ports(&container.options, &container.image_config);
    if let NetworkMode::Networks(attachments) = &mut container.options.network {
        take_places(tx, networks, &owner, attachments)?;
    }
    publish(tx, &owner, &ports, Some(&container.options.network))
}

/// Takes places; each attachment has the network's id afterwards.
pub(crate) fn take_places(
    tx: &mut Transaction<'_>,
    networks: &Networks,
    owner: &Owner,
    attachments: &mut [NetworkAttachment],
) -> Result<(), Error> {
    for attachment in attachments {
        let network = record::find(tx, owner.namespace(), &attachment.network)?;
        address::take(tx, &networks.cursors, owner, &network, &attachment.options)?;
        attachment.network = network.id.to_string();
    }
    Ok(())
}

/// Takes ports, where there is a way in.
pub(crate) fn publish(
    tx: &mut Transaction<'_>,
    owner: &Owner,
    ports: &[PublishedPort],
    mode: Option<&NetworkMode>,
) -> Result<(), Error> {
    if ports.is_empty() {
        return Ok(());
    }
    let why = match mode {
        Some(NetworkMode::None) => Some("the container has no network"),
        Some(NetworkMode::Host) => Some("the container has the host's own ports already"),
        Some(NetworkMode::Container(_) | NetworkMode::Sandbox(_)) => {
            Some("the container shares the network of another, which is the one to publish on")
        }
        Some(NetworkMode::Networks(_)) | None => None,
    };
    if let Some(why) = why {
        return Err(NetworkProblem::NoWayIn { why }.into());
    }
    let networks = address::of_owner(tx, owner).into_iter();
    let networks: Vec<_> = networks.filter_map(|endpoint| tx.get(&NETWORKS, &endpoint.network)).collect();
    if !networks.iter().any(|network| network.value.has_way_in()) {
        let why = "none of its networks is a bridge that is not internal, or has a driver that leads ports";
        return Err(NetworkProblem::NoWayIn { why }.into());
    }
    let has_bridge =
        networks.iter().any(|network| network.value.bridge.is_some() && network.value.has_way_in());
    let counts = ports.iter().map(|port| port.container_ports.count());
    if !has_bridge && counts.sum::<u32>() > CNI_PORTS_MAX {
        let why = "a driver is told of 1024 ports at most, each of a range counted";
        return Err(NetworkProblem::NoWayIn { why }.into());
    }
    if port::of_owner(tx, owner).len() + ports.len() > gantry_types::PUBLISHED_PORTS_MAX {
        let why = "a container has at most 1024 published ports and ranges";
        return Err(NetworkProblem::NoWayIn { why }.into());
    }
    port::take(tx, owner, ports)
}

/// Gives back everything of a container that is removed.
pub(crate) fn give_back(tx: &mut Transaction<'_>, namespace: &Namespace, id: &ContainerId) {
    give_all_back(tx, &Owner::Container(namespace.clone(), id.clone()));
}

/// Gives back everything of an owner's.
pub(crate) fn give_all_back(tx: &mut Transaction<'_>, owner: &Owner) {
    for endpoint in address::of_owner(tx, owner) {
        address::give_back(tx, &endpoint);
    }
    port::give_all_back(tx, owner);
}

/// Who uses a sandbox.
pub(crate) fn user_of_sandbox(
    tx: &Transaction<'_>,
    namespace: &Namespace,
    id: &SandboxId,
) -> Option<ContainerName> {
    let rows = tx.scan(&CONTAINERS, &gantry_store::Page::prefix(namespace));
    rows.into_iter()
        .find(|(_, row)| matches!(&row.value.options.network, NetworkMode::Sandbox(used) if used == id.as_str()))
        .map(|(_, row)| row.value.name.clone())
}

/// The ports asked for, with those that are exposed where all of them shall be published.
fn asked_ports(options: &ContainerOptions, image: &ImageConfig) -> Vec<PublishedPort> {
    let mut ports = options.ports.clone();
    if options.publish_all_ports {
        let of_image = image.exposed_ports.iter().filter_map(|text| text.parse::<ExposedPort>().ok());
        let mut exposed: Vec<ExposedPort> = options.exposed_ports.iter().copied().chain(of_image).collect();
        exposed.sort_unstable();
        exposed.dedup();
        let published = |exposed: &ExposedPort| {
            options
                .ports
                .iter()
                .any(|port| port.protocol == exposed.protocol && port.container_ports.overlaps(exposed.ports))
        };
        ports.extend(exposed.into_iter().filter(|exposed| !published(exposed)).map(|exposed| {
            PublishedPort {
                host_address: None,
                host_ports: None,
                container_ports: exposed.ports,
                protocol: exposed.protocol,
            }
        }));
    }
    ports
}
