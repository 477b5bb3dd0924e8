//! A control connection: requests with their descriptors in, answers and events out. It never blocks; a peer
//! that does not read its answers is hung up on and may connect again.

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use gantry_api::shim::v1::{Event, Request, Response, ShimMessage, shim_message};
use gantry_api::shim::{self, FrameReader};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use crate::poller::{Interest, Poller, Token};
use crate::queue::{Flushed, Queue};

/// Bytes of answers and events that may wait for a peer.
const WAITING_BYTES_MAX: usize = 1 << 20;
/// Descriptors that may wait for their requests.
const DESCRIPTORS_MAX: usize = 16;
/// Descriptors taken by one read.
const DESCRIPTORS_AT_ONCE: usize = 4;

/// The peer is gone, or broke the protocol: the connection is to be dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Closed;

/// One peer.
#[derive(Debug)]
pub(crate) struct Connection {
    token: Token,
    socket: OwnedFd,
    interest: Interest,
    reader: FrameReader,
    descriptors: VecDeque<OwnedFd>,
    waiting: Queue,
    /// The version agreed on; `None` before Hello.
    version: Option<u32>,
}

impl Connection {
    pub(crate) fn new(serial: u32, socket: OwnedFd, poller: &Poller) -> io::Result<Self> {
        let mut connection = Self {
            token: Token::Connection(serial),
            socket,
            interest: Interest::NONE,
            reader: FrameReader::new(),
            descriptors: VecDeque::new(),
            waiting: Queue::default(),
            version: None,
        };
        connection.interest.change(poller, &connection.socket, connection.token, Interest::READ)?;
        Ok(connection)
    }

    /// Whether Hello was said.
    pub(crate) fn is_agreed(&self) -> bool {
        self.version.is_some()
    }

    /// What Hello agreed on.
    pub(crate) fn agree(&mut self, version: u32) {
        self.version = Some(version);
    }

    /// Reads once, as much as `scratch` holds. Then take requests until there is none.
    pub(crate) fn receive(&mut self, scratch: &mut [u8]) -> Result<(), Closed> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_AT_ONCE))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let received = match recvmsg(&self.socket, &mut [IoSliceMut::new(scratch)], &mut ancillary, flags) {
            Ok(received) => received,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Ok(()),
            Err(_) => return Err(Closed),
        };
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.descriptors.extend(descriptors);
            }
        }
        if received.bytes == 0 || self.descriptors.len() > DESCRIPTORS_MAX {
            return Err(Closed);
        }
        self.reader.extend(&scratch[..received.bytes]);
        Ok(())
    }

    /// The next whole request.
    pub(crate) fn request(&mut self) -> Result<Option<Request>, Closed> {
        self.reader.next_message().map_err(|_| Closed)
    }

    /// The descriptor passed beside the request taken last. Requests that pass one come in the same order as
    /// their descriptors, so the oldest is the one.
    pub(crate) fn descriptor(&mut self) -> Option<OwnedFd> {
        self.descriptors.pop_front()
    }

    pub(crate) fn respond(&mut self, response: Response, poller: &Poller) -> Result<(), Closed> {
        self.send(shim_message::Message::Response(response), poller)
    }

    /// Tells an event, if Hello was said.
    pub(crate) fn tell(&mut self, event: Event, poller: &Poller) -> Result<(), Closed> {
        if self.is_agreed() { self.send(shim_message::Message::Event(event), poller) } else { Ok(()) }
    }

    /// Sends what the peer takes now; `true` if nothing waits any more.
    pub(crate) fn flush(&mut self, poller: &Poller) -> Result<bool, Closed> {
        let flushed = self.waiting.send_to(&self.socket).map_err(|_| Closed)?;
        if self.waiting.len() > WAITING_BYTES_MAX {
            return Err(Closed);
        }
        let wanted = Interest { write: flushed == Flushed::Blocked, ..Interest::READ };
        self.interest.change(poller, &self.socket, self.token, wanted).map_err(|_| Closed)?;
        Ok(flushed == Flushed::All)
    }

    fn send(&mut self, message: shim_message::Message, poller: &Poller) -> Result<(), Closed> {
        let message = ShimMessage { message: Some(message) };
        shim::encode(&message, self.waiting.tail()).map_err(|_| Closed)?;
        self.flush(poller).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{IoSlice, Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use gantry_api::shim::v1::{HelloResponse, OutOfMemory, StateRequest, event, request, response};
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

    use super::*;

    fn pair(poller: &Poller) -> (Connection, UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("socketpair");
        (Connection::new(1, ours.into(), poller).expect("watched"), theirs)
    }

    fn request(id: u64) -> Vec<u8> {
        let action = Some(request::Action::State(StateRequest {}));
        let mut bytes = Vec::new();
        shim::encode(&Request { id, action }, &mut bytes).expect("small");
        bytes
    }

    #[test]
    fn descriptors_come_with_their_requests_even_in_one_read() {
        let poller = Poller::new().expect("epoll");
        let (mut connection, mut peer) = pair(&poller);
        let passed = tempfile::tempfile().expect("file");
        peer.write_all(&request(1)).expect("sent");
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let descriptors = [passed.as_fd()];
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)));
        sendmsg(&peer, &[IoSlice::new(&request(2))], &mut ancillary, SendFlags::empty()).expect("sent");
        let mut ids = Vec::new();
        while ids.len() < 2 {
            connection.receive(&mut [0; 4096]).expect("open");
            while let Some(request) = connection.request().expect("well formed") {
                ids.push(request.id);
            }
        }
        assert_eq!(ids, [1, 2]);
        assert!(connection.descriptor().is_some() && connection.descriptor().is_none());
    }

    #[test]
    fn events_wait_for_hello_and_a_peer_that_never_reads_is_hung_up_on() {
        let poller = Poller::new().expect("epoll");
        let (mut connection, mut peer) = pair(&poller);
        let event = || Event { event: Some(event::Event::OutOfMemory(OutOfMemory { oom_kills: 1 })) };
        connection.tell(event(), &poller).expect("dropped");
        let hello = response::Result::Hello(HelloResponse { version: 1, ..HelloResponse::default() });
        connection.respond(Response { request_id: 1, result: Some(hello) }, &poller).expect("sent");
        connection.agree(1);
        let mut first = [0; 64];
        let count = peer.read(&mut first).expect("the answer");
        let mut reader = FrameReader::new();
        reader.extend(&first[..count]);
        let message: ShimMessage = reader.next_message().expect("well formed").expect("whole");
        assert!(matches!(message.message, Some(shim_message::Message::Response(_))));
        let told = (0..2_000_000).take_while(|_| connection.tell(event(), &poller).is_ok()).count();
        assert!(told < 2_000_000, "an unread peer is not told without end");
    }

    #[test]
    fn a_peer_that_leaves_or_sends_nonsense_closes_the_connection() {
        let poller = Poller::new().expect("epoll");
        let (mut connection, peer) = pair(&poller);
        drop(peer);
        assert_eq!(connection.receive(&mut [0; 64]), Err(Closed));
        let (mut connection, mut peer) = pair(&poller);
        peer.write_all(&[0xff; 8]).expect("sent");
        connection.receive(&mut [0; 64]).expect("bytes");
        assert_eq!(connection.request(), Err(Closed));
    }
}
