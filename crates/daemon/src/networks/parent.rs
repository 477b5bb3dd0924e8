//! Networks on a host link: which kind of link do their places get, and can the kernel make one at all? Tried when the
//! network is made, because who makes it can choose another driver, and who starts a container on it later cannot.

use gantry_network::{ChildMode, Interface, Netns};
use gantry_types::{InterfaceName, NetworkDriver, NetworkOptions, ParentMode};

use super::Networks;
use crate::error::Error;

impl Networks {
    /// Makes a link as the network's places will have, in a namespace that ends at once.
    pub(crate) fn try_parent(&self, options: &NetworkOptions) -> Result<(), Error> {
        let (parent, mode) = child_mode(options);
        let probe = Interface {
            name: "probe".parse().expect("a link's name"),
            mac: None,
            mtu: options.mtu,
            addresses: Vec::new(),
            routes: Vec::new(),
        };
        Ok(self.host.attach_child(&parent, mode, &mut Netns::make()?, &probe)?)
    }
}

/// The parent, and what is made on it.
pub(super) fn child_mode(options: &NetworkOptions) -> (InterfaceName, ChildMode) {
    let parent = &options.parent;
    let mode = match (options.driver, parent.mode) {
        (NetworkDriver::Ipvlan, Some(ParentMode::L3)) => ChildMode::IpvlanL3,
        (NetworkDriver::Ipvlan, Some(ParentMode::L3s)) => ChildMode::IpvlanL3s,
        (NetworkDriver::Ipvlan, _) => ChildMode::IpvlanL2,
        (_, Some(ParentMode::Private)) => ChildMode::MacvlanPrivate,
        (_, Some(ParentMode::Vepa)) => ChildMode::MacvlanVepa,
        (_, Some(ParentMode::Passthru)) => ChildMode::MacvlanPassthru,
        (_, _) => ChildMode::MacvlanBridge,
    };
    (parent.link.clone().expect("checked at the edge"), mode)
}
