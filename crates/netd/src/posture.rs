//! What the process makes of itself: it belongs to no terminal and no folder, keeps nothing open that it was not given,
//! and has no rights but those to listen on a port below 1024 and to change the firewall. It parses what containers send,
//! so there is little to win in it.

use std::io;
use std::os::fd::OwnedFd;

use gantry_linux::process::CapabilityMasks;
use gantry_linux::signal::{self, Signal, SignalSet};
use gantry_linux::{event, memory, process};

/// capabilities(7).
const CAP_NET_BIND_SERVICE: u64 = 1 << 10;
const CAP_NET_ADMIN: u64 = 1 << 12;
/// Signals that others send to a process's group, or to who writes to nobody.
const IGNORED: [Signal; 5] = [Signal::HUP, Signal::INT, Signal::QUIT, Signal::PIPE, Signal::USR1];

/// Takes the posture. The descriptor tells of the signal that ends netd.
pub(crate) fn take() -> io::Result<OwnedFd> {
    memory::keep_heap_small();
    // Standard error stays: it leads to the journal, or to whoever started it by hand.
    process::close_from(3)?;
    for signal in IGNORED {
        signal::ignore(signal)?;
    }
    let ending = SignalSet::of(&[Signal::TERM]);
    signal::set_blocked(ending)?;
    let signals = event::signalfd(ending)?;
    process::set_dumpable(false)?;
    process::set_name(c"gantry-netd")?;
    process::set_umask(0o077);
    process::change_directory(c"/")?;
    process::set_no_new_privs()?;
    // Refused without the capability, and then the machine is a test's.
    let _ = std::fs::write("/proc/self/oom_score_adj", "-500");
    limit_rights()?;
    Ok(signals)
}

/// Keeps two capabilities, of those that there are.
fn limit_rights() -> io::Result<()> {
    let keep = CAP_NET_BIND_SERVICE | CAP_NET_ADMIN;
    let now = process::capabilities()?;
    // Without the right to change the bounding set there is nothing in it to lose.
    let _ = process::limit_bounding_set(keep);
    process::set_capabilities(CapabilityMasks {
        effective: now.permitted & keep,
        permitted: now.permitted & keep,
        inheritable: 0,
    })?;
    Ok(())
}
