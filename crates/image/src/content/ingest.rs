//! An ingest: bytes on their way to becoming a blob. It survives the process, so that a download that broke at
//! 99 % goes on from there; what a crash may have torn in it is found by the digest at the end, never before.
//!
//! ```text
//!   ingest ──(replay, when it has bytes already)──► write… ──commit──► blob
//!      └── dropped: bytes stay for the next one          └── wrong digest: bytes are deleted
//! ```

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::PoisonError;

use rustix::fs::{AtFlags, Mode, OFlags, fsync, mkdirat, openat, renameat, unlinkat};
use rustix::io::Errno;

use bytes::Bytes;
use gantry_types::Digest;
use sha2::{Digest as _, Sha256};

use super::{ContentError, ContentStore, OPEN_FOLDER, blob_name, names};

const REPLAY_CHUNK_BYTES: usize = 256 << 10;

/// An open ingest. Only one per id at a time.
#[derive(Debug)]
pub struct Ingest<'store> {
    store: &'store ContentStore,
    id: String,
    folder: OwnedFd,
    file: File,
    hasher: Sha256,
    /// Bytes in the file that were hashed.
    hashed: u64,
    /// Bytes in the file.
    size: u64,
}

impl ContentStore {
    /// Opens the unfinished download of `digest`, or begins one. Bytes from before must be replayed first.
    pub fn ingest(&self, digest: &Digest) -> Result<Ingest<'_>, ContentError> {
        self.open_ingest(blob_name(digest)?)
    }

    /// Opens an ingest under a name of the caller's own, empty. For bytes whose digest is not known yet.
    pub(crate) fn ingest_afresh(&self, id: &str) -> Result<Ingest<'_>, ContentError> {
        let mut ingest = self.open_ingest(id)?;
        ingest.restart()?;
        Ok(ingest)
    }

    /// Deletes every ingest that nobody writes now, for example when a client asks for the space.
    pub fn discard_ingests(&self) -> Result<usize, ContentError> {
        let mut count = 0;
        for id in names(self.ingests.as_fd()).map_err(ContentError::folder("read the folder of ingests"))? {
            match self.open_ingest(&id) {
                Ok(ingest) => ingest.discard()?,
                Err(ContentError::Busy { .. }) => continue,
                Err(error) => return Err(error),
            }
            count += 1;
        }
        Ok(count)
    }

    fn open_ingest(&self, id: &str) -> Result<Ingest<'_>, ContentError> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        if !busy.insert(id.to_owned()) {
            return Err(ContentError::Busy { id: id.to_owned() });
        }
        drop(busy);
        self.open_files(id).inspect_err(|_| self.release(id))
    }

    fn open_files(&self, id: &str) -> Result<Ingest<'_>, ContentError> {
        let failed = |errno: Errno| ContentError::io("open ingest", id)(errno.into());
        match mkdirat(&self.ingests, id, Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(failed(errno)),
        }
        let folder = openat(&self.ingests, id, OPEN_FOLDER, Mode::empty()).map_err(failed)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(openat(&folder, c"data", flags, Mode::from_raw_mode(0o600)).map_err(failed)?);
        let size = file.metadata().map_err(ContentError::io("look at ingest", id))?.len();
        Ok(Ingest { store: self, id: id.to_owned(), folder, file, hasher: Sha256::new(), hashed: 0, size })
    }

    fn release(&self, id: &str) {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }
}

impl Ingest<'_> {
    /// Bytes it has. A download goes on from here.
    pub fn offset(&self) -> u64 {
        self.size
    }

    /// Hashes the bytes from before, and hands them to `sink` in order.
    pub fn replay<E: From<ContentError>>(
        &mut self,
        mut sink: impl FnMut(Bytes) -> Result<(), E>,
    ) -> Result<(), E> {
        while self.hashed < self.size {
            let left = usize::try_from(self.size - self.hashed).unwrap_or(usize::MAX);
            let mut chunk = vec![0; left.min(REPLAY_CHUNK_BYTES)];
            self.file.read_exact(&mut chunk).map_err(ContentError::io("read ingest", &self.id))?;
            self.hasher.update(&chunk);
            self.hashed += chunk.len() as u64;
            sink(chunk.into())?;
        }
        Ok(())
    }

    /// Appends bytes.
    ///
    /// # Panics
    /// When bytes from before were not replayed: a bug of the caller's.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), ContentError> {
        assert_eq!(self.hashed, self.size, "bytes from before are replayed before new ones are written");
        self.file.write_all(bytes).map_err(ContentError::io("write ingest", &self.id))?;
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        self.hashed = self.size;
        Ok(())
    }

    /// Forgets the bytes it has.
    pub fn restart(&mut self) -> Result<(), ContentError> {
        self.file.set_len(0).map_err(ContentError::io("empty ingest", &self.id))?;
        std::io::Seek::rewind(&mut self.file).map_err(ContentError::io("empty ingest", &self.id))?;
        self.hasher = Sha256::new();
        (self.hashed, self.size) = (0, 0);
        Ok(())
    }

    /// Verifies, flushes and renames into place. Wrong bytes are deleted; too few are kept for the next time.
    ///
    /// # Panics
    /// When bytes from before were not replayed: a bug of the caller's.
    pub fn commit(self, digest: Option<&Digest>, size: Option<u64>) -> Result<Digest, ContentError> {
        assert_eq!(self.hashed, self.size, "bytes from before are replayed before a commit");
        let found = Digest::sha256(&self.hasher.clone().finalize().into());
        if let Some(expected) = size
            && expected != self.size
        {
            let error = ContentError::SizeMismatch { name: self.id.clone(), expected, found: self.size };
            if self.size > expected {
                self.discard()?;
            }
            return Err(error);
        }
        if let Some(expected) = digest
            && *expected != found
        {
            let expected = expected.clone();
            self.discard()?;
            return Err(ContentError::DigestMismatch { expected, found });
        }
        let failed = |action| ContentError::io(action, &found);
        self.file.sync_data().map_err(failed("flush"))?;
        renameat(&self.folder, c"data", &self.store.blobs, found.hex())
            .map_err(|errno| failed("rename")(errno.into()))?;
        fsync(&self.store.blobs).map_err(|errno| failed("flush the folder of")(errno.into()))?;
        // An empty folder that stays is taken by the next ingest of the same name.
        let _ = unlinkat(&self.store.ingests, self.id.as_str(), AtFlags::REMOVEDIR);
        Ok(found)
    }

    /// Deletes it.
    pub fn discard(self) -> Result<(), ContentError> {
        let failed = |errno: Errno| ContentError::io("delete ingest", &self.id)(errno.into());
        match unlinkat(&self.folder, c"data", AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(failed(errno)),
        }
        unlinkat(&self.store.ingests, self.id.as_str(), AtFlags::REMOVEDIR).map_err(failed)
    }
}

impl Drop for Ingest<'_> {
    fn drop(&mut self) {
        self.store.release(&self.id);
    }
}
