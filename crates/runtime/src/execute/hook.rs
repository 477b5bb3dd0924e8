//! How a hook runs: a programme with the container's state on standard input, waited for with a limit, whose
//! failure is the container's. The same code serves the host side and the container's own child, where a
//! filter may already stand; so it needs nothing but fork, exec, wait and (for the limit) a pidfd.

use std::ffi::CString;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use gantry_linux::event::wait_readable;
use gantry_linux::process::{self as linux, ExecArgs, Pid, exit_now};
use gantry_linux::signal::{self, Signal, SignalSet, send_to_pidfd};
use gantry_linux::wait::{self, Exit};
use gantry_linux::{Errno, clone, memfd};
use rustix::fs::{Mode, OFlags, SeekFrom};

use super::prepare::{c_string, c_strings};
use super::{ExecuteError, Operation};
use crate::plan::{Hook, Hooks};

/// Bytes of a failed hook's errors that are told, from their end.
const ERRORS_BYTES_MAX: usize = 2048;

/// A hook laid out for exec.
pub(super) struct ReadyHook {
    path: CString,
    args: ExecArgs,
    timeout: Option<Duration>,
    /// Where it runs; empty is where its caller is.
    folder: CString,
}

impl ReadyHook {
    fn new(hook: &Hook, folder: &str, inherited: &[String]) -> Result<Self, ExecuteError> {
        let path = c_string(Operation::Hook, &hook.path)?;
        let mut args = c_strings(Operation::Hook, &hook.args)?;
        if args.is_empty() {
            args.push(path.clone());
        }
        let env = if hook.inherits_env { inherited } else { &hook.env };
        let env = c_strings(Operation::Hook, env)?;
        let timeout = Some(hook.timeout_seconds).filter(|seconds| *seconds != 0);
        Ok(Self {
            path,
            args: ExecArgs::new(args, env),
            folder: c_string(Operation::Hook, folder)?,
            timeout: timeout.map(|s| Duration::from_secs(s.into())),
        })
    }
}

/// Lays several out that run in the container. `inherited` is the environment of those that have none of
/// their own; without it, it is this process's.
pub(super) fn ready(hooks: &[Hook], inherited: Option<&[String]>) -> Result<Vec<ReadyHook>, ExecuteError> {
    let own = if inherited.is_none() && !hooks.is_empty() { own_env() } else { Vec::new() };
    hooks.iter().map(|hook| ReadyHook::new(hook, "", inherited.unwrap_or(&own))).collect()
}

fn own_env() -> Vec<String> {
    let pair = |(key, value): (std::ffi::OsString, std::ffi::OsString)| {
        format!("{}={}", key.to_string_lossy(), value.to_string_lossy())
    };
    std::env::vars_os().map(pair).collect()
}

/// Runs the hooks that follow the start of the command, up to the first that fails: the caller stops the
/// container then (runtime.md, "Lifecycle").
pub fn poststart(hooks: &Hooks, pid: Pid) -> Result<(), ExecuteError> {
    hooks.poststart.iter().try_for_each(|hook| on_host(hook, hooks, "running", Some(pid)))
}

/// Runs the hooks that follow the end of the container, all of them, and returns what failed.
pub fn poststop(hooks: &Hooks) -> Vec<ExecuteError> {
    hooks.poststop.iter().filter_map(|hook| on_host(hook, hooks, "stopped", None).err()).collect()
}

/// Runs the hooks on the host between the making of the process and its change of root, up to the first that
/// fails. [`super::create`] does it by itself; it is here for who makes a container's process otherwise.
pub fn at_create(hooks: &Hooks, pid: Pid) -> Result<(), ExecuteError> {
    let mut all = hooks.prestart.iter().chain(&hooks.create_runtime);
    all.try_for_each(|hook| on_host(hook, hooks, "creating", Some(pid)))
}

fn on_host(hook: &Hook, hooks: &Hooks, status: &str, pid: Option<Pid>) -> Result<(), ExecuteError> {
    let fail = |errno| ExecuteError::new(Operation::Hook, &hook.path, errno);
    let ready = ReadyHook::new(hook, &hooks.bundle, &own_env())?;
    let state = state(&hooks.state, status, pid).map_err(fail)?;
    let errors = memfd::new(c"gantry-hook").map_err(|error| fail(error.errno))?;
    let null =
        rustix::fs::open(c"/dev/null", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()).map_err(fail)?;
    run(&ready, state.as_fd(), Some([null.as_fd(), errors.as_fd()])).map_err(|errno| {
        let told = last_words(errors);
        let object = if told.is_empty() { hook.path.clone() } else { format!("{}: {told}", hook.path) };
        ExecuteError::new(Operation::Hook, object, errno)
    })
}

/// The container's state in an anonymous file. Allocates nothing.
pub(super) fn state(head: &str, status: &str, pid: Option<Pid>) -> Result<OwnedFd, Errno> {
    let file = memfd::new(c"gantry-state").map_err(|error| error.errno)?;
    let mut digits = [0; 10];
    let digits = decimal(pid.map_or(0, Pid::as_raw).unsigned_abs(), &mut digits);
    for part in [head.as_bytes(), b",\"status\":\"", status.as_bytes(), b"\",\"pid\":", digits, b"}"] {
        let mut left = part;
        while !left.is_empty() {
            let written = rustix::io::write(&file, left)?;
            left = &left[written..];
        }
    }
    Ok(file)
}

/// Runs one and waits for its end. `output` is where it writes; without it, where the caller does. Allocates
/// nothing.
pub(super) fn run(
    hook: &ReadyHook,
    state: BorrowedFd<'_>,
    output: Option<[BorrowedFd<'_>; 2]>,
) -> Result<(), Errno> {
    rustix::fs::seek(state, SeekFrom::Start(0))?;
    let Some(pid) = clone::fork().map_err(|error| error.errno)? else { become_hook(hook, state, output) };
    // Without a pidfd, which a filter may refuse, there is no limit to the wait.
    if let (Some(limit), Ok(pidfd)) = (hook.timeout, wait::open_pidfd(pid))
        && !wait_readable(pidfd.as_fd(), Some(limit)).map_err(|error| error.errno)?
    {
        send_to_pidfd(pidfd.as_fd(), Signal::KILL).map_err(|error| error.errno)?;
        wait::wait_child(pid).map_err(|error| error.errno)?;
        return Err(Errno::TIMEDOUT);
    }
    match wait::wait_child(pid).map_err(|error| error.errno)? {
        Exit::Code { code: 0 } => Ok(()),
        Exit::Code { code: 127 } => Err(Errno::NOENT),
        Exit::Code { .. } | Exit::Signal { .. } => Err(Errno::CANCELED),
    }
}

fn become_hook(hook: &ReadyHook, state: BorrowedFd<'_>, output: Option<[BorrowedFd<'_>; 2]>) -> ! {
    let become_it = || {
        if let Some([out, errors]) = output {
            linux::duplicate_onto(out, 1)?;
            linux::duplicate_onto(errors, 2)?;
        }
        linux::duplicate_onto(state, 0)?;
        if !hook.folder.is_empty() {
            linux::change_directory(&hook.folder)?;
        }
        linux::close_from(3)?;
        signal::reset_dispositions()?;
        signal::set_blocked(SignalSet::EMPTY)?;
        linux::exec(&hook.path, &hook.args)
    };
    let _ = become_it();
    exit_now(127)
}

fn last_words(errors: OwnedFd) -> String {
    let mut bytes = Vec::new();
    let mut file = std::fs::File::from(errors);
    if rustix::fs::seek(&file, SeekFrom::Start(0)).is_err() || file.read_to_end(&mut bytes).is_err() {
        return String::new();
    }
    let from = bytes.len().saturating_sub(ERRORS_BYTES_MAX);
    String::from_utf8_lossy(&bytes[from..]).trim().to_owned()
}

fn decimal(mut number: u32, buffer: &mut [u8; 10]) -> &[u8] {
    let mut at = buffer.len();
    loop {
        at -= 1;
        buffer[at] = b'0' + u8::try_from(number % 10).expect("a digit");
        number /= 10;
        if number == 0 {
            return &buffer[at..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_ends_with_status_and_process_id() {
        let state = state("{\"id\":\"x\"", "creating", Pid::from_raw(4_194_304)).expect("a memfd");
        assert_eq!(last_words(state), "{\"id\":\"x\",\"status\":\"creating\",\"pid\":4194304}");
    }

    #[test]
    fn a_hook_that_is_too_slow_is_killed_and_one_that_fails_says_why() {
        let hook = |script: &str, timeout_seconds| Hook {
            path: "/bin/sh".to_owned(),
            args: ["sh", "-c", script].map(str::to_owned).to_vec(),
            env: vec!["WORD=no".to_owned()],
            timeout_seconds,
            inherits_env: false,
        };
        let hooks = Hooks { state: "{\"id\":\"x\"".to_owned(), bundle: "/".to_owned(), ..Hooks::default() };
        let failed = |hook: &Hook| on_host(hook, &hooks, "stopped", None).expect_err("it fails");
        assert_eq!(failed(&hook("while :; do :; done", 1)).errno, Errno::TIMEDOUT);
        let told = failed(&hook("read line; echo $WORD: \"$line\" >&2; exit 3", 5));
        assert_eq!(told.errno, Errno::CANCELED);
        assert!(told.object.ends_with("no: {\"id\":\"x\",\"status\":\"stopped\",\"pid\":0}"), "{told}");
        on_host(&hook("test $PWD = /", 5), &hooks, "running", None).expect("it succeeds");
    }
}
