//! How a process enters namespaces: new ones of its own, or those of others by descriptor. All of these change
//! the calling thread only, but for the user namespace, which needs a single-threaded process. Allocates
//! nothing but for an error's text.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

pub use crate::clone::Namespaces;
use crate::clone::{Clone, CloneOptions, clone};
use crate::error::{Object, Result, SyscallError};
use crate::proc::ProcFs;
use crate::process::exit_now;
use crate::sys;
use crate::wait::wait_pidfd;

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
    open_of(directory.as_fd(), kind)
}

/// Enters the time namespace that the calling thread made for its children, once its clocks are set off: kernels differ in
/// whether its next exec takes it there (Linux 6.1 does not). Needs a single-threaded process.
pub fn enter_time_for_children() -> Result<()> {
    const NAME: &str = "time_for_children";
    let own = ProcFs::open()?.open_file("thread-self/ns", OFlags::PATH | OFlags::DIRECTORY)?;
    let time = rustix::fs::openat(own, NAME, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| SyscallError::new("openat", Object::Name(NAME), errno))?;
    enter(time.as_fd(), Namespaces::TIME)
}

/// Makes a user namespace with these mappings, lines of `inside outside count`, for id-mapped mounts: nobody
/// lives in it, and it lasts as long as its descriptor and what was mapped with it. Needs CAP_SYS_ADMIN.
pub fn make_user_namespace(proc: &ProcFs, uid_map: &str, gid_map: &str) -> Result<OwnedFd> {
    let (theirs, ours) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(SyscallError::caller("pipe2"))?;
    let options = CloneOptions { namespaces: Namespaces::USER, ..CloneOptions::default() };
    let (pid, pidfd) = match clone(&options)? {
        Clone::Child => {
            drop(ours);
            // Until the parent is done, or gone.
            let _ = rustix::io::read(&theirs, &mut [0; 1]);
            exit_now(0)
        }
        Clone::Parent { pid, pidfd } => (pid, pidfd),
    };
    let made = proc.set_id_maps(pid, uid_map, gid_map).and_then(|()| {
        let process = proc.process(pid)?;
        open_of(process.as_fd(), Namespaces::USER)
    });
    drop(ours);
    wait_pidfd(pidfd.as_fd())?;
    made
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

    #[test]
    fn a_user_namespace_is_made_with_its_mappings_and_nobody_in_it() {
        if !crate::testing::is_root_or_skipped() {
            return;
        }
        let proc = ProcFs::open().expect("/proc");
        let made = make_user_namespace(&proc, "0 100000 65536\n", "0 100000 65536\n").expect("made");
        let own = open_own(Namespaces::USER).expect("open");
        let inode = |fd: &OwnedFd| rustix::fs::fstat(fd).expect("fstat").st_ino;
        assert_ne!(inode(&made), inode(&own));
        let error = make_user_namespace(&proc, "0 1 0\n", "0 1 1\n").expect_err("an empty range");
        assert_eq!(error.errno, crate::Errno::INVAL);
    }

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
