//! How a process enters namespaces: new ones of its own, or those of others by descriptor. All of these change
//! the calling thread only, but for the user namespace, which needs a single-threaded process. Allocates
//! nothing but for an error's text.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

pub use crate::clone::Namespaces;
use crate::error::{Object, Result, SyscallError};
use crate::sys;

/// Makes new namespaces for the calling thread. A new pid namespace is for its next children.
pub fn unshare(namespaces: Namespaces) -> Result<()> {
    // SAFETY: takes a number; namespace flags share no memory and close no descriptor.
    let returned = unsafe { libc::syscall(libc::SYS_unshare, namespaces.bits()) };
    sys::check(returned).map(drop).map_err(SyscallError::number("unshare", u64::from(namespaces.bits())))
}

/// Enters one namespace by its descriptor, of the kind given, which the kernel checks.
pub fn enter(namespace: BorrowedFd<'_>, kind: Namespaces) -> Result<()> {
    // SAFETY: takes numbers and touches no memory.
    let returned = unsafe { libc::syscall(libc::SYS_setns, namespace.as_raw_fd(), kind.bits()) };
    sys::check(returned).map(drop).map_err(SyscallError::fd("setns", namespace))
}

/// Enters several namespaces of a process at once, all or none (Linux 5.8).
pub fn enter_all_of(pidfd: BorrowedFd<'_>, kinds: Namespaces) -> Result<()> {
    enter(pidfd, kinds)
}

/// Opens a namespace of a process whose `/proc/<pid>` directory is given. When the number may have been given
/// to another process meanwhile, check its pidfd afterwards.
pub fn open_of(process: BorrowedFd<'_>, kind: Namespaces) -> Result<OwnedFd> {
    let name = file_name(kind).ok_or_else(|| SyscallError::caller("openat")(crate::Errno::INVAL))?;
    rustix::fs::openat(process, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| SyscallError::new("openat", Object::Name(name), errno))
}

/// Opens a namespace of the calling thread.
pub fn open_own(kind: Namespaces) -> Result<OwnedFd> {
    let directory = rustix::fs::open(
        "/proc/thread-self",
        OFlags::PATH | OFlags::CLOEXEC | OFlags::DIRECTORY,
        Mode::empty(),
    )
    .map_err(SyscallError::name("open", "/proc/thread-self"))?;
    open_of(std::os::fd::AsFd::as_fd(&directory), kind)
}

fn file_name(kind: Namespaces) -> Option<&'static str> {
    [
        (Namespaces::MOUNT, "ns/mnt"),
        (Namespaces::UTS, "ns/uts"),
        (Namespaces::IPC, "ns/ipc"),
        (Namespaces::PID, "ns/pid"),
        (Namespaces::NETWORK, "ns/net"),
        (Namespaces::USER, "ns/user"),
        (Namespaces::CGROUP, "ns/cgroup"),
        (Namespaces::TIME, "ns/time"),
    ]
    .into_iter()
    .find_map(|(known, name)| (known == kind).then_some(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_thread_leaves_its_uts_namespace_and_comes_back() {
        if !crate::testing::is_root_or_skipped() {
            return;
        }
        std::thread::spawn(|| {
            let inode = |fd: &OwnedFd| rustix::fs::fstat(fd).expect("fstat").st_ino;
            let old = open_own(Namespaces::UTS).expect("open");
            unshare(Namespaces::UTS).expect("unshare");
            assert_ne!(inode(&old), inode(&open_own(Namespaces::UTS).expect("open")));
            enter(old.as_fd(), Namespaces::UTS).expect("setns");
            assert_eq!(inode(&old), inode(&open_own(Namespaces::UTS).expect("open")));
            assert!(enter(old.as_fd(), Namespaces::NETWORK).is_err(), "the kind is checked");
        })
        .join()
        .expect("the thread ends well");
    }
}
