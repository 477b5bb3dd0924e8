//! How a process's standard streams are made: which ends it gets and which the shim keeps.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use gantry_api::shim::v1::{ConsoleSize, Stdio};
use gantry_runtime::execute;
use rustix::fs::{Mode, OFlags, open};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::streams::Ends;

/// The process's ends for the executor, and the shim's. With a terminal, the shim's are made by
/// [`terminal_ends`] when the executor has opened it inside the container.
pub(crate) fn make(stdio: &Stdio) -> io::Result<(execute::Stdio, Ends)> {
    if stdio.terminal {
        return Ok((execute::Stdio::Terminal, Ends::default()));
    }
    let (input, kept_input) = if stdio.stdin_open {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        (read, Some(nonblocking(write)?))
    } else {
        (open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?, None)
    };
    let (kept_stdout, stdout) = pipe_with(PipeFlags::CLOEXEC)?;
    let (kept_stderr, stderr) = pipe_with(PipeFlags::CLOEXEC)?;
    let ends = Ends {
        stdin: kept_input,
        stdout: Some(nonblocking(kept_stdout)?),
        stderr: Some(nonblocking(kept_stderr)?),
        terminal: None,
    };
    Ok((execute::Stdio::Descriptors { stdin: input, stdout, stderr }, ends))
}

/// The shim's ends of a terminal, from its master. Duplicates, because each is watched for itself.
pub(crate) fn terminal_ends(master: OwnedFd) -> io::Result<Ends> {
    let master = nonblocking(master)?;
    Ok(Ends {
        stdin: Some(master.try_clone()?),
        stdout: Some(master.try_clone()?),
        stderr: None,
        terminal: Some(master),
    })
}

/// Sets a terminal's size; the foreground processes get SIGWINCH if it changed.
pub(crate) fn resize(master: impl AsFd, size: ConsoleSize) -> io::Result<()> {
    let clamp = |characters: u32| u16::try_from(characters).unwrap_or(u16::MAX);
    let size = Winsize { ws_col: clamp(size.columns), ws_row: clamp(size.rows), ws_xpixel: 0, ws_ypixel: 0 };
    Ok(tcsetwinsize(master, size)?)
}

/// The mode belongs to the end's open file description, which no other process has.
fn nonblocking(end: OwnedFd) -> io::Result<OwnedFd> {
    rustix::io::ioctl_fionbio(&end, true)?;
    Ok(end)
}
