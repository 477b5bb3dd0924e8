//! `gantry import`: images of a tar archive, which is read here and streamed to the daemon.

use std::io::Read as _;
use std::process::ExitCode;

use bytes::Bytes;
use gantry_api::images::v1::import_images_request::Message;
use gantry_api::images::v1::{ArchiveFormat, ImageConfig, ImportImagesRequest, ImportOptions};

use crate::failure::Failure;
use crate::output;
use crate::session::Session;

/// Bytes of one message; the API allows 1 MiB.
const CHUNK_BYTES: usize = 256 << 10;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Platform of a root filesystem, os/architecture[/variant]
    #[arg(long, default_value = "")]
    platform: String,
    /// What the archive holds; found out by looking when left out
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Set what the image of a root filesystem says: CMD, ENTRYPOINT, ENV, USER or WORKDIR and its value
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// Archive, or - for standard input
    archive: String,
    /// Name of the image; a root filesystem needs one
    #[arg(default_value = "")]
    name: String,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    /// A root filesystem.
    Rootfs,
    /// An OCI layout, or what docker save writes.
    Images,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<ExitCode, Failure> {
    let options = ImportOptions {
        namespace: session.namespace(),
        format: match args.format {
            None => ArchiveFormat::Unspecified,
            Some(Format::Rootfs) => ArchiveFormat::Rootfs,
            Some(Format::Images) => ArchiveFormat::Images,
        }
        .into(),
        name: args.name,
        platform: args.platform,
        config: if args.change.is_empty() { None } else { Some(changes(&args.change)?) },
        ..ImportOptions::default()
    };
    let mut client = session.images().await?;
    let (sender, receiver) = tokio::sync::mpsc::channel(4);
    let first = ImportImagesRequest { message: Some(Message::Options(Box::new(options))) };
    let source = open(&args.archive)?;
    // A thread: files and pipes cannot be waited for in one way.
    let reading = std::thread::spawn(move || read(source, first, &sender));
    let answer = client.import_images(tokio_stream::wrappers::ReceiverStream::new(receiver)).await;
    let answer = match answer {
        // What the daemon says of half an archive is not the cause when reading it failed.
        Err(status) if reading.is_finished() => {
            reading.join().unwrap_or(Ok(())).map_err(|error| unreadable(&args.archive, &error))?;
            return Err(status.into());
        }
        Err(status) => return Err(status.into()),
        Ok(answer) => {
            reading.join().unwrap_or(Ok(())).map_err(|error| unreadable(&args.archive, &error))?;
            answer.into_inner()
        }
    };
    for image in answer.images {
        output::line(image.familiar_name)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn unreadable(path: &str, error: &std::io::Error) -> Failure {
    Failure::io(&format!("cannot read {path}"), error)
}

fn open(path: &str) -> Result<Box<dyn std::io::Read + Send>, Failure> {
    if path == "-" {
        return Ok(Box::new(std::io::stdin()));
    }
    Ok(Box::new(std::fs::File::open(path).map_err(|error| unreadable(path, &error))?))
}

/// Sends the archive in chunks. The receiver goes away when the daemon has refused it; that is told elsewhere.
fn read(
    mut source: Box<dyn std::io::Read + Send>,
    first: ImportImagesRequest,
    sender: &tokio::sync::mpsc::Sender<ImportImagesRequest>,
) -> std::io::Result<()> {
    if sender.blocking_send(first).is_err() {
        return Ok(());
    }
    loop {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        source.by_ref().take(CHUNK_BYTES as u64).read_to_end(&mut chunk)?;
        if chunk.is_empty() {
            return Ok(());
        }
        let message = ImportImagesRequest { message: Some(Message::Chunk(Bytes::from(chunk))) };
        if sender.blocking_send(message).is_err() {
            return Ok(());
        }
    }
}

/// Instructions of a build file that say how an image runs.
fn changes(given: &[String]) -> Result<ImageConfig, Failure> {
    let mut config = ImageConfig::default();
    for text in given {
        let (instruction, value) = text.trim().split_once(char::is_whitespace).unwrap_or((text, ""));
        let value = value.trim();
        match instruction.to_ascii_uppercase().as_str() {
            "CMD" => config.command = command(value),
            "ENTRYPOINT" => config.entrypoint = command(value),
            "ENV" => config.env.push(value.to_owned()),
            "USER" => value.clone_into(&mut config.user),
            "WORKDIR" => value.clone_into(&mut config.working_dir),
            _ => {
                return Err(Failure::new(format!("{text:?} cannot be set"))
                    .hint("use CMD, ENTRYPOINT, ENV, USER or WORKDIR"));
            }
        }
    }
    Ok(config)
}

/// A JSON array of words, or a line for the shell.
fn command(text: &str) -> Vec<String> {
    serde_json::from_str(text).unwrap_or_else(|_| ["/bin/sh", "-c", text].map(str::to_owned).to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_instructions() {
        let given = ["CMD [\"a\", \"b c\"]", "entrypoint x y", "ENV A=b", "USER 5", "WORKDIR /w"];
        let config = changes(&given.map(str::to_owned)).expect("well formed");
        assert_eq!(config.command, ["a", "b c"]);
        assert_eq!(config.entrypoint, ["/bin/sh", "-c", "x y"]);
        assert_eq!(
            (config.env[0].as_str(), config.user.as_str(), config.working_dir.as_str()),
            ("A=b", "5", "/w")
        );
        assert!(changes(&["RUN x".to_owned()]).is_err());
    }
}
