//! How a device filter gets onto a cgroup v2 directory (bpf(2)). What it says is the caller's work. The kernel
//! keeps an attached programme as long as the directory lives, so that nothing must be kept open.

use std::os::fd::{BorrowedFd, OwnedFd};

use crate::error::{Result, SyscallError};
use crate::sys;

/// Where a device filter is attached (`enum bpf_attach_type`).
const BPF_CGROUP_DEVICE: u32 = 6;

/// One eBPF instruction, `struct bpf_insn`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Instruction {
    /// Operation.
    pub code: u8,
    /// Destination register in the low four bits, source register in the high ones.
    pub registers: u8,
    /// Signed offset.
    pub offset: i16,
    /// Signed immediate.
    pub immediate: i32,
}

/// Loads a programme that decides about devices (BPF_PROG_TYPE_CGROUP_DEVICE, Linux 4.15).
pub fn load_device_filter(instructions: &[Instruction]) -> Result<OwnedFd> {
    const BPF_PROG_LOAD: libc::c_int = 5;
    const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
    let fail = SyscallError::name("bpf", "BPF_PROG_LOAD");
    let attributes = Load {
        kind: BPF_PROG_TYPE_CGROUP_DEVICE,
        instructions_len: u32::try_from(instructions.len()).map_err(|_| fail(crate::Errno::TOOBIG))?,
        instructions: instructions.as_ptr() as u64,
        licence: c"Apache-2.0".as_ptr() as u64,
        ..Load::default()
    };
    // SAFETY: the attributes are as long as told; the instructions and the licence outlive the call.
    let returned =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw const attributes, size_of::<Load>()) };
    sys::check(returned).map(sys::owned).map_err(fail)
}

/// Attaches a device filter to a cgroup directory, beside those that are there: all must allow.
pub fn attach_device_filter(cgroup: BorrowedFd<'_>, programme: BorrowedFd<'_>) -> Result<()> {
    const BPF_PROG_ATTACH: libc::c_int = 8;
    const BPF_F_ALLOW_MULTI: u32 = 2;
    let attributes = Attach {
        target: sys::number(cgroup),
        programme: sys::number(programme),
        kind: BPF_CGROUP_DEVICE,
        flags: BPF_F_ALLOW_MULTI,
    };
    // SAFETY: the attributes are as long as told and hold no pointers.
    let returned =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_ATTACH, &raw const attributes, size_of::<Attach>()) };
    sys::check(returned).map(drop).map_err(SyscallError::fd("bpf", cgroup))
}

/// The device filters attached to a cgroup directory itself, at most 64 of them.
pub fn attached_device_filters(cgroup: BorrowedFd<'_>) -> Result<Vec<OwnedFd>> {
    const BPF_PROG_GET_FD_BY_ID: libc::c_int = 13;
    const BPF_PROG_QUERY: libc::c_int = 16;
    let mut ids = [0u32; 64];
    let mut attributes = Query {
        target: sys::number(cgroup),
        kind: BPF_CGROUP_DEVICE,
        ids: ids.as_mut_ptr() as u64,
        count: 64,
        ..Query::default()
    };
    // SAFETY: the attributes are as long as told, as long as any kernel writes back, and the ids have room for
    // as many as counted; both outlive the call.
    let returned =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_QUERY, &raw mut attributes, size_of::<Query>()) };
    sys::check(returned).map_err(SyscallError::fd("bpf", cgroup))?;
    let count = usize::try_from(attributes.count).unwrap_or_default();
    let open = |id: &u32| {
        let attributes = ById { id: *id, next: 0, flags: 0 };
        // SAFETY: the attributes are as long as told and hold no pointers.
        let returned = unsafe {
            libc::syscall(libc::SYS_bpf, BPF_PROG_GET_FD_BY_ID, &raw const attributes, size_of::<ById>())
        };
        sys::check(returned).map(sys::owned).map_err(SyscallError::name("bpf", "BPF_PROG_GET_FD_BY_ID"))
    };
    ids.iter().take(count).map(open).collect()
}

/// Detaches one of them.
pub fn detach_device_filter(cgroup: BorrowedFd<'_>, programme: BorrowedFd<'_>) -> Result<()> {
    const BPF_PROG_DETACH: libc::c_int = 9;
    let attributes = Attach {
        target: sys::number(cgroup),
        programme: sys::number(programme),
        kind: BPF_CGROUP_DEVICE,
        flags: 0,
    };
    // SAFETY: the attributes are as long as told and hold no pointers.
    let returned =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_DETACH, &raw const attributes, size_of::<Attach>()) };
    sys::check(returned).map(drop).map_err(SyscallError::fd("bpf", cgroup))
}

/// The part of `union bpf_attr` for BPF_PROG_LOAD that Linux 4.15 has.
#[repr(C)]
#[derive(Default)]
struct Load {
    kind: u32,
    instructions_len: u32,
    instructions: u64,
    licence: u64,
    log_level: u32,
    log_size: u32,
    log_buffer: u64,
    kernel_version: u32,
    flags: u32,
}

/// The part of `union bpf_attr` for BPF_PROG_ATTACH.
#[repr(C)]
struct Attach {
    target: u32,
    programme: u32,
    kind: u32,
    flags: u32,
}

/// The part of `union bpf_attr` for BPF_PROG_QUERY, with all that kernels up to 6.18 write back into it.
#[repr(C)]
#[derive(Default)]
struct Query {
    target: u32,
    kind: u32,
    flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    padding: u32,
    attach_flags_each: u64,
    link_ids: u64,
    link_flags: u64,
    revision: u64,
}

/// The part of `union bpf_attr` for BPF_PROG_GET_FD_BY_ID.
#[repr(C)]
struct ById {
    id: u32,
    next: u32,
    flags: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_filter_loads_and_one_without_an_end_does_not() {
        if !crate::testing::is_root_or_skipped() {
            return;
        }
        // r0 = 1; exit
        let allow = [
            Instruction { code: 0xb7, registers: 0, offset: 0, immediate: 1 },
            Instruction { code: 0x95, ..Instruction::default() },
        ];
        match load_device_filter(&allow) {
            Ok(programme) => {
                let folder = tempfile::tempfile().expect("a temporary file");
                assert!(attach_device_filter(folder.as_fd(), programme.as_fd()).is_err(), "no cgroup");
            }
            Err(error) if error.errno == crate::Errno::NOSYS || error.errno == crate::Errno::INVAL => {
                crate::testing::skip("this kernel has no cgroup device programmes");
            }
            Err(error) => panic!("{error:?}"),
        }
        assert!(load_device_filter(&allow[..1]).is_err());
    }
}
