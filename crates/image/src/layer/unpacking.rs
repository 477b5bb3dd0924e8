//! The two threads that turn compressed bytes into a committed layer folder.

use std::io::{self, BufRead, Read};
use std::sync::mpsc as blocking;

use bytes::Bytes;
use gantry_types::Digest;
use sha2::{Digest as _, Sha256};
use tokio::sync::{mpsc, oneshot};

use super::chunks::{CHUNKS_MAX, ChunkReader};
use super::error::LayerError;
use crate::layers::LayerFolder;
use crate::unpack::{self, UnpackLimits, Unpacked};

/// Bytes that travel at once from the inflating to the unpacking thread.
const PIECE_BYTES: usize = 256 << 10;
/// Pieces on their way.
const PIECES_MAX: usize = 4;

/// A running unpacker.
#[derive(Debug)]
pub(crate) struct Unpacking {
    /// Where the compressed bytes go; closing it ends the layer.
    pub(crate) bytes: mpsc::Sender<Bytes>,
    /// Tells how it ended.
    pub(crate) done: oneshot::Receiver<Result<Unpacked, LayerError>>,
}

/// Starts unpacking into `folder`. It is committed when the tar's digest is `diff_id`, else discarded. `held` is dropped
/// after either.
pub(crate) fn unpacking<H: Send + 'static>(
    folder: Box<dyn LayerFolder>,
    diff_id: Digest,
    limits: UnpackLimits,
    held: H,
) -> Result<Unpacking, LayerError> {
    let (bytes, receiver) = mpsc::channel::<Bytes>(CHUNKS_MAX);
    let (full_sender, full) = blocking::sync_channel::<io::Result<Vec<u8>>>(PIECES_MAX);
    let (empty_sender, empty) = blocking::sync_channel::<Vec<u8>>(PIECES_MAX + 2);
    let (done_sender, done) = oneshot::channel();
    start("layer-inflate", move || inflate(ChunkReader::new(receiver), &full_sender, &empty))?;
    start("layer-unpack", move || {
        let result = unpack_into(folder, PieceReader::new(full, empty_sender), diff_id, limits);
        drop(held);
        let _ = done_sender.send(result);
    })?;
    Ok(Unpacking { bytes, done })
}

/// A thread of its own, named.
pub(super) fn start(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), LayerError> {
    let thread = std::thread::Builder::new().name(name.to_owned());
    thread.spawn(work).map(|_| ()).map_err(|source| LayerError::Thread { source })
}

fn unpack_into(
    folder: Box<dyn LayerFolder>,
    mut pieces: PieceReader,
    diff_id: Digest,
    limits: UnpackLimits,
) -> Result<Unpacked, LayerError> {
    let unpacked = unpack::unpack(&mut pieces, folder.root(), limits);
    let found = pieces.digest();
    let checked = match unpacked {
        Err(source) => Err(LayerError::Unpack { diff_id: diff_id.clone(), source }),
        Ok(_) if found != diff_id => Err(LayerError::DiffId { expected: diff_id.clone(), found }),
        Ok(unpacked) => Ok(unpacked),
    };
    let kept = if checked.is_ok() { folder.commit() } else { folder.discard() };
    match (checked, kept) {
        (Ok(unpacked), Ok(())) => Ok(unpacked),
        (Ok(_), Err(source)) => Err(LayerError::Store { diff_id, source }),
        (Err(error), Ok(())) => Err(error),
        (Err(error), Err(discard)) => {
            tracing::warn!(error = %discard, "a failed layer's folder stays until the next start");
            Err(error)
        }
    }
}

fn inflate(
    source: ChunkReader,
    full: &blocking::SyncSender<io::Result<Vec<u8>>>,
    empty: &blocking::Receiver<Vec<u8>>,
) {
    let mut reader = match unpack::decoder(source) {
        Ok(reader) => reader,
        Err(error) => {
            let _ = full.send(Err(error));
            return;
        }
    };
    loop {
        let mut piece = empty.try_recv().unwrap_or_else(|_| vec![0; PIECE_BYTES]);
        piece.resize(PIECE_BYTES, 0);
        let filled = fill(&mut *reader, &mut piece);
        // A closed channel means that unpacking failed and said so.
        match filled {
            Ok(0) => return,
            Ok(count) => {
                piece.truncate(count);
                if full.send(Ok(piece)).is_err() {
                    return;
                }
            }
            Err(error) => {
                let _ = full.send(Err(error));
                return;
            }
        }
    }
}

/// Reads until the piece is full or the stream ends.
fn fill(reader: &mut dyn Read, piece: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < piece.len() {
        match reader.read(&mut piece[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The inflated pieces as a stream, hashed as they come, handed back to be filled again.
#[derive(Debug)]
struct PieceReader {
    full: blocking::Receiver<io::Result<Vec<u8>>>,
    empty: blocking::SyncSender<Vec<u8>>,
    current: Vec<u8>,
    read: usize,
    hasher: Sha256,
}

impl PieceReader {
    fn new(full: blocking::Receiver<io::Result<Vec<u8>>>, empty: blocking::SyncSender<Vec<u8>>) -> Self {
        Self { full, empty, current: Vec::new(), read: 0, hasher: Sha256::new() }
    }

    /// The digest of everything that came, read or not.
    fn digest(self) -> Digest {
        Digest::sha256(&self.hasher.finalize().into())
    }
}

impl Read for PieceReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(into.len());
        into[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for PieceReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.read == self.current.len()
            && let Ok(next) = self.full.recv()
        {
            let next = next?;
            self.hasher.update(&next);
            let used = std::mem::replace(&mut self.current, next);
            self.read = 0;
            if used.capacity() >= PIECE_BYTES {
                // A full channel of empty pieces means that there are enough.
                let _ = self.empty.try_send(used);
            }
        }
        Ok(&self.current[self.read..])
    }

    fn consume(&mut self, count: usize) {
        self.read += count;
    }
}
