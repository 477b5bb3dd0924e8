//! What is told of a system call that failed: which call, on what, and the errno. One type for the whole
//! crate, because every wrapper is one call; what a failure *means* is decided by the caller, who knows
//! the intent. Building an error from a number or a constant allocates nothing, so that the code between
//! clone and exec can use it too.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::{Path, PathBuf};

use gantry_types::{Class, Classified};
pub use rustix::io::Errno;

/// The result of every wrapper of this crate.
pub type Result<T, E = SyscallError> = std::result::Result<T, E>;

/// A system call that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{call}{object} failed")]
pub struct SyscallError {
    /// The system call's name in section 2 of the manual.
    pub call: &'static str,
    /// What it was asked about.
    pub object: Object,
    /// Why the kernel refused.
    #[source]
    pub errno: Errno,
}

/// What a system call was about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object {
    /// Nothing but the calling process.
    Caller,
    /// A constant of the interface: a resource, an option, a filesystem type.
    Name(&'static str),
    /// A path or a value given by the caller.
    Path(PathBuf),
    /// An open descriptor, by its number.
    Descriptor(RawFd),
    /// A process id.
    Process(i32),
    /// Any other number: a signal, a capability.
    Number(u64),
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Caller => Ok(()),
            Self::Name(name) => write!(f, " of {name}"),
            Self::Path(path) => write!(f, " of {}", path.display()),
            Self::Descriptor(number) => write!(f, " of descriptor {number}"),
            Self::Process(pid) => write!(f, " of process {pid}"),
            Self::Number(number) => write!(f, " of {number}"),
        }
    }
}

impl SyscallError {
    /// An error of a call that is about the calling process.
    pub fn new(call: &'static str, object: Object, errno: Errno) -> Self {
        Self { call, object, errno }
    }

    pub(crate) fn caller(call: &'static str) -> impl Fn(Errno) -> Self {
        move |errno| Self { call, object: Object::Caller, errno }
    }

    pub(crate) fn name(call: &'static str, name: &'static str) -> impl Fn(Errno) -> Self {
        move |errno| Self { call, object: Object::Name(name), errno }
    }

    pub(crate) fn path<'a>(
        call: &'static str,
        path: &'a (impl AsRef<Path> + ?Sized),
    ) -> impl Fn(Errno) -> Self + 'a {
        let path = path.as_ref();
        move |errno| Self { call, object: Object::Path(path.to_owned()), errno }
    }

    pub(crate) fn fd(call: &'static str, fd: impl AsFd) -> impl Fn(Errno) -> Self {
        let number = fd.as_fd().as_raw_fd();
        move |errno| Self { call, object: Object::Descriptor(number), errno }
    }

    pub(crate) fn number(call: &'static str, number: u64) -> impl Fn(Errno) -> Self {
        move |errno| Self { call, object: Object::Number(number), errno }
    }
}

impl From<SyscallError> for std::io::Error {
    /// Keeps the errno's kind and the whole error as its payload.
    fn from(error: SyscallError) -> Self {
        Self::new(std::io::Error::from(error.errno).kind(), error)
    }
}

impl Classified for SyscallError {
    fn class(&self) -> Class {
        match self.errno {
            Errno::NOENT | Errno::SRCH | Errno::NXIO | Errno::NODEV => Class::NotFound,
            Errno::EXIST => Class::AlreadyExists,
            Errno::ACCESS | Errno::PERM | Errno::ROFS => Class::PermissionDenied,
            Errno::NOTDIR
            | Errno::ISDIR
            | Errno::LOOP
            | Errno::NAMETOOLONG
            | Errno::XDEV
            | Errno::TOOBIG
            | Errno::NOEXEC => Class::InvalidArgument,
            Errno::BUSY | Errno::NOTEMPTY | Errno::TXTBSY | Errno::ADDRINUSE => Class::FailedPrecondition,
            Errno::MFILE
            | Errno::NFILE
            | Errno::NOMEM
            | Errno::NOSPC
            | Errno::DQUOT
            | Errno::AGAIN
            | Errno::NOBUFS
            | Errno::USERS => Class::ResourceExhausted,
            Errno::NOSYS | Errno::OPNOTSUPP | Errno::AFNOSUPPORT | Errno::PROTONOSUPPORT => {
                Class::Unimplemented
            }
            Errno::CONNREFUSED | Errno::CONNRESET | Errno::PIPE | Errno::NOTCONN => Class::Unavailable,
            Errno::TIMEDOUT => Class::DeadlineExceeded,
            Errno::IO | Errno::UCLEAN => Class::DataLoss,
            _ => Class::Internal,
        }
    }

    fn reason(&self) -> &'static str {
        "SYSTEM_CALL_FAILED"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_names_call_and_object_and_leaves_the_errno_to_the_chain() {
        let error = SyscallError::path("openat2", "/x/y")(Errno::NOENT);
        assert_eq!(error.to_string(), "openat2 of /x/y failed");
        assert_eq!(error.class(), Class::NotFound);
        let source = std::error::Error::source(&error).expect("the errno is the source");
        assert!(source.to_string().contains("No such file"));
    }
}
