//! What a process can change about itself between clone and exec: ids, capabilities, limits, attributes,
//! and exec itself; and how it signals others. Every function here is safe to call in a child that shares
//! nothing but code with its parent: it allocates nothing, takes no lock, and does not log.
//!
//! Ids and capabilities are per thread in Linux. libc's wrappers change all threads by signalling them; these
//! do not, on purpose: they are for single-threaded processes.

mod attributes;
mod credentials;
mod exec;
mod limits;

pub use attributes::*;
pub use credentials::*;
pub use exec::*;
pub use limits::*;

use std::fmt;

/// A process id as seen from the caller's pid namespace; always positive.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pid(i32);

impl Pid {
    /// A process id from a number, if it can be one.
    pub fn from_raw(number: i32) -> Option<Self> {
        (number > 0).then_some(Self(number))
    }

    /// The number.
    pub fn as_raw(self) -> i32 {
        self.0
    }

    pub(crate) fn from_kernel(returned: u64) -> Self {
        let number = i32::try_from(returned).expect("the kernel's process ids fit i32");
        Self::from_raw(number).expect("the kernel's process ids are positive")
    }

    pub(crate) fn to_rustix(self) -> rustix::process::Pid {
        rustix::process::Pid::from_raw(self.0).expect("a Pid is positive")
    }
}

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pid({})", self.0)
    }
}

/// The calling process.
pub fn current_pid() -> Pid {
    Pid(rustix::process::getpid().as_raw_nonzero().get())
}

/// The parent of the calling process, or `None` when it is outside the pid namespace.
pub fn parent_pid() -> Option<Pid> {
    rustix::process::getppid().map(|pid| Pid(pid.as_raw_nonzero().get()))
}
