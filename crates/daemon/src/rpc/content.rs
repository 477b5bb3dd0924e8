//! `gantry.content.v1.ContentService`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream;
use gantry_api::content::v1::content_service_server::ContentService;
use gantry_api::content::v1::{
    Blob, GetBlobRequest, GetBlobResponse, ListBlobsRequest, ListBlobsResponse, ReadBlobRequest,
    ReadBlobResponse,
};
use gantry_api::convert;
use gantry_api::filter::Filter;
use gantry_store::Page;
use gantry_types::{Digest, Namespace};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{Service, list};
use crate::error::Error;
use crate::tables::IMAGES;

const FIELDS: [&str; 3] = ["digest", "media_type", "labels."];
/// Bytes of one message.
const CHUNK_BYTES: usize = 64 << 10;
/// Messages that wait for the client.
const CHUNKS_QUEUED: usize = 4;

impl Service {
    /// What the manifests here say that blobs are.
    fn media_types(&self) -> BTreeMap<Digest, String> {
        let mut types = BTreeMap::new();
        for (_, row) in self.daemon.store.scan(&IMAGES, &Page::all()) {
            let image = &row.value.image;
            types.insert(image.target.clone(), image.target_media_type.clone());
            for layer in &image.layers {
                types.insert(layer.blob.clone(), layer.media_type.clone());
            }
        }
        types
    }
}

fn to_message(
    namespace: &Namespace,
    digest: &Digest,
    size_bytes: u64,
    types: &BTreeMap<Digest, String>,
) -> Blob {
    Blob {
        namespace: namespace.to_string(),
        digest: digest.to_string(),
        size_bytes,
        media_type: types.get(digest).cloned().unwrap_or_default(),
        ..Blob::default()
    }
}

fn values_of<'a>(blob: &'a Blob, field: &str) -> Vec<Cow<'a, str>> {
    match field {
        "digest" => vec![Cow::Borrowed(&*blob.digest)],
        "media_type" => vec![Cow::Borrowed(&*blob.media_type)],
        _ => list::label(&blob.labels, field),
    }
}

fn digest(text: &str) -> Result<Digest, Status> {
    let text = convert::identifier("digest", text)?;
    Ok(text.parse().map_err(Error::from)?)
}

#[tonic::async_trait]
impl ContentService for Service {
    type ReadBlobStream = Pin<Box<dyn Stream<Item = Result<ReadBlobResponse, Status>> + Send>>;

    async fn list_blobs(
        &self,
        request: Request<ListBlobsRequest>,
    ) -> Result<Response<ListBlobsResponse>, Status> {
        let request = request.into_inner();
        let namespace = convert::namespace(&request.namespace)?;
        let filter = Filter::parse(&request.filter, &FIELDS)?;
        let content = Arc::clone(&self.daemon.pulls.content);
        let mut stored = self.daemon.blocking.run(move || content.list()).await.map_err(Error::from)?;
        stored.sort_by(|a, b| a.digest.cmp(&b.digest));
        let types = self.media_types();
        let blobs = stored.iter().map(|stored| {
            (stored.digest.to_string(), to_message(&namespace, &stored.digest, stored.size, &types))
        });
        let (blobs, next_page_token) =
            list::page(blobs, &filter, values_of, request.page_size, &request.page_token)?;
        Ok(Response::new(ListBlobsResponse { blobs, next_page_token }))
    }

    async fn get_blob(&self, request: Request<GetBlobRequest>) -> Result<Response<GetBlobResponse>, Status> {
        let request = request.into_inner();
        let namespace = convert::namespace(&request.namespace)?;
        let digest = digest(&request.digest)?;
        let (content, wanted) = (Arc::clone(&self.daemon.pulls.content), digest.clone());
        let blob = self.daemon.blocking.run(move || content.blob(&wanted)).await.map_err(Error::from)?;
        let blob = to_message(&namespace, &digest, blob.size, &self.media_types());
        Ok(Response::new(GetBlobResponse { blob: Some(blob) }))
    }

    async fn read_blob(
        &self,
        request: Request<ReadBlobRequest>,
    ) -> Result<Response<Self::ReadBlobStream>, Status> {
        let request = request.into_inner();
        convert::namespace(&request.namespace)?;
        let digest = digest(&request.digest)?;
        let content = Arc::clone(&self.daemon.pulls.content);
        let blob = self.daemon.blocking.run(move || content.blob(&digest)).await.map_err(Error::from)?;
        if request.offset > blob.size {
            return Err(Error::OffsetBeyondEnd { offset: request.offset, size: blob.size }.into());
        }
        let left = blob.size - request.offset;
        let length = if request.length == 0 { left } else { left.min(request.length) };
        let (sender, receiver) = mpsc::channel(CHUNKS_QUEUED);
        let blocking = self.daemon.blocking.clone();
        self.daemon.tasks.spawn("blob stream", async move {
            blocking.run(move || send(blob.file, request.offset, length, &sender)).await;
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

/// Sends `length` bytes from `offset`, at the client's pace, until it is gone.
fn send(
    mut file: std::fs::File,
    offset: u64,
    length: u64,
    sender: &mpsc::Sender<Result<ReadBlobResponse, Status>>,
) {
    let io = |source| Status::from(Error::Io { action: "read the blob", source });
    if let Err(error) = file.seek(SeekFrom::Start(offset)) {
        let _gone = sender.blocking_send(Err(io(error)));
        return;
    }
    let mut bytes = file.take(length);
    loop {
        let mut data = vec![0; CHUNK_BYTES];
        let message = match bytes.read(&mut data) {
            Ok(0) => return,
            Ok(count) => {
                data.truncate(count);
                Ok(ReadBlobResponse { data: data.into() })
            }
            Err(error) => Err(io(error)),
        };
        let failed = message.is_err();
        if sender.blocking_send(message).is_err() || failed {
            return;
        }
    }
}
