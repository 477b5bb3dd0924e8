//! How does one talk to the kernel? A blocking netlink socket: any number of messages in one datagram, and the
//! kernel's acknowledgement of each. The kernel does the work *inside* `sendto`, so an asynchronous socket
//! would only move the wait onto an executor's thread; callers choose the thread. A socket belongs for ever to
//! the network namespace of the thread that opened it, and keeps that namespace alive.

use std::os::fd::{AsFd, BorrowedFd};

use gantry_linux::Errno;
use rtnetlink::sys::{Socket, SocketAddr, protocols};
use rustix::net::{RecvFlags, SendFlags, sockopt};

use super::Attributes;
use crate::error::{Attempt, NetworkError, Result, syscall};

/// `struct nlmsghdr`.
pub(crate) const HEADER: usize = 16;
/// netlink(7): this message asks for something.
pub(crate) const REQUEST: u16 = 0x1;
/// The answer has several messages.
const MULTI: u16 = 0x2;
/// The kernel acknowledges, or tells the error.
pub(crate) const ACK: u16 = 0x4;
/// Fail when it exists.
pub(crate) const EXCL: u16 = 0x200;
/// Make it when it does not exist.
pub(crate) const CREATE: u16 = 0x400;
/// All of them.
pub(crate) const DUMP: u16 = 0x300;
/// The error message has attributes behind its fixed part.
const ACK_TLVS: u16 = 0x200;
const ERROR: u16 = 2;
const DONE: u16 = 3;

/// A datagram of an answer is at most this long; a dump's are up to 32 KiB.
const ANSWER: usize = 64 * 1024;

/// A connection with one of the kernel's netlink families.
pub(crate) struct Connection {
    socket: Socket,
    sequence: u32,
    /// The last datagram received, and its length.
    answer: Box<[u8]>,
    received: usize,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("sequence", &self.sequence).finish_non_exhaustive()
    }
}

/// Which family of netlink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Route,
    Netfilter,
}

/// A message of an answer that is neither acknowledgement nor end.
pub(crate) type Visit<'a> = &'a mut dyn FnMut(u16, &[u8]);

impl Connection {
    /// Opens one in the calling thread's network namespace.
    pub(crate) fn open(family: Family) -> Result<Self> {
        let refused = |error: std::io::Error| NetworkError::Refused {
            attempt: Attempt::Connect,
            explanation: None,
            errno: Errno::from_io_error(&error).unwrap_or(Errno::IO),
        };
        let protocol = match family {
            Family::Route => protocols::NETLINK_ROUTE,
            Family::Netfilter => protocols::NETLINK_NETFILTER,
        };
        let mut socket = Socket::new(protocol).map_err(refused)?;
        match family {
            Family::Route => drop(socket.bind_auto().map_err(refused)?),
            Family::Netfilter => bind_as_ours(&mut socket).map_err(refused)?,
        }
        socket.connect(&SocketAddr::new(0, 0)).map_err(refused)?;
        socket.set_cap_ack(true).map_err(refused)?;
        socket.set_ext_ack(true).map_err(refused)?;
        Ok(Self { socket, sequence: 0, answer: vec![0; ANSWER].into(), received: 0 })
    }

    /// Makes room for datagrams of `bytes` in both directions, beyond the machine's limit.
    pub(crate) fn make_room(&self, bytes: usize) -> Result<()> {
        let failed =
            |errno| NetworkError::Call { attempt: Attempt::Connect, source: syscall("setsockopt")(errno) };
        sockopt::set_socket_send_buffer_size_force(self.socket.as_fd(), bytes).map_err(failed)?;
        sockopt::set_socket_recv_buffer_size_force(self.socket.as_fd(), bytes).map_err(failed)
    }

    /// Sends whole messages, each with a header, and hears what becomes of every one that asks for it. The
    /// headers' sequence numbers are given here. Of several refused, the first is answered.
    pub(crate) fn talk(&mut self, messages: &mut [u8]) -> std::result::Result<(), Refusal> {
        let base = self.number(messages);
        self.send(messages)?;
        // Both families have done the work and queued their answers when `send` returns: nothing is waited for.
        let mut first: Option<Refusal> = None;
        while self.receive(RecvFlags::DONTWAIT)? {
            for (kind, flags, sequence, body) in Messages(&self.answer[..self.received]) {
                let place = sequence.wrapping_sub(base);
                // What an earlier question left unread is nobody's any more.
                let ours = kind == ERROR && place <= self.sequence.wrapping_sub(base);
                let refusal = ours.then(|| Refusal::read(flags, place, body)).flatten();
                if let Some(refusal) = refusal
                    && first.as_ref().is_none_or(|known| known.place > refusal.place)
                {
                    first = Some(refusal);
                }
            }
        }
        first.map_or(Ok(()), Err)
    }

    /// Sends one message that asks for a list, and shows every message of it.
    pub(crate) fn list(&mut self, message: &mut [u8], visit: Visit<'_>) -> std::result::Result<(), Refusal> {
        self.number(message);
        self.send(message)?;
        loop {
            self.receive(RecvFlags::empty())?;
            for (kind, flags, sequence, body) in Messages(&self.answer[..self.received]) {
                if sequence != self.sequence {
                    continue;
                }
                match kind {
                    DONE => return Ok(()),
                    ERROR => return Refusal::read(flags, 0, body).map_or(Ok(()), Err),
                    kind => visit(kind, body),
                }
                if flags & MULTI == 0 {
                    return Ok(());
                }
            }
        }
    }

    fn number(&mut self, messages: &mut [u8]) -> u32 {
        let base = self.sequence.wrapping_add(1);
        let mut at = 0;
        while let Some(header) = messages.get_mut(at..at + HEADER) {
            self.sequence = self.sequence.wrapping_add(1);
            header[8..12].copy_from_slice(&self.sequence.to_ne_bytes());
            at += aligned(length(header)).max(HEADER);
        }
        base
    }

    fn send(&self, bytes: &[u8]) -> std::result::Result<(), Refusal> {
        loop {
            match rustix::net::send(self.socket.as_fd(), bytes, SendFlags::empty()) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Refusal { place: 0, explanation: None, errno }),
            }
        }
    }

    /// The next datagram; false when there is none and the flags say not to wait.
    fn receive(&mut self, flags: RecvFlags) -> std::result::Result<bool, Refusal> {
        loop {
            match rustix::net::recv(self.socket.as_fd(), &mut self.answer[..], flags) {
                Ok((read, _)) => {
                    self.received = read.min(ANSWER);
                    return Ok(true);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(false),
                Err(errno) => return Err(Refusal { place: 0, explanation: None, errno }),
            }
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Takes a free one of the addresses that gantry-netd knows as the engine's.
fn bind_as_ours(socket: &mut Socket) -> std::io::Result<()> {
    for number in 0..=0xffff {
        match socket.bind(&SocketAddr::new(crate::netd::NFT_PORT_PREFIX | number, 0)) {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {}
            other => return other,
        }
    }
    Err(std::io::ErrorKind::AddrInUse.into())
}

/// Why a message was refused.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// Which message, from 0.
    pub(crate) place: u32,
    pub(crate) explanation: Option<String>,
    pub(crate) errno: Errno,
}

impl Refusal {
    /// `None` of an acknowledgement.
    fn read(flags: u16, place: u32, body: &[u8]) -> Option<Self> {
        /// NLMSGERR_ATTR_MSG.
        const TEXT: u16 = 1;
        let code = i32::from_ne_bytes(body.get(..4)?.try_into().ok()?);
        if code == 0 {
            return None;
        }
        let text = |value: &[u8]| String::from_utf8_lossy(value).trim_end_matches('\0').to_owned();
        let attributes = if flags & ACK_TLVS == 0 { &[] } else { body.get(4 + HEADER..).unwrap_or(&[]) };
        Some(Self {
            place,
            explanation: Attributes(attributes).value(TEXT).map(text),
            errno: Errno::from_raw_os_error(code.saturating_neg()),
        })
    }

    /// The error, with what was attempted.
    pub(crate) fn of(self, attempt: Attempt) -> NetworkError {
        NetworkError::Refused { attempt, explanation: self.explanation, errno: self.errno }
    }
}

fn length(header: &[u8]) -> usize {
    let bytes = header.first_chunk::<4>().copied().unwrap_or_default();
    usize::try_from(u32::from_ne_bytes(bytes)).unwrap_or(usize::MAX)
}

/// Rounded up to four bytes.
pub(crate) fn aligned(size: usize) -> usize {
    size.saturating_add(3) & !3
}

/// Kind, flags, sequence and body of each message.
pub(crate) struct Messages<'a>(pub(crate) &'a [u8]);

impl<'a> Messages<'a> {
    /// Where each begins.
    pub(crate) fn starts(self) -> impl Iterator<Item = usize> + use<'a> {
        let all = self.0.len();
        let mut rest = self;
        std::iter::from_fn(move || {
            let start = all - rest.0.len();
            rest.next().map(|_| start)
        })
    }

    /// Each with its header.
    pub(crate) fn whole(self) -> impl Iterator<Item = &'a [u8]> {
        let bytes = self.0;
        self.starts().map(|start| {
            let length = length(&bytes[start..]);
            &bytes[start..start + length]
        })
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = (u16, u16, u32, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let header = self.0.first_chunk::<HEADER>()?;
        let body = self.0.get(HEADER..length(header))?;
        let number = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
        let sequence = u32::from_ne_bytes([header[8], header[9], header[10], header[11]]);
        let item = (number(4), number(6), sequence, body);
        self.0 = self.0.get(aligned(length(header))..).unwrap_or(&[]);
        Some(item)
    }
}
