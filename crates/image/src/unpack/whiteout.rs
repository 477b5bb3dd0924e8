//! Whiteouts: how a layer says that something below it is gone (OCI image-spec, layer.md#whiteouts), turned into how
//! overlayfs says it (kernel, Documentation/filesystems/overlayfs.rst). A whiteout only hides names of lower layers: what this layer
//! itself brings stays, whatever the order in the archive.

use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, XattrFlags, fsetxattr, mknodat, openat, statat};
use rustix::io::Errno;

use super::UnpackError;
use super::error::shown;
use super::place::Way;

const PREFIX: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// aufs's own records, which docker wrote into layers long ago. They mean nothing any more.
const AUFS: &[u8] = b".wh..wh.";

/// What a name with the prefix means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Whiteout {
    /// Nothing of the folder's lower layers shows.
    Opaque,
    /// This name of the lower layers does not show.
    Name(Vec<u8>),
    /// Nothing.
    Ignored,
}

/// Why a folder of this path cannot hold entries: its name is reserved for whiteouts.
pub(super) fn reserved(folder: &[u8]) -> Option<&'static str> {
    let mut components = folder.split(|byte| *byte == b'/');
    components.any(|component| component.starts_with(PREFIX)).then_some("it lies below a whiteout")
}

/// Reads the last component of an entry's path; `None` when it is no whiteout.
pub(super) fn parse(name: &[u8], path: &[u8]) -> Result<Option<Whiteout>, UnpackError> {
    if name == OPAQUE {
        return Ok(Some(Whiteout::Opaque));
    }
    if name.starts_with(AUFS) {
        return Ok(Some(Whiteout::Ignored));
    }
    match name.strip_prefix(PREFIX) {
        None => Ok(None),
        Some(b"" | b"." | b"..") => {
            Err(UnpackError::Name { entry: shown(path), rule: "a whiteout needs a name" })
        }
        Some(hidden) => Ok(Some(Whiteout::Name(hidden.to_vec()))),
    }
}

/// Puts a whiteout into a folder.
pub(super) fn put(folder: BorrowedFd<'_>, whiteout: &Whiteout) -> Result<Way, Errno> {
    match whiteout {
        Whiteout::Ignored => {}
        Whiteout::Opaque => make_opaque(folder)?,
        Whiteout::Name(name) => {
            match mknodat(folder, name.as_slice(), FileType::CharacterDevice, Mode::empty(), 0) {
                Ok(()) => {}
                Err(Errno::EXIST) => hide_below(folder, name)?,
                Err(errno) => return Err(errno),
            }
        }
    }
    Ok(Way::Kept)
}

/// Nothing from the lower layers shows in this folder.
pub(super) fn make_opaque(folder: BorrowedFd<'_>) -> Result<(), Errno> {
    fsetxattr(folder, c"trusted.overlay.opaque", b"y", XattrFlags::empty())
}

/// Whether this is overlayfs's whiteout, as it lies in a layer.
pub(super) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// The layer brings this name too. A file hides what is below anyway; a folder would be merged with it.
fn hide_below(folder: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    let found = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(found.st_mode) != FileType::Directory {
        return Ok(());
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = openat(folder, name, flags, Mode::empty())?;
    make_opaque(std::os::fd::AsFd::as_fd(&fd))
}
