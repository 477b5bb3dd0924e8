//! Carries plans out: a container's first process up to just before its exec ([`create`]), its release
//! ([`Created::start`]), and processes that join it ([`exec`]). Blocking, without threads, JSON or a runtime,
//! because the shim lives in it.
//!
//! Callers should be single-threaded (see [`gantry_linux::clone`]) and have descriptors 0, 1 and 2 open. What
//! a container needs on the host hangs off the first process: its mounts exist in its mount namespace alone,
//! it dies with its creator (PDEATHSIG) unless it has a [`Gate`], and only the cgroup has to be removed by
//! somebody. Deliberately absent: waiting for the end (poll the pidfd), logs, restarts.
//!
//! ```text
//!  parent   prepare ── birth ── cgroup ── outside: score, scheduling ── answers what is asked ──── start
//!  child               enter, identity ── root ── steps ── hooks ── pivot ── process, filter ── waits ── exec
//! ```

mod beneath;
mod birth;
mod child;
mod copy_up;
mod created;
mod device;
mod error;
mod gate;
mod handshake;
mod hook;
mod identity;
mod init;
mod join;
mod outside;
mod prepare;
mod process;
mod remount;
mod steps;
mod words;

use std::os::fd::{BorrowedFd, OwnedFd};

use gantry_linux::namespace::Namespaces;
use gantry_linux::signal::{Signal, send_to_pidfd};
use gantry_linux::wait::wait_pidfd;
use gantry_linux::{Errno, Pid, SyscallError};

pub use created::{Created, Running};
pub use error::{ExecuteError, Failure, Operation};
pub use gate::{Gate, open_gate};
pub use hook::{at_create, poststart, poststop};
pub use prepare::mount_overlay;

use self::created::{Asked, Unstarted};
use self::handshake::Word;
use self::outside::Moment;
use self::process::ReadyProcess;
use self::words::Words;
use crate::cgroup::{Cgroup, CgroupError};
use crate::plan::{self, ExecPlan, NamespaceKind, Op, Plan};

/// Where a process's standard input, output and error go.
#[derive(Debug)]
pub enum Stdio {
    /// To these descriptors, which the caller made: the child's ends.
    Descriptors {
        /// Standard input.
        stdin: OwnedFd,
        /// Standard output.
        stdout: OwnedFd,
        /// Standard error.
        stderr: OwnedFd,
    },
    /// To a new pseudo terminal of the container; exactly when the plan's process has a terminal.
    Terminal,
}

/// A process that runs in a container.
#[derive(Debug)]
pub struct Process {
    /// Its id in the caller's pid namespace.
    pub pid: Pid,
    /// Its pidfd: polls readable when it ends. The caller reaps it.
    pub pidfd: OwnedFd,
    /// The master of its terminal, nonblocking, if it has one.
    pub terminal: Option<OwnedFd>,
}

/// What a caller gives beside the plan. From [`Stdio`] alone it is a process that dies with its creator and
/// gets nothing else.
#[derive(Debug)]
pub struct Input {
    /// Standard input, output and error.
    pub stdio: Stdio,
    /// The namespaces that the plan expects to be passed.
    pub namespaces: Vec<(NamespaceKind, OwnedFd)>,
    /// How many descriptors from 3 on stay open in the command, under their numbers.
    pub preserved: u32,
    /// Where the container waits for its start, instead of on its creator ([`Created::leave`]). It does not
    /// die with its creator then.
    pub gate: Option<Gate>,
    /// Whether it outlives its creator without a gate.
    pub orphan: bool,
    /// The out-of-memory score adjustment when the plan has none; `None` keeps the creator's.
    pub oom_score_adj: Option<i32>,
    /// Whether the root is changed by chroot(2) alone, for a root that cannot be pivoted away from. The host's
    /// mounts stay within reach of a process with CAP_SYS_CHROOT.
    pub no_pivot: bool,
    /// Whether it keeps the creator's session keyring.
    pub keep_keyring: bool,
}

impl From<Stdio> for Input {
    fn from(stdio: Stdio) -> Self {
        Self {
            stdio,
            namespaces: Vec::new(),
            preserved: 0,
            gate: None,
            orphan: false,
            oom_score_adj: Some(0),
            no_pivot: false,
            keep_keyring: false,
        }
    }
}

impl Input {
    fn outlives_creator(&self) -> bool {
        self.orphan || self.gate.is_some()
    }
}

/// Sets a container up, everything but the exec of its command.
pub fn create(plan: &Plan, input: impl Into<Input>) -> Result<Created, ExecuteError> {
    let input = input.into();
    let asked =
        plan.process.as_ref().ok_or_else(|| ExecuteError::new(Operation::Plan, "process", Errno::INVAL))?;
    let (words, gated) = (Words::of(plan)?, input.gate.is_some());
    let oom_score_adj = oom_score(asked, &input);
    // Before everything else, because it may be bound into the container.
    let cgroup = plan.cgroup.as_ref().map(Cgroup::create).transpose().map_err(|error| of_cgroup(&error))?;
    let cgroup = Unstarted(cgroup);
    let mut ready = prepare::prepare(plan, input)?;
    ready.doors = cgroup.0.as_ref().map(Cgroup::doors).transpose().map_err(|error| of_cgroup(&error))?;
    let sockets = handshake::pair().map_err(|error| failed(Operation::Handshake, &error))?;
    let waits = plan.steps.iter().any(|step| matches!(step.op, Some(Op::EnterCgroupNamespace(_))));
    let target = cgroup.0.as_ref().and_then(Cgroup::clone_target);
    let (pid, pidfd, socket) = birth::first(plan, ready, target, sockets)?;
    let process = Some(Process { pid, pidfd, terminal: None });
    let hooks = plan.hooks.clone().map(Box::new);
    let mut created = Created { process, cgroup, socket, words, hooks, gated };
    // What the child asks for before its steps is answered when it is in its cgroup.
    if waits && !prepare::asks_early(plan) {
        say(&created.socket, Word::InCgroup)?;
    }
    outside::set_oom_score(pid, oom_score_adj)?;
    outside::set_scheduling(pid, asked)?;
    created.await_ready(Asked { plan: Some(plan), process: asked })?;
    Ok(created)
}

/// Runs a process in a running container, whose first process is `target`, a pidfd. Returns once its command
/// runs. The calling process is not dumpable afterwards.
pub fn exec(
    plan: &ExecPlan,
    target: BorrowedFd<'_>,
    cgroup: Option<&Cgroup>,
    input: impl Into<Input>,
) -> Result<Process, ExecuteError> {
    let input = input.into();
    let bad = |what: &str, errno| ExecuteError::new(Operation::Plan, what, errno);
    if plan.version == 0 || plan.version > plan::VERSION {
        return Err(bad("version", Errno::NOSYS));
    }
    let asked = plan.process.as_ref().ok_or_else(|| bad("process", Errno::INVAL))?;
    if asked.terminal.is_some() != matches!(input.stdio, Stdio::Terminal) {
        return Err(bad("terminal", Errno::INVAL));
    }
    let mut namespaces = Namespaces::empty();
    for kind in plan.namespaces() {
        namespaces |= prepare::flag(kind)?;
    }
    let mut ready = ReadyProcess::new(asked, &input)?;
    ready.in_user_namespace = namespaces.contains(Namespaces::USER);
    if let Some(ids) = &plan.ids {
        prepare::own_stdio(ids, asked.uid, &input.stdio);
    }
    let words = Words::of_process(asked);
    let oom_score_adj = oom_score(asked, &input);
    let sockets = handshake::pair().map_err(|error| failed(Operation::Handshake, &error))?;
    // An affinity that applies before the move is set from outside, and so the move is made from there too.
    let enters = cgroup.filter(|_| asked.affinity.is_none());
    let doors = enters.map(Cgroup::doors).transpose().map_err(|error| of_cgroup(&error))?;
    let (pid, pidfd, socket) = {
        let place = join::Place { cgroup: cgroup.and_then(Cgroup::clone_target), doors: doors.as_ref() };
        join::clone_into(namespaces, target, place, &ready, &input, sockets)?
    };
    drop((input, ready));
    let process = Some(Process { pid, pidfd, terminal: None });
    // The control group is the container's: it is not this process's to remove.
    let mut created = Created { process, cgroup: Unstarted(None), socket, words, hooks: None, gated: false };
    outside::set_affinity(pid, asked.affinity.as_ref(), Moment::Before)?;
    if let (Some(cgroup), None) = (cgroup, doors) {
        cgroup.join(pid).map_err(|error| of_cgroup(&error))?;
    }
    outside::set_affinity(pid, asked.affinity.as_ref(), Moment::After)?;
    outside::set_oom_score(pid, oom_score_adj)?;
    outside::set_scheduling(pid, asked)?;
    created.await_ready(Asked { plan: None, process: asked })?;
    created.start().map(|running| running.process)
}

fn oom_score(process: &plan::Process, input: &Input) -> Option<i32> {
    process.oom_score_adj.or(input.oom_score_adj)
}

/// A child that is already ending has closed its socket; why is what it said before that.
fn say(socket: &OwnedFd, word: Word) -> Result<(), ExecuteError> {
    match handshake::say(socket, word) {
        Err(error) if error.errno != Errno::PIPE => Err(failed(Operation::Handshake, &error)),
        _ => Ok(()),
    }
}

fn of_cgroup(error: &CgroupError) -> ExecuteError {
    ExecuteError::new(Operation::Cgroup, error.path(), error.errno())
}

fn failed(operation: Operation, error: &SyscallError) -> ExecuteError {
    ExecuteError::new(operation, error.to_string(), error.errno)
}

/// A child of ours that must not go on. It cannot fail: the pidfd is of a child that nobody else reaps.
fn kill_and_reap(pidfd: BorrowedFd<'_>) {
    let _ = send_to_pidfd(pidfd, Signal::KILL);
    let _ = wait_pidfd(pidfd);
}
