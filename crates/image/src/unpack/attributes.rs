//! Owner, mode, times and extended attributes of an entry. Set on descriptors where there is one, and never through a
//! symbolic link.
//!
//! Of the extended attributes, `security.capability` (file capabilities) and `user.*` are kept. Those of overlayfs itself are
//! dropped, because they would let an image redirect or hide what lies below it; so are other `trusted.*`, `system.*` and
//! security labels, which belong to the host.

use std::ffi::CString;
use std::os::fd::BorrowedFd;

use rustix::fs::{
    AtFlags, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat, fchmod, fchown, fsetxattr,
    futimens, lsetxattr, utimensat,
};
use rustix::io::Errno;

use super::UnpackError;
use super::entry::{Entry, Kind};

/// Owner, mode and extended attributes of an open file or folder. Its times come last, when nothing changes them any more.
pub(super) fn set(fd: BorrowedFd<'_>, entry: &Entry) -> Result<(), UnpackError> {
    let failed = |action| UnpackError::write(action, &entry.path);
    fchown(fd, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))
        .map_err(failed("set the owner"))?;
    // After the owner, whose change takes set-user-id bits and capabilities away.
    fchmod(fd, Mode::from_raw_mode(entry.mode)).map_err(failed("set the mode"))?;
    for (name, value) in kept(entry) {
        fsetxattr(fd, name.as_c_str(), value, XattrFlags::empty())
            .map_err(failed("set an extended attribute"))?;
    }
    Ok(())
}

/// The same for an entry that cannot be opened: link, device, fifo.
pub(super) fn set_at(parent: BorrowedFd<'_>, name: &[u8], entry: &Entry) -> Result<(), UnpackError> {
    let failed = |action| UnpackError::write(action, &entry.path);
    let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
    chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(failed("set the owner"))?;
    if !matches!(entry.kind, Kind::Symlink { .. }) {
        // The node was made just now by us, in a folder that only we reach.
        chmodat(parent, name, Mode::from_raw_mode(entry.mode), AtFlags::empty())
            .map_err(failed("set the mode"))?;
    }
    for (attribute, value) in kept(entry) {
        match set_attribute_at(parent, name, &attribute, value) {
            // Links and devices take no user.* attributes (xattr(7)).
            Ok(()) | Err(Errno::PERM | Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(failed("set an extended attribute")(errno)),
        }
    }
    utimensat(parent, name, &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW).map_err(failed("set the times"))
}

/// The times of an open file or folder.
pub(super) fn set_time(fd: BorrowedFd<'_>, mtime: (i64, u32)) -> Result<(), Errno> {
    futimens(fd, &times(mtime))
}

/// `lsetxattr` beneath a descriptor: there is no such call before Linux 6.13, so the folder is named through /proc.
fn set_attribute_at(
    parent: BorrowedFd<'_>,
    name: &[u8],
    attribute: &CString,
    value: &[u8],
) -> Result<(), Errno> {
    let number = std::os::fd::AsRawFd::as_raw_fd(&parent);
    let path = [format!("/proc/self/fd/{number}/").as_bytes(), name].concat();
    lsetxattr(path.as_slice(), attribute.as_c_str(), value, XattrFlags::empty())
}

fn kept(entry: &Entry) -> impl Iterator<Item = (CString, &[u8])> {
    entry.xattrs.iter().filter_map(|(name, value)| {
        let is_own = name == b"security.capability";
        let is_users = name.starts_with(b"user.") && !name.starts_with(b"user.overlay.");
        if is_own || is_users { Some((CString::new(name.as_slice()).ok()?, value.as_slice())) } else { None }
    })
}

fn times((seconds, nanoseconds): (i64, u32)) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: i64::from(nanoseconds.min(999_999_999)) };
    Timestamps { last_access: time, last_modification: time }
}
