//! Who may connect: the control socket's accepting side. When descriptors run out it rests for a moment, because a
//! socket that cannot be accepted stays ready, and the loop would spin on it.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with, sockopt::socket_peercred};

use crate::clock;
use crate::poller::{Interest, Poller, Token};

/// How long it rests.
const REST: Duration = Duration::from_millis(500);

/// The listening socket.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: OwnedFd,
    interest: Interest,
    resting_until: Option<Instant>,
}

impl Listener {
    /// Watches a socket that listens and does not block.
    pub(crate) fn new(socket: OwnedFd, poller: &Poller) -> io::Result<Self> {
        let mut listener = Self { socket, interest: Interest::NONE, resting_until: None };
        listener.watch(Interest::READ, poller)?;
        Ok(listener)
    }

    /// The next connection of a peer that may connect.
    pub(crate) fn accept(&mut self, poller: &Poller) -> Option<OwnedFd> {
        match accept_with(&self.socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Ok(socket) => {
                // The socket's mode says so already; a second look costs nothing.
                let own = socket_peercred(&socket).is_ok_and(|peer| peer.uid == rustix::process::geteuid());
                own.then_some(socket)
            }
            Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => None,
            Err(_) => {
                self.resting_until = Some(clock::steady() + REST);
                // Taking it out needs nothing that could be missing.
                let _ = self.watch(Interest::NONE, poller);
                None
            }
        }
    }

    /// When it wants to be asked again whether it rested enough.
    pub(crate) fn resting_until(&self) -> Option<Instant> {
        self.resting_until
    }

    /// Goes on listening if it rested enough.
    pub(crate) fn resume(&mut self, now: Instant, poller: &Poller) {
        if self.resting_until.is_some_and(|until| until <= now) {
            self.resting_until = self.watch(Interest::READ, poller).err().map(|_| now + REST);
        }
    }

    fn watch(&mut self, wanted: Interest, poller: &Poller) -> io::Result<()> {
        self.interest.change(poller, &self.socket, Token::Listener, wanted)
    }
}
