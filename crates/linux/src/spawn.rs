//! How a multi-threaded daemon of any size starts a programme that outlives it: in microseconds, without
//! copying page tables, and without becoming its parent.
//!
//! ```text
//!  caller ──clone(VM|VFORK|FILES)──► middle ──clone(VM|VFORK|PIDFD)──► programme: setsid, descriptors,
//!    │ suspended                       │ suspended                     │         signals, execveat
//!    │                                 ◄───────── exec or failure ─────┘
//!    ◄─────────── exit ────────────────┘   (the programme now belongs to init or the nearest subreaper)
//!    └─ reaps the middle, reads pid and failure from shared memory
//! ```
//!
//! The middle shares the caller's descriptor table, so that the pidfd which the kernel makes for it is the
//! caller's: no race with the programme's end, ever. fork(2) is rejected because it costs 5 ms at 256 MiB, and
//! posix_spawn(3) because its child stays the caller's.
//!
//! **Both children run on the caller's memory** while it is suspended (its other threads are not): they only
//! make system calls on what was prepared before. No allocation, no lock, no logging, no panic.

use std::ffi::CString;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use crate::error::{Errno, Object, Result, SyscallError};
use crate::process::{ExecArgs, Pid};
use crate::signal::{self, SignalSet};
use crate::sys;
use crate::wait;

/// A programme to start.
#[derive(Debug)]
pub struct Spawn<'fd> {
    /// The open executable: a regular file or a sealed memfd.
    pub programme: BorrowedFd<'fd>,
    /// Its arguments, the name it is called by first.
    pub args: Vec<CString>,
    /// Its whole environment.
    pub env: Vec<CString>,
    /// Its descriptors: each is copied to the number beside it. Nothing else stays open across the exec, not even
    /// 0, 1 and 2: map them to something.
    pub descriptors: Vec<(BorrowedFd<'fd>, u32)>,
}

/// A programme that runs.
#[derive(Debug)]
pub struct Spawned {
    /// Its id in the caller's pid namespace.
    pub pid: Pid,
    /// Its pidfd, close-on-exec. It is not the caller's child: poll tells its end, not its code.
    pub pidfd: OwnedFd,
}

impl Spawn<'_> {
    /// Starts it in a session of its own, with default signals, none blocked. When this returns it has executed;
    /// a failure of any step in the child is told here, and nothing is left.
    pub fn start(self) -> Result<Spawned> {
        let Self { programme, args, env, descriptors } = self;
        let args = ExecArgs::new(args, env);
        let mut mapping: Vec<Mapping> = descriptors
            .iter()
            .map(|(source, target)| Mapping { source: source.as_raw_fd(), moved: -1, target: *target })
            .collect();
        let (middle_stack, programme_stack) = (Stack::new()?, Stack::new()?);
        let mut shared = Shared {
            programme: programme.as_raw_fd(),
            args: &raw const args,
            mapping: mapping.as_mut_ptr(),
            mapping_len: mapping.len(),
            stack: programme_stack.top(),
            pid: -1,
            pidfd: -1,
            failed_call: "",
            failed_errno: 0,
        };
        // A handler that ran in a child would run on this memory: nothing is delivered until they are gone.
        let blocked = signal::set_blocked(SignalSet::ALL)?;
        let middle = run_middle(&middle_stack, &mut shared);
        let restored = signal::set_blocked(blocked);
        wait::wait_child(middle?)?;
        restored?;
        // SAFETY: the kernel wrote it into this process's table for the middle, and nobody else knows it.
        let pidfd = (shared.pidfd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(shared.pidfd) });
        match (Pid::from_raw(shared.pid), pidfd) {
            (Some(pid), Some(pidfd)) if shared.failed_errno == 0 => Ok(Spawned { pid, pidfd }),
            _ => Err(SyscallError::new(
                shared.failed_call,
                Object::Descriptor(programme.as_raw_fd()),
                Errno::from_raw_os_error(shared.failed_errno),
            )),
        }
    }
}

/// A descriptor on its way: from where it is, over a number above all targets, to its target.
struct Mapping {
    source: RawFd,
    moved: RawFd,
    target: u32,
}

/// What the three processes share. Only one of them runs at any time; the others are suspended in their clone.
struct Shared {
    programme: RawFd,
    args: *const ExecArgs,
    mapping: *mut Mapping,
    mapping_len: usize,
    stack: *mut libc::c_void,
    pid: libc::pid_t,
    pidfd: libc::c_int,
    failed_call: &'static str,
    failed_errno: i32,
}

impl Shared {
    fn fail(&mut self, call: &'static str, errno: Errno) -> libc::c_int {
        self.failed_call = call;
        self.failed_errno = errno.raw_os_error();
        127
    }
}

fn run_middle(stack: &Stack, shared: &mut Shared) -> Result<Pid> {
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_FILES;
    // SAFETY: `middle` gets a stack of its own and a `Shared` that outlives it: CLONE_VFORK suspends this thread
    // until it has exited. No exit signal is set, so that nobody who waits for children meets it.
    let pid = unsafe { libc::clone(middle, stack.top(), flags, ptr::from_mut(shared).cast()) };
    match sys::check(pid.into()) {
        Ok(pid) => Ok(Pid::from_kernel(pid)),
        Err(errno) => Err(SyscallError::new("clone", Object::Caller, errno)),
    }
}

/// Makes the programme's process and ends.
extern "C" fn middle(argument: *mut libc::c_void) -> libc::c_int {
    // SAFETY: `run_middle` passes its exclusive `Shared`, and is suspended.
    let shared = unsafe { &mut *argument.cast::<Shared>() };
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
    let (stack, pidfd) = (shared.stack, &raw mut shared.pidfd);
    // SAFETY: as in `run_middle`; `pidfd` is where CLONE_PIDFD stores, in the place of the parent's thread id.
    let pid = unsafe { libc::clone(programme, stack, flags, argument, pidfd) };
    match sys::check(pid.into()) {
        Ok(_) => {
            shared.pid = pid;
            0
        }
        Err(errno) => shared.fail("clone", errno),
    }
}

/// Becomes the programme.
extern "C" fn programme(argument: *mut libc::c_void) -> libc::c_int {
    // SAFETY: `middle` passes on the exclusive `Shared`, and is suspended, as is the caller.
    let shared = unsafe { &mut *argument.cast::<Shared>() };
    match prepare(shared) {
        Ok(executable) => {
            // SAFETY: the arguments belong to the suspended caller.
            let args = unsafe { &*shared.args };
            let errno = execute(executable, args);
            shared.fail("execveat", errno)
        }
        Err((call, errno)) => shared.fail(call, errno),
    }
}

type Step<T> = std::result::Result<T, (&'static str, Errno)>;

/// Session, descriptors and signals; returns the executable's number, above all targets.
fn prepare(shared: &mut Shared) -> Step<RawFd> {
    let step = |call| move |errno| (call, errno);
    rustix::process::setsid().map_err(step("setsid"))?;
    // SAFETY: pointer and length are of the suspended caller's vector, which nobody else uses.
    let mapping = unsafe { std::slice::from_raw_parts_mut(shared.mapping, shared.mapping_len) };
    let above = mapping.iter().map(|entry| entry.target).max().unwrap_or(0).saturating_add(1);
    let executable = duplicate_above(shared.programme, above).map_err(step("fcntl"))?;
    for entry in mapping.iter_mut() {
        entry.moved = duplicate_above(entry.source, above).map_err(step("fcntl"))?;
    }
    crate::process::close_on_exec_from(0).map_err(|error| (error.call, error.errno))?;
    for entry in mapping.iter() {
        // SAFETY: takes numbers; the table is this process's own, no owned descriptor is used in it again.
        let returned = unsafe { libc::syscall(libc::SYS_dup3, entry.moved, entry.target, 0) };
        sys::check(returned).map_err(step("dup3"))?;
    }
    signal::reset_dispositions().map_err(|error| (error.call, error.errno))?;
    signal::set_blocked(SignalSet::EMPTY).map_err(|error| (error.call, error.errno))?;
    Ok(executable)
}

fn duplicate_above(descriptor: RawFd, minimum: u32) -> std::result::Result<RawFd, Errno> {
    // SAFETY: takes numbers and touches no memory.
    let returned = unsafe { libc::syscall(libc::SYS_fcntl, descriptor, libc::F_DUPFD_CLOEXEC, minimum) };
    sys::check(returned).map(|number| RawFd::try_from(number).unwrap_or(RawFd::MAX))
}

fn execute(executable: RawFd, args: &ExecArgs) -> Errno {
    // SAFETY: the path is an empty C string, the vectors end with null and belong to the suspended caller.
    let returned = unsafe {
        libc::syscall(
            libc::SYS_execveat,
            executable,
            c"".as_ptr(),
            args.arg_pointers(),
            args.env_pointers(),
            libc::AT_EMPTY_PATH,
        )
    };
    sys::check(returned).err().unwrap_or(Errno::IO)
}

/// A child's stack: mapped, with a page beneath it that faults.
struct Stack {
    base: *mut libc::c_void,
}

impl Stack {
    /// A few frames of system calls; debug builds use under 8 KiB.
    const BYTES: usize = 64 * 1024;
    const GUARD_BYTES: usize = 4096;

    fn new() -> Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK | libc::MAP_NORESERVE;
        // SAFETY: asks for fresh memory at an address of the kernel's choice.
        let base = unsafe { libc::mmap(ptr::null_mut(), Self::BYTES, protection, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return Err(SyscallError::new("mmap", Object::Name("a stack"), sys::last_errno()));
        }
        let stack = Self { base };
        // SAFETY: the first page of memory that this value alone owns.
        let returned = unsafe { libc::mprotect(base, Self::GUARD_BYTES, libc::PROT_NONE) };
        sys::check(returned.into()).map_err(SyscallError::name("mprotect", "a stack"))?;
        Ok(stack)
    }

    /// One past its highest byte, aligned to a page.
    fn top(&self) -> *mut libc::c_void {
        self.base.wrapping_byte_add(Self::BYTES)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: this value's own mapping; the child that ran on it has exited or executed.
        let _ = unsafe { libc::munmap(self.base, Self::BYTES) };
    }
}

#[cfg(test)]
mod tests;
