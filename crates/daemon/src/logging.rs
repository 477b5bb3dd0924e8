//! What the daemon writes to its own terminal: structured log lines on standard error, the answer of a
//! subcommand on standard output, and the one line that says why it stopped.

use std::error::Error as StdError;
use std::io::Write;

use anyhow::Context;
use tracing_subscriber::EnvFilter;

use crate::assemble::Hinted;
use crate::config::{Log, LogFormat};

/// Starts logging. Errors when the level is neither a level nor filter directives.
pub(crate) fn start(log: &Log) -> anyhow::Result<()> {
    // A plain level is for Gantry itself; what it is built on speaks up only when something is wrong.
    let directives = match log.level.parse::<tracing::Level>() {
        Ok(level) => format!(
            "warn,gantryd={level},gantry_store={level},gantry_image={level},gantry_snapshot={level},gantry_runtime={level}"
        ),
        Err(_) => log.level.clone(),
    };
    let filter = EnvFilter::builder().parse(&directives).with_context(|| {
        format!("log level {:?} is not error, warn, info, debug, trace or a filter", log.level)
    })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match log.format {
        LogFormat::Text => builder.with_ansi(false).init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}

/// Prints a subcommand's answer.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    std::io::stdout().write_all(text.as_bytes()).context("cannot write to standard output")
}

/// Prints why the daemon stops: the whole chain, one cause a line.
pub(crate) fn print_failure(error: &anyhow::Error) {
    let mut text = format!("gantryd: {error}\n");
    for cause in error.chain().skip(1) {
        text.extend(["  because: ", &cause.to_string(), "\n"]);
    }
    let hinted: Option<&Hinted> = error.chain().find_map(<dyn StdError>::downcast_ref);
    if let Some(hinted) = hinted {
        text.extend(["reason: ", &hinted.reason, "\n"]);
        text.extend(hinted.hint.iter().flat_map(|hint| ["hint: ", hint, "\n"]));
    }
    // Nobody is left to tell when standard error is gone too.
    let _unwritable = std::io::stderr().write_all(text.as_bytes());
}
