//! The supervisor of one container. gantryd makes it and goes its own way: it outlives daemons. Its one
//! thread waits on one epoll instance for requests (`connection`, `request`), for output and input of the
//! container's processes (`streams`), and for their ends (`ending`). The container itself is made by
//! `gantry_runtime::execute` from a plan that the daemon has compiled, or by another runtime (`foreign`); nothing is
//! parsed here.
//!
//! Shims are copies of one process (`nursery`), which `nursery` as the argument asks for. Without it the program is a shim
//! itself; what stands on its command line is then for people who read `ps`.

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
mod memory;
mod nursery;
mod poller;
mod posture;
mod process;
mod queue;
mod request;
mod shim;
mod stdio;
mod streams;

use std::io;
use std::process::ExitCode;

use gantry_api::shim::NURSERY_ARGUMENT;

use shim::Shim;

fn main() -> ExitCode {
    // Nobody reads its standard error; the daemon sees the connection close.
    match live() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn live() -> io::Result<()> {
    let inherited = posture::take()?;
    let is_nursery = std::env::args_os().nth(1).is_some_and(|argument| argument == NURSERY_ARGUMENT);
    let control = if is_nursery { nursery::run(inherited)? } else { Some(inherited) };
    control.map_or(Ok(()), |control| Shim::new(control)?.run())
}
