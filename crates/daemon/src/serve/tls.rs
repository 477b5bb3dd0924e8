//! TCP, for other machines: mutual TLS or nothing. A client without a certificate of the configured
//! authority does not get as far as HTTP.

use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

use crate::config::Grpc;

/// How long a client may take to prove who it is; until then it holds a connection that others wait for.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The listener with what it proves and demands; `None` where no TCP is configured.
pub(super) async fn listen(config: &Grpc) -> anyhow::Result<Option<(TcpListener, ServerTlsConfig)>> {
    if config.tcp_address.is_empty() {
        return Ok(None);
    }
    let read = |path: &std::path::Path| {
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
    };
    let identity = Identity::from_pem(read(&config.tls_certificate)?, read(&config.tls_key)?);
    let authority = Certificate::from_pem(read(&config.tls_client_ca)?);
    let listener = TcpListener::bind(&config.tcp_address)
        .await
        .with_context(|| format!("cannot listen on {}", config.tcp_address))?;
    let tls = ServerTlsConfig::new().identity(identity).client_ca_root(authority).timeout(HANDSHAKE_TIMEOUT);
    Ok(Some((listener, tls)))
}
