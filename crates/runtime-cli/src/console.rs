//! How a terminal reaches whoever asked for it: its master is sent over the socket that the caller named
//! (runc's `--console-socket`), with its name as the message.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use gantry_linux::socket::{self, Kind};

use crate::failure::Failure;

/// Sends the master of a terminal.
pub(crate) fn send(path: &Path, master: &OwnedFd) -> Result<(), Failure> {
    const NAME: &[u8] = b"/dev/ptmx";
    let socket = socket::connect(Kind::Stream, path, false).map_err(Failure::kernel)?;
    // The library's master is nonblocking; whoever takes it decides for itself.
    socket::set_nonblocking(master.as_fd(), false).map_err(Failure::kernel)?;
    socket::send(socket.as_fd(), NAME, &[master.as_fd()]).map(drop).map_err(Failure::kernel)
}
