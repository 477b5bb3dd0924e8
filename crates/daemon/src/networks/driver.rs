//! Who makes the links of networks that are not Gantry's own? The seam: CNI plugins or a program that gantryd calls.
//! Bridges, macvlan and ipvlan are not behind it, because their links are made beside a container's start and undone by
//! the kernel. What is asked here may take seconds and is undone by asking again; the order of it all, with the rows
//! that survive a crash, is in [`super::foreign`].

mod cni;
mod external;

pub(super) use cni::settle;

use std::path::{Path, PathBuf};

use gantry_types::{Class, Classified, NetworkDriver};
use serde::{Deserialize, Serialize};

use super::Networks;
use super::attachment::{AttachmentRecord, Made};
use super::tables::NetworkRecord;
use crate::error::Error;

/// Bytes of a driver's own that are kept for one link.
const STATE_BYTES_MAX: usize = 64 << 10;

/// Who makes links.
pub(super) enum Driver<'a> {
    Cni(cni::Cni<'a>),
    External(external::External<'a>),
}

/// What a driver can do beside links; kept with the network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Abilities {
    /// Ports of the host that lead to a place.
    pub ports: bool,
    /// Addresses of the caller's choice.
    pub addresses: bool,
    /// Hardware addresses of the caller's choice.
    pub mac: bool,
}

/// A link, as its driver is asked for it.
#[derive(Debug)]
pub(super) struct Link<'a> {
    pub network: &'a NetworkRecord,
    pub attachment: &'a AttachmentRecord,
    /// The namespace, by a path that others can open; `None` when it is gone.
    pub netns: Option<PathBuf>,
}

/// Why a driver cannot be asked, or what is wrong with its answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DriverProblem {
    #[error("there is no network driver {name:?}")]
    Unknown { name: String, known: Vec<String> },
    #[error("network driver {driver} cannot be reached at {}", socket.display())]
    Unreachable { driver: String, socket: PathBuf, source: tonic::transport::Error },
    #[error("network driver {driver} refuses {call}: {}", status.message())]
    Refused { driver: String, call: &'static str, status: Box<tonic::Status> },
    #[error("network driver {driver} did not answer {call} within {timeout_ms} ms")]
    Timeout { driver: String, call: &'static str, timeout_ms: u64 },
    #[error("the answer of network {network}'s driver is not valid: {rule}")]
    Answer { network: String, rule: &'static str },
    #[error("the driver of network {network} cannot give {what}")]
    Cannot { network: String, what: &'static str },
}

impl Classified for DriverProblem {
    fn class(&self) -> Class {
        match self {
            Self::Unknown { .. } | Self::Cannot { .. } => Class::FailedPrecondition,
            Self::Unreachable { .. } => Class::Unavailable,
            Self::Refused { status, .. } => gantry_api::status::class(status.code()),
            Self::Timeout { .. } => Class::DeadlineExceeded,
            Self::Answer { .. } => Class::Internal,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "DRIVER_UNKNOWN",
            Self::Unreachable { .. } => "DRIVER_UNREACHABLE",
            Self::Refused { .. } => "DRIVER_REFUSED",
            Self::Timeout { .. } => "DRIVER_TIMEOUT",
            Self::Answer { .. } => "DRIVER_ANSWER_INVALID",
            Self::Cannot { .. } => "DRIVER_CANNOT",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { known, .. } => Some(format!(
                "there are {}; others are configured as networks.drivers.<name>",
                [
                    &["bridge", "macvlan", "ipvlan", "cni"],
                    known.iter().map(String::as_str).collect::<Vec<_>>().as_slice()
                ]
                .concat()
                .join(", ")
            )),
            Self::Unreachable { driver, .. } => {
                Some(format!("is the program that serves driver {driver} running?"))
            }
            Self::Cannot { what, .. } => Some(format!(
                "leave {what} out; a CNI configuration says what its plugins can be asked for (capabilities)"
            )),
            Self::Refused { .. } | Self::Timeout { .. } | Self::Answer { .. } => None,
        }
    }
}

impl Networks {
    /// Whoever makes a network's links; `None` for those that Gantry makes itself.
    pub(super) fn driver(&self, network: &NetworkRecord) -> Result<Option<Driver<'_>>, Error> {
        Ok(match network.options.driver {
            NetworkDriver::Bridge | NetworkDriver::Macvlan | NetworkDriver::Ipvlan => None,
            NetworkDriver::Cni => Some(Driver::Cni(cni::Cni::new(self, network)?)),
            NetworkDriver::External => {
                Some(Driver::External(external::External::new(&self.config, network)?))
            }
        })
    }
}

impl Driver<'_> {
    /// Whether a network can be made, and what can be asked of its places.
    pub(super) async fn abilities(&self) -> Result<Abilities, Error> {
        match self {
            Self::Cni(cni) => cni.abilities(),
            Self::External(external) => external.abilities().await,
        }
    }

    /// Tells of a network. Can be repeated.
    pub(super) async fn create(&self, network: &NetworkRecord) -> Result<(), Error> {
        match self {
            Self::Cni(_) => Ok(()),
            Self::External(external) => external.create(network).await,
        }
    }

    /// Tells that a network is no more. Can be repeated.
    pub(super) async fn remove(&self, network: &NetworkRecord) -> Result<(), Error> {
        match self {
            Self::Cni(_) => Ok(()),
            Self::External(external) => external.remove(network).await,
        }
    }

    /// Has a link made.
    pub(super) async fn join(&self, link: &Link<'_>) -> Result<Made, Error> {
        let made = match self {
            Self::Cni(cni) => cni.join(link).await,
            Self::External(external) => external.join(link).await,
        }?;
        if made.state.len() > STATE_BYTES_MAX {
            let rule = "what is to be kept for a link has at most 64 KiB";
            return Err(DriverProblem::Answer { network: link.network.name.to_string(), rule }.into());
        }
        Ok(made)
    }

    /// Has a link taken away. Can be repeated.
    pub(super) async fn leave(&self, link: &Link<'_>) -> Result<(), Error> {
        match self {
            Self::Cni(cni) => cni.leave(link).await,
            Self::External(external) => external.leave(link).await,
        }
    }

    /// Has a link looked at.
    pub(super) async fn check(&self, link: &Link<'_>) -> Result<(), Error> {
        match self {
            Self::Cni(cni) => cni.check(link).await,
            Self::External(external) => external.check(link).await,
        }
    }
}

/// The file that a link's plugins read; its folder is made with the daemon.
fn input(state: &Path, attachment: &AttachmentRecord) -> PathBuf {
    state.join("cni").join(attachment.endpoint.as_str())
}
