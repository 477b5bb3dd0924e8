//! What a daemon that died in the middle of a change leaves of a container that runs on: rows that say one thing, and a
//! kernel that has another. netd's files are written last, so an owner whose files are as its rows want them, and of
//! whom no other file is left, is whole; of the others everything is done again that can be. The rules are not:
//! [`super::sweep`] loads the table from the files afterwards.

use gantry_network::{Netns, Route};

use super::Networks;
use super::places::{Places, gateway_of};
use crate::error::Error;

impl Networks {
    /// Makes links and routes of a running owner what its places want, and writes netd's files. Links of places that
    /// are no more are taken away before. Can be repeated.
    pub(crate) fn mend(&self, places: &Places, netns: &mut Netns) -> Result<(), Error> {
        for (endpoint, network) in &places.all {
            if !self.is_connected(&endpoint.id) {
                // There may be half a link.
                self.detach(endpoint, network, netns)?;
                self.attach(places, endpoint, network, netns, false)?;
            }
        }
        for ipv6 in [false, true] {
            let wanted = places.gateway(ipv6);
            for (endpoint, network) in &places.all {
                let is_wanted = wanted.is_some_and(|(wanted, _)| wanted.id == endpoint.id);
                if let Some(gateway) = gateway_of(network, ipv6).filter(|_| !is_wanted) {
                    netns.remove_routes(&endpoint.interface, &[Route::default_by(gateway)])?;
                }
            }
            if let Some((endpoint, network)) = wanted
                && let Some(gateway) = gateway_of(network, ipv6)
            {
                netns.add_routes(&endpoint.interface, &[Route::default_by(gateway)])?;
            }
        }
        self.write_places(places)
    }
}
