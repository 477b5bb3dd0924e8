//! Carries plans out: a container's first process up to just before its exec ([`create`]), its release
//! ([`Created::start`]), and processes that join it ([`exec`]). Blocking, without threads, JSON or a runtime,
//! because the shim lives in it.
//!
//! Callers should be single-threaded (see [`gantry_linux::clone`]) and have descriptors 0, 1 and 2 open. What
//! a container needs on the host hangs off the first process: its mounts exist in its mount namespace alone,
//! it dies with its creator (PDEATHSIG), and only the cgroup has to be removed by somebody. Deliberately
//! absent: waiting for the end (poll the pidfd), logs, restarts.

mod beneath;
mod child;
mod created;
mod error;
mod gate;
mod handshake;
mod hook;
mod init;
mod join;
mod prepare;
mod process;
mod steps;
mod words;

use std::os::fd::{BorrowedFd, OwnedFd};

use gantry_linux::clone::{Clone, CloneOptions, clone};
use gantry_linux::namespace::Namespaces;
use gantry_linux::proc::ProcFs;
use gantry_linux::signal::{Signal, send_to_pidfd};
use gantry_linux::wait::wait_pidfd;
use gantry_linux::{Errno, Pid, SyscallError};

pub use created::{Created, Running};
pub use error::{ExecuteError, Failure, Operation};
pub use gate::{Gate, open_gate};
pub use hook::{poststart, poststop};

use self::created::Unstarted;
use self::handshake::Word;
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
}

impl From<Stdio> for Input {
    fn from(stdio: Stdio) -> Self {
        let oom_score_adj = Some(0);
        Self { stdio, namespaces: Vec::new(), preserved: 0, gate: None, orphan: false, oom_score_adj }
    }
}

impl Input {
    fn outlives_creator(&self) -> bool {
        self.orphan || self.gate.is_some()
    }
}

/// Sets a container up, everything but the exec of its command.
pub fn create(plan: &Plan, input: impl Into<Input>) -> Result<Created, ExecuteError> {
    let ready = prepare::prepare(plan, input.into())?;
    let (words, gated) = (Words::of(plan)?, ready.input.gate.is_some());
    let oom_score_adj = oom_score(plan.process.as_ref(), &ready.input);
    let (ours, theirs) = handshake::pair().map_err(|error| failed(Operation::Handshake, &error))?;
    let waits = plan.steps.iter().any(|step| matches!(step.op, Some(Op::EnterCgroupNamespace(_))));
    let cgroup = plan.cgroup.as_ref().map(Cgroup::create).transpose().map_err(|error| of_cgroup(&error))?;
    let cgroup = Unstarted(cgroup);
    let options = CloneOptions {
        namespaces: ready.new - Namespaces::CGROUP,
        cgroup: cgroup.0.as_ref().and_then(Cgroup::clone_target),
        ..CloneOptions::default()
    };
    let (pid, pidfd) = match clone(&options).map_err(|error| failed(Operation::Clone, &error))? {
        Clone::Child => child::run(ready, &theirs, ours),
        Clone::Parent { pid, pidfd } => (pid, pidfd),
    };
    drop((theirs, ready));
    let process = Some(Process { pid, pidfd, terminal: None });
    let hooks = plan.hooks.clone().map(Box::new);
    let mut created = Created { process, cgroup, socket: ours, words, hooks, gated };
    created.join_cgroup()?;
    if waits {
        say(&created.socket, Word::InCgroup)?;
    }
    set_oom_score(pid, oom_score_adj)?;
    created.await_ready(Some(plan))?;
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
    let ready = ReadyProcess::new(asked, &input)?;
    let words = Words::of_process(asked);
    let oom_score_adj = oom_score(Some(asked), &input);
    let sockets = handshake::pair().map_err(|error| failed(Operation::Handshake, &error))?;
    let (pid, pidfd, socket) = {
        let cgroup = cgroup.and_then(Cgroup::clone_target);
        join::clone_into(namespaces, target, cgroup, &ready, &input, sockets)?
    };
    drop((input, ready));
    let process = Some(Process { pid, pidfd, terminal: None });
    // The control group is the container's: it is not this process's to remove.
    let mut created = Created { process, cgroup: Unstarted(None), socket, words, hooks: None, gated: false };
    if let Some(cgroup) = cgroup {
        cgroup.join(pid).map_err(|error| of_cgroup(&error))?;
    }
    set_oom_score(pid, oom_score_adj)?;
    created.await_ready(None)?;
    created.start().map(|running| running.process)
}

fn oom_score(process: Option<&plan::Process>, input: &Input) -> Option<i32> {
    process.and_then(|process| process.oom_score_adj).or(input.oom_score_adj)
}

/// A child that is already ending has closed its socket; why is what it said before that.
fn say(socket: &OwnedFd, word: Word) -> Result<(), ExecuteError> {
    match handshake::say(socket, word) {
        Err(error) if error.errno != Errno::PIPE => Err(failed(Operation::Handshake, &error)),
        _ => Ok(()),
    }
}

fn set_oom_score(pid: Pid, score: Option<i32>) -> Result<(), ExecuteError> {
    let Some(score) = score else { return Ok(()) };
    let set = ProcFs::open().and_then(|proc| proc.set_oom_score_adjustment(Some(pid), score));
    set.map_err(|error| ExecuteError::new(Operation::OomScore, score.to_string(), error.errno))
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
