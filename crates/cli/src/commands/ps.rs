//! `gantry ps`: containers, newest first, the running ones unless asked otherwise.

use std::process::ExitCode;

use gantry_api::containers::v1::{Container, ListContainersRequest};
use jiff::Timestamp;
use serde_json::Value;

use crate::failure::Failure;
use crate::output;
use crate::parse::filter::{Meaning, filter};
use crate::session::Session;
use crate::show::container::{header, row};
use crate::show::template::Template;

/// What is shown unless a format is given.
const COLUMNS: &str =
    "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}";

const FILTERS: [(&str, Meaning); 6] = [
    ("id", Meaning::Contains("id")),
    ("name", Meaning::Contains("name")),
    ("status", Meaning::Is("state")),
    ("label", Meaning::Map("labels")),
    ("ancestor", Meaning::Contains("image")),
    ("exited", Meaning::Is("exit_code")),
];

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show all, not only those that run
    #[arg(short, long)]
    all: bool,
    /// Show ids only
    #[arg(short, long)]
    quiet: bool,
    /// Do not shorten ids and commands
    #[arg(long)]
    no_trunc: bool,
    /// Show the newest one, in any state
    #[arg(short, long)]
    latest: bool,
    /// Show so many of the newest, in any state
    #[arg(short = 'n', long, value_name = "NUMBER")]
    last: Option<usize>,
    /// Show those with: id, name, status, label, ancestor, exited
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Format: json, a template, or table and a template
    #[arg(long)]
    format: Option<String>,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<ExitCode, Failure> {
    let template = Template::parse(args.format.as_deref().unwrap_or(COLUMNS))?;
    let last = if args.latest { Some(1) } else { args.last };
    let mut filter = filter(&args.filter, &FILTERS)?;
    let any_state = args.all || last.is_some() || args.filter.iter().any(|text| text.starts_with("status="));
    if !any_state {
        filter = [filter.as_str(), "state==starting|running|paused"]
            .iter()
            .filter(|term| !term.is_empty())
            .copied()
            .collect::<Vec<_>>()
            .join(",");
    }
    let mut containers = list(filter, last, session).await?;
    containers.truncate(last.unwrap_or(usize::MAX));
    let truncate = !args.no_trunc;
    if args.quiet {
        for container in &containers {
            let id = if truncate { &container.id[..container.id.len().min(12)] } else { &container.id };
            output::line(id)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let now = Timestamp::now();
    let rows: Vec<Value> = containers.iter().map(|container| row(container, now, truncate)).collect();
    output::text(&template.render_all(&rows, header)?)?;
    Ok(ExitCode::SUCCESS)
}

/// All pages, or as many as `last` containers need.
async fn list(filter: String, last: Option<usize>, session: &Session) -> Result<Vec<Container>, Failure> {
    let mut client = session.containers().await?;
    let mut containers = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListContainersRequest {
            namespace: session.namespace(),
            filter: filter.clone(),
            page_size: 0,
            page_token,
        };
        let page = client.list_containers(request).await?.into_inner();
        containers.extend(page.containers);
        page_token = page.next_page_token;
        if page_token.is_empty() || last.is_some_and(|last| containers.len() >= last) {
            return Ok(containers);
        }
    }
}
