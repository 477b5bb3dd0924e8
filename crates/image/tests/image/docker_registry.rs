//! Pulls from the registry that everybody runs (Debian's docker-registry), with images pushed over HTTP by the test.

use std::io::{BufRead as _, BufReader};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gantry_types::{Class, Classified as _};
use reqwest::{Client, Method, StatusCode};

use crate::pull::{Machine, options};
use crate::sample::{INDEX_TYPE, MANIFEST_TYPE, Sample, digest};

const PROGRAM: &str = "/usr/bin/docker-registry";

/// A registry of our own, ended with the test.
pub(crate) struct Registry {
    child: Child,
    /// Gone after the process, because fields drop after `drop`.
    _folder: tempfile::TempDir,
    host: String,
}

impl Drop for Registry {
    fn drop(&mut self) {
        // Ours by its handle; errors mean that it ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Registry {
    /// Starts one on a free port; `None`, said aloud, where the program is missing.
    #[expect(clippy::disallowed_methods, reason = "a test runs a registry of another maker")]
    pub(crate) fn start() -> Option<Self> {
        if !Path::new(PROGRAM).exists() {
            #[expect(clippy::print_stderr, reason = "a skip is said aloud")]
            {
                eprintln!("SKIP: {PROGRAM} is not installed");
            }
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let port =
            std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
        let host = format!("127.0.0.1:{port}");
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '{host}'}}\n",
            folder.path().join("data").display()
        );
        std::fs::write(folder.path().join("config.yml"), config).expect("writes");
        let child = Command::new(PROGRAM)
            .arg("serve")
            .arg(folder.path().join("config.yml"))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        let mut registry = Self { child, _folder: folder, host };
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(&registry.host).is_err() {
            if let Some(status) = registry.child.try_wait().expect("waits") {
                let lines = BufReader::new(registry.child.stderr.take().expect("piped")).lines();
                panic!(
                    "the registry ended with {status}: {:?}",
                    lines.map_while(Result::ok).collect::<Vec<_>>()
                );
            }
            assert!(Instant::now() < deadline, "the registry did not open its port");
            std::thread::yield_now();
        }
        Some(registry)
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Pushes a blob in one request.
    pub(crate) async fn push_blob(&self, client: &Client, bytes: Vec<u8>) {
        let url = format!("http://{}/v2/app/blobs/uploads/", self.host);
        let begun = client.post(url).send().await.expect("begins");
        assert_eq!(begun.status(), StatusCode::ACCEPTED);
        let location = begun.headers()["location"].to_str().expect("text").to_owned();
        let separator = if location.contains('?') { '&' } else { '?' };
        let url = format!("{location}{separator}digest={}", digest(&bytes));
        let done =
            client.put(url).header("content-type", "application/octet-stream").body(bytes).send().await;
        assert_eq!(done.expect("uploads").status(), StatusCode::CREATED);
    }

    pub(crate) async fn push_manifest(&self, client: &Client, tag: &str, kind: &str, bytes: Vec<u8>) {
        let url = format!("http://{}/v2/app/manifests/{tag}", self.host);
        let sent = client.request(Method::PUT, url).header("content-type", kind).body(bytes).send().await;
        let sent = sent.expect("sends");
        assert!(sent.status().is_success(), "{:?}", sent.text().await);
    }

    pub(crate) async fn push(&self, client: &Client, tag: &str, sample: &Sample) {
        for blob in sample.layers.iter().chain([&sample.config]) {
            self.push_blob(client, blob.clone()).await;
        }
        self.push_manifest(client, tag, MANIFEST_TYPE, sample.manifest.clone()).await;
    }
}

fn client() -> Client {
    let provider = rustls::crypto::ring::default_provider();
    let tls = rustls::ClientConfig::builder_with_provider(std::sync::Arc::new(provider))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    Client::builder().tls_backend_preconfigured(tls).build().expect("a client")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_registry_serves_manifests_indexes_digests_and_errors() {
    let Some(registry) = Registry::start() else { return };
    let client = client();
    let sample = Sample::small();
    registry.push(&client, "v1", &sample).await;
    let host = registry.host().to_owned();

    let machine = Machine::new(options());
    let record = machine.pull(&format!("{host}/app:v1")).await.expect("pulls");
    assert_eq!(record.manifest, digest(&sample.manifest));
    assert!(machine.layer(&record, 1).join("large").exists());
    let pinned = format!("{host}/app@{}", record.manifest);
    let mut again = machine.pull(&pinned).await.expect("pulls by digest");
    again.learn_sizes(&record);
    assert_eq!(again, record);

    let missing = machine.pull(&format!("{host}/app:nothing")).await.expect_err("not there");
    assert_eq!(missing.class(), Class::NotFound);
    let missing = machine.pull(&format!("{host}/nobody/nothing:v1")).await.expect_err("not there");
    assert_eq!(missing.class(), Class::NotFound);

    // The registry checks an index's entries, so both must be there.
    let index = String::from_utf8(sample.index()).expect("JSON").replace(
        &format!("sha256:{}\",\"size\":5", "0".repeat(64)),
        &format!("{}\",\"size\":{}", digest(&sample.manifest), sample.manifest.len()),
    );
    registry.push_manifest(&client, "index", INDEX_TYPE, index.clone().into_bytes()).await;
    let record = machine.pull(&format!("{host}/app:index")).await.expect("pulls");
    assert_eq!(record.target, digest(index.as_bytes()));
    assert_eq!(record.target_media_type, INDEX_TYPE);
}
