//! Putting entries in their places. Every path is resolved by the kernel with `openat2(RESOLVE_IN_ROOT |
//! RESOLVE_NO_MAGICLINKS)` beneath the layer's root: a symbolic link of the archive, absolute or climbing, stays inside.
//! The last component is never followed. What an entry replaces is removed first, so nothing is ever written *through*
//! something that an earlier entry put there.

use std::io::BufRead;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, linkat, makedev, mkdirat, mknodat, openat, openat2,
    statat, symlinkat, unlinkat,
};
use rustix::io::Errno;

use super::entry::{Entry, Kind, split};
use super::error::shown;
use super::tar_reader::TarReader;
use super::{UnpackError, attributes, whiteout};

const IN_ROOT: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// The layer's folder, and what is known of it.
#[derive(Debug)]
pub(super) struct Place<'root> {
    root: BorrowedFd<'root>,
    /// The folder used last; entries of one folder follow one another.
    last: Option<(Vec<u8>, OwnedFd)>,
    /// Folders and their times, set at the end because entries inside change them.
    folders: Vec<(Vec<u8>, (i64, u32))>,
}

impl<'root> Place<'root> {
    pub(super) fn new(root: BorrowedFd<'root>) -> Self {
        Self { root, last: None, folders: Vec::new() }
    }

    /// Puts one entry in its place; `reader` has its data.
    pub(super) fn entry<R: BufRead>(
        &mut self,
        entry: &Entry,
        reader: &mut TarReader<R>,
    ) -> Result<(), UnpackError> {
        if entry.path.is_empty() {
            return self.root(entry);
        }
        let (folder, name) = split(&entry.path);
        if let Some(name) = whiteout::reserved(folder) {
            return Err(UnpackError::Name { entry: shown(&entry.path), rule: name });
        }
        let parent = self.folder(folder, &entry.path)?;
        let done = match whiteout::parse(name, &entry.path)? {
            Some(whiteout) => whiteout::put(parent.as_fd(), &whiteout)
                .map_err(UnpackError::write("make a whiteout", &entry.path)),
            None => self.put(parent.as_fd(), name, entry, reader),
        };
        // What was removed may have been the folder itself.
        if matches!(done, Ok(Way::Kept)) {
            self.last = Some((folder.to_vec(), parent));
        }
        done.map(|_| ())
    }

    /// Sets what was put off to the end.
    pub(super) fn finish(self) -> Result<(), UnpackError> {
        // Children before parents does not matter: setting a folder's time changes no other.
        for (path, mtime) in &self.folders {
            match openat2(self.root, path.as_slice(), FOLDER | OFlags::NOFOLLOW, Mode::empty(), IN_ROOT) {
                Ok(fd) => attributes::set_time(fd.as_fd(), *mtime)
                    .map_err(UnpackError::write("set the times", path))?,
                // A later entry put something else there.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(errno) => return Err(UnpackError::write("open the folder", path)(errno)),
            }
        }
        Ok(())
    }

    /// The entry `.`: only its attributes count.
    fn root(&mut self, entry: &Entry) -> Result<(), UnpackError> {
        if entry.kind != Kind::Folder {
            return Err(UnpackError::Name { entry: ".".into(), rule: "the root can only be a folder" });
        }
        attributes::set(self.root, entry)?;
        self.folders.push((b".".to_vec(), entry.mtime));
        Ok(())
    }

    fn put<R: BufRead>(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        entry: &Entry,
        reader: &mut TarReader<R>,
    ) -> Result<Way, UnpackError> {
        let failed = |action| UnpackError::write(action, &entry.path);
        let make = || -> Result<(), Errno> {
            let at_mode = Mode::from_raw_mode(0o600);
            match &entry.kind {
                Kind::File { .. } | Kind::Folder => Ok(()),
                Kind::Symlink { target } => symlinkat(target.as_slice(), parent, name),
                Kind::Hardlink { target } => self.link(target, parent, name),
                Kind::CharDevice { major, minor } => {
                    mknodat(parent, name, FileType::CharacterDevice, at_mode, makedev(*major, *minor))
                }
                Kind::BlockDevice { major, minor } => {
                    mknodat(parent, name, FileType::BlockDevice, at_mode, makedev(*major, *minor))
                }
                Kind::Fifo => mknodat(parent, name, FileType::Fifo, at_mode, 0),
            }
        };
        let way = match &entry.kind {
            Kind::Folder => return self.put_folder(parent, name, entry),
            Kind::File { .. } => return put_file(parent, name, entry, reader),
            Kind::CharDevice { major: 0, minor: 0 } => {
                return Err(UnpackError::Name {
                    entry: shown(&entry.path),
                    rule: "a device 0:0 is a whiteout",
                });
            }
            Kind::Symlink { .. }
            | Kind::Hardlink { .. }
            | Kind::CharDevice { .. }
            | Kind::BlockDevice { .. }
            | Kind::Fifo => match make() {
                Err(Errno::EXIST) if is_link_to_itself(entry) => return Ok(Way::Kept),
                Err(Errno::EXIST) => {
                    clear(parent, name).map_err(failed("remove what was there"))?;
                    make().map(|()| Way::Cleared)
                }
                other => other.map(|()| Way::Kept),
            },
        };
        let way = match (way, &entry.kind) {
            (Err(Errno::NOENT | Errno::PERM | Errno::NOTDIR | Errno::LOOP), Kind::Hardlink { target }) => {
                return Err(UnpackError::LinkTarget { entry: shown(&entry.path), target: shown(target) });
            }
            (way, _) => way.map_err(failed("make the entry"))?,
        };
        if !matches!(entry.kind, Kind::Hardlink { .. }) {
            attributes::set_at(parent, name, entry)?;
        }
        Ok(way)
    }

    fn put_folder(&mut self, parent: BorrowedFd<'_>, name: &[u8], entry: &Entry) -> Result<Way, UnpackError> {
        let failed = |action| UnpackError::write(action, &entry.path);
        let mut way = Way::Kept;
        let mut opaque = false;
        match mkdirat(parent, name, Mode::from_raw_mode(0o700)) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                let found = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(failed("look at what was there"))?;
                if FileType::from_raw_mode(found.st_mode) != FileType::Directory {
                    // A folder in the place of a whiteout is a new folder, not the one from below.
                    opaque = whiteout::is_whiteout(&found);
                    clear(parent, name).map_err(failed("remove what was there"))?;
                    mkdirat(parent, name, Mode::from_raw_mode(0o700)).map_err(failed("make the folder"))?;
                    way = Way::Cleared;
                }
            }
            Err(errno) => return Err(failed("make the folder")(errno)),
        }
        let fd = openat(parent, name, FOLDER | OFlags::NOFOLLOW, Mode::empty())
            .map_err(failed("open the folder"))?;
        attributes::set(fd.as_fd(), entry)?;
        if opaque {
            whiteout::make_opaque(fd.as_fd()).map_err(failed("make the folder opaque"))?;
        }
        self.folders.push((entry.path.clone(), entry.mtime));
        Ok(way)
    }

    fn link(&self, target: &[u8], parent: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
        let (folder, last) = split(target);
        if last.is_empty() {
            return Err(Errno::NOENT);
        }
        let folder = if folder.is_empty() { b"." } else { folder };
        let from = openat2(self.root, folder, FOLDER, Mode::empty(), IN_ROOT)?;
        let found = statat(&from, last, AtFlags::SYMLINK_NOFOLLOW)?;
        // A second name of a whiteout would be a whiteout of something else.
        if whiteout::is_whiteout(&found) {
            return Err(Errno::NOENT);
        }
        linkat(&from, last, parent, name, AtFlags::empty())
    }

    /// The folder that an entry goes into, made when the archive did not list it.
    fn folder(&mut self, path: &[u8], entry: &[u8]) -> Result<OwnedFd, UnpackError> {
        if let Some((last, fd)) = self.last.take()
            && last == path
        {
            return Ok(fd);
        }
        let open = |path: &[u8]| {
            let path = if path.is_empty() { b"." } else { path };
            openat2(self.root, path, FOLDER, Mode::empty(), IN_ROOT)
        };
        match open(path) {
            Ok(fd) => return Ok(fd),
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(Errno::LOOP) => return Err(UnpackError::NotAFolder { entry: shown(entry) }),
            Err(errno) => return Err(UnpackError::write("open the folder", entry)(errno)),
        }
        let mut fd = open(b"").map_err(UnpackError::write("open the folder", entry))?;
        let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        for end in slashes.chain([path.len()]) {
            let (_, name) = split(&path[..end]);
            fd = match open(&path[..end]) {
                Ok(next) => next,
                Err(Errno::NOENT | Errno::NOTDIR) => make_missing(fd.as_fd(), name, entry)?,
                Err(errno) => return Err(UnpackError::write("open the folder", entry)(errno)),
            };
        }
        Ok(fd)
    }
}

/// A hard link that names itself would remove its own target before linking to it.
fn is_link_to_itself(entry: &Entry) -> bool {
    matches!(&entry.kind, Kind::Hardlink { target } if *target == entry.path)
}

/// Removes what an earlier entry put there.
fn clear(parent: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => remove_folder(parent, name),
        other => other,
    }
}

/// Makes a file and fills it.
fn put_file<R: BufRead>(
    parent: BorrowedFd<'_>,
    name: &[u8],
    entry: &Entry,
    reader: &mut TarReader<R>,
) -> Result<Way, UnpackError> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let make = || openat(parent, name, flags, Mode::from_raw_mode(0o600));
    let failed = |action| UnpackError::write(action, &entry.path);
    let (file, way) = match make() {
        Err(Errno::EXIST) => {
            clear(parent, name).map_err(failed("remove what was there"))?;
            (make(), Way::Cleared)
        }
        other => (other, Way::Kept),
    };
    let file = file.map_err(failed("make the file"))?;
    reader.data(|mut piece| {
        while !piece.is_empty() {
            let count = rustix::io::retry_on_intr(|| rustix::io::write(&file, piece))
                .map_err(failed("write the file"))?;
            piece = &piece[count..];
        }
        Ok::<(), UnpackError>(())
    })?;
    attributes::set(file.as_fd(), entry)?;
    attributes::set_time(file.as_fd(), entry.mtime).map_err(failed("set the times"))?;
    Ok(way)
}

/// Whether something was removed on the way, after which no known folder is certain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Nothing was removed.
    Kept,
    /// Something was.
    Cleared,
}

/// Makes a folder that the archive implies; a whiteout in its place means that it is new.
fn make_missing(parent: BorrowedFd<'_>, name: &[u8], entry: &[u8]) -> Result<OwnedFd, UnpackError> {
    let failed = |action| UnpackError::write(action, entry);
    let mut opaque = false;
    if let Ok(found) = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        if !whiteout::is_whiteout(&found) {
            return Err(UnpackError::NotAFolder { entry: shown(entry) });
        }
        unlinkat(parent, name, AtFlags::empty()).map_err(failed("remove a whiteout"))?;
        opaque = true;
    }
    mkdirat(parent, name, Mode::from_raw_mode(0o755)).map_err(failed("make the folder"))?;
    let fd =
        openat(parent, name, FOLDER | OFlags::NOFOLLOW, Mode::empty()).map_err(failed("open the folder"))?;
    rustix::fs::fchmod(&fd, Mode::from_raw_mode(0o755)).map_err(failed("set the mode"))?;
    if opaque {
        whiteout::make_opaque(fd.as_fd()).map_err(failed("make the folder opaque"))?;
    }
    Ok(fd)
}

/// Removes a folder of this layer and everything below it, without following links.
fn remove_folder(parent: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    let mut open = vec![(openat(parent, name, FOLDER | OFlags::NOFOLLOW, Mode::empty())?, name.to_vec())];
    // Depth is bounded by the length of a path, and a layer that replaces its own deep folder does not exist.
    while let Some((fd, own)) = open.last() {
        let mut below = None;
        for item in rustix::fs::Dir::read_from(fd)? {
            let item = item?;
            let child = item.file_name();
            if child == c"." || child == c".." {
                continue;
            }
            match unlinkat(fd, child, AtFlags::empty()) {
                Err(Errno::ISDIR) => {
                    let next = openat(fd, child, FOLDER | OFlags::NOFOLLOW, Mode::empty())?;
                    below = Some((next, child.to_bytes().to_vec()));
                    break;
                }
                other => other?,
            }
        }
        if below.is_none() {
            let own = own.clone();
            open.pop();
            let above = open.last().map_or(parent, |(fd, _)| fd.as_fd());
            unlinkat(above, own.as_slice(), AtFlags::REMOVEDIR)?;
        }
        open.extend(below);
    }
    Ok(())
}
