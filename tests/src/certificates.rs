//! Who may speak to a daemon over TCP in the tests? Whoever has a certificate of the authority that `deploy/certificates`
//! makes, the same program that the documentation tells people to use.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use gantry_api::connect::TlsMaterials;
use tempfile::TempDir;

use crate::cli::run;

/// An authority with one certificate for a daemon on loopback and one for a client; gone when dropped.
#[derive(Debug)]
pub struct Certificates {
    folder: TempDir,
}

impl Certificates {
    /// Makes an authority nobody else has.
    pub fn make() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("gantry-test-certificates-").tempdir()?;
        let certificates = Self { folder };
        certificates.sign_again(&[])?;
        Ok(certificates)
    }

    /// Makes both certificates anew with the same authority, with these variables set.
    pub fn sign_again(&self, variables: &[(&str, &str)]) -> Result<()> {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/certificates");
        let mut command = Command::new(program);
        command.arg(self.folder()).args(["localhost", "127.0.0.1"]).envs(variables.iter().copied());
        run(&mut command)?.ok()?;
        Ok(())
    }

    /// The folder of the files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The path of one of the files, as text.
    #[must_use]
    pub fn file(&self, name: &str) -> String {
        self.folder().join(name).display().to_string()
    }

    /// The lines of a daemon's config that serve TCP with these.
    #[must_use]
    pub fn config(&self, address: &str) -> String {
        format!(
            "grpc.tcp_address = {address:?}\ngrpc.tls_certificate = {:?}\ngrpc.tls_key = {:?}\n\
             grpc.tls_client_ca = {:?}\n",
            self.file("server.pem"),
            self.file("server-key.pem"),
            self.file("ca.pem")
        )
    }

    /// What a client brings.
    pub fn client(&self) -> Result<TlsMaterials> {
        let read = |name: &str| std::fs::read(self.path(name)).with_context(|| format!("reading {name}"));
        Ok(TlsMaterials {
            authority_pem: read("ca.pem")?,
            certificate_pem: read("cert.pem")?,
            key_pem: read("key.pem")?,
            server_name: None,
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }
}
