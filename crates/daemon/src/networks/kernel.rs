//! From rows to the kernel and to netd's files, and back. Blocking; every step can be repeated. A change goes to
//! the files first, then to the kernel, as `gantry_network::netd` wants it; whatever a crash leaves between the two
//! is put right at the next start ([`super::sweep`]).

use std::net::SocketAddr;
use std::sync::PoisonError;
use std::time::Duration;

use gantry_linux::Errno;
use gantry_network::netd::{self, Ruleset};
use gantry_network::nftables::{PortForward, base, owned_by};
use gantry_network::{Bridge, Host, Interface, Netns, NetworkError, Route};
use gantry_types::{EndpointId, InterfaceName, Protocol, PublishedPort};

use super::Networks;
use super::parent::child_mode;
use super::places::{Places, gateway_of, names};
use super::problem::NetworkProblem;
use super::tables::{EndpointRecord, NetworkRecord};
use crate::clock;
use crate::error::Error;

/// Ports of one range whose flows are looked for when it comes or goes; each is a walk over all flows.
const FLOWS_PORTS_MAX: usize = 16;
/// How long a link of the run before may be in the way, and how often is looked.
const LEFTOVER_WAIT_MAX: Duration = Duration::from_secs(2);
const LEFTOVER_LOOK: Duration = Duration::from_millis(2);
/// The port that names are asked for on.
const DNS_PORT: u16 = 53;

impl Networks {
    /// Gives a namespace a link on each network, and tells netd and the table.
    pub(crate) fn connect_all(&self, places: &Places, netns: &mut Netns) -> Result<(), Error> {
        self.attach_all(places, netns)?;
        self.tell_all(None, places)
    }

    /// Gives a namespace a link on each network whose links are made here.
    pub(crate) fn attach_all(&self, places: &Places, netns: &mut Netns) -> Result<(), Error> {
        let mut places_and_networks = places.all.iter();
        places_and_networks
            .try_for_each(|(endpoint, network)| self.attach(places, endpoint, network, netns, true))
    }

    /// Gives a namespace a link on one network, with the default routes that lead through it or without. Those of
    /// drivers are made by [`super::foreign`].
    pub(crate) fn attach(
        &self,
        places: &Places,
        endpoint: &EndpointRecord,
        network: &NetworkRecord,
        netns: &mut Netns,
        with_routes: bool,
    ) -> Result<(), Error> {
        if network.is_foreign() {
            return Ok(());
        }
        let mut interface = places.interface(endpoint, network);
        if !with_routes {
            interface.routes.clear();
        }
        let Some(_) = &network.bridge else {
            let (parent, mode) = child_mode(&network.options);
            return Ok(patiently(|| self.host.attach_child(&parent, mode, netns, &interface))?);
        };
        let bridge = self.segment(network)?;
        attach_fresh(&self.host, &bridge, endpoint, netns, &interface)
    }

    /// Writes netd's files of all places, and changes the table in one batch. `before` is what was told last;
    /// places that are no more are forgotten.
    pub(crate) fn tell_all(&self, before: Option<&Places>, now: &Places) -> Result<(), Error> {
        let of = |places: &Places| -> Vec<PortForward> {
            places.all.iter().flat_map(|(endpoint, _)| places.forwards(&endpoint.id)).collect()
        };
        let (old, new) = (before.map(of).unwrap_or_default(), of(now));
        for (endpoint, _) in before.iter().flat_map(|before| &before.all) {
            if !now.all.iter().any(|(other, _)| other.id == endpoint.id) {
                self.folder.remove_endpoint(endpoint.id.as_str())?;
            }
        }
        self.write_places(now)?;
        let gone: Vec<_> = old.iter().filter(|forward| !new.contains(forward)).copied().collect();
        let fresh: Vec<_> = new.iter().filter(|forward| !old.contains(forward)).copied().collect();
        self.change(&PortForward::change(&gone).remove, &PortForward::change(&fresh).add)?;
        self.forget_flows(before, now)
    }

    /// Writes netd's files of all places.
    pub(super) fn write_places(&self, places: &Places) -> Result<(), Error> {
        places.all.iter().try_for_each(|(endpoint, network)| {
            Ok(self.folder.write_endpoint(&file(places, endpoint, network))?)
        })
    }

    /// Whether netd has of these places what it is to have.
    pub(crate) fn is_told(&self, places: &Places) -> bool {
        places.all.iter().all(|(endpoint, network)| {
            let known = self.folder.endpoint(endpoint.id.as_str());
            known.is_ok_and(|known| known.is_some_and(|known| known == file(places, endpoint, network)))
        })
    }

    /// Ends the flows of places that are no more, and of ports that lead elsewhere now: those that stand would go
    /// on, and whoever goes on sending UDP would never reach those who have the address or the port next.
    fn forget_flows(&self, before: Option<&Places>, now: &Places) -> Result<(), Error> {
        let Some(before) = before else {
            // A connection of TCP would not have lasted without anybody to answer; UDP needs nobody.
            let lasting = |port: &&PublishedPort| port.protocol != Protocol::Tcp;
            return self.forget_flows_to(now, now.ports.iter().filter(lasting));
        };
        for (endpoint, _) in &before.all {
            if !now.all.iter().any(|(other, _)| other.id == endpoint.id) {
                for address in endpoint.addresses() {
                    self.host.forget_flows_of(address)?;
                }
            }
        }
        self.forget_flows_to(before, before.ports.iter().filter(|port| !now.ports.contains(port)))?;
        // A client that was sending before its port was published has a flow that leads to the host itself.
        self.forget_flows_to(now, now.ports.iter().filter(|port| !before.ports.contains(port)))
    }

    /// Ends the flows to ports of these places.
    fn forget_flows_to<'a>(
        &self,
        places: &Places,
        ports: impl Iterator<Item = &'a PublishedPort>,
    ) -> Result<(), Error> {
        for port in ports {
            let Some(ports) = port.host_ports else { continue };
            for number in (ports.first()..=ports.last()).take(FLOWS_PORTS_MAX) {
                for ipv6 in [false, true] {
                    if places.way_in(ipv6).is_some() {
                        self.host.forget_flows_to(ipv6, port.protocol, number)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes everything of these places away but their links, which end with the namespace.
    pub(crate) fn forget_all(&self, places: &Places) -> Result<(), Error> {
        // An endpoint's file is the mark that there is something, or that it is gone already.
        let is_unnamed = self.take_unnamed(places);
        if !is_unnamed && !places.all.iter().any(|(endpoint, _)| self.is_connected(&endpoint.id)) {
            return Ok(());
        }
        let nothing = Places { all: Vec::new(), ..places.clone() };
        self.tell_all(Some(places), &nothing)
    }

    /// Takes the names of these places away, and leaves the rest to [`Self::forget_all`]: an end that is told of is one
    /// whose name nobody finds any more.
    pub(crate) fn forget_names(&self, places: &Places) -> Result<(), Error> {
        for (endpoint, _) in places.all.iter().filter(|(endpoint, _)| self.is_connected(&endpoint.id)) {
            self.unnamed.lock().unwrap_or_else(PoisonError::into_inner).insert(endpoint.id.clone());
            self.folder.remove_endpoint(endpoint.id.as_str())?;
        }
        Ok(())
    }

    /// Whether the names of some of these places were taken away and the rest was not; it is known once.
    fn take_unnamed(&self, places: &Places) -> bool {
        let mut unnamed = self.unnamed.lock().unwrap_or_else(PoisonError::into_inner);
        places.all.iter().fold(false, |some, (endpoint, _)| unnamed.remove(&endpoint.id) | some)
    }

    /// Takes the link of a place from a namespace that lives.
    pub(crate) fn detach(
        &self,
        endpoint: &EndpointRecord,
        network: &NetworkRecord,
        netns: &mut Netns,
    ) -> Result<(), Error> {
        if network.is_foreign() {
            return Ok(());
        }
        if network.bridge.is_none() {
            return Ok(netns.remove_link(&endpoint.interface)?);
        }
        for link in port_names(&endpoint.id) {
            self.host.detach(&link)?;
        }
        Ok(())
    }

    /// Gives the default routes to the places that have them now.
    pub(crate) fn move_routes(before: &Places, now: &Places, netns: &mut Netns) -> Result<(), Error> {
        for ipv6 in [false, true] {
            let [old, new] = [before, now].map(|places| {
                let (endpoint, network) = places.gateway(ipv6)?;
                Some((endpoint.id.clone(), endpoint.interface.clone(), gateway_of(network, ipv6)?))
            });
            if old == new {
                continue;
            }
            let stays = |id: &EndpointId| now.all.iter().any(|(endpoint, _)| endpoint.id == *id);
            if let Some((id, interface, gateway)) = old
                && stays(&id)
            {
                netns.remove_routes(&interface, &[Route::default_by(gateway)])?;
            }
            if let Some((_, interface, gateway)) = new {
                netns.add_routes(&interface, &[Route::default_by(gateway)])?;
            }
        }
        Ok(())
    }

    /// What went over a place's link.
    pub(crate) fn counters(&self, endpoint: &EndpointId) -> Option<gantry_network::Counters> {
        port_names(endpoint)
            .find_map(|name| self.host.link(&name).ok().flatten())
            .map(|link| link.counters.from_inside())
    }

    /// Whether the kernel and netd have something of a place.
    pub(crate) fn is_connected(&self, endpoint: &EndpointId) -> bool {
        self.folder.endpoints_path().join(endpoint.as_str()).exists()
    }

    /// The table and the host's forwarding, once.
    pub(super) fn prepare(&self, ipv6: bool) -> Result<(), Error> {
        let mut prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        if !*prepared {
            let mark = self.claim()?;
            self.write_ruleset(&mark)?;
            self.load_everything()?;
            *prepared = true;
        }
        self.host.enable_forwarding(false)?;
        if ipv6 {
            self.host.enable_forwarding(true)?;
        }
        self.keeper.wake();
        Ok(())
    }

    /// Writes what the table has before there is any network, unless a daemon of this release did.
    pub(super) fn write_ruleset(&self, mark: &str) -> Result<(), Error> {
        let ruleset = Ruleset { rules: [base(), owned_by(mark)].concat() };
        if self.folder.ruleset()?.is_none_or(|known| known != ruleset) {
            self.folder.write_ruleset(&ruleset)?;
        }
        Ok(())
    }

    /// Loads the whole table anew from the files, as netd does.
    pub(super) fn load_everything(&self) -> Result<(), Error> {
        let Some(ruleset) = self.folder.ruleset()? else { return Ok(()) };
        let (networks, bad) = self.folder.networks()?;
        let (endpoints, worse) = self.folder.endpoints()?;
        for unreadable in bad.iter().chain(&worse) {
            tracing::warn!(id = unreadable.id, error = %unreadable.error, "a file of gantry-netd cannot be read");
        }
        let rules = networks.iter().map(|file| &file.rules).chain(endpoints.iter().map(|file| &file.rules));
        let parts = std::iter::once(&ruleset.rules).chain(rules).map(Vec::as_slice);
        Ok(self.host.load_rules(parts)?)
    }

    pub(super) fn change(&self, remove: &[u8], add: &[u8]) -> Result<(), Error> {
        if remove.is_empty() && add.is_empty() {
            return Ok(());
        }
        match self.host.change_rules(remove, add) {
            // Somebody took the whole table away; it is put back with this change in it, from the files.
            Err(error) if error.errno() == Some(gantry_linux::Errno::NOENT) => self.load_everything(),
            other => Ok(other?),
        }
    }

    pub(super) fn host(&self) -> &Host {
        &self.host
    }

    pub(super) fn folder(&self) -> &netd::Folder {
        &self.folder
    }
}

/// What netd is told of a place.
fn file(places: &Places, endpoint: &EndpointRecord, network: &NetworkRecord) -> netd::Endpoint {
    netd::Endpoint {
        id: endpoint.id.to_string(),
        network: network.id.to_string(),
        container: places.owner.clone(),
        addresses: endpoint.addresses().collect(),
        names: names(places, endpoint),
        ports: places.services(),
        dns_servers: places.dns.iter().map(|address| SocketAddr::new(*address, DNS_PORT)).collect(),
        rules: PortForward::change(&places.forwards(&endpoint.id)).add,
    }
}

/// Names that the outer end of a link may have: the second and later ones while the kernel still takes the link
/// of the run before away.
fn port_names(id: &EndpointId) -> impl Iterator<Item = InterfaceName> + use<> {
    let short = id.short().to_owned();
    ["", "a", "b", "c"]
        .into_iter()
        .map(move |turn| format!("gv{short}{turn}").parse().expect("15 letters and digits are a link's name"))
}

/// Tries again while the link of the run before may be in the way: the kernel takes a namespace that ended away in its
/// own time, and until then a second link of the same hardware address on one parent is refused (EADDRINUSE).
fn patiently(mut attach: impl FnMut() -> Result<(), NetworkError>) -> Result<(), NetworkError> {
    let began = clock::monotonic();
    loop {
        match attach() {
            Err(error) if error.errno() == Some(Errno::ADDRINUSE) && began.elapsed() < LEFTOVER_WAIT_MAX => {
                std::thread::sleep(LEFTOVER_LOOK);
            }
            other => return other,
        }
    }
}

fn attach_fresh(
    host: &Host,
    bridge: &Bridge,
    endpoint: &EndpointRecord,
    netns: &mut Netns,
    interface: &Interface,
) -> Result<(), Error> {
    let mut taken = None;
    for name in port_names(&endpoint.id) {
        match patiently(|| host.attach(bridge, &name, netns, interface)) {
            Err(error) if error.errno() == Some(Errno::EXIST) => taken = Some(error),
            other => return Ok(other?),
        }
    }
    Err(taken.map_or_else(
        || NetworkProblem::InterfaceTaken { interface: interface.name.to_string() }.into(),
        |error: NetworkError| error.into(),
    ))
}
