//! Whose child is what another runtime leaves behind? The shim's, as the nearest subreaper: init and execs, which are
//! waited for by their pidfds as any other's, and whatever loses its parent in a container without a pid
//! namespace of its own, which is only reaped.

use std::os::fd::OwnedFd;

use gantry_linux::event::{read_signal, signalfd};
use gantry_linux::signal::{Signal, SignalSet, set_blocked};
use gantry_linux::wait::{ended_child, wait_child};
use gantry_linux::{SyscallError, process};

use crate::process::Process;
use crate::shim::Shim;

/// Makes orphans the caller's children, and gives what becomes readable when one ends.
pub(super) fn adopt() -> Result<OwnedFd, SyscallError> {
    process::set_child_subreaper(true)?;
    let ended = SignalSet::of(&[Signal::CHLD]);
    set_blocked(ended)?;
    signalfd(ended)
}

impl Shim {
    /// Children ended: those that are watched are told of, the others only reaped.
    pub(crate) fn on_children(&mut self) {
        if let Some(foreign) = &self.foreign {
            // It says only that there is something to look for.
            let _ = read_signal(foreign.children_as_fd());
        }
        while let Ok(Some(pid)) = ended_child() {
            let ours = |process: &Process| process.is_pid(pid) && process.exit().is_none();
            let slot = self.processes.iter().find(|(_, process)| ours(process)).map(|(slot, _)| *slot);
            match slot {
                Some(slot) => {
                    self.on_process(slot);
                    if self.processes.get(&slot).is_some_and(|process| process.exit().is_none()) {
                        // It ended before its start, which will find that out; the rest waits so long.
                        return;
                    }
                }
                None if wait_child(pid).is_err() => return,
                None => {}
            }
        }
    }
}
