//! Questions that somebody else is asked. They go on as the bytes they are, but for an id of netd's own and from a port
//! that only this question has; an answer is believed if it comes from there (the socket is connected), has that id and
//! says the same question. It goes back as the bytes it is, with the asker's id. So EDNS, DNSSEC and types that netd has
//! never heard of pass.
//!
//! A server that is silent for [`PATIENCE`], refuses or fails is followed by the next one; after [`ATTEMPTS_MAX`] the asker
//! hears "server failure", before its own patience (5 s) ends. What came over TCP is asked over TCP.
//!
//! Bounded: [`FORWARDS_MAX`] at once, [`PER_ASKER_MAX`] of one asker. What is over is answered with a failure at once.

mod link;

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use self::link::{Heard, Link};
use crate::answer;
use crate::poller::{Poller, Token};
use crate::question::{FLAG_RESPONSE, HEADER_BYTES, Outcome, u16_at};
use crate::resolve::Transport;
use crate::slots::{Key, Slots};

/// How long one server is waited for.
const PATIENCE: Duration = Duration::from_millis(1500);
/// Servers asked for one question, at the most; a single server is asked twice.
const ATTEMPTS_MAX: usize = 3;
/// Questions under way, at the most: each has a socket.
const FORWARDS_MAX: usize = 1024;
/// Questions of one asker under way, at the most.
const PER_ASKER_MAX: u16 = 256;

/// Messages taken from one server before others have their turn.
const MESSAGES_MAX: usize = 16;

/// Whom an answer goes back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Client {
    /// Through the listener under this key.
    Datagram(Key, SocketAddr),
    /// Through the connection under this key.
    Connection(Key, IpAddr),
}

impl Client {
    fn address(self) -> IpAddr {
        match self {
            Self::Datagram(_, address) => address.ip(),
            Self::Connection(_, address) => address,
        }
    }

    fn transport(self) -> Transport {
        match self {
            Self::Datagram(..) => Transport::Udp,
            Self::Connection(..) => Transport::Tcp,
        }
    }
}

/// A question under way.
#[derive(Debug)]
struct Pending {
    client: Client,
    /// The question with the id of the present attempt.
    query: Vec<u8>,
    /// The asker's id.
    id: [u8; 2],
    question_end: usize,
    servers: Rc<[SocketAddr]>,
    attempt: usize,
    link: Option<Link>,
    /// What a server that failed said, for want of better.
    failure: Option<Vec<u8>>,
}

/// What to send to whom.
pub(crate) type Reply = (Client, Vec<u8>);

/// All questions under way.
#[derive(Debug, Default)]
pub(crate) struct Forwards {
    pending: Slots<Pending>,
    /// In the order of time, as every attempt has the same patience. An entry of an attempt that is over is passed over.
    deadlines: VecDeque<(Instant, Key, usize)>,
    askers: HashMap<IpAddr, u16>,
    random: Random,
    buffer: Vec<u8>,
}

impl Forwards {
    /// Asks. A reply at once means that nobody can be asked.
    pub(crate) fn start(
        &mut self,
        client: Client,
        packet: &[u8],
        question_end: usize,
        servers: Rc<[SocketAddr]>,
        poller: &Poller,
        now: Instant,
    ) -> Option<Reply> {
        let mine = self.askers.get(&client.address()).copied().unwrap_or(0);
        let mut pending = Pending {
            client,
            query: packet.to_vec(),
            id: [packet[0], packet[1]],
            question_end,
            servers,
            attempt: 0,
            link: None,
            failure: None,
        };
        if self.pending.len() >= FORWARDS_MAX || mine >= PER_ASKER_MAX || pending.servers.is_empty() {
            return Some(pending.give_up());
        }
        self.askers.insert(client.address(), mine + 1);
        let Ok(key) = self.pending.insert_with(|_| Ok::<_, std::convert::Infallible>(pending));
        self.attempt(key, poller, now)
    }

    /// A server said something, or the connection to it is ready.
    pub(crate) fn ready(&mut self, key: Key, poller: &Poller, now: Instant) -> Option<Reply> {
        for _ in 0..MESSAGES_MAX {
            let pending = self.pending.get_mut(key)?;
            let heard =
                pending.link.as_mut()?.hear(&pending.query, &mut self.buffer, poller, Token::Forward(key));
            match heard {
                Heard::Nothing => return None,
                Heard::Failure => return self.next(key, poller, now),
                Heard::Message => {}
            }
            let answer = &mut self.buffer;
            if !answers(answer, &pending.query, pending.question_end) {
                // Somebody guesses, or an answer of a server that came late: what is right may still come.
                continue;
            }
            answer[..2].copy_from_slice(&pending.id);
            let outcome = answer[3] & 0xf;
            let failed = outcome == 2 || outcome == 5;
            if failed && pending.attempt < pending.servers.len().min(ATTEMPTS_MAX) {
                pending.failure = Some(answer.clone());
                return self.next(key, poller, now);
            }
            let reply = (pending.client, answer.clone());
            self.finish(key);
            return Some(reply);
        }
        None
    }

    /// When somebody's patience ends.
    pub(crate) fn deadline(&mut self) -> Option<Instant> {
        while let Some((at, key, attempt)) = self.deadlines.front().copied() {
            if self.pending.get(key).is_some_and(|pending| pending.attempt == attempt) {
                return Some(at);
            }
            self.deadlines.pop_front();
        }
        None
    }

    /// Goes on to the next server where the patience with one has ended.
    pub(crate) fn expire(&mut self, poller: &Poller, now: Instant) -> Vec<Reply> {
        let mut replies = Vec::new();
        while self.deadline().is_some_and(|at| at <= now) {
            if let Some((_, key, _)) = self.deadlines.pop_front() {
                replies.extend(self.next(key, poller, now));
            }
        }
        replies
    }

    /// Asks the next server, or gives up.
    fn next(&mut self, key: Key, poller: &Poller, now: Instant) -> Option<Reply> {
        self.pending.get_mut(key)?.link = None;
        self.attempt(key, poller, now)
    }

    fn attempt(&mut self, key: Key, poller: &Poller, now: Instant) -> Option<Reply> {
        loop {
            let pending = self.pending.get_mut(key)?;
            let attempts = pending.servers.len().clamp(2, ATTEMPTS_MAX);
            if pending.attempt >= attempts {
                let reply = pending.give_up();
                self.finish(key);
                return Some(reply);
            }
            let server = pending.servers[pending.attempt % pending.servers.len()];
            pending.attempt += 1;
            pending.query[..2].copy_from_slice(&self.random.id());
            let opened =
                Link::open(pending.client.transport(), server, &pending.query, poller, Token::Forward(key));
            if let Ok(link) = opened {
                pending.link = Some(link);
                self.deadlines.push_back((now + PATIENCE, key, pending.attempt));
                return None;
            }
        }
    }

    fn finish(&mut self, key: Key) {
        let Some(pending) = self.pending.remove(key) else { return };
        let address = pending.client.address();
        if let Some(mine) = self.askers.get_mut(&address) {
            *mine -= 1;
            if *mine == 0 {
                self.askers.remove(&address);
            }
        }
    }
}

impl Pending {
    /// What the asker hears when nobody answers.
    fn give_up(&mut self) -> Reply {
        let message = self.failure.take().unwrap_or_else(|| {
            let mut out = Vec::new();
            self.query[..2].copy_from_slice(&self.id);
            answer::failure(&mut out, &self.query, self.question_end, Outcome::ServerFailure);
            out
        });
        (self.client, message)
    }
}

/// Whether a message is an answer to that query: the same id and question, where it repeats the question; a server that
/// could not read the query need not.
fn answers(message: &[u8], query: &[u8], question_end: usize) -> bool {
    if message.len() < HEADER_BYTES
        || message[..2] != query[..2]
        || u16_at(message, 2).is_none_or(|flags| flags & FLAG_RESPONSE == 0)
    {
        return false;
    }
    match u16_at(message, 4) {
        Some(1) => message
            .get(HEADER_BYTES..question_end)
            .is_some_and(|question| question.eq_ignore_ascii_case(&query[HEADER_BYTES..question_end])),
        Some(0) => message[3] & 0xf != 0,
        Some(_) | None => false,
    }
}

/// Numbers that nobody can guess, taken from the kernel by the handful.
#[derive(Debug, Default)]
struct Random {
    bytes: Vec<u8>,
}

impl Random {
    fn id(&mut self) -> [u8; 2] {
        if self.bytes.len() < 2 {
            let mut fresh = [0u8; 256];
            // Up to 256 bytes are given whole once the kernel has seen enough (getrandom(2)); it waits until then.
            let got = rustix::rand::getrandom(&mut fresh, rustix::rand::GetRandomFlags::empty());
            let count = got.expect("getrandom gives 256 bytes to a process without signal handlers");
            self.bytes.extend_from_slice(&fresh[..count]);
        }
        let high = self.bytes.pop().unwrap_or_default();
        [high, self.bytes.pop().unwrap_or_default()]
    }
}

#[cfg(test)]
mod tests;
