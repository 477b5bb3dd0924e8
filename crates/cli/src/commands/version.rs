//! `gantry version`: this client and the daemon it speaks to.

use std::process::ExitCode;

use gantry_api::system::v1::GetVersionRequest;
use serde_json::json;

use crate::failure::Failure;
use crate::output;
use crate::session::Session;
use crate::show::template::Template;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Format: json or a template
    #[arg(short, long)]
    format: Option<String>,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<ExitCode, Failure> {
    let template = args.format.as_deref().map(Template::parse).transpose()?;
    let client = env!("CARGO_PKG_VERSION");
    let platform = gantry_types::Platform::host().to_string();
    let answer = async {
        let answer = session.system().await?.get_version(GetVersionRequest {}).await?.into_inner();
        Ok::<_, Failure>(answer.version.unwrap_or_default())
    };
    let answer = answer.await;
    if let Some(template) = template {
        let server = answer?;
        let value = json!({
            "Client": {"Version": client, "Platform": platform},
            "Server": {"Version": server.version, "ApiVersion": server.api_version, "Commit": server.commit,
                       "Platform": server.platform, "KernelVersion": server.kernel},
        });
        output::line(template.render(&value)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    output::line(format_args!("Client:\n  Version:   {client}\n  Platform:  {platform}"))?;
    let server = answer?;
    output::line(format_args!(
        "Server:\n  Version:   {}\n  API:       {}\n  Platform:  {}\n  Kernel:    {}",
        server.version, server.api_version, server.platform, server.kernel
    ))?;
    if !server.commit.is_empty() {
        output::line(format_args!("  Commit:    {}", server.commit))?;
    }
    Ok(ExitCode::SUCCESS)
}
