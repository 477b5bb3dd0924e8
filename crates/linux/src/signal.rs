//! Signals by number and name, and the calling thread's mask and dispositions. Real-time signals are valid:
//! images use them as stop signals. Allocates nothing, takes no lock.

use std::fmt;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::error::{Errno, Result, SyscallError};
use crate::process::Pid;
use crate::sys;

/// A signal number, 1 to 64.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Signal(u8);

/// Names without `SIG` of the classic signals. Their numbers are the same on all architectures that Gantry builds for.
const NAMES: [(&str, i32); 33] = [
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("ILL", libc::SIGILL),
    ("TRAP", libc::SIGTRAP),
    ("ABRT", libc::SIGABRT),
    ("BUS", libc::SIGBUS),
    ("FPE", libc::SIGFPE),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("SEGV", libc::SIGSEGV),
    ("USR2", libc::SIGUSR2),
    ("PIPE", libc::SIGPIPE),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("STKFLT", libc::SIGSTKFLT),
    ("CHLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("STOP", libc::SIGSTOP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
    ("VTALRM", libc::SIGVTALRM),
    ("PROF", libc::SIGPROF),
    ("WINCH", libc::SIGWINCH),
    ("IO", libc::SIGIO),
    ("POLL", libc::SIGIO),
    ("PWR", libc::SIGPWR),
    ("SYS", libc::SIGSYS),
    ("IOT", libc::SIGABRT),
];

/// The highest signal number, and the lowest and highest real-time ones as libc numbers them.
const MAX: u8 = 64;
const RTMIN: u8 = 34;

impl Signal {
    /// SIGHUP.
    pub const HUP: Self = Self(1);
    /// SIGINT.
    pub const INT: Self = Self(2);
    /// SIGQUIT.
    pub const QUIT: Self = Self(3);
    /// SIGKILL.
    pub const KILL: Self = Self(9);
    /// SIGUSR1.
    pub const USR1: Self = Self(10);
    /// SIGPIPE.
    pub const PIPE: Self = Self(13);
    /// SIGTERM.
    pub const TERM: Self = Self(15);
    /// SIGSTOP.
    pub const STOP: Self = Self(19);
    /// SIGCHLD.
    pub const CHLD: Self = Self(17);
    /// SIGWINCH.
    pub const WINCH: Self = Self(28);

    /// A signal by its number.
    pub fn from_number(number: u32) -> Option<Self> {
        u8::try_from(number).ok().filter(|number| (1..=MAX).contains(number)).map(Self)
    }

    /// A signal by its name, with or without `SIG`, in any case, `RTMIN+n` and `RTMAX-n` among them, or by its
    /// number in digits.
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(number) = text.parse::<u32>() {
            return Self::from_number(number);
        }
        let name = text.get(..3).filter(|head| head.eq_ignore_ascii_case("SIG")).map_or(text, |_| &text[3..]);
        if let Some((_, number)) = NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
            return Self::from_number(number.cast_unsigned());
        }
        let (base, rest) = (name.get(..5)?, name.get(5..)?);
        let offset = |sign: char| match rest {
            "" => Some(0),
            _ => rest.strip_prefix(sign)?.parse::<u8>().ok().filter(|offset| *offset <= MAX - RTMIN),
        };
        if base.eq_ignore_ascii_case("RTMIN") {
            offset('+').map(|offset| Self(RTMIN + offset))
        } else if base.eq_ignore_ascii_case("RTMAX") {
            offset('-').map(|offset| Self(MAX - offset))
        } else {
            None
        }
    }

    /// The number.
    pub fn number(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(_, number)| *number == i32::from(self.0)) {
            Some((name, _)) => write!(f, "SIG{name}"),
            None if self.0 >= RTMIN => write!(f, "SIGRTMIN+{}", self.0 - RTMIN),
            None => write!(f, "{}", self.0),
        }
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A set of signals, as the kernel keeps it: bit n-1 is signal n.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SignalSet(u64);

impl SignalSet {
    /// No signal.
    pub const EMPTY: Self = Self(0);
    /// Every signal; SIGKILL and SIGSTOP cannot be blocked all the same.
    pub const ALL: Self = Self(u64::MAX);

    /// These signals.
    pub fn of(signals: &[Signal]) -> Self {
        Self(signals.iter().fold(0, |bits, signal| bits | (1 << (signal.0 - 1))))
    }

    /// Whether it has this signal.
    pub fn contains(self, signal: Signal) -> bool {
        self.0 & (1 << (signal.0 - 1)) != 0
    }

    pub(crate) fn bits(self) -> u64 {
        self.0
    }
}

/// Makes `set` the calling thread's mask of blocked signals and returns the old one.
pub fn set_blocked(set: SignalSet) -> Result<SignalSet> {
    let mut old = 0u64;
    // SAFETY: both sets are live, and 8 bytes is the kernel's size of a signal set.
    let returned = unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const set.0,
            &raw mut old,
            size_of::<u64>(),
        )
    };
    sys::check(returned).map_err(SyscallError::caller("rt_sigprocmask"))?;
    Ok(SignalSet(old))
}

/// Waits for one of these signals, which the caller has blocked, and takes it.
pub fn wait_for(set: SignalSet) -> Result<Signal> {
    loop {
        let (info, timeout) = (std::ptr::null_mut::<libc::siginfo_t>(), std::ptr::null::<libc::timespec>());
        // SAFETY: the set is live and 8 bytes long; a null siginfo and a null timeout are allowed.
        let returned = unsafe {
            libc::syscall(libc::SYS_rt_sigtimedwait, &raw const set.0, info, timeout, size_of::<u64>())
        };
        match sys::check(returned) {
            Ok(number) => {
                let signal = u32::try_from(number).ok().and_then(Signal::from_number);
                return signal.ok_or_else(|| SyscallError::caller("rt_sigtimedwait")(Errno::INVAL));
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(SyscallError::caller("rt_sigtimedwait")(errno)),
        }
    }
}

/// Gives every signal its default action. For a process that is about to exec: handlers that libraries
/// installed are gone afterwards, and so are ignored signals, which would survive the exec (Rust ignores SIGPIPE).
pub fn reset_dispositions() -> Result<()> {
    for number in 1..=MAX {
        let signal = Signal(number);
        if signal != Signal::KILL && signal != Signal::STOP {
            set_disposition(signal, libc::SIG_DFL)?;
        }
    }
    Ok(())
}

/// Ignores a signal in the whole process.
pub fn ignore(signal: Signal) -> Result<()> {
    set_disposition(signal, libc::SIG_IGN)
}

/// Sends a signal to a process by its id; for the caller's own children before they are reaped. Others by
/// [`send_to_pidfd`].
pub fn send(pid: Pid, signal: Signal) -> Result<()> {
    // SAFETY: takes numbers and touches no memory.
    let returned = unsafe { libc::syscall(libc::SYS_kill, pid.as_raw(), i32::from(signal.0)) };
    sys::check(returned)
        .map(drop)
        .map_err(|errno| SyscallError::new("kill", crate::Object::Process(pid.as_raw()), errno))
}

/// Sends a signal to a process by its pidfd.
pub fn send_to_pidfd(pidfd: BorrowedFd<'_>, signal: Signal) -> Result<()> {
    let null = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a null siginfo means what kill(2) would send; nothing else is a pointer.
    let returned = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), i32::from(signal.0), null, 0)
    };
    sys::check(returned).map(drop).map_err(SyscallError::fd("pidfd_send_signal", pidfd))
}

/// The kernel's `struct sigaction` on x86-64 and aarch64, all zero but for the action.
#[repr(C)]
struct Action {
    handler: libc::sighandler_t,
    flags: u64,
    restorer: u64,
    mask: u64,
}

fn set_disposition(signal: Signal, action: libc::sighandler_t) -> Result<()> {
    let action = Action { handler: action, flags: 0, restorer: 0, mask: 0 };
    let old = std::ptr::null_mut::<Action>();
    // SAFETY: the action is SIG_DFL or SIG_IGN, so that no code of ours is ever called; it outlives the call.
    let returned = unsafe {
        libc::syscall(libc::SYS_rt_sigaction, i32::from(signal.0), &raw const action, old, size_of::<u64>())
    };
    sys::check(returned).map(drop).map_err(SyscallError::number("rt_sigaction", u64::from(signal.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_known_by_name_and_number() {
        for (text, number) in [
            ("TERM", 15),
            ("sigterm", 15),
            ("9", 9),
            ("SIGRTMIN+3", 37),
            ("rtmax", 64),
            ("RTMAX-1", 63),
            ("RTMIN", 34),
        ] {
            assert_eq!(Signal::parse(text).map(Signal::number), Some(number), "{text}");
        }
        for text in ["", "SIG", "0", "65", "-1", "TERMX", "RTMIN-1", "RTMIN+31", "RTMAX+1", "ÄÖÜ", "SIGÄÖ"]
        {
            assert_eq!(Signal::parse(text), None, "{text}");
        }
        assert_eq!(Signal::TERM.to_string(), "SIGTERM");
        assert_eq!(Signal(37).to_string(), "SIGRTMIN+3");
    }
}
