//! Standing in for a container's process until it ends: signals are passed on to it, a terminal's bytes and size
//! are carried between it and the caller's own terminal, and its end becomes this process's.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gantry_linux::event::{Poller, Readiness, read_signal, signalfd};
use gantry_linux::signal::{self, Signal, SignalSet, send_to_pidfd};
use gantry_linux::tty::{self, Settings};
use gantry_linux::wait::try_wait_pidfd;
use gantry_linux::{Errno, SyscallError};
use gantry_runtime::execute::Process;

use crate::failure::Failure;

const ENDED: u64 = 0;
const SIGNAL: u64 = 1;
const MASTER: u64 = 2;
const INPUT: u64 = 3;
const CHUNK: usize = 16 << 10;

/// The signals that are passed on, held back from their usual effect.
#[derive(Debug)]
pub(crate) struct Signals {
    descriptor: OwnedFd,
}

impl Signals {
    /// Holds every signal back; the container's process gets an empty mask of its own.
    pub(crate) fn take() -> Result<Self, Failure> {
        signal::set_blocked(SignalSet::ALL).map_err(Failure::kernel)?;
        Ok(Self { descriptor: signalfd(SignalSet::ALL).map_err(Failure::kernel)? })
    }
}

/// Waits for the end of a process; the code to exit with.
pub(crate) fn wait(process: &Process, master: Option<OwnedFd>, signals: &Signals) -> Result<u8, Failure> {
    let terminal = master.map(Terminal::connect).transpose().map_err(Failure::kernel)?;
    let code = relay(process, terminal.as_ref(), signals);
    if let Some(terminal) = &terminal {
        terminal.drain();
        terminal.restore();
    }
    code.map_err(Failure::kernel)
}

fn relay(process: &Process, terminal: Option<&Terminal>, signals: &Signals) -> Result<u8, SyscallError> {
    let poller = Poller::new()?;
    poller.add(process.pidfd.as_fd(), ENDED, Readiness::IN)?;
    poller.add(signals.descriptor.as_fd(), SIGNAL, Readiness::IN)?;
    if let Some(terminal) = terminal {
        poller.add(terminal.master.as_fd(), MASTER, Readiness::IN)?;
        // A regular file cannot be waited for: it is read whenever there is something else to do.
        match poller.add(rustix::stdio::stdin(), INPUT, Readiness::IN) {
            Err(error) if error.errno == Errno::PERM => {}
            added => added?,
        }
    }
    loop {
        let mut ready = [false; 4];
        poller.wait(None, |event| {
            if let Some(slot) = usize::try_from(event.token).ok().and_then(|token| ready.get_mut(token)) {
                *slot = true;
            }
        })?;
        if let Some(terminal) = terminal {
            if ready[usize::try_from(MASTER).unwrap_or(0)]
                && !copy(terminal.master.as_fd(), rustix::stdio::stdout())
            {
                poller.remove(terminal.master.as_fd())?;
            }
            if ready[usize::try_from(INPUT).unwrap_or(0)]
                && !copy(rustix::stdio::stdin(), terminal.master.as_fd())
            {
                poller.remove(rustix::stdio::stdin())?;
            }
        }
        while let Some(signal) = read_signal(signals.descriptor.as_fd())? {
            pass_on(process, terminal, signal);
        }
        if let Some(exit) = try_wait_pidfd(process.pidfd.as_fd())? {
            return Ok(u8::try_from(exit.shell_code()).unwrap_or(u8::MAX));
        }
    }
}

/// A signal for this process is meant for the container's; that it has ended meanwhile is told by its pidfd.
fn pass_on(process: &Process, terminal: Option<&Terminal>, signal: Signal) {
    match (signal, terminal) {
        (Signal::CHLD, _) => {}
        (Signal::WINCH, Some(terminal)) => terminal.copy_size(),
        (signal, _) => drop(send_to_pidfd(process.pidfd.as_fd(), signal)),
    }
}

/// The container's terminal behind the caller's.
struct Terminal {
    master: OwnedFd,
    own: Option<Settings>,
}

impl Terminal {
    fn connect(master: OwnedFd) -> Result<Self, SyscallError> {
        let stdin = rustix::stdio::stdin();
        let own = if tty::is_terminal(stdin) { Some(tty::make_raw(stdin)?) } else { None };
        let terminal = Self { master, own };
        terminal.copy_size();
        Ok(terminal)
    }

    /// A caller without a terminal has no size to give.
    fn copy_size(&self) {
        if self.own.is_some()
            && let Ok(size) = tty::window_size(rustix::stdio::stdin())
        {
            // A terminal whose process has ended needs no size.
            let _ = tty::set_window_size(self.master.as_fd(), size);
        }
    }

    /// What the process wrote before its end.
    fn drain(&self) {
        while copy(self.master.as_fd(), rustix::stdio::stdout()) {
            let mut waiting = [rustix::event::PollFd::new(&self.master, rustix::event::PollFlags::IN)];
            let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
            if !matches!(rustix::event::poll(&mut waiting, Some(&now)), Ok(count) if count > 0) {
                return;
            }
        }
    }

    fn restore(&self) {
        if let Some(settings) = &self.own {
            // A terminal that is gone has nothing to restore.
            let _ = tty::restore(rustix::stdio::stdin(), settings);
        }
    }
}

/// Copies what is there; false at the end of either side.
fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> bool {
    let mut buffer = [0; CHUNK];
    let length = match rustix::io::read(from, &mut buffer) {
        Ok(0) => return false,
        Ok(length) => length,
        Err(Errno::AGAIN | Errno::INTR) => return true,
        // A master whose peers are all closed reads EIO.
        Err(_) => return false,
    };
    let mut rest = &buffer[..length];
    while !rest.is_empty() {
        match rustix::io::write(to, rest) {
            Ok(written) => rest = &rest[written..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let mut full = [rustix::event::PollFd::new(&to, rustix::event::PollFlags::OUT)];
                if rustix::event::poll(&mut full, None).is_err() {
                    return false;
                }
            }
            Err(_) => return false,
        }
    }
    true
}
