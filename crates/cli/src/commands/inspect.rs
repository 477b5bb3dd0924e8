//! `gantry inspect`: everything about containers and images, in docker's document form. A name is looked for
//! among containers first.

use std::process::ExitCode;

use gantry_api::containers::v1::GetContainerRequest;
use gantry_api::images::v1::GetImageRequest;
use serde_json::Value;

use crate::failure::Failure;
use crate::output;
use crate::session::Session;
use crate::show::template::Template;
use crate::show::{container, image};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Format: json or a template
    #[arg(short, long)]
    format: Option<String>,
    /// Look only among these
    #[arg(long = "type", value_enum)]
    kind: Option<Kind>,
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// Containers.
    Container,
    /// Images.
    Image,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<ExitCode, Failure> {
    let template = args.format.as_deref().map(Template::parse).transpose()?;
    let mut documents = Vec::new();
    let mut failed = false;
    for name in &args.names {
        match document(name, args.kind, session).await {
            Ok(document) => documents.push(document),
            Err(failure) => {
                failure.tell();
                failed = true;
            }
        }
    }
    match template {
        Some(template) => {
            for document in &documents {
                output::line(template.render(document)?)?;
            }
        }
        // The alternative form indents; a document is always JSON.
        None => output::line(format_args!("{:#}", Value::Array(documents)))?,
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn document(name: &str, kind: Option<Kind>, session: &Session) -> Result<Value, Failure> {
    if kind != Some(Kind::Image) {
        let request = GetContainerRequest { namespace: session.namespace(), container: name.to_owned() };
        match session.containers().await?.get_container(request).await.map_err(Failure::from) {
            Ok(answer) => return Ok(container::document(&answer.into_inner().container.unwrap_or_default())),
            // A name of an image need not be of the form of a container's.
            Err(failure) if kind.is_none() && (failure.is_not_found() || failure.is_invalid()) => {}
            Err(failure) => return Err(failure),
        }
    }
    let request = GetImageRequest { namespace: session.namespace(), image: name.to_owned() };
    match session.images().await?.get_image(request).await.map_err(Failure::from) {
        Ok(answer) => Ok(image::document(&answer.into_inner().image.unwrap_or_default())),
        Err(failure) if kind.is_none() && (failure.is_not_found() || failure.is_invalid()) => {
            Err(Failure::new(format!("there is no container and no image {name:?}"))
                .hint("list them with 'gantry ps -a' and 'gantry images'"))
        }
        Err(failure) => Err(failure),
    }
}
