//! How a compiled filter is installed (seccomp(2)). What it says is the compiler's work. Allocates nothing.

use std::os::fd::OwnedFd;

use crate::error::{Result, SyscallError};
use crate::sys;

/// One classic BPF instruction, `struct sock_filter`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip when a comparison holds.
    pub jump_true: u8,
    /// Instructions to skip when it does not.
    pub jump_false: u8,
    /// Operand.
    pub k: u32,
}

/// Instructions in one filter at the most (BPF_MAXINSNS).
pub const INSTRUCTIONS_MAX: usize = 4096;

bitflags::bitflags! {
    /// How a filter is installed.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct FilterFlags: u32 {
        /// On all threads.
        const TSYNC = 1;
        /// Refusals are logged.
        const LOG = 2;
        /// Speculative store bypass is not mitigated (Linux 4.17).
        const SPEC_ALLOW = 4;
        /// Notified calls wait in a killable way once taken (Linux 5.19).
        const WAIT_KILLABLE_RECV = 1 << 5;
    }
}

/// Installs a filter on the calling thread. Needs no_new_privs or CAP_SYS_ADMIN.
pub fn install(filter: &[Instruction], flags: FilterFlags) -> Result<()> {
    set_mode_filter(filter.as_ptr(), filter.len(), flags.bits()).map(drop)
}

/// Installs a filter and returns the descriptor on which its notified calls are answered (Linux 5.0).
pub fn install_with_listener(filter: &[Instruction], flags: FilterFlags) -> Result<OwnedFd> {
    set_mode_filter(filter.as_ptr(), filter.len(), flags.bits() | NEW_LISTENER).map(sys::owned)
}

/// As [`install`], of instructions as they lie in memory, eight bytes each.
pub fn install_bytes(filter: &[u8], flags: FilterFlags) -> Result<()> {
    set_mode_filter(filter.as_ptr().cast(), instructions(filter)?, flags.bits()).map(drop)
}

/// As [`install_with_listener`], of instructions as they lie in memory, eight bytes each.
pub fn install_bytes_with_listener(filter: &[u8], flags: FilterFlags) -> Result<OwnedFd> {
    let flags = flags.bits() | NEW_LISTENER;
    set_mode_filter(filter.as_ptr().cast(), instructions(filter)?, flags).map(sys::owned)
}

/// SECCOMP_FILTER_FLAG_NEW_LISTENER.
const NEW_LISTENER: u32 = 1 << 3;

fn instructions(filter: &[u8]) -> Result<usize> {
    if filter.len().is_multiple_of(size_of::<Instruction>()) {
        Ok(filter.len() / size_of::<Instruction>())
    } else {
        Err(SyscallError::caller("seccomp")(crate::Errno::INVAL))
    }
}

/// `struct sock_fprog`.
#[repr(C)]
struct Programme {
    len: u16,
    filter: *const Instruction,
}

/// `len` instructions at `filter` must be live; the kernel takes them from any address.
fn set_mode_filter(filter: *const Instruction, len: usize, flags: u32) -> Result<u64> {
    const SECCOMP_SET_MODE_FILTER: libc::c_uint = 1;
    let fail = SyscallError::number("seccomp", u64::from(flags));
    let len = u16::try_from(len).map_err(|_| fail(crate::Errno::TOOBIG))?;
    let programme = Programme { len, filter };
    // SAFETY: all callers borrow the instructions for the length of the call, which copies them.
    let returned =
        unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &raw const programme) };
    sys::check(returned).map_err(fail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Errno;

    const LOAD_NUMBER: Instruction = Instruction { code: 0x20, jump_true: 0, jump_false: 0, k: 0 };

    fn give(k: u32) -> Instruction {
        Instruction { code: 0x06, jump_true: 0, jump_false: 0, k }
    }

    #[test]
    fn a_filter_refuses_the_call_that_it_names_in_its_thread_only() {
        const ALLOW: u32 = 0x7fff_0000;
        const ERRNO: u32 = 0x0005_0000;
        let number = u32::try_from(libc::SYS_personality).expect("a small number");
        let equal = Instruction { code: 0x15, jump_true: 0, jump_false: 1, k: number };
        let filter = [LOAD_NUMBER, equal, give(ERRNO | libc::EXDEV.cast_unsigned()), give(ALLOW)];
        let get = || crate::process::set_personality(0xffff_ffff);
        std::thread::spawn(move || {
            crate::process::set_no_new_privs().expect("prctl");
            install(&filter, FilterFlags::empty()).expect("seccomp");
            assert_eq!(get().expect_err("filtered").errno, Errno::XDEV);
        })
        .join()
        .expect("the thread ends well");
        get().expect("not filtered here");
    }

    #[test]
    fn a_filter_that_does_not_end_is_refused() {
        std::thread::spawn(|| {
            crate::process::set_no_new_privs().expect("prctl");
            assert_eq!(install(&[LOAD_NUMBER], FilterFlags::empty()).expect_err("bad").errno, Errno::INVAL);
        })
        .join()
        .expect("the thread ends well");
    }
}
