//! `gantry-runtime`: the runtime library behind the command line that runc made the custom of, so that Docker,
//! containerd, Podman and other people's conformance suites can drive it. This file is the way in and out:
//! arguments to a command, a failure to a log line and an exit code. One process, one thread, no second exec:
//! what a container's start costs is what the kernel takes for it.
//!
//! Deliberately absent: supervision, logs and restarts (the caller's work, or gantryd's), and shim protocols.

mod arguments;
mod bundle;
mod commands;
mod console;
mod containers;
mod criu;
mod failure;
mod foreground;
mod options;
mod output;
mod outside;
mod posture;
mod reading;
mod record;
mod report;
mod scope;

use std::process::ExitCode;

use crate::arguments::Invocation;
use crate::report::Report;

fn main() -> ExitCode {
    let invocation = match arguments::parse(std::env::args_os().skip(1)) {
        Ok(invocation) => invocation,
        Err(failure) => return Report::default().failure(&failure, 1),
    };
    let Invocation { globals, command } = invocation;
    let report = Report::new(&globals);
    let code_of_failure = command.code_of_failure();
    match posture::take(&command).and_then(|()| commands::run(command, &globals, &report)) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => report.failure(&failure, code_of_failure),
    }
}
