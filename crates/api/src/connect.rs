//! How a client reaches a daemon: an address as people write it, and one connection to it. A unix socket needs
//! no TLS, and none is set up for it; TCP is spoken with mutual TLS only, so a connection without keys is
//! refused here before the daemon would.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use gantry_types::{Class, Classified};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

/// Where the daemon listens unless it was told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/gantry/gantry.sock";

/// Where a daemon is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A unix socket, by its absolute path.
    Unix(PathBuf),
    /// A TCP port, as `host:port`.
    Tcp(String),
}

/// What mutual TLS needs, each in PEM form.
#[derive(Clone)]
pub struct TlsMaterials {
    /// The authority that signed the daemon's certificate.
    pub authority_pem: Vec<u8>,
    /// The client's certificate.
    pub certificate_pem: Vec<u8>,
    /// The client's private key.
    pub key_pem: Vec<u8>,
    /// The name in the daemon's certificate; `None` means the address's host.
    pub server_name: Option<String>,
}

impl std::fmt::Debug for TlsMaterials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The key is a secret.
        f.debug_struct("TlsMaterials").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The text is no address.
    #[error("{text:?} is not the address of a daemon")]
    Address {
        /// What was given.
        text: String,
    },
    /// A TCP address without keys.
    #[error("tcp://{address} needs a certificate, a key and the authority's certificate")]
    TlsNeeded {
        /// The address.
        address: String,
    },
    /// The TLS materials cannot be used.
    #[error("the TLS certificates and keys cannot be used")]
    Tls {
        /// Why.
        source: tonic::transport::Error,
    },
    /// Nothing answers there.
    #[error("cannot connect to the daemon at {address}")]
    Unreachable {
        /// The address, as people write it.
        address: String,
        /// Why.
        source: tonic::transport::Error,
    },
}

impl Classified for ConnectError {
    fn class(&self) -> Class {
        match self {
            Self::Address { .. } | Self::TlsNeeded { .. } | Self::Tls { .. } => Class::InvalidArgument,
            Self::Unreachable { .. } => Class::Unavailable,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Address { .. } => "ADDRESS_INVALID",
            Self::TlsNeeded { .. } => "TLS_NEEDED",
            Self::Tls { .. } => "TLS_INVALID",
            Self::Unreachable { .. } => "DAEMON_UNREACHABLE",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Address { .. } => Some("write it as unix:///path/to/socket or tcp://host:port".into()),
            Self::TlsNeeded { .. } => Some("give all three, or use the unix socket".into()),
            Self::Tls { .. } => {
                Some("they must be in PEM form, and the key must be the certificate's".into())
            }
            Self::Unreachable { address, .. } if address.starts_with("tcp:") => Some(
                "does gantryd listen there (grpc.tcp_address), does its certificate have this name, and is it \
                 of the authority given?"
                    .into(),
            ),
            Self::Unreachable { .. } => {
                Some("is gantryd running, and may you use its socket (group gantry)?".into())
            }
        }
    }
}

impl FromStr for Address {
    type Err = ConnectError;

    fn from_str(text: &str) -> Result<Self, ConnectError> {
        let refused = || ConnectError::Address { text: text.chars().take(160).collect() };
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.starts_with('/') { Ok(Self::Unix(path.into())) } else { Err(refused()) };
        }
        let address = text.strip_prefix("tcp://").ok_or_else(refused)?;
        match address.rsplit_once(':') {
            Some((host, port))
                if !host.is_empty() && !address.contains('/') && port.parse::<u16>().is_ok() =>
            {
                Ok(Self::Tcp(address.to_owned()))
            }
            Some(_) | None => Err(refused()),
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

/// Connects once; the channel is then shared by any number of clients and calls.
pub async fn connect(address: &Address, tls: Option<&TlsMaterials>) -> Result<Channel, ConnectError> {
    let unreachable = |source| ConnectError::Unreachable { address: address.to_string(), source };
    match address {
        Address::Unix(path) => connect_unix(path).await.map_err(unreachable),
        Address::Tcp(host_port) => {
            let Some(tls) = tls else {
                return Err(ConnectError::TlsNeeded { address: host_port.clone() });
            };
            let mut config = ClientTlsConfig::new()
                .ca_certificate(Certificate::from_pem(&tls.authority_pem))
                .identity(Identity::from_pem(&tls.certificate_pem, &tls.key_pem));
            if let Some(name) = &tls.server_name {
                config = config.domain_name(name);
            }
            let endpoint = Endpoint::from_shared(format!("https://{host_port}"))
                .map_err(|_| ConnectError::Address { text: address.to_string() })?;
            let endpoint = endpoint.tls_config(config).map_err(|source| ConnectError::Tls { source })?;
            endpoint.connect().await.map_err(unreachable)
        }
    }
}

/// Connects to whoever listens at a unix socket: the daemon, or a program that the daemon asks.
pub async fn connect_unix(path: &Path) -> Result<Channel, tonic::transport::Error> {
    let path = path.to_owned();
    let connector = tower::service_fn(move |_| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    // The name is not looked up; a server only sees it as the authority.
    Endpoint::from_static("http://localhost").connect_with_connector(connector).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_socket_or_a_port() {
        let unix = Address::Unix("/run/x y.sock".into());
        assert_eq!("unix:///run/x y.sock".parse::<Address>().expect("well formed"), unix);
        assert_eq!("unix:/run/x y.sock".parse::<Address>().expect("well formed"), unix);
        assert_eq!(unix.to_string(), "unix:///run/x y.sock");
        let tcp: Address = "tcp://[::1]:2376".parse().expect("well formed");
        assert_eq!(tcp, Address::Tcp("[::1]:2376".into()));
        for text in [
            "",
            "x",
            "unix://",
            "unix://run/x",
            "tcp://",
            "tcp://host",
            "tcp://:1",
            "tcp://h:p",
            "http://h:1",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn a_missing_socket_is_told_with_its_address_and_a_hint() {
        let folder = std::env::temp_dir().join("gantry-no-such-folder");
        let error = connect(&Address::Unix(folder.join("x.sock")), None).await.expect_err("nothing is there");
        assert_eq!(error.class(), Class::Unavailable);
        assert!(error.to_string().contains("gantry-no-such-folder/x.sock"));
        assert!(error.hint().is_some());
    }

    #[tokio::test]
    async fn tcp_without_keys_is_refused_before_anything_is_sent() {
        let error = connect(&Address::Tcp("localhost:1".into()), None).await.expect_err("no keys");
        assert_eq!(error.reason(), "TLS_NEEDED");
    }
}
