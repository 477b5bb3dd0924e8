//! One layer of a pull: found, unpacked from a blob that is here, or fetched, kept and unpacked in one pass.

use std::sync::Arc;

use super::{PullError, PullRequest, Puller, blocking};
use crate::content::ContentError;
use crate::layer::{LayerError, keep, replay_blob, unpacking};
use crate::manifest::Descriptor;
use crate::progress::{BlobKind, BlobProgress, BlobState};
use crate::record::LayerRecord;
use crate::registry::{RegistryError, Repository};
use crate::unpack::Unpacked;
use gantry_types::SnapshotKey;

/// How often a blob is fetched from its beginning when the bytes from an earlier download turn out wrong.
const FETCHES_MAX: u32 = 2;

/// How one attempt failed.
enum Failure {
    Registry(RegistryError),
    Layer(LayerError),
}

impl Puller {
    /// Brings one layer; what it unpacked to, when it had to be unpacked.
    pub(super) async fn layer(
        &self,
        session: &Repository,
        request: &PullRequest<'_>,
        layer: &LayerRecord,
        descriptor: &Descriptor,
    ) -> Result<Option<(SnapshotKey, u64)>, PullError> {
        let tell = |state, offset| {
            let (digest, total) = (descriptor.digest.clone(), descriptor.size);
            request.progress.report(BlobProgress { digest, kind: BlobKind::Layer, state, offset, total });
        };
        let image = request.reference.familiar();
        if self.has(layer, &image).await? {
            tell(BlobState::Exists, descriptor.size);
            return Ok(None);
        }
        tell(BlobState::Waiting, 0);
        let mut attempt = 0;
        loop {
            // Held by the threads, so that a new pull never meets their ingest half closed.
            let turn = Arc::new(self.flights.enter(&descriptor.digest).await);
            if self.has(layer, &image).await? {
                tell(BlobState::Done, descriptor.size);
                return Ok(None);
            }
            attempt += 1;
            match self.one_pass(session, layer, descriptor, &tell, &turn).await {
                Ok(unpacked) => {
                    tell(BlobState::Done, descriptor.size);
                    return Ok(Some((layer.chain_id.clone(), unpacked.bytes)));
                }
                // Bytes that a crash had torn: the damaged ones are gone now.
                Err(Failure::Layer(error)) if attempt < FETCHES_MAX && is_torn(&error) => {
                    tracing::warn!(%error, digest = %descriptor.digest, "fetching a layer again from its beginning");
                }
                Err(Failure::Layer(source)) => return Err(PullError::Layer { image, source }),
                Err(Failure::Registry(source)) => return Err(PullError::Registry { image, source }),
            }
        }
    }

    async fn has(&self, layer: &LayerRecord, image: &str) -> Result<bool, PullError> {
        let (layers, key) = (Arc::clone(&self.layers), layer.chain_id.clone());
        let found = blocking(move || layers.has(&key)).await;
        found.map_err(|source| PullError::Layers { image: image.to_owned(), source })
    }

    async fn one_pass<H: Send + Sync + 'static>(
        &self,
        session: &Repository,
        layer: &LayerRecord,
        descriptor: &Descriptor,
        tell: &(impl Fn(BlobState, u64) + Sync),
        turn: &Arc<H>,
    ) -> Result<Unpacked, Failure> {
        let content =
            |source| Failure::Layer(LayerError::Content { digest: descriptor.digest.clone(), source });
        let store = |source| Failure::Layer(LayerError::Store { diff_id: layer.diff_id.clone(), source });
        let (layers, key) = (Arc::clone(&self.layers), layer.chain_id.clone());
        let folder = blocking(move || layers.prepare(&key)).await.map_err(store)?;
        let unpacker = unpacking(folder, layer.diff_id.clone(), self.limits, Arc::clone(turn))
            .map_err(Failure::Layer)?;
        let to_unpack = unpacker.bytes;

        let (blobs, digest) = (Arc::clone(&self.content), descriptor.digest.clone());
        if blocking(move || blobs.size(&digest)).await.map_err(content)? == Some(descriptor.size) {
            tell(BlobState::Unpacking, descriptor.size);
            let (blobs, digest) = (Arc::clone(&self.content), descriptor.digest.clone());
            let read = blocking(move || {
                let read = replay_blob(&blobs, &digest, &to_unpack);
                if matches!(read, Err(ContentError::Corrupt { .. })) {
                    // Not worth keeping; if the removal fails, so will the next read.
                    let _ = blobs.remove(&digest);
                }
                read
            });
            let read = read.await;
            let outcome = unpacker.done.await.unwrap_or(Err(LayerError::GivenUp));
            read.map_err(content)?;
            return outcome.map_err(Failure::Layer);
        }

        let keeper = keep(
            Arc::clone(&self.content),
            descriptor.digest.clone(),
            descriptor.size,
            to_unpack.clone(),
            Arc::clone(turn),
        )
        .map_err(Failure::Layer)?;
        let fetched = match keeper.offset.await {
            Ok(offset) => {
                let mut stream = session.blob(descriptor, offset);
                let (resumed, mut offset) = (offset > 0, offset);
                loop {
                    tell(BlobState::Fetching, offset);
                    match stream.next().await {
                        Ok(Some(piece)) => {
                            offset += piece.len() as u64;
                            // A side that closed has failed and tells why below. When unpacking fails on bytes from
                            // an earlier download, only the whole blob's digest can tell whether they were torn.
                            let kept = keeper.bytes.send(piece.clone()).await.is_ok();
                            let unpacks = to_unpack.send(piece).await.is_ok();
                            if !kept || !(unpacks || resumed) {
                                break Ok(());
                            }
                        }
                        Ok(None) => break Ok(()),
                        Err(error) => break Err(error),
                    }
                }
            }
            // The keeper ended before it could say where to begin.
            Err(_) => Ok(()),
        };
        drop((to_unpack, keeper.bytes));
        tell(BlobState::Unpacking, descriptor.size);
        let kept = keeper.done.await;
        let outcome = unpacker.done.await.unwrap_or(Err(LayerError::GivenUp));
        fetched.map_err(Failure::Registry)?;
        match (kept, outcome) {
            // Wrong bytes explain why they did not unpack; too few bytes come from unpacking having stopped.
            (Ok(Err(ContentError::SizeMismatch { .. })), Err(error)) => Err(Failure::Layer(error)),
            (Ok(Err(source)), _) => Err(content(source)),
            (_, Err(error)) => Err(Failure::Layer(error)),
            (Err(_), Ok(_)) => Err(Failure::Layer(LayerError::GivenUp)),
            (Ok(Ok(())), Ok(layer)) => Ok(layer),
        }
    }
}

/// Whether fetching the blob from its beginning may help.
fn is_torn(error: &LayerError) -> bool {
    match error {
        LayerError::Content { source, .. } => {
            matches!(source, ContentError::DigestMismatch { .. } | ContentError::Corrupt { .. })
        }
        LayerError::Unpack { .. }
        | LayerError::DiffId { .. }
        | LayerError::Store { .. }
        | LayerError::Thread { .. }
        | LayerError::GivenUp => false,
    }
}
