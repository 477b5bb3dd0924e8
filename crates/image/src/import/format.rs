//! Telling an image archive from a root filesystem by its first names, from a prefix that is read once and not lost.

use std::io::{self, BufReader, Read};

use crate::unpack::{TarReader, UnpackLimits, decoder};

/// Bytes of the archive that are looked at.
const PREFIX_BYTES: u64 = 256 << 10;

/// What an archive is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ImportFormat {
    /// Told by the archive's first names.
    #[default]
    Auto,
    /// An OCI layout or a docker archive.
    Images,
    /// The files of one root filesystem, which become an image of one layer.
    RootFilesystem,
}

/// The archive with its beginning put back.
pub(super) type Whole<R> = io::Chain<io::Cursor<Vec<u8>>, R>;

/// Decides, and returns the archive with its beginning.
pub(super) fn detect<R: Read>(format: ImportFormat, mut archive: R) -> io::Result<(bool, Whole<R>)> {
    let mut prefix = Vec::new();
    if format == ImportFormat::Auto {
        archive.by_ref().take(PREFIX_BYTES).read_to_end(&mut prefix)?;
    }
    let is_images = match format {
        ImportFormat::Images => true,
        ImportFormat::RootFilesystem => false,
        ImportFormat::Auto => begins_with_images(&prefix),
    };
    Ok((is_images, io::Cursor::new(prefix).chain(archive)))
}

fn begins_with_images(prefix: &[u8]) -> bool {
    // The prefix ends in the middle of something, which is no error here: what can be read is enough.
    let Ok(reader) = decoder(prefix) else { return true };
    let limits = UnpackLimits { bytes_max: 8 << 20, entries_max: 64 };
    let mut tar = TarReader::new(BufReader::new(reader), limits);
    while let Ok(Some(entry)) = tar.next_entry() {
        if !entry.path.is_empty() {
            return is_image_name(&entry.path);
        }
    }
    // No tar at all: the image reader has the better words for that.
    true
}

fn is_image_name(path: &[u8]) -> bool {
    let first = path.split(|byte| *byte == b'/').next().unwrap_or_default();
    let known: [&[u8]; 5] = [b"blobs", b"oci-layout", b"index.json", b"manifest.json", b"repositories"];
    let is_hex =
        first.len() >= 64 && first[..64].iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_hex || known.contains(&first)
}
