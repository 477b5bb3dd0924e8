//! `gantry tag`.

use std::process::ExitCode;

use gantry_api::images::v1::TagImageRequest;

use crate::failure::Failure;
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    image: String,
    new_name: String,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<ExitCode, Failure> {
    let request = TagImageRequest {
        namespace: session.namespace(),
        image: args.image,
        new_name: args.new_name,
        request_id: String::new(),
    };
    session.images().await?.tag_image(request).await?;
    Ok(ExitCode::SUCCESS)
}
