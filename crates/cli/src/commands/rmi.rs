//! `gantry rmi`: names of images, and with the last name the image.

use std::process::ExitCode;

use gantry_api::images::v1::RemoveImageRequest;

use super::each::each;
use crate::failure::Failure;
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Remove it though it has several names or containers need it
    #[arg(short, long)]
    force: bool,
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<ExitCode, Failure> {
    let force = args.force;
    each(args.images, |image| async move {
        let request =
            RemoveImageRequest { namespace: session.namespace(), image, force, request_id: String::new() };
        let answer = session.images().await?.remove_image(request).await?.into_inner();
        let untagged = answer.untagged.iter().map(|name| format!("Untagged: {name}"));
        let deleted = answer.deleted.iter().map(|digest| format!("Deleted: {digest}"));
        Ok(untagged.chain(deleted).collect::<Vec<_>>().join("\n"))
    })
    .await
}
