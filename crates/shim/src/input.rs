//! A process's standard input as the shim sees it: what attachments sent and the process has not read yet.

use std::os::fd::OwnedFd;

use crate::poller::{Interest, Poller, Token};
use crate::queue::{Flushed, Queue};

/// Bytes that may wait before attachments are no longer read.
pub(crate) const WAITING_BYTES_MAX: usize = 64 << 10;
/// What a terminal's line discipline takes for the end of input (VEOF, control-D).
const END_OF_FILE: u8 = 4;

/// The writing end of standard input. Closed from the start if the process has none.
#[derive(Debug)]
pub(crate) struct Input {
    token: Token,
    end: Option<OwnedFd>,
    terminal: bool,
    interest: Interest,
    waiting: Queue,
    closing: bool,
}

impl Input {
    /// `end` must be non-blocking; for a terminal it is a duplicate of the master.
    pub(crate) fn new(slot: u32, end: Option<OwnedFd>, terminal: bool) -> Self {
        Self {
            token: Token::Input(slot),
            end,
            terminal,
            interest: Interest::NONE,
            waiting: Queue::default(),
            closing: false,
        }
    }

    /// Whether bytes given now will reach the process.
    pub(crate) fn is_open(&self) -> bool {
        self.end.is_some() && !self.closing
    }

    /// Whether enough waits that no more should be read for it.
    pub(crate) fn is_full(&self) -> bool {
        self.waiting.len() >= WAITING_BYTES_MAX
    }

    /// Takes bytes for the process; drops them if its input is closed, as a pipe nobody reads would.
    pub(crate) fn push(&mut self, bytes: &[u8], poller: &Poller) {
        if self.is_open() {
            self.waiting.tail().extend_from_slice(bytes);
            self.flush(poller);
        }
    }

    /// Ends the input behind what waits. A terminal gets its end-of-file character and stays open.
    pub(crate) fn close(&mut self, poller: &Poller) {
        if self.terminal {
            self.push(&[END_OF_FILE], poller);
        } else {
            self.closing = true;
            self.flush(poller);
        }
    }

    /// Writes what the process takes now.
    pub(crate) fn flush(&mut self, poller: &Poller) {
        let Some(end) = &self.end else { return };
        let wanted = match self.waiting.write_to(end) {
            Ok(Flushed::Blocked) => Interest { write: true, ..Interest::NONE },
            Ok(Flushed::All) if self.closing => return self.shut(poller),
            Ok(Flushed::All) => Interest::NONE,
            // Nobody will read it: the process closed its input.
            Err(_) => return self.shut(poller),
        };
        if self.interest.change(poller, end, self.token, wanted).is_err() {
            self.shut(poller);
        }
    }

    /// Ends the input at once, dropping what waits.
    pub(crate) fn shut(&mut self, poller: &Poller) {
        if let Some(end) = self.end.take() {
            // Closing would take it out of the poller too, were there no duplicate of a terminal's master.
            let _ = self.interest.change(poller, end, self.token, Interest::NONE);
        }
        self.waiting.clear();
        self.closing = true;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use rustix::pipe::{PipeFlags, pipe_with};

    use super::*;

    fn pipe() -> (std::fs::File, OwnedFd) {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC).expect("pipe");
        rustix::io::ioctl_fionbio(&write, true).expect("non-blocking");
        (read.into(), write)
    }

    #[test]
    fn input_closes_only_behind_what_was_sent_before() {
        let poller = Poller::new().expect("epoll");
        let (mut read, write) = pipe();
        let mut input = Input::new(0, Some(write), false);
        let sent = vec![b'x'; 300 << 10];
        input.push(&sent, &poller);
        assert!(input.is_full());
        input.close(&poller);
        assert!(!input.is_open());
        input.push(b"too late", &poller);
        let mut received = Vec::new();
        let mut piece = vec![0; 8 << 10];
        loop {
            input.flush(&poller);
            match read.read(&mut piece).expect("read") {
                0 => break,
                count => received.extend_from_slice(&piece[..count]),
            }
        }
        assert!(received == sent);
    }

    #[test]
    fn input_that_nobody_reads_any_more_is_dropped() {
        let poller = Poller::new().expect("epoll");
        let (read, write) = pipe();
        let mut input = Input::new(0, Some(write), false);
        drop(read);
        input.push(b"x", &poller);
        assert!(!input.is_open() && !input.is_full());
    }
}
