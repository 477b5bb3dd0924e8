//! `gantry create`: a container that waits for its start. `run` begins with the same step.

use std::process::ExitCode;

use gantry_api::containers::v1::{Container, CreateContainerRequest};

use super::pull::{Wish, pull};
use crate::failure::Failure;
use crate::options::{ContainerFlags, PullPolicy};
use crate::output;
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    flags: ContainerFlags,
    /// The image, and the command with its arguments instead of the image's
    #[arg(required = true, num_args = 1.., trailing_var_arg = true, value_names = ["IMAGE", "COMMAND"])]
    image_and_command: Vec<String>,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<ExitCode, Failure> {
    let making = Making::new(&args.flags)?;
    let request = args.flags.request(args.image_and_command, session)?;
    let container = making.create(request, session).await?;
    output::line(container.id)?;
    Ok(ExitCode::SUCCESS)
}

/// What there is to do around the create call itself.
#[derive(Debug)]
pub(super) struct Making {
    policy: PullPolicy,
    platform: String,
    quiet: bool,
    cidfile: Option<String>,
}

impl Making {
    pub(super) fn new(flags: &ContainerFlags) -> Result<Self, Failure> {
        if let Some(path) = &flags.cidfile
            && std::path::Path::new(path).exists()
        {
            return Err(Failure::new(format!("the id file {path} exists already"))
                .hint("remove it when its container is not needed any more"));
        }
        Ok(Self {
            policy: flags.pull,
            platform: flags.platform.clone().unwrap_or_default(),
            quiet: flags.quiet,
            cidfile: flags.cidfile.clone(),
        })
    }

    /// Makes the container, and gets its image first when that is needed.
    pub(super) async fn create(
        &self,
        request: CreateContainerRequest,
        session: &Session,
    ) -> Result<Container, Failure> {
        let mut client = session.containers().await?;
        let image = request.image.clone();
        if self.policy == PullPolicy::Always {
            self.pull(&image, session).await?;
        }
        let answer = match client.create_container(request.clone()).await.map_err(Failure::from) {
            Err(failure) if failure.reason == "IMAGE_NOT_FOUND" && self.policy == PullPolicy::Missing => {
                if !self.quiet {
                    output::note(format_args!("image {image} is not here yet, pulling it"));
                }
                self.pull(&image, session).await?;
                client.create_container(request).await?
            }
            other => other?,
        };
        let answer = answer.into_inner();
        for warning in answer.warnings {
            output::note(format_args!("warning: {warning}"));
        }
        let container =
            answer.container.ok_or_else(|| Failure::new("the daemon answered without a container"))?;
        if let Some(path) = &self.cidfile {
            std::fs::write(path, &container.id)
                .map_err(|error| Failure::io(&format!("cannot write the id file {path}"), &error))?;
        }
        Ok(container)
    }

    async fn pull(&self, image: &str, session: &Session) -> Result<(), Failure> {
        let wish =
            Wish { image, platform: &self.platform, quiet: self.quiet, insecure: false, credentials: None };
        pull(wish, session).await.map(drop)
    }
}
