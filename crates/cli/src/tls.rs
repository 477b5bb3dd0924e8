//! Which certificates does a command bring to a daemon behind `tcp://`? Each of the three files comes from its flag, else
//! from its variable, else from the folder that `GANTRY_CERT_PATH` names, under docker's names for them. All three are
//! needed: the daemon serves TCP with mutual TLS only. Deliberately absent: a way to go on without them.

use std::path::{Path, PathBuf};

use clap::Args;
use gantry_api::connect::TlsMaterials;

use crate::failure::Failure;
use crate::session::variable;

/// The folder that has the files which no flag and no variable names.
const FOLDER: &str = "GANTRY_CERT_PATH";

/// Flags that name certificates.
#[derive(Debug, Args)]
pub(crate) struct Tls {
    /// Certificate of the authority that signed the daemon's, for tcp:// [env: GANTRY_TLS_CACERT, or ca.pem in
    /// GANTRY_CERT_PATH]
    #[arg(long, global = true, value_name = "FILE", hide_short_help = true)]
    tlscacert: Option<PathBuf>,
    /// Client certificate, for tcp:// [env: GANTRY_TLS_CERT, or cert.pem in GANTRY_CERT_PATH]
    #[arg(long, global = true, value_name = "FILE", hide_short_help = true)]
    tlscert: Option<PathBuf>,
    /// Client key, for tcp:// [env: GANTRY_TLS_KEY, or key.pem in GANTRY_CERT_PATH]
    #[arg(long, global = true, value_name = "FILE", hide_short_help = true)]
    tlskey: Option<PathBuf>,
}

impl Tls {
    /// The three files' contents; `address` is the daemon's, for the complaint when one is not given.
    pub(crate) fn materials(&self, address: &str) -> Result<TlsMaterials, Failure> {
        let files = [
            (&self.tlscacert, "--tlscacert", "GANTRY_TLS_CACERT", "ca.pem"),
            (&self.tlscert, "--tlscert", "GANTRY_TLS_CERT", "cert.pem"),
            (&self.tlskey, "--tlskey", "GANTRY_TLS_KEY", "key.pem"),
        ];
        let folder = variable(FOLDER).map(PathBuf::from);
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        for (given, flag, name, file) in files {
            let path = given
                .clone()
                .or_else(|| variable(name).map(PathBuf::from))
                .or_else(|| Some(folder.as_ref()?.join(file)));
            match path {
                Some(path) => found.push(path),
                None => missing.push(flag),
            }
        }
        let [authority, certificate, key] = found.as_slice() else {
            let hint = "give the files by flags, by GANTRY_TLS_CACERT, GANTRY_TLS_CERT and GANTRY_TLS_KEY, or \
                        their folder by GANTRY_CERT_PATH";
            return Err(Failure::new(format!("{address} needs {}", missing.join(" and "))).hint(hint));
        };
        Ok(TlsMaterials {
            authority_pem: read(authority)?,
            certificate_pem: read(certificate)?,
            key_pem: read(key)?,
            server_name: None,
        })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| Failure::io(&format!("cannot read {}", path.display()), &error))
}
