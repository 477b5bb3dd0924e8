//! How the child finds and makes paths beneath the container's root without being led out of it and without
//! allocating, not even for an error: a missing path is an ordinary answer here, and between clone and exec
//! no lock of the allocator may be taken. So errors are bare errnos, and only rustix's file calls are used.
//! What the rest of Gantry does with container paths is [`gantry_linux::RootDir`]'s work.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gantry_linux::Errno;
use rustix::fs::{Mode, OFlags, ResolveFlags};

/// Bytes of a path at the most, with its final zero (PATH_MAX).
const PATH_BYTES_MAX: usize = 4096;
/// Links to links that lead nowhere, one after the other.
const LINKS_MAX: u32 = 8;

/// Opens a path, whatever it is, as a handle; symbolic links mean what they mean inside the container.
pub(super) fn open(root: BorrowedFd<'_>, path: &CStr) -> Result<OwnedFd, Errno> {
    resolve(root, path, OFlags::PATH, ResolveFlags::empty())
}

/// Opens the folder at a path, making what is missing of it with mode 0755.
pub(super) fn folder(root: BorrowedFd<'_>, path: &CStr) -> Result<OwnedFd, Errno> {
    match resolve(root, path, OFlags::PATH | OFlags::DIRECTORY, ResolveFlags::empty()) {
        Err(Errno::NOENT) => make_missing(root, path.to_bytes()),
        found => found,
    }
}

/// As [`folder`], for `/proc` and `/sys`: no symbolic link may be on the way (CVE-2023-27561).
pub(super) fn folder_without_links(root: BorrowedFd<'_>, path: &CStr) -> Result<OwnedFd, Errno> {
    match resolve(root, path, OFlags::PATH | OFlags::DIRECTORY, ResolveFlags::NO_SYMLINKS) {
        Err(Errno::NOENT) => make_missing(root, path.to_bytes()),
        found => found,
    }
}

/// Opens the file at a path, making an empty one, and the folders above it, if there is none. A link to a name that is not
/// there is followed, within the root like any other: images have `/etc/resolv.conf` as one.
pub(super) fn file(root: BorrowedFd<'_>, path: &CStr) -> Result<OwnedFd, Errno> {
    match open(root, path) {
        Err(Errno::NOENT) => {}
        found => return found,
    }
    let (mut here, mut there) = ([0; PATH_BYTES_MAX], [0; PATH_BYTES_MAX]);
    terminated(&mut here, path.to_bytes())?;
    for _ in 0..LINKS_MAX {
        let (above, name) = split(CStr::from_bytes_until_nul(&here).map_err(|_| Errno::INVAL)?)?;
        let parent = above.folder(root)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(0o644)) {
            Err(Errno::EXIST) => {}
            made => return made,
        }
        follow(parent.as_fd(), (above, name), &mut there)?;
        std::mem::swap(&mut here, &mut there);
    }
    Err(Errno::LOOP)
}

/// Where a link leads, as a path from the root.
fn follow(
    parent: BorrowedFd<'_>,
    (above, name): (Above<'_>, &CStr),
    path: &mut [u8; PATH_BYTES_MAX],
) -> Result<(), Errno> {
    let mut target = [MaybeUninit::uninit(); PATH_BYTES_MAX];
    // What is there but no link was not there before: somebody else is at work.
    let (target, _) = rustix::fs::readlinkat_raw(parent, name, &mut target).map_err(|_| Errno::EXIST)?;
    let above = if target.starts_with(b"/") { &[] } else { above.0 };
    let length = above.len() + 1 + target.len();
    let whole = path.get_mut(..=length).ok_or(Errno::NAMETOOLONG)?;
    whole[..above.len()].copy_from_slice(above);
    whole[above.len()] = b'/';
    whole[above.len() + 1..length].copy_from_slice(target);
    whole[length] = 0;
    Ok(())
}

/// The folder above a path, and the path's last name.
pub(super) fn split(path: &CStr) -> Result<(Above<'_>, &CStr), Errno> {
    let bytes = path.to_bytes_with_nul();
    let slash = path.to_bytes().iter().rposition(|byte| *byte == b'/').ok_or(Errno::INVAL)?;
    let name = CStr::from_bytes_with_nul(&bytes[slash + 1..]).map_err(|_| Errno::INVAL)?;
    if name.is_empty() { Err(Errno::INVAL) } else { Ok((Above(&bytes[..slash]), name)) }
}

/// A folder's path without its final zero; empty is the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Above<'a>(&'a [u8]);

impl Above<'_> {
    /// Opens it, making what is missing.
    pub(super) fn folder(self, root: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
        if self.0.is_empty() {
            return resolve(root, c"/", OFlags::PATH | OFlags::DIRECTORY, ResolveFlags::empty());
        }
        let mut buffer = [0; PATH_BYTES_MAX];
        folder(root, terminated(&mut buffer, self.0)?)
    }
}

/// Walks down from the longest part that exists. From the first missing name on everything is made here and
/// opened without following links, so that nobody can put a link in its place (CVE-2024-45310).
fn make_missing(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    let mut buffer = [0; PATH_BYTES_MAX];
    let directory = OFlags::PATH | OFlags::DIRECTORY;
    let mut end = path.len();
    let mut current = loop {
        end = path[..end].iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        let existing = if end == 0 { c"/" } else { terminated(&mut buffer, &path[..end])? };
        match resolve(root, existing, directory, ResolveFlags::empty()) {
            Err(Errno::NOENT) if end > 0 => {}
            found => break found?,
        }
    };
    for name in path[end..].split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
        if name == b".." || name == b"." {
            return Err(Errno::INVAL);
        }
        let name = terminated(&mut buffer, name)?;
        match rustix::fs::mkdirat(&current, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        current = rustix::fs::openat(
            &current,
            name,
            directory | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
    }
    Ok(current)
}

fn terminated<'b>(buffer: &'b mut [u8; PATH_BYTES_MAX], bytes: &[u8]) -> Result<&'b CStr, Errno> {
    let target = buffer.get_mut(..=bytes.len()).ok_or(Errno::NAMETOOLONG)?;
    target[..bytes.len()].copy_from_slice(bytes);
    target[bytes.len()] = 0;
    CStr::from_bytes_with_nul(target).map_err(|_| Errno::INVAL)
}

fn resolve(root: BorrowedFd<'_>, path: &CStr, flags: OFlags, more: ResolveFlags) -> Result<OwnedFd, Errno> {
    // A rename somewhere makes the kernel give up with EAGAIN; a racer can do that only so often.
    const TRIES_MAX: u32 = 128;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | more;
    let mut tries = 0;
    loop {
        match rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) if tries < TRIES_MAX => tries += 1,
            result => return result,
        }
    }
}

/// Whether a handle is a folder's.
pub(super) fn is_folder(handle: impl AsFd) -> Result<bool, Errno> {
    let status = rustix::fs::fstat(handle)?;
    Ok(rustix::fs::FileType::from_raw_mode(status.st_mode).is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn root(folder: &std::path::Path) -> OwnedFd {
        rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .expect("open")
    }

    #[test]
    fn missing_folders_and_files_are_made_beneath_the_root() {
        let base = tempfile::tempdir().expect("a temporary folder");
        let root = root(base.path());
        folder(root.as_fd(), c"/a/b/c").expect("made");
        file(root.as_fd(), c"/a/x/file").expect("made");
        assert!(base.path().join("a/b/c").is_dir() && base.path().join("a/x/file").is_file());
        assert!(is_folder(open(root.as_fd(), c"/a").expect("there")).expect("fstat"));
    }

    #[test]
    fn links_lead_nowhere_but_into_the_root() {
        let base = tempfile::tempdir().expect("a temporary folder");
        let inside = base.path().join("inside");
        std::fs::create_dir(&inside).expect("create_dir");
        let root = root(&inside);
        for (name, target) in
            [("up", "../.."), ("absolute", "/"), ("dangling", "../../escaped"), ("self", "self")]
        {
            symlink(target, inside.join(name)).expect("symlink");
        }
        folder(root.as_fd(), c"/up/made1").expect("within the root");
        folder(root.as_fd(), c"/absolute/made2").expect("within the root");
        assert!(inside.join("made1").is_dir() && inside.join("made2").is_dir());
        assert!(folder(root.as_fd(), c"/dangling/made3").is_err());
        assert_eq!(folder(root.as_fd(), c"/self/x").expect_err("a loop"), Errno::LOOP);
        assert_eq!(folder_without_links(root.as_fd(), c"/absolute").expect_err("a link"), Errno::LOOP);
        assert!(!base.path().join("escaped").exists());
    }

    #[test]
    fn a_file_is_made_where_a_link_leads_within_the_root() {
        let base = tempfile::tempdir().expect("a temporary folder");
        let inside = base.path().join("inside");
        std::fs::create_dir_all(inside.join("etc")).expect("create_dir_all");
        let root = root(&inside);
        for (name, target) in [
            ("etc/resolv.conf", "../run/resolve/stub"),
            ("etc/absolute", "/absolute"),
            ("etc/outside", "../../../escaped"),
            ("etc/chain", "link"),
            ("etc/link", "end"),
            ("etc/one", "other"),
            ("etc/other", "one"),
        ] {
            symlink(target, inside.join(name)).expect("symlink");
        }
        for (path, made) in [
            (c"/etc/resolv.conf", "run/resolve/stub"),
            (c"/etc/absolute", "absolute"),
            (c"/etc/outside", "escaped"),
            (c"/etc/chain", "etc/end"),
        ] {
            file(root.as_fd(), path).expect("made");
            assert!(inside.join(made).is_file(), "{made}");
        }
        assert_eq!(file(root.as_fd(), c"/etc/one").expect_err("a loop"), Errno::LOOP);
        assert!(!base.path().join("escaped").exists());
    }

    #[test]
    fn a_path_is_split_at_its_last_slash() {
        let (above, name) = split(c"/dev/null").expect("two parts");
        assert_eq!((above, name), (Above(b"/dev"), c"null"));
        assert_eq!(split(c"/x").expect("one part").0, Above(b""));
        assert!(split(c"/").is_err());
    }
}
