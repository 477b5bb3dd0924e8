//! Where do shims come from? From this process, which gantryd executes once and which copies itself for each container:
//! a copy takes a quarter of the time of an exec, shares its pages with all the others, and nothing else of the start has
//! to wait for it. It has made no container, holds no descriptor but its socket, and has one thread.
//!
//! ```text
//!  daemon ── name, control connection ──► nursery ── clone(PARENT) ──► shim: a session of its own, its name in ps
//! ```
//!
//! A shim is its sibling, not its child: it belongs to init at once, and nobody has to be reaped here. The nursery ends
//! with the daemon, because nobody else holds the other end of its socket.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use gantry_api::shim::SHIM_NAME_BYTES_MAX;
use gantry_linux::clone::{Clone, CloneOptions, clone};
use gantry_linux::process::set_session;
use gantry_linux::socket;

/// Copies itself for every control connection that comes. Returns that connection in each copy, and `None` when the
/// daemon is gone.
pub(crate) fn run(daemon: OwnedFd) -> io::Result<Option<OwnedFd>> {
    let command_line = CommandLine::find();
    let mut name = [0; SHIM_NAME_BYTES_MAX];
    loop {
        let (length, control) = socket::receive_one(daemon.as_fd(), &mut name)?;
        let Some(control) = control else {
            // Every message passes a connection, so this is the end of the last one.
            return Ok(None);
        };
        match clone(&CloneOptions { sibling: true, ..CloneOptions::default() }) {
            Ok(Clone::Parent { .. }) => {}
            Ok(Clone::Child) => {
                drop(daemon);
                set_session()?;
                if let Some(command_line) = command_line {
                    command_line.show(&name[..length]);
                }
                return Ok(Some(control));
            }
            // The daemon sees the connection close, and its log has the reason.
            Err(error) => _ = writeln!(io::stderr(), "gantry-shim: {error}"),
        }
    }
}

/// Where the kernel finds what `ps` shows: the end of the first argument, and how many bytes follow for the others.
#[derive(Debug, Clone, Copy)]
struct CommandLine {
    start: u64,
    length: usize,
}

impl CommandLine {
    /// By proc_pid_stat(5), fields 48 and 49; `None` without a `/proc`, where nobody could look either.
    fn find() -> Option<Self> {
        let line = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The second field is in brackets and may hold anything.
        let mut fields = line.rsplit_once(')')?.1.split_ascii_whitespace().skip(48 - 3);
        let (start, end) = (fields.next()?.parse::<u64>().ok()?, fields.next()?.parse::<u64>().ok()?);
        let own = u64::try_from(std::env::args_os().next()?.len()).ok()? + 1;
        Some(Self { start: start + own, length: usize::try_from(end.checked_sub(start + own)?).ok()? })
    }

    /// Puts `name` in the place of all arguments after the first, as far as it fits. What fails is only not shown.
    fn show(self, name: &[u8]) {
        let mut bytes = vec![0; self.length];
        let shown = name.len().min(self.length.saturating_sub(1));
        bytes[..shown].copy_from_slice(&name[..shown]);
        if let Ok(memory) = File::options().write(true).open("/proc/self/mem") {
            let _ = memory.write_all_at(&bytes, self.start);
        }
    }
}
