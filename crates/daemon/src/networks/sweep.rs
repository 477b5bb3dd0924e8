//! What crashes leave of networks, found by the names that ids give: files of netd's that are nobody's, links
//! whose endpoint does not run, bridges of networks that are no more. Who runs on and was cut off in a change is mended
//! ([`super::mend`]). Then the table is loaded anew from the files that remain, in one batch, so no rule outlives its
//! reason. The files of places that are no more go after that: they tell whose change was cut off.

use std::collections::HashSet;

use gantry_store::{Page, Store};
use gantry_types::{InterfaceName, NetworkId};

use super::Networks;
use super::bridges::further;
use super::tables::NETWORKS;
use super::taken;
use crate::error::{Chain, Error};

impl Networks {
    /// Takes away everything but what `alive` endpoints (by id) and recorded networks need. Nothing happens
    /// where no network was used since the machine came up. `mend` is told the owners (by key) that had a place which
    /// is no more.
    pub(crate) fn sweep(
        &self,
        store: &Store,
        alive: &HashSet<String>,
        mend: impl FnOnce(&HashSet<String>),
    ) -> Result<(), Error> {
        taken::complete(store)?;
        if self.folder().ruleset()?.is_none() {
            return Ok(());
        }
        // First, because the files that are mended below may name sets that the release before did not have.
        if let Err(error) = self.claim().and_then(|mark| self.write_ruleset(&mark)) {
            tracing::error!(error = %Chain(&error), "networks are left as they are");
            return Ok(());
        }
        let mut gone = self.folder().endpoint_ids()?;
        gone.retain(|id| !alive.contains(id));
        let owners = gone.iter().filter_map(|id| Some(self.folder().endpoint(id).ok()??.container)).collect();
        let networks: Vec<_> =
            store.scan(&NETWORKS, &Page::all()).into_iter().map(|(_, row)| row.value).collect();
        let bridges: HashSet<&str> = networks
            .iter()
            .filter_map(|network| network.bridge.as_ref())
            .map(InterfaceName::as_str)
            .collect();
        for id in self.folder().network_ids()? {
            let known =
                id.parse::<NetworkId>().is_ok_and(|id| networks.iter().any(|network| network.id == id));
            if known {
                continue;
            }
            tracing::info!(id, "a network that is not recorded is taken away");
            let file = self.folder().network(&id)?;
            self.folder().remove_network(&id)?;
            if let Some(bridge) = file.and_then(|file| file.bridge.parse().ok()) {
                self.host().remove_bridge(&bridge)?;
            }
        }
        let links = self.host().links()?;
        for first in networks.iter().filter_map(|network| network.bridge.as_ref()) {
            for (_, segment) in further(first, &links) {
                self.host().mark_segment(&segment)?;
            }
        }
        for link in links {
            let name = link.name.as_str();
            let is_leftover = match (name.get(..2), name.get(2..14)) {
                (Some("gv"), Some(short)) => is_short(short) && !alive.iter().any(|id| id.starts_with(short)),
                (Some("gn"), Some(short)) => name.len() == 14 && is_short(short) && !bridges.contains(name),
                _ => false,
            };
            if is_leftover {
                tracing::info!(name, "a link that nobody has is taken away");
                self.host().detach(&link.name)?;
            }
        }
        mend(&owners);
        for id in &gone {
            tracing::info!(id, "an endpoint that nobody has is taken away");
            self.folder().remove_endpoint(id)?;
        }
        self.load_everything()?;
        self.keeper.wake();
        Ok(())
    }
}

fn is_short(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}
