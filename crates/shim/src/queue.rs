//! Bytes that wait for a descriptor to take them. Bounded by who pushes, not here: a producer asks
//! [`Queue::len`] and stops producing. An emptied queue gives its memory back.

use std::io;
use std::os::fd::AsFd;

use rustix::net::{SendFlags, send};

/// Memory that an empty queue keeps.
const KEPT_BYTES: usize = 1 << 10;

/// What became of a flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// Nothing waits any more.
    All,
    /// The descriptor takes no more now.
    Blocked,
}

/// A first-in first-out buffer in front of a descriptor that does not block.
#[derive(Default)]
pub(crate) struct Queue {
    bytes: Vec<u8>,
    sent: usize,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the bytes: they are users' input and output.
        f.debug_struct("Queue").field("len", &self.len()).finish()
    }
}

impl Queue {
    /// Bytes that wait.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where to append.
    pub(crate) fn tail(&mut self) -> &mut Vec<u8> {
        if self.sent > 0 {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
        &mut self.bytes
    }

    /// Drops what waits.
    pub(crate) fn clear(&mut self) {
        self.bytes = Vec::new();
        self.sent = 0;
    }

    /// Sends what waits to a socket, whatever its blocking mode: it may be shared with another process.
    pub(crate) fn send_to(&mut self, socket: impl AsFd) -> io::Result<Flushed> {
        self.flush(|bytes| send(&socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL))
    }

    /// Writes what waits to a pipe or terminal, which must be non-blocking.
    pub(crate) fn write_to(&mut self, pipe: impl AsFd) -> io::Result<Flushed> {
        self.flush(|bytes| rustix::io::write(&pipe, bytes))
    }

    fn flush(&mut self, mut write: impl FnMut(&[u8]) -> rustix::io::Result<usize>) -> io::Result<Flushed> {
        while !self.is_empty() {
            match write(&self.bytes[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return Ok(Flushed::Blocked),
                Err(error) => return Err(error.into()),
            }
        }
        self.bytes.clear();
        self.sent = 0;
        if self.bytes.capacity() > KEPT_BYTES {
            self.bytes = Vec::new();
        }
        Ok(Flushed::All)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn what_a_full_socket_does_not_take_waits_in_order() {
        let (here, mut there) = UnixStream::pair().expect("socketpair");
        let expected: Vec<u8> = (0..1_000_000_u32).map(|number| number.to_le_bytes()[0]).collect();
        let mut queue = Queue::default();
        queue.tail().extend_from_slice(&expected);
        let mut received = Vec::new();
        let mut piece = vec![0; 64 << 10];
        while queue.send_to(&here).expect("sent") == Flushed::Blocked {
            let count = there.read(&mut piece).expect("read");
            received.extend_from_slice(&piece[..count]);
        }
        drop(here);
        there.read_to_end(&mut received).expect("rest");
        assert!(received == expected);
        assert!(queue.bytes.capacity() <= KEPT_BYTES);
    }
}
