//! Rows of links that are somebody else's to make. One is there from before its driver is first asked until the driver
//! has taken the link away, whatever becomes of the place or its owner meanwhile: so nothing that a driver holds (an
//! address, a rule, a link) is forgotten, and a crash at any moment leaves a row to begin again from.
//!
//! ```text
//! attachments  (owner's id, network)  AttachmentRecord
//! ```

use std::net::IpAddr;

use gantry_store::{Page, Store, Table, Transaction};
use gantry_types::{EndpointId, InterfaceName, MacAddress, NetworkId, PublishedPort};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::places::Places;
use super::tables::{EndpointRecord, NetworkRecord, Owner};
use crate::error::Error;

pub(crate) const ATTACHMENTS: Table<(String, NetworkId), AttachmentRecord> = Table::new("attachments");

/// A link that a driver was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AttachmentRecord {
    pub endpoint: EndpointId,
    pub owner: Owner,
    pub network: NetworkId,
    pub interface: InterfaceName,
    /// Addresses that were wished for.
    pub addresses: Vec<IpAddr>,
    /// The hardware address that was wished for.
    pub mac: Option<MacAddress>,
    pub aliases: Vec<String>,
    /// Ports of the host that are to lead there.
    pub ports: Vec<PublishedPort>,
    /// What the driver made; `None` until it answered.
    pub made: Option<Made>,
}

/// A link as a driver made it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Made {
    pub addresses: Vec<IpNet>,
    pub gateways: Vec<IpAddr>,
    pub nameservers: Vec<IpAddr>,
    pub mac: Option<MacAddress>,
    /// The driver's own; it gets it back.
    pub state: Vec<u8>,
}

impl Made {
    /// Its address of one family.
    pub(crate) fn address(&self, ipv6: bool) -> Option<IpNet> {
        self.addresses.iter().copied().find(|net| net.addr().is_ipv6() == ipv6)
    }

    /// Gives a place the addresses that its driver gave it.
    pub(super) fn fill_in(&self, endpoint: &mut EndpointRecord) {
        for net in &self.addresses {
            match net.addr() {
                IpAddr::V4(address) => endpoint.ipv4 = endpoint.ipv4.or(Some(address)),
                IpAddr::V6(address) => endpoint.ipv6 = endpoint.ipv6.or(Some(address)),
            }
        }
        endpoint.mac = self.mac.unwrap_or(endpoint.mac);
    }

    /// Its gateway of one family.
    pub(crate) fn gateway(&self, ipv6: bool) -> Option<IpAddr> {
        self.gateways.iter().copied().find(|address| address.is_ipv6() == ipv6)
    }
}

impl AttachmentRecord {
    /// What is asked of a place's driver.
    pub(super) fn new(places: &Places, endpoint: &EndpointRecord, network: &NetworkRecord) -> Self {
        let options = &endpoint.options;
        let wished = [options.ipv4.map(IpAddr::V4), options.ipv6.map(IpAddr::V6)];
        Self {
            endpoint: endpoint.id.clone(),
            owner: endpoint.owner.clone(),
            network: network.id.clone(),
            interface: endpoint.interface.clone(),
            addresses: wished.into_iter().flatten().collect(),
            mac: options.mac,
            aliases: options.aliases.clone(),
            ports: if places.is_foreign_way_in(&endpoint.id) { places.ports.clone() } else { Vec::new() },
            made: None,
        }
    }

    /// Where its row is.
    pub(super) fn key(&self) -> (String, NetworkId) {
        (self.owner.key(), self.network.clone())
    }
}

/// An owner's.
pub(super) fn of_owner(store: &Store, owner: &str) -> Vec<AttachmentRecord> {
    let rows = store.scan(&ATTACHMENTS, &Page::prefix(&owner.to_owned()));
    rows.into_iter().map(|(_, row)| (*row.value).clone()).collect()
}

/// Everybody's.
pub(super) fn all(store: &Store) -> Vec<AttachmentRecord> {
    store.scan(&ATTACHMENTS, &Page::all()).into_iter().map(|(_, row)| (*row.value).clone()).collect()
}

/// What a driver made for a place.
pub(crate) fn made(tx: &Transaction<'_>, endpoint: &EndpointRecord) -> Option<Made> {
    let row = tx.get(&ATTACHMENTS, &(endpoint.owner.key(), endpoint.network.clone()))?;
    (row.value.endpoint == endpoint.id).then(|| row.value.made.clone())?
}

/// Records what is asked or what was answered.
pub(super) fn write(tx: &mut Transaction<'_>, record: &AttachmentRecord) -> Result<(), Error> {
    Ok(tx.insert(&ATTACHMENTS, &record.key(), record.clone())?)
}

/// Forgets a link that is gone, unless its place was taken by another meanwhile.
pub(super) fn forget(tx: &mut Transaction<'_>, record: &AttachmentRecord) {
    let key = record.key();
    if tx.get(&ATTACHMENTS, &key).is_some_and(|row| row.value.endpoint == record.endpoint) {
        tx.remove(&ATTACHMENTS, &key);
    }
}
