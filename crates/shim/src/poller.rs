//! What the loop waits for. Every descriptor is registered under a token that says whose it is; tokens are
//! never used twice, so an event of something already closed finds nobody and is dropped. Level-triggered.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::time::Timespec;

use crate::log::Stream;

/// Events taken from the kernel at once.
const BATCH: usize = 16;

/// Whose descriptor became ready. Numbers are slots of processes, and serial numbers of the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    /// Somebody connects to the control socket.
    Listener,
    /// A control connection.
    Connection(u32),
    /// A process ended (its pidfd).
    Process(u32),
    /// A process's output.
    Output(u32, Stream),
    /// A process's input takes more.
    Input(u32),
    /// The control group's memory ran out.
    OutOfMemory,
    /// A child ended, where another runtime makes the container.
    Children,
    /// An attachment of a process: slot of the process, serial of the attachment.
    Attachment(u32, u32),
}

impl Token {
    fn pack(self) -> u64 {
        let (kind, slot, serial) = match self {
            Self::Listener => (0, 0, 0),
            Self::Connection(serial) => (1, 0, serial),
            Self::Process(slot) => (2, slot, 0),
            Self::Output(slot, Stream::Stdout) => (3, slot, 0),
            Self::Output(slot, Stream::Stderr) => (4, slot, 0),
            Self::Input(slot) => (5, slot, 0),
            Self::Attachment(slot, serial) => (6, slot, serial),
            Self::OutOfMemory => (7, 0, 0),
            Self::Children => (8, 0, 0),
        };
        // 8 bits of kind, 24 of slot, 32 of serial.
        kind << 56 | (u64::from(slot) & 0xff_ffff) << 32 | u64::from(serial)
    }

    fn unpack(packed: u64) -> Option<Self> {
        let slot = u32::try_from(packed >> 32 & 0xff_ffff).expect("24 bits");
        let serial = u32::try_from(packed & 0xffff_ffff).expect("32 bits");
        Some(match packed >> 56 {
            0 => Self::Listener,
            1 => Self::Connection(serial),
            2 => Self::Process(slot),
            3 => Self::Output(slot, Stream::Stdout),
            4 => Self::Output(slot, Stream::Stderr),
            5 => Self::Input(slot),
            6 => Self::Attachment(slot, serial),
            7 => Self::OutOfMemory,
            8 => Self::Children,
            _ => return None,
        })
    }
}

/// One descriptor that is ready.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ready {
    /// Whose it is.
    pub(crate) token: Token,
    /// Whether both directions are over: the peer is gone.
    pub(crate) hung_up: bool,
}

/// The loop's epoll instance.
#[derive(Debug)]
pub(crate) struct Poller {
    epoll: OwnedFd,
}

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC)? })
    }

    /// Waits, at most `timeout` where there is one, and gives what is ready.
    pub(crate) fn wait(&self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()> {
        ready.clear();
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(timeout.subsec_nanos()),
        });
        let mut events = [MaybeUninit::<epoll::Event>::uninit(); BATCH];
        let (events, _) = match epoll::wait(&self.epoll, &mut events, timeout.as_ref()) {
            Ok(found) => found,
            Err(rustix::io::Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        ready.extend(events.iter().filter_map(|event| {
            let (data, flags) = (event.data, event.flags);
            let hung_up = flags.intersects(EventFlags::HUP | EventFlags::ERR);
            Token::unpack(data.u64()).map(|token| Ready { token, hung_up })
        }));
        Ok(())
    }
}

/// A descriptor's registration: what it is watched for now. With no interest it is not registered at all,
/// because epoll reports a hang-up whether asked or not, and a loop that cannot act on it would spin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Interest {
    /// Watched for bytes to read, and for the end.
    pub(crate) read: bool,
    /// Watched for room to write.
    pub(crate) write: bool,
    /// Watched at least for the peer's leaving, which epoll tells of unasked.
    pub(crate) leaving: bool,
}

impl Interest {
    pub(crate) const READ: Self = Self { read: true, ..Self::NONE };
    pub(crate) const NONE: Self = Self { read: false, write: false, leaving: false };

    /// Changes the registration of `fd` from `self` to `wanted`.
    pub(crate) fn change(
        &mut self,
        poller: &Poller,
        fd: impl AsFd,
        token: Token,
        wanted: Self,
    ) -> io::Result<()> {
        if *self == wanted {
            return Ok(());
        }
        let mut flags = EventFlags::empty();
        flags.set(EventFlags::IN, wanted.read);
        flags.set(EventFlags::OUT, wanted.write);
        let data = EventData::new_u64(token.pack());
        match (*self == Self::NONE, wanted == Self::NONE) {
            (true, _) => epoll::add(&poller.epoll, fd, data, flags)?,
            (false, true) => epoll::delete(&poller.epoll, fd)?,
            (false, false) => epoll::modify(&poller.epoll, fd, data, flags)?,
        }
        *self = wanted;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_the_kernel() {
        let tokens = [
            Token::Listener,
            Token::Connection(u32::MAX),
            Token::Process(7),
            Token::Output(0xff_ffff, Stream::Stdout),
            Token::Output(1, Stream::Stderr),
            Token::Input(0),
            Token::Attachment(3, u32::MAX),
            Token::OutOfMemory,
            Token::Children,
        ];
        for token in tokens {
            assert_eq!(Token::unpack(token.pack()), Some(token));
        }
        assert_eq!(Token::unpack(u64::MAX), None);
    }

    #[test]
    fn a_hang_up_is_not_reported_to_who_has_no_interest() {
        let poller = Poller::new().expect("epoll");
        let (here, there) = std::os::unix::net::UnixStream::pair().expect("socketpair");
        let mut interest = Interest::NONE;
        let mut ready = Vec::new();
        interest.change(&poller, &here, Token::Connection(1), Interest::READ).expect("added");
        drop(there);
        poller.wait(None, &mut ready).expect("wait");
        assert!(ready.len() == 1 && ready[0].token == Token::Connection(1) && ready[0].hung_up);
        interest.change(&poller, &here, Token::Connection(1), Interest::NONE).expect("removed");
        poller.wait(Some(Duration::ZERO), &mut ready).expect("wait");
        assert!(ready.is_empty());
    }
}
