//! This process's own terminal: whether there is one, how large it is, and making it raw for as long as a
//! container's terminal is shown in it.

use std::io::{self, IsTerminal as _};

use gantry_api::containers::v1::TerminalSize;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use crate::failure::Failure;

/// Whether standard input is a terminal.
pub(crate) fn is_terminal() -> bool {
    io::stdin().is_terminal()
}

/// The terminal's size, of whichever standard stream is one.
pub(crate) fn size() -> Option<TerminalSize> {
    let size = tcgetwinsize(io::stdout())
        .or_else(|_| tcgetwinsize(io::stdin()))
        .or_else(|_| tcgetwinsize(io::stderr()))
        .ok()?;
    (size.ws_col > 0 && size.ws_row > 0)
        .then(|| TerminalSize { columns: size.ws_col.into(), rows: size.ws_row.into() })
}

/// A terminal that passes every key on as it is; dropping it restores it.
pub(crate) struct RawTerminal {
    before: Termios,
}

impl RawTerminal {
    /// Makes standard input raw; `None` when it is no terminal.
    pub(crate) fn enter() -> Result<Option<Self>, Failure> {
        if !is_terminal() {
            return Ok(None);
        }
        let refused = |error: rustix::io::Errno| Failure::io("cannot make the terminal raw", &error.into());
        let before = tcgetattr(io::stdin()).map_err(refused)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw).map_err(refused)?;
        Ok(Some(Self { before }))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // A terminal that is gone needs no restoring.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

impl std::fmt::Debug for RawTerminal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RawTerminal")
    }
}
