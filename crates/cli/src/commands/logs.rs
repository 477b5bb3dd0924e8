//! `gantry logs`: what a container wrote, each stream to its own.

use std::process::ExitCode;

use gantry_api::containers::v1::{GetContainerLogsRequest, LogEntry, OutputStream};
use jiff::Timestamp;

use crate::failure::Failure;
use crate::output;
use crate::parse::time::point;
use crate::session::Session;
use crate::show::moment;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Go on with what is written later, until it exits
    #[arg(short, long)]
    follow: bool,
    /// Only from this time on
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only before this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only so many last lines, or all
    #[arg(short = 'n', long, value_name = "LINES", default_value = "all", allow_hyphen_values = true)]
    tail: String,
    /// Put the time before each line
    #[arg(short, long)]
    timestamps: bool,
    container: String,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<ExitCode, Failure> {
    let now = Timestamp::now();
    let time = |text: Option<String>| text.map(|text| point(&text, now)).transpose().map_err(Failure::new);
    let tail = match args.tail.as_str() {
        "all" | "-1" => None,
        text => Some(
            text.parse().map_err(|_| Failure::new(format!("{text:?} is not a number of lines, or all")))?,
        ),
    };
    let request = GetContainerLogsRequest {
        namespace: session.namespace(),
        container: args.container,
        follow: args.follow,
        since: time(args.since)?,
        until: time(args.until)?,
        tail,
        ..GetContainerLogsRequest::default()
    };
    let mut stream = session.containers().await?.get_container_logs(request).await?.into_inner();
    let mut page = Page { timestamps: args.timestamps, ..Page::default() };
    while let Some(message) = stream.message().await? {
        for entry in &message.entries {
            page.add(entry)?;
        }
        page.write()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Entries gathered for one write. Runs of one stream are written together, and never out of order.
#[derive(Debug, Default)]
struct Page {
    timestamps: bool,
    to_stderr: bool,
    bytes: Vec<u8>,
    /// Whether the last entry of standard output, and of standard error, was without a line end.
    open: [bool; 2],
}

impl Page {
    fn add(&mut self, entry: &LogEntry) -> Result<(), Failure> {
        let to_stderr = entry.stream() == OutputStream::Stderr;
        if to_stderr != self.to_stderr {
            self.write()?;
            self.to_stderr = to_stderr;
        }
        let open = &mut self.open[usize::from(to_stderr)];
        if self.timestamps && !*open {
            let time = entry.time.as_ref().map(moment::rfc3339).unwrap_or_default();
            self.bytes.extend_from_slice(time.as_bytes());
            self.bytes.push(b' ');
        }
        self.bytes.extend_from_slice(&entry.data);
        *open = entry.data.last() != Some(&b'\n');
        Ok(())
    }

    fn write(&mut self) -> Result<(), Failure> {
        if self.bytes.is_empty() {
            return Ok(());
        }
        let bytes = std::mem::take(&mut self.bytes);
        if self.to_stderr { output::error_bytes(&bytes) } else { output::bytes(&bytes) }
    }
}
