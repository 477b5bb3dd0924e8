//! How does the engine hold a container's network namespace? As its descriptor and a netlink connection opened
//! inside, so that links there are configured without entering it again. Made by a thread of its own, which
//! ends there: no thread of the caller's ever changes its namespace, and nothing forks.
//!
//! The connection keeps the namespace alive: drop a [`Netns`] as soon as its container runs, and open it
//! again for a change. New namespaces have IPv6 switched off for links to come; [`crate::Interface::ipv6`] switches
//! it on for one link, which nobody outside configures then (no router advertisements).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gantry_linux::namespace::{self, Namespaces};
use gantry_linux::{Errno, Object, SyscallError};

use crate::error::{Attempt, NetworkError, Result};
use crate::netlink::socket::{Connection, Family};
use crate::setting;

/// Whether links to come have no IPv6.
const WITHOUT_IPV6: &str = "ipv6/conf/default/disable_ipv6";

/// A network namespace of a container.
#[derive(Debug)]
pub struct Netns {
    descriptor: OwnedFd,
    pub(crate) connection: Connection,
    /// Whether links made from now on have IPv6; `None` where others may have set it.
    ipv6: Option<bool>,
}

impl Netns {
    /// Makes one, with its loopback interface up.
    pub fn make() -> Result<Self> {
        in_thread(Attempt::MakeNamespace, Self::make_here)
    }

    /// Makes one after the other, all by one thread, until `take` says that there are enough.
    pub fn make_until(mut take: impl FnMut(Self) -> bool + Send) -> Result<()> {
        in_thread(Attempt::MakeNamespace, || {
            while !take(Self::make_here()?) {}
            Ok(())
        })
    }

    /// The calling thread is in it afterwards.
    fn make_here() -> Result<Self> {
        let failed = || NetworkError::call(Attempt::MakeNamespace);
        namespace::unshare(Namespaces::NETWORK).map_err(failed())?;
        gantry_linux::network::bring_loopback_up().map_err(failed())?;
        setting::write_if_there(WITHOUT_IPV6, "1")?;
        let descriptor = namespace::open_own(Namespaces::NETWORK).map_err(failed())?;
        Ok(Self { ipv6: Some(false), ..Self::of_this_thread(descriptor)? })
    }

    /// Takes one by its descriptor, such as that of `/proc/<pid>/ns/net`.
    pub fn from_descriptor(descriptor: OwnedFd) -> Result<Self> {
        in_thread(Attempt::EnterNamespace, move || {
            namespace::enter(descriptor.as_fd(), Namespaces::NETWORK)
                .map_err(NetworkError::call(Attempt::EnterNamespace))?;
            Self::of_this_thread(descriptor)
        })
    }

    /// For whoever joins it.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    /// Gives up the connection and keeps the descriptor.
    pub fn into_descriptor(self) -> OwnedFd {
        self.descriptor
    }

    /// Runs something in a thread that is inside the namespace, and waits for it. For what netlink cannot do:
    /// settings below `/proc/sys/net`, sockets.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let descriptor = self.descriptor.as_fd();
        in_thread(Attempt::EnterNamespace, move || {
            namespace::enter(descriptor, Namespaces::NETWORK)
                .map_err(NetworkError::call(Attempt::EnterNamespace))?;
            Ok(work())
        })
    }

    /// Whether links made from now on have IPv6.
    pub(crate) fn set_ipv6(&mut self, on: bool) -> Result<()> {
        if self.ipv6 == Some(on) {
            return Ok(());
        }
        self.run(|| {
            if on {
                for name in ["accept_ra", "autoconf", "accept_dad"] {
                    setting::write_if_there(&format!("ipv6/conf/default/{name}"), "0")?;
                }
            }
            setting::write_if_there(WITHOUT_IPV6, if on { "0" } else { "1" })
        })??;
        self.ipv6 = Some(on);
        Ok(())
    }

    fn of_this_thread(descriptor: OwnedFd) -> Result<Self> {
        Ok(Self { descriptor, connection: Connection::open(Family::Route)?, ipv6: None })
    }
}

/// Runs something in a thread that may change its namespace, because it ends afterwards.
fn in_thread<T: Send>(attempt: Attempt, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let failed =
        |errno| NetworkError::Call { attempt, source: SyscallError::new("clone", Object::Caller, errno) };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("netns".to_owned()).spawn_scoped(scope, work);
        match thread {
            Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            Err(error) => Err(failed(Errno::from_io_error(&error).unwrap_or(Errno::AGAIN))),
        }
    })
}
