//! `gantry`, the command line. It parses, calls the daemon over gRPC, and shows the answer; whatever it can do,
//! any client can do. This file is the way in and out: arguments to a command, a failure to an exit code. The
//! runtime has one thread and nothing is set up that a command does not need, because people start it often.

mod args;
mod commands;
mod failure;
mod options;
mod output;
mod parse;
mod session;
mod show;
mod streams;
mod tls;

use std::process::ExitCode;

use clap::Parser as _;

use crate::args::Cli;
use crate::failure::Failure;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return args::refused(&error),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::io("cannot start", &error).report(),
    };
    let result = runtime.block_on(cli.run());
    // A thread may still be waiting for standard input; the end of the process ends it.
    runtime.shutdown_background();
    result.unwrap_or_else(|failure| failure.report())
}
