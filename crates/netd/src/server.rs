//! The loop: one thread, one epoll instance. Each event is carried through before the next, so a change of the files is
//! whole before the next question is looked at, and nothing needs a lock.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use gantry_linux::event;
use gantry_network::netd::{Folder, NetdError, Status};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use crate::connections::Connections;
use crate::forward::{Client, Forwards, Reply};
use crate::heal::{HealError, Healer};
use crate::listeners::{Listener, Listeners};
use crate::poller::{Poller, Token};
use crate::resolve::{self, Decision, Forward, Transport};
use crate::slots::Key;
use crate::upstream::Upstreams;
use crate::watch::{Change, Watch};
use crate::zone::Zone;

/// Questions taken from one socket before others have their turn.
const QUESTIONS_AT_ONCE: usize = 64;
/// Bytes of a question over UDP that are looked at; a longer one is no question.
const QUESTION_BYTES_MAX: usize = 4096;
/// How often connections are looked at that say nothing.
const TICK: Duration = Duration::from_secs(1);

/// Why netd cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    /// The files could not be listed or watched.
    #[error("the files cannot be read")]
    Files(#[from] NetdError),
    /// The rules cannot be watched.
    #[error("the rules cannot be watched")]
    Rules(#[from] HealError),
    /// The loop's own system calls failed.
    #[error("the loop failed")]
    Loop(#[from] io::Error),
}

/// All parts.
#[derive(Debug)]
pub(crate) struct Server {
    folder: Folder,
    poller: Poller,
    signals: OwnedFd,
    watch: Watch,
    zone: Zone,
    listeners: Listeners,
    connections: Connections,
    forwards: Forwards,
    upstreams: Upstreams,
    healer: Healer,
    unreadable: BTreeMap<String, String>,
    rules_left_out: Vec<String>,
    status: Status,
    /// Whether the status may be another than the written one.
    changed: bool,
    written: Vec<u8>,
    /// Whether it was told to end, or there is nobody to serve any more.
    ending: bool,
    /// Another number for each question.
    turn: usize,
    out: Vec<u8>,
}

impl Server {
    /// Serves what the files say, from now on.
    pub(crate) fn new(folder: Folder, resolv_conf: PathBuf, signals: OwnedFd) -> Result<Self, ServeError> {
        let poller = Poller::new()?;
        // Watched before they are read, so nothing is missed in between.
        let watch = Watch::new(&folder)?;
        let healer = Healer::new(Instant::now())?;
        poller.add(&signals, Token::Signal, false)?;
        poller.add(&watch, Token::Files, false)?;
        poller.add(&healer, Token::Rules, false)?;
        let mut server = Self {
            folder,
            poller,
            signals,
            watch,
            zone: Zone::default(),
            listeners: Listeners::default(),
            connections: Connections::default(),
            forwards: Forwards::default(),
            upstreams: Upstreams::new(resolv_conf),
            healer,
            unreadable: BTreeMap::new(),
            rules_left_out: Vec::new(),
            status: Status { pid: std::process::id(), ..Status::default() },
            changed: true,
            written: Vec::new(),
            ending: false,
            turn: 0,
            out: Vec::with_capacity(4096),
        };
        server.read_everything(Instant::now())?;
        server.upstreams.servers(Instant::now());
        Ok(server)
    }

    /// Serves until it is told to end or its folder is gone.
    pub(crate) fn run(mut self) -> Result<(), ServeError> {
        let mut ready = Vec::new();
        while !self.ending {
            let now = Instant::now();
            self.keep_time(now);
            self.write_status();
            let deadline = self.next_deadline(now);
            self.poller.wait(deadline.map(|at| at.saturating_duration_since(now)), &mut ready)?;
            let now = Instant::now();
            for token in &ready {
                match *token {
                    Token::Signal => {
                        let signal = event::read_signal(self.signals.as_fd()).map_err(io::Error::from)?;
                        self.ending |= signal.is_some();
                    }
                    Token::Files => self.take_changes(now)?,
                    Token::Rules => self.healer.listen(now),
                    Token::Datagrams(key) => self.datagrams(key, now)?,
                    Token::Listener(key) => self.accept(key, now),
                    Token::Connection(key) => self.connection(key, now)?,
                    Token::Forward(key) => {
                        let reply = self.forwards.ready(key, &self.poller, now);
                        self.deliver(reply);
                    }
                }
            }
        }
        Ok(())
    }

    /// What time alone brings about.
    fn keep_time(&mut self, now: Instant) {
        match self.healer.heal(&self.folder, now) {
            Some(Ok(healed)) => {
                self.changed = true;
                self.status.heals += 1;
                self.status.last_heal_us = u64::try_from(now.elapsed().as_micros()).unwrap_or(u64::MAX);
                self.status.heal_failure.clear();
                self.rules_left_out = healed.left_out;
            }
            Some(Err(error)) => {
                self.changed = true;
                self.status.heal_failure = chain(&error);
            }
            None => {}
        }
        self.changed |= self.listeners.retry(&self.poller, now);
        for reply in self.forwards.expire(&self.poller, now) {
            self.deliver(Some(reply));
        }
        self.connections.expire(now);
    }

    fn next_deadline(&mut self, now: Instant) -> Option<Instant> {
        let tick = (!self.connections.is_empty()).then(|| now + TICK);
        [self.healer.due(), self.listeners.retry_at(), self.forwards.deadline(), tick]
            .into_iter()
            .flatten()
            .min()
    }

    /// Takes over what changed in the files.
    fn take_changes(&mut self, now: Instant) -> Result<(), ServeError> {
        let mut changes = self.watch.changes()?;
        if changes.is_empty() {
            return Ok(());
        }
        self.changed = true;
        // Told again and again, a file is read once: it is what it is now.
        let mut seen = HashSet::new();
        changes.retain(|change| seen.insert(change.clone()));
        for change in changes {
            match change {
                Change::Network(id) => self.read_network(&id, now),
                Change::Endpoint(id) => self.read_endpoint(&id),
                Change::Everything => self.read_everything(now)?,
                Change::Gone => self.ending = true,
            }
        }
        Ok(())
    }

    fn read_everything(&mut self, now: Instant) -> Result<(), NetdError> {
        let (networks, endpoints) = (self.folder.network_ids()?, self.folder.endpoint_ids()?);
        let gone: Vec<String> = self.zone.network_ids().map(str::to_owned).collect();
        for id in gone.iter().filter(|id| !networks.contains(id)).chain(&networks) {
            self.read_network(id, now);
        }
        let mut gone: HashSet<String> = self.zone.endpoint_ids().map(str::to_owned).collect();
        for id in &endpoints {
            gone.remove(id);
            self.read_endpoint(id);
        }
        for id in &gone {
            self.read_endpoint(id);
        }
        Ok(())
    }

    fn read_network(&mut self, id: &str, now: Instant) {
        let read = self.folder.network(id);
        let known = self.note(format!("networks/{id}"), read);
        match known {
            Some(network) if network.id == id => {
                self.zone.put_network(&network);
                self.listeners.put(&network, &self.poller, now);
            }
            Some(_) | None => {
                self.zone.remove_network(id);
                self.listeners.remove(id);
            }
        }
    }

    fn read_endpoint(&mut self, id: &str) {
        let read = self.folder.endpoint(id);
        match self.note(format!("endpoints/{id}"), read) {
            Some(endpoint) if endpoint.id == id => self.zone.put_endpoint(&endpoint),
            Some(_) | None => self.zone.remove_endpoint(id),
        }
    }

    /// Keeps in mind what could not be read, for the status.
    fn note<R>(&mut self, source: String, read: Result<Option<R>, NetdError>) -> Option<R> {
        match read {
            Ok(record) => {
                self.unreadable.remove(&source);
                record
            }
            Err(error) => {
                self.unreadable.insert(source, chain(&error));
                None
            }
        }
    }

    fn datagrams(&mut self, key: Key, now: Instant) -> Result<(), ServeError> {
        let mut packet = [0u8; QUESTION_BYTES_MAX + 1];
        for _ in 0..QUESTIONS_AT_ONCE {
            let Some(socket) = self.listeners.get(key).and_then(Listener::datagrams) else { break };
            let (length, source) = match rustix::net::recvfrom(socket, &mut packet[..], RecvFlags::empty()) {
                Ok((length, _, Some(source))) => (length, source),
                Err(Errno::INTR) => continue,
                Ok((_, _, None)) | Err(_) => break,
            };
            let Ok(source) = SocketAddr::try_from(source) else { continue };
            if length > QUESTION_BYTES_MAX {
                continue;
            }
            // What was written before the question was sent is told by now.
            self.take_changes(now)?;
            self.datagram(key, source, &packet[..length], now);
        }
        Ok(())
    }

    fn datagram(&mut self, key: Key, source: SocketAddr, packet: &[u8], now: Instant) {
        let Some(listener) = self.listeners.get(key) else { return };
        let Some(socket) = listener.datagrams() else { return };
        self.turn = self.turn.wrapping_add(1);
        let (network, ip, out) = (&listener.network, source.ip(), &mut self.out);
        match resolve::decide(&self.zone, network, ip, Transport::Udp, packet, self.turn, out) {
            Decision::Silence => {}
            // A full queue drops it, as the network would; the asker asks again.
            Decision::Answer => drop(rustix::net::sendto(socket, &self.out, SendFlags::empty(), &source)),
            Decision::Forward(forward) => {
                let reply = self.forward(Client::Datagram(key, source), packet, forward, now);
                self.deliver(reply);
            }
        }
    }

    fn forward(&mut self, client: Client, packet: &[u8], forward: Forward, now: Instant) -> Option<Reply> {
        let servers = if forward.servers.is_empty() {
            let servers = self.upstreams.servers(now);
            self.changed |= self.status.upstreams != *servers;
            servers
        } else {
            forward.servers
        };
        let servers = if servers.iter().any(|server| self.listeners.is_own(*server)) {
            servers.iter().copied().filter(|server| !self.listeners.is_own(*server)).collect()
        } else {
            servers
        };
        self.forwards.start(client, packet, forward.question_end, servers, &self.poller, now)
    }

    /// Sends what was heard, or why nothing was, to whoever asked, if they are still there.
    fn deliver(&mut self, reply: Option<Reply>) {
        match reply {
            Some((Client::Datagram(key, address), message)) => {
                if let Some(socket) = self.listeners.get(key).and_then(Listener::datagrams) {
                    let _ = rustix::net::sendto(socket, &message, SendFlags::empty(), &address);
                }
            }
            Some((Client::Connection(key, _), message)) => {
                self.connections.reply(key, &message, true, &self.poller);
            }
            None => {}
        }
    }

    fn accept(&mut self, key: Key, now: Instant) {
        let Some(listener) = self.listeners.get(key) else { return };
        let Some(socket) = listener.connections() else { return };
        // One at a time: whoever else waits is told of again.
        if let Ok((connection, peer)) = socket.accept() {
            self.connections.accept(connection, &listener.network, peer.ip(), &self.poller, now);
        }
    }

    fn connection(&mut self, key: Key, now: Instant) -> Result<(), ServeError> {
        for _ in 0..QUESTIONS_AT_ONCE {
            let Some(query) = self.connections.next(key, &self.poller, now) else { break };
            self.take_changes(now)?;
            self.turn = self.turn.wrapping_add(1);
            let (network, packet, out) = (&query.network, &query.packet, &mut self.out);
            match resolve::decide(&self.zone, network, query.peer, Transport::Tcp, packet, self.turn, out) {
                Decision::Silence => {}
                Decision::Answer => self.connections.reply(key, &self.out, false, &self.poller),
                Decision::Forward(forward) => {
                    self.connections.owe(key);
                    let client = Client::Connection(key, query.peer);
                    let reply = self.forward(client, packet, forward, now);
                    self.deliver(reply);
                }
            }
        }
        Ok(())
    }

    fn write_status(&mut self) {
        if !std::mem::take(&mut self.changed) {
            return;
        }
        self.status.listeners = self.listeners.status();
        self.status.upstreams = self.upstreams.last_seen().to_vec();
        self.status.left_out =
            self.unreadable.iter().map(|(source, reason)| format!("{source}: {reason}")).collect();
        self.status.left_out.extend_from_slice(&self.rules_left_out);
        let bytes = self.status.to_bytes();
        if bytes == self.written {
            return;
        }
        match self.folder.write_status(&self.status) {
            Ok(()) => self.written = bytes,
            Err(error) => crate::say(&error),
        }
    }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
