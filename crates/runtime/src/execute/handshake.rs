//! What the child and its parent say to each other over a socket of packets until the child execs. The child
//! speaks fixed-size packets from its stack; the parent turns a failure's numbers into words, because only it
//! may allocate. An end of file means that the peer is gone, or, after the start, that the exec succeeded.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gantry_linux::socket::{self, Kind};
use gantry_linux::{Errno, Pid, SyscallError};

use super::Operation;

/// What went wrong in the child: which operation, of which step, on which item of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) operation: Operation,
    pub(super) step: u32,
    pub(super) item: u32,
    pub(super) errno: Errno,
}

/// What the child says.
#[derive(Debug)]
pub(super) enum Answer {
    /// The master of its terminal.
    Master(OwnedFd),
    /// Everything up to the exec is done.
    Ready,
    /// It failed and is ending.
    Trouble(Trouble),
    /// It closed its end: it execed, or it died.
    Closed,
    /// It waits until something is done for it, and for [`Word::Go`].
    Asks(Ask),
}

/// What the child cannot do itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// The hooks that run on the host before the change of root.
    Hooks,
    /// The mappings of its new user namespace.
    Ids,
    /// The clocks of its new time namespace.
    Clocks,
    /// Its resource limits.
    Limits,
    /// The network links that become its own; it is in its network namespace.
    NetDevices,
    /// That the listener of its filter, which is this descriptor, is handed over.
    Listener(i32),
}

/// What the parent says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// The child is in its cgroup.
    InCgroup,
    /// Run the command.
    Start,
    /// What was asked for is done; and the child's id in the parent's pid namespace.
    Go(Pid),
}

const IN_CGROUP: u8 = 1;
const GO: u8 = 3;
/// The byte of [`Word::Start`], which also opens a gate.
pub(super) const START: u8 = 2;

const READY: u8 = 1;
const TROUBLE: u8 = 2;
const MASTER: u8 = 3;
const ASKS: u8 = 4;
const ASKED_BYTES: usize = 6;
/// The longest packet.
pub(super) const PACKET_BYTES: usize = 14;

/// Two ends, the parent's first.
pub(super) fn pair() -> Result<(OwnedFd, OwnedFd), SyscallError> {
    socket::pair(Kind::SequencedPacket, false)
}

impl Ask {
    fn to_bytes(self) -> [u8; ASKED_BYTES] {
        let (kind, number) = match self {
            Self::Hooks => (1, 0),
            Self::Ids => (2, 0),
            Self::Clocks => (3, 0),
            Self::Limits => (4, 0),
            Self::Listener(number) => (5, number),
            Self::NetDevices => (6, 0),
        };
        let number = number.to_ne_bytes();
        [ASKS, kind, number[0], number[1], number[2], number[3]]
    }

    fn from_bytes(bytes: &[u8; PACKET_BYTES]) -> Option<Self> {
        Some(match bytes[1] {
            1 => Self::Hooks,
            2 => Self::Ids,
            3 => Self::Clocks,
            4 => Self::Limits,
            5 => Self::Listener(i32::from_ne_bytes([bytes[2], bytes[3], bytes[4], bytes[5]])),
            6 => Self::NetDevices,
            _ => return None,
        })
    }
}

impl Trouble {
    fn to_bytes(self) -> [u8; PACKET_BYTES] {
        let mut bytes = [0; PACKET_BYTES];
        bytes[0] = TROUBLE;
        bytes[1] = u8::try_from(i32::from(self.operation)).unwrap_or(0);
        bytes[2..6].copy_from_slice(&self.step.to_ne_bytes());
        bytes[6..10].copy_from_slice(&self.item.to_ne_bytes());
        bytes[10..14].copy_from_slice(&self.errno.raw_os_error().to_ne_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8; PACKET_BYTES]) -> Self {
        let word = |at: usize| [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        Self {
            operation: Operation::try_from(i32::from(bytes[1])).unwrap_or(Operation::Unspecified),
            step: u32::from_ne_bytes(word(2)),
            item: u32::from_ne_bytes(word(6)),
            errno: Errno::from_raw_os_error(i32::from_ne_bytes(word(10)).clamp(1, 4095)),
        }
    }
}

/// The child's side: the master of its terminal. Only before the filter.
pub(super) fn tell_master(socket: BorrowedFd<'_>, master: BorrowedFd<'_>) -> Result<(), SyscallError> {
    socket::send(socket, &[MASTER], &[master]).map(drop)
}

/// The child's side: everything is done but the exec. Like the two below it uses write(2) and read(2), which
/// even a narrow filter allows.
pub(super) fn tell_ready(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    rustix::io::write(socket, &[READY]).map(drop)
}

/// The child's side: it failed. Nothing is left to do if even this cannot be told.
pub(super) fn tell_trouble(socket: BorrowedFd<'_>, trouble: Trouble) {
    let _ = rustix::io::write(socket, &trouble.to_bytes());
}

/// The child's side: has something done by the parent, and learns its own id there.
pub(super) fn ask(socket: BorrowedFd<'_>, ask: Ask) -> Result<Pid, Errno> {
    rustix::io::write(socket, &ask.to_bytes())?;
    match next_word(socket)? {
        Word::Go(pid) => Ok(pid),
        Word::InCgroup | Word::Start => Err(Errno::CONNRESET),
    }
}

/// The child's side: waits for one word. An end of file means that the parent is gone.
pub(super) fn await_word(socket: BorrowedFd<'_>, word: Word) -> Result<(), Errno> {
    if next_word(socket)? == word { Ok(()) } else { Err(Errno::CONNRESET) }
}

fn next_word(socket: BorrowedFd<'_>) -> Result<Word, Errno> {
    let mut buffer = [0; PACKET_BYTES];
    loop {
        let length = match rustix::io::read(socket, &mut buffer) {
            Err(Errno::INTR) => continue,
            length => length?,
        };
        return match (length, buffer[0]) {
            (1, IN_CGROUP) => Ok(Word::InCgroup),
            (1, START) => Ok(Word::Start),
            (5, GO) => {
                let number = i32::from_ne_bytes([buffer[1], buffer[2], buffer[3], buffer[4]]);
                Pid::from_raw(number).map(Word::Go).ok_or(Errno::CONNRESET)
            }
            _ => Err(Errno::CONNRESET),
        };
    }
}

/// The parent's side: says one word.
pub(super) fn say(socket: &OwnedFd, word: Word) -> Result<(), SyscallError> {
    let mut bytes = [0; 5];
    let length = match word {
        Word::InCgroup => {
            bytes[0] = IN_CGROUP;
            1
        }
        Word::Start => {
            bytes[0] = START;
            1
        }
        Word::Go(pid) => {
            bytes[0] = GO;
            bytes[1..].copy_from_slice(&pid.as_raw().to_ne_bytes());
            bytes.len()
        }
    };
    socket::send(socket.as_fd(), &bytes[..length], &[]).map(drop)
}

/// The parent's side: waits for the child's next answer.
pub(super) fn hear(socket: &OwnedFd) -> Result<Answer, SyscallError> {
    let mut buffer = [0; PACKET_BYTES];
    let received = match socket::receive(socket.as_fd(), &mut buffer) {
        // A child that ended with a word unread resets the socket; that is told once, before what it said.
        Err(error) if error.errno == Errno::CONNRESET => socket::receive(socket.as_fd(), &mut buffer)?,
        received => received?,
    };
    Ok(answer(&buffer, received.length, received.descriptors.into_iter().next()))
}

/// What a packet says.
pub(super) fn answer(buffer: &[u8; PACKET_BYTES], length: usize, beside: Option<OwnedFd>) -> Answer {
    match (length, buffer[0]) {
        (PACKET_BYTES, TROUBLE) => Answer::Trouble(Trouble::from_bytes(buffer)),
        (1, READY) => Answer::Ready,
        (1, MASTER) => beside.map_or(Answer::Closed, Answer::Master),
        (ASKED_BYTES, ASKS) => Ask::from_bytes(buffer).map_or(Answer::Closed, Answer::Asks),
        _ => Answer::Closed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_arrives_as_it_was_told_and_an_end_is_an_end() {
        let (parent, child) = pair().expect("socketpair");
        let trouble = Trouble { operation: Operation::Exec, step: 70_000, item: 3, errno: Errno::NOENT };
        tell_trouble(child.as_fd(), trouble);
        assert!(matches!(hear(&parent), Ok(Answer::Trouble(heard)) if heard == trouble));
        tell_master(child.as_fd(), child.as_fd()).expect("send");
        assert!(matches!(hear(&parent), Ok(Answer::Master(_))));
        tell_ready(child.as_fd()).expect("write");
        assert!(matches!(hear(&parent), Ok(Answer::Ready)));
        say(&parent, Word::Start).expect("send");
        assert_eq!(await_word(child.as_fd(), Word::Start), Ok(()));
        say(&parent, Word::Start).expect("send");
        tell_trouble(child.as_fd(), trouble);
        drop(child);
        assert!(matches!(hear(&parent), Ok(Answer::Trouble(_))), "although a word was left unread");
        assert!(matches!(hear(&parent), Ok(Answer::Closed)));
    }
}
