//! How a raw system call's result becomes a `Result`. Everything that rustix does not wrap goes through
//! here; libc's own wrappers are avoided where they take locks or keep copies of kernel state.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::Errno;

/// Turns libc's `-1` and thread-local errno into a result.
pub(crate) fn check(returned: libc::c_long) -> Result<u64, Errno> {
    u64::try_from(returned).map_err(|_| last_errno())
}

/// A descriptor's number in the form of the kernel's structures.
pub(crate) fn number(descriptor: BorrowedFd<'_>) -> u32 {
    u32::try_from(descriptor.as_raw_fd()).expect("an open descriptor is not negative")
}

/// The size of a structure in the form of the kernel's structures.
pub(crate) fn size_of_u32<T>() -> u32 {
    u32::try_from(size_of::<T>()).expect("a small structure")
}

/// The calling thread's errno.
pub(crate) fn last_errno() -> Errno {
    // SAFETY: the location is this thread's own and always valid; the pointer is read once.
    let number = unsafe { *errno_location() };
    Errno::from_raw_os_error(number)
}

fn errno_location() -> *mut libc::c_int {
    // SAFETY: has no preconditions; it returns the address of this thread's errno.
    unsafe { libc::__errno_location() }
}

/// A descriptor that a system call has just made, and that nobody else owns yet.
pub(crate) fn owned(returned: u64) -> OwnedFd {
    let number = RawFd::try_from(returned).expect("the kernel returns descriptors within i32");
    // SAFETY: callers pass only the fresh result of a call that makes a descriptor, once.
    unsafe { OwnedFd::from_raw_fd(number) }
}
