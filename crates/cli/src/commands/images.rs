//! `gantry images`.

use std::process::ExitCode;

use gantry_api::filter::quote;
use gantry_api::images::v1::{Image, ListImagesRequest};
use jiff::Timestamp;
use serde_json::Value;

use crate::failure::Failure;
use crate::output;
use crate::parse::filter::{Meaning, filter};
use crate::session::Session;
use crate::show::image::{header, row};
use crate::show::template::Template;

/// What is shown unless a format is given.
const COLUMNS: &str = "table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}";
const COLUMNS_WITH_DIGESTS: &str =
    "table {{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}";

const FILTERS: [(&str, Meaning); 2] =
    [("reference", Meaning::Contains("name")), ("label", Meaning::Map("labels"))];

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Accepted for docker's sake: there are no images without a name
    #[arg(short, long)]
    all: bool,
    /// Show ids only
    #[arg(short, long)]
    quiet: bool,
    /// Do not shorten ids
    #[arg(long)]
    no_trunc: bool,
    /// Show digests
    #[arg(long)]
    digests: bool,
    /// Show those with: reference, label
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Format: json, a template, or table and a template
    #[arg(long)]
    format: Option<String>,
    /// Show only images of this name, * for any run of characters
    name: Option<String>,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<ExitCode, Failure> {
    let columns = if args.digests { COLUMNS_WITH_DIGESTS } else { COLUMNS };
    let template = Template::parse(args.format.as_deref().unwrap_or(columns))?;
    let mut terms = vec![filter(&args.filter, &FILTERS)?];
    terms.extend(args.name.map(|name| format!("name~={}", quote(&name))));
    terms.retain(|term| !term.is_empty());
    let images = list(terms.join(","), session).await?;
    let now = Timestamp::now();
    let rows: Vec<Value> = images.iter().map(|image| row(image, now, !args.no_trunc)).collect();
    if !args.quiet {
        output::text(&template.render_all(&rows, header)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut seen = std::collections::BTreeSet::new();
    for id in rows.iter().filter_map(|row| row["ID"].as_str()) {
        if seen.insert(id) {
            output::line(id)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(filter: String, session: &Session) -> Result<Vec<Image>, Failure> {
    let mut client = session.images().await?;
    let mut images = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListImagesRequest {
            namespace: session.namespace(),
            filter: filter.clone(),
            page_size: 0,
            page_token,
        };
        let page = client.list_images(request).await?.into_inner();
        images.extend(page.images);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(images);
        }
    }
}
