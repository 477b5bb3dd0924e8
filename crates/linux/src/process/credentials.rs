//! Who the calling process is: user, groups, and the five capability sets as bit masks (bit n is capability
//! n of capabilities(7)). Per thread, see the module above. Allocates nothing, takes no lock.

use super::Pid;
use crate::error::{Object, Result, SyscallError};
use crate::sys;

/// The three sets that capset(2) changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CapabilityMasks {
    /// What the kernel checks.
    pub effective: u64,
    /// What may be made effective.
    pub permitted: u64,
    /// What may pass an exec by file capabilities or the ambient set.
    pub inheritable: u64,
}

/// The capabilities of the calling thread.
pub fn capabilities() -> Result<CapabilityMasks> {
    capabilities_of(None)
}

/// The capabilities of another process's main thread.
pub fn capabilities_of(pid: Option<Pid>) -> Result<CapabilityMasks> {
    let header = Header::of(pid);
    let mut data = [Data::default(); 2];
    // SAFETY: version 3 writes exactly two `Data`, which are live and exclusively borrowed.
    let returned = unsafe { libc::syscall(libc::SYS_capget, &raw const header, data.as_mut_ptr()) };
    sys::check(returned).map_err(SyscallError::caller("capget"))?;
    let join = |low: u32, high: u32| u64::from(low) | (u64::from(high) << 32);
    Ok(CapabilityMasks {
        effective: join(data[0].effective, data[1].effective),
        permitted: join(data[0].permitted, data[1].permitted),
        inheritable: join(data[0].inheritable, data[1].inheritable),
    })
}

/// Sets the calling thread's effective, permitted and inheritable capabilities.
pub fn set_capabilities(masks: CapabilityMasks) -> Result<()> {
    let header = Header::of(None);
    let data = [
        Data {
            effective: low(masks.effective),
            permitted: low(masks.permitted),
            inheritable: low(masks.inheritable),
        },
        Data {
            effective: high(masks.effective),
            permitted: high(masks.permitted),
            inheritable: high(masks.inheritable),
        },
    ];
    // SAFETY: version 3 reads exactly two `Data`, which outlive the call.
    let returned = unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) };
    sys::check(returned).map(drop).map_err(SyscallError::caller("capset"))
}

/// Drops every capability that the kernel knows and `keep` lacks from the bounding set.
pub fn limit_bounding_set(keep: u64) -> Result<()> {
    for capability in 0..u64::from(u64::BITS) {
        if keep & (1 << capability) != 0 {
            continue;
        }
        match prctl(libc::PR_CAPBSET_DROP, capability, 0) {
            Ok(_) => {}
            // The first number that the kernel does not know.
            Err(error) if error.errno == crate::Errno::INVAL => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The bounding set, as far as the kernel knows capabilities.
pub fn bounding_set() -> u64 {
    read_bits(|capability| prctl(libc::PR_CAPBSET_READ, capability, 0))
}

/// Makes the ambient set exactly `mask`; each must be permitted and inheritable already.
pub fn set_ambient_capabilities(mask: u64) -> Result<()> {
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as u64, 0)?;
    for capability in (0..u64::from(u64::BITS)).filter(|capability| mask & (1 << capability) != 0) {
        prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE as u64, capability)?;
    }
    Ok(())
}

/// The ambient set.
pub fn ambient_capabilities() -> u64 {
    read_bits(|capability| prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_IS_SET as u64, capability))
}

/// Sets the supplementary groups of the calling thread.
pub fn set_groups(groups: &[u32]) -> Result<()> {
    // SAFETY: pointer and length are of one live slice, which the call only reads.
    let returned = unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) };
    sys::check(returned).map(drop).map_err(SyscallError::caller("setgroups"))
}

/// Sets real, effective and saved group of the calling thread.
pub fn set_gid(gid: u32) -> Result<()> {
    // SAFETY: takes numbers and touches no memory.
    let returned = unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) };
    sys::check(returned).map(drop).map_err(SyscallError::number("setresgid", u64::from(gid)))
}

/// Sets real, effective and saved user of the calling thread.
pub fn set_uid(uid: u32) -> Result<()> {
    // SAFETY: takes numbers and touches no memory.
    let returned = unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) };
    sys::check(returned).map(drop).map_err(SyscallError::number("setresuid", u64::from(uid)))
}

/// Does something as another user and group in the eyes of filesystems, with all the capabilities that the calling
/// thread has (setfsuid(2) takes some away from whoever is not root). For an overlay whose folders are on an
/// id-mapped mount: it keeps the identity it is mounted with, which has to be one that the mapping knows.
pub fn with_file_ids<T>(uid: u32, gid: u32, act: impl FnOnce() -> T) -> Result<T> {
    let own = capabilities()?;
    set_file_ids(uid, gid);
    let done = set_capabilities(own).map(|()| act());
    set_file_ids(effective_uid(), effective_gid());
    set_capabilities(own)?;
    done
}

/// These calls tell no failure; the group goes first, because a user may not change it.
fn set_file_ids(uid: u32, gid: u32) {
    for (call, id) in [(libc::SYS_setfsgid, gid), (libc::SYS_setfsuid, uid)] {
        // SAFETY: takes numbers and touches no memory.
        unsafe { libc::syscall(call, id) };
    }
}

/// The effective user.
pub fn effective_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The effective group.
pub fn effective_gid() -> u32 {
    rustix::process::getegid().as_raw()
}

fn low(mask: u64) -> u32 {
    u32::try_from(mask & 0xffff_ffff).expect("masked to 32 bits")
}

fn high(mask: u64) -> u32 {
    u32::try_from(mask >> 32).expect("shifted to 32 bits")
}

const LINUX_CAPABILITY_VERSION_3: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

impl Header {
    fn of(pid: Option<Pid>) -> Self {
        Self { version: LINUX_CAPABILITY_VERSION_3, pid: pid.map_or(0, Pid::as_raw) }
    }
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

fn read_bits(read: impl Fn(u64) -> Result<u64>) -> u64 {
    let mut mask = 0;
    for capability in 0..u64::from(u64::BITS) {
        match read(capability) {
            Ok(1) => mask |= 1 << capability,
            Ok(_) => {}
            Err(_) => break,
        }
    }
    mask
}

fn prctl(option: libc::c_int, first: u64, second: u64) -> Result<u64> {
    // SAFETY: the capability options take plain numbers.
    let returned = unsafe { libc::syscall(libc::SYS_prctl, option, first, second, 0, 0) };
    sys::check(returned).map_err(|errno| SyscallError::new("prctl", Object::Name("capabilities"), errno))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clone::{Clone, CloneOptions, clone};
    use crate::process::exit_now;
    use crate::wait::{Exit, wait_pidfd};
    use std::os::fd::AsFd;

    #[test]
    fn a_child_drops_to_a_user_with_exactly_the_capabilities_asked_for() {
        if !crate::testing::is_root_or_skipped() {
            return;
        }
        let Clone::Parent { pidfd, .. } = clone(&CloneOptions::default()).expect("clone3") else {
            exit_now(i32::from(drop_privileges().is_none()));
        };
        assert_eq!(wait_pidfd(pidfd.as_fd()).expect("waitid"), Exit::Code { code: 0 });
    }

    fn drop_privileges() -> Option<()> {
        const NET_BIND_SERVICE: u64 = 1 << 10;
        limit_bounding_set(NET_BIND_SERVICE).ok()?;
        super::super::set_keep_capabilities(true).ok()?;
        set_groups(&[7, 8]).ok()?;
        set_gid(1000).ok()?;
        set_uid(1000).ok()?;
        let masks = CapabilityMasks {
            effective: NET_BIND_SERVICE,
            permitted: NET_BIND_SERVICE,
            inheritable: NET_BIND_SERVICE,
        };
        set_capabilities(masks).ok()?;
        set_ambient_capabilities(NET_BIND_SERVICE).ok()?;
        (capabilities().ok()? == masks
            && ambient_capabilities() == NET_BIND_SERVICE
            && bounding_set() == NET_BIND_SERVICE
            && effective_uid() == 1000
            && set_uid(0).is_err())
        .then_some(())
    }
}
