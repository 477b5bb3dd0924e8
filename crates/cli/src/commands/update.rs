//! `gantry update`: other resources for containers, at once and for every later start. What is not said stays.

use std::process::ExitCode;

use gantry_api::containers::v1::UpdateContainerRequest;
use prost_types::FieldMask;

use super::each::each;
use crate::failure::Failure;
use crate::options::resources::ResourceFlags;
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    resources: ResourceFlags,
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<ExitCode, Failure> {
    let (resources, paths) = (args.resources.resources()?, args.resources.fields());
    if paths.is_empty() {
        return Err(Failure::new("nothing to update").hint("give at least one limit, such as --memory 512m"));
    }
    let (resources, mask) = (&resources, &FieldMask { paths });
    each(args.containers, |name| async move {
        let request = UpdateContainerRequest {
            namespace: session.namespace(),
            container: name.clone(),
            resources: Some(resources.clone()),
            update_mask: Some(mask.clone()),
        };
        session.containers().await?.update_container(request).await?;
        Ok(name)
    })
    .await
}
