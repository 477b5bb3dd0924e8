//! `create`: the container is set up to just before its command, and waits at its gate (runtime.md "Create").
//! This process ends; the container is its caller's child then, or its caller's subreaper's. Whatever fails
//! leaves nothing behind: no process, no control group, no folder.

use std::fs;
use std::os::fd::AsFd as _;
use std::path::Path;

use gantry_linux::Pid;
use gantry_runtime::execute::{self, Created, Gate, Input, Stdio};
use jiff::Timestamp;

use super::Outcome;
use crate::bundle::{self, Bundle};
use crate::console;
use crate::containers::{Containers, Folder};
use crate::failure::Failure;
use crate::options::{Create, Globals};
use crate::record::{OCI_VERSION, Record, start_of};
use crate::report::Report;
use crate::scope::{self, Begun};

/// Who starts the container, and so what it waits on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StartedBy {
    /// A later `start`.
    Another,
    /// This process.
    Same,
}

/// A container that was made, and the folder that now is its.
pub(super) struct Made {
    pub(super) created: Created,
    pub(super) folder: Folder,
}

pub(super) fn create(
    options: &Create,
    globals: &Globals,
    containers: &Containers,
    report: &Report,
) -> Outcome {
    let bundle = bundle::load(options, globals, report)?;
    if has_terminal(&bundle) && options.console_socket.is_none() {
        return Err(Failure::usage("cannot allocate tty if runc will detach without setting console socket"));
    }
    let mut made = make(options, &bundle, containers, StartedBy::Another)?;
    report.debug("the container is set up");
    let handed_over = hand_over(options, &mut made.created);
    let left = handed_over.and_then(|()| Ok(made.created.leave()?));
    match left {
        Ok(_) => Ok(None),
        Err(failure) => {
            // All of them have one cause, and that one is told.
            scope::abandon(&made.folder);
            drop(made.folder.remove());
            Err(failure)
        }
    }
}

/// Makes the container and its folder; nothing is left when it fails.
pub(super) fn make(
    options: &Create,
    bundle: &Bundle,
    containers: &Containers,
    started_by: StartedBy,
) -> Result<Made, Failure> {
    let folder = containers.make(&options.id)?;
    match set_up(options, bundle, &folder, started_by) {
        Ok(created) => Ok(Made { created, folder }),
        Err(failure) => {
            // The failure that led here is the one that is told.
            drop(folder.remove());
            Err(failure)
        }
    }
}

fn set_up(
    options: &Create,
    bundle: &Bundle,
    folder: &Folder,
    started_by: StartedBy,
) -> Result<Created, Failure> {
    let mut record = record_of(options, bundle);
    // Hooks may ask for the state while the container is being made.
    if bundle.plan.hooks.is_some() {
        folder.keep_record(&record)?;
    }
    folder.keep_plan(&bundle.plan)?;
    let stdio = if has_terminal(bundle) { Stdio::Terminal } else { own_descriptors()? };
    let mut input = Input::from(stdio);
    input.preserved = options.preserve_fds + bundle::listeners();
    input.oom_score_adj = None;
    input.no_pivot = options.no_pivot;
    input.keep_keyring = options.no_new_keyring;
    match started_by {
        StartedBy::Another => input.gate = Some(Gate::make(folder.as_fd())?),
        StartedBy::Same => input.orphan = true,
    }
    let begun =
        bundle.scope.as_ref().map(|scope| scope::begin(scope, &options.id, &bundle.plan)).transpose()?;
    let created = execute::create(begun.as_ref().map_or(&bundle.plan, |begun| &begun.plan), input)?;
    record.pid = created.pid().as_raw();
    record.started_ticks = start_of(created.pid()).unwrap_or_default();
    folder.keep_record(&record)?;
    begun.map_or(Ok(()), Begun::settle)?;
    Ok(created)
}

/// Gives the caller what it asked for: the terminal and the process's number.
pub(super) fn hand_over(options: &Create, created: &mut Created) -> Result<(), Failure> {
    // Without a socket it stays where it is, for `run` to sit at.
    if let Some(socket) = &options.console_socket
        && let Some(master) = created.take_terminal()
    {
        console::send(socket, &master)?;
    }
    match &options.pid_file {
        Some(path) => write_pid(path, created.pid()),
        None => Ok(()),
    }
}

/// Writes a pid file so that a reader never sees half of it.
pub(super) fn write_pid(path: &Path, pid: Pid) -> Result<(), Failure> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.tmp"));
    fs::write(&temporary, pid.to_string())
        .and_then(|()| fs::rename(&temporary, path))
        .map_err(|error| Failure::file("write", path, error))
}

/// This process's standard descriptors, for the container's.
pub(super) fn own_descriptors() -> Result<Stdio, Failure> {
    let copy = |file: std::os::fd::BorrowedFd<'_>| {
        rustix::io::fcntl_dupfd_cloexec(file, 3)
            .map_err(|errno| Failure::file("copy", "standard descriptors", errno.into()))
    };
    Ok(Stdio::Descriptors {
        stdin: copy(rustix::stdio::stdin())?,
        stdout: copy(rustix::stdio::stdout())?,
        stderr: copy(rustix::stdio::stderr())?,
    })
}

pub(super) fn has_terminal(bundle: &Bundle) -> bool {
    bundle.plan.process.as_ref().is_some_and(|process| process.terminal.is_some())
}

/// The record of a container whose process is not there yet.
pub(super) fn record_of(options: &Create, bundle: &Bundle) -> Record {
    Record {
        oci_version: OCI_VERSION.to_owned(),
        id: options.id.clone(),
        pid: 0,
        started_ticks: 0,
        bundle: bundle.path.clone(),
        rootfs: bundle.rootfs.clone(),
        annotations: bundle.spec.annotations().clone().unwrap_or_default().into_iter().collect(),
        created: Timestamp::now().to_string(),
        owner: owner(),
        scope: bundle.scope.as_ref().map(|scope| scope.unit.clone()),
    }
}

/// The user's number; root's name is the one that callers compare with.
fn owner() -> String {
    match gantry_linux::process::effective_uid() {
        0 => "root".to_owned(),
        uid => uid.to_string(),
    }
}
