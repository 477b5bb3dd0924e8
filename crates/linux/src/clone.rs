//! How a container's first process is made: clone3(2) with new namespaces, straight into its cgroup, with a
//! pidfd. Fork-like: the child goes on after the call, on a copy of the caller's memory.
//!
//! **The caller should be single-threaded** (the shim is). In a child of a multi-threaded process any lock of
//! libc's may be held for ever by a thread that does not exist there: such a child may only make system
//! calls through this crate's wrappers and then exec or [`crate::process::exit_now`]. From a multi-threaded
//! program of any size use [`crate::spawn`] instead. This file allocates nothing and takes no lock.

use std::mem::size_of;
use std::os::fd::{BorrowedFd, OwnedFd};

use crate::error::{Result, SyscallError};
use crate::process::Pid;
use crate::sys;

bitflags::bitflags! {
    /// Kinds of namespaces, for clone3(2), unshare(2) and setns(2).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct Namespaces: u32 {
        /// Mounts.
        const MOUNT = libc::CLONE_NEWNS.cast_unsigned();
        /// Host and domain name.
        const UTS = libc::CLONE_NEWUTS.cast_unsigned();
        /// System V and POSIX message queues, shared memory.
        const IPC = libc::CLONE_NEWIPC.cast_unsigned();
        /// Process ids.
        const PID = libc::CLONE_NEWPID.cast_unsigned();
        /// Network stack.
        const NETWORK = libc::CLONE_NEWNET.cast_unsigned();
        /// Users and groups.
        const USER = libc::CLONE_NEWUSER.cast_unsigned();
        /// The cgroup root that is seen.
        const CGROUP = libc::CLONE_NEWCGROUP.cast_unsigned();
        /// Boot and monotonic clocks (Linux 5.6). clone3(2) only; its bit is an exit signal for clone(2).
        const TIME = 0x0000_0080;
    }
}

/// What the child is born into.
#[derive(Debug, Default)]
pub struct CloneOptions<'fd> {
    /// The namespaces that are new for it.
    pub namespaces: Namespaces,
    /// A cgroup v2 directory to be born in (CLONE_INTO_CGROUP, Linux 5.7): no migration afterwards.
    pub cgroup: Option<BorrowedFd<'fd>>,
    /// Whether it becomes the caller's sibling (CLONE_PARENT).
    pub sibling: bool,
}

/// Which of the two processes this is.
#[derive(Debug)]
pub enum Clone {
    /// The caller.
    Parent {
        /// The child's id in the caller's pid namespace.
        pid: Pid,
        /// The child's pidfd, close-on-exec.
        pidfd: OwnedFd,
    },
    /// The new process.
    Child,
}

/// Makes a child on a copy of this memory. It raises SIGCHLD when it ends. See the module for what the child
/// of a multi-threaded caller may do.
pub fn clone(options: &CloneOptions<'_>) -> Result<Clone> {
    let mut pidfd: libc::c_int = -1;
    let mut arguments = Arguments {
        flags: libc::CLONE_PIDFD as u64 | u64::from(options.namespaces.bits()),
        pidfd: std::ptr::from_mut(&mut pidfd) as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..Arguments::default()
    };
    if let Some(cgroup) = options.cgroup {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = sys::number(cgroup).into();
    }
    if options.sibling {
        arguments.flags |= libc::CLONE_PARENT as u64;
        arguments.exit_signal = 0;
    }
    // SAFETY: without CLONE_VM the child has its own copy of memory and goes on from here on its own stack
    // copy; the arguments outlive the call and `pidfd` is the one location the kernel writes.
    let returned = unsafe { libc::syscall(libc::SYS_clone3, &raw mut arguments, size_of::<Arguments>()) };
    match sys::check(returned).map_err(SyscallError::caller("clone3"))? {
        0 => Ok(Clone::Child),
        pid => Ok(Clone::Parent {
            pid: Pid::from_kernel(pid),
            // The kernel stored a pidfd: it is not negative.
            pidfd: sys::owned(pidfd.cast_unsigned().into()),
        }),
    }
}

/// Makes a child by the older clone(2), which filters allow where they refuse clone3(2); otherwise as [`clone`]
/// without options. `None` is the child.
pub fn fork() -> Result<Option<Pid>> {
    let null = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: without CLONE_VM the child has its own copy of memory; a null stack means a copy of the caller's.
    let returned = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, null, null, null, null) };
    match sys::check(returned).map_err(SyscallError::caller("clone"))? {
        0 => Ok(None),
        pid => Ok(Some(Pid::from_kernel(pid))),
    }
}

const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// `struct clone_args` of Linux 5.7.
#[repr(C, align(8))]
#[derive(Default)]
struct Arguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::exit_now;
    use crate::wait::{Exit, wait_pidfd};
    use std::os::fd::AsFd;

    #[test]
    fn a_child_has_a_pidfd_that_tells_its_exit_code() {
        match clone(&CloneOptions::default()).expect("clone3") {
            Clone::Child => exit_now(42),
            Clone::Parent { pid, pidfd } => {
                let exit = wait_pidfd(pidfd.as_fd()).expect("waitid");
                assert_eq!(exit, Exit::Code { code: 42 });
                assert!(pid.as_raw() > 0);
            }
        }
    }

    #[test]
    fn a_child_in_a_new_pid_namespace_is_its_first_process() {
        if !crate::testing::is_root_or_skipped() {
            return;
        }
        let options =
            CloneOptions { namespaces: Namespaces::PID | Namespaces::MOUNT, ..CloneOptions::default() };
        match clone(&options).expect("clone3") {
            Clone::Child => exit_now(crate::process::current_pid().as_raw()),
            Clone::Parent { pidfd, .. } => {
                assert_eq!(wait_pidfd(pidfd.as_fd()).expect("waitid"), Exit::Code { code: 1 });
            }
        }
    }
}
