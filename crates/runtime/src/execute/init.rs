//! Gantry's tiny init: pid 1 of a container that was asked for with `--init`. It is the container's first
//! process itself, after it gave up its privileges: it forks the command, passes every signal on to it, reaps
//! orphans, and ends as the command ended. No second exec and no file in the image is needed. Nothing here
//! allocates. What it needs of the filter (clone, wait, kill) every usual profile allows.

use std::os::fd::BorrowedFd;

use gantry_linux::process::{Pid, close_from, exit_now};
use gantry_linux::signal::{self, Signal, SignalSet};
use gantry_linux::{clone, wait};

use super::Operation;
use super::handshake::{Trouble, tell_trouble};
use super::process::{ReadyProcess, trouble};

/// Forks the command and stays. Never returns in pid 1; trouble is told over `socket` by whichever process has it.
pub(super) fn run(process: &ReadyProcess, socket: BorrowedFd<'_>) -> ! {
    // Blocked before the fork, so that no signal for the command is lost between.
    if signal::set_blocked(SignalSet::ALL).is_err() {
        exit_now(125);
    }
    match clone::fork() {
        Ok(None) => {
            let failed = payload(process);
            tell_trouble(socket, failed);
            exit_now(125)
        }
        Ok(Some(payload)) => supervise(payload),
        Err(error) => {
            tell_trouble(socket, trouble(Operation::Init, 0, error.errno));
            exit_now(125)
        }
    }
}

/// The command leads a session of its own, with the terminal.
fn payload(process: &ReadyProcess) -> Trouble {
    if let Err(error) = signal::set_blocked(SignalSet::EMPTY) {
        return trouble(Operation::Init, 0, error.errno);
    }
    match process.take_session() {
        Ok(()) => process.exec(),
        Err(failed) => failed,
    }
}

fn supervise(payload: Pid) -> ! {
    // Its copies of the socket and of standard output would keep both open after the command closed them.
    if close_from(0).is_err() {
        exit_now(125);
    }
    loop {
        match signal::wait_for(SignalSet::ALL) {
            Ok(Signal::CHLD) => reap(payload),
            // Gone already: its end is the next signal.
            Ok(signal) => drop(signal::send(payload, signal)),
            Err(_) => exit_now(125),
        }
    }
}

fn reap(payload: Pid) {
    while let Ok(Some((pid, exit))) = wait::reap_any() {
        if pid == payload {
            exit_now(exit.shell_code());
        }
    }
}
