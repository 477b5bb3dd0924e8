//! What a poll loop waits on: epoll, and the descriptors that turn signals, timers and wake-ups into readable
//! files. Level-triggered, so that a loop may leave work for its next turn.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::epoll;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};

use crate::error::{Errno, Result, SyscallError};
use crate::signal::{Signal, SignalSet};
use crate::sys;

/// What to be told about a descriptor, or what happened to it.
pub use rustix::event::epoll::EventFlags as Readiness;

/// One thing that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ready {
    /// The token it was registered with.
    pub token: u64,
    /// What happened.
    pub readiness: Readiness,
}

/// A set of descriptors to wait on.
#[derive(Debug)]
pub struct Poller {
    descriptor: OwnedFd,
}

impl Poller {
    /// An empty set.
    pub fn new() -> Result<Self> {
        let descriptor =
            epoll::create(epoll::CreateFlags::CLOEXEC).map_err(SyscallError::caller("epoll_create1"))?;
        Ok(Self { descriptor })
    }

    /// Adds a descriptor under a token of the caller's own.
    pub fn add(&self, source: BorrowedFd<'_>, token: u64, readiness: Readiness) -> Result<()> {
        epoll::add(&self.descriptor, source, epoll::EventData::new_u64(token), readiness)
            .map_err(SyscallError::fd("epoll_ctl", source))
    }

    /// Changes what is told of a descriptor.
    pub fn modify(&self, source: BorrowedFd<'_>, token: u64, readiness: Readiness) -> Result<()> {
        epoll::modify(&self.descriptor, source, epoll::EventData::new_u64(token), readiness)
            .map_err(SyscallError::fd("epoll_ctl", source))
    }

    /// Takes a descriptor out. Closing its last copy does so too, but a copy in another process keeps it in.
    pub fn remove(&self, source: BorrowedFd<'_>) -> Result<()> {
        epoll::delete(&self.descriptor, source).map_err(SyscallError::fd("epoll_ctl", source))
    }

    /// Waits and calls `each` for what happened, at most 64 things at a time. A timeout or a signal is no thing.
    pub fn wait(&self, timeout: Option<Duration>, mut each: impl FnMut(Ready)) -> Result<usize> {
        const BATCH: usize = 64;
        let mut events =
            [epoll::Event { flags: Readiness::empty(), data: epoll::EventData::new_u64(0) }; BATCH];
        let timeout = timeout.map(timespec);
        let count = match epoll::wait(&self.descriptor, &mut events[..], timeout.as_ref()) {
            Ok(count) => count,
            Err(Errno::INTR) => 0,
            Err(errno) => return Err(SyscallError::caller("epoll_wait")(errno)),
        };
        for event in &events[..count] {
            each(Ready { token: event.data.u64(), readiness: event.flags });
        }
        Ok(count)
    }
}

impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Waits until one descriptor is readable or its peer is gone; false when the limit passed first. Allocates
/// nothing.
pub fn wait_readable(source: BorrowedFd<'_>, limit: Option<Duration>) -> Result<bool> {
    let limit = limit.map(|limit| Timespec {
        tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: limit.subsec_nanos().into(),
    });
    loop {
        let mut sources = [PollFd::from_borrowed_fd(source, PollFlags::IN)];
        match rustix::event::poll(&mut sources, limit.as_ref()) {
            // The limit begins anew: a signal is rare, and nobody counts on the moment.
            Err(Errno::INTR) => {}
            polled => return polled.map(|count| count > 0).map_err(SyscallError::fd("poll", source)),
        }
    }
}

/// A counter that wakes a poller, nonblocking.
pub fn eventfd() -> Result<OwnedFd> {
    rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
        .map_err(SyscallError::caller("eventfd2"))
}

/// Adds one to an eventfd.
pub fn notify(eventfd: BorrowedFd<'_>) -> Result<()> {
    rustix::io::write(eventfd, &1u64.to_ne_bytes()).map(drop).map_err(SyscallError::fd("write", eventfd))
}

/// Reads and clears an eventfd or a timer; 0 when nothing happened.
pub fn drain(counter: BorrowedFd<'_>) -> Result<u64> {
    let mut bytes = [0; 8];
    match rustix::io::read(counter, &mut bytes) {
        Ok(_) => Ok(u64::from_ne_bytes(bytes)),
        Err(Errno::AGAIN | Errno::INTR) => Ok(0),
        Err(errno) => Err(SyscallError::fd("read", counter)(errno)),
    }
}

/// A descriptor that becomes readable when one of these signals, which the caller has blocked, is pending.
pub fn signalfd(signals: SignalSet) -> Result<OwnedFd> {
    let bits = signals.bits();
    let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
    // SAFETY: the set is live, and 8 bytes is the kernel's size of it.
    let returned =
        unsafe { libc::syscall(libc::SYS_signalfd4, -1, &raw const bits, size_of::<u64>(), flags) };
    sys::check(returned).map(sys::owned).map_err(SyscallError::caller("signalfd4"))
}

/// Takes one pending signal from a signalfd; `None` when there is none.
pub fn read_signal(signalfd: BorrowedFd<'_>) -> Result<Option<Signal>> {
    // `struct signalfd_siginfo`, of which only the first field, the number, is of interest.
    let mut record = [0u8; 128];
    match rustix::io::read(signalfd, &mut record) {
        Ok(_) => {
            let [a, b, c, d, ..] = record;
            Ok(Signal::from_number(u32::from_ne_bytes([a, b, c, d])))
        }
        Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        Err(errno) => Err(SyscallError::fd("read", signalfd)(errno)),
    }
}

/// A timer on the monotonic clock, nonblocking, not running.
pub fn timer() -> Result<OwnedFd> {
    let flags = libc::TFD_CLOEXEC | libc::TFD_NONBLOCK;
    // SAFETY: takes numbers and touches no memory.
    let returned = unsafe { libc::syscall(libc::SYS_timerfd_create, libc::CLOCK_MONOTONIC, flags) };
    sys::check(returned).map(sys::owned).map_err(SyscallError::caller("timerfd_create"))
}

/// Sets a timer off once after `delay`, or stops it; `drain` clears it.
pub fn set_timer(timer: BorrowedFd<'_>, delay: Option<Duration>) -> Result<()> {
    // A zero would stop it.
    let value = timespec(delay.map_or(Duration::ZERO, |delay| delay.max(Duration::from_nanos(1))));
    let setting = [Timespec { tv_sec: 0, tv_nsec: 0 }, value];
    let old = std::ptr::null_mut::<Timespec>();
    // SAFETY: `struct itimerspec` is two timespecs, interval and value; a null old value is allowed.
    let returned =
        unsafe { libc::syscall(libc::SYS_timerfd_settime, timer.as_raw_fd(), 0, setting.as_ptr(), old) };
    sys::check(returned).map(drop).map_err(SyscallError::fd("timerfd_settime", timer))
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_poller_tells_wake_ups_and_timers_by_their_tokens() {
        let poller = Poller::new().expect("epoll");
        let (wake, alarm) = (eventfd().expect("eventfd"), timer().expect("timerfd"));
        poller.add(wake.as_fd(), 1, Readiness::IN).expect("add");
        poller.add(alarm.as_fd(), 2, Readiness::IN).expect("add");
        assert_eq!(poller.wait(Some(Duration::ZERO), |_| {}).expect("wait"), 0);
        notify(wake.as_fd()).expect("notify");
        set_timer(alarm.as_fd(), Some(Duration::ZERO)).expect("set");
        let mut tokens = std::collections::BTreeSet::new();
        while tokens.len() < 2 {
            let count = poller.wait(Some(Duration::from_secs(10)), |ready| _ = tokens.insert(ready.token));
            assert_ne!(count.expect("wait"), 0, "something was lost");
        }
        assert_eq!(drain(wake.as_fd()).expect("drain"), 1);
        assert_eq!(drain(alarm.as_fd()).expect("drain"), 1);
        assert_eq!(drain(alarm.as_fd()).expect("drain"), 0);
    }

    #[test]
    fn a_blocked_signal_is_read_from_its_descriptor() {
        std::thread::spawn(|| {
            let signals = SignalSet::of(&[Signal::USR1]);
            crate::signal::set_blocked(signals).expect("block");
            let descriptor = signalfd(signals).expect("signalfd");
            assert_eq!(read_signal(descriptor.as_fd()).expect("read"), None);
            let thread = rustix::thread::gettid().as_raw_nonzero().get();
            // SAFETY: takes numbers and touches no memory; the signal is blocked in this thread.
            let sent = unsafe {
                libc::syscall(libc::SYS_tgkill, std::process::id(), thread, i32::from(Signal::USR1.number()))
            };
            assert_eq!(sent, 0);
            assert_eq!(read_signal(descriptor.as_fd()).expect("read"), Some(Signal::USR1));
        })
        .join()
        .expect("the thread ends well");
    }
}
