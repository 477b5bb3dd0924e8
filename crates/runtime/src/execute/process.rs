//! From a process that stands in its container's namespaces to the user's command: limits, session, identity,
//! capabilities, filter, exec. The container's own process and one that joins go the same way.
//!
//! The order is what makes it work. Everything that needs privilege comes before the ids and capabilities go.
//! A filter may be installed with no_new_privs or with CAP_SYS_ADMIN, so without no_new_privs that one
//! capability is kept for two system calls longer. After the filter only capset(2), prctl(2), the handshake
//! and execve(2) are left. Nothing in the child's part allocates or takes a lock.

use std::convert::Infallible;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use gantry_linux::proc::ProcFs;
use gantry_linux::process::{self as linux, CapabilityMasks, ExecArgs, Limit};
use gantry_linux::seccomp::{FilterFlags, install_bytes, install_bytes_with_listener};
use gantry_linux::signal::{self, Signal, SignalSet};
use gantry_linux::{Errno, SyscallError, tty};
use rustix::fs::FileType;

use super::handshake::{Ask, Trouble, ask};
use super::hook::ReadyHook;
use super::prepare::c_string;
use super::{ExecuteError, Input, Operation};
use crate::plan::{Capabilities, MemoryPolicy, Process, Rlimit, Seccomp};

/// CAP_SYS_ADMIN, which installing a filter without no_new_privs needs.
const SYS_ADMIN: u64 = 1 << 21;

/// What a shell searches when there is no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A process with its strings laid out for exec.
pub(super) struct ReadyProcess {
    /// Where the command may be, in the order of `PATH`.
    candidates: Vec<CString>,
    args: ExecArgs,
    cwd: CString,
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    umask: u32,
    capabilities: Capabilities,
    no_new_privileges: bool,
    rlimits: Vec<Rlimit>,
    seccomp: Option<(Vec<u8>, FilterFlags)>,
    pub(super) terminal: Option<crate::plan::Terminal>,
    /// What runs in the container right before the command.
    pub(super) start_hooks: Vec<ReadyHook>,
    /// Whether it lives in a user namespace of its own, where limits are the parent's to set, and some ids and
    /// groups nobody's.
    pub(super) in_user_namespace: bool,
    personality: Option<u32>,
    memory_policy: Option<MemoryPolicy>,
    /// A file of procfs and what is written to it, for each security module that has a label.
    labels: Vec<(&'static str, String)>,
    has_listener: bool,
    /// Whether the command must be there before the start is waited for.
    looked_up: bool,
    keep_keyring: bool,
    outlives_creator: bool,
}

impl ReadyProcess {
    /// Lays out a plan's process. Capabilities that the caller does not have are left out: they cannot be given.
    pub(super) fn new(process: &Process, input: &Input) -> Result<Self, ExecuteError> {
        let strings = |texts: &[String]| -> Result<Vec<CString>, ExecuteError> {
            texts.iter().map(|text| c_string(Operation::Plan, text)).collect()
        };
        let own = linux::capabilities()
            .map_err(|error| ExecuteError::new(Operation::Capabilities, "", error.errno))?
            .permitted;
        let asked = process.capabilities.unwrap_or_default();
        Ok(Self {
            candidates: candidates(process)?,
            args: ExecArgs::new(strings(&process.args)?, strings(&process.env)?),
            cwd: c_string(Operation::WorkingDir, &process.cwd)?,
            uid: process.uid,
            gid: process.gid,
            groups: process.groups.clone(),
            umask: process.umask.unwrap_or(0o022),
            capabilities: Capabilities {
                bounding: asked.bounding & own,
                effective: asked.effective & own,
                inheritable: asked.inheritable & own,
                permitted: asked.permitted & own,
                ambient: asked.ambient & own,
            },
            no_new_privileges: process.no_new_privileges,
            rlimits: process.rlimits.clone(),
            seccomp: process.seccomp.as_ref().map(filter),
            terminal: process.terminal,
            start_hooks: Vec::new(),
            in_user_namespace: false,
            personality: process.personality,
            memory_policy: process.memory_policy.clone(),
            labels: labels(process),
            has_listener: process.listener.is_some(),
            looked_up: input.gate.is_some(),
            keep_keyring: input.keep_keyring,
            outlives_creator: input.outlives_creator(),
        })
    }

    /// The kernel kills it when its creator ends, if it is to die with that. A change of ids clears it.
    pub(super) fn die_with_creator(&self) -> Result<(), Trouble> {
        if self.outlives_creator {
            return Ok(());
        }
        at(Operation::Session, linux::set_parent_death_signal(Some(Signal::KILL)))
    }

    /// Takes everything but its standard descriptors, up to and with the filter.
    pub(super) fn become_it(&self, own_session: bool, socket: BorrowedFd<'_>) -> Result<(), Trouble> {
        self.set_limits(socket)?;
        if let Some(domain) = self.personality {
            at(Operation::Personality, linux::set_personality(domain.into()))?;
        }
        if let Some(policy) = &self.memory_policy {
            at(Operation::MemoryPolicy, linux::set_memory_policy(policy.mode, &policy.nodes))?;
        }
        at(Operation::Session, signal::reset_dispositions())?;
        at(Operation::Session, signal::set_blocked(SignalSet::EMPTY))?;
        if !self.keep_keyring {
            match linux::join_session_keyring(None) {
                Err(error) if error.errno == Errno::NOSYS => {}
                joined => at(Operation::Session, joined)?,
            }
        }
        if own_session {
            self.take_session()?;
        }
        linux::set_umask(self.umask);
        self.drop_privileges()?;
        self.enter_cwd()?;
        if self.looked_up {
            self.look_up()?;
        }
        self.filter(socket)?;
        self.finish_capabilities()
    }

    fn filter(&self, socket: BorrowedFd<'_>) -> Result<(), Trouble> {
        let Some((program, flags)) = &self.seccomp else { return Ok(()) };
        if !self.has_listener {
            return at(Operation::Seccomp, install_bytes(program, *flags));
        }
        let listener = install_bytes_with_listener(program, *flags)
            .map_err(|error| trouble(Operation::Seccomp, 0, error.errno))?;
        ask(socket, Ask::Listener(listener.as_raw_fd()))
            .map(drop)
            .map_err(|errno| trouble(Operation::Handshake, 0, errno))
    }

    /// Whether the command is there for this user.
    fn look_up(&self) -> Result<(), Trouble> {
        let mut worst = Errno::NOENT;
        for candidate in &self.candidates {
            match linux::may_execute(candidate) {
                Ok(()) => return Ok(()),
                Err(error) if matches!(error.errno, Errno::NOENT | Errno::NOTDIR) => {}
                Err(error) => worst = error.errno,
            }
        }
        Err(trouble(Operation::Exec, 0, worst))
    }

    /// The labels of the next exec, by the `/proc` that is seen here, which must be the host's.
    pub(super) fn set_labels(&self) -> Result<(), Trouble> {
        for (file, value) in &self.labels {
            let set = ProcFs::open().and_then(|proc| proc.write(file, value.as_bytes()));
            at(Operation::Label, set)?;
        }
        Ok(())
    }

    /// Root in its user namespace, from whoever it was outside.
    pub(super) fn become_root(&self) -> Result<(), Trouble> {
        self.set_groups(&[])?;
        at(Operation::User, linux::set_gid(0))?;
        at(Operation::User, linux::set_uid(0))?;
        self.die_with_creator()
    }

    /// A user namespace may forbid groups altogether.
    fn set_groups(&self, groups: &[u32]) -> Result<(), Trouble> {
        match linux::set_groups(groups) {
            Err(error) if self.in_user_namespace && groups.is_empty() && error.errno == Errno::PERM => Ok(()),
            set => at(Operation::User, set),
        }
    }

    /// A session of its own, with its terminal.
    pub(super) fn take_session(&self) -> Result<(), Trouble> {
        at(Operation::Session, linux::set_session())?;
        if self.terminal.is_some() {
            at(Operation::Session, tty::set_controlling(rustix::stdio::stdin()))?;
        }
        Ok(())
    }

    /// Runs the command; returns only what went wrong.
    pub(super) fn exec(&self) -> Trouble {
        let mut worst = Errno::NOENT;
        for candidate in &self.candidates {
            let error = match linux::exec(candidate, &self.args) {
                Ok(never) => match never {},
                Err::<Infallible, _>(error) => error.errno,
            };
            match error {
                Errno::NOENT | Errno::NOTDIR => {}
                // Like a shell: something that may not be run is told, but the search goes on.
                Errno::ACCESS => worst = error,
                _ => {
                    worst = error;
                    break;
                }
            }
        }
        trouble(Operation::Exec, 0, worst)
    }

    fn set_limits(&self, socket: BorrowedFd<'_>) -> Result<(), Trouble> {
        if self.in_user_namespace && !self.rlimits.is_empty() {
            let asked = ask(socket, Ask::Limits);
            return asked.map(drop).map_err(|errno| trouble(Operation::Handshake, 0, errno));
        }
        for (item, limit) in (0..).zip(&self.rlimits) {
            let value = Limit { soft: limit.soft, hard: limit.hard };
            linux::set_limit(None, limit.resource, value)
                .map_err(|error| trouble(Operation::Rlimit, item, error.errno))?;
        }
        Ok(())
    }

    /// Descriptors 0, 1 and 2. Pipes and terminals become the user's, so that `/dev/stdout` can be opened.
    pub(super) fn take_stdio(&self, stdio: [BorrowedFd<'_>; 3]) -> Result<(), Trouble> {
        let fail = |errno| trouble(Operation::Stdio, 0, errno);
        for (number, file) in (0..).zip(stdio) {
            linux::duplicate_onto(file, number).map_err(|error| fail(error.errno))?;
        }
        if self.uid == 0 {
            return Ok(());
        }
        for file in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
            let kind = FileType::from_raw_mode(rustix::fs::fstat(file).map_err(fail)?.st_mode);
            if matches!(kind, FileType::Fifo | FileType::Socket) || tty::is_terminal(file) {
                let uid = Some(rustix::fs::Uid::from_raw(self.uid));
                match rustix::fs::fchown(file, uid, None) {
                    // The parent has done it for those that are not the container's.
                    Err(Errno::PERM | Errno::INVAL) if self.in_user_namespace => {}
                    changed => changed.map_err(fail)?,
                }
            }
        }
        Ok(())
    }

    fn drop_privileges(&self) -> Result<(), Trouble> {
        if self.no_new_privileges {
            at(Operation::NoNewPrivileges, linux::set_no_new_privs())?;
        }
        at(Operation::Capabilities, linux::limit_bounding_set(self.capabilities.bounding))?;
        at(Operation::Capabilities, linux::set_keep_capabilities(true))?;
        self.set_groups(&self.groups)?;
        at(Operation::User, linux::set_gid(self.gid))?;
        at(Operation::User, linux::set_uid(self.uid))?;
        let kept = if self.needs_admin() { SYS_ADMIN } else { 0 };
        at(Operation::Capabilities, linux::set_capabilities(self.masks(kept)))?;
        self.die_with_creator()
    }

    /// The working folder, verified to be inside the root: a path that leads out is shown without its first
    /// slash, or not at all (CVE-2024-21626).
    fn enter_cwd(&self) -> Result<(), Trouble> {
        at(Operation::WorkingDir, linux::change_directory(&self.cwd))?;
        let mut buffer = [0; 4096];
        let length = linux::current_directory(&mut buffer)
            .map_err(|error| trouble(Operation::WorkingDir, 0, error.errno))?;
        if length == 0 || buffer[0] != b'/' {
            return Err(trouble(Operation::WorkingDir, 0, Errno::XDEV));
        }
        Ok(())
    }

    fn finish_capabilities(&self) -> Result<(), Trouble> {
        if self.needs_admin() {
            at(Operation::Capabilities, linux::set_capabilities(self.masks(0)))?;
        }
        at(Operation::Capabilities, linux::set_ambient_capabilities(self.capabilities.ambient))
    }

    fn needs_admin(&self) -> bool {
        self.seccomp.is_some() && !self.no_new_privileges
    }

    fn masks(&self, more: u64) -> CapabilityMasks {
        CapabilityMasks {
            effective: self.capabilities.effective | more,
            permitted: self.capabilities.permitted | more,
            inheritable: self.capabilities.inheritable,
        }
    }
}

/// Trouble outside the steps.
pub(super) fn trouble(operation: Operation, item: u32, errno: Errno) -> Trouble {
    Trouble { operation, step: u32::MAX, item, errno }
}

/// A system call's error as trouble of this operation.
pub(super) fn at<T>(operation: Operation, result: Result<T, SyscallError>) -> Result<(), Trouble> {
    result.map(drop).map_err(|error| trouble(operation, 0, error.errno))
}

fn labels(process: &Process) -> Vec<(&'static str, String)> {
    let mut labels = Vec::new();
    if !process.apparmor.is_empty() {
        labels.push(("thread-self/attr/apparmor/exec", format!("exec {}", process.apparmor)));
    }
    if !process.selinux.is_empty() {
        labels.push(("thread-self/attr/exec", process.selinux.clone()));
    }
    labels
}

fn filter(seccomp: &Seccomp) -> (Vec<u8>, FilterFlags) {
    (seccomp.program.clone(), FilterFlags::from_bits_retain(seccomp.flags))
}

/// Where the command may be: its own path, or below each folder of `PATH` (execvp(3)).
fn candidates(process: &Process) -> Result<Vec<CString>, ExecuteError> {
    let missing = || ExecuteError::new(Operation::Plan, "args", Errno::INVAL);
    let name = process.args.first().filter(|name| !name.is_empty()).ok_or_else(missing)?;
    if name.contains('/') {
        return Ok(vec![c_string(Operation::Exec, name)?]);
    }
    // Of several entries the last one counts for execvp(3) of no libc: getenv(3) takes the first.
    let path = process.env.iter().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH);
    path.split(':')
        .map(|folder| match folder {
            "" => format!("./{name}"),
            folder => format!("{folder}/{name}"),
        })
        .map(|candidate| c_string(Operation::Exec, &candidate))
        .collect()
}

/// The descriptor of a terminal three times, or the three descriptors given.
pub(super) fn three(one: &impl AsFd) -> [BorrowedFd<'_>; 3] {
    [one.as_fd(), one.as_fd(), one.as_fd()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(args: &[&str], env: &[&str]) -> Process {
        let own = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        Process { args: own(args), env: own(env), ..Process::default() }
    }

    #[test]
    fn a_name_is_searched_in_the_containers_path_and_a_path_is_not() {
        let found = |args: &[&str], env: &[&str]| candidates(&process(args, env)).expect("valid");
        assert_eq!(found(&["sh"], &["PATH=/a::/b"]), [c"/a/sh".to_owned(), c"./sh".into(), c"/b/sh".into()]);
        assert_eq!(found(&["./sh"], &["PATH=/a"]), [c"./sh".to_owned()]);
        assert_eq!(found(&["sh"], &[]).len(), 6);
        assert!(candidates(&process(&[""], &[])).is_err());
    }
}
