//! The client, and one session with one repository. A session remembers how the registry wants to be asked, so that
//! only its first request is answered with 401.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gantry_types::Reference;
use reqwest::Url;
use reqwest::header::HeaderValue;

use super::{Credentials, RegistryError, endpoint, tls};

/// How registries are spoken to; from the daemon's configuration.
#[derive(Debug, Clone, Default)]
pub struct RegistryOptions {
    /// Registries (`host[:port]`) that speak plain HTTP. Loopback needs no mark.
    pub insecure: BTreeSet<String>,
    /// Hosts (`host[:port]`) that credentials may be sent to for a token, beside the registry's own domain.
    pub trusted_realms: BTreeSet<String>,
    /// PEM files with certificate authorities, beside the machine's.
    pub authorities: Vec<PathBuf>,
    /// How long things may take.
    pub timeouts: Timeouts,
}

/// How long things may take, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// TCP and TLS.
    pub connect_ms: u64,
    /// From the request to the answer's headers.
    pub headers_ms: u64,
    /// A whole manifest, config or token.
    pub document_ms: u64,
    /// The next 64 KiB of a blob, so that dripping bytes does not hold a pull for ever.
    pub progress_ms: u64,
    /// Wait before the first retry; doubled for each further one.
    pub backoff_ms: u64,
    /// Retries of one request, or of one blob without progress in between.
    pub retries_max: u32,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect_ms: 10_000,
            headers_ms: 30_000,
            document_ms: 60_000,
            progress_ms: 60_000,
            backoff_ms: 250,
            retries_max: 4,
        }
    }
}

/// Speaks to any registry. Cheap to clone; clones share connections.
#[derive(Debug, Clone)]
pub struct RegistryClient {
    pub(super) http: reqwest::Client,
    pub(super) options: Arc<RegistryOptions>,
}

/// A session with one repository of one registry.
#[derive(Debug)]
pub(crate) struct Repository {
    pub(super) client: RegistryClient,
    pub(super) base: Url,
    pub(super) reference: Reference,
    pub(super) credentials: Option<Credentials>,
    /// What goes into `Authorization`, once known. Marked sensitive, so that no log prints it.
    pub(super) authorization: Mutex<Option<HeaderValue>>,
}

impl RegistryClient {
    /// A client; reads the machine's certificate authorities once.
    pub fn new(options: RegistryOptions) -> Result<Self, RegistryError> {
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::client_config(&options.authorities)?)
            .user_agent(concat!("gantry/", env!("CARGO_PKG_VERSION")))
            // Redirects are followed by us, because credentials and schemes are decided at each.
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .connect_timeout(Duration::from_millis(options.timeouts.connect_ms))
            .pool_max_idle_per_host(gantry_types::PULL_PARALLEL_BLOBS)
            .build()
            .map_err(|source| RegistryError::Client { source })?;
        Ok(Self { http, options: Arc::new(options) })
    }

    /// Begins a session. Nothing is sent yet. `insecure` marks this registry for this session alone.
    pub(crate) fn repository(
        &self,
        reference: &Reference,
        credentials: Option<&Credentials>,
        insecure: bool,
    ) -> Result<Repository, RegistryError> {
        let mut client = self.clone();
        if insecure {
            Arc::make_mut(&mut client.options).insecure.insert(reference.registry().to_owned());
        }
        Ok(Repository {
            base: endpoint::base_url(reference.registry(), &client.options.insecure)?,
            client,
            reference: reference.clone(),
            credentials: credentials.cloned(),
            authorization: Mutex::default(),
        })
    }
}

impl Repository {
    /// The registry as people name it.
    pub(super) fn registry(&self) -> String {
        self.reference.registry().to_owned()
    }

    pub(super) fn timeouts(&self) -> Timeouts {
        self.client.options.timeouts
    }
}
