//! A process that joins a running container. It is born in the container's pid namespace, where whoever is
//! inside may look at it; so it is not dumpable, has no descriptor of the host's but the ones it needs, and
//! leaves even those before it enters the container's other namespaces (CVE-2016-9962).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gantry_linux::clone::{Clone, CloneOptions, clone};
use gantry_linux::namespace::{Namespaces, enter, enter_all_of, open_own};
use gantry_linux::process::{self as linux, Pid, exit_now};
use gantry_linux::tty::{Pty, open_pty};
use gantry_linux::{Errno, SyscallError};
use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::child::{Release, become_process, enter_cgroup, start};
use super::handshake::{Trouble, tell_trouble};
use super::process::{ReadyProcess, at, trouble};
use super::steps::size;
use super::{ExecuteError, Input, Operation, Stdio};
use crate::cgroup::Doors;

/// Where the child belongs: the version 2 folder that it is born in, and what it enters the others by.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) cgroup: Option<BorrowedFd<'a>>,
    pub(super) doors: Option<&'a Doors>,
}

/// Makes the child. It is set up when this returns in the parent, or not yet: the handshake tells.
pub(super) fn clone_into(
    namespaces: Namespaces,
    target: BorrowedFd<'_>,
    place: Place<'_>,
    process: &ReadyProcess,
    input: &Input,
    sockets: (OwnedFd, OwnedFd),
) -> Result<(Pid, OwnedFd, OwnedFd), ExecuteError> {
    let fail = |operation, error: &SyscallError| ExecuteError::new(operation, error.to_string(), error.errno);
    let (ours, theirs) = sockets;
    let own = namespaces
        .contains(Namespaces::PID)
        .then(|| open_own(Namespaces::PID))
        .transpose()
        .map_err(|error| fail(Operation::Namespace, &error))?;
    linux::set_dumpable(false).map_err(|error| fail(Operation::Namespace, &error))?;
    if own.is_some() {
        enter(target, Namespaces::PID).map_err(|error| fail(Operation::Namespace, &error))?;
    }
    let cloned = clone(&CloneOptions { cgroup: place.cgroup, ..CloneOptions::default() });
    if let Ok(Clone::Child) = cloned {
        drop(ours);
        if let Err(failed) = enter_cgroup(place.doors) {
            tell_trouble(theirs.as_fd(), failed);
            exit_now(125);
        }
        run(namespaces, target, process, input, &theirs);
    }
    let back = own.map_or(Ok(()), |own| enter(own.as_fd(), Namespaces::PID));
    match cloned.map_err(|error| fail(Operation::Clone, &error))? {
        Clone::Child => unreachable!("the child never returns"),
        Clone::Parent { pid, pidfd } => match back {
            Ok(()) => Ok((pid, pidfd, ours)),
            Err(error) => {
                super::kill_and_reap(pidfd.as_fd());
                Err(fail(Operation::Namespace, &error))
            }
        },
    }
}

fn run(
    namespaces: Namespaces,
    target: BorrowedFd<'_>,
    process: &ReadyProcess,
    input: &Input,
    socket: &OwnedFd,
) -> ! {
    match set_up(namespaces, target, process, input, socket.as_fd()) {
        Ok(()) => start(process, &Release::of(input, socket), false, None),
        Err(failed) => {
            tell_trouble(socket.as_fd(), failed);
            exit_now(125)
        }
    }
}

fn set_up(
    namespaces: Namespaces,
    target: BorrowedFd<'_>,
    process: &ReadyProcess,
    input: &Input,
    socket: BorrowedFd<'_>,
) -> Result<(), Trouble> {
    process.die_with_creator()?;
    let kept = match &input.stdio {
        Stdio::Descriptors { stdin, stdout, stderr } => {
            [socket, target, stdin.as_fd(), stdout.as_fd(), stderr.as_fd()]
        }
        Stdio::Terminal => [socket, target, socket, socket, socket],
    };
    at(Operation::Stdio, linux::close_all_but(3 + input.preserved, &kept))?;
    process.set_labels()?;
    linux::set_umask(0);
    at(Operation::Namespace, enter_all_of(target, namespaces - Namespaces::PID))?;
    if namespaces.contains(Namespaces::USER) {
        process.become_root()?;
    }
    at(Operation::WorkingDir, linux::change_directory(c"/"))?;
    let pty = match &input.stdio {
        Stdio::Descriptors { .. } => None,
        Stdio::Terminal => Some(terminal(process)?),
    };
    become_process(process, input, pty, socket, true, None)
}

/// A pseudo terminal of the container's devpts, which the container may have replaced: what is opened is
/// verified to be a devpts, and no link is followed to it.
fn terminal(process: &ReadyProcess) -> Result<Pty, Trouble> {
    let fail = |errno: Errno| trouble(Operation::Terminal, 0, errno);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let devpts =
        rustix::fs::openat2(rustix::fs::CWD, c"/dev/pts", flags, Mode::empty(), resolve).map_err(fail)?;
    let pty = open_pty(devpts.as_fd()).map_err(|error| fail(error.errno))?;
    size(&pty, process.terminal).map_err(fail)?;
    Ok(pty)
}
