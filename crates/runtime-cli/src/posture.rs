//! What the process makes of itself before it touches a container: nothing inside one may look into it, or write
//! to its programme's file (CVE-2019-5736).
//!
//! A process that becomes a container's keeps this programme as its `/proc/self/exe` until it executes the
//! container's command; and a command, or its interpreter, may be that very link. It then runs this programme inside
//! the container, whose root can open the file behind it for writing once it has ended. So the commands whose
//! process enters a container run from a read-only copy of the file's *mount*: detached, in no mount table, and gone
//! with the process. Nobody writes through it, whatever rights he has. That costs one more exec, a few hundred
//! microseconds; copying the file into memory, as others do, costs more the larger it is. A file whose mount is
//! read-only already is run from where it is. A caller without CAP_SYS_ADMIN cannot copy mounts, and its containers'
//! root is nobody who may write to this file.

use std::ffi::CString;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use gantry_linux::mount::{self, AttributeChange, MountAttributes};
use gantry_linux::process::{self, ExecArgs};
use gantry_linux::{Errno, SyscallError};
use rustix::fs::{Mode, OFlags, StatVfsMountFlags};

use crate::arguments::Command;
use crate::failure::Failure;

const OWN_PROGRAMME: &str = "/proc/self/exe";

/// Takes the posture that this command needs.
pub(crate) fn take(command: &Command) -> Result<(), Failure> {
    open_standard_descriptors()?;
    let enters = matches!(command, Command::Create(_) | Command::Run(_) | Command::Exec(_));
    if enters {
        run_read_only()?;
        process::set_dumpable(false).map_err(Failure::kernel)?;
    }
    Ok(())
}

/// Executes this programme again from a read-only mount, unless it runs from one.
fn run_read_only() -> Result<(), Failure> {
    let fail = |errno: Errno| Failure::file("open", OWN_PROGRAMME, errno.into());
    let own = rustix::fs::open(OWN_PROGRAMME, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(fail)?;
    let flags = rustix::fs::fstatvfs(&own).map_err(fail)?.f_flag;
    if flags.contains(StatVfsMountFlags::RDONLY) {
        return Ok(());
    }
    let copy = match read_only_copy(&own) {
        Err(error) if error.errno == Errno::PERM => return Ok(()),
        copy => copy.map_err(Failure::kernel)?,
    };
    let strings =
        |words: Vec<Vec<u8>>| words.into_iter().filter_map(|word| CString::new(word).ok()).collect();
    let args = strings(std::env::args_os().map(OsStringExt::into_vec).collect());
    let env = std::env::vars_os().map(|(name, value)| [name.into_vec(), value.into_vec()].join(&b'='));
    let args = ExecArgs::new(args, strings(env.collect()));
    match process::exec_descriptor(copy.as_fd(), &args).map_err(Failure::kernel)? {}
}

fn read_only_copy(file: &OwnedFd) -> Result<OwnedFd, SyscallError> {
    let copy = mount::clone_tree(file.as_fd(), false)?;
    let change = AttributeChange { set: MountAttributes::RDONLY, ..AttributeChange::default() };
    mount::set_attributes(copy.as_fd(), &change)?;
    Ok(copy)
}

/// Descriptors 0, 1 and 2 are open whatever the caller closed: what is opened next must not become one of them.
fn open_standard_descriptors() -> Result<(), Failure> {
    loop {
        let opened: OwnedFd = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| Failure::file("open", "/dev/null", errno.into()))?;
        if opened.as_raw_fd() > 2 {
            return Ok(());
        }
        // Stays open for the life of the process, and passes to the container as its own.
        std::mem::forget(opened);
    }
}
