//! CNI plugins as a driver: each question is a few programs run one after the other, on a thread that may block. The
//! configuration was taken into the network's row when it was made, so a file that changes or goes later changes nothing.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use gantry_network::cni::{Capability, CniError, CniList, CniResult, CniTarget, CniWishes, find};
use gantry_types::{InterfaceName, NetworkOptions};

use super::super::Networks;
use super::super::attachment::Made;
use super::super::tables::NetworkRecord;
use super::{Abilities, DriverProblem, Link, input};
use crate::blocking::Blocking;
use crate::error::Error;

/// A network's plugins.
pub(in super::super) struct Cni<'a> {
    list: CniList,
    networks: &'a Networks,
}

/// What a thread takes along of a link.
struct Task {
    list: CniList,
    folders: Vec<PathBuf>,
    container: String,
    netns: Option<PathBuf>,
    interface: InterfaceName,
    input: PathBuf,
    wishes: CniWishes,
    result: Option<CniResult>,
}

/// The options of a CNI network with its configuration in them: the one given, else the one that is found by its name.
pub(in super::super) fn settle(
    mut options: NetworkOptions,
    name: &str,
    folders: &[PathBuf],
) -> Result<NetworkOptions, Error> {
    let cni = &mut options.cni;
    if cni.configuration.is_empty() {
        let name = if cni.name.is_empty() { name } else { &cni.name };
        let text = find(folders, name)?;
        cni.configuration =
            String::from_utf8(text).map_err(|_| CniError::Configuration { rule: "it is text in UTF-8" })?;
    }
    CniList::parse(cni.configuration.as_bytes())?.name().clone_into(&mut cni.name);
    Ok(options)
}

impl<'a> Cni<'a> {
    pub(super) fn new(networks: &'a Networks, network: &NetworkRecord) -> Result<Self, Error> {
        Ok(Self { list: CniList::parse(network.options.cni.configuration.as_bytes())?, networks })
    }

    pub(super) fn abilities(&self) -> Result<Abilities, Error> {
        if let Some(plugin) = self.list.missing(&self.networks.config.cni_plugin_dirs) {
            return Err(CniError::Missing { plugin }.into());
        }
        Ok(Abilities {
            ports: self.list.can(Capability::PortMappings),
            addresses: self.list.can(Capability::Ips),
            mac: self.list.can(Capability::Mac),
        })
    }

    pub(super) async fn join(&self, link: &Link<'_>) -> Result<Made, Error> {
        let (interface, network) = (link.attachment.interface.clone(), link.network.name.to_string());
        let result = self.run(link, |task| task.list.add(&task.target())).await?;
        let addresses = result.addresses();
        if addresses.is_empty() && result.mac(&interface).is_none() {
            let rule = "the plugins made no link inside and gave no address";
            return Err(DriverProblem::Answer { network, rule }.into());
        }
        Ok(Made {
            addresses,
            gateways: result.gateways(),
            nameservers: result.nameservers(),
            mac: result.mac(&interface),
            state: result.to_json(),
        })
    }

    pub(super) async fn leave(&self, link: &Link<'_>) -> Result<(), Error> {
        self.run(link, |task| {
            task.list.delete(&task.target(), task.result.as_ref())?;
            match std::fs::remove_file(&task.input) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    Err(CniError::Input { path: task.input.clone(), source })
                }
                Ok(()) | Err(_) => Ok(()),
            }
        })
        .await
    }

    pub(super) async fn check(&self, link: &Link<'_>) -> Result<(), Error> {
        self.run(link, |task| match &task.result {
            Some(result) => task.list.check(&task.target(), result),
            None => Ok(()),
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        link: &Link<'_>,
        work: impl FnOnce(&Task) -> Result<T, CniError> + Send + 'static,
    ) -> Result<T, Error> {
        let attachment = link.attachment;
        let task = Task {
            list: self.list.clone(),
            folders: self.networks.config.cni_plugin_dirs.clone(),
            container: attachment.owner.key(),
            netns: link.netns.clone(),
            interface: attachment.interface.clone(),
            input: input(&self.networks.state, attachment),
            wishes: CniWishes {
                ports: attachment.ports.clone(),
                addresses: attachment.addresses.iter().map(ToString::to_string).collect(),
                mac: attachment.mac,
                aliases: attachment.aliases.clone(),
            },
            result: attachment.made.as_ref().and_then(|made| CniResult::from_json(&made.state)),
        };
        let plugins: &Blocking = &self.networks.plugins;
        Ok(plugins
            .run(move || {
                task.make_folder()?;
                work(&task)
            })
            .await?)
    }
}

impl Task {
    fn target(&self) -> CniTarget<'_> {
        CniTarget {
            folders: &self.folders,
            container: &self.container,
            netns: self.netns.as_deref(),
            interface: &self.interface,
            input: &self.input,
            wishes: &self.wishes,
        }
    }

    fn make_folder(&self) -> Result<(), CniError> {
        let Some(folder) = self.input.parent() else { return Ok(()) };
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|source| CniError::Input { path: folder.to_owned(), source })
    }
}
