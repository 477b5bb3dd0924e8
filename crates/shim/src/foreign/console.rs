//! Where a terminal comes from when another runtime opens it: it connects to a socket named on its command line and
//! sends the master's descriptor (runc's `docs/terminals.md`). It does so before its command ends, and waits for no
//! answer, so that everything lies ready once it has ended.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use gantry_api::shim::v1::Failure;
use gantry_linux::socket;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, unlinkat};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};

use super::Foreign;
use crate::failure;

/// The socket's name in the bundle folder.
const FILE: &str = "console";

/// A socket that waits for one terminal; its file is gone when this is.
pub(super) struct Console {
    listener: OwnedFd,
    /// The bundle folder.
    folder: OwnedFd,
    /// What is named on the command line.
    pub(super) name: String,
}

impl Foreign {
    /// Makes the socket. It is named by way of a descriptor of the bundle folder, whose own path may be longer than a
    /// socket's (unix(7)). A relative path would not do: youki connects from another working folder.
    pub(super) fn console(&self) -> Result<Console, Failure> {
        let made = || -> io::Result<Console> {
            let folder_flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let folder = openat(CWD, &self.bundle, folder_flags, Mode::empty())?;
            let name = format!("/proc/{}/fd/{}/{FILE}", std::process::id(), folder.as_raw_fd());
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let listener = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
            bind(&listener, &SocketAddrUnix::new(&*name)?)?;
            listen(&listener, 1)?;
            Ok(Console { listener, folder, name })
        };
        made().map_err(|error| failure::step("make console socket", &self.file(FILE), &error))
    }
}

impl Console {
    /// The terminal's master.
    pub(super) fn take(&self) -> Result<OwnedFd, Failure> {
        let missing = || io::Error::from(io::ErrorKind::NotConnected);
        let fail = |error: io::Error| failure::step("take terminal", &self.name, &error);
        let call = |error: gantry_linux::SyscallError| failure::syscall("take terminal", &self.name, &error);
        let peer = socket::accept(self.listener.as_fd()).map_err(call)?.ok_or_else(|| fail(missing()))?;
        // The name of the terminal comes beside it.
        let (_, master) = socket::receive_one(peer.as_fd(), &mut [0; 4096]).map_err(call)?;
        master.ok_or_else(|| fail(missing()))
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        // Left, it would be in the way of the next.
        let _ = unlinkat(&self.folder, FILE, AtFlags::empty());
    }
}
