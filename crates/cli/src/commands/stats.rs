//! `gantry stats`: what containers use, a screen a second, or once. Those that are named, until all of them have ended;
//! else all that are alive, with those that start later and without those that ended, until it is interrupted.

use std::process::ExitCode;

use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream, SelectAll};
use gantry_api::containers::v1::{
    Container, ContainerStats, GetContainerRequest, GetContainerStatsRequest, ListContainersRequest,
};
use gantry_api::events::v1::watch_events_response::Message;
use gantry_api::events::v1::{Event, WatchEventsRequest};
use gantry_api::system::v1::GetInfoRequest;
use serde_json::Value;

use crate::failure::Failure;
use crate::output;
use crate::session::Session;
use crate::show::template::Template;
use crate::show::usage;

/// What is shown unless a format is given.
const COLUMNS: &str = "table {{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}";
/// The cursor to the upper left, and nothing below it.
const CLEAR: &str = "\u{1b}[H\u{1b}[J";
/// Events of containers that run from now on.
const STARTS: &str = "kind==container.start";
/// Between the two readings of a single answer.
const ONCE_INTERVAL_MS: u32 = 500;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show those that do not run too
    #[arg(short, long)]
    all: bool,
    /// Show one screen and end
    #[arg(long)]
    no_stream: bool,
    /// Do not shorten ids
    #[arg(long)]
    no_trunc: bool,
    /// Format: json, a template, or table and a template
    #[arg(long)]
    format: Option<String>,
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// A container and its last two readings.
struct Line {
    id: String,
    name: String,
    before: Option<ContainerStats>,
    now: Option<ContainerStats>,
    /// Since the last screen.
    is_new: bool,
    is_alive: bool,
    /// It was started again, and has another line.
    is_over: bool,
}

type Readings = BoxStream<'static, (usize, Option<Result<ContainerStats, Failure>>)>;
/// Containers that started.
type Starts = BoxStream<'static, Result<Event, Failure>>;

/// Everything that is shown, and where it comes from.
struct Screen<'a> {
    args: &'a Args,
    session: &'a Session,
    lines: Vec<Line>,
    readings: SelectAll<Readings>,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<ExitCode, Failure> {
    let template = Template::parse(args.format.as_deref().unwrap_or(COLUMNS))?;
    let is_table = args.format.as_deref().is_none_or(|format| format.starts_with("table "));
    let clears = is_table && !args.no_stream && rustix::termios::isatty(std::io::stdout());
    let request = GetInfoRequest { namespace: session.namespace() };
    let info = session.system().await?.get_info(request).await?.into_inner().info.unwrap_or_default();
    let mut screen = Screen { args: &args, session, lines: Vec::new(), readings: SelectAll::new() };
    let mut starts = screen.begin().await?;
    let show = |screen: &Screen<'_>| -> Result<(), Failure> {
        let rows: Vec<Value> = screen.shown().map(|line| line.row(info.memory_bytes)).collect();
        let text = template.render_all(&rows, usage::header)?;
        output::text(&if clears { format!("{CLEAR}{text}") } else { text })
    };
    if screen.readings.is_empty() {
        show(&screen)?;
    }
    loop {
        let reading = tokio::select! {
            reading = screen.readings.next(), if !screen.readings.is_empty() => reading,
            Some(started) = starts.next() => {
                screen.add(started?).await?;
                continue;
            }
            else => return Ok(ExitCode::SUCCESS),
        };
        if let Some((index, reading)) = reading {
            screen.lines[index].take(reading)?;
        }
        if screen.is_whole() {
            show(&screen)?;
            if args.no_stream {
                return Ok(ExitCode::SUCCESS);
            }
            for line in &mut screen.lines {
                line.is_new = false;
            }
        }
    }
}

impl Screen<'_> {
    /// Takes what is there when the command begins. What comes back are the containers that start later; it has an end
    /// where they are not wanted.
    async fn begin(&mut self) -> Result<Starts, Failure> {
        let (containers, revision) = chosen(self.args, self.session).await?;
        for container in containers {
            let readings = match container.pid {
                0 => None,
                _ => Some(follow(container.id.clone(), self.lines.len(), self.args, self.session).await?),
            };
            self.push(&container.id, container.name, readings);
        }
        match revision {
            Some(revision) if !self.args.no_stream => starts_after(revision, self.session).await,
            Some(_) | None => Ok(stream::empty().boxed()),
        }
    }

    /// A container has started. What was shown of its run before is over.
    async fn add(&mut self, started: Event) -> Result<(), Failure> {
        // Gone already is no failure of the others'; a daemon that is gone ends their streams too.
        if let Ok(readings) = follow(started.id.clone(), self.lines.len(), self.args, self.session).await {
            let id = self.id(&started.id).to_owned();
            for line in self.lines.iter_mut().filter(|line| line.id == id) {
                (line.is_alive, line.is_over) = (false, true);
            }
            self.push(&started.id, started.name, Some(readings));
        }
        Ok(())
    }

    fn push(&mut self, id: &str, name: String, readings: Option<Readings>) {
        let id = self.id(id).to_owned();
        let is_alive = readings.is_some();
        self.lines.push(Line { id, name, before: None, now: None, is_new: false, is_alive, is_over: false });
        self.readings.extend(readings);
    }

    fn id<'b>(&self, id: &'b str) -> &'b str {
        if self.args.no_trunc { id } else { &id[..id.len().min(12)] }
    }

    /// Those that ended stay only where they were asked for.
    fn shown(&self) -> impl Iterator<Item = &Line> {
        let keeps = self.args.all || !self.args.containers.is_empty();
        self.lines.iter().filter(move |line| line.is_alive || (keeps && !line.is_over))
    }

    /// Whether each line has its reading for the next screen.
    fn is_whole(&self) -> bool {
        let once = self.args.no_stream;
        self.lines.iter().all(|line| !line.is_alive || (line.is_new && (!once || line.before.is_some())))
    }
}

impl Line {
    fn row(&self, machine_bytes: u64) -> Value {
        match &self.now {
            Some(now) if self.is_alive => {
                usage::row(&self.name, &self.id, self.before.as_ref(), now, machine_bytes)
            }
            Some(_) | None => usage::unknown(&self.name, &self.id),
        }
    }

    fn take(&mut self, reading: Option<Result<ContainerStats, Failure>>) -> Result<(), Failure> {
        match reading {
            Some(reading) => {
                self.before = self.now.replace(reading?);
                self.is_new = true;
            }
            None => self.is_alive = false,
        }
        Ok(())
    }
}

/// Those that are named; or all that are alive, with the revision that the list shows.
async fn chosen(args: &Args, session: &Session) -> Result<(Vec<Container>, Option<u64>), Failure> {
    let mut client = session.containers().await?;
    if args.containers.is_empty() {
        let filter = if args.all { "" } else { "state==running|paused" };
        let request = ListContainersRequest {
            namespace: session.namespace(),
            filter: filter.to_owned(),
            ..ListContainersRequest::default()
        };
        let page = client.list_containers(request).await?.into_inner();
        return Ok((page.containers, Some(page.revision)));
    }
    let mut containers = Vec::new();
    for name in &args.containers {
        let request = GetContainerRequest { namespace: session.namespace(), container: name.clone() };
        containers.extend(client.get_container(request).await?.into_inner().container);
    }
    Ok((containers, None))
}

async fn starts_after(revision: u64, session: &Session) -> Result<Starts, Failure> {
    let request = WatchEventsRequest {
        namespace: session.namespace(),
        after_revision: Some(revision),
        filter: STARTS.to_owned(),
        ..WatchEventsRequest::default()
    };
    let events = session.events().await?.watch_events(request).await?.into_inner();
    let starts = events.filter_map(async |response| match response {
        Ok(response) => match response.message {
            Some(Message::Event(event)) => Some(Ok(event)),
            Some(Message::Started(_)) | None => None,
        },
        Err(status) => Some(Err(Failure::from(status))),
    });
    Ok(starts.boxed())
}

/// The readings of one container under its number, and `None` at its end.
async fn follow(
    container: String,
    index: usize,
    args: &Args,
    session: &Session,
) -> Result<Readings, Failure> {
    let request = GetContainerStatsRequest {
        namespace: session.namespace(),
        container,
        follow: true,
        interval_ms: if args.no_stream { ONCE_INTERVAL_MS } else { 0 },
    };
    let readings = session.containers().await?.get_container_stats(request).await?.into_inner();
    let readings = readings.filter_map(move |message| async move {
        match message {
            Ok(message) => message.stats.map(|stats| (index, Some(Ok(stats)))),
            Err(status) => Some((index, Some(Err(Failure::from(status))))),
        }
    });
    Ok(readings.chain(stream::once(async move { (index, None) })).boxed())
}
