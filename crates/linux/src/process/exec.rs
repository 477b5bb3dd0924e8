//! How a process becomes another programme. Arguments and environment are laid out before the clone, so that
//! the child only passes pointers. Nothing here but [`ExecArgs::new`] allocates or takes a lock.

use std::convert::Infallible;
use std::ffi::{CStr, CString, c_char};
use std::fmt;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::error::{Result, SyscallError};
use crate::sys;

/// Argument and environment vectors, ready for exec.
pub struct ExecArgs {
    // The pointers point into the heap blocks of these strings, which are never changed.
    args: Vec<CString>,
    env: Vec<CString>,
    arg_pointers: Vec<*const c_char>,
    env_pointers: Vec<*const c_char>,
}

// SAFETY: the pointers are into memory that this value owns and never changes, so that it may be sent.
unsafe impl Send for ExecArgs {}
// SAFETY: as above; shared use only reads.
unsafe impl Sync for ExecArgs {}

impl ExecArgs {
    /// Lays out the vectors.
    pub fn new(args: Vec<CString>, env: Vec<CString>) -> Self {
        let pointers = |strings: &[CString]| -> Vec<*const c_char> {
            strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
        };
        Self { arg_pointers: pointers(&args), env_pointers: pointers(&env), args, env }
    }

    /// The arguments.
    pub fn args(&self) -> &[CString] {
        &self.args
    }

    /// The environment.
    pub fn env(&self) -> &[CString] {
        &self.env
    }

    pub(crate) fn arg_pointers(&self) -> *const *const c_char {
        self.arg_pointers.as_ptr()
    }

    pub(crate) fn env_pointers(&self) -> *const *const c_char {
        self.env_pointers.as_ptr()
    }
}

impl fmt::Debug for ExecArgs {
    /// The environment is left out: it may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecArgs").field("args", &self.args).finish_non_exhaustive()
    }
}

/// Executes the programme at `path` (no search); returns only on failure.
pub fn exec(path: &CStr, args: &ExecArgs) -> Result<Infallible> {
    // SAFETY: the path is a C string, the vectors end with null and their strings outlive the call.
    let returned =
        unsafe { libc::syscall(libc::SYS_execve, path.as_ptr(), args.arg_pointers(), args.env_pointers()) };
    Err(SyscallError::name("execve", "the programme")(failure(returned)))
}

/// Executes an open file (AT_EMPTY_PATH); returns only on failure. A script needs a descriptor that stays
/// open across exec.
pub fn exec_descriptor(programme: BorrowedFd<'_>, args: &ExecArgs) -> Result<Infallible> {
    // SAFETY: the path is an empty C string, the vectors end with null and their strings outlive the call.
    let returned = unsafe {
        libc::syscall(
            libc::SYS_execveat,
            programme.as_raw_fd(),
            c"".as_ptr(),
            args.arg_pointers(),
            args.env_pointers(),
            libc::AT_EMPTY_PATH,
        )
    };
    Err(SyscallError::fd("execveat", programme)(failure(returned)))
}

/// Ends the process at once: no destructors, no exit functions, no flushing (`_exit`).
pub fn exit_now(code: i32) -> ! {
    // SAFETY: ends the process; nothing of it runs afterwards.
    unsafe { libc::_exit(code) }
}

/// Marks every descriptor from `first` up close-on-exec (Linux 5.11).
pub fn close_on_exec_from(first: u32) -> Result<()> {
    close_range(first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC)
}

/// Closes every descriptor from `first` up. Owned descriptors among them must not be used or dropped
/// afterwards: for a child that never returns.
pub fn close_from(first: u32) -> Result<()> {
    close_range(first, u32::MAX, 0)
}

/// Closes every descriptor from `first` up but these. Owned descriptors among the closed ones must not be used or
/// dropped afterwards: for a child that never returns.
pub fn close_all_but(mut first: u32, keep: &[BorrowedFd<'_>]) -> Result<()> {
    loop {
        // The next one to keep, without sorting and so without memory: they are few.
        let kept = keep.iter().map(|fd| sys::number(*fd)).filter(|number| *number >= first).min();
        match kept {
            Some(kept) if kept == first => {}
            Some(kept) => close_range(first, kept - 1, 0)?,
            None => return close_range(first, u32::MAX, 0),
        }
        first = kept.map_or(first, |kept| kept + 1);
    }
}

fn close_range(first: u32, last: u32, flags: libc::c_uint) -> Result<()> {
    // SAFETY: takes numbers and touches no memory.
    let returned = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
    sys::check(returned).map(drop).map_err(SyscallError::number("close_range", u64::from(first)))
}

/// Takes over a descriptor that this process was started with, and makes it close-on-exec. Once for each
/// number, at the start of a programme; EBADF when it is not open.
pub fn adopt_inherited(number: i32) -> Result<OwnedFd> {
    // SAFETY: sets the flag of a descriptor, or fails, and touches no memory.
    let returned = unsafe { libc::syscall(libc::SYS_fcntl, number, libc::F_SETFD, libc::FD_CLOEXEC) };
    sys::check(returned)
        .map_err(|errno| SyscallError::new("fcntl", crate::Object::Descriptor(number), errno))?;
    // SAFETY: it is open, and by this function's contract nothing in this programme owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Makes descriptor `target` a copy of `source`, open across exec, closing what `target` was. Only for a child
/// that is about to exec: whatever owned `target` must not use it any more.
pub fn duplicate_onto(source: BorrowedFd<'_>, target: u32) -> Result<()> {
    if u32::try_from(source.as_raw_fd()) == Ok(target) {
        // SAFETY: clears the flag of a live descriptor and touches no memory.
        let returned = unsafe { libc::syscall(libc::SYS_fcntl, source.as_raw_fd(), libc::F_SETFD, 0) };
        return sys::check(returned).map(drop).map_err(SyscallError::fd("fcntl", source));
    }
    // SAFETY: takes numbers and touches no memory.
    let returned = unsafe { libc::syscall(libc::SYS_dup3, source.as_raw_fd(), target, 0) };
    sys::check(returned).map(drop).map_err(SyscallError::fd("dup3", source))
}

fn failure(returned: libc::c_long) -> crate::Errno {
    sys::check(returned).expect_err("exec returns only when it failed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clone::{Clone, CloneOptions, clone};
    use crate::wait::{Exit, wait_pidfd};
    use std::os::fd::AsFd;

    #[test]
    fn a_child_runs_another_programme_with_its_arguments_and_environment() {
        let script = c"test \"$ANSWER\" = 42 && exit 7";
        let args = ExecArgs::new(vec![c"sh".into(), c"-c".into(), script.into()], vec![c"ANSWER=42".into()]);
        let Clone::Parent { pidfd, .. } = clone(&CloneOptions::default()).expect("clone3") else {
            let _ = exec(c"/bin/sh", &args);
            exit_now(127);
        };
        assert_eq!(wait_pidfd(pidfd.as_fd()).expect("waitid"), Exit::Code { code: 7 });
    }

    #[test]
    fn a_missing_programme_is_told_by_its_errno() {
        let args = ExecArgs::new(vec![c"x".into()], Vec::new());
        let error = exec(c"/does/not/exist", &args).expect_err("there is no such file");
        assert_eq!(error.errno, crate::Errno::NOENT);
    }
}
