//! How far a pull or an import is. Told by callback, often and from any thread; whoever listens keeps the last of each
//! blob and shows it at its own pace. A listener must not block.

use gantry_types::Digest;

/// The state of one blob of a pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobProgress {
    /// The blob.
    pub digest: Digest,
    /// What kind of blob.
    pub kind: BlobKind,
    /// Where it is.
    pub state: BlobState,
    /// Bytes here, of those that are moved over the network or read from the archive.
    pub offset: u64,
    /// Bytes in all; 0 when not known.
    pub total: u64,
}

/// What kind of blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlobKind {
    /// An index.
    Index,
    /// A manifest.
    Manifest,
    /// An image config.
    Config,
    /// A layer.
    Layer,
}

/// Where a blob is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlobState {
    /// It was there already.
    Exists,
    /// It waits for its turn, or for another pull that fetches the same blob.
    Waiting,
    /// It is being fetched, and unpacked at the same time.
    Fetching,
    /// It is here; unpacking and flushing go on.
    Unpacking,
    /// It is done.
    Done,
}

/// Who listens. `()` listens to nothing.
pub trait Progress: Send + Sync {
    /// Takes one report.
    fn report(&self, progress: BlobProgress);
}

impl Progress for () {
    fn report(&self, _: BlobProgress) {}
}

impl<F: Fn(BlobProgress) + Send + Sync> Progress for F {
    fn report(&self, progress: BlobProgress) {
        self(progress);
    }
}
