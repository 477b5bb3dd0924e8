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
mod error;
mod handshake;
mod init;
mod join;
mod prepare;
mod process;
mod steps;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gantry_linux::clone::{Clone, CloneOptions, clone};
use gantry_linux::namespace::Namespaces;
use gantry_linux::proc::ProcFs;
use gantry_linux::signal::{Signal, send_to_pidfd};
use gantry_linux::wait::wait_pidfd;
use gantry_linux::{Errno, Pid, SyscallError};

pub use error::{ExecuteError, Failure, Operation};

use self::handshake::{Answer, Trouble, Word};
use self::process::ReadyProcess;
use crate::cgroup::{Cgroup, CgroupError};
use crate::plan::{self, ExecPlan, Op, Plan};

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

/// A container that is set up and waits for its start. Dropped unstarted, it is killed and reaped, and its
/// control group is removed.
#[derive(Debug)]
#[must_use = "a container that is not started is killed"]
pub struct Created {
    // `None` only once it is started or torn down.
    process: Option<Process>,
    cgroup: Unstarted,
    socket: OwnedFd,
    words: Words,
}

/// A container whose command runs.
#[derive(Debug)]
pub struct Running {
    /// Its first process.
    pub process: Process,
    /// Its control group, which the caller removes after the end; `None` when the plan has none.
    pub cgroup: Option<Cgroup>,
}

/// Sets a container up, everything but the exec of its command.
pub fn create(plan: &Plan, stdio: Stdio) -> Result<Created, ExecuteError> {
    let ready = prepare::prepare(plan, stdio)?;
    let (oom_score_adj, words) = (ready.process.oom_score_adj, Words::of(&ready.process));
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
    let process = Some(Process { pid, pidfd, terminal: None });
    let mut created = Created { process, cgroup, socket: ours, words };
    drop(theirs);
    created.join_cgroup()?;
    if waits {
        say(&created.socket, Word::InCgroup)?;
    }
    set_oom_score(created.pid(), oom_score_adj)?;
    let terminal = await_ready(&created.socket, &created.words, Some(plan))?;
    created.process_mut().terminal = terminal;
    Ok(created)
}

/// Runs a process in a running container, whose first process is `target`, a pidfd. Returns once its command
/// runs. The calling process is not dumpable afterwards.
pub fn exec(
    plan: &ExecPlan,
    target: BorrowedFd<'_>,
    cgroup: Option<&Cgroup>,
    stdio: Stdio,
) -> Result<Process, ExecuteError> {
    let bad = |what: &str, errno| ExecuteError::new(Operation::Plan, what, errno);
    if plan.version == 0 || plan.version > plan::VERSION {
        return Err(bad("version", Errno::NOSYS));
    }
    let asked = plan.process.as_ref().ok_or_else(|| bad("process", Errno::INVAL))?;
    if asked.terminal.is_some() != matches!(stdio, Stdio::Terminal) {
        return Err(bad("terminal", Errno::INVAL));
    }
    let mut namespaces = Namespaces::empty();
    for kind in plan.namespaces() {
        namespaces |= prepare::flag(kind)?;
    }
    let ready = ReadyProcess::new(asked)?;
    let sockets = handshake::pair().map_err(|error| failed(Operation::Handshake, &error))?;
    let (pid, pidfd, socket) = {
        let cgroup = cgroup.and_then(Cgroup::clone_target);
        join::clone_into(namespaces, target, cgroup, &ready, &stdio, sockets)?
    };
    drop(stdio);
    let process = Process { pid, pidfd, terminal: None };
    // The control group is the container's: it is not this process's to remove.
    let mut created =
        Created { process: Some(process), cgroup: Unstarted(None), socket, words: Words::of(&ready) };
    if let Some(cgroup) = cgroup {
        cgroup.join(pid).map_err(|error| of_cgroup(&error))?;
    }
    set_oom_score(pid, ready.oom_score_adj)?;
    drop(ready);
    let terminal = await_ready(&created.socket, &created.words, None)?;
    created.process_mut().terminal = terminal;
    created.start().map(|running| running.process)
}

impl Created {
    /// The first process's id in the caller's pid namespace.
    pub fn pid(&self) -> Pid {
        self.process_ref().pid
    }

    /// The first process's pidfd.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.process_ref().pidfd.as_fd()
    }

    /// The control group, if the plan has one.
    pub fn cgroup(&self) -> Option<&Cgroup> {
        self.cgroup.0.as_ref()
    }

    /// Takes the master of the terminal out, if there is one and it was not taken yet.
    pub fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.process_mut().terminal.take()
    }

    /// Lets the command run. Returns once the exec succeeded; after an error everything is torn down.
    pub fn start(mut self) -> Result<Running, ExecuteError> {
        say(&self.socket, Word::Start)?;
        match handshake::hear(&self.socket).map_err(|error| failed(Operation::Handshake, &error))? {
            Answer::Closed => {}
            Answer::Trouble(trouble) => return Err(self.words.error(trouble, None)),
            Answer::Ready | Answer::Master(_) => {
                return Err(ExecuteError::new(Operation::Handshake, "", Errno::PROTO));
            }
        }
        let process =
            self.process.take().ok_or_else(|| ExecuteError::new(Operation::Ended, "", Errno::CHILD))?;
        Ok(Running { process, cgroup: self.cgroup.0.take() })
    }

    fn join_cgroup(&self) -> Result<(), ExecuteError> {
        let joined = self.cgroup.0.as_ref().map_or(Ok(()), |cgroup| cgroup.join(self.pid()));
        joined.map_err(|error| of_cgroup(&error))
    }

    fn process_ref(&self) -> &Process {
        self.process.as_ref().expect("it is there until it is started")
    }

    fn process_mut(&mut self) -> &mut Process {
        self.process.as_mut().expect("it is there until it is started")
    }
}

impl Drop for Created {
    fn drop(&mut self) {
        if let Some(process) = self.process.take() {
            kill_and_reap(process.pidfd.as_fd());
        }
    }
}

/// The control group of a container that is not started: removed, with whoever is in it, when it is dropped.
#[derive(Debug)]
struct Unstarted(Option<Cgroup>);

impl Drop for Unstarted {
    fn drop(&mut self) {
        if let Some(cgroup) = self.0.take() {
            // What stays is found by its name later; the failure that led here is the one that is told.
            let _ = cgroup.kill();
            let _ = cgroup.remove();
        }
    }
}

/// What is kept of a plan for the errors of its start: nothing else of it outlives [`create`].
#[derive(Debug)]
struct Words {
    command: String,
    cwd: String,
}

impl Words {
    fn of(process: &ReadyProcess) -> Self {
        Self {
            command: process.command().to_string_lossy().into_owned(),
            cwd: process.cwd().to_string_lossy().into_owned(),
        }
    }

    /// A child's numbers as an error. The plan is there while the child carries its steps out.
    fn error(&self, trouble: Trouble, plan: Option<&Plan>) -> ExecuteError {
        let Trouble { operation, step, item, errno } = trouble;
        let (step, item) = (step as usize, item as usize);
        let step = plan.and_then(|plan| plan.steps.get(step)).and_then(|step| step.op.as_ref());
        let object = match (operation, step) {
            (Operation::Exec, _) => self.command.clone(),
            (Operation::WorkingDir, _) => self.cwd.clone(),
            (Operation::Namespace, _) => {
                let joined = plan.iter().flat_map(|plan| &plan.namespaces).filter(|one| !one.path.is_empty());
                joined.map(|one| one.path.clone()).nth(item).unwrap_or_default()
            }
            (Operation::Rlimit, _) => {
                let limits = plan.and_then(|plan| plan.process.as_ref()).map(|process| &process.rlimits);
                limits.and_then(|limits| limits.get(item)).map(rlimit_name).unwrap_or_default().to_owned()
            }
            (_, Some(op)) => object_of(op, item),
            (_, None) => String::new(),
        };
        ExecuteError { operation, object, errno }
    }
}

fn rlimit_name(limit: &plan::Rlimit) -> &'static str {
    let known = gantry_linux::process::LIMITS.iter().find(|(_, number)| *number == limit.resource);
    known.map_or("", |(name, _)| *name)
}

fn object_of(op: &Op, item: usize) -> String {
    let nth = |paths: &[String]| paths.get(item).cloned().unwrap_or_default();
    match op {
        Op::Mount(mount) => format!("{} at {}", mount.fstype, mount.target),
        Op::Bind(bind) => format!("{} at {}", bind.source, bind.target),
        Op::Device(device) => device.path.clone(),
        Op::Symlink(link) => link.path.clone(),
        Op::Folder(folder) => folder.path.clone(),
        Op::Mask(mask) => nth(&mask.paths),
        Op::Readonly(readonly) => nth(&readonly.paths),
        Op::Hostname(name) | Op::Domainname(name) => name.name.clone(),
        Op::Sysctl(sysctl) => sysctl.path.clone(),
        Op::Console(_) | Op::RootAttributes(_) | Op::Loopback(_) | Op::EnterCgroupNamespace(_) => {
            String::new()
        }
    }
}

/// Waits until the child is set up; returns the master of its terminal.
fn await_ready(
    socket: &OwnedFd,
    words: &Words,
    plan: Option<&Plan>,
) -> Result<Option<OwnedFd>, ExecuteError> {
    let mut terminal = None;
    loop {
        match handshake::hear(socket).map_err(|error| failed(Operation::Handshake, &error))? {
            Answer::Master(master) => terminal = Some(master),
            Answer::Ready => return Ok(terminal),
            Answer::Trouble(trouble) => return Err(words.error(trouble, plan)),
            Answer::Closed => return Err(ExecuteError::new(Operation::Ended, "", Errno::CHILD)),
        }
    }
}

/// A child that is already ending has closed its socket; why is what it said before that.
fn say(socket: &OwnedFd, word: Word) -> Result<(), ExecuteError> {
    match handshake::say(socket, word) {
        Err(error) if error.errno != Errno::PIPE => Err(failed(Operation::Handshake, &error)),
        _ => Ok(()),
    }
}

fn set_oom_score(pid: Pid, score: i32) -> Result<(), ExecuteError> {
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
