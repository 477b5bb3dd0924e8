//! The container's first process from its birth to the exec. It is a copy of its parent's memory and shares
//! nothing with it: no allocation, no lock, no logging, unless something fails. It never returns.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gantry_linux::mount::{self, AttributeChange, Propagation};
use gantry_linux::namespace::{Namespaces, enter, enter_time_for_children, unshare};
use gantry_linux::process::{self as linux, exit_now};
use gantry_linux::tty::Pty;

use super::handshake::{Ask, Trouble, Word, ask, await_word, tell_master, tell_ready, tell_trouble};
use super::prepare::{Mounts, Ready, ReadyHooks, ReadyStep};
use super::process::{ReadyProcess, at, three, trouble};
use super::steps::{Setup, operation};
use super::{Input, Operation, Stdio, hook, init};
use crate::cgroup::Doors;

/// Sets the container up from inside, waits for the start, and runs the command. The parent's end of the
/// socket is closed first, so that the end of the parent is seen.
pub(super) fn run(mut ready: Ready<'_>, socket: &OwnedFd, parents: OwnedFd) -> ! {
    drop(parents);
    match set_up(&mut ready, socket.as_fd()) {
        Ok(state) => start(&ready.process, &Release::of(&ready.input, socket), ready.init, state.as_ref()),
        Err(failed) => {
            tell_trouble(socket.as_fd(), failed);
            exit_now(125)
        }
    }
}

/// Where the word to start comes from, and where trouble is told afterwards.
pub(super) struct Release<'a> {
    hears: BorrowedFd<'a>,
    tells: BorrowedFd<'a>,
}

impl<'a> Release<'a> {
    pub(super) fn of(input: &'a Input, socket: &'a OwnedFd) -> Self {
        match &input.gate {
            Some(gate) => Self { hears: gate.start.as_fd(), tells: gate.outcome.as_fd() },
            None => Self { hears: socket.as_fd(), tells: socket.as_fd() },
        }
    }
}

/// Waits for the word to start, runs the hooks that belong here with the state that they read, then execs. Also
/// the end of a joining process.
pub(super) fn start(process: &ReadyProcess, release: &Release<'_>, init: bool, state: Option<&OwnedFd>) -> ! {
    // A parent that is gone takes the container along.
    if await_word(release.hears, Word::Start).is_err() {
        exit_now(125);
    }
    if let Some(state) = state {
        for (item, one) in (0..).zip(&process.start_hooks) {
            if let Err(errno) = hook::run(one, state.as_fd(), None) {
                tell_trouble(release.tells, trouble(Operation::StartHook, item, errno));
                exit_now(125);
            }
        }
    }
    if init {
        init::run(process, release.tells)
    }
    tell_trouble(release.tells, process.exec());
    exit_now(125)
}

/// First of all: what is used from here on is the container's use.
pub(super) fn enter_cgroup(doors: Option<&Doors>) -> Result<(), Trouble> {
    doors.map_or(Ok(()), Doors::enter).map_err(|(item, errno)| trouble(Operation::Cgroup, item, errno))
}

/// Returns what the hooks at the start read, if there are any.
fn set_up(ready: &mut Ready<'_>, socket: BorrowedFd<'_>) -> Result<Option<OwnedFd>, Trouble> {
    ready.process.die_with_creator()?;
    enter_cgroup(ready.doors.take().as_ref())?;
    linux::set_umask(0);
    enter_namespaces(ready, socket)?;
    if ready.mounts == Mounts::Own {
        let propagation = if ready.slave_propagation { Propagation::Slave } else { Propagation::Private };
        at(Operation::Propagation, mount::set_propagation(c"/", propagation, true))?;
    }
    if ready.mounts != Mounts::Hosts {
        at(Operation::AttachRoot, mount::attach_at(ready.root.as_fd(), &ready.root_place))?;
    }
    if let Some(nodes) = &ready.nodes {
        // Kernels before 6.15 copy attached mounts only. On top of all else, so that it can be taken away again.
        at(Operation::Device, mount::attach_at(nodes.as_fd(), c"/"))?;
    }

    let mut setup = Setup::new(ready.root.as_fd(), socket, ready.null.take(), ready.process.terminal);
    setup.in_cgroup = ready.asks_early;
    // Hooks may still write to a root that becomes read-only.
    let last = ready.steps.iter().position(|step| matches!(step, ReadyStep::RootAttributes(_)));
    let (before, after) = ready.steps.split_at(last.unwrap_or(ready.steps.len()));
    run_steps(&mut setup, 0, before)?;
    let state = match ready.hooks.as_ref() {
        Some(hooks) => run_hooks(hooks, socket)?,
        None => None,
    };
    run_steps(&mut setup, before.len(), after)?;
    let pty = setup.pty.take();
    drop(setup);
    ready.process.set_labels()?;
    if let Some(nodes) = ready.nodes.take() {
        // What stays on the old root would go in its place when that is detached.
        at(Operation::Device, linux::change_directory_to(nodes.as_fd()))?;
        at(Operation::Device, mount::detach(c"."))?;
    }
    change_root(ready.root.as_fd(), ready.mounts == Mounts::Own && !ready.input.no_pivot)?;
    if let Some((propagation, recursive)) = ready.root_propagation {
        let change =
            AttributeChange { propagation: Some(propagation), recursive, ..AttributeChange::default() };
        at(Operation::Propagation, mount::set_attributes(ready.root.as_fd(), &change))?;
    }
    become_process(&ready.process, &ready.input, pty, socket, !ready.init, state.as_ref())?;
    Ok(state)
}

fn run_steps(setup: &mut Setup<'_>, first: usize, steps: &[ReadyStep<'_>]) -> Result<(), Trouble> {
    for (number, step) in (first..).zip(steps) {
        setup.step(step).map_err(|(item, errno)| Trouble {
            operation: operation(step),
            step: u32::try_from(number).unwrap_or(u32::MAX),
            item,
            errno,
        })?;
    }
    Ok(())
}

/// Those of the host and then those of the container's namespaces. What the ones at the start will read is
/// made here, because a filter may forbid it later.
fn run_hooks(hooks: &ReadyHooks<'_>, socket: BorrowedFd<'_>) -> Result<Option<OwnedFd>, Trouble> {
    let fail = |item, errno| trouble(Operation::CreateHook, item, errno);
    let pid = ask(socket, Ask::Hooks).map_err(|errno| trouble(Operation::Handshake, 0, errno))?;
    if !hooks.create.is_empty() {
        let state = hook::state(hooks.state, "creating", Some(pid)).map_err(|errno| fail(0, errno))?;
        for (item, one) in (0..).zip(&hooks.create) {
            hook::run(one, state.as_fd(), None).map_err(|errno| fail(item, errno))?;
        }
    }
    if !hooks.at_start {
        return Ok(None);
    }
    let state = hook::state(hooks.state, "created", Some(pid));
    state.map(Some).map_err(|errno| trouble(Operation::StartHook, 0, errno))
}

/// Those that are joined, unless the midwife has entered them, and those that are made later than at birth.
fn enter_namespaces(ready: &Ready<'_>, socket: BorrowedFd<'_>) -> Result<(), Trouble> {
    let asked = |errno| trouble(Operation::Handshake, 0, errno);
    if ready.new.contains(Namespaces::USER) {
        ask(socket, Ask::Ids).map_err(asked)?;
    }
    for (item, (namespace, kind)) in (0..).zip(&ready.joined) {
        if !ready.entered || matches!(*kind, Namespaces::MOUNT | Namespaces::TIME) {
            enter(namespace.as_fd(), *kind)
                .map_err(|error| trouble(Operation::Namespace, item, error.errno))?;
        }
    }
    if ready.new.contains(Namespaces::TIME) {
        at(Operation::Namespace, unshare(Namespaces::TIME))?;
        if ready.has_clock_offsets {
            ask(socket, Ask::Clocks).map_err(asked)?;
        }
        at(Operation::Namespace, enter_time_for_children())?;
    }
    if ready.has_net_devices {
        ask(socket, Ask::NetDevices).map_err(asked)?;
    }
    if ready.becomes_root { ready.process.become_root() } else { Ok(()) }
}

/// The old root lies on top of the new one for a moment, and goes with everything on it.
fn change_root(root: BorrowedFd<'_>, pivot: bool) -> Result<(), Trouble> {
    at(Operation::Pivot, linux::change_directory_to(root))?;
    if !pivot {
        at(Operation::Pivot, linux::change_root_here())?;
        return at(Operation::Pivot, linux::change_directory(c"/"));
    }
    at(Operation::Pivot, mount::pivot_root_here())?;
    at(Operation::Pivot, mount::detach(c"."))?;
    at(Operation::Pivot, linux::change_directory(c"/"))
}

/// The process takes its stdio and its identity, closes everything else and says that it is ready.
pub(super) fn become_process(
    process: &ReadyProcess,
    input: &Input,
    pty: Option<Pty>,
    socket: BorrowedFd<'_>,
    own_session: bool,
    state: Option<&OwnedFd>,
) -> Result<(), Trouble> {
    let files = match (&input.stdio, &pty) {
        (Stdio::Descriptors { stdin, stdout, stderr }, _) => [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()],
        (Stdio::Terminal, Some(pty)) => three(&pty.peer),
        (Stdio::Terminal, None) => return Err(trouble(Operation::Terminal, 0, gantry_linux::Errno::NODEV)),
    };
    process.take_stdio(files)?;
    if let Some(pty) = &pty {
        at(Operation::Handshake, tell_master(socket, pty.master.as_fd()))?;
    }
    drop(pty);
    // Nothing of the host's stays open, not even until the exec (CVE-2016-9962, CVE-2024-21626), but what the
    // caller named.
    let state = state.map_or(socket, AsFd::as_fd);
    let (start, outcome) =
        input.gate.as_ref().map_or((socket, socket), |gate| (gate.start.as_fd(), gate.outcome.as_fd()));
    let kept = [socket, state, start, outcome];
    at(Operation::Stdio, linux::close_all_but(3 + input.preserved, &kept))?;
    process.become_it(own_session, socket)?;
    tell_ready(socket).map_err(|errno| trouble(Operation::Handshake, 0, errno))
}
