//! `gantry.images.v1.ImageService`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::Stream;
use gantry_api::convert::{self, timestamp};
use gantry_api::filter::Filter;
use gantry_api::images::v1::image_service_server::ImageService;
use gantry_api::images::v1::{
    ArchiveFormat, BlobKind, BlobProgress, BlobState, GetImageRequest, GetImageResponse, Image,
    ImportImagesRequest, ImportImagesResponse, ImportOptions, Layer, ListImagesRequest, ListImagesResponse,
    PullImageRequest, PullImageResponse, PullProgress, PullResult, RegistryCredentials, RemoveImageRequest,
    RemoveImageResponse, TagImageRequest, TagImageResponse, import_images_request, pull_image_response,
};
use gantry_image::registry::Credentials;
use gantry_store::Row;
use gantry_types::{Digest, Namespace, Platform, Reference};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{Service, list};
use crate::control::import::Import;
use crate::control::pull::Pull;
use crate::error::Error;
use crate::images;
use crate::requests::Turn;
use crate::tables::ImageRow;

/// What lists of images can be filtered by.
const FIELDS: [&str; 4] = ["name", "id", "digest", "labels."];
/// How often a pull tells how far it is.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);
/// Chunks of an archive that wait to be read.
const CHUNKS_QUEUED: usize = 4;

impl Service {
    fn image(&self, namespace: &Namespace, text: &str) -> Result<Image, Error> {
        let (reference, row) = images::find(&self.daemon.store, namespace, text)?;
        let names = images::names(&self.daemon.store, namespace, &row.value.image.config_digest);
        Ok(to_message(namespace, &reference, &row, &names))
    }
}

fn to_message(
    namespace: &Namespace,
    reference: &Reference,
    row: &Row<ImageRow>,
    names: &[(Reference, Row<ImageRow>)],
) -> Image {
    let image = &row.value.image;
    let layers = image.layers.iter().map(|layer| Layer {
        digest: layer.blob.to_string(),
        diff_id: layer.diff_id.to_string(),
        media_type: layer.media_type.clone(),
        size_bytes: layer.size_bytes,
    });
    Image {
        namespace: namespace.to_string(),
        name: reference.to_string(),
        familiar_name: reference.familiar(),
        id: image.config_digest.to_string(),
        digest: image.manifest.to_string(),
        names: names.iter().map(|(name, _)| name.to_string()).collect(),
        repo_digests: vec![format!("{}/{}@{}", reference.registry(), reference.repository(), image.target)],
        labels: row.value.labels.clone(),
        create_time: Some(timestamp(row.value.created_unix_ns)),
        build_time: image.created.as_deref().and_then(build_time),
        revision: row.revision.0,
        size_bytes: image.layers.iter().map(|layer| layer.unpacked_bytes).sum(),
        content_bytes: image.size_bytes,
        platform: image.platform.to_string(),
        config: Some((&image.config).into()),
        layers: layers.collect(),
        snapshot_key: image.chain().last().map(ToString::to_string).unwrap_or_default(),
        media_type: image.target_media_type.clone(),
    }
}

/// An image's own word for when it was made, RFC 3339; anything else says nothing.
fn build_time(text: &str) -> Option<prost_types::Timestamp> {
    let nanoseconds = text.parse::<jiff::Timestamp>().ok()?.as_nanosecond();
    Some(timestamp(i64::try_from(nanoseconds).ok()?))
}

fn values_of<'a>(image: &'a Image, field: &str) -> Vec<Cow<'a, str>> {
    match field {
        "name" => vec![Cow::Borrowed(&*image.familiar_name), Cow::Borrowed(&*image.name)],
        "id" => vec![Cow::Borrowed(&*image.id)],
        "digest" => vec![Cow::Borrowed(&*image.digest)],
        _ => list::label(&image.labels, field),
    }
}

fn credentials(given: Option<RegistryCredentials>) -> Option<Credentials> {
    let given = given?;
    let identity_token = (!given.identity_token.is_empty()).then_some(given.identity_token);
    Some(Credentials { username: given.username, password: given.password, identity_token })
}

/// The newest state of each blob that changed since it was last told.
#[derive(Debug, Default)]
struct Board {
    changed: Mutex<BTreeMap<Digest, gantry_image::BlobProgress>>,
}

impl Board {
    fn take(&self) -> Option<PullProgress> {
        let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        let blobs: Vec<_> = std::mem::take(&mut *changed).values().map(progress_message).collect();
        (!blobs.is_empty()).then_some(PullProgress { blobs })
    }
}

impl gantry_image::Progress for Board {
    fn report(&self, progress: gantry_image::BlobProgress) {
        let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        changed.insert(progress.digest.clone(), progress);
    }
}

fn progress_message(progress: &gantry_image::BlobProgress) -> BlobProgress {
    use gantry_image::{BlobKind as Kind, BlobState as State};
    let kind = match progress.kind {
        Kind::Index | Kind::Manifest => BlobKind::Manifest,
        Kind::Config => BlobKind::Config,
        Kind::Layer => BlobKind::Layer,
    };
    let state = match progress.state {
        State::Exists => BlobState::Present,
        State::Waiting => BlobState::Waiting,
        State::Fetching => BlobState::Downloading,
        State::Unpacking => BlobState::Unpacking,
        State::Done => BlobState::Done,
    };
    BlobProgress {
        digest: progress.digest.to_string(),
        kind: kind.into(),
        state: state.into(),
        current_bytes: progress.offset,
        total_bytes: progress.total,
    }
}

#[tonic::async_trait]
impl ImageService for Service {
    type PullImageStream = Pin<Box<dyn Stream<Item = Result<PullImageResponse, Status>> + Send>>;

    async fn pull_image(
        &self,
        request: Request<PullImageRequest>,
    ) -> Result<Response<Self::PullImageStream>, Status> {
        let request = request.into_inner();
        convert::request_id(&request.request_id)?;
        let pull = Pull {
            namespace: convert::namespace(&request.namespace)?,
            reference: convert::identifier("name", &request.name)?.parse().map_err(Error::from)?,
            platform: convert::platform(&request.platform)?.unwrap_or_else(Platform::host),
            credentials: credentials(request.credentials),
            insecure: request.insecure,
            labels: convert::labels(request.labels)?,
        };
        let (sender, receiver) = mpsc::channel(CHUNKS_QUEUED);
        let service = self.clone();
        self.daemon.tasks.spawn("pull", async move {
            let last = tokio::select! {
                pulled = service.pull(&pull, &sender) => pulled,
                // The client gave up; what is fetched is kept for the next pull.
                () = sender.closed() => return,
                () = service.daemon.tasks.cancelled() => Err(Error::ShuttingDown),
            };
            let message = last.map(|result| PullImageResponse {
                message: Some(pull_image_response::Message::Result(Box::new(result))),
            });
            let _gone = sender.send(message.map_err(Status::from)).await;
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn get_image(
        &self,
        request: Request<GetImageRequest>,
    ) -> Result<Response<GetImageResponse>, Status> {
        let request = request.into_inner();
        let namespace = convert::namespace(&request.namespace)?;
        let image = self.image(&namespace, convert::identifier("image", &request.image)?)?;
        Ok(Response::new(GetImageResponse { image: Some(image) }))
    }

    async fn list_images(
        &self,
        request: Request<ListImagesRequest>,
    ) -> Result<Response<ListImagesResponse>, Status> {
        let request = request.into_inner();
        let namespace = convert::namespace(&request.namespace)?;
        let filter = Filter::parse(&request.filter, &FIELDS)?;
        let revision = self.daemon.events.latest();
        let rows = images::list(&self.daemon.store, &namespace);
        let mut by_id: BTreeMap<&Digest, Vec<(Reference, Row<ImageRow>)>> = BTreeMap::new();
        for (name, row) in &rows {
            by_id.entry(&row.value.image.config_digest).or_default().push((name.clone(), row.clone()));
        }
        let images = rows.iter().map(|(name, row)| {
            let names = &by_id[&row.value.image.config_digest];
            (name.to_string(), to_message(&namespace, name, row, names))
        });
        let (images, next_page_token) =
            list::page(images, &filter, values_of, request.page_size, &request.page_token)?;
        Ok(Response::new(ListImagesResponse { images, next_page_token, revision }))
    }

    async fn tag_image(
        &self,
        request: Request<TagImageRequest>,
    ) -> Result<Response<TagImageResponse>, Status> {
        let request = request.into_inner();
        let namespace = convert::namespace(&request.namespace)?;
        let text = convert::identifier("image", &request.image)?;
        let name: Reference =
            convert::identifier("new_name", &request.new_name)?.parse().map_err(Error::from)?;
        if name.digest().is_some() {
            return Err(Error::Protocol { rule: "new_name must be without a digest" }.into());
        }
        self.daemon.tag_image(&namespace, text, &name).await?;
        let image = self.image(&namespace, &name.to_string())?;
        Ok(Response::new(TagImageResponse { image: Some(image) }))
    }

    async fn remove_image(
        &self,
        request: Request<RemoveImageRequest>,
    ) -> Result<Response<RemoveImageResponse>, Status> {
        let request = request.into_inner();
        let namespace = convert::namespace(&request.namespace)?;
        let text = convert::identifier("image", &request.image)?;
        let turn = self.turn(&namespace, &request.request_id, "RemoveImage").await?;
        let Turn::Work(guard) = turn else { return Ok(Response::new(RemoveImageResponse::default())) };
        let removed = self.daemon.remove_image(&namespace, text, request.force).await?;
        if let Some(guard) = guard {
            guard.note_alone(&self.daemon, text).await?;
        }
        Ok(Response::new(RemoveImageResponse {
            untagged: removed.untagged.iter().map(Reference::familiar).collect(),
            deleted: removed.deleted.iter().map(ToString::to_string).collect(),
        }))
    }

    async fn import_images(
        &self,
        request: Request<Streaming<ImportImagesRequest>>,
    ) -> Result<Response<ImportImagesResponse>, Status> {
        let mut requests = request.into_inner();
        let options = match requests.message().await?.and_then(|request| request.message) {
            Some(import_images_request::Message::Options(options)) => options,
            Some(import_images_request::Message::Chunk(_)) | None => {
                return Err(
                    Error::Protocol { rule: "the first message of an import must be `options`" }.into()
                );
            }
        };
        let namespace = convert::namespace(&options.namespace)?;
        let import = import(*options, namespace.clone())?;
        let (sender, chunks) = mpsc::channel(CHUNKS_QUEUED);
        let feed = async {
            while let Some(request) = requests.message().await? {
                if let Some(import_images_request::Message::Chunk(chunk)) = request.message
                    && sender.send(chunk).await.is_err()
                {
                    break;
                }
            }
            drop(sender);
            Ok::<(), Status>(())
        };
        let (received, imported) = tokio::join!(feed, self.daemon.import_images(import, chunks));
        received?;
        let images = imported?
            .iter()
            .map(|name| self.image(&namespace, &name.to_string()))
            .collect::<Result<_, _>>()?;
        Ok(Response::new(ImportImagesResponse { images }))
    }
}

impl Service {
    async fn pull(
        &self,
        pull: &Pull,
        sender: &mpsc::Sender<Result<PullImageResponse, Status>>,
    ) -> Result<PullResult, Error> {
        let board = Arc::new(Board::default());
        let tell = || async {
            if let Some(progress) = board.take() {
                let message =
                    PullImageResponse { message: Some(pull_image_response::Message::Progress(progress)) };
                let _gone = sender.send(Ok(message)).await;
            }
        };
        let mut pulling =
            Box::pin(self.daemon.pull_image(pull, Arc::clone(&board) as Arc<dyn gantry_image::Progress>));
        let mut ticks = tokio::time::interval(PROGRESS_INTERVAL);
        let up_to_date = loop {
            tokio::select! {
                pulled = &mut pulling => break pulled?,
                _ = ticks.tick() => tell().await,
            }
        };
        tell().await;
        let image = self.image(&pull.namespace, &pull.reference.to_string())?;
        Ok(PullResult { image: Some(image), up_to_date })
    }
}

fn import(options: ImportOptions, namespace: Namespace) -> Result<Import, Status> {
    use gantry_image::import::ImportFormat as Format;
    let format = match options.format() {
        ArchiveFormat::Unspecified => Format::Auto,
        ArchiveFormat::Rootfs => Format::RootFilesystem,
        ArchiveFormat::Images => Format::Images,
    };
    Ok(Import {
        namespace,
        format,
        name: match options.name.as_str() {
            "" => None,
            name => Some(name.parse().map_err(Error::from)?),
        },
        platform: convert::platform(&options.platform)?.unwrap_or_else(Platform::host),
        config: options.config.map(TryInto::try_into).transpose()?,
        labels: convert::labels(options.labels)?,
    })
}
