//! What an image has at the target of a tmpfs, copied into it before it covers that (`tmpcopyup`): folders,
//! files, links and nodes with their owners, modes and times. It works on descriptors and allocates nothing.
//! Extended attributes are not copied, and neither is what is on other filesystems.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gantry_linux::Errno;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, RawDir, Stat, Timespec, Timestamps, Uid};

/// Folders in folders at the most.
const DEPTH_MAX: u32 = 64;
/// Bytes on the stack of each level.
const NAMES_BYTES: usize = 4096;

/// Copies what is in the folder that `from` is a handle of into the folder `to`.
pub(super) fn copy_up(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), Errno> {
    let status = rustix::fs::fstat(from)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::openat(from, c".", flags, Mode::empty())?;
    // The handle of a fresh mount takes no change of owner.
    let to = rustix::fs::openat(to, c".", flags, Mode::empty())?;
    folder_contents(&folder, to.as_fd(), status.st_dev, DEPTH_MAX)?;
    take_attributes(to.as_fd(), &status)
}

fn folder_contents(from: &OwnedFd, to: BorrowedFd<'_>, device: u64, depth: u32) -> Result<(), Errno> {
    let mut buffer = [MaybeUninit::uninit(); NAMES_BYTES];
    let mut names = RawDir::new(from, &mut buffer);
    while let Some(entry) = names.next() {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            one(from.as_fd(), to, name, device, depth)?;
        }
    }
    Ok(())
}

fn one(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr, device: u64, depth: u32) -> Result<(), Errno> {
    let status = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if status.st_dev != device {
        return Ok(());
    }
    let kind = FileType::from_raw_mode(status.st_mode);
    if kind.is_dir() {
        let depth = depth.checked_sub(1).ok_or(Errno::LOOP)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let inner = rustix::fs::openat(from, name, flags, Mode::empty())?;
        rustix::fs::mkdirat(to, name, Mode::RWXU)?;
        let made = rustix::fs::openat(to, name, flags, Mode::empty())?;
        folder_contents(&inner, made.as_fd(), device, depth)?;
        return take_attributes(made.as_fd(), &status);
    }
    if kind.is_file() {
        let made = file(from, to, name)?;
        return take_attributes(made.as_fd(), &status);
    }
    if kind.is_symlink() {
        let mut buffer = [MaybeUninit::uninit(); NAMES_BYTES];
        let (target, _) = rustix::fs::readlinkat_raw(from, name, &mut buffer[..NAMES_BYTES - 1])?;
        let length = target.len();
        let mut text = [0; NAMES_BYTES];
        text[..length].copy_from_slice(target);
        let target = CStr::from_bytes_until_nul(&text).map_err(|_| Errno::NAMETOOLONG)?;
        rustix::fs::symlinkat(target, to, name)?;
    } else {
        let mode = Mode::from_raw_mode(status.st_mode);
        rustix::fs::mknodat(to, name, kind, mode, status.st_rdev)?;
    }
    let (uid, gid) = (Uid::from_raw(status.st_uid), Gid::from_raw(status.st_gid));
    rustix::fs::chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
}

fn file(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let source = rustix::fs::openat(from, name, flags | OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty())?;
    let made = rustix::fs::openat(
        to,
        name,
        flags | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL,
        Mode::RUSR | Mode::WUSR,
    )?;
    let mut buffer = [0; NAMES_BYTES];
    loop {
        let length = rustix::io::read(&source, &mut buffer)?;
        if length == 0 {
            return Ok(made);
        }
        let mut left = &buffer[..length];
        while !left.is_empty() {
            let written = rustix::io::write(&made, left)?;
            left = &left[written..];
        }
    }
}

/// Owner first: a change of it takes set-user-id bits away.
fn take_attributes(made: BorrowedFd<'_>, status: &Stat) -> Result<(), Errno> {
    rustix::fs::fchown(made, Some(Uid::from_raw(status.st_uid)), Some(Gid::from_raw(status.st_gid)))?;
    rustix::fs::fchmod(made, Mode::from_raw_mode(status.st_mode))?;
    let time = |seconds, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or(0),
    };
    let times = Timestamps {
        last_access: time(status.st_atime, status.st_atime_nsec),
        last_modification: time(status.st_mtime, status.st_mtime_nsec),
    };
    rustix::fs::futimens(made, &times)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    #[test]
    fn a_tree_is_copied_with_its_modes_and_links() {
        let base = tempfile::tempdir().expect("a temporary folder");
        let (from, to) = (base.path().join("from"), base.path().join("to"));
        fs::create_dir_all(from.join("a/b")).expect("create_dir_all");
        fs::create_dir(&to).expect("create_dir");
        let bytes = vec![7; 3 * NAMES_BYTES + 1];
        fs::write(from.join("a/b/file"), &bytes).expect("write");
        fs::set_permissions(from.join("a/b/file"), fs::Permissions::from_mode(0o4751)).expect("chmod");
        fs::set_permissions(from.join("a"), fs::Permissions::from_mode(0o1777)).expect("chmod");
        symlink("../nowhere", from.join("a/link")).expect("symlink");
        let open = |path: &std::path::Path, flags| {
            rustix::fs::open(path, flags | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).expect("open")
        };
        copy_up(open(&from, OFlags::PATH).as_fd(), open(&to, OFlags::RDONLY).as_fd()).expect("copied");
        assert_eq!(fs::read(to.join("a/b/file")).expect("read"), bytes);
        let status = |path: &str| fs::symlink_metadata(to.join(path)).expect("lstat");
        assert_eq!(status("a/b/file").mode() & 0o7777, 0o4751);
        assert_eq!(status("a").mode() & 0o7777, 0o1777);
        assert_eq!(fs::read_link(to.join("a/link")).expect("readlink"), std::path::Path::new("../nowhere"));
        let time = |path: &std::path::Path| fs::metadata(path.join("a/b")).expect("stat").mtime_nsec();
        assert_eq!(time(&from), time(&to));
    }
}
