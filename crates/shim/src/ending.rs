//! How it ends. An exec's end is its own. Init's is the container's: whatever is left is killed, output is
//! read to its end, the exit is kept in the bundle, and then told. Release takes everything down.

use std::time::Duration;

use gantry_api::shim::v1::{Failure, OutOfMemory, ReleaseResponse, event};
use gantry_linux::signal::Signal;
use gantry_runtime::cgroup::CgroupError;

use crate::clock;
use crate::failure;
use crate::process::{INIT, Process};
use crate::shim::{Life, Shim};

/// How long attachments may take to read the rest.
const ATTACHMENTS_AFTER: Duration = Duration::from_secs(10);
/// How long output is waited for after init, when processes elsewhere still hold its pipes open.
const OUTPUT_AFTER: Duration = Duration::from_secs(2);

impl Shim {
    /// A process's pidfd is ready.
    pub(crate) fn on_process(&mut self, slot: u32) {
        let reaped = self.processes.get_mut(&slot).is_some_and(|process| process.reap(&self.poller));
        if !reaped {
            return;
        }

        self.count_oom_kills();
        if slot == INIT {
            self.draining = Some(clock::steady() + OUTPUT_AFTER);
            if !self.own_pid_namespace {
                self.kill_rest();
            }
        } else {
            self.with_streams(slot, |process, context| {
                process.streams.drain(context);
                process.streams.finish(clock::steady() + ATTACHMENTS_AFTER, context.poller);
            });
            if let Some(exited) = self.processes.get(&slot).and_then(Process::exit).cloned() {
                self.tell(&event::Event::Exited(exited));
            }
            self.forget_surplus();
        }
        self.settle_exit();
    }

    /// Once init has ended, nobody else runs and the output is complete (or waited for long enough): the
    /// container has exited.
    pub(crate) fn settle_exit(&mut self) {
        let Some(deadline) = self.draining else { return };
        if self.processes.values().any(|process| process.pidfd().is_some()) {
            return;
        }
        let mut drained = false;
        self.with_streams(INIT, |process, context| drained = process.streams.drain(context));
        if drained || deadline <= clock::steady() {
            self.draining = None;
            self.exited();
        }
    }

    /// Start failed: the executor has taken everything down already.
    pub(crate) fn end_unstarted(&mut self) {
        self.finish_streams();
        // There is one only if the programme ran and could not be watched.
        let _ = self.remove_cgroup();
        self.life = Life::Exited;
    }

    /// The daemon has everything: take the container down.
    pub(crate) fn release(&mut self) -> Result<ReleaseResponse, Failure> {
        match self.life {
            Life::Running => Err(failure::wrong_phase("the container runs")),
            Life::Born | Life::Launched(_) | Life::Exited | Life::Failed | Life::Released => {
                Ok(ReleaseResponse { left: self.take_down() })
            }
        }
    }

    /// Takes everything down that outlives a process, and tells what could not be.
    pub(crate) fn take_down(&mut self) -> Vec<String> {
        let mut left = Vec::new();
        // A launched init is killed here, by its drop.
        self.life = Life::Released;
        if let Some(foreign) = &mut self.foreign {
            left = foreign.take_down();
        }
        if let Err(error) = self.remove_cgroup() {
            left.push(error.to_string());
        }
        self.finish_streams();
        self.listener = None;
        if let Some(Err(error)) = self.bundle.take().map(|bundle| bundle.remove()) {
            left.push(["bundle: ", &error.to_string()].concat());
        }
        left
    }

    /// Watches for out-of-memory kills, once the container has run for a moment: most never need it, and ends
    /// of processes tell of kills as well.
    pub(crate) fn watch_memory(&mut self) {
        if let (Life::Running, Some(cgroup)) = (&self.life, &self.cgroup) {
            self.memory.watch(cgroup, &self.poller);
        }
    }

    /// Counts out-of-memory kills, and tells if there were more.
    pub(crate) fn count_oom_kills(&mut self) {
        if self.cgroup.as_ref().is_some_and(|cgroup| self.memory.count(cgroup)) {
            let oom_kills = self.memory.kills();
            self.tell(&event::Event::OutOfMemory(OutOfMemory { oom_kills }));
        }
    }

    fn exited(&mut self) {
        let oom_killed = self.memory.kills() > 0;
        let exit = self.processes.get_mut(&INIT).and_then(Process::exit_mut).map(|exit| {
            exit.oom_killed = oom_killed;
            exit.clone()
        });
        self.finish_streams();
        self.life = Life::Exited;

        if let Some(exit) = exit {
            if let Some(bundle) = &self.bundle {
                // Without the file the exit is still told, and kept by this process until Release.
                let _ = bundle.keep_exit(&exit);
            }
            self.tell(&event::Event::Exited(exit));
        }
        // While the daemon is busy with the exit. What stays is tried again, and told, at Release.
        if let Some(foreign) = &mut self.foreign {
            let _ = foreign.delete();
        }
        let _ = self.remove_cgroup();
    }

    fn finish_streams(&mut self) {
        let deadline = clock::steady() + ATTACHMENTS_AFTER;
        for process in self.processes.values_mut() {
            process.streams.finish(deadline, &self.poller);
            process.streams.close_output(&self.poller);
        }
    }

    fn remove_cgroup(&mut self) -> Result<(), CgroupError> {
        self.memory.unwatch();
        if let Some(cgroup) = &self.cgroup {
            cgroup.remove()?;
            self.cgroup = None;
        }
        Ok(())
    }

    /// Without a pid namespace of its own a container's processes outlive its init.
    fn kill_rest(&self) {
        if let Some(cgroup) = &self.cgroup {
            // Those that it misses are found when the cgroup is removed.
            let _ = cgroup.kill();
        }

        for process in self.processes.values() {
            // An exec that ended just now needs no signal.
            let _ = process.signal(Signal::KILL);
        }
    }
}
