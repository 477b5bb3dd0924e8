//! Reading an answer's body with a limit on bytes and time, and a registry's own words out of an error body.

use std::time::Duration;

use bytes::BytesMut;
use reqwest::Response;
use serde::Deserialize;

use super::RegistryError;
use super::client::Repository;

/// Bytes read of an error's body.
const ERROR_BYTES_MAX: u64 = 64 << 10;

impl Repository {
    /// Reads a small document whole.
    pub(super) async fn document(
        &self,
        response: Response,
        what: &'static str,
        bytes_max: u64,
    ) -> Result<Vec<u8>, RegistryError> {
        let too_large = || RegistryError::TooLarge { registry: self.registry(), what, bytes_max };
        if response.content_length().is_some_and(|length| length > bytes_max) {
            return Err(too_large());
        }
        let after_ms = self.timeouts().document_ms;
        let read = self.read_bounded(response, bytes_max);
        match tokio::time::timeout(Duration::from_millis(after_ms), read).await {
            Ok(Ok(Some(bytes))) => Ok(bytes.into()),
            Ok(Ok(None)) => Err(too_large()),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(RegistryError::Timeout { registry: self.registry(), what, after_ms }),
        }
    }

    /// `None` when there is more than the limit.
    async fn read_bounded(
        &self,
        mut response: Response,
        bytes_max: u64,
    ) -> Result<Option<BytesMut>, RegistryError> {
        let mut bytes = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|source| self.unreachable(source))? {
            if (bytes.len() + chunk.len()) as u64 > bytes_max {
                return Ok(None);
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(Some(bytes))
    }

    /// What an answer that is no success means. `what` is the name with tag or digest.
    pub(super) async fn refusal(&self, response: Response, what: &str) -> RegistryError {
        let status = response.status().as_u16();
        let registry = self.registry();
        let repository = self.reference.repository().to_owned();
        let (code, message) = self.words(response).await;
        match (status, code.as_str()) {
            (401, _) | (_, "UNAUTHORIZED") => {
                RegistryError::Unauthenticated { registry, repository, given: self.credentials.is_some() }
            }
            (403, _) | (_, "DENIED") => RegistryError::PermissionDenied { registry, repository },
            (404, _) | (_, "NAME_UNKNOWN" | "MANIFEST_UNKNOWN" | "BLOB_UNKNOWN") => {
                RegistryError::NotFound { registry, reference: what.to_owned() }
            }
            (429, _) | (_, "TOOMANYREQUESTS") => RegistryError::RateLimited { registry },
            _ => RegistryError::Status { registry, status, message },
        }
    }

    /// The first error of an OCI error body (distribution-spec, error codes), printable and cut.
    async fn words(&self, response: Response) -> (String, String) {
        #[derive(Deserialize)]
        struct Body {
            errors: Vec<Entry>,
        }
        #[derive(Deserialize)]
        struct Entry {
            code: String,
            #[serde(default)]
            message: String,
        }
        let bytes = self.document(response, "an error", ERROR_BYTES_MAX).await.unwrap_or_default();
        let clean = |text: &str| -> String { text.chars().filter(|c| !c.is_control()).take(200).collect() };
        match serde_json::from_slice::<Body>(&bytes) {
            Ok(body) => body
                .errors
                .first()
                .map(|entry| (clean(&entry.code), clean(&entry.message)))
                .unwrap_or_default(),
            Err(_) => (String::new(), String::new()),
        }
    }

    /// A failed transfer. The URL is taken out: behind a redirect it holds a signature.
    pub(super) fn unreachable(&self, source: reqwest::Error) -> RegistryError {
        RegistryError::Unreachable { registry: self.registry(), source: source.without_url() }
    }
}
