//! Why a registry did not give what was asked for.

use std::path::PathBuf;

use gantry_types::{Class, Classified, Digest, Resource};

use crate::manifest::ManifestError;

/// A failed request to a registry.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The registry's name makes no URL.
    #[error("registry {registry:?} is not an address")]
    Address {
        /// The registry.
        registry: String,
    },
    /// A file of certificate authorities cannot be read.
    #[error("certificate authorities in {} cannot be read", path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// The HTTP client cannot be made.
    #[error("the HTTP client cannot be made")]
    Client {
        /// Why.
        source: reqwest::Error,
    },
    /// No connection, or it broke.
    #[error("registry {registry} cannot be reached")]
    Unreachable {
        /// The registry.
        registry: String,
        /// Why; without the URL, which may hold a signature.
        source: reqwest::Error,
    },
    /// It took too long.
    #[error("registry {registry} did not send {what} within {after_ms} ms")]
    Timeout {
        /// The registry.
        registry: String,
        /// What was waited for.
        what: &'static str,
        /// How long.
        after_ms: u64,
    },
    /// An answer is larger than anything of its kind may be.
    #[error("registry {registry} sent more than {bytes_max} bytes for {what}")]
    TooLarge {
        /// The registry.
        registry: String,
        /// What was asked for.
        what: &'static str,
        /// The limit.
        bytes_max: u64,
    },
    /// A redirect that is not followed.
    #[error("registry {registry} redirects to {to:?}, which is not followed")]
    Redirect {
        /// The registry.
        registry: String,
        /// Scheme and host it points to.
        to: String,
    },
    /// There is no such image, or no such blob of it.
    #[error("{reference} is not in registry {registry}")]
    NotFound {
        /// The registry.
        registry: String,
        /// Name and tag or digest.
        reference: String,
    },
    /// Credentials are needed, or those given are wrong.
    #[error("registry {registry} wants {} to read {repository}", if *.given { "other credentials" } else { "credentials" })]
    Unauthenticated {
        /// The registry.
        registry: String,
        /// The repository.
        repository: String,
        /// Whether credentials were given.
        given: bool,
    },
    /// The registry points to a realm that credentials may not go to, and without them it refused.
    #[error("registry {registry} wants the credentials to be sent to {realm}, which does not belong to it")]
    RealmRefused {
        /// The registry.
        registry: String,
        /// Host and port of the realm.
        realm: String,
    },
    /// The credentials do not give this right.
    #[error("registry {registry} does not allow reading {repository}")]
    PermissionDenied {
        /// The registry.
        registry: String,
        /// The repository.
        repository: String,
    },
    /// Too many requests.
    #[error("registry {registry} says that too many requests were made")]
    RateLimited {
        /// The registry.
        registry: String,
    },
    /// Another status, with what the registry said about it, cut to 200 characters.
    #[error("registry {registry} answered {status} {message:?}")]
    Status {
        /// The registry.
        registry: String,
        /// HTTP status.
        status: u16,
        /// Its words.
        message: String,
    },
    /// The token service's answer has no token.
    #[error("the token service of registry {registry} gave no token")]
    Token {
        /// The registry.
        registry: String,
    },
    /// A document does not have the digest it was asked for by.
    #[error("registry {registry} sent bytes with digest {found} for {expected}")]
    DigestMismatch {
        /// The registry.
        registry: String,
        /// What was asked for.
        expected: Digest,
        /// What came.
        found: Digest,
    },
    /// A blob is longer or shorter than its descriptor says.
    #[error("registry {registry} sent {found} bytes for {digest}, which has {expected}")]
    SizeMismatch {
        /// The registry.
        registry: String,
        /// The blob.
        digest: Digest,
        /// Bytes promised.
        expected: u64,
        /// Bytes that came.
        found: u64,
    },
    /// The document is no image.
    #[error("{reference} in registry {registry} is not usable")]
    Document {
        /// The registry.
        registry: String,
        /// Name and tag or digest.
        reference: String,
        /// Why; boxed, because it is much larger than the other errors.
        source: Box<ManifestError>,
    },
}

impl RegistryError {
    /// Whether the same request may succeed a moment later.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Timeout { .. } | Self::RateLimited { .. } => true,
            Self::Status { status, .. } => *status >= 500,
            Self::Address { .. }
            | Self::Authority { .. }
            | Self::Client { .. }
            | Self::TooLarge { .. }
            | Self::Redirect { .. }
            | Self::NotFound { .. }
            | Self::Unauthenticated { .. }
            | Self::RealmRefused { .. }
            | Self::PermissionDenied { .. }
            | Self::Token { .. }
            | Self::DigestMismatch { .. }
            | Self::SizeMismatch { .. }
            | Self::Document { .. } => false,
        }
    }
}

impl Classified for RegistryError {
    fn class(&self) -> Class {
        match self {
            Self::Address { .. } | Self::Authority { .. } => Class::InvalidArgument,
            Self::Client { .. } => Class::Internal,
            Self::Unreachable { .. } | Self::RateLimited { .. } => Class::Unavailable,
            Self::Timeout { .. } => Class::DeadlineExceeded,
            Self::TooLarge { .. } | Self::DigestMismatch { .. } | Self::SizeMismatch { .. } => {
                Class::DataLoss
            }
            Self::NotFound { .. } => Class::NotFound,
            Self::Unauthenticated { .. } => Class::Unauthenticated,
            Self::PermissionDenied { .. } | Self::RealmRefused { .. } => Class::PermissionDenied,
            Self::Status { status, .. } if *status >= 500 => Class::Unavailable,
            Self::Redirect { .. } | Self::Token { .. } | Self::Status { .. } => Class::FailedPrecondition,
            Self::Document { source, .. } => source.class(),
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Address { .. } => "REGISTRY_ADDRESS_INVALID",
            Self::Authority { .. } => "CERTIFICATE_FILE_INVALID",
            Self::Client { .. } => "HTTP_CLIENT_FAILED",
            Self::Unreachable { .. } => "REGISTRY_UNREACHABLE",
            Self::Timeout { .. } => "REGISTRY_TIMEOUT",
            Self::TooLarge { .. } => "REGISTRY_ANSWER_TOO_LARGE",
            Self::Redirect { .. } => "REGISTRY_REDIRECT_REFUSED",
            Self::NotFound { .. } => "IMAGE_NOT_IN_REGISTRY",
            Self::Unauthenticated { .. } => "REGISTRY_UNAUTHENTICATED",
            Self::RealmRefused { .. } => "REGISTRY_REALM_REFUSED",
            Self::PermissionDenied { .. } => "REGISTRY_PERMISSION_DENIED",
            Self::RateLimited { .. } => "REGISTRY_RATE_LIMITED",
            Self::Status { .. } => "REGISTRY_STATUS",
            Self::Token { .. } => "REGISTRY_TOKEN_INVALID",
            Self::DigestMismatch { .. } => "DIGEST_MISMATCH",
            Self::SizeMismatch { .. } => "SIZE_MISMATCH",
            Self::Document { source, .. } => source.reason(),
        }
    }

    fn resource(&self) -> Option<Resource> {
        match self {
            Self::NotFound { registry, reference } | Self::Document { registry, reference, .. } => {
                Some(Resource { kind: "image", name: format!("{registry}/{reference}") })
            }
            Self::Authority { .. } | Self::Client { .. } => None,
            Self::Address { registry }
            | Self::Unreachable { registry, .. }
            | Self::Timeout { registry, .. }
            | Self::TooLarge { registry, .. }
            | Self::Redirect { registry, .. }
            | Self::Unauthenticated { registry, .. }
            | Self::RealmRefused { registry, .. }
            | Self::PermissionDenied { registry, .. }
            | Self::RateLimited { registry }
            | Self::Status { registry, .. }
            | Self::Token { registry }
            | Self::DigestMismatch { registry, .. }
            | Self::SizeMismatch { registry, .. } => {
                Some(Resource { kind: "registry", name: registry.clone() })
            }
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Unreachable { .. } => Some(
                "check the registry's name and the network; a registry that speaks plain HTTP must be marked insecure"
                    .into(),
            ),
            Self::NotFound { .. } => Some("check the spelling of name and tag; private images need credentials".into()),
            Self::Unauthenticated { given: true, .. } => Some("check user name and password".into()),
            Self::Unauthenticated { given: false, .. } => Some("give a user name and a password or token".into()),
            Self::RealmRefused { realm, .. } => {
                Some(format!("if {realm} is right, add it to the registry's trusted realms in the configuration"))
            }
            Self::PermissionDenied { .. } => Some("use an account that may read this repository".into()),
            Self::RateLimited { .. } => Some("wait, or log in for a higher limit".into()),
            Self::Timeout { .. } => Some("try again; what was fetched is kept".into()),
            Self::Document { source, .. } => source.hint(),
            Self::DigestMismatch { .. } | Self::SizeMismatch { .. } => {
                Some("the registry or something on the way changed the bytes; do not use them".into())
            }
            Self::Address { .. }
            | Self::Authority { .. }
            | Self::Client { .. }
            | Self::TooLarge { .. }
            | Self::Redirect { .. }
            | Self::Status { .. }
            | Self::Token { .. } => None,
        }
    }
}
