//! One client's socket on one process's standard streams. It is never trusted to read or to answer: what it
//! does not read waits here up to a limit and then holds back that process's output, nothing else.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

use gantry_api::shim::stdio::{self, StdioReader, Tag};
use rustix::net::{RecvFlags, recv};

use crate::input::Input;
use crate::log::Stream;
use crate::poller::{Interest, Poller, Token};
use crate::queue::Queue;

/// Bytes that may wait for an attachment before its process's output is held back.
pub(crate) const WAITING_BYTES_MAX: usize = 64 << 10;

/// What an attachment asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wants {
    /// Whether what it sends goes to standard input.
    pub(crate) stdin: bool,
    /// Whether it gets standard output.
    pub(crate) stdout: bool,
    /// Whether it gets standard error.
    pub(crate) stderr: bool,
    /// Whether its end is the end of standard input.
    pub(crate) close_stdin_at_detach: bool,
}

/// A client's socket.
#[derive(Debug)]
pub(crate) struct Attachment {
    serial: u32,
    token: Token,
    socket: OwnedFd,
    wants: Wants,
    interest: Interest,
    waiting: Queue,
    reader: StdioReader,
    /// Whether the peer may still send; false after its end of file.
    receiving: bool,
    /// Whether the peer still takes output; false after a failed write.
    sending: bool,
    /// Once the process is over: until when the rest may be read.
    deadline: Option<Instant>,
}

impl Attachment {
    pub(crate) fn new(slot: u32, serial: u32, socket: OwnedFd, wants: Wants) -> Self {
        Self {
            serial,
            token: Token::Attachment(slot, serial),
            socket,
            wants,
            interest: Interest::NONE,
            waiting: Queue::default(),
            reader: StdioReader::new(),
            receiving: true,
            sending: true,
            deadline: None,
        }
    }

    pub(crate) fn serial(&self) -> u32 {
        self.serial
    }

    pub(crate) fn wants(&self) -> Wants {
        self.wants
    }

    /// Whether its process's output must wait for it.
    pub(crate) fn is_full(&self) -> bool {
        self.sending && self.waiting.len() >= WAITING_BYTES_MAX
    }

    /// Whether it can be dropped: the peer is gone, or has everything.
    pub(crate) fn is_over(&self) -> bool {
        let told_everything = self.deadline.is_some() && (self.waiting.is_empty() || !self.sending);
        told_everything || (!self.receiving && !self.sending)
    }

    /// Until when it may read the rest; `None` while its process lives.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Sends what the process wrote, if it wants that stream.
    pub(crate) fn output(&mut self, stream: Stream, bytes: &[u8]) {
        let (wanted, tag) = match stream {
            Stream::Stdout => (self.wants.stdout, Tag::Stdout),
            Stream::Stderr => (self.wants.stderr, Tag::Stderr),
        };
        if wanted && self.sending && self.deadline.is_none() {
            stdio::encode(tag, bytes, self.waiting.tail());
            self.flush();
        }
    }

    /// Tells that there is no more; it is over once that is read, or at `deadline`.
    pub(crate) fn finish(&mut self, deadline: Instant) {
        if self.deadline.is_none() {
            if self.sending {
                stdio::encode(Tag::End, b"", self.waiting.tail());
                self.flush();
            }
            self.deadline = Some(deadline);
        }
    }

    /// Sends what the peer takes now.
    pub(crate) fn flush(&mut self) {
        if self.waiting.send_to(&self.socket).is_err() {
            // What it sent before it left is still to be read; that side finds its own end.
            self.sending = false;
            self.waiting.clear();
        }
    }

    /// Reads once and passes input on. `hung_up` tells that the peer closed, so that its end of file is the
    /// end of both directions.
    pub(crate) fn receive(&mut self, hung_up: bool, scratch: &mut [u8], input: &mut Input, poller: &Poller) {
        if !self.receiving && hung_up {
            self.break_off();
        }
        if !self.receiving || input.is_full() {
            return;
        }
        match recv(&self.socket, &mut *scratch, RecvFlags::DONTWAIT) {
            Ok((_, count)) if count > 0 => {
                self.reader.extend(&scratch[..count]);
                if self.pass_on(input, poller).is_err() {
                    self.break_off();
                }
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            Ok(_) => {
                self.receiving = false;
                self.sending &= !hung_up;
            }
            Err(_) => self.break_off(),
        }
    }

    /// Registers for what it can act on now: reading while `input_full` is false, writing while bytes wait.
    pub(crate) fn watch(&mut self, input_full: bool, poller: &Poller) {
        let wanted = Interest {
            read: self.receiving && !input_full,
            write: self.sending && !self.waiting.is_empty(),
            // One that only listens may leave while its process says nothing for days.
            leaving: !self.receiving && self.sending,
        };
        // With none, a peer that leaves is noticed when the input has room again.
        if self.interest.change(poller, &self.socket, self.token, wanted).is_err() {
            self.break_off();
        }
    }

    /// Leaves the poller; the caller drops it.
    pub(crate) fn unwatch(&mut self, poller: &Poller) {
        // The socket's other owners, if any, would keep the registration alive.
        let _ = self.interest.change(poller, &self.socket, self.token, Interest::NONE);
    }

    fn pass_on(&mut self, input: &mut Input, poller: &Poller) -> Result<(), stdio::StdioError> {
        while let Some((tag, payload)) = self.reader.next_frame()? {
            match tag {
                Tag::Stdin if self.wants.stdin => input.push(payload, poller),
                Tag::CloseStdin if self.wants.stdin => input.close(poller),
                Tag::Stdin | Tag::CloseStdin => {}
                // Only the shim sends these: the peer does not speak the protocol.
                Tag::Stdout | Tag::Stderr | Tag::End => {
                    return Err(stdio::StdioError::Tag { tag: tag.as_byte() });
                }
            }
        }
        Ok(())
    }

    fn break_off(&mut self) {
        self.receiving = false;
        self.sending = false;
        self.waiting.clear();
    }
}

/// Whether the descriptor can be an attachment at all.
pub(crate) fn check_socket(fd: &OwnedFd) -> io::Result<()> {
    match rustix::net::sockopt::socket_type(fd)? {
        rustix::net::SocketType::STREAM => Ok(()),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}
