//! What a pull asks of a repository: a name resolved, a document by its descriptor, a blob as a stream that goes on
//! after a break. URLs below foreign hosts that a descriptor may carry (`urls`) are never used.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use gantry_types::{Digest, MANIFEST_BYTES_MAX};
use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE};
use reqwest::{Response, StatusCode, Url};

use super::RegistryError;
use super::client::Repository;
use super::transport::Ask;
use crate::content::digest_of;
use crate::manifest::{Descriptor, Document, MediaType};

/// Bytes that one call of [`BlobStream::next`] gathers at least, unless the blob ends.
const PIECE_BYTES: usize = 256 << 10;
/// Bytes that must come within [`Timeouts::progress_ms`](super::Timeouts).
const PROGRESS_BYTES: usize = 64 << 10;

/// What a name points to.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The digest of the bytes.
    pub digest: Digest,
    /// The bytes as the registry sent them.
    pub bytes: Vec<u8>,
    /// The same, parsed.
    pub document: Document,
}

impl Resolved {
    /// What the document is.
    pub fn media_type(&self) -> &MediaType {
        match &self.document {
            Document::Manifest(manifest) => &manifest.media_type,
            Document::Index(index) => &index.media_type,
        }
    }
}

/// A blob on its way. Not cancel safe: dropping a call of `next` may lose bytes, so drop the stream with it.
#[derive(Debug)]
pub struct BlobStream<'session> {
    repository: &'session Repository,
    digest: Digest,
    size: u64,
    offset: u64,
    response: Option<Response>,
    /// Bytes still to skip, when the registry ignored the range.
    skip: u64,
    attempt: u32,
}

impl Repository {
    /// Asks what the reference points to; a digest in it is verified.
    pub(crate) async fn resolve(&self) -> Result<Resolved, RegistryError> {
        let selector = self.reference.manifest_selector();
        self.fetch_document(&selector, self.reference.digest(), None).await
    }

    /// Fetches the manifest or index that a descriptor names.
    pub(crate) async fn document_of(&self, descriptor: &Descriptor) -> Result<Resolved, RegistryError> {
        let selector = descriptor.digest.to_string();
        let resolved =
            self.fetch_document(&selector, Some(&descriptor.digest), Some(&descriptor.media_type)).await?;
        if resolved.bytes.len() as u64 != descriptor.size {
            return Err(self.wrong_size(&descriptor.digest, descriptor.size, resolved.bytes.len() as u64));
        }
        Ok(resolved)
    }

    /// Fetches a small blob whole, verified.
    pub(crate) async fn small_blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>, RegistryError> {
        let response = self.get(&self.blob_ask(&descriptor.digest, 0)).await?;
        let bytes = self.document(response, "an image config", descriptor.size).await?;
        if bytes.len() as u64 != descriptor.size {
            return Err(self.wrong_size(&descriptor.digest, descriptor.size, bytes.len() as u64));
        }
        self.verify(&bytes, &descriptor.digest)?;
        Ok(bytes)
    }

    /// Begins a blob at `offset`. Nothing is sent before the first `next`.
    pub(crate) fn blob(&self, descriptor: &Descriptor, offset: u64) -> BlobStream<'_> {
        BlobStream {
            repository: self,
            digest: descriptor.digest.clone(),
            size: descriptor.size,
            offset,
            response: None,
            skip: 0,
            attempt: 0,
        }
    }

    async fn fetch_document(
        &self,
        selector: &str,
        digest: Option<&Digest>,
        announced: Option<&MediaType>,
    ) -> Result<Resolved, RegistryError> {
        let what = self.name_of(selector);
        let url = self.url(&format!("manifests/{selector}"));
        let ask = Ask { url, accept: crate::manifest::ACCEPT, offset: 0, what: what.clone() };
        let response = self.get(&ask).await?;
        let header = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let content_type = header.map(MediaType::parse);
        let bytes = self.document(response, "a manifest", MANIFEST_BYTES_MAX).await?;
        if let Some(digest) = digest {
            self.verify(&bytes, digest)?;
        }
        let unusable = |source| RegistryError::Document {
            registry: self.registry(),
            reference: what.clone(),
            source: Box::new(source),
        };
        if let (Some(outside), Some(inside)) = (announced, &content_type)
            && outside != inside
        {
            return Err(unusable(crate::manifest::ManifestError::MediaTypeDisagrees {
                inside: inside.to_string(),
                outside: outside.to_string(),
            }));
        }
        let document = Document::parse(&bytes, content_type.as_ref().or(announced)).map_err(unusable)?;
        Ok(Resolved { digest: digest_of(&bytes), bytes, document })
    }

    fn verify(&self, bytes: &[u8], expected: &Digest) -> Result<(), RegistryError> {
        let found = digest_of(bytes);
        if found == *expected {
            return Ok(());
        }
        Err(RegistryError::DigestMismatch { registry: self.registry(), expected: expected.clone(), found })
    }

    fn wrong_size(&self, digest: &Digest, expected: u64, found: u64) -> RegistryError {
        RegistryError::SizeMismatch { registry: self.registry(), digest: digest.clone(), expected, found }
    }

    fn blob_ask(&self, digest: &Digest, offset: u64) -> Ask {
        let url = self.url(&format!("blobs/{digest}"));
        Ask { url, accept: "", offset, what: self.name_of(&digest.to_string()) }
    }

    fn url(&self, rest: &str) -> Url {
        let path = format!("{}/{rest}", self.reference.repository());
        self.base.join(&path).expect("a checked repository and digest make a path")
    }

    fn name_of(&self, selector: &str) -> String {
        let separator = if selector.contains(':') { '@' } else { ':' };
        format!("{}{separator}{selector}", self.reference.repository())
    }
}

impl BlobStream<'_> {
    /// The next piece, about 256 KiB; `None` at the end, which comes exactly at the size promised. A connection that breaks is
    /// taken up again where it broke.
    pub async fn next(&mut self) -> Result<Option<Bytes>, RegistryError> {
        loop {
            if self.offset == self.size {
                return Ok(None);
            }
            match self.piece().await {
                Ok(piece) if !piece.is_empty() => {
                    self.offset += piece.len() as u64;
                    self.attempt = 0;
                    if self.offset > self.size {
                        return Err(self.repository.wrong_size(&self.digest, self.size, self.offset));
                    }
                    return Ok(Some(piece));
                }
                // A body that ends early: proxies do that; the bytes missing may come with the next request.
                Ok(_) if self.attempt < self.repository.timeouts().retries_max => {}
                Ok(_) => return Err(self.repository.wrong_size(&self.digest, self.size, self.offset)),
                Err(error)
                    if error.is_transient() && self.attempt < self.repository.timeouts().retries_max =>
                {
                    tracing::debug!(%error, offset = self.offset, "taking up the blob where it broke");
                }
                Err(error) => return Err(error),
            }
            self.response = None;
            self.repository.backoff(self.attempt).await;
            self.attempt += 1;
        }
    }

    async fn piece(&mut self) -> Result<Bytes, RegistryError> {
        if self.response.is_none() {
            self.open().await?;
        }
        let mut gathered = BytesMut::new();
        while gathered.len() < PIECE_BYTES {
            let after_ms = self.repository.timeouts().progress_ms;
            let fill = self.fill(&mut gathered);
            match tokio::time::timeout(Duration::from_millis(after_ms), fill).await {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) => break,
                // What came before the break is good; the break shows again with the next piece.
                Ok(Err(_)) if !gathered.is_empty() => {
                    self.response = None;
                    break;
                }
                Ok(Err(error)) => return Err(error),
                Err(_) => {
                    let registry = self.repository.registry();
                    return Err(RegistryError::Timeout {
                        registry,
                        what: "the next bytes of a layer",
                        after_ms,
                    });
                }
            }
        }
        Ok(gathered.freeze())
    }

    /// Adds at least 64 KiB, so that the time allowed is for progress and not for one byte. `false` at the end.
    async fn fill(&mut self, gathered: &mut BytesMut) -> Result<bool, RegistryError> {
        let Some(response) = &mut self.response else { return Ok(false) };
        let enough = gathered.len() + PROGRESS_BYTES;
        while gathered.len() < enough {
            let Some(mut chunk) =
                response.chunk().await.map_err(|source| self.repository.unreachable(source))?
            else {
                return Ok(false);
            };
            let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(chunk.len());
            self.skip -= skipped as u64;
            gathered.extend_from_slice(&chunk.split_off(skipped));
        }
        Ok(true)
    }

    async fn open(&mut self) -> Result<(), RegistryError> {
        let ask = self.repository.blob_ask(&self.digest, self.offset);
        let response = self.repository.get(&ask).await?;
        let starts_at = match response.status() {
            StatusCode::PARTIAL_CONTENT => range_start(&response).unwrap_or(self.offset),
            _ => 0,
        };
        if starts_at > self.offset {
            return Err(self.repository.wrong_size(&self.digest, self.size, starts_at));
        }
        self.skip = self.offset - starts_at;
        self.response = Some(response);
        Ok(())
    }
}

/// The first byte of `Content-Range: bytes 5-9/10`.
fn range_start(response: &Response) -> Option<u64> {
    let text = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    text.strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}
