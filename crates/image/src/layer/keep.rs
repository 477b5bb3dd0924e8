//! The thread that keeps a compressed blob: hashes and writes it, and first hands on what an earlier download left.

use std::sync::Arc;

use bytes::Bytes;
use gantry_types::Digest;
use tokio::sync::{mpsc, oneshot};

use super::chunks::CHUNKS_MAX;
use super::error::LayerError;
use super::unpacking::start;
use crate::content::{ContentError, ContentStore};

/// A running keeper.
#[derive(Debug)]
pub(crate) struct Keeping {
    /// Where the bytes from the network go.
    pub(crate) bytes: mpsc::Sender<Bytes>,
    /// Tells how many bytes are there from before, once they are hashed and handed on.
    pub(crate) offset: oneshot::Receiver<u64>,
    /// Tells how it ended.
    pub(crate) done: oneshot::Receiver<Result<(), ContentError>>,
}

/// Starts keeping `digest`. Bytes from an earlier download go to `replay`. `held` is dropped when the thread is done with
/// the ingest, however that comes about.
pub(crate) fn keep<H: Send + 'static>(
    content: Arc<ContentStore>,
    digest: Digest,
    size: u64,
    replay: mpsc::Sender<Bytes>,
    held: H,
) -> Result<Keeping, LayerError> {
    let (bytes, mut receiver) = mpsc::channel::<Bytes>(CHUNKS_MAX);
    let (offset_sender, offset) = oneshot::channel();
    let (done_sender, done) = oneshot::channel();
    start("layer-keep", move || {
        let work = || -> Result<(), ContentError> {
            let mut ingest = content.ingest(&digest)?;
            if ingest.offset() > size {
                ingest.restart()?;
            }
            ingest.replay(|chunk| {
                // A closed channel means that unpacking failed; its error is the one to tell.
                let _ = replay.blocking_send(chunk);
                Ok::<(), ContentError>(())
            })?;
            drop(replay);
            if offset_sender.send(ingest.offset()).is_err() {
                return Ok(());
            }
            while let Some(chunk) = receiver.blocking_recv() {
                ingest.write(&chunk)?;
            }
            ingest.commit(Some(&digest), Some(size)).map(|_| ())
        };
        let result = work();
        drop(held);
        // Nobody listens any more when the pull was given up.
        let _ = done_sender.send(result);
    })?;
    Ok(Keeping { bytes, offset, done })
}

/// Reads a stored blob into `bytes` and verifies it on the way. Blocks.
pub(crate) fn replay_blob(
    content: &ContentStore,
    digest: &Digest,
    bytes: &mpsc::Sender<Bytes>,
) -> Result<(), ContentError> {
    use std::io::{Read as _, Write as _};
    let mut blob = content.blob(digest)?;
    let mut hasher = crate::content::Sha256Writer::new(std::io::sink());
    loop {
        let mut chunk = Vec::with_capacity(256 << 10);
        let piece = std::io::Read::by_ref(&mut blob.file).take(256 << 10).read_to_end(&mut chunk);
        piece.map_err(ContentError::io("read", digest))?;
        if chunk.is_empty() {
            break;
        }
        hasher.write_all(&chunk).map_err(ContentError::io("hash", digest))?;
        // Unpacking may have failed because these bytes are damaged, which only reading on can tell.
        let _ = bytes.blocking_send(chunk.into());
    }
    let found = hasher.finish();
    if found == *digest { Ok(()) } else { Err(ContentError::Corrupt { digest: digest.clone(), found }) }
}
