//! Attributes of the calling process that are neither ids nor limits: prctl(2), session, keyring,
//! personality, scheduling. Allocates nothing, takes no lock.

use std::ffi::CStr;

use rustix::io::Errno;
use rustix::process::DumpableBehavior;

use super::Pid;
use crate::error::{Object, Result, SyscallError};
use crate::signal::Signal;
use crate::sys;

/// No exec of this process or its descendants gains privileges any more (PR_SET_NO_NEW_PRIVS).
pub fn set_no_new_privs() -> Result<()> {
    rustix::thread::set_no_new_privs(true).map_err(SyscallError::name("prctl", "no_new_privs"))
}

/// Whether others of the same user may trace this process and read its `/proc` files (PR_SET_DUMPABLE).
pub fn set_dumpable(dumpable: bool) -> Result<()> {
    let behavior = if dumpable { DumpableBehavior::Dumpable } else { DumpableBehavior::NotDumpable };
    rustix::process::set_dumpable_behavior(behavior).map_err(SyscallError::name("prctl", "dumpable"))
}

/// Orphans among the descendants become children of this process (PR_SET_CHILD_SUBREAPER).
pub fn set_child_subreaper(on: bool) -> Result<()> {
    prctl(libc::PR_SET_CHILD_SUBREAPER, u64::from(on), "child_subreaper")
}

/// The signal this process gets when the thread that made it ends; `None` for none (PR_SET_PDEATHSIG). It is
/// cleared by an exec that changes credentials. Check [`super::parent_pid`] afterwards: the parent may be gone.
pub fn set_parent_death_signal(signal: Option<Signal>) -> Result<()> {
    prctl(libc::PR_SET_PDEATHSIG, signal.map_or(0, |signal| u64::from(signal.number())), "pdeathsig")
}

/// Capabilities survive a change from uid 0 until the next exec (PR_SET_KEEPCAPS).
pub fn set_keep_capabilities(on: bool) -> Result<()> {
    prctl(libc::PR_SET_KEEPCAPS, u64::from(on), "keepcaps")
}

/// The name in `/proc/self/comm`, at most 15 bytes.
pub fn set_name(name: &CStr) -> Result<()> {
    rustix::thread::set_name(name).map_err(SyscallError::name("prctl", "name"))
}

/// A new session, without a controlling terminal.
pub fn set_session() -> Result<Pid> {
    let session = rustix::process::setsid().map_err(SyscallError::caller("setsid"))?;
    Ok(Pid(session.as_raw_nonzero().get()))
}

/// Joins a new anonymous session keyring, so that the caller's keys are not seen (keyctl(2)
/// KEYCTL_JOIN_SESSION_KEYRING); `None` names no keyring.
pub fn join_session_keyring(name: Option<&CStr>) -> Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
    let pointer = name.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: the name is null or a C string that outlives the call.
    let returned = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, pointer) };
    sys::check(returned).map(drop).map_err(SyscallError::name("keyctl", "join_session_keyring"))
}

/// Sets the mask of permission bits that new files do not get, and returns the old one.
pub fn set_umask(mask: u32) -> u32 {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(mask)).as_raw_mode()
}

/// Sets the execution domain (personality(2)), for 32-bit images.
pub fn set_personality(domain: u64) -> Result<()> {
    // SAFETY: takes a number and touches no memory.
    let returned = unsafe { libc::syscall(libc::SYS_personality, domain) };
    sys::check(returned).map(drop).map_err(SyscallError::number("personality", domain))
}

/// `struct sched_attr` of Linux 3.14, for [`set_scheduler`]. Times are in nanoseconds.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SchedulerAttributes {
    /// Bytes of this structure; set by [`set_scheduler`].
    pub size: u32,
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// For SCHED_OTHER and SCHED_BATCH.
    pub nice: i32,
    /// For SCHED_FIFO and SCHED_RR.
    pub priority: u32,
    /// For SCHED_DEADLINE.
    pub runtime_ns: u64,
    /// For SCHED_DEADLINE.
    pub deadline_ns: u64,
    /// For SCHED_DEADLINE.
    pub period_ns: u64,
}

/// Sets the scheduling policy of a process, or of the calling thread (sched_setattr(2)).
pub fn set_scheduler(pid: Option<Pid>, attributes: SchedulerAttributes) -> Result<()> {
    let attributes = SchedulerAttributes { size: sys::size_of_u32::<SchedulerAttributes>(), ..attributes };
    let pid = pid.map_or(0, Pid::as_raw);
    // SAFETY: the structure is as long as its `size` says and outlives the call, which only reads it.
    let returned = unsafe { libc::syscall(libc::SYS_sched_setattr, pid, &raw const attributes, 0) };
    sys::check(returned)
        .map(drop)
        .map_err(SyscallError::number("sched_setattr", u64::from(attributes.policy)))
}

/// Sets the I/O priority of a process, or of the calling one: class 1 real time, 2 best effort, 3 idle; level
/// 0 to 7.
pub fn set_io_priority(pid: Option<Pid>, class: u32, level: u32) -> Result<()> {
    const IOPRIO_WHO_PROCESS: libc::c_int = 1;
    let value = (class << 13) | level;
    let pid = pid.map_or(0, Pid::as_raw);
    // SAFETY: takes numbers and touches no memory.
    let returned = unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, pid, value) };
    sys::check(returned).map(drop).map_err(SyscallError::number("ioprio_set", u64::from(value)))
}

/// Sets which processors a process may use, as a bit mask with the lowest word first (sched_setaffinity(2)).
pub fn set_affinity(pid: Pid, mask: &[u64]) -> Result<()> {
    // SAFETY: pointer and length are of one live slice, which the call only reads.
    let returned =
        unsafe { libc::syscall(libc::SYS_sched_setaffinity, pid.as_raw(), size_of_val(mask), mask.as_ptr()) };
    sys::check(returned).map(drop).map_err(SyscallError::caller("sched_setaffinity"))
}

/// Sets where new pages of the calling thread lie (set_mempolicy(2)): `MPOL_*` with its flags, and the nodes
/// as a bit mask with the lowest word first.
pub fn set_memory_policy(mode: u32, nodes: &[u64]) -> Result<()> {
    // The kernel takes one more than the number of bits, of which it ignores the last.
    let bits = if nodes.is_empty() { 0 } else { size_of_val(nodes) * 8 + 1 };
    let pointer = if nodes.is_empty() { std::ptr::null() } else { nodes.as_ptr() };
    // SAFETY: the pointer is null or to a live slice with that many bits, which the call only reads.
    let returned = unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, pointer, bits) };
    sys::check(returned).map(drop).map_err(SyscallError::number("set_mempolicy", u64::from(mode)))
}

/// Whether the calling process could execute a path, by its effective ids and capabilities (faccessat2(2)).
/// For what is no regular file the answer is `EACCES`, as execve(2) gives it.
pub fn may_execute(path: &CStr) -> Result<()> {
    use rustix::fs::{Access, AtFlags, CWD, FileType, accessat, statat};

    let fail = SyscallError::name("faccessat2", "the programme");
    let status = accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS)
        .and_then(|()| statat(CWD, path, AtFlags::empty()));
    match status {
        Ok(status) if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile => {
            Err(fail(Errno::ACCESS))
        }
        found => found.map(drop).map_err(fail),
    }
}

/// Makes the working directory the root of the calling process (chroot(2)).
pub fn change_root_here() -> Result<()> {
    rustix::process::chroot(c".").map_err(SyscallError::name("chroot", "the working directory"))
}

/// A copy of a descriptor of another process (pidfd_getfd(2)), which must be one that the caller may trace.
pub fn take_descriptor(pidfd: std::os::fd::BorrowedFd<'_>, number: i32) -> Result<std::os::fd::OwnedFd> {
    rustix::process::pidfd_getfd(pidfd, number, rustix::process::PidfdGetfdFlags::empty())
        .map_err(SyscallError::fd("pidfd_getfd", pidfd))
}

/// Sets the host name of the caller's UTS namespace.
pub fn set_hostname(name: &[u8]) -> Result<()> {
    // SAFETY: pointer and length are of one live slice, which the call only reads.
    let returned = unsafe { libc::syscall(libc::SYS_sethostname, name.as_ptr(), name.len()) };
    sys::check(returned).map(drop).map_err(SyscallError::caller("sethostname"))
}

/// Sets the NIS domain name of the caller's UTS namespace.
pub fn set_domainname(name: &[u8]) -> Result<()> {
    // SAFETY: pointer and length are of one live slice, which the call only reads.
    let returned = unsafe { libc::syscall(libc::SYS_setdomainname, name.as_ptr(), name.len()) };
    sys::check(returned).map(drop).map_err(SyscallError::caller("setdomainname"))
}

/// Changes the working directory.
pub fn change_directory(path: &CStr) -> Result<()> {
    rustix::process::chdir(path).map_err(SyscallError::name("chdir", "a path"))
}

/// Changes the working directory to an open one.
pub fn change_directory_to(directory: std::os::fd::BorrowedFd<'_>) -> Result<()> {
    rustix::process::fchdir(directory).map_err(SyscallError::fd("fchdir", directory))
}

/// Writes the absolute path of the working directory into `buffer` and returns its length without the final
/// zero. A path that does not begin with `/` is outside the caller's root (see CVE-2024-21626).
pub fn current_directory(buffer: &mut [u8]) -> Result<usize> {
    // SAFETY: pointer and length are of one live, writable slice.
    let returned = unsafe { libc::syscall(libc::SYS_getcwd, buffer.as_mut_ptr(), buffer.len()) };
    let length = sys::check(returned).map_err(SyscallError::caller("getcwd"))?;
    // Not more than the buffer.
    Ok(usize::try_from(length).unwrap_or(buffer.len()).saturating_sub(1))
}

fn prctl(option: libc::c_int, value: u64, name: &'static str) -> Result<()> {
    // SAFETY: only called with options whose argument is a plain number.
    let returned = unsafe { libc::syscall(libc::SYS_prctl, option, value, 0, 0, 0) };
    sys::check(returned).map(drop).map_err(|errno| SyscallError::new("prctl", Object::Name(name), errno))
}
