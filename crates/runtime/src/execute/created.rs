//! A container between its set-up and its start, and the parent's half of the talk with its child: what the
//! child asks for while it sets itself up is done here, on the host.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gantry_linux::{Errno, Pid};

use super::handshake::{self, Answer, Ask, Word};
use super::words::Words;
use super::{ExecuteError, Operation, Process, failed, hook, kill_and_reap, outside, say};
use crate::cgroup::Cgroup;
use crate::plan::{self, Hooks, Plan};

/// A container that is set up and waits for its start. Dropped unstarted, it is killed and reaped, its
/// control group is removed, and its poststop hooks run.
#[derive(Debug)]
#[must_use = "a container that is not started is killed"]
pub struct Created {
    // `None` only once it is started or torn down.
    pub(super) process: Option<Process>,
    pub(super) cgroup: Unstarted,
    pub(super) socket: OwnedFd,
    pub(super) words: Words,
    pub(super) hooks: Option<Box<Hooks>>,
    pub(super) gated: bool,
}

/// A container whose command runs, or that waits at its gate.
#[derive(Debug)]
pub struct Running {
    /// Its first process.
    pub process: Process,
    /// Its control group, which the caller removes after the end; `None` when the plan has none.
    pub cgroup: Option<Cgroup>,
}

/// What the child was asked to become: the parent reads there what it has to do for it.
#[derive(Clone, Copy)]
pub(super) struct Asked<'p> {
    /// The container's plan; none for a process that joins.
    pub(super) plan: Option<&'p Plan>,
    pub(super) process: &'p plan::Process,
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

    /// Lets the command run. Returns once the exec succeeded; after an error everything is torn down. A
    /// container with a gate is started there ([`super::open_gate`]).
    pub fn start(mut self) -> Result<Running, ExecuteError> {
        if self.gated {
            return Err(ExecuteError::new(Operation::Handshake, "the gate", Errno::BUSY));
        }
        say(&self.socket, Word::Start)?;
        match handshake::hear(&self.socket).map_err(|error| failed(Operation::Handshake, &error))? {
            Answer::Closed => {}
            Answer::Trouble(trouble) => return Err(self.words.error(trouble, None)),
            Answer::Ready | Answer::Master(_) | Answer::Asks(_) => {
                return Err(ExecuteError::new(Operation::Handshake, "", Errno::PROTO));
            }
        }
        self.give_up()
    }

    /// Leaves a container with a gate waiting there: from now on it is nobody's but its own. What has to be
    /// done after its end, its poststop hooks too, is for whoever deletes it.
    pub fn leave(mut self) -> Result<Running, ExecuteError> {
        if self.gated {
            self.give_up()
        } else {
            Err(ExecuteError::new(Operation::Handshake, "no gate", Errno::INVAL))
        }
    }

    fn give_up(&mut self) -> Result<Running, ExecuteError> {
        let process =
            self.process.take().ok_or_else(|| ExecuteError::new(Operation::Ended, "", Errno::CHILD))?;
        Ok(Running { process, cgroup: self.cgroup.0.take() })
    }

    /// Does what the child asks for until it is set up, and keeps the master of its terminal.
    pub(super) fn await_ready(&mut self, asked: Asked<'_>) -> Result<(), ExecuteError> {
        let plan = asked.plan;
        loop {
            match handshake::hear(&self.socket).map_err(|error| failed(Operation::Handshake, &error))? {
                Answer::Master(master) => self.process_mut().terminal = Some(master),
                Answer::Ready => return Ok(()),
                Answer::Trouble(trouble) => return Err(self.words.error(trouble, plan)),
                Answer::Closed => return Err(ExecuteError::new(Operation::Ended, "", Errno::CHILD)),
                Answer::Asks(ask) => {
                    self.answer(ask, asked)?;
                    say(&self.socket, Word::Go(self.pid()))?;
                }
            }
        }
    }

    fn answer(&self, ask: Ask, asked: Asked<'_>) -> Result<(), ExecuteError> {
        let unexpected = || ExecuteError::new(Operation::Handshake, "", Errno::PROTO);
        let pid = self.pid();
        match ask {
            Ask::Hooks => hook::at_create(self.hooks.as_deref().ok_or_else(unexpected)?, pid),
            Ask::Ids => {
                let ids = asked.plan.and_then(|plan| plan.ids.as_ref());
                outside::set_ids(pid, ids.ok_or_else(unexpected)?)
            }
            Ask::Clocks => outside::set_clocks(pid, asked.plan.map_or("", |plan| &plan.clock_offsets)),
            Ask::NetDevices => {
                let devices = asked.plan.map_or(&[][..], |plan| &plan.net_devices);
                outside::move_net_devices(self.pidfd(), devices)
            }
            Ask::Limits => outside::set_limits(pid, asked.process),
            Ask::Listener(number) => {
                let listener = asked.process.listener.as_ref().ok_or_else(unexpected)?;
                let status = if asked.plan.is_some() { "creating" } else { "running" };
                outside::hand_over_listener((pid, self.pidfd()), number, listener, status)
            }
        }
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
        let Some(process) = self.process.take() else { return };
        kill_and_reap(process.pidfd.as_fd());
        self.cgroup.remove();
        if let Some(hooks) = self.hooks.take() {
            // The failure that led here is the one that is told.
            drop(hook::poststop(&hooks));
        }
    }
}

/// The control group of a container that is not started: removed, with whoever is in it, when it is dropped.
#[derive(Debug)]
pub(super) struct Unstarted(pub(super) Option<Cgroup>);

impl Unstarted {
    fn remove(&mut self) {
        if let Some(cgroup) = self.0.take() {
            // What stays is found by its name later; the failure that led here is the one that is told.
            let _ = cgroup.kill();
            let _ = cgroup.remove();
        }
    }
}

impl Drop for Unstarted {
    fn drop(&mut self) {
        self.remove();
    }
}
