//! A layer's tar onto disk. The tar is hostile (see the threat table, archives): names, links, sizes and types are
//! chosen to make two readers disagree, to leave the folder, or to fill the disk. So: headers are read by our own small
//! reader that refuses whatever another tar would read differently; every path is resolved by the kernel beneath the
//! layer's directory descriptor; and every count has a limit.
//!
//! Layers are unpacked without the layers below, in the form overlayfs reads: a whiteout becomes the character device
//! 0:0, an opaque folder gets `trusted.overlay.opaque`. Needs root (mknod, chown, trusted xattrs).

mod attributes;
mod decompress;
#[cfg(test)]
mod differential;
mod entry;
mod error;
mod pax;
mod place;
mod tar_reader;
mod whiteout;

use std::io::BufRead;
use std::os::fd::BorrowedFd;

pub use decompress::decoder;
pub use error::UnpackError;

pub(crate) use self::entry::Kind;
use self::place::Place;
pub(crate) use self::tar_reader::TarReader;

/// How much one layer may be.
#[derive(Debug, Clone, Copy)]
pub struct UnpackLimits {
    /// Bytes of the uncompressed tar.
    pub bytes_max: u64,
    /// Entries.
    pub entries_max: u64,
}

impl Default for UnpackLimits {
    fn default() -> Self {
        Self {
            bytes_max: gantry_types::LAYER_UNPACKED_BYTES_MAX,
            entries_max: gantry_types::LAYER_ENTRIES_MAX,
        }
    }
}

/// What was unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unpacked {
    /// Bytes of the tar.
    pub bytes: u64,
    /// Entries.
    pub entries: u64,
}

/// Unpacks one layer's uncompressed tar beneath `root`, and reads the stream to its end, so that what hashes it along
/// the way has seen all of it. On an error the folder is left as it is, to be discarded. Nothing is flushed.
pub fn unpack(
    tar: impl BufRead,
    root: BorrowedFd<'_>,
    limits: UnpackLimits,
) -> Result<Unpacked, UnpackError> {
    let mut reader = TarReader::new(tar, limits);
    let mut place = Place::new(root);
    while let Some(entry) = reader.next_entry()? {
        place.entry(&entry, &mut reader)?;
    }
    place.finish()?;
    reader.finish()
}
