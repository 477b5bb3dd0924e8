//! The container's first process from its birth to the exec. It is a copy of its parent's memory and shares
//! nothing with it: no allocation, no lock, no logging, unless something fails. It never returns.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gantry_linux::mount::{self, Propagation};
use gantry_linux::namespace::enter;
use gantry_linux::process::{self as linux, exit_now};
use gantry_linux::signal::Signal;
use gantry_linux::tty::Pty;

use super::handshake::{Trouble, Word, await_word, tell_master, tell_ready, tell_trouble};
use super::prepare::Ready;
use super::process::{ReadyProcess, at, three, trouble};
use super::steps::{Setup, operation};
use super::{Operation, Stdio, init};

/// Sets the container up from inside, waits for the start, and runs the command. The parent's end of the
/// socket is closed first, so that the end of the parent is seen.
pub(super) fn run(mut ready: Ready<'_>, socket: &OwnedFd, parents: OwnedFd) -> ! {
    drop(parents);
    match set_up(&mut ready, socket.as_fd()) {
        Ok(()) => start(&ready.process, socket.as_fd(), ready.init),
        Err(failed) => {
            tell_trouble(socket.as_fd(), failed);
            exit_now(125)
        }
    }
}

/// Waits for the word to start, then execs. Also the end of a joining process.
pub(super) fn start(process: &ReadyProcess, socket: BorrowedFd<'_>, init: bool) -> ! {
    // A parent that is gone takes the container along.
    if await_word(socket, Word::Start).is_err() {
        exit_now(125);
    }
    if init {
        init::run(process, socket)
    }
    tell_trouble(socket, process.exec());
    exit_now(125)
}

fn set_up(ready: &mut Ready<'_>, socket: BorrowedFd<'_>) -> Result<(), Trouble> {
    at(Operation::Session, linux::set_parent_death_signal(Some(Signal::KILL)))?;
    linux::set_umask(0);
    for (item, (namespace, kind)) in (0..).zip(&ready.joined) {
        enter(namespace.as_fd(), *kind).map_err(|error| trouble(Operation::Namespace, item, error.errno))?;
    }
    let propagation = if ready.slave_propagation { Propagation::Slave } else { Propagation::Private };
    at(Operation::Propagation, mount::set_propagation(c"/", propagation, true))?;
    at(Operation::AttachRoot, mount::attach_at(ready.root.as_fd(), c"/"))?;

    let mut setup = Setup::new(ready.root.as_fd(), socket, ready.null.take(), ready.process.terminal);
    for (number, step) in (0..).zip(&ready.steps) {
        setup.step(step).map_err(|(item, errno)| Trouble {
            operation: operation(step),
            step: number,
            item,
            errno,
        })?;
    }
    change_root(ready.root.as_fd())?;
    let pty = setup.pty.take();
    drop(setup);
    become_process(&ready.process, &ready.stdio, pty, socket, !ready.init)
}

/// The old root lies on top of the new one for a moment, and goes with everything on it.
fn change_root(root: BorrowedFd<'_>) -> Result<(), Trouble> {
    at(Operation::Pivot, linux::change_directory_to(root))?;
    at(Operation::Pivot, mount::pivot_root_here())?;
    at(Operation::Pivot, mount::detach(c"."))?;
    at(Operation::Pivot, linux::change_directory(c"/"))
}

/// The process takes its stdio and its identity, closes everything else and says that it is ready.
pub(super) fn become_process(
    process: &ReadyProcess,
    stdio: &Stdio,
    pty: Option<Pty>,
    socket: BorrowedFd<'_>,
    own_session: bool,
) -> Result<(), Trouble> {
    let files = match (stdio, &pty) {
        (Stdio::Descriptors { stdin, stdout, stderr }, _) => [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()],
        (Stdio::Terminal, Some(pty)) => three(&pty.peer),
        (Stdio::Terminal, None) => return Err(trouble(Operation::Terminal, 0, gantry_linux::Errno::NODEV)),
    };
    process.take_stdio(files)?;
    if let Some(pty) = &pty {
        at(Operation::Handshake, tell_master(socket, pty.master.as_fd()))?;
    }
    drop(pty);
    // Nothing of the host's stays open, not even until the exec (CVE-2016-9962, CVE-2024-21626).
    at(Operation::Stdio, linux::close_all_but(&[socket]))?;
    process.become_it(own_session)?;
    tell_ready(socket).map_err(|errno| trouble(Operation::Handshake, 0, errno))
}
