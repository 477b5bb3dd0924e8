//! `gantry events`: what happens, as it happens.

use std::process::ExitCode;

use gantry_api::events::v1::watch_events_response::Message;
use gantry_api::events::v1::{Event, EventKind, WatchEventsRequest};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output;
use crate::parse::filter::{Meaning, filter};
use crate::parse::time::point;
use crate::session::Session;
use crate::show::moment;
use crate::show::template::Template;

const FILTERS: [(&str, Meaning); 6] = [
    ("event", Meaning::Contains("kind")),
    ("type", Meaning::Is("resource")),
    ("container", Meaning::Contains("name")),
    ("image", Meaning::Is("attributes.image")),
    ("id", Meaning::Contains("id")),
    ("label", Meaning::Map("labels")),
];

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show those kept since this time first
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// End at this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Show those with: event, type, container, image, id, label
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Show events of every namespace
    #[arg(long)]
    all_namespaces: bool,
    /// Format: json or a template
    #[arg(long)]
    format: Option<String>,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<ExitCode, Failure> {
    let template = args.format.as_deref().map(Template::parse).transpose()?;
    let now = Timestamp::now();
    let time = |text: Option<String>| text.map(|text| point(&text, now)).transpose().map_err(Failure::new);
    let request = WatchEventsRequest {
        namespace: session.namespace(),
        all_namespaces: args.all_namespaces,
        after_revision: None,
        since: time(args.since)?,
        until: time(args.until)?,
        filter: filter(&args.filter, &FILTERS)?,
    };
    let mut stream = session.events().await?.watch_events(request).await?.into_inner();
    while let Some(response) = stream.message().await? {
        match response.message {
            Some(Message::Event(event)) => match &template {
                Some(template) => output::line(template.render(&value(&event))?)?,
                None => output::line(line(&event))?,
            },
            Some(Message::Started(_)) | None => {}
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The verb of an event: `container.start` without its resource.
fn verb(kind: EventKind) -> String {
    let name = kind.as_str_name().trim_start_matches("EVENT_KIND_");
    name.split_once('_').map_or(name, |(_, verb)| verb).to_lowercase()
}

fn line(event: &Event) -> String {
    let time = event.time.as_ref().map(moment::rfc3339).unwrap_or_default();
    let name = [("name".to_owned(), event.name.clone())];
    let attributes = event.attributes.clone().into_iter().chain(name).filter(|(_, value)| !value.is_empty());
    let attributes: Vec<String> = attributes.map(|(key, value)| format!("{key}={value}")).collect();
    format!("{time} {} {} {} ({})", event.resource, verb(event.kind()), event.id, attributes.join(", "))
}

fn value(event: &Event) -> Value {
    json!({
        "Type": event.resource, "Action": verb(event.kind()), "ID": event.id, "Name": event.name,
        "Time": event.time.as_ref().map(moment::rfc3339), "Revision": event.revision,
        "Namespace": event.namespace, "Attributes": event.attributes, "Labels": event.labels,
    })
}
