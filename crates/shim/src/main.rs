//! The supervisor of one container. gantryd makes it and goes its own way: it outlives daemons. Its one
//! thread waits on one epoll instance for requests (`connection`, `request`), for output and input of the
//! container's processes (`streams`), and for their ends (`ending`). The container itself is made by
//! `gantry_runtime::execute` from a plan that the daemon has compiled, or by another runtime (`foreign`); nothing is
//! parsed here.
//!
//! It takes no arguments: what stands on its command line is for people who read `ps`.

mod attachment;
mod bundle;
mod clock;
mod connection;
mod ending;
mod exec;
mod failure;
mod foreign;
mod input;
mod launch;
mod listener;
mod log;
mod poller;
mod posture;
mod process;
mod queue;
mod request;
mod shim;
mod stdio;
mod streams;

use std::process::ExitCode;

fn main() -> ExitCode {
    // Nobody reads its standard error; the daemon sees the connection close.
    match posture::take().and_then(shim::Shim::new).and_then(shim::Shim::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
