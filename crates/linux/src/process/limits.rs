//! Resource limits (prlimit(2)) by their kernel numbers. Allocates nothing, takes no lock.

use super::Pid;
use crate::error::{Object, Result, SyscallError};
use crate::sys;

/// A soft and a hard limit; `u64::MAX` is unlimited.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// What is enforced.
    pub soft: u64,
    /// How far an unprivileged process may raise the soft one.
    pub hard: u64,
}

/// The kinds of limits by the names of getrlimit(2), lower case without `RLIMIT_`, and their kernel numbers,
/// which are these on x86-64 and aarch64.
pub const LIMITS: [(&str, u32); 16] = [
    ("cpu", 0),
    ("fsize", 1),
    ("data", 2),
    ("stack", 3),
    ("core", 4),
    ("rss", 5),
    ("nproc", 6),
    ("nofile", 7),
    ("memlock", 8),
    ("as", 9),
    ("locks", 10),
    ("sigpending", 11),
    ("msgqueue", 12),
    ("nice", 13),
    ("rtprio", 14),
    ("rttime", 15),
];

/// Sets a limit of the calling process, or of another; returns the old one.
pub fn set_limit(pid: Option<Pid>, resource: u32, limit: Limit) -> Result<Limit> {
    prlimit(pid, resource, Some(limit))
}

/// Reads a limit of the calling process, or of another.
pub fn limit(pid: Option<Pid>, resource: u32) -> Result<Limit> {
    prlimit(pid, resource, None)
}

fn prlimit(pid: Option<Pid>, resource: u32, limit: Option<Limit>) -> Result<Limit> {
    let mut old = Limit { soft: 0, hard: 0 };
    let new = limit.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    let pid = pid.map_or(0, Pid::as_raw);
    // SAFETY: `new` is null or points to a live limit, `old` is live and exclusively borrowed.
    let returned = unsafe { libc::syscall(libc::SYS_prlimit64, pid, resource, new, &raw mut old) };
    let name =
        LIMITS.iter().find(|(_, number)| *number == resource).map_or("unknown limit", |(name, _)| *name);
    sys::check(returned).map_err(|errno| SyscallError::new("prlimit", Object::Name(name), errno))?;
    Ok(old)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_read_back_as_it_is_set() {
        let core = LIMITS.iter().find(|(name, _)| *name == "core").expect("listed").1;
        let before = limit(None, core).expect("prlimit");
        let asked = Limit { soft: 0, hard: before.hard };
        assert_eq!(set_limit(None, core, asked).expect("prlimit"), before);
        assert_eq!(limit(None, core).expect("prlimit"), asked);
        set_limit(None, core, before).expect("prlimit");
    }
}
