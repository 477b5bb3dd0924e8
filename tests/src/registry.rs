//! Where do test images come from? From Debian's `docker-registry`, the real distribution server, on a loopback port of
//! its own, with its storage in a folder that goes with it.
//!
//! Pushing is a dozen lines of plain HTTP here, so that fixtures need no further program.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::http;
use crate::wait::{seconds, until_true};

/// A running registry; dropped, it is stopped and its storage removed.
#[derive(Debug)]
pub struct Registry {
    folder: TempDir,
    address: SocketAddr,
    authorization: Option<String>,
    child: Option<Child>,
}

impl Registry {
    /// Starts a registry that serves everybody.
    pub fn start() -> Result<Self> {
        Self::start_with("", None)
    }

    /// Starts a registry that asks for this user and password (basic authentication); made with Debian's `htpasswd`.
    pub fn start_with_password(user: &str, password: &str) -> Result<Self> {
        let hash =
            Command::new("htpasswd").args(["-Bbn", user, password]).output().context("running htpasswd")?;
        ensure!(hash.status.success(), "htpasswd: {}", String::from_utf8_lossy(&hash.stderr));
        let token = http::base64(format!("{user}:{password}").as_bytes());
        Self::start_with(&String::from_utf8(hash.stdout)?, Some(format!("Basic {token}")))
    }

    fn start_with(htpasswd: &str, authorization: Option<String>) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("gantry-test-registry-").tempdir()?;
        let mut registry = Self { folder, address: free_address()?, authorization, child: None };
        if !htpasswd.is_empty() {
            fs::write(registry.path("htpasswd"), htpasswd)?;
        }
        registry.resume()?;
        Ok(registry)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `127.0.0.1:<port>`, the first part of every reference to an image in here.
    #[must_use]
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// A reference to a repository in here.
    #[must_use]
    pub fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    /// Stops answering; what was pushed is kept for `resume`.
    pub fn pause(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Answers (again) at the same address.
    pub fn resume(&mut self) -> Result<()> {
        let mut config = format!(
            "version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
             http: {{addr: '{}'}}\n",
            self.path("storage").display(),
            self.address
        );
        if self.authorization.is_some() {
            let file = self.path("htpasswd");
            config.push_str("auth: {htpasswd: {realm: gantry, path: ");
            config.extend([&file.display().to_string(), "}}\n"]);
        }
        fs::write(self.path("config.yml"), config)?;
        let log = File::options().create(true).append(true).open(self.path("log"))?;
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(self.path("config.yml"))
            .env_clear()
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("starting docker-registry (Debian package docker-registry)")?;
        self.child = Some(child);
        until_true("the registry to answer", seconds(20), || Ok(TcpStream::connect(self.address).is_ok()))
    }

    /// Stores a blob in `repository` under its digest, which is answered.
    pub fn push_blob(&self, repository: &str, bytes: &[u8]) -> Result<String> {
        let digest = http::sha256(bytes);
        let begun = self.request("POST", &format!("/v2/{repository}/blobs/uploads/"), "", &[])?;
        ensure!(begun.status == 202, "starting an upload: {begun:?}");
        let location = begun.header("location").context("an upload has a location")?;
        let path = location.split_once(&self.host()).map_or(location, |(_, path)| path);
        let joint = if path.contains('?') { '&' } else { '?' };
        let target = format!("{path}{joint}digest={digest}");
        let done = self.request("PUT", &target, "application/octet-stream", bytes)?;
        ensure!(done.status == 201, "uploading a blob: {done:?}");
        Ok(digest)
    }

    /// Stores a manifest under a tag or its digest; answers its digest.
    pub fn push_manifest(
        &self,
        repository: &str,
        tag: &str,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<String> {
        let name = if tag.is_empty() { http::sha256(bytes) } else { tag.to_owned() };
        let done = self.request("PUT", &format!("/v2/{repository}/manifests/{name}"), media_type, bytes)?;
        ensure!(done.status == 201, "storing a manifest: {done:?}");
        Ok(http::sha256(bytes))
    }

    /// The file in which the registry keeps a blob, for tests that damage it.
    #[must_use]
    pub fn blob_file(&self, digest: &str) -> PathBuf {
        let hex = digest.trim_start_matches("sha256:");
        self.path("storage/docker/registry/v2/blobs/sha256").join(&hex[..2]).join(hex).join("data")
    }

    fn request(&self, method: &str, target: &str, media_type: &str, body: &[u8]) -> Result<http::Response> {
        let authorization = self.authorization.as_deref();
        http::send(self.address, method, target, media_type, authorization, body)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.pause();
    }
}

/// A loopback address that nobody listens on: the kernel does not hand it out again at once.
pub fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
