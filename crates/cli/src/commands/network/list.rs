//! `gantry network ls`.

use std::process::ExitCode;

use gantry_api::networks::v1::{ListNetworksRequest, Network};
use serde_json::Value;

use crate::failure::Failure;
use crate::output;
use crate::parse::filter::{Meaning, filter};
use crate::session::Session;
use crate::show::network::{header, row};
use crate::show::template::Template;

/// What is shown unless a format is given.
const COLUMNS: &str = "table {{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Subnets}}\t{{.Containers}}";

pub(super) const FILTERS: [(&str, Meaning); 4] = [
    ("id", Meaning::Contains("id")),
    ("name", Meaning::Contains("name")),
    ("driver", Meaning::Is("driver")),
    ("label", Meaning::Map("labels")),
];

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Show ids only
    #[arg(short, long)]
    quiet: bool,
    /// Do not shorten ids
    #[arg(long)]
    no_trunc: bool,
    /// Show those with: id, name, driver, label
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Format: json, a template, or table and a template
    #[arg(long)]
    format: Option<String>,
}

pub(super) async fn run(args: Args, session: &Session) -> Result<ExitCode, Failure> {
    let template = Template::parse(args.format.as_deref().unwrap_or(COLUMNS))?;
    let networks = list(filter(&args.filter, &FILTERS)?, session).await?;
    let rows: Vec<Value> = networks.iter().map(|network| row(network, !args.no_trunc)).collect();
    if args.quiet {
        for row in &rows {
            output::line(row["ID"].as_str().unwrap_or_default())?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    output::text(&template.render_all(&rows, header)?)?;
    Ok(ExitCode::SUCCESS)
}

async fn list(filter: String, session: &Session) -> Result<Vec<Network>, Failure> {
    let mut client = session.networks().await?;
    let mut networks = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListNetworksRequest {
            namespace: session.namespace(),
            filter: filter.clone(),
            page_size: 0,
            page_token,
        };
        let page = client.list_networks(request).await?.into_inner();
        networks.extend(page.networks);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(networks);
        }
    }
}
