//! How a path of a container is used without ever leaving it. Everything beneath a container's root is hostile:
//! symbolic links, magic links, and a racing process that swaps them. So no path is joined; each is resolved by
//! openat2(2) beneath the root's descriptor (`RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS`, Linux 5.6), folders are
//! made component by component on descriptors, and what was opened is verified afterwards on the descriptor.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};

use crate::error::{Errno, Object, Result, SyscallError};

mod verify;

pub use verify::*;

/// A directory beneath which paths are resolved as if it were `/`.
#[derive(Debug)]
pub struct RootDir {
    descriptor: OwnedFd,
}

impl RootDir {
    /// Resolves beneath an open directory.
    pub fn new(directory: OwnedFd) -> Self {
        Self { descriptor: directory }
    }

    /// Opens a trusted host path as the root, links followed.
    pub fn open_host(path: &Path) -> Result<Self> {
        rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map(Self::new)
            .map_err(SyscallError::path("open", path))
    }

    /// A handle (`O_PATH`) of what is at a path, links followed within the root.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<OwnedFd> {
        self.resolve(path.as_ref(), OFlags::PATH, Mode::empty())
    }

    /// A handle (`O_PATH`) of what is at a path; a link in the last place is opened itself.
    pub fn open_no_follow(&self, path: impl AsRef<Path>) -> Result<OwnedFd> {
        self.resolve(path.as_ref(), OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())
    }

    /// A handle of a directory; refuses anything else.
    pub fn open_dir(&self, path: impl AsRef<Path>) -> Result<OwnedFd> {
        self.resolve(path.as_ref(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty())
    }

    /// A regular file to read from; refuses anything else. It is looked at on a handle before it is opened, so
    /// that no fifo blocks and no device notices.
    pub fn open_file(&self, path: impl AsRef<Path>) -> Result<OwnedFd> {
        let path = path.as_ref();
        let handle = self.open(path)?;
        if file_type(handle.as_fd())? == FileType::RegularFile {
            reopen(handle.as_fd(), OFlags::RDONLY)
        } else {
            Err(SyscallError::path("openat2", path)(Errno::INVAL))
        }
    }

    /// Makes a folder and those above it, where they are missing, and opens it. Existing links are followed
    /// within the root; a component that is something else is refused. New folders belong to the caller and
    /// have this mode whatever the umask.
    pub fn create_dir_all(&self, path: impl AsRef<Path>, mode: u32) -> Result<OwnedFd> {
        let path = path.as_ref();
        if let Ok(found) = self.open_dir(path) {
            return Ok(found);
        }
        let fail = |errno| SyscallError::path("mkdirat", path)(errno);
        let mut current = self.open_dir("/")?;
        let mut walked = std::path::PathBuf::from("/");
        for component in components(path)? {
            walked.push(component);
            // The whole way down from the root each time: links of earlier components then mean the same as
            // they do to the container, and `..` in them cannot leave.
            current = match self.open_dir(&walked) {
                Ok(next) => next,
                Err(error) if error.errno == Errno::NOENT => {
                    make_dir(current.as_fd(), component, mode).map_err(fail)?
                }
                Err(error) => return Err(error),
            };
        }
        Ok(current)
    }

    /// Makes an empty regular file with the folders above it, or opens what is there already if it is a
    /// regular file; for a mount of a file. Returns a handle.
    pub fn create_file(&self, path: impl AsRef<Path>, mode: u32) -> Result<OwnedFd> {
        let path = path.as_ref();
        match self.open(path) {
            Err(error) if error.errno == Errno::NOENT => {}
            found => return found,
        }
        let (parent, name) = self.create_parent(path)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(mode))
            .map_err(SyscallError::path("openat", path))
    }

    /// Makes a device node, fifo or socket with exactly this mode; fails if anything is there.
    pub fn make_node(&self, path: impl AsRef<Path>, node: Node, mode: u32) -> Result<()> {
        let path = path.as_ref();
        let (parent, name) = self.create_parent(path)?;
        make_node_at(parent.as_fd(), name, node, mode)
    }

    /// Makes a symbolic link; fails if anything is there. Where it points is not looked at.
    pub fn symlink(&self, target: &str, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let (parent, name) = self.create_parent(path)?;
        rustix::fs::symlinkat(target, &parent, name).map_err(SyscallError::path("symlinkat", path))
    }

    /// Opens a path beneath the root with flags of the caller's own; `O_CLOEXEC` is added.
    pub fn open_with(&self, path: impl AsRef<Path>, flags: OFlags, mode: u32) -> Result<OwnedFd> {
        self.resolve(path.as_ref(), flags, Mode::from_raw_mode(mode))
    }

    fn create_parent<'a>(&self, path: &'a Path) -> Result<(OwnedFd, &'a Path)> {
        let fail = || SyscallError::path("openat2", path)(Errno::INVAL);
        let name = path.file_name().ok_or_else(fail)?;
        let parent = path.parent().ok_or_else(fail)?;
        Ok((
            self.create_dir_all(if parent.as_os_str().is_empty() { Path::new("/") } else { parent }, 0o755)?,
            Path::new(name),
        ))
    }

    fn resolve(&self, path: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd> {
        // An empty path is ENOENT to the kernel; here it is the root.
        let shown = if path.as_os_str().is_empty() { Path::new("/") } else { path };
        openat2(
            self.descriptor.as_fd(),
            shown,
            flags,
            mode,
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        )
    }
}

impl AsFd for RootDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl From<RootDir> for OwnedFd {
    fn from(root: RootDir) -> Self {
        root.descriptor
    }
}

pub use rustix::fs::OFlags as OpenFlags;
pub use rustix::fs::ResolveFlags as Resolve;

/// openat2(2) with `O_CLOEXEC`, tried again while a rename somewhere on the way disturbs the kernel's check.
pub fn openat2(
    directory: BorrowedFd<'_>,
    path: &Path,
    flags: OFlags,
    mode: Mode,
    resolve: ResolveFlags,
) -> Result<OwnedFd> {
    /// The kernel says EAGAIN when it cannot tell whether `..` escaped; a racer can cause that at will.
    const TRIES_MAX: u32 = 128;
    let mut tries = 0;
    loop {
        match rustix::fs::openat2(directory, path, flags | OFlags::CLOEXEC, mode, resolve) {
            Err(Errno::AGAIN | Errno::INTR) if tries < TRIES_MAX => tries += 1,
            result => return result.map_err(SyscallError::path("openat2", path)),
        }
    }
}

/// What [`make_node_at`] makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node {
    /// A character device.
    Character {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    Block {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A fifo.
    Fifo,
}

/// Makes a node in an open directory, with exactly this mode whatever the umask.
pub fn make_node_at(directory: BorrowedFd<'_>, name: impl AsRef<Path>, node: Node, mode: u32) -> Result<()> {
    let name = name.as_ref();
    let (kind, device) = match node {
        Node::Character { major, minor } => (FileType::CharacterDevice, rustix::fs::makedev(major, minor)),
        Node::Block { major, minor } => (FileType::BlockDevice, rustix::fs::makedev(major, minor)),
        Node::Fifo => (FileType::Fifo, 0),
    };
    rustix::fs::mknodat(directory, name, kind, Mode::from_raw_mode(mode), device)
        .map_err(SyscallError::path("mknodat", name))?;
    let handle =
        rustix::fs::openat(directory, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
            .map_err(SyscallError::path("openat", name))?;
    verify_node(handle.as_fd(), node)?;
    change_mode(handle.as_fd(), mode)
}

/// chmod of a handle (`O_PATH`), which fchmod(2) refuses: by fchmodat2 (Linux 6.6), else by the name the
/// process has for its own descriptor.
pub fn change_mode(handle: BorrowedFd<'_>, mode: u32) -> Result<()> {
    const SYS_FCHMODAT2: libc::c_long = 452;
    // SAFETY: the path is an empty C string; nothing else is a pointer.
    let returned =
        unsafe { libc::syscall(SYS_FCHMODAT2, handle.as_raw_fd(), c"".as_ptr(), mode, libc::AT_EMPTY_PATH) };
    match crate::sys::check(returned) {
        Ok(_) => Ok(()),
        Err(Errno::NOSYS) => change_mode_by_name(handle, mode),
        Err(errno) => Err(SyscallError::fd("fchmodat2", handle)(errno)),
    }
}

/// chown of a handle (`O_PATH`); a link itself, never what it points to.
pub fn change_owner(handle: BorrowedFd<'_>, uid: u32, gid: u32) -> Result<()> {
    let (uid, gid) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
    rustix::fs::chownat(handle, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH)
        .map_err(SyscallError::fd("fchownat", handle))
}

/// Reads a whole file of at most `bytes_max` bytes; a longer one is EFBIG, not a cut text.
pub fn read_bounded(file: impl Into<OwnedFd>, bytes_max: u64) -> Result<Vec<u8>> {
    use std::io::Read;
    let file = std::fs::File::from(file.into());
    let mut bytes = Vec::new();
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes).map_err(|error| {
        let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
        SyscallError::new("read", Object::Name("a file"), errno)
    })?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > bytes_max) {
        return Err(SyscallError::new("read", Object::Name("a file"), Errno::FBIG));
    }
    Ok(bytes)
}

/// Opens for use what a handle (`O_PATH`) holds: the same file, whatever its name leads to by now. Needs the
/// host's `/proc`.
pub fn reopen(handle: BorrowedFd<'_>, flags: OFlags) -> Result<OwnedFd> {
    let name = format!("/proc/self/fd/{}", handle.as_raw_fd());
    rustix::fs::open(name.as_str(), flags | OFlags::CLOEXEC, Mode::empty())
        .map_err(SyscallError::fd("open", handle))
}

fn change_mode_by_name(handle: BorrowedFd<'_>, mode: u32) -> Result<()> {
    let name = format!("/proc/self/fd/{}", handle.as_raw_fd());
    rustix::fs::chmod(name.as_str(), Mode::from_raw_mode(mode)).map_err(SyscallError::fd("chmod", handle))
}

/// Makes one folder and opens it, or opens the one that another made at the same time; never a link.
fn make_dir(parent: BorrowedFd<'_>, name: &Path, mode: u32) -> Result<OwnedFd, Errno> {
    let created = match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(mode)) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(errno) => return Err(errno),
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    if created {
        change_mode(folder.as_fd(), mode).map_err(|error| error.errno)?;
    }
    Ok(folder)
}

/// The plain components of a path; `..` is refused here, because what it means depends on links.
fn components(path: &Path) -> Result<Vec<&Path>> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(Ok(Path::new(name))),
            Component::RootDir | Component::CurDir => None,
            Component::ParentDir | Component::Prefix(_) => {
                Some(Err(SyscallError::path("mkdirat", path)(Errno::INVAL)))
            }
        })
        .collect()
}

#[cfg(test)]
mod tests;
