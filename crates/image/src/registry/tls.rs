//! TLS for registries: rustls with ring, the machine's certificate authorities (also those of `SSL_CERT_FILE`), and the
//! operator's own in PEM files. There is no switch that turns verification off; a host marked insecure uses plain HTTP.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::RegistryError;

/// The client configuration for every connection to a registry.
pub(super) fn client_config(authorities: &[PathBuf]) -> Result<rustls::ClientConfig, RegistryError> {
    let mut roots = rustls::RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    for error in &native.errors {
        tracing::debug!(%error, "a certificate of the machine cannot be read");
    }
    // A machine without certificates still pulls from loopback; HTTPS then fails with an unknown issuer.
    roots.add_parsable_certificates(native.certs);
    for path in authorities {
        let broken = |source| RegistryError::Authority { path: path.clone(), source };
        for certificate in CertificateDer::pem_file_iter(path).map_err(broken)? {
            roots.add_parsable_certificates([certificate.map_err(broken)?]);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring offers the default protocol versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}
