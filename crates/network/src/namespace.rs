//! How does the engine hold a container's network namespace? As its descriptor and a netlink connection opened
//! inside, so that links there are configured without entering it again. Made by a thread of its own, which
//! ends there: no thread of the caller's ever changes its namespace, and nothing forks.
//!
//! The connection keeps the namespace alive: drop a [`Netns`] as soon as its container runs, and open it
//! again for a change. New namespaces have IPv6 switched off for links to come, and let nobody outside
//! configure them (no router advertisements); [`crate::Interface::ipv6`] switches it on for one link.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use gantry_linux::namespace::{self, Namespaces};
use gantry_linux::{Errno, Object, SyscallError};
use rustix::fs::{Mode, OFlags};

use crate::error::{Attempt, NetworkError, Result};
use crate::netlink::socket::{Connection, Family};
use crate::setting;

/// A network namespace of a container.
#[derive(Debug)]
pub struct Netns {
    descriptor: OwnedFd,
    pub(crate) connection: Connection,
    /// `net.ipv6.conf.default.disable_ipv6` inside; `None` when the kernel has no IPv6.
    ipv6: Option<File>,
}

impl Netns {
    /// Makes one, with its loopback interface up.
    pub fn make() -> Result<Self> {
        in_thread(Attempt::MakeNamespace, || {
            namespace::unshare(Namespaces::NETWORK).map_err(NetworkError::call(Attempt::MakeNamespace))?;
            gantry_linux::network::bring_loopback_up().map_err(NetworkError::call(Attempt::MakeNamespace))?;
            for (name, value) in [
                ("default/disable_ipv6", "1"),
                ("default/accept_ra", "0"),
                ("default/autoconf", "0"),
                ("default/accept_dad", "0"),
            ] {
                setting::write_if_there(&format!("ipv6/conf/{name}"), value)?;
            }
            let descriptor = namespace::open_own(Namespaces::NETWORK)
                .map_err(NetworkError::call(Attempt::MakeNamespace))?;
            Self::of_this_thread(descriptor)
        })
    }

    /// Opens one from a file such as `/proc/<pid>/ns/net`.
    pub fn open(path: &Path) -> Result<Self> {
        let descriptor =
            rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(|errno| {
                NetworkError::Call {
                    attempt: Attempt::EnterNamespace,
                    source: SyscallError::new("open", Object::Path(path.to_owned()), errno),
                }
            })?;
        Self::from_descriptor(descriptor)
    }

    /// Takes one by its descriptor, such as the one that a shim holds.
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

    /// Whether links made from now on have IPv6. Costs one write to an open file.
    pub(crate) fn set_ipv6(&mut self, on: bool) -> Result<()> {
        let path = "ipv6/conf/default/disable_ipv6";
        match &mut self.ipv6 {
            // The kernel takes a setting only at the file's beginning.
            Some(file) => file.write_all_at(if on { b"0" } else { b"1" }, 0).map_err(setting::failed(path)),
            None => Ok(()),
        }
    }

    fn of_this_thread(descriptor: OwnedFd) -> Result<Self> {
        Ok(Self {
            descriptor,
            connection: Connection::open(Family::Route)?,
            ipv6: setting::open("ipv6/conf/default/disable_ipv6").ok(),
        })
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
