//! Questions over TCP (RFC 7766): several may come on one connection and answers may overtake each other. For what does
//! not fit into a datagram, and for who prefers it.
//!
//! Bounded: [`CONNECTIONS_MAX`] at once and [`PER_ASKER_MAX`] of one asker, queries of [`QUERY_BYTES_MAX`], a connection
//! that says nothing for [`IDLE`] is closed, and one that does not take its answers is read no further.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, TcpStream};
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::poller::{Poller, Token};
use crate::slots::{Key, Slots};

/// Connections at once, at the most.
const CONNECTIONS_MAX: usize = 256;
/// Connections of one asker, at the most.
const PER_ASKER_MAX: usize = 32;
/// Bytes of one query at the most: a name, an OPT record and its options.
const QUERY_BYTES_MAX: usize = 4096;
/// Bytes of answers that wait to be taken before nothing more is read.
const WAITING_BYTES_MAX: usize = 64 << 10;
/// How long a connection may be silent.
const IDLE: Duration = Duration::from_secs(10);

/// One connection.
#[derive(Debug)]
struct Connection {
    socket: TcpStream,
    network: Rc<str>,
    peer: IpAddr,
    received: Vec<u8>,
    waiting: Vec<u8>,
    /// Questions that somebody else is being asked for it.
    asked: u16,
    /// Nothing more will come; it is closed when nothing is owed.
    ended: bool,
    /// Whether the poller looks for room to write.
    writing: bool,
    silent_since: Instant,
}

/// A query, and who asks it.
#[derive(Debug)]
pub(crate) struct Query {
    pub(crate) network: Rc<str>,
    pub(crate) peer: IpAddr,
    pub(crate) packet: Vec<u8>,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    slots: Slots<Connection>,
}

impl Connections {
    /// Takes a connection that was accepted; one too many is closed.
    pub(crate) fn accept(
        &mut self,
        socket: TcpStream,
        network: &Rc<str>,
        peer: IpAddr,
        poller: &Poller,
        now: Instant,
    ) {
        let of_peer = self.slots.iter().filter(|(_, connection)| connection.peer == peer).count();
        if self.slots.len() >= CONNECTIONS_MAX || of_peer >= PER_ASKER_MAX {
            return;
        }
        // Where it cannot be watched it is dropped, and so closed.
        let _ = self.slots.insert_with(|key| {
            socket.set_nonblocking(true)?;
            poller.add(&socket, Token::Connection(key), false)?;
            Ok::<_, std::io::Error>(Connection {
                socket,
                network: Rc::clone(network),
                peer,
                received: Vec::new(),
                waiting: Vec::new(),
                asked: 0,
                ended: false,
                writing: false,
                silent_since: now,
            })
        });
    }

    /// Writes what waits and reads what came. The next whole query, if there is one; to be called until there is none.
    pub(crate) fn next(&mut self, key: Key, poller: &Poller, now: Instant) -> Option<Query> {
        let connection = self.slots.get_mut(key)?;
        if let Ok(query) = connection.next(now) {
            self.settle(key, poller);
            return query;
        }
        self.slots.remove(key);
        None
    }

    /// Says that somebody else is being asked, so the connection is owed an answer.
    pub(crate) fn owe(&mut self, key: Key) {
        if let Some(connection) = self.slots.get_mut(key) {
            connection.asked += 1;
        }
    }

    /// Sends an answer; `asked` where it was owed.
    pub(crate) fn reply(&mut self, key: Key, message: &[u8], asked: bool, poller: &Poller) {
        let Some(connection) = self.slots.get_mut(key) else { return };
        let Ok(length) = u16::try_from(message.len()) else { return };
        connection.asked -= u16::from(asked);
        connection.waiting.extend_from_slice(&length.to_be_bytes());
        connection.waiting.extend_from_slice(message);
        match connection.write() {
            Ok(()) => self.settle(key, poller),
            Err(Broken) => drop(self.slots.remove(key)),
        }
    }

    /// Closes what was silent for too long.
    pub(crate) fn expire(&mut self, now: Instant) {
        for key in self.slots.keys() {
            if self
                .slots
                .get(key)
                .is_some_and(|connection| now.duration_since(connection.silent_since) >= IDLE)
            {
                self.slots.remove(key);
            }
        }
    }

    /// Whether there are any.
    pub(crate) fn is_empty(&self) -> bool {
        self.slots.len() == 0
    }

    /// Closes what has ended and is owed nothing; else watches for what it waits for.
    fn settle(&mut self, key: Key, poller: &Poller) {
        let Some(connection) = self.slots.get_mut(key) else { return };
        let over = connection.ended && connection.waiting.is_empty() && connection.asked == 0;
        let writing = !connection.waiting.is_empty();
        // An end that is not acted upon would be told again and again.
        let deaf = connection.ended && !writing && !over;
        let changed = writing != connection.writing;
        connection.writing = writing;
        let watched = if changed {
            poller.change(&connection.socket, Token::Connection(key), writing)
        } else if deaf {
            poller.silence(&connection.socket, Token::Connection(key))
        } else {
            Ok(())
        };
        if over || watched.is_err() {
            self.slots.remove(key);
        }
    }
}

/// The connection is of no more use.
struct Broken;

impl Connection {
    fn next(&mut self, now: Instant) -> Result<Option<Query>, Broken> {
        self.write()?;
        loop {
            if self.waiting.len() > WAITING_BYTES_MAX {
                return Ok(None);
            }
            if let Some(packet) = self.take()? {
                self.silent_since = now;
                let network = Rc::clone(&self.network);
                return Ok(Some(Query { network, peer: self.peer, packet }));
            }
            if self.ended {
                return Ok(None);
            }
            let mut piece = [0; 2048];
            match self.socket.read(&mut piece) {
                Ok(0) => self.ended = true,
                Ok(count) => self.received.extend_from_slice(&piece[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(Broken),
            }
        }
    }

    /// One query, if a whole one has been received.
    fn take(&mut self) -> Result<Option<Vec<u8>>, Broken> {
        let Some((length, rest)) = self.received.split_first_chunk::<2>() else { return Ok(None) };
        let length = usize::from(u16::from_be_bytes(*length));
        if length > QUERY_BYTES_MAX {
            return Err(Broken);
        }
        let Some(packet) = rest.get(..length) else { return Ok(None) };
        let packet = packet.to_vec();
        self.received.drain(..2 + length);
        Ok(Some(packet))
    }

    fn write(&mut self) -> Result<(), Broken> {
        while !self.waiting.is_empty() {
            match self.socket.write(&self.waiting) {
                Ok(0) => return Err(Broken),
                Ok(count) => drop(self.waiting.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(Broken),
            }
        }
        Ok(())
    }
}
