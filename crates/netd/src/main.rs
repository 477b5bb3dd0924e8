//! What a network needs while the daemon is away: answers to the names of its containers, and its rules when somebody
//! flushes them. gantryd starts it, or systemd; it outlives both. Its one thread waits on one epoll instance for files
//! (`watch`), questions (`listeners`, `connections`), answers of others (`forward`) and changes of the rules (`heal`).
//!
//! Read `gantry_network::netd` for what it reads, `resolve` for what it answers, `server` for the loop.
//!
//! ```text
//! gantry-netd --state DIR [--standby] [--resolv-conf FILE]
//! ```
//!
//! Where another serves the folder it ends well at once, or with `--standby` waits for the other's end and takes over.
//! Absent: caching. The host's resolver caches; a name of a container must not outlive it.

mod answer;
mod arguments;
mod connections;
mod forward;
mod heal;
mod listeners;
mod nft;
mod poller;
mod posture;
mod question;
mod resolve;
mod server;
mod slots;
mod socket;
mod upstream;
mod watch;
mod zone;

use std::error::Error;
use std::fmt::Write as _;
use std::process::ExitCode;

use gantry_network::netd::{Folder, Instance};

fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&*error);
            ExitCode::FAILURE
        }
    }
}

fn serve() -> Result<(), Box<dyn Error>> {
    let arguments = arguments::parse(std::env::args_os().skip(1))?;
    let signals = posture::take()?;
    let folder = Folder::create(&arguments.state)?;
    let Some(_instance) = Instance::take(&arguments.state, arguments.standby)? else { return Ok(()) };
    server::Server::new(folder, arguments.resolv_conf, signals)?.run()?;
    Ok(())
}

/// Tells an error with its causes, once, where somebody may read it.
pub(crate) fn say(error: &dyn Error) {
    let mut text = format!("gantry-netd: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        // Writing to a string cannot fail.
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text.push('\n');
    // Whoever started it may have closed it.
    let _ = rustix::io::write(rustix::stdio::stderr(), text.as_bytes());
}
