//! Launch makes the container up to before its programme's exec, Start lets it go. A Launch that fails
//! leaves nothing: each thing made is owned by a value that takes it down when dropped.

use std::os::fd::OwnedFd;
use std::path::Path;

use gantry_api::shim::v1::{
    Failure, FailureKind, LaunchRequest, LaunchResponse, LogLimits, StartResponse, Stdio,
};
use gantry_runtime::execute::{self, Input};
use gantry_runtime::plan::{self, NamespaceKind, Plan};
use prost::Message;

use crate::bundle::Bundle;
use crate::failure;
use crate::listener::Listener;
use crate::log::Log;
use crate::process::{INIT, Process};
use crate::shim::{Life, Shim, Unstarted};
use crate::stdio;
use crate::streams::Streams;

impl Shim {
    /// Makes the container.
    pub(crate) fn launch(
        &mut self,
        request: &LaunchRequest,
        network: Option<OwnedFd>,
    ) -> Result<LaunchResponse, Failure> {
        if !matches!(self.life, Life::Born) {
            return Err(failure::wrong_phase("something was launched already"));
        }
        let result = self.make(request, network);
        if let Err(failure) = &result {
            self.failure = Some(failure.clone());
            self.life = Life::Failed;
            self.listener = None;
            self.log = None;
            if let Some(bundle) = self.bundle.take() {
                // The launch's own failure is the one to tell; the daemon sweeps bundles without a shim.
                let _ = bundle.remove();
            }
        }
        result
    }

    /// Lets the programme go.
    pub(crate) fn start(&mut self) -> Result<StartResponse, Failure> {
        let unstarted = match std::mem::replace(&mut self.life, Life::Exited) {
            Life::Launched(unstarted) => unstarted,
            other @ (Life::Born | Life::Running | Life::Exited | Life::Failed | Life::Released) => {
                self.life = other;
                return Err(failure::wrong_phase("nothing is launched that could start"));
            }
        };
        let cgroup = match &unstarted {
            Unstarted::Own(created) => created.cgroup(),
            Unstarted::Foreign(_) => self.cgroup.as_ref(),
        };
        if let Some(cgroup) = cgroup.filter(|cgroup| cgroup.is_given()) {
            // Later it may have gone.
            self.memory.watch(cgroup, &self.poller);
        }
        let started = match unstarted {
            Unstarted::Own(created) => created
                .start()
                .map(|running| (running.process.pidfd, running.cgroup))
                .map_err(|error| failure::execute(&error)),
            Unstarted::Foreign(init) => self.start_foreign().map(|()| (init, self.cgroup.take())),
        };
        let started = started.and_then(|(pidfd, cgroup)| {
            let init = self.processes.get_mut(&INIT).expect("made by Launch");
            self.life = Life::Running;
            self.cgroup = cgroup;
            init.started(pidfd, &self.poller)?;
            Ok(StartResponse { pid: init.pid(), started_at_unix_ns: init.started_at_unix_ns() })
        });
        if let Err(failure) = &started {
            self.failure = Some(failure.clone());
            self.end_unstarted();
        }
        started
    }

    fn make(&mut self, request: &LaunchRequest, network: Option<OwnedFd>) -> Result<LaunchResponse, Failure> {
        if let Some(foreign) = &request.foreign {
            return self.make_foreign(foreign, request, network);
        }
        let mut plan = Plan::decode(&*request.plan)
            .map_err(|_| failure::refuse(FailureKind::InvalidRequest, "the plan does not decode"))?;
        let wanted = request.stdio.unwrap_or_default();
        agree_on_terminal(plan.process.as_mut(), &wanted)?;
        self.own_pid_namespace =
            plan.namespaces.iter().any(|one| one.kind() == NamespaceKind::Pid && one.path.is_empty());
        self.open_files(request)?;
        let pipes = |error| failure::step("make pipes", "", &error);
        let (given, mut kept) = stdio::make(&wanted).map_err(pipes)?;
        let namespaces = network.into_iter().map(|network| (NamespaceKind::Network, network)).collect();
        let input = Input { namespaces, ..Input::from(given) };
        let mut created = execute::create(&plan, input).map_err(|error| failure::execute(&error))?;
        if let Some(master) = created.take_terminal() {
            kept = stdio::terminal_ends(master).map_err(pipes)?;
        }
        let streams = Streams::new(INIT, kept, &self.poller);
        let init = Process::new(INIT, String::new(), created.pid(), streams);
        let pid = init.pid();
        self.processes.insert(INIT, init);
        self.life = Life::Launched(Unstarted::Own(Box::new(created)));
        Ok(LaunchResponse { pid })
    }

    /// Opens what the shim writes: its files in the bundle folder, and the log.
    pub(crate) fn open_files(&mut self, request: &LaunchRequest) -> Result<(), Failure> {
        self.open_bundle(&request.bundle_dir)?;
        self.open_log(&request.log_dir, request.log_limits.unwrap_or_default())
    }

    fn open_bundle(&mut self, path: &str) -> Result<(), Failure> {
        let opening = |error| failure::step("make bundle", path, &error);
        let pid = rustix::process::getpid().as_raw_nonzero().get().unsigned_abs();
        let (bundle, listener) = Bundle::open(Path::new(path), pid).map_err(opening)?;
        self.bundle = Some(bundle);
        self.listener = Some(Listener::new(listener, &self.poller).map_err(opening)?);
        Ok(())
    }

    fn open_log(&mut self, dir: &str, limits: LogLimits) -> Result<(), Failure> {
        if !dir.is_empty() {
            let log = Log::open(Path::new(dir), limits.segment_bytes, limits.segments_max);
            self.log = Some(log.map_err(|error| failure::step("open log", dir, &error))?);
        }
        Ok(())
    }
}

/// The plan says whether there is a terminal, because mounts depend on it; the request says its size.
pub(crate) fn agree_on_terminal(process: Option<&mut plan::Process>, stdio: &Stdio) -> Result<(), Failure> {
    let Some(process) = process else {
        return Err(failure::refuse(FailureKind::InvalidRequest, "the plan has no process"));
    };
    if process.terminal.is_some() != stdio.terminal {
        return Err(failure::refuse(
            FailureKind::InvalidRequest,
            "plan and request disagree on whether there is a terminal",
        ));
    }
    if let (Some(terminal), Some(size)) = (&mut process.terminal, stdio.console) {
        (terminal.rows, terminal.columns) = (size.rows, size.columns);
    }
    Ok(())
}
