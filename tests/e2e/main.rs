//! The end-to-end tests: every behaviour a user can see, through the `gantry` program and the gRPC API, against a
//! private daemon, a real registry and the real kernel.
//!
//! A file per behaviour; each ends in a `tests!` list. After the last test the machine must be as it was before the
//! first one.

#![expect(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "this is the test runner: it reports to people"
)]

use std::process::exit;
use std::sync::Arc;

use anyhow::Result;
use gantry_tests::machine::Machine;
use gantry_tests::network_driver;
use gantry_tests::trial::Shared;
use gantry_tests::wait::{seconds, until_true};
use libtest_mimic::{Arguments, Trial};

/// Lists the tests of a file, in the order in which they are written there.
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        pub(crate) fn all(shared: &std::sync::Arc<gantry_tests::trial::Shared>) -> Vec<libtest_mimic::Trial> {
            vec![$(gantry_tests::trial::trial(module_path!(), stringify!($name), shared, $name)),*]
        }
    };
}

mod api;
mod checkpoint;
mod control_groups;
mod counts;
mod crash;
mod daemon;
mod disk;
mod dns;
mod engines;
mod exhaustion;
mod exit_codes;
mod lifecycle;
mod logs;
mod network;
mod network_before;
mod network_drivers;
mod network_external;
mod network_programs;
mod network_steps;
mod options;
mod pull;
mod realistic;
mod resources;
mod runtime_program;
mod runtimes;
mod security;
mod streams;
mod tcp;
mod userns;

/// The tests of all files, or of those that `GANTRY_TEST_FILES` names.
fn all(shared: &Arc<Shared>) -> Vec<Trial> {
    let chosen = std::env::var("GANTRY_TEST_FILES").unwrap_or_default();
    let chosen: Vec<&str> = chosen.split_whitespace().collect();
    let is_chosen = |trial: &Trial| {
        let file = trial.name().split("::").next().unwrap_or_default();
        chosen.is_empty() || chosen.contains(&file)
    };
    [
        api::all,
        checkpoint::all,
        control_groups::all,
        counts::all,
        crash::all,
        daemon::all,
        disk::all,
        dns::all,
        engines::all,
        exhaustion::all,
        exit_codes::all,
        lifecycle::all,
        logs::all,
        network::all,
        network_before::all,
        network_drivers::all,
        network_external::all,
        network_programs::all,
        network_steps::all,
        options::all,
        pull::all,
        realistic::all,
        resources::all,
        runtime_program::all,
        runtimes::all,
        security::all,
        streams::all,
        tcp::all,
        userns::all,
    ]
    .into_iter()
    .flat_map(|file| file(shared))
    .filter(is_chosen)
    .collect()
}

fn main() {
    let code = match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("the suite could not run: {error:?}");
            2
        }
    };
    exit(code);
}

fn run() -> Result<i32> {
    if let Some(socket) = std::env::var_os(network_driver::SOCKET) {
        return network_driver::serve(std::path::Path::new(&socket)).map(|()| 0);
    }
    let arguments = Arguments::from_args();
    let before = Machine::look()?;
    let shared = Shared::start()?;
    let conclusion = libtest_mimic::run(&arguments, all(&shared));
    let failed = conclusion.has_failed();
    drop(shared);
    // The kernel takes namespaces and cgroups away a moment after their last process.
    let settled = until_true("the machine to be as it was", seconds(10), || {
        Ok(arguments.list || failed || Machine::look()?.added(&before).is_empty())
    });
    if settled.is_err() {
        println!("leak gate: the suite left behind\n    {}", Machine::look()?.added(&before).join("\n    "));
        return Ok(1);
    }
    Ok(i32::from(failed))
}
