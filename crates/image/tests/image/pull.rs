//! Pulls from a scripted registry that behaves: what arrives, what is shared, what is taken up again.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use gantry_image::content::ContentStore;
use gantry_image::registry::{Credentials, RegistryClient, RegistryOptions, Timeouts};
use gantry_image::unpack::UnpackLimits;
use gantry_image::{BlobKind, BlobProgress, BlobState, ImageRecord, PullError, PullRequest, Puller};
use gantry_types::{Class, Classified as _, Platform};

use crate::folders::Folders;
use crate::sample::{INDEX_TYPE, MANIFEST_TYPE, Sample, digest};
use crate::scripted::{Answer, Asked, Server, ok, status};

/// Short waits, so that a test of a deadline is soon over.
pub(crate) fn options() -> RegistryOptions {
    let timeouts = Timeouts {
        connect_ms: 2000,
        headers_ms: 2000,
        document_ms: 2000,
        progress_ms: 2000,
        backoff_ms: 1,
        retries_max: 3,
    };
    RegistryOptions { timeouts, ..RegistryOptions::default() }
}

/// A machine that pulls.
pub(crate) struct Machine {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) content: Arc<ContentStore>,
    pub(crate) layers: Arc<Folders>,
    pub(crate) puller: Puller,
}

impl Machine {
    pub(crate) fn new(options: RegistryOptions) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let content = Arc::new(ContentStore::open(&folder.path().join("content")).expect("opens"));
        let layers = Arc::new(Folders::new(&folder.path().join("layers")));
        let client = RegistryClient::new(options).expect("a client");
        let (stored, kept) = (Arc::clone(&content), Arc::clone(&layers));
        let puller = Puller::new(stored, kept, client, UnpackLimits::default());
        Self { folder, content, layers, puller }
    }

    pub(crate) async fn pull(&self, reference: &str) -> Result<ImageRecord, PullError> {
        self.pull_as(reference, None).await
    }

    pub(crate) async fn pull_as(
        &self,
        reference: &str,
        credentials: Option<&Credentials>,
    ) -> Result<ImageRecord, PullError> {
        let reference = reference.parse().expect("a reference");
        let platform = Platform::host();
        let request = PullRequest {
            reference: &reference,
            platform: &platform,
            credentials,
            insecure: false,
            progress: Arc::new(()),
        };
        self.puller.pull(request).await
    }

    pub(crate) fn layer(&self, record: &ImageRecord, at: usize) -> std::path::PathBuf {
        self.layers.path(&record.layers[at].chain_id)
    }

    /// How many layer folders there are, finished or not.
    pub(crate) fn folders(&self) -> usize {
        std::fs::read_dir(self.folder.path().join("layers")).expect("reads").count()
    }

    fn ingests(&self) -> usize {
        std::fs::read_dir(self.folder.path().join("content/ingest")).expect("reads").count()
    }
}

/// A registry with one image under `/v2/app`, tags `v1` and `index`.
pub(crate) fn serve(sample: &Sample, asked: &Asked) -> Answer {
    let target = asked.line.split(' ').nth(1).unwrap_or_default();
    let manifest_digest = digest(&sample.manifest).to_string();
    match target.strip_prefix("/v2/app/") {
        Some("manifests/v1") => ok(MANIFEST_TYPE, &sample.manifest),
        Some("manifests/index") => ok(INDEX_TYPE, &sample.index()),
        Some(rest) if rest == format!("manifests/{manifest_digest}") => ok(MANIFEST_TYPE, &sample.manifest),
        Some(rest) => {
            let blobs = sample.layers.iter().chain([&sample.config]);
            let found = blobs.into_iter().find(|blob| rest == format!("blobs/{}", digest(blob)));
            found.map_or_else(|| status(404), |blob| part(blob, asked))
        }
        None => status(404),
    }
}

/// A blob, or the part asked for.
fn part(blob: &[u8], asked: &Asked) -> Answer {
    let offset = asked.offset();
    if offset == 0 {
        return ok("application/octet-stream", blob);
    }
    let range = format!("bytes {offset}-{}/{}", blob.len() - 1, blob.len());
    Answer::Full(206, vec![("content-range", range)], blob[offset..].to_vec())
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).expect("reads")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_arrives_whole_by_tag_by_index_and_by_digest() {
    let sample = Sample::small();
    let given = sample.clone();
    let server = Server::start(move |asked| serve(&given, asked));
    let by_digest = format!("app@{}", digest(&sample.manifest));
    for name in ["app:v1", "app:index", &by_digest] {
        let machine = Machine::new(options());
        let record = machine.pull(&format!("{}/{name}", server.host())).await.expect(name);
        assert_eq!(record.manifest, digest(&sample.manifest));
        assert_eq!(record.config.command, ["/hello"]);
        assert_eq!(text(&machine.layer(&record, 0).join("hello")), "hello");
        assert_eq!(record.layers[1].diff_id, digest(&sample.tars[1]));
        let blobs = [&sample.manifest, &sample.config, &sample.layers[0], &sample.layers[1]];
        for blob in blobs {
            machine.content.verify(&digest(blob)).expect("stored");
        }
        assert_eq!((machine.ingests(), machine.folders()), (0, 2));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_that_are_here_are_not_fetched_again() {
    let sample = Sample::small();
    let server = Server::start(move |asked| serve(&sample, asked));
    let machine = Machine::new(options());
    let name = format!("{}/app:v1", server.host());
    machine.pull(&name).await.expect("pulls");
    let before = server.count("/blobs/");
    let record = machine.pull(&name).await.expect("pulls");
    assert_eq!(server.count("/blobs/"), before);
    // The folder gone, the blob is enough.
    std::fs::remove_dir_all(machine.layer(&record, 0)).expect("removes");
    machine.pull(&name).await.expect("pulls");
    assert_eq!(server.count("/blobs/"), before);
    assert!(machine.layer(&record, 0).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_pulls_of_one_cold_image_fetch_each_blob_once() {
    let sample = Sample::small();
    let layers: Vec<String> = sample.layers.iter().map(|layer| digest(layer).to_string()).collect();
    let server = Server::start(move |asked| serve(&sample, asked));
    let machine = Arc::new(Machine::new(options()));
    let name = format!("{}/app:v1", server.host());
    let pulls: Vec<_> = (0..10)
        .map(|_| {
            let (machine, name) = (Arc::clone(&machine), name.clone());
            tokio::spawn(async move { machine.pull(&name).await })
        })
        .collect();
    for pull in pulls {
        pull.await.expect("no panic").expect("pulls");
    }
    for layer in layers {
        assert_eq!(server.count(&layer), 1);
    }
    assert_eq!(machine.folders(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_breaks_off_goes_on_where_it_broke() {
    let sample = Sample::small();
    let large = digest(&sample.layers[1]).to_string();
    let tries = AtomicUsize::new(0);
    let (given, cut) = (sample.clone(), large.clone());
    let server = Server::start(move |asked| {
        if asked.line.contains(&cut) && tries.fetch_add(1, Ordering::SeqCst) == 0 {
            let body = given.layers[1].clone();
            let at = body.len() / 2;
            return Answer::Cut(200, Vec::new(), body, at);
        }
        serve(&given, asked)
    });
    let machine = Machine::new(options());
    machine.pull(&format!("{}/app:v1", server.host())).await.expect("pulls");
    let offsets: Vec<usize> =
        server.asked().iter().filter(|asked| asked.line.contains(&large)).map(Asked::offset).collect();
    assert_eq!(offsets.len(), 2);
    assert!(offsets[0] == 0 && offsets[1] > 64 << 10, "{offsets:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_pull_takes_up_what_a_broken_one_left_and_finished_blobs_stay() {
    let sample = Sample::small();
    let large = digest(&sample.layers[1]).to_string();
    let gone = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let (given, cut, broken) = (sample.clone(), large.clone(), Arc::clone(&gone));
    let server = Server::start(move |asked| {
        if asked.line.contains(&cut) && broken.load(Ordering::SeqCst) {
            if asked.offset() > 0 {
                return status(404);
            }
            let body = given.layers[1].clone();
            let at = body.len() / 2;
            return Answer::Cut(200, Vec::new(), body, at);
        }
        serve(&given, asked)
    });
    let machine = Machine::new(options());
    let name = format!("{}/app:v1", server.host());
    let error = machine.pull(&name).await.expect_err("breaks");
    assert_eq!(error.class(), Class::NotFound, "{error:?}");
    let left =
        machine.folder.path().join("content/ingest").join(digest(&sample.layers[1]).hex()).join("data");
    assert!(std::fs::metadata(left).expect("kept").len() > 64 << 10);
    gone.store(false, Ordering::SeqCst);
    let small = digest(&sample.layers[0]).to_string();
    let record = machine.pull(&name).await.expect("pulls");
    assert!(server.asked().iter().any(|asked| asked.line.contains(&large) && asked.offset() > 64 << 10));
    assert!(server.count(&small) <= 2);
    assert_eq!(std::fs::metadata(machine.layer(&record, 1).join("large")).expect("large").len(), 3 << 20);
    assert_eq!(machine.ingests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_torn_by_a_power_cut_are_found_and_fetched_again() {
    let sample = Sample::small();
    let given = sample.clone();
    let server = Server::start(move |asked| serve(&given, asked));
    let machine = Machine::new(options());
    let torn = machine.folder.path().join("content/ingest").join(digest(&sample.layers[1]).hex());
    std::fs::create_dir(&torn).expect("an ingest");
    std::fs::write(torn.join("data"), vec![0; 1 << 20]).expect("zeros instead of data");
    let name = format!("{}/app:v1", server.host());
    let record = machine.pull(&name).await.expect("pulls");
    // The same for a blob that went bad after it was stored.
    let blob = machine.folder.path().join("content/blobs/sha256").join(digest(&sample.layers[1]).hex());
    let size = std::fs::metadata(&blob).expect("stored").len();
    std::fs::write(&blob, vec![0; usize::try_from(size).expect("small")]).expect("damage");
    std::fs::remove_dir_all(machine.layer(&record, 1)).expect("removes");
    machine.pull(&name).await.expect("pulls");
    machine.content.verify(&digest(&sample.layers[1])).expect("whole again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_ignores_ranges_is_taken_from_the_start() {
    let sample = Sample::small();
    let large = digest(&sample.layers[1]).to_string();
    let tries = AtomicUsize::new(0);
    let given = sample.clone();
    let server = Server::start(move |asked| {
        if asked.line.contains(&large) {
            let body = given.layers[1].clone();
            let at = body.len() / 2;
            return match tries.fetch_add(1, Ordering::SeqCst) {
                0 => Answer::Cut(200, Vec::new(), body, at),
                _ => ok("application/octet-stream", &body),
            };
        }
        serve(&given, asked)
    });
    Machine::new(options()).pull(&format!("{}/app:v1", server.host())).await.expect("pulls");
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_tells_of_every_blob_and_ends_done() {
    let sample = Sample::small();
    let given = sample.clone();
    let server = Server::start(move |asked| serve(&given, asked));
    let machine = Machine::new(options());
    let heard: Arc<Mutex<Vec<BlobProgress>>> = Arc::default();
    let listener = Arc::clone(&heard);
    let progress = Arc::new(move |progress: BlobProgress| listener.lock().expect("sound").push(progress));
    let reference = format!("{}/app:v1", server.host()).parse().expect("a reference");
    let platform = Platform::host();
    let request = PullRequest {
        reference: &reference,
        platform: &platform,
        credentials: None,
        insecure: false,
        progress,
    };
    machine.puller.pull(request).await.expect("pulls");
    let heard = heard.lock().expect("sound");
    for (kind, bytes) in [
        (BlobKind::Manifest, &sample.manifest),
        (BlobKind::Config, &sample.config),
        (BlobKind::Layer, &sample.layers[1]),
    ] {
        let last = heard.iter().rfind(|progress| progress.digest == digest(bytes)).expect("heard of");
        assert_eq!((last.kind, last.state, last.offset), (kind, BlobState::Done, bytes.len() as u64));
    }
    assert!(heard.iter().any(|progress| progress.state == BlobState::Fetching && progress.offset > 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_is_given_up_leaves_the_next_one_a_free_way() {
    let sample = Sample::small();
    let large = digest(&sample.layers[1]).to_string();
    let stuck = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let (given, sticks) = (sample.clone(), Arc::clone(&stuck));
    let server = Server::start(move |asked| {
        if asked.line.contains(&large) && sticks.load(Ordering::SeqCst) {
            return Answer::Silence;
        }
        serve(&given, asked)
    });
    let machine = Machine::new(options());
    let name = format!("{}/app:v1", server.host());
    tokio::select! {
        result = machine.pull(&name) => panic!("it cannot end: {result:?}"),
        () = async { while server.count("blobs") < 3 { tokio::task::yield_now().await } } => {}
    }
    stuck.store(false, Ordering::SeqCst);
    machine.pull(&name).await.expect("pulls");
}
