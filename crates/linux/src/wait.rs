//! How a process's end is learnt: by its pidfd, which cannot be confused with a later process of the same
//! number, and for an own init also by any child (orphans). Only exits are waited for, not stops.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use crate::error::{Errno, Object, Result, SyscallError};
use crate::process::Pid;
use crate::signal::Signal;
use crate::sys;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It called exit.
    Code {
        /// 0 to 255.
        code: i32,
    },
    /// A signal ended it.
    Signal {
        /// Which.
        signal: Signal,
        /// Whether a core was dumped.
        core_dumped: bool,
    },
}

impl Exit {
    /// The code that shells and container engines tell: 128 and the signal for one that was killed.
    pub fn shell_code(self) -> i32 {
        match self {
            Self::Code { code } => code,
            Self::Signal { signal, .. } => 128 + i32::from(signal.number()),
        }
    }
}

/// Opens a pidfd of a process (Linux 5.3). The number may already be another process's: only for a child
/// that is not reaped yet, or checked afterwards.
pub fn open_pidfd(pid: Pid) -> Result<OwnedFd> {
    rustix::process::pidfd_open(pid.to_rustix(), rustix::process::PidfdFlags::empty())
        .map_err(|errno| SyscallError::new("pidfd_open", Object::Process(pid.as_raw()), errno))
}

/// Waits until a child ends, and reaps it.
pub fn wait_pidfd(pidfd: BorrowedFd<'_>) -> Result<Exit> {
    let ended =
        waitid(libc::P_PIDFD, pidfd.as_raw_fd().cast_unsigned(), 0, Object::Descriptor(pidfd.as_raw_fd()))?;
    ended.map(|(_, exit)| exit).ok_or_else(|| SyscallError::fd("waitid", pidfd)(Errno::CHILD))
}

/// Reaps a child if it has ended; `None` while it lives.
pub fn try_wait_pidfd(pidfd: BorrowedFd<'_>) -> Result<Option<Exit>> {
    let object = Object::Descriptor(pidfd.as_raw_fd());
    let ended = waitid(libc::P_PIDFD, pidfd.as_raw_fd().cast_unsigned(), libc::WNOHANG, object)?;
    Ok(ended.map(|(_, exit)| exit))
}

/// Reaps any one child that has ended, orphans among them; `None` when all live or there is none.
pub fn reap_any() -> Result<Option<(Pid, Exit)>> {
    match waitid(libc::P_ALL, 0, libc::WNOHANG, Object::Caller) {
        Err(error) if error.errno == Errno::CHILD => Ok(None),
        other => other,
    }
}

/// Tells which child has ended, orphans among them, and leaves it to be reaped; `None` when all live or there is none.
pub fn ended_child() -> Result<Option<Pid>> {
    match waitid(libc::P_ALL, 0, libc::WNOHANG | libc::WNOWAIT, Object::Caller) {
        Err(error) if error.errno == Errno::CHILD => Ok(None),
        other => other.map(|ended| ended.map(|(pid, _)| pid)),
    }
}

/// Waits for one child by its number, whatever signal it raises at its end, and reaps it.
pub fn wait_child(pid: Pid) -> Result<Exit> {
    let number = pid.as_raw().cast_unsigned();
    let ended = waitid(libc::P_PID, number, libc::__WALL, Object::Process(pid.as_raw()))?;
    ended
        .map(|(_, exit)| exit)
        .ok_or_else(|| SyscallError::new("waitid", Object::Process(pid.as_raw()), Errno::CHILD))
}

fn waitid(
    kind: libc::idtype_t,
    id: u32,
    options: libc::c_int,
    object: Object,
) -> Result<Option<(Pid, Exit)>> {
    loop {
        // SAFETY: `siginfo_t` is plain data for which all zero is valid.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let usage = std::ptr::null_mut::<libc::rusage>();
        // SAFETY: `info` is live and exclusively borrowed, a null rusage is allowed.
        let returned = unsafe {
            libc::syscall(libc::SYS_waitid, kind, id, &raw mut info, options | libc::WEXITED, usage)
        };
        match sys::check(returned) {
            Ok(_) => return Ok(exit_of(&info)),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(SyscallError::new("waitid", object, errno)),
        }
    }
}

fn exit_of(info: &libc::siginfo_t) -> Option<(Pid, Exit)> {
    // SAFETY: waitid fills the child's part of the union, or leaves all zero, which is a valid number too.
    let pid = Pid::from_raw(unsafe { info.si_pid() })?;
    // SAFETY: as above.
    let status = unsafe { info.si_status() };
    let exit = match info.si_code {
        libc::CLD_KILLED | libc::CLD_DUMPED => Exit::Signal {
            signal: Signal::from_number(status.cast_unsigned()).unwrap_or(Signal::KILL),
            core_dumped: info.si_code == libc::CLD_DUMPED,
        },
        _ => Exit::Code { code: status },
    };
    Some((pid, exit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clone::{Clone, CloneOptions, clone};
    use crate::process::exit_now;
    use std::os::fd::AsFd;

    #[test]
    fn a_killed_child_tells_its_signal() {
        let Clone::Parent { pid, pidfd } = clone(&CloneOptions::default()).expect("clone3") else {
            loop {
                rustix::event::pause();
            }
        };
        assert_eq!(try_wait_pidfd(pidfd.as_fd()).expect("waitid"), None);
        crate::signal::send_to_pidfd(pidfd.as_fd(), Signal::KILL).expect("pidfd_send_signal");
        let exit = wait_pidfd(pidfd.as_fd()).expect("waitid");
        assert_eq!(exit, Exit::Signal { signal: Signal::KILL, core_dumped: false });
        assert_eq!(exit.shell_code(), 137);
        assert!(crate::signal::send(pid, Signal::KILL).is_err(), "it is reaped");
    }

    #[test]
    fn a_child_that_exits_tells_its_code_once() {
        let Clone::Parent { pidfd, .. } = clone(&CloneOptions::default()).expect("clone3") else {
            exit_now(3)
        };
        assert_eq!(wait_pidfd(pidfd.as_fd()).expect("waitid"), Exit::Code { code: 3 });
        assert_eq!(wait_pidfd(pidfd.as_fd()).expect_err("it is reaped").errno, Errno::CHILD);
    }
}
