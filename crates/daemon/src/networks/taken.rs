//! Who has a port of the host? Whoever has a row near it: a range's row is where it begins, and the range goes on into
//! further *blocks* of 256 ports with a row at the beginning of each, so that nobody has to look further back than a
//! block, however many rows and however long ranges there are.
//!
//! ```text
//! ("tcp",       first, host address)   HostPortRow
//! ("tcp goes on", block, host address)   the same HostPortRow, where a range reaches into a block from before it
//! ```
//!
//! Ranges of one address have no port in common, so no two of them reach into a block. The rows of the second kind follow
//! from those of the first: [`complete`] makes them for a store of a release that had none.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use gantry_network::ports_clash;
use gantry_store::{Page, Store, StoreError, Transaction};
use gantry_types::{PortRange, Protocol, PublishedPort};

use super::tables::{HOST_PORTS, HostPortRow, Owner};

/// Ports of one block.
const BLOCK: u16 = 256;
/// Rows read at once; seldom has a block more.
const PAGE_ROWS: usize = 64;
/// Behind every address in a key.
const BEHIND_ADDRESSES: &str = "~";

type Key = (String, u64, String);

/// A row, and at which address; none is every one.
type Taken = (Option<IpAddr>, Arc<HostPortRow>);

/// Ports are taken by a row, at the host's ports of `port`.
pub(super) fn insert(
    tx: &mut Transaction<'_>,
    port: &PublishedPort,
    row: &HostPortRow,
) -> Result<(), StoreError> {
    keys(port, row.ports).try_for_each(|key| tx.insert(&HOST_PORTS, &key, row.clone()))
}

/// The host's ports of `port` are nobody's any more.
pub(super) fn remove(tx: &mut Transaction<'_>, port: &PublishedPort) {
    for key in port.host_ports.into_iter().flat_map(|ports| keys(port, ports)) {
        tx.remove(&HOST_PORTS, &key);
    }
}

/// Who has one of these ports on an address that meets the port's.
pub(super) fn holder(tx: &Transaction<'_>, port: &PublishedPort, ports: PortRange) -> Option<Owner> {
    clashing(&near(tx, port.protocol, ports), port, ports).cloned()
}

/// Which ports nobody has, for whoever asks for one after the other: each block is read once.
#[derive(Debug)]
pub(super) struct Free<'a, 'b> {
    tx: &'a Transaction<'b>,
    port: &'a PublishedPort,
    block: Option<PortRange>,
    rows: Vec<Taken>,
}

impl<'a, 'b> Free<'a, 'b> {
    pub(super) fn new(tx: &'a Transaction<'b>, port: &'a PublishedPort) -> Self {
        Self { tx, port, block: None, rows: Vec::new() }
    }

    pub(super) fn is_free(&mut self, one: PortRange) -> bool {
        if !self.block.is_some_and(|block| block.overlaps(one)) {
            let first = block_of(one.first());
            let block = PortRange::new(first.max(1), first + (BLOCK - 1)).unwrap_or(one);
            self.rows = near(self.tx, self.port.protocol, block);
            self.block = Some(block);
        }
        clashing(&self.rows, self.port, one).is_none()
    }
}

/// Makes what follows from other rows what it has to be. Costs a look at every row, once at the daemon's start.
pub(crate) fn complete(store: &Store) -> Result<(), StoreError> {
    if store.view(|tx| missing_and_odd(tx) == <_>::default()) {
        return Ok(());
    }
    let ((), commit) = store.transaction(|tx| {
        let (missing, odd) = missing_and_odd(tx);
        for key in &odd {
            tx.remove(&HOST_PORTS, key);
        }
        missing.into_iter().try_for_each(|(key, row)| tx.insert(&HOST_PORTS, &key, row))
    })?;
    // What is lost in a crash is made by the next daemon.
    commit.lazily();
    Ok(())
}

fn missing_and_odd(tx: &Transaction<'_>) -> (BTreeMap<Key, HostPortRow>, Vec<Key>) {
    let (mut wanted, mut odd) = (BTreeMap::new(), Vec::new());
    let rows = tx.scan(&HOST_PORTS, &Page::all());
    let known = |key: &Key| key.0.parse::<Protocol>().is_ok();
    for ((protocol, _, address), row) in rows.iter().filter(|(key, _)| known(key)) {
        for block in blocks(row.value.ports) {
            wanted.insert((goes_on(protocol), block.into(), address.clone()), (*row.value).clone());
        }
    }
    for (key, row) in rows.into_iter().filter(|(key, _)| !known(key)) {
        if wanted.remove(&key).is_none_or(|wanted| wanted != *row.value) {
            odd.push(key);
        }
    }
    (wanted, odd)
}

/// Every row that may have one of these ports, and some more.
fn near(tx: &Transaction<'_>, protocol: Protocol, ports: PortRange) -> Vec<Taken> {
    let taken = |address: &str, row| (address.parse().ok(), row);
    let protocol = protocol.to_string();
    let block = u64::from(block_of(ports.first()));
    let from_before = tx.scan(&HOST_PORTS, &Page::prefix(&(goes_on(&protocol), block)));
    let mut rows: Vec<Taken> =
        from_before.into_iter().map(|((_, _, address), row)| taken(&address, row.value)).collect();
    let mut after: Key = (protocol.clone(), block.saturating_sub(1), BEHIND_ADDRESSES.to_owned());
    loop {
        let page = tx.scan(&HOST_PORTS, &Page::prefix(&protocol).after(&after).limit(PAGE_ROWS));
        let is_last = page.len() < PAGE_ROWS;
        for (key, row) in page {
            if key.1 > ports.last().into() {
                return rows;
            }
            rows.push(taken(&key.2, row.value));
            after = key;
        }
        if is_last {
            return rows;
        }
    }
}

fn clashing<'a>(rows: &'a [Taken], port: &PublishedPort, ports: PortRange) -> Option<&'a Owner> {
    let ours = (port.protocol, port.host_address, ports);
    rows.iter()
        .find(|(address, row)| ports_clash(ours, (port.protocol, *address, row.ports)))
        .map(|(_, row)| &row.owner)
}

/// The keys of the rows that say that a port's range is taken.
fn keys(port: &PublishedPort, ports: PortRange) -> impl Iterator<Item = Key> + use<> {
    let protocol = port.protocol.to_string();
    let address = port.host_address.map(|address| address.to_string()).unwrap_or_default();
    let first = (protocol.clone(), u64::from(ports.first()), address.clone());
    let further = blocks(ports).map(move |block| (goes_on(&protocol), block.into(), address.clone()));
    std::iter::once(first).chain(further)
}

/// The blocks that a range goes on into.
fn blocks(ports: PortRange) -> impl Iterator<Item = u16> + use<> {
    (ports.first() / BLOCK + 1..=ports.last() / BLOCK).map(|number| number * BLOCK)
}

fn block_of(port: u16) -> u16 {
    port / BLOCK * BLOCK
}

fn goes_on(protocol: &str) -> String {
    format!("{protocol} goes on")
}

#[cfg(test)]
mod tests {
    use gantry_store::Options;
    use proptest::prelude::*;

    use super::*;
    use crate::assemble::schema;

    const ADDRESSES: [Option<&str>; 6] =
        [None, Some("0.0.0.0"), Some("127.0.0.1"), Some("10.0.0.1"), Some("::"), Some("::1")];

    fn port(protocol: Protocol, at: Option<&str>, ports: PortRange) -> PublishedPort {
        let host_address = at.map(|at| at.parse().expect("an address"));
        PublishedPort { host_address, host_ports: Some(ports), container_ports: ports, protocol }
    }

    /// Ports within a few blocks at either end of all, mostly short ranges.
    fn ports() -> impl Strategy<Value = PublishedPort> {
        let first = prop_oneof![1_u16..1500, 64_000_u16..=u16::MAX];
        let more = prop_oneof![4 => Just(0_u16), 3 => 0_u16..20, 2 => 200_u16..900];
        let protocol = prop_oneof![4 => Just(Protocol::Tcp), 1 => Just(Protocol::Udp)];
        (first, more, protocol, proptest::sample::select(&ADDRESSES[..])).prop_map(
            |(first, more, protocol, at)| {
                port(protocol, at, PortRange::new(first, first.saturating_add(more)).expect("in order"))
            },
        )
    }

    fn owner(number: usize) -> Owner {
        let id = format!("{number:064x}").parse().expect("an id");
        Owner::Container("default".parse().expect("a namespace"), id)
    }

    fn store() -> Store {
        Store::in_memory(schema(), Options::default()).expect("a store")
    }

    fn one(number: u16) -> PortRange {
        PortRange::one(number).expect("not 0")
    }

    fn change<T>(store: &Store, work: impl FnOnce(&mut Transaction<'_>) -> Result<T, StoreError>) -> T {
        let (value, commit) = store.transaction(work).expect("a transaction");
        commit.lazily();
        value
    }

    /// Whom a look at every row finds.
    fn holders(all: &[(PublishedPort, Owner)], asked: &PublishedPort, ports: PortRange) -> Vec<Owner> {
        let clashes = |port: &PublishedPort| {
            let taken = (port.protocol, port.host_address, port.host_ports.expect("settled"));
            ports_clash((asked.protocol, asked.host_address, ports), taken)
        };
        all.iter().filter(|(port, _)| clashes(port)).map(|(_, owner)| owner.clone()).collect()
    }

    fn rows(store: &Store) -> Vec<(Key, HostPortRow)> {
        let rows = store.scan(&HOST_PORTS, &Page::all());
        rows.into_iter().map(|(key, row)| (key, (*row.value).clone())).collect()
    }

    proptest! {
        #[test]
        fn who_is_found_near_is_who_a_look_at_every_row_finds(
            steps in proptest::collection::vec((ports(), ports(), any::<Option<prop::sample::Index>>()), 1..60),
        ) {
            let store = store();
            let mut all: Vec<(PublishedPort, Owner)> = Vec::new();
            for (number, (taken, asked, given_back)) in steps.into_iter().enumerate() {
                let (found, last_is_free) = change(&store, |tx| {
                    let ports = taken.host_ports.expect("settled");
                    if holder(tx, &taken, ports).is_none() {
                        insert(tx, &taken, &HostPortRow { owner: owner(number), ports })?;
                        all.push((taken, owner(number)));
                    }
                    if let Some(index) = given_back.filter(|_| all.len() > 5) {
                        let (port, _) = all.swap_remove(index.index(all.len()));
                        remove(tx, &port);
                    }
                    let ports = asked.host_ports.expect("settled");
                    let mut free = Free::new(tx, &asked);
                    free.is_free(one(ports.first()));
                    Ok((holder(tx, &asked, ports), free.is_free(one(ports.last()))))
                });
                let ports = asked.host_ports.expect("settled");
                let expected = holders(&all, &asked, ports);
                prop_assert_eq!(found.is_some(), !expected.is_empty());
                prop_assert!(found.is_none_or(|found| expected.contains(&found)));
                prop_assert_eq!(last_is_free, holders(&all, &asked, one(ports.last())).is_empty());
            }
            let whole = rows(&store);
            complete(&store).expect("complete");
            prop_assert_eq!(&rows(&store), &whole, "nothing is missing");
            change(&store, |tx| {
                for (port, _) in &all {
                    remove(tx, port);
                }
                Ok(())
            });
            prop_assert_eq!(rows(&store), []);
        }
    }

    #[test]
    fn a_store_of_a_release_without_blocks_gets_them_and_loses_those_of_ranges_that_are_gone() {
        let store = store();
        let (long, gone) = (PortRange::new(1000, 2000), PortRange::new(3000, 4000));
        let [long, gone] = [long, gone].map(|ports| port(Protocol::Tcp, None, ports.expect("in order")));
        change(&store, |tx| {
            for port in [&long, &gone] {
                let ports = port.host_ports.expect("settled");
                insert(tx, port, &HostPortRow { owner: owner(1), ports })?;
            }
            Ok(())
        });
        let whole = rows(&store);
        change(&store, |tx| {
            for (key, row) in &whole {
                let is_first = key.0 == "tcp";
                if is_first != (row.ports.first() == 1000) {
                    tx.remove(&HOST_PORTS, key);
                }
            }
            Ok(())
        });
        complete(&store).expect("complete");
        let expected: Vec<_> = whole.into_iter().filter(|(_, row)| row.ports.first() == 1000).collect();
        assert_eq!(rows(&store), expected);
        assert_eq!(store.view(|tx| holder(tx, &long, one(2000))), Some(owner(1)));
    }
}
