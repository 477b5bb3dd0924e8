//! How a container gets a pseudo terminal: from its own devpts by descriptor, the peer by ioctl and never by a
//! name inside the container, which could be swapped (CVE-2025-52565). And what a client does to its terminal.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::{OptionalActions, Termios};

use crate::error::{Errno, Result, SyscallError};
use crate::path::{FileType, filesystem_magic, magic};
use crate::sys;

/// Rows and columns of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WindowSize {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

/// A pseudo terminal: what a supervisor holds, and what the programme gets.
#[derive(Debug)]
pub struct Pty {
    /// The master, nonblocking.
    pub master: OwnedFd,
    /// The other end, the terminal itself.
    pub peer: OwnedFd,
    /// Its number in its devpts: `/dev/pts/<number>`.
    pub number: u32,
}

/// Opens a pseudo terminal of the devpts whose root directory is given, and verifies that both ends are on it.
pub fn open_pty(devpts: BorrowedFd<'_>) -> Result<Pty> {
    let master = open_multiplexer(devpts)?;
    let (peer, number) = open_peer(master.as_fd())?;
    Ok(Pty { master, peer, number })
}

/// The master of a new pseudo terminal, nonblocking, of the devpts whose root directory is given; its peer is
/// unlocked.
pub fn open_multiplexer(devpts: BorrowedFd<'_>) -> Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOFOLLOW;
    let master = rustix::fs::openat(devpts, c"ptmx", flags, Mode::empty())
        .map_err(SyscallError::name("openat", "ptmx"))?;
    if filesystem_magic(master.as_fd())? != magic::DEVPTS {
        return Err(SyscallError::name("fstatfs", "ptmx")(Errno::XDEV));
    }
    rustix::pty::unlockpt(&master).map_err(SyscallError::name("ioctl", "TIOCSPTLCK"))?;
    Ok(master)
}

/// The terminal of a master, and its number, verified to be on a devpts.
pub fn open_peer(master: BorrowedFd<'_>) -> Result<(OwnedFd, u32)> {
    let peer = rustix::pty::ioctl_tiocgptpeer(
        master,
        OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC,
    )
    .map_err(SyscallError::name("ioctl", "TIOCGPTPEER"))?;
    let status = rustix::fs::fstat(&peer).map_err(SyscallError::fd("fstat", &peer))?;
    let is_device = FileType::from_raw_mode(status.st_mode) == FileType::CharacterDevice;
    if !is_device || filesystem_magic(peer.as_fd())? != magic::DEVPTS {
        return Err(SyscallError::fd("fstat", &peer)(Errno::NODEV));
    }
    Ok((peer, rustix::fs::minor(status.st_rdev)))
}

/// Makes a terminal the controlling one of the calling session's leader, taking it from nobody.
pub fn set_controlling(terminal: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: takes numbers and touches no memory.
    let returned = unsafe { libc::syscall(libc::SYS_ioctl, terminal.as_raw_fd(), libc::TIOCSCTTY, 0) };
    sys::check(returned).map(drop).map_err(SyscallError::name("ioctl", "TIOCSCTTY"))
}

/// The size of a terminal.
pub fn window_size(terminal: BorrowedFd<'_>) -> Result<WindowSize> {
    let size = rustix::termios::tcgetwinsize(terminal).map_err(SyscallError::name("ioctl", "TIOCGWINSZ"))?;
    Ok(WindowSize { rows: size.ws_row, columns: size.ws_col })
}

/// Sets the size; the foreground processes get SIGWINCH if it changed.
pub fn set_window_size(terminal: BorrowedFd<'_>, size: WindowSize) -> Result<()> {
    let size =
        rustix::termios::Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(terminal, size).map_err(SyscallError::name("ioctl", "TIOCSWINSZ"))
}

/// Whether a descriptor is a terminal.
pub fn is_terminal(file: BorrowedFd<'_>) -> bool {
    rustix::termios::isatty(file)
}

/// A terminal's settings, kept to be given back.
#[derive(Debug, Clone)]
pub struct Settings(Termios);

/// Makes a terminal raw (every key goes through at once, nothing is echoed) and returns its former settings.
pub fn make_raw(terminal: BorrowedFd<'_>) -> Result<Settings> {
    let before = rustix::termios::tcgetattr(terminal).map_err(SyscallError::name("ioctl", "TCGETS"))?;
    let mut raw = before.clone();
    raw.make_raw();
    rustix::termios::tcsetattr(terminal, OptionalActions::Now, &raw)
        .map_err(SyscallError::name("ioctl", "TCSETS"))?;
    Ok(Settings(before))
}

/// Gives a terminal its settings back.
pub fn restore(terminal: BorrowedFd<'_>, settings: &Settings) -> Result<()> {
    rustix::termios::tcsetattr(terminal, OptionalActions::Now, &settings.0)
        .map_err(SyscallError::name("ioctl", "TCSETS"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mount::{MountAttributes, new_filesystem};

    #[test]
    fn a_terminal_of_a_private_devpts_passes_bytes_and_sizes() {
        if !crate::testing::is_root_or_skipped() {
            return;
        }
        let options = [("newinstance", None), ("ptmxmode", Some("0666")), ("mode", Some("0620"))];
        let devpts = new_filesystem("devpts", &options, MountAttributes::NOSUID).expect("devpts");
        let pty = open_pty(devpts.as_fd()).expect("a terminal");
        assert_eq!(pty.number, 0);
        assert!(is_terminal(pty.peer.as_fd()));
        let size = WindowSize { rows: 40, columns: 132 };
        set_window_size(pty.master.as_fd(), size).expect("set");
        assert_eq!(window_size(pty.peer.as_fd()).expect("get"), size);
        let before = make_raw(pty.peer.as_fd()).expect("raw");
        rustix::io::write(&pty.peer, b"a\n").expect("write");
        let mut bytes = [0; 16];
        let length = rustix::io::read(&pty.master, &mut bytes).expect("read");
        assert_eq!(&bytes[..length], b"a\n", "raw: no carriage return is added");
        restore(pty.peer.as_fd(), &before).expect("restore");
        rustix::io::write(&pty.peer, b"b\n").expect("write");
        let length = rustix::io::read(&pty.master, &mut bytes).expect("read");
        assert_eq!(&bytes[..length], b"b\r\n");
    }

    #[test]
    fn a_ptmx_that_is_no_devpts_is_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("ptmx"), "").expect("write");
        let directory = std::fs::File::open(folder.path()).expect("open");
        assert_eq!(open_pty(directory.as_fd()).expect_err("a fake").errno, Errno::XDEV);
    }
}
