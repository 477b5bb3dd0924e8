//! `gantry.events.v1.EventService`.

use std::borrow::Cow;
use std::pin::Pin;
use std::time::Duration;

use futures_util::Stream;
use gantry_api::convert::{self, duration_since_epoch_ns, timestamp};
use gantry_api::events::v1::event_service_server::EventService;
use gantry_api::events::v1::{
    Event, EventKind, WatchEventsRequest, WatchEventsResponse, WatchStarted, watch_events_response,
};
use gantry_api::filter::Filter;
use gantry_types::Namespace;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{Service, list};
use crate::clock;
use crate::error::Error;
use crate::events::EventReader;
use crate::tables::{EventKind as Kind, EventRow};

const FIELDS: [&str; 6] = ["kind", "resource", "id", "name", "attributes.", "labels."];
/// Events that wait for the client; the rest waits in the log.
const EVENTS_QUEUED: usize = 16;

/// What one watch lets through.
#[derive(Debug)]
struct Watch {
    /// `None` is every tenant.
    namespace: Option<Namespace>,
    filter: Filter,
    until_unix_ns: Option<i64>,
}

#[tonic::async_trait]
impl EventService for Service {
    type WatchEventsStream = Pin<Box<dyn Stream<Item = Result<WatchEventsResponse, Status>> + Send>>;

    async fn watch_events(
        &self,
        request: Request<WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        let request = request.into_inner();
        let namespace = convert::namespace(&request.namespace)?;
        let watch = Watch {
            namespace: (!request.all_namespaces).then_some(namespace),
            filter: Filter::parse(&request.filter, &FIELDS)?,
            until_unix_ns: request.until.as_ref().map(duration_since_epoch_ns),
        };
        let (events, store) = (&self.daemon.events, &self.daemon.store);
        let after = match (request.after_revision, &request.since) {
            (Some(_), Some(_)) => {
                return Err(Error::Protocol { rule: "after_revision and since are not for one watch" }.into());
            }
            // Everything that is kept, wherever that begins.
            (Some(0), None) => events.last_before(store, i64::MIN),
            (Some(after), None) => after,
            (None, Some(since)) => events.last_before(store, duration_since_epoch_ns(since)),
            (None, None) => events.latest(),
        };
        let reader = events.read_after(store, after)?;
        let (sender, receiver) = mpsc::channel(EVENTS_QUEUED);
        let started = WatchEventsResponse {
            message: Some(watch_events_response::Message::Started(WatchStarted { revision: after })),
        };
        sender.try_send(Ok(started)).expect("a new channel has room");
        let tasks = self.daemon.tasks.clone();
        tasks.clone().spawn("event watch", async move {
            let last = tokio::select! {
                sent = watch.send(reader, &sender) => sent,
                () = sender.closed() => return,
                () = tasks.cancelled() => Err(Error::ShuttingDown),
            };
            if let Err(error) = last {
                let _gone = sender.send(Err(error.into())).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

impl Watch {
    async fn send(
        &self,
        mut reader: EventReader,
        sender: &mpsc::Sender<Result<WatchEventsResponse, Status>>,
    ) -> Result<(), Error> {
        loop {
            let events = match self.until_unix_ns {
                None => reader.next().await?,
                Some(until) => {
                    let left = u64::try_from(until.saturating_sub(clock::unix_ns())).unwrap_or(0);
                    match tokio::time::timeout(Duration::from_nanos(left), reader.next()).await {
                        Ok(events) => events?,
                        Err(_) => return Ok(()),
                    }
                }
            };
            for (number, row) in events {
                if self.until_unix_ns.is_some_and(|until| row.unix_ns >= until) {
                    return Ok(());
                }
                if self.namespace.as_ref().is_some_and(|namespace| *namespace != row.namespace) {
                    continue;
                }
                let event = to_message(number, &row);
                if !self.filter.matches(|field| values_of(&event, field)) {
                    continue;
                }
                let message =
                    WatchEventsResponse { message: Some(watch_events_response::Message::Event(event)) };
                if sender.send(Ok(message)).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
}

fn to_message(number: u64, row: &EventRow) -> Event {
    let (kind, resource, _) = names(row.kind);
    let mut attributes = row.attributes.clone();
    let name = attributes.remove("name").unwrap_or_default();
    Event {
        revision: number,
        time: Some(timestamp(row.unix_ns)),
        namespace: row.namespace.to_string(),
        kind: kind.into(),
        resource: resource.to_owned(),
        id: row.resource.clone(),
        name,
        attributes,
        labels: row.labels.clone(),
    }
}

fn values_of<'a>(event: &'a Event, field: &str) -> Vec<Cow<'a, str>> {
    match field {
        "kind" => kind_text(event.kind()).map(Cow::Borrowed).into_iter().collect(),
        "resource" => vec![Cow::Borrowed(&*event.resource)],
        "id" => vec![Cow::Borrowed(&*event.id)],
        "name" => vec![Cow::Borrowed(&*event.name)],
        _ => match field.strip_prefix("attributes.") {
            Some(key) => event.attributes.get(key).map(|value| Cow::Borrowed(&**value)).into_iter().collect(),
            None => list::label(&event.labels, field),
        },
    }
}

/// `container.start` and its like.
fn kind_text(kind: EventKind) -> Option<&'static str> {
    KINDS.iter().map(|row| names(*row)).find(|(known, _, _)| *known == kind).map(|(_, _, text)| text)
}

const KINDS: [Kind; 23] = [
    Kind::ContainerCreate,
    Kind::ContainerStart,
    Kind::ContainerKill,
    Kind::ContainerOom,
    Kind::ContainerExit,
    Kind::ContainerRemove,
    Kind::ContainerRename,
    Kind::ContainerExecStart,
    Kind::ContainerExecExit,
    Kind::ContainerPause,
    Kind::ContainerResume,
    Kind::ContainerUpdate,
    Kind::ImagePull,
    Kind::ImageImport,
    Kind::ImageTag,
    Kind::ImageUntag,
    Kind::ImageRemove,
    Kind::LeaseCreate,
    Kind::LeaseRemove,
    Kind::NetworkCreate,
    Kind::NetworkRemove,
    Kind::NetworkConnect,
    Kind::NetworkDisconnect,
];

/// The message's kind, the noun of the resource, and what filters call it.
fn names(kind: Kind) -> (EventKind, &'static str, &'static str) {
    match kind {
        Kind::ContainerCreate => (EventKind::ContainerCreate, "container", "container.create"),
        Kind::ContainerStart => (EventKind::ContainerStart, "container", "container.start"),
        Kind::ContainerKill => (EventKind::ContainerKill, "container", "container.kill"),
        Kind::ContainerOom => (EventKind::ContainerOom, "container", "container.oom"),
        Kind::ContainerExit => (EventKind::ContainerExit, "container", "container.exit"),
        Kind::ContainerRemove => (EventKind::ContainerRemove, "container", "container.remove"),
        Kind::ContainerRename => (EventKind::ContainerRename, "container", "container.rename"),
        Kind::ContainerExecStart => (EventKind::ContainerExecStart, "container", "container.exec_start"),
        Kind::ContainerExecExit => (EventKind::ContainerExecExit, "container", "container.exec_exit"),
        Kind::ContainerPause => (EventKind::ContainerPause, "container", "container.pause"),
        Kind::ContainerResume => (EventKind::ContainerResume, "container", "container.resume"),
        Kind::ContainerUpdate => (EventKind::ContainerUpdate, "container", "container.update"),
        Kind::ImagePull => (EventKind::ImagePull, "image", "image.pull"),
        Kind::ImageImport => (EventKind::ImageImport, "image", "image.import"),
        Kind::ImageTag => (EventKind::ImageTag, "image", "image.tag"),
        Kind::ImageUntag => (EventKind::ImageUntag, "image", "image.untag"),
        Kind::ImageRemove => (EventKind::ImageRemove, "image", "image.remove"),
        Kind::LeaseCreate => (EventKind::LeaseCreate, "lease", "lease.create"),
        Kind::LeaseRemove => (EventKind::LeaseRemove, "lease", "lease.remove"),
        Kind::NetworkCreate => (EventKind::NetworkCreate, "network", "network.create"),
        Kind::NetworkRemove => (EventKind::NetworkRemove, "network", "network.remove"),
        Kind::NetworkConnect => (EventKind::NetworkConnect, "network", "network.connect"),
        Kind::NetworkDisconnect => (EventKind::NetworkDisconnect, "network", "network.disconnect"),
    }
}
