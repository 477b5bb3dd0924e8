//! From whom does the daemon get its shims? From a nursery, one process of the shim's programme that copies itself for
//! each container (`gantry-shim`'s own `nursery`). It is started with the first container, and again if somebody killed
//! it; the one before ends when the daemon lets go of its socket.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gantry_api::shim::{NURSERY_ARGUMENT, SHIM_NAME_BYTES_MAX};
use gantry_linux::socket::{self, Kind};
use gantry_linux::spawn::Spawn;

use crate::error::Error;

/// The descriptor on which the nursery finds its socket.
const SOCKET: u32 = 3;

/// The shim's programme, and the process that shims are copies of.
#[derive(Debug)]
pub(crate) struct Nursery {
    /// Where nothing can change it.
    programme: OwnedFd,
    running: Mutex<Option<Arc<OwnedFd>>>,
}

impl Nursery {
    pub(crate) fn new(programme: OwnedFd) -> Self {
        Self { programme, running: Mutex::default() }
    }

    /// Has a shim made, whose parent is init; what connects it is the returned socket. A shim that could not be made closes
    /// it.
    pub(super) fn shim(&self, name: &str) -> Result<UnixStream, Error> {
        let failed = |source| Error::Io { action: "start the shim", source };
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        ours.set_nonblocking(true).map_err(failed)?;
        let name = &name.as_bytes()[..name.len().min(SHIM_NAME_BYTES_MAX)];
        let ask = |nursery: &OwnedFd| socket::send(nursery.as_fd(), name, &[theirs.as_fd()]);
        // Cloned, so that the lock is not held while the nursery's queue may be full.
        let running = self.lock().clone();
        if running.is_some_and(|nursery| ask(&nursery).is_ok()) {
            return Ok(ours);
        }
        let started = Arc::new(self.start()?);
        ask(&started)?;
        *self.lock() = Some(started);
        Ok(ours)
    }

    fn start(&self) -> Result<OwnedFd, Error> {
        let failed = |source| Error::Io { action: "start the shim", source };
        let (ours, theirs) = socket::pair(Kind::SequencedPacket, false)?;
        let null = File::options().read(true).write(true).open("/dev/null").map_err(failed)?;
        let room = " ".repeat(SHIM_NAME_BYTES_MAX);
        let args = ["gantry-shim", NURSERY_ARGUMENT, room.as_str()]
            .map(|arg| CString::new(arg).expect("constants have no NUL"));
        // Standard error is the daemon's own, so that a shim that dies of a bug can say so.
        let stderr = io::stderr();
        let descriptors =
            vec![(null.as_fd(), 0), (null.as_fd(), 1), (stderr.as_fd(), 2), (theirs.as_fd(), SOCKET)];
        Spawn { programme: self.programme.as_fd(), args: args.into(), env: Vec::new(), descriptors }
            .start()?;
        Ok(ours)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<OwnedFd>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
