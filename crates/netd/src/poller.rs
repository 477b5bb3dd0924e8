//! What the loop waits for, and whose descriptor became ready.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use gantry_linux::event::{self, Readiness};

use crate::slots::Key;

/// Whose descriptor became ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    /// A signal is pending.
    Signal,
    /// Files changed.
    Files,
    /// Somebody changed the rules.
    Rules,
    /// Questions over UDP.
    Datagrams(Key),
    /// Somebody connects over TCP.
    Listener(Key),
    /// A connection over TCP.
    Connection(Key),
    /// A question that somebody else was asked.
    Forward(Key),
}

impl Token {
    /// 8 bits of kind, 24 of turn, 32 of slot.
    fn pack(self) -> u64 {
        let (kind, key) = match self {
            Self::Signal => (0, None),
            Self::Files => (1, None),
            Self::Rules => (2, None),
            Self::Datagrams(key) => (3, Some(key)),
            Self::Listener(key) => (4, Some(key)),
            Self::Connection(key) => (5, Some(key)),
            Self::Forward(key) => (6, Some(key)),
        };
        let key = key.map_or(0, |key| u64::from(key.turn & 0xff_ffff) << 32 | u64::from(key.slot));
        kind << 56 | key
    }

    fn unpack(packed: u64) -> Option<Self> {
        let key = Key {
            slot: u32::try_from(packed & 0xffff_ffff).expect("32 bits"),
            turn: u32::try_from(packed >> 32 & 0xff_ffff).expect("24 bits"),
        };
        Some(match packed >> 56 {
            0 => Self::Signal,
            1 => Self::Files,
            2 => Self::Rules,
            3 => Self::Datagrams(key),
            4 => Self::Listener(key),
            5 => Self::Connection(key),
            6 => Self::Forward(key),
            _ => return None,
        })
    }
}

/// The loop's epoll instance.
#[derive(Debug)]
pub(crate) struct Poller(event::Poller);

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(event::Poller::new()?))
    }

    /// Watches for bytes to read, and for room to write where that is wanted.
    pub(crate) fn add(&self, source: impl AsFd, token: Token, write: bool) -> io::Result<()> {
        Ok(self.0.add(source.as_fd(), token.pack(), readiness(write))?)
    }

    /// Watches for room to write, or no more.
    pub(crate) fn change(&self, source: impl AsFd, token: Token, write: bool) -> io::Result<()> {
        Ok(self.0.modify(source.as_fd(), token.pack(), readiness(write))?)
    }

    /// Watches for nothing but the end of both directions.
    pub(crate) fn silence(&self, source: impl AsFd, token: Token) -> io::Result<()> {
        Ok(self.0.modify(source.as_fd(), token.pack(), Readiness::empty())?)
    }

    /// Waits, at most `timeout` where there is one, and gives whose descriptors are ready: files first, so that a
    /// question that came after a change meets it.
    pub(crate) fn wait(&self, timeout: Option<Duration>, ready: &mut Vec<Token>) -> io::Result<()> {
        ready.clear();
        self.0.wait(timeout, |one| ready.extend(Token::unpack(one.token)))?;
        if let Some(files) = ready.iter().position(|token| *token == Token::Files) {
            ready.swap(0, files);
        }
        Ok(())
    }
}

fn readiness(write: bool) -> Readiness {
    if write { Readiness::IN | Readiness::OUT } else { Readiness::IN }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_the_kernel() {
        let key = Key { slot: u32::MAX, turn: 0xff_ffff };
        let small = Key { slot: 1, turn: 2 };
        for token in [
            Token::Signal,
            Token::Files,
            Token::Rules,
            Token::Datagrams(small),
            Token::Listener(key),
            Token::Connection(small),
            Token::Forward(key),
        ] {
            assert_eq!(Token::unpack(token.pack()), Some(token));
        }
        assert_eq!(Token::unpack(u64::MAX), None);
    }
}
