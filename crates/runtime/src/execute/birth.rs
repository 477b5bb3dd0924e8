//! How a container's first process is born. Usually it is cloned into its new namespaces and enters those that
//! it joins by itself. But a process is in a pid namespace from its birth only, and in a user namespace it has
//! lost the privilege to enter those that belong to another; so where either is asked for together with a
//! join, a midwife enters first: a process that clones the container's as its own sibling, tells who that is,
//! and ends. Nothing in the midwife's part allocates.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gantry_linux::clone::{Clone, CloneOptions, clone};
use gantry_linux::namespace::{Namespaces, enter};
use gantry_linux::process::{self as linux, exit_now};
use gantry_linux::socket;
use gantry_linux::wait::wait_pidfd;
use gantry_linux::{Errno, Pid};

use super::handshake::{self, Answer, Trouble, tell_trouble};
use super::prepare::Ready;
use super::process::{at, trouble};
use super::{ExecuteError, Operation, child, failed};
use crate::plan::Plan;

/// Makes the process; its part never returns. `sockets` is the parent's end and then the child's.
pub(super) fn first(
    plan: &Plan,
    mut ready: Ready<'_>,
    cgroup: Option<BorrowedFd<'_>>,
    sockets: (OwnedFd, OwnedFd),
) -> Result<(Pid, OwnedFd, OwnedFd), ExecuteError> {
    let (ours, theirs) = sockets;
    let namespaces = ready.new - Namespaces::CGROUP - Namespaces::TIME;
    let options = CloneOptions { namespaces, cgroup, ..CloneOptions::default() };
    if !ready.needs_midwife() {
        return match clone(&options).map_err(|error| failed(Operation::Clone, &error))? {
            Clone::Child => child::run(ready, &theirs, ours),
            Clone::Parent { pid, pidfd } => Ok((pid, pidfd, ours)),
        };
    }
    let options = CloneOptions { sibling: true, ..options };
    let (hears, tells) = handshake::pair().map_err(|error| failed(Operation::Handshake, &error))?;
    let midwife = match clone(&CloneOptions::default()).map_err(|error| failed(Operation::Clone, &error))? {
        Clone::Parent { pidfd, .. } => pidfd,
        Clone::Child => match deliver(&mut ready, &options) {
            Ok(Clone::Child) => child::run(ready, &theirs, ours),
            Ok(Clone::Parent { pid, pidfd }) => {
                let told = socket::send(tells.as_fd(), &pid.as_raw().to_ne_bytes(), &[pidfd.as_fd()]);
                exit_now(i32::from(told.is_err()))
            }
            Err(failed) => {
                tell_trouble(theirs.as_fd(), failed);
                exit_now(125)
            }
        },
    };
    drop((tells, theirs, ready));
    let mut number = [0; 4];
    let told = socket::receive_one(hears.as_fd(), &mut number);
    wait_pidfd(midwife.as_fd()).map_err(|error| failed(Operation::Clone, &error))?;
    match (told, Pid::from_raw(i32::from_ne_bytes(number))) {
        (Ok((4, Some(pidfd))), Some(pid)) => Ok((pid, pidfd, ours)),
        _ => Err(why(plan, &ours)),
    }
}

fn gone() -> ExecuteError {
    ExecuteError::new(Operation::Clone, "", Errno::CHILD)
}

/// What the midwife told before its end.
fn why(plan: &Plan, ours: &OwnedFd) -> ExecuteError {
    match (handshake::hear(ours), super::words::Words::of(plan)) {
        (Ok(Answer::Trouble(trouble)), Ok(words)) => words.error(trouble, Some(plan)),
        _ => gone(),
    }
}

/// Enters what is joined, the user namespace last: all others may belong to the one that the midwife is still
/// in. Where they do not, because the user has no privilege here, it goes first.
fn deliver(ready: &mut Ready<'_>, options: &CloneOptions<'_>) -> Result<Clone, Trouble> {
    // In a joined pid namespace others look at the child; it must not be theirs to trace.
    at(Operation::Namespace, linux::set_dumpable(false))?;
    let mut user_entered = false;
    for (item, (namespace, kind)) in (0..).zip(&ready.joined) {
        if matches!(*kind, Namespaces::MOUNT | Namespaces::TIME | Namespaces::USER) {
            continue;
        }
        let fail = |errno| trouble(Operation::Namespace, item, errno);
        match enter(namespace.as_fd(), *kind) {
            Err(error) if error.errno == Errno::PERM && !user_entered && enter_user(ready)? => {
                user_entered = true;
                enter(namespace.as_fd(), *kind).map_err(|error| fail(error.errno))?;
            }
            entered => entered.map_err(|error| fail(error.errno))?,
        }
    }
    if !user_entered {
        enter_user(ready)?;
    }
    // What is left is entered by the child.
    ready.entered = true;
    clone(options).map_err(|error| trouble(Operation::Clone, 0, error.errno))
}

/// Whether there is one.
fn enter_user(ready: &Ready<'_>) -> Result<bool, Trouble> {
    let found = (0..).zip(&ready.joined).find(|(_, (_, kind))| *kind == Namespaces::USER);
    let Some((item, (namespace, kind))) = found else { return Ok(false) };
    enter(namespace.as_fd(), *kind).map_err(|error| trouble(Operation::Namespace, item, error.errno))?;
    Ok(true)
}
