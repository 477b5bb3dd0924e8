//! What the process makes of itself before it touches a container: nothing inside one may look into it or open
//! its programme for writing.
//!
//! The programme's file cannot be overwritten by a container that reaches `/proc/<pid>/exe` (CVE-2019-5736)
//! for two reasons that need no copy and no second exec. A process that joins or becomes a container is not
//! dumpable until its exec, so that only a process with CAP_SYS_PTRACE in the host's user namespace may follow
//! that link. And while it runs the kernel refuses writers of it (ETXTBSY), and once it has execed the link
//! leads to the container's own file.

use std::os::fd::OwnedFd;

use gantry_linux::process;
use rustix::fs::{Mode, OFlags};

use crate::arguments::Command;
use crate::failure::Failure;

/// Takes the posture that this command needs.
pub(crate) fn take(command: &Command) -> Result<(), Failure> {
    open_standard_descriptors()?;
    let touches_a_container = matches!(command, Command::Create(_) | Command::Run(_) | Command::Exec(_));
    if touches_a_container {
        process::set_dumpable(false).map_err(Failure::kernel)?;
    }
    Ok(())
}

/// Descriptors 0, 1 and 2 are open whatever the caller closed: what is opened next must not become one of them.
fn open_standard_descriptors() -> Result<(), Failure> {
    loop {
        let opened: OwnedFd = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| Failure::file("open", "/dev/null", errno.into()))?;
        if std::os::fd::AsRawFd::as_raw_fd(&opened) > 2 {
            return Ok(());
        }
        // Stays open for the life of the process, and passes to the container as its own.
        std::mem::forget(opened);
    }
}
