//! What is told of a change that the kernel refused: what was attempted, on which link, rule or namespace, the
//! kernel's own words where it has some (extended acknowledgements), and the errno as the source.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use gantry_linux::{Errno, Object, SyscallError};
use gantry_types::{Class, Classified, InterfaceName, Protocol};
use ipnet::IpNet;

/// The result of every change.
pub type Result<T, E = NetworkError> = std::result::Result<T, E>;

/// Why a network could not be changed or read.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The kernel refused one step over netlink.
    #[error("{attempt} failed{}", Explained(explanation.as_deref()))]
    Refused {
        /// Which step.
        attempt: Attempt,
        /// The kernel's own words, when it gave some.
        explanation: Option<String>,
        /// Why.
        #[source]
        errno: Errno,
    },
    /// A system call failed.
    #[error("{attempt} failed")]
    Call {
        /// What it was for.
        attempt: Attempt,
        /// Which call, and why.
        #[source]
        source: SyscallError,
    },
    /// A setting below `/proc/sys/net` was not written or read.
    #[error("setting {path} failed")]
    Setting {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The kernel has no links of this kind.
    #[error("this kernel has no {kind} links")]
    KindMissing {
        /// The kind, as ip-link(8) names it.
        kind: &'static str,
    },
    /// A link has the name of ours and is of another kind.
    #[error("link {link} exists and is not a bridge")]
    NotABridge {
        /// The link.
        link: InterfaceName,
    },
    /// There is no such link.
    #[error("there is no link {link}")]
    LinkMissing {
        /// The link.
        link: InterfaceName,
    },
    /// The kernel sent what is no netlink message.
    #[error("the kernel's answer to {attempt} cannot be read")]
    Unreadable {
        /// The question.
        attempt: Attempt,
    },
}

/// One step that was attempted, for its error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempt {
    /// A netlink socket, or sending on it.
    Connect,
    /// A network namespace of its own.
    MakeNamespace,
    /// Opening or entering an existing one.
    EnterNamespace,
    /// A bridge.
    MakeBridge(InterfaceName),
    /// A pair of links from a bridge into a namespace.
    MakePair {
        /// The end at the host.
        host: InterfaceName,
        /// The end in the namespace.
        inside: InterfaceName,
    },
    /// A link on a parent link.
    MakeChild {
        /// The link at the host.
        parent: InterfaceName,
        /// The link in the namespace.
        inside: InterfaceName,
    },
    /// Changing a link's settings.
    ChangeLink(InterfaceName),
    /// Removing a link.
    RemoveLink(InterfaceName),
    /// Reading links.
    ListLinks,
    /// Reading routes.
    ListRoutes,
    /// Reading addresses.
    ListAddresses,
    /// An address on a link.
    AddAddress {
        /// The address.
        address: IpNet,
        /// The link.
        link: InterfaceName,
    },
    /// A neighbour on a link.
    AddNeighbour {
        /// Its address.
        address: IpAddr,
        /// The link.
        link: InterfaceName,
    },
    /// A route through a link.
    AddRoute {
        /// Where to.
        destination: IpNet,
        /// The link.
        link: InterfaceName,
    },
    /// Taking a route away.
    RemoveRoute {
        /// Where to.
        destination: IpNet,
        /// The link.
        link: InterfaceName,
    },
    /// Trying whether a port of the host is free.
    TryPort {
        /// The host's address and port.
        address: SocketAddr,
        /// What is carried.
        protocol: Protocol,
    },
    /// Forgetting the flows that an address answers.
    ForgetFlowsOf(IpAddr),
    /// Forgetting the flows to a port.
    ForgetFlowsTo {
        /// The port.
        port: u16,
        /// What is carried.
        protocol: Protocol,
    },
    /// A change of the nftables table.
    Rules {
        /// What the message does.
        what: &'static str,
        /// The set or chain that it is about.
        object: String,
        /// Its place in the batch, whose begin is 0.
        place: u32,
    },
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect => write!(f, "talking to the kernel over netlink"),
            Self::MakeNamespace => write!(f, "making a network namespace"),
            Self::EnterNamespace => write!(f, "entering a network namespace"),
            Self::MakeBridge(link) => write!(f, "making bridge {link}"),
            Self::MakePair { host, inside } => write!(f, "making link {inside} with its end {host}"),
            Self::MakeChild { parent, inside } => write!(f, "making link {inside} on {parent}"),
            Self::ChangeLink(link) => write!(f, "changing link {link}"),
            Self::RemoveLink(link) => write!(f, "removing link {link}"),
            Self::ListLinks => write!(f, "listing links"),
            Self::ListRoutes => write!(f, "listing routes"),
            Self::ListAddresses => write!(f, "listing addresses"),
            Self::AddAddress { address, link } => write!(f, "adding address {address} to link {link}"),
            Self::AddNeighbour { address, link } => write!(f, "adding neighbour {address} on link {link}"),
            Self::AddRoute { destination, link } => {
                write!(f, "adding a route to {destination} through {link}")
            }
            Self::RemoveRoute { destination, link } => {
                write!(f, "removing the route to {destination} through {link}")
            }
            Self::ForgetFlowsOf(address) => write!(f, "forgetting the flows of {address}"),
            Self::ForgetFlowsTo { port, protocol } => {
                write!(f, "forgetting the flows to port {port}/{protocol}")
            }
            Self::TryPort { address, protocol } => write!(f, "trying port {address}/{protocol}"),
            Self::Rules { what, object, place } => {
                write!(f, "{what} {object} in nftables (message {place} of the batch)")
            }
        }
    }
}

struct Explained<'a>(Option<&'a str>);

impl fmt::Display for Explained<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(text) => write!(f, " (the kernel says: {text})"),
            None => Ok(()),
        }
    }
}

impl NetworkError {
    /// The errno, where the kernel gave one over netlink.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Refused { errno, .. } => Some(*errno),
            Self::Call { source, .. } => Some(source.errno),
            Self::Setting { source, .. } => source.raw_os_error().map(Errno::from_raw_os_error),
            Self::KindMissing { .. }
            | Self::NotABridge { .. }
            | Self::LinkMissing { .. }
            | Self::Unreadable { .. } => None,
        }
    }

    pub(crate) fn call(attempt: Attempt) -> impl FnOnce(SyscallError) -> Self {
        move |source| Self::Call { attempt, source }
    }
}

/// A call's error from an errno of `rustix`.
pub(crate) fn syscall(call: &'static str) -> impl FnOnce(Errno) -> SyscallError {
    move |errno| SyscallError::new(call, Object::Caller, errno)
}

impl Classified for NetworkError {
    fn class(&self) -> Class {
        match self {
            Self::Refused { errno, .. } => match *errno {
                Errno::XFULL => Class::ResourceExhausted,
                Errno::ADDRNOTAVAIL | Errno::NETUNREACH | Errno::HOSTUNREACH => Class::FailedPrecondition,
                errno => SyscallError::new("sendto", Object::Caller, errno).class(),
            },
            Self::Call { source, .. } if source.errno == Errno::ADDRNOTAVAIL => Class::InvalidArgument,
            Self::Call { source, .. } => source.class(),
            Self::Setting { source, .. } => match source.raw_os_error().map(Errno::from_raw_os_error) {
                Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => Class::PermissionDenied,
                Some(Errno::NOENT) => Class::Unimplemented,
                Some(_) | None => Class::Internal,
            },
            Self::KindMissing { .. } => Class::Unimplemented,
            Self::NotABridge { .. } => Class::FailedPrecondition,
            Self::LinkMissing { .. } => Class::NotFound,
            Self::Unreadable { .. } => Class::Internal,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Refused { attempt: Attempt::Rules { .. }, .. } => "NFTABLES_REFUSED",
            Self::Refused { .. } => "NETLINK_REFUSED",
            Self::Call { .. } => "NETWORK_CALL_FAILED",
            Self::Setting { .. } => "NETWORK_SETTING_FAILED",
            Self::KindMissing { .. } => "LINK_KIND_MISSING",
            Self::NotABridge { .. } => "LINK_NOT_A_BRIDGE",
            Self::LinkMissing { .. } => "LINK_MISSING",
            Self::Unreadable { .. } => "NETLINK_UNREADABLE",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::KindMissing { kind } => Some(format!("load the {kind} module, or use another driver")),
            Self::NotABridge { link } => {
                Some(format!("give the network another bridge name, or remove link {link}"))
            }
            Self::Refused { attempt: Attempt::Rules { .. }, errno, .. } if *errno == Errno::OPNOTSUPP => {
                Some(
                    "the kernel needs nf_tables with nat, masquerade, fib and connection tracking".to_owned(),
                )
            }
            Self::Call { attempt: Attempt::TryPort { address, .. }, source }
                if source.errno == Errno::ADDRNOTAVAIL =>
            {
                Some(format!("{} is no address of this host", address.ip()))
            }
            Self::LinkMissing { .. } => Some("`ip link` lists those that there are".to_owned()),
            Self::Refused { attempt: Attempt::MakeChild { parent, .. }, errno, .. }
                if matches!(*errno, Errno::BUSY | Errno::INVAL) =>
            {
                Some(format!(
                    "{parent} may have links of another kind or mode, which the kernel does not mix; `ip -d link` shows them"
                ))
            }
            Self::Refused { .. } | Self::Call { .. } | Self::Setting { .. } | Self::Unreadable { .. } => None,
        }
    }
}
