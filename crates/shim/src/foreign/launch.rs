//! Launch, where another runtime makes the container: everything around its `create`. What fails leaves nothing: the
//! runtime is told to forget the container, and mounts end with the shim.

use std::os::fd::{AsFd, OwnedFd};

use gantry_api::shim::v1::{Failure, FailureKind, ForeignLaunch, LaunchRequest, LaunchResponse};
use gantry_linux::Pid;
use gantry_linux::wait::open_pidfd;
use gantry_runtime::cgroup::{Cgroup, CgroupPlan};
use gantry_runtime::execute;
use gantry_runtime::plan::Overlay;
use prost::Message;
use rustix::fs::{AtFlags, CWD, unlinkat};

use super::command::Given;
use super::console::Console;
use super::{Foreign, mounts};
use crate::failure;
use crate::poller::{Interest, Token};
use crate::process::{INIT, Made, Process};
use crate::shim::{Life, Shim, Unstarted};
use crate::stdio;
use crate::streams::Streams;

/// Where the runtime writes the process id of what it made.
const PID_FILE: &str = "runtime.pid";

impl Shim {
    /// Has the runtime make the container.
    pub(crate) fn make_foreign(
        &mut self,
        launch: &ForeignLaunch,
        request: &LaunchRequest,
        network: Option<OwnedFd>,
    ) -> Result<LaunchResponse, Failure> {
        let undecoded = |_| failure::refuse(FailureKind::InvalidRequest, "the launch does not decode");
        let overlay = Overlay::decode(&*launch.rootfs).map_err(undecoded)?;
        let cgroup = CgroupPlan::decode(&*launch.cgroup).map_err(undecoded)?;
        self.open_files(request)?;
        let foreign = Foreign::new(launch, &request.bundle_dir)?;
        let mut interest = Interest::NONE;
        interest
            .change(&self.poller, foreign.children_as_fd(), Token::Children, Interest::READ)
            .map_err(|error| failure::step("watch children", "", &error))?;
        let foreign = self.foreign.insert(Box::new(foreign));
        mounts::make(&foreign.bundle, &overlay, network)?;
        let made = foreign.create(request);
        mounts::detach_network(&foreign.bundle);
        let made = made.and_then(|made| {
            let cgroup = Cgroup::open(&cgroup).map_err(|error| failure::cgroup(&error))?;
            Ok((made, cgroup))
        });
        let (made, cgroup) = match made {
            Ok(made) => made,
            Err(failure) => {
                // The create's own failure is the one to tell.
                let _ = foreign.take_down();
                return Err(failure);
            }
        };
        self.cgroup = Some(cgroup);
        self.own_pid_namespace = launch.own_pid_namespace;
        let streams = Streams::new(INIT, made.ends, &self.poller);
        let init = Process::new(INIT, String::new(), made.pid, streams);
        let pid = init.pid();
        self.processes.insert(INIT, init);
        self.life = Life::Launched(Unstarted::Foreign(made.pidfd));
        Ok(LaunchResponse { pid })
    }

    /// Has it let the programme go; a container that did not start is forgotten.
    pub(crate) fn start_foreign(&mut self) -> Result<(), Failure> {
        let foreign = self.foreign.as_mut().expect("it made what was launched");
        foreign.start().inspect_err(|_| drop(foreign.take_down()))
    }
}

impl Foreign {
    fn create(&mut self, request: &LaunchRequest) -> Result<Made, Failure> {
        self.known = true;
        let bundle = self.bundle.to_string_lossy().into_owned();
        let id = self.container_id.clone();
        self.make_process("create", &["--bundle", &bundle], &[&id], &request.stdio.unwrap_or_default())
    }

    /// Runs a command that leaves a process behind, with its streams.
    pub(super) fn make_process(
        &self,
        verb: &str,
        options: &[&str],
        operands: &[&str],
        wanted: &gantry_api::shim::v1::Stdio,
    ) -> Result<Made, Failure> {
        let pipes = |error| failure::step("make pipes", "", &error);
        let (given, mut ends) = stdio::make(wanted).map_err(pipes)?;
        let given: Option<Given> = match given {
            execute::Stdio::Descriptors { stdin, stdout, stderr } => Some([stdin, stdout, stderr]),
            execute::Stdio::Terminal => None,
        };
        let console = given.is_none().then(|| self.console()).transpose()?;
        let pid_file = self.file(PID_FILE);
        let mut words = options.to_vec();
        words.extend(["--pid-file", &pid_file]);
        if let Some(console) = &console {
            words.extend(["--console-socket", &console.name]);
        }
        words.extend(operands);
        let ran = self.run(verb, &words, given.as_ref());
        drop(given);
        ran.map_err(|failure| with_standard_error(failure, ends.stderr.as_ref()))?;
        if let Some(master) = console.as_ref().map(Console::take).transpose()? {
            if let Some(size) = wanted.console {
                stdio::resize(&master, size).map_err(|error| failure::step("resize terminal", "", &error))?;
            }
            ends = stdio::terminal_ends(master).map_err(pipes)?;
        }
        let (pid, pidfd) = take_pid(&pid_file)?;
        Ok(Made { pid, pidfd, ends })
    }
}

/// The process that the command names in its pid file, which must be a child of the shim by now.
fn take_pid(file: &str) -> Result<(Pid, OwnedFd), Failure> {
    let reading = |error| failure::step("read pid file", file, &error);
    let text = std::fs::read_to_string(file).map_err(reading)?;
    // The next command writes it anew.
    let _ = unlinkat(CWD, file, AtFlags::empty());
    let pid = text.trim().parse().ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| reading(std::io::ErrorKind::InvalidData.into()))?;
    let open = |error| failure::syscall("watch process", text.trim(), &error);
    let pidfd = open_pidfd(pid).map_err(open)?;
    match rustix::process::waitid(
        rustix::process::WaitId::PidFd(pidfd.as_fd()),
        rustix::process::WaitIdOptions::EXITED
            | rustix::process::WaitIdOptions::NOHANG
            | rustix::process::WaitIdOptions::NOWAIT,
    ) {
        Ok(_) => Ok((pid, pidfd)),
        Err(errno) => Err(failure::step("watch process", text.trim(), &errno.into())),
    }
}

/// A runtime may have said it on what became the process's standard error.
fn with_standard_error(mut failure: Failure, stderr: Option<&OwnedFd>) -> Failure {
    let mut bytes = [0; 4096];
    if failure.kind() == FailureKind::Runtime
        && failure.message.trim().is_empty()
        && let Some(Ok(length)) = stderr.map(|stderr| rustix::io::read(stderr, &mut bytes))
    {
        failure.message = String::from_utf8_lossy(&bytes[..length]).into_owned();
    }
    failure
}
