//! Walking and deleting a folder beneath a directory descriptor. A container's snapshot holds whatever the
//! container put there, so no path is ever joined and no symbolic link is ever followed; the depth costs heap,
//! not stack, and open descriptors are bounded by reopening parents through `..`.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, openat, openat2, statat, unlinkat,
};
use rustix::io::Errno;

use crate::snapshotter::Usage;

const OPEN_FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

const BENEATH: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS);

/// Deletes `name` beneath `parent`, whatever it is. Something that is not there, or vanishes meanwhile, is fine.
pub(crate) fn remove(parent: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR) => {}
        Err(errno) => return Err(errno),
    }
    let mut open = match openat(parent, name, OPEN_FOLDER, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(errno),
    };
    // The names of the folders between `name` and `open`, so that each can be removed from its parent.
    let mut below: Vec<CString> = Vec::new();
    loop {
        match empty_until_folder(open.as_fd())? {
            Some((folder, fd)) => {
                below.push(folder);
                open = fd;
            }
            None => match below.pop() {
                Some(done) => {
                    let up = openat(open.as_fd(), c"..", OPEN_FOLDER, Mode::empty())?;
                    ignore_missing(unlinkat(up.as_fd(), done.as_c_str(), AtFlags::REMOVEDIR))?;
                    open = up;
                }
                None => break,
            },
        }
    }
    ignore_missing(unlinkat(parent, name, AtFlags::REMOVEDIR))
}

/// Unlinks everything but folders in `folder`; stops at the first folder that is not empty and opens it.
fn empty_until_folder(folder: BorrowedFd<'_>) -> Result<Option<(CString, OwnedFd)>, Errno> {
    // Entries are collected first: deleting while reading may skip names on some file systems.
    for (name, kind) in entries(folder)? {
        // Some file systems do not tell the kind; then the refusal does.
        if kind != FileType::Directory {
            match unlinkat(folder, name.as_c_str(), AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => continue,
                Err(Errno::ISDIR) => {}
                Err(errno) => return Err(errno),
            }
        }
        match unlinkat(folder, name.as_c_str(), AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::NOTEMPTY | Errno::EXIST) => {
                let fd = openat(folder, name.as_c_str(), OPEN_FOLDER, Mode::empty())?;
                return Ok(Some((name, fd)));
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(None)
}

/// The names in a folder, without `.` and `..`.
pub(crate) fn entries(folder: BorrowedFd<'_>) -> Result<Vec<(CString, FileType)>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        if entry.file_name() != c"." && entry.file_name() != c".." {
            names.push((entry.file_name().to_owned(), entry.file_type()));
        }
    }
    Ok(names)
}

/// Adds up `root` and everything below it. Folders deeper than the kernel takes in one path are not entered.
pub(crate) fn usage(root: BorrowedFd<'_>) -> Result<Usage, Errno> {
    let mut usage = Usage::default();
    let mut linked = std::collections::HashSet::new();
    // Paths instead of descriptors: a folder may have more children than this process may have open files.
    let mut pending = vec![Vec::from(b".")];
    while let Some(path) = pending.pop() {
        let Ok(folder) = openat2(root, path.as_slice(), OPEN_FOLDER, Mode::empty(), BENEATH) else {
            continue;
        };
        if path == b"." {
            count(&rustix::fs::fstat(&folder)?, &mut usage);
        }
        for (name, _) in entries(folder.as_fd())? {
            let Ok(stat) = statat(folder.as_fd(), name.as_c_str(), AtFlags::SYMLINK_NOFOLLOW) else {
                continue;
            };
            let is_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            if is_folder || stat.st_nlink == 1 || linked.insert((stat.st_dev, stat.st_ino)) {
                count(&stat, &mut usage);
            }
            if is_folder {
                pending.push([path.as_slice(), b"/", name.as_bytes()].concat());
            }
        }
    }
    Ok(usage)
}

fn count(stat: &Stat, usage: &mut Usage) {
    usage.inodes += 1;
    usage.bytes += u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
}

fn ignore_missing(result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}
