//! What the process makes of itself before anything else: it belongs to no terminal and no folder, dies of no
//! polite signal (a service manager that stops the daemon sends one to everybody), shows nothing to others, and is
//! the last that the out-of-memory killer takes.

use std::io;
use std::os::fd::OwnedFd;

use gantry_linux::signal::{self, Signal};
use gantry_linux::{memory, process};

/// The first control connection, by agreement with the daemon.
const CONTROL: u8 = 3;
/// Signals that others send to end a process, or to a process that writes to nobody.
const IGNORED: [Signal; 6] =
    [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM, Signal::PIPE, Signal::USR1];

/// Takes the posture and the inherited control connection.
pub(crate) fn take() -> io::Result<OwnedFd> {
    memory::keep_heap_small();
    // Whatever else was left open is not ours to keep alive.
    process::close_from(u32::from(CONTROL) + 1)?;
    let control = process::adopt_inherited(i32::from(CONTROL))?;
    for signal in IGNORED {
        signal::ignore(signal)?;
    }
    process::set_dumpable(false)?;
    process::set_name(c"gantry-shim")?;
    process::set_umask(0o077);
    process::change_directory(c"/")?;
    // Refused without the capability, and then the machine is a test's.
    let _ = std::fs::write("/proc/self/oom_score_adj", "-999");
    Ok(control)
}
