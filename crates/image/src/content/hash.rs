//! Hashing while bytes pass by, so that nothing is read twice only to be verified.

use std::io::{self, Write};

use gantry_types::Digest;
use sha2::{Digest as _, Sha256};

/// Passes bytes on and hashes them.
#[derive(Debug)]
pub struct Sha256Writer<W> {
    next: W,
    hasher: Sha256,
    size: u64,
}

impl<W: Write> Sha256Writer<W> {
    /// Hashes what is written and passes it on to `next`.
    pub fn new(next: W) -> Self {
        Self { next, hasher: Sha256::new(), size: 0 }
    }

    /// How many bytes passed.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The digest of everything that passed.
    pub fn finish(self) -> Digest {
        Digest::sha256(&self.hasher.finalize().into())
    }
}

impl<W: Write> Write for Sha256Writer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.next.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.next.flush()
    }
}

/// The digest of bytes in memory.
pub(crate) fn digest_of(bytes: &[u8]) -> Digest {
    Digest::sha256(&Sha256::digest(bytes).into())
}
