//! `gantry stats`: what containers use, a screen a second until all have ended, or once. Of all that are alive when
//! it begins, unless some are named; those that start later are not added.

use std::process::ExitCode;

use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use gantry_api::containers::v1::{
    Container, ContainerStats, GetContainerRequest, GetContainerStatsRequest, ListContainersRequest,
};
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
}

type Readings = BoxStream<'static, (usize, Option<Result<ContainerStats, Failure>>)>;

pub(crate) async fn run(args: Args, session: &Session) -> Result<ExitCode, Failure> {
    let template = Template::parse(args.format.as_deref().unwrap_or(COLUMNS))?;
    let is_table = args.format.as_deref().is_none_or(|format| format.starts_with("table "));
    let clears = is_table && !args.no_stream && rustix::termios::isatty(std::io::stdout());
    let request = GetInfoRequest { namespace: session.namespace() };
    let info = session.system().await?.get_info(request).await?.into_inner().info.unwrap_or_default();
    let mut lines = Vec::new();
    let mut readings = stream::SelectAll::new();
    for container in chosen(&args, session).await? {
        let id = if args.no_trunc { &container.id[..] } else { &container.id[..container.id.len().min(12)] };
        let line = Line {
            id: id.to_owned(),
            name: container.name.clone(),
            before: None,
            now: None,
            is_new: false,
            is_alive: container.pid != 0,
        };
        if line.is_alive {
            readings.push(follow(container.id, lines.len(), args.no_stream, session).await?);
        }
        lines.push(line);
    }
    let show = |lines: &[Line]| -> Result<(), Failure> {
        let rows: Vec<Value> = lines.iter().map(|line| line.row(info.memory_bytes)).collect();
        let screen = template.render_all(&rows, usage::header)?;
        output::text(&if clears { format!("{CLEAR}{screen}") } else { screen })
    };
    while let Some((index, reading)) = readings.next().await {
        lines[index].take(reading)?;
        let is_whole =
            |line: &Line| !line.is_alive || (line.is_new && (!args.no_stream || line.before.is_some()));
        if lines.iter().all(is_whole) {
            show(&lines)?;
            if args.no_stream {
                return Ok(ExitCode::SUCCESS);
            }
            for line in &mut lines {
                line.is_new = false;
            }
        }
    }
    show(&lines)?;
    Ok(ExitCode::SUCCESS)
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

/// Those that are named, or all that are alive.
async fn chosen(args: &Args, session: &Session) -> Result<Vec<Container>, Failure> {
    let mut client = session.containers().await?;
    let mut containers = Vec::new();
    for name in &args.containers {
        let request = GetContainerRequest { namespace: session.namespace(), container: name.clone() };
        containers.extend(client.get_container(request).await?.into_inner().container);
    }
    if args.containers.is_empty() {
        let filter = if args.all { "" } else { "state==running|paused" };
        let request = ListContainersRequest {
            namespace: session.namespace(),
            filter: filter.to_owned(),
            ..ListContainersRequest::default()
        };
        containers = client.list_containers(request).await?.into_inner().containers;
    }
    Ok(containers)
}

/// The readings of one container under its number, and `None` at its end.
async fn follow(container: String, index: usize, once: bool, session: &Session) -> Result<Readings, Failure> {
    let request = GetContainerStatsRequest {
        namespace: session.namespace(),
        container,
        follow: true,
        interval_ms: if once { ONCE_INTERVAL_MS } else { 0 },
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
