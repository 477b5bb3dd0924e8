//! Where a terminal comes from when another runtime opens it: it connects to a socket named on its command line and
//! sends the master's descriptor (runc's `docs/terminals.md`). It does so before its command ends, and waits for no
//! answer, so that everything lies ready once it has ended.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use gantry_api::shim::v1::Failure;
use gantry_linux::socket;
use rustix::fs::{AtFlags, CWD, unlinkat};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};

use super::Foreign;
use crate::failure;

/// The socket's name in the bundle folder.
const FILE: &str = "console";
/// Bytes of a socket's path at the most (unix(7)).
const PATH_BYTES_MAX: usize = 107;

/// A socket that waits for one terminal; its file is gone when this is.
pub(super) struct Console {
    listener: OwnedFd,
    file: String,
    /// What is named on the command line.
    pub(super) name: String,
}

impl Foreign {
    /// Makes the socket. The folder is the process's working folder meanwhile, because its path may be longer than a
    /// socket's; then the runtime is told the name alone, for it runs there.
    pub(super) fn console(&self) -> Result<Console, Failure> {
        let file = self.file(FILE);
        let name = if file.len() <= PATH_BYTES_MAX { file.clone() } else { FILE.to_owned() };
        let made = || -> io::Result<OwnedFd> {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let listener = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
            rustix::process::chdir(&self.bundle)?;
            let bound = SocketAddrUnix::new(FILE).and_then(|address| bind(&listener, &address));
            rustix::process::chdir("/")?;
            bound?;
            listen(&listener, 1)?;
            Ok(listener)
        };
        let listener = made().map_err(|error| failure::step("make console socket", &file, &error))?;
        Ok(Console { listener, file, name })
    }
}

impl Console {
    /// The terminal's master.
    pub(super) fn take(&self) -> Result<OwnedFd, Failure> {
        let missing = || io::Error::from(io::ErrorKind::NotConnected);
        let fail = |error: io::Error| failure::step("take terminal", &self.file, &error);
        let call = |error: gantry_linux::SyscallError| failure::syscall("take terminal", &self.file, &error);
        let peer = socket::accept(self.listener.as_fd()).map_err(call)?.ok_or_else(|| fail(missing()))?;
        // The name of the terminal comes beside it.
        let (_, master) = socket::receive_one(peer.as_fd(), &mut [0; 4096]).map_err(call)?;
        master.ok_or_else(|| fail(missing()))
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        // Left, it would be in the way of the next.
        let _ = unlinkat(CWD, &self.file, AtFlags::empty());
    }
}
