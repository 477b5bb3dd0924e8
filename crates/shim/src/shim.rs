//! The shim itself: everything it knows, and the loop. One thread waits in one place, does what became
//! possible, and waits again; nothing it does blocks on a client or on the daemon. What a request or an end
//! means is in the files beside this one.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use crate::listener::Listener;
use gantry_api::shim::v1::{Event, Failure, event};
use gantry_runtime::cgroup::Cgroup;
use gantry_runtime::execute::Created;

use crate::bundle::Bundle;
use crate::clock;
use crate::connection::{Closed, Connection};
use crate::foreign::Foreign;
use crate::log::Log;
use crate::memory::Memory;
use crate::poller::{Poller, Ready, Token};
use crate::process::{INIT, Process};
use crate::streams::Context;

/// Bytes read from anything at once.
const SCRATCH_BYTES: usize = 16 << 10;
/// Control connections at once.
const CONNECTIONS_MAX: usize = 64;
/// How long after the last work the shim does what can wait: it gives its free memory back.
const TRIM_AFTER: Duration = Duration::from_millis(200);

/// Where the container is in its life; the drawing is in `shim.proto`.
#[derive(Debug)]
pub(crate) enum Life {
    /// Nothing is launched.
    Born,
    /// Init waits before its exec. Dropping it kills it and takes down what was made.
    Launched(Unstarted),
    /// Init runs.
    Running,
    /// All processes are gone, or Start failed.
    Exited,
    /// Launch failed.
    Failed,
    /// Everything is taken down; only readers of output are waited for.
    Released,
}

/// A container that waits for its start.
#[derive(Debug)]
pub(crate) enum Unstarted {
    /// Made here.
    Own(Box<Created>),
    /// Made by another runtime; its init.
    Foreign(OwnedFd),
}

/// Everything.
#[derive(Debug)]
pub(crate) struct Shim {
    pub(crate) poller: Poller,
    pub(crate) scratch: Vec<u8>,
    pub(crate) connections: BTreeMap<u32, Connection>,
    next_connection: u32,
    pub(crate) listener: Option<Listener>,
    pub(crate) bundle: Option<Bundle>,
    pub(crate) log: Option<Log>,
    pub(crate) life: Life,
    /// Where all processes of the running container are, until it could be removed; `None` if the plan has none.
    pub(crate) cgroup: Option<Cgroup>,
    /// The runtime that makes the container, if it is not Gantry's own.
    pub(crate) foreign: Option<Box<Foreign>>,
    /// By slot; init is slot 0.
    pub(crate) processes: BTreeMap<u32, Process>,
    pub(crate) next_slot: u32,
    /// Whether the end of init is the end of all, by its pid namespace.
    pub(crate) own_pid_namespace: bool,
    /// Once init has ended: until when the rest of the output is waited for.
    pub(crate) draining: Option<Instant>,
    /// How Launch or Start failed.
    pub(crate) failure: Option<Failure>,
    /// Kills for want of memory.
    pub(crate) memory: Memory,
    /// When what need not be done at once is done.
    trim_at: Option<Instant>,
}

impl Shim {
    /// A shim with its first connection.
    pub(crate) fn new(control: OwnedFd) -> io::Result<Self> {
        let mut shim = Self {
            poller: Poller::new()?,
            scratch: vec![0; SCRATCH_BYTES],
            connections: BTreeMap::new(),
            next_connection: 1,
            listener: None,
            bundle: None,
            log: None,
            life: Life::Born,
            cgroup: None,
            foreign: None,
            processes: BTreeMap::new(),
            next_slot: INIT + 1,
            own_pid_namespace: true,
            draining: None,
            failure: None,
            memory: Memory::default(),
            trim_at: None,
        };
        shim.add_connection(control)?;
        Ok(shim)
    }

    /// Works until the container is released, or given up before it started.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut ready = Vec::new();
        while !self.is_over() {
            let timeout = self.next_deadline().map(|at| at.saturating_duration_since(clock::steady()));
            self.poller.wait(timeout, &mut ready)?;
            for one in &ready {
                self.act_on(*one);
            }
            if !ready.is_empty() {
                self.trim_at = Some(clock::steady() + TRIM_AFTER);
            }
            self.on_time();
        }
        Ok(())
    }

    /// Tells all connections.
    pub(crate) fn tell(&mut self, event: &event::Event) {
        let poller = &self.poller;
        self.connections.retain(|_, connection| {
            connection.tell(Event { event: Some(event.clone()) }, poller) != Err(Closed)
        });
        self.on_connections_closed();
    }

    /// One process and what working on its streams needs.
    pub(crate) fn with_streams(&mut self, slot: u32, work: impl FnOnce(&mut Process, &mut Context<'_>)) {
        if let Some(process) = self.processes.get_mut(&slot) {
            let log = if slot == INIT { self.log.as_mut() } else { None };
            work(process, &mut Context { poller: &self.poller, scratch: &mut self.scratch, log });
        }
    }

    fn act_on(&mut self, ready: Ready) {
        match ready.token {
            Token::Listener => self.accept(),
            Token::Connection(serial) => self.serve(serial),
            Token::Process(slot) => self.on_process(slot),
            Token::Output(slot, stream) => {
                self.with_streams(slot, |process, context| process.streams.on_output(stream, context));
                self.drop_forgotten(slot);
                self.settle_exit();
            }
            Token::OutOfMemory => {
                self.memory.take_notice();
                self.count_oom_kills();
            }
            Token::Children => self.on_children(),
            Token::Input(slot) => {
                self.with_streams(slot, |process, context| process.streams.on_input(context.poller));
            }
            Token::Attachment(slot, serial) => self.with_streams(slot, |process, context| {
                process.streams.on_attachment(serial, ready.hung_up, context);
            }),
        }
    }

    fn accept(&mut self) {
        let accepted = self.listener.as_mut().and_then(|listener| listener.accept(&self.poller));
        if let Some(socket) = accepted
            && self.connections.len() < CONNECTIONS_MAX
        {
            // It fails for want of kernel memory: the peer sees its connection closed and tries again.
            let _ = self.add_connection(socket);
        }
    }

    fn add_connection(&mut self, socket: OwnedFd) -> io::Result<()> {
        let serial = self.next_connection;
        self.next_connection += 1;
        self.connections.insert(serial, Connection::new(serial, socket, &self.poller)?);
        Ok(())
    }

    fn serve(&mut self, serial: u32) {
        // Taken out while it is served, so that serving may touch everything else.
        let Some(mut connection) = self.connections.remove(&serial) else { return };
        if self.converse(&mut connection).is_ok() {
            self.connections.insert(serial, connection);
        } else {
            drop(connection);
            self.on_connections_closed();
        }
    }

    fn converse(&mut self, connection: &mut Connection) -> Result<(), Closed> {
        connection.flush(&self.poller)?;
        connection.receive(&mut self.scratch)?;
        while let Some(request) = connection.request()? {
            let response = self.respond(connection, request);
            connection.respond(response, &self.poller)?;
        }
        Ok(())
    }

    /// Before Start, a shim that nobody knows of any more has no reason to be.
    fn on_connections_closed(&mut self) {
        if self.connections.is_empty() {
            match self.life {
                Life::Born | Life::Launched(_) | Life::Failed => {
                    // Nobody is left to tell.
                    let _ = self.take_down();
                }
                Life::Running | Life::Exited | Life::Released => {}
            }
        }
    }

    fn is_over(&self) -> bool {
        matches!(self.life, Life::Released)
            && self.processes.values().all(|process| process.streams.attachments() == 0)
    }

    fn next_deadline(&self) -> Option<Instant> {
        let streams = self.processes.values().filter_map(|process| process.streams.deadline());
        let listener = self.listener.as_ref().and_then(Listener::resting_until);
        streams.chain(listener).chain(self.draining).chain(self.trim_at).min()
    }

    fn on_time(&mut self) {
        let now = clock::steady();
        for process in self.processes.values_mut() {
            process.streams.expire(now, &self.poller);
        }
        if let Some(listener) = &mut self.listener {
            listener.resume(now, &self.poller);
        }
        if self.draining.is_some_and(|deadline| deadline <= now) {
            self.settle_exit();
        }
        if self.trim_at.is_some_and(|at| at <= now) {
            self.trim_at = None;
            self.watch_memory();
            self.count_oom_kills();
            gantry_linux::memory::trim_heap();
        }
    }
}
