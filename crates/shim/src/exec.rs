//! Exec runs another process in the running container. It lives and ends by itself; what it leaves behind is
//! a record, kept until the daemon has taken it.

use std::os::fd::{AsFd, OwnedFd};

use gantry_api::shim::v1::{ExecRequest, ExecResponse, Failure, FailureKind, ReleaseExecResponse, Stdio};
use gantry_runtime::execute;
use gantry_runtime::plan::ExecPlan;
use gantry_types::EXECS_MAX;
use prost::Message;

use crate::failure;
use crate::launch::agree_on_terminal;
use crate::process::{INIT, Made, Process};
use crate::shim::{Life, Shim};
use crate::stdio;
use crate::streams::Streams;

/// Records of ended execs that are kept for a daemon to take.
const ENDED_MAX: usize = 256;

impl Shim {
    /// Runs a process; `socket` is attached to it before it can write anything.
    pub(crate) fn exec(
        &mut self,
        request: ExecRequest,
        socket: Option<OwnedFd>,
    ) -> Result<ExecResponse, Failure> {
        self.check_exec(&request)?;
        let attachment =
            request.attach.as_ref().map(|attach| crate::request::attachment(attach, socket)).transpose()?;
        let wanted = request.stdio.unwrap_or_default();
        let made = match &self.foreign {
            Some(foreign) => foreign.exec(&request, &wanted)?,
            None => self.join(&request, &wanted)?,
        };
        let slot = self.free_slot();

        let mut streams = Streams::new(slot, made.ends, &self.poller);
        if let Some((socket, wants)) = attachment {
            streams.attach(socket, wants, &self.poller);
        }
        let mut exec = Process::new(slot, request.exec_id, made.pid, streams);
        exec.started(made.pidfd, &self.poller)?;
        let response = ExecResponse { pid: exec.pid(), started_at_unix_ns: exec.started_at_unix_ns() };
        self.processes.insert(slot, exec);
        Ok(response)
    }

    /// Forgets an exec that has ended.
    pub(crate) fn release_exec(&mut self, exec_id: &str) -> Result<ReleaseExecResponse, Failure> {
        let slot = self.slot_of(exec_id)?;
        let ended = self.processes.get(&slot).is_some_and(|process| process.exit().is_some());
        if slot == INIT || !ended {
            return Err(failure::wrong_phase("the exec runs"));
        }
        self.forget(slot);
        Ok(ReleaseExecResponse {})
    }

    /// Keeps the records of ended execs bounded.
    pub(crate) fn forget_surplus(&mut self) {
        let ended = |(slot, process): (&u32, &Process)| {
            process
                .exit()
                .filter(|_| *slot != INIT && !process.is_forgotten())
                .map(|exit| (exit.at_unix_ns, *slot))
        };
        if self.processes.iter().filter_map(ended).count() > ENDED_MAX
            && let Some((_, slot)) = self.processes.iter().filter_map(ended).min()
        {
            self.forget(slot);
        }
    }

    fn check_exec(&self, request: &ExecRequest) -> Result<(), Failure> {
        if !matches!(self.life, Life::Running) || self.draining.is_some() {
            return Err(failure::wrong_phase("the container does not run"));
        }
        if request.exec_id.is_empty() {
            return Err(failure::refuse(FailureKind::InvalidRequest, "an exec needs an id"));
        }
        if self.slot_of(&request.exec_id).is_ok() {
            return Err(failure::refuse(FailureKind::AlreadyExists, "there is an exec of this id"));
        }
        let running = self.processes.values().filter(|process| process.exit().is_none()).count();
        if running > EXECS_MAX {
            return Err(failure::refuse(
                FailureKind::ResourceExhausted,
                "too many execs run in the container",
            ));
        }
        Ok(())
    }

    fn join(&self, request: &ExecRequest, wanted: &Stdio) -> Result<Made, Failure> {
        let mut plan = ExecPlan::decode(&*request.plan)
            .map_err(|_| failure::refuse(FailureKind::InvalidRequest, "the plan does not decode"))?;
        agree_on_terminal(plan.process.as_mut(), wanted)?;
        let pipes = |error| failure::step("make pipes", "", &error);
        let (given, mut ends) = stdio::make(wanted).map_err(pipes)?;
        let init = self.processes.get(&INIT).and_then(Process::pidfd);
        let Some(init) = init else { return Err(failure::wrong_phase("the container does not run")) };
        let process = execute::exec(&plan, init.as_fd(), self.cgroup.as_ref(), given)
            .map_err(|error| failure::execute(&error))?;
        if let Some(master) = process.terminal {
            ends = stdio::terminal_ends(master).map_err(pipes)?;
        }
        Ok(Made { pid: process.pid, pidfd: process.pidfd, ends })
    }

    /// Attachments that have not read everything lose the rest. What a process left behind in the container may
    /// go on writing: its output is read until it ends, because a closed pipe would kill it.
    fn forget(&mut self, slot: u32) {
        if let Some(process) = self.processes.get_mut(&slot) {
            process.forget(&self.poller);
            self.drop_forgotten(slot);
        }
    }

    /// Drops a forgotten exec once nobody can write to its output.
    pub(crate) fn drop_forgotten(&mut self, slot: u32) {
        let over = |process: &Process| process.is_forgotten() && process.streams.is_output_over();
        if self.processes.get(&slot).is_some_and(over) {
            self.processes.remove(&slot);
        }
    }

    /// 24 bits of a slot are what a token holds; after 16 million execs they come round.
    fn free_slot(&mut self) -> u32 {
        while self.next_slot == INIT || self.processes.contains_key(&self.next_slot) {
            self.next_slot = (self.next_slot + 1) & 0xff_ffff;
        }
        self.next_slot
    }
}
