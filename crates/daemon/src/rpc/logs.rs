//! `ContainerService.GetContainerLogs`: a log reader on a blocking thread, batch by batch, at the client's
//! pace.

use futures_util::Stream;
use gantry_api::containers::v1::{GetContainerLogsRequest, GetContainerLogsResponse, LogEntry, OutputStream};
use gantry_api::convert::{duration_since_epoch_ns, timestamp};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::Service;
use super::containers::Named;
use crate::blocking::Blocking;
use crate::error::Error;
use crate::logs::{End, Entry, Follower, LogReader, LogStream, Start};
use crate::tables::ContainerStatus;

/// Bytes of one message, unless a single entry is larger.
const MESSAGE_BYTES: usize = 64 << 10;
/// Messages that wait for the client.
const MESSAGES_QUEUED: usize = 2;

/// What a request lets through.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    since_unix_ns: i64,
    until_unix_ns: i64,
    stdout: bool,
    stderr: bool,
}

pub(super) fn stream(
    service: &Service,
    named: &Named,
    request: &GetContainerLogsRequest,
) -> Result<impl Stream<Item = Result<GetContainerLogsResponse, Status>> + use<>, Status> {
    let both = !request.stdout && !request.stderr;
    let wanted = Wanted {
        since_unix_ns: request.since.as_ref().map_or(i64::MIN, duration_since_epoch_ns),
        until_unix_ns: request.until.as_ref().map_or(i64::MAX, duration_since_epoch_ns),
        stdout: request.stdout || both,
        stderr: request.stderr || both,
    };
    let start = match request.tail {
        Some(lines) => Start::Tail(usize::try_from(lines).unwrap_or(usize::MAX)),
        None => Start::Oldest,
    };
    let folder = service.daemon.layout.container(&named.namespace, &named.id);
    let io = |source| Error::Io { action: "read the container's log", source };
    // Before the first read, so that no write falls between.
    let follower = if request.follow { Some(Follower::open(&folder).map_err(io)?) } else { None };
    let end = if request.follow { End::Never } else { End::Present };
    let (sender, receiver) = mpsc::channel(MESSAGES_QUEUED);
    let status = service.handle(named)?.status();
    let blocking = service.daemon.blocking.clone();
    let tasks = service.daemon.tasks.clone();
    let cancelled = tasks.clone();
    tasks.spawn("log stream", async move {
        let sending = async {
            let reader = blocking.run(move || LogReader::open(&folder, start, end)).await.map_err(io)?;
            send(reader, follower, wanted, status, &blocking, &sender).await
        };
        tokio::select! {
            sent = sending => {
                if let Err(error) = sent {
                    let _gone = sender.send(Err(error.into())).await;
                }
            }
            () = sender.closed() => {}
            () = cancelled.cancelled() => {
                let _full = sender.try_send(Err(Error::ShuttingDown.into()));
            }
        }
    });
    Ok(ReceiverStream::new(receiver))
}

async fn send(
    mut reader: LogReader,
    mut follower: Option<Follower>,
    wanted: Wanted,
    mut status: watch::Receiver<ContainerStatus>,
    blocking: &Blocking,
    sender: &mpsc::Sender<Result<GetContainerLogsResponse, Status>>,
) -> Result<(), Error> {
    let io = |source| Error::Io { action: "read the container's log", source };
    loop {
        // Looked at before reading: what was written before the end is then always read.
        let ended = status.has_changed().is_err() || !may_write(&status.borrow());
        let batch;
        (reader, batch) = blocking
            .run(move || {
                let batch = reader.next_batch();
                (reader, batch)
            })
            .await;
        let batch = batch.map_err(io)?;
        let at_end = batch.is_empty();
        let past = batch.iter().any(|entry| entry.unix_ns >= wanted.until_unix_ns);
        for message in messages(batch, wanted) {
            if sender.send(Ok(message)).await.is_err() {
                return Ok(());
            }
        }
        let Some(follower) = &mut follower else {
            if at_end || past {
                return Ok(());
            }
            continue;
        };
        if past || (at_end && ended) {
            return Ok(());
        }
        if at_end {
            tokio::select! {
                changed = follower.changed() => changed.map_err(io)?,
                // Closed means removed; the next round sees it.
                _ = status.changed() => {}
            }
        }
    }
}

/// Whether something may still write this log: a container that runs, or may be started.
fn may_write(status: &ContainerStatus) -> bool {
    use gantry_types::ContainerState as State;
    match status.state {
        State::Creating | State::Created | State::Starting | State::Running | State::Paused => true,
        State::Exited | State::Removing => false,
    }
}

fn messages(batch: Vec<Entry>, wanted: Wanted) -> Vec<GetContainerLogsResponse> {
    let mut messages: Vec<GetContainerLogsResponse> = Vec::new();
    let mut room = 0;
    for entry in batch {
        let stream = match entry.stream {
            LogStream::Stdout if wanted.stdout => OutputStream::Stdout,
            LogStream::Stderr if wanted.stderr => OutputStream::Stderr,
            LogStream::Stdout | LogStream::Stderr => continue,
        };
        if !(wanted.since_unix_ns..wanted.until_unix_ns).contains(&entry.unix_ns) {
            continue;
        }
        let bytes = entry.bytes.len();
        let entry = LogEntry {
            stream: stream.into(),
            time: Some(timestamp(entry.unix_ns)),
            data: entry.bytes.into(),
        };
        match messages.last_mut() {
            Some(message) if bytes <= room => message.entries.push(entry),
            Some(_) | None => {
                messages.push(GetContainerLogsResponse { entries: vec![entry] });
                room = MESSAGE_BYTES;
            }
        }
        room = room.saturating_sub(bytes);
    }
    messages
}
