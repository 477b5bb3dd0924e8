//! Bytes by digest: manifests, configs and compressed layers, each stored once under the hash of what it says.
//!
//! ```text
//!   <folder>/                      <root>/content, 0700
//!     blobs/sha256/<hex>           verified and on disk; never changed, only removed
//!     ingest/<id>/data             an unfinished download; the next one goes on from its end
//! ```
//!
//! A blob has its name only after its size and digest were right and its bytes flushed, so a name is proof after
//! any crash. What is wanted, and by whom, is the daemon's store's business. Blocking. SHA-256 only: that is
//! what every registry speaks; other algorithms of the OCI spec are refused by name.

mod error;
mod hash;
mod ingest;

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Mutex;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, fsync, mkdirat, openat, statat, unlinkat};
use rustix::io::Errno;

use gantry_types::{Algorithm, Digest};

pub use error::ContentError;
pub use hash::Sha256Writer;
pub(crate) use hash::digest_of;
pub use ingest::Ingest;

const OPEN_FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The store of blobs over one folder.
#[derive(Debug)]
pub struct ContentStore {
    blobs: OwnedFd,
    ingests: OwnedFd,
    /// Ingests that are open now; two writers of one file would mix their bytes.
    busy: Mutex<std::collections::HashSet<String>>,
}

/// An open blob.
#[derive(Debug)]
pub struct Blob {
    /// Its bytes, from the start.
    pub file: File,
    /// How many there are.
    pub size: u64,
}

/// One line of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// What it is.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
}

impl ContentStore {
    /// Opens `folder` (`<root>/content`), and makes it when missing.
    pub fn open(folder: &Path) -> Result<Self, ContentError> {
        let broken = |source| ContentError::Root { path: folder.to_owned(), source };
        let mut builder = std::fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.recursive(true).create(folder).map_err(broken)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(folder, flags, Mode::empty()).map_err(|errno| broken(errno.into()))?;
        let open_in = |parent: BorrowedFd<'_>, name: &str| -> Result<OwnedFd, Errno> {
            match mkdirat(parent, name, Mode::from_raw_mode(0o700)) {
                Ok(()) => fsync(parent)?,
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
            openat(parent, name, OPEN_FOLDER, Mode::empty())
        };
        let open_all = || {
            let all = open_in(root.as_fd(), "blobs")?;
            Ok((open_in(all.as_fd(), "sha256")?, open_in(root.as_fd(), "ingest")?))
        };
        let (blobs, ingests) = open_all().map_err(|errno: Errno| broken(errno.into()))?;
        Ok(Self { blobs, ingests, busy: Mutex::default() })
    }

    /// The size of a blob, `None` when it is not here.
    pub fn size(&self, digest: &Digest) -> Result<Option<u64>, ContentError> {
        match statat(&self.blobs, blob_name(digest)?, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(u64::try_from(stat.st_size).unwrap_or(0))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(ContentError::io("look at", digest)(errno.into())),
        }
    }

    /// Opens a blob. Its bytes were right when it was stored; a reader that must know they still are hashes them again.
    pub fn blob(&self, digest: &Digest) -> Result<Blob, ContentError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(&self.blobs, blob_name(digest)?, flags, Mode::empty()) {
            Ok(fd) => {
                let file = File::from(fd);
                let size = file.metadata().map_err(ContentError::io("look at", digest))?.len();
                Ok(Blob { file, size })
            }
            Err(Errno::NOENT) => Err(ContentError::NotFound { digest: digest.clone() }),
            Err(errno) => Err(ContentError::io("open", digest)(errno.into())),
        }
    }

    /// Reads a small blob whole and verifies it again.
    pub fn read(&self, digest: &Digest, bytes_max: u64) -> Result<Vec<u8>, ContentError> {
        let blob = self.blob(digest)?;
        if blob.size > bytes_max {
            return Err(ContentError::TooLarge { digest: digest.clone(), size: blob.size, bytes_max });
        }
        let mut bytes = Vec::with_capacity(usize::try_from(blob.size).unwrap_or(0));
        blob.file.take(bytes_max).read_to_end(&mut bytes).map_err(ContentError::io("read", digest))?;
        let found = hash::digest_of(&bytes);
        if found != *digest {
            return Err(ContentError::Corrupt { digest: digest.clone(), found });
        }
        Ok(bytes)
    }

    /// Hashes a stored blob again, to find damage.
    pub fn verify(&self, digest: &Digest) -> Result<(), ContentError> {
        let mut blob = self.blob(digest)?;
        let mut hasher = Sha256Writer::new(std::io::sink());
        std::io::copy(&mut blob.file, &mut hasher).map_err(ContentError::io("read", digest))?;
        let found = hasher.finish();
        if found == *digest { Ok(()) } else { Err(ContentError::Corrupt { digest: digest.clone(), found }) }
    }

    /// Stores a small document, durably, and returns its digest.
    pub fn write(&self, bytes: &[u8]) -> Result<Digest, ContentError> {
        let digest = hash::digest_of(bytes);
        if self.size(&digest)? == Some(bytes.len() as u64) {
            return Ok(digest);
        }
        let mut ingest = self.ingest_afresh(&format!("doc-{}", digest.hex()))?;
        ingest.write(bytes)?;
        ingest.commit(Some(&digest), Some(bytes.len() as u64))?;
        Ok(digest)
    }

    /// Everything stored, in no order.
    pub fn list(&self) -> Result<Vec<Stored>, ContentError> {
        let mut stored = Vec::new();
        for hex in names(self.blobs.as_fd()).map_err(ContentError::folder("read the folder of blobs"))? {
            let Ok(digest) = format!("sha256:{hex}").parse::<Digest>() else { continue };
            if let Some(size) = self.size(&digest)? {
                stored.push(Stored { digest, size });
            }
        }
        Ok(stored)
    }

    /// Removes a blob. One that is not here is `NotFound`.
    pub fn remove(&self, digest: &Digest) -> Result<(), ContentError> {
        match unlinkat(&self.blobs, blob_name(digest)?, AtFlags::empty()) {
            Ok(()) => Ok(()),
            Err(Errno::NOENT) => Err(ContentError::NotFound { digest: digest.clone() }),
            Err(errno) => Err(ContentError::io("remove", digest)(errno.into())),
        }
    }

    /// Bytes of all blobs together.
    pub fn usage(&self) -> Result<u64, ContentError> {
        Ok(self.list()?.iter().map(|stored| stored.size).sum())
    }
}

/// The file name of a blob, for the one algorithm that is stored.
fn blob_name(digest: &Digest) -> Result<&str, ContentError> {
    match digest.algorithm() {
        Algorithm::Sha256 => Ok(digest.hex()),
        Algorithm::Sha512 => Err(ContentError::Algorithm { digest: digest.clone() }),
    }
}

fn names(folder: BorrowedFd<'_>) -> Result<Vec<String>, std::io::Error> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        if entry.file_name() != c"." && entry.file_name() != c".." && entry.file_type() != FileType::Symlink {
            names.extend(entry.file_name().to_str().ok().map(str::to_owned));
        }
    }
    Ok(names)
}
