//! `gantry pull`: an image from its registry; progress on standard error, the image's name on standard output.
//! `run` and `create` pull with the same step.

use std::process::ExitCode;

use gantry_api::images::v1::pull_image_response::Message;
use gantry_api::images::v1::{Image, PullImageRequest, RegistryCredentials};

use crate::failure::Failure;
use crate::output;
use crate::session::Session;
use crate::show::progress::Progress;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
    /// Platform, os/architecture[/variant]
    #[arg(long, default_value = "")]
    platform: String,
    /// Allow plain HTTP and certificates that cannot be verified
    #[arg(long)]
    insecure: bool,
    /// User name and password of the registry; the password is read from GANTRY_REGISTRY_PASSWORD when left out
    #[arg(long, value_name = "USER[:PASSWORD]")]
    creds: Option<String>,
    image: String,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<ExitCode, Failure> {
    let credentials = args.creds.map(|text| {
        let (user, password) = match text.split_once(':') {
            Some((user, password)) => (user.to_owned(), password.to_owned()),
            None => (text, std::env::var("GANTRY_REGISTRY_PASSWORD").unwrap_or_default()),
        };
        RegistryCredentials { username: user, password, ..RegistryCredentials::default() }
    });
    let wish = Wish {
        image: &args.image,
        platform: &args.platform,
        quiet: args.quiet,
        insecure: args.insecure,
        credentials,
    };
    let image = pull(wish, session).await?;
    output::line(image.familiar_name)?;
    Ok(ExitCode::SUCCESS)
}

/// What is asked of a pull.
#[derive(Debug)]
pub(super) struct Wish<'a> {
    pub(super) image: &'a str,
    pub(super) platform: &'a str,
    pub(super) quiet: bool,
    pub(super) insecure: bool,
    pub(super) credentials: Option<RegistryCredentials>,
}

/// Pulls, and shows how far it is.
pub(super) async fn pull(wish: Wish<'_>, session: &Session) -> Result<Image, Failure> {
    let request = PullImageRequest {
        namespace: session.namespace(),
        name: wish.image.to_owned(),
        platform: wish.platform.to_owned(),
        credentials: wish.credentials,
        insecure: wish.insecure,
        ..PullImageRequest::default()
    };
    let mut stream = session.images().await?.pull_image(request).await?.into_inner();
    let mut progress = (!wish.quiet).then(Progress::new);
    while let Some(response) = stream.message().await? {
        match response.message {
            Some(Message::Progress(update)) => {
                if let Some(progress) = &mut progress {
                    progress.update(&update);
                }
            }
            Some(Message::Result(result)) => {
                if let Some(progress) = progress {
                    progress.finish(result.up_to_date);
                }
                return result.image.ok_or_else(|| Failure::new("the daemon answered without an image"));
            }
            None => {}
        }
    }
    Err(Failure::new("the daemon ended the pull without an image"))
}
