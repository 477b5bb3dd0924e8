//! How does a test sit at a terminal? By opening a pseudo terminal and having util-linux's `setsid --ctty` make it the
//! controlling one of the program under test: no unsafe code is needed for what happens between fork and exec.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::pty::{Winsize, openpty};

use crate::cli::arguments;
use crate::programs::program;
use crate::wait::{seconds, until};

/// `gantry` on a terminal.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    keys: File,
    output: Receiver<Vec<u8>>,
    screen: String,
}

impl Terminal {
    /// Starts `gantry <args>` on a terminal of this size.
    pub fn start(socket: &Path, args: &[&str], columns: u16, rows: u16) -> Result<Self> {
        let mut command = Command::new(program("gantry"));
        command.args(arguments(socket, args)).env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("GANTRY_HOST", format!("unix://{}", socket.display()));
        Self::run(&command, columns, rows)
    }

    /// Starts any program on a terminal of this size, with the environment that is set in the command and no other.
    pub fn run(program: &Command, columns: u16, rows: u16) -> Result<Self> {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(Some(&size), None)?;
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait"]).arg(program.get_program()).args(program.get_args());
        let set = program.get_envs().filter_map(|(name, value)| Some((name, value?)));
        command.env_clear().env("TERM", "xterm").envs(set);
        let child = command
            .stdin(pty.slave.try_clone()?)
            .stdout(pty.slave.try_clone()?)
            .stderr(pty.slave)
            .spawn()
            .context("starting setsid")?;
        // The command holds copies of the slave side; the terminal hangs up only when all are closed.
        drop(command);
        let output = follow(pty.master.try_clone()?);
        Ok(Self { child, keys: File::from(pty.master), output, screen: String::new() })
    }

    /// Types some keys.
    pub fn press(&mut self, keys: &str) -> Result<()> {
        Ok(self.keys.write_all(keys.as_bytes())?)
    }

    /// Waits until the screen has shown `text`, and forgets everything up to and with it.
    pub fn see(&mut self, text: &str) -> Result<String> {
        loop {
            if let Some(at) = self.screen.find(text) {
                let rest = self.screen.split_off(at + text.len());
                return Ok(std::mem::replace(&mut self.screen, rest));
            }
            match self.output.recv_timeout(seconds(20)) {
                Ok(bytes) => self.screen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    bail!("the screen never showed {text:?}, but: {}", self.screen)
                }
            }
        }
    }

    /// Changes the size of the terminal, which tells the program by a signal.
    pub fn resize(&self, columns: u16, rows: u16) -> Result<()> {
        // `stty` asks the same ioctl of the kernel; without unsafe code there is no shorter way.
        let status = Command::new("stty")
            .args(["rows", &rows.to_string(), "cols", &columns.to_string()])
            .stdin(self.keys.try_clone()?)
            .status()?;
        anyhow::ensure!(status.success(), "stty failed");
        Ok(())
    }

    /// How the terminal is set, as `stty -a` says it.
    pub fn settings(&self) -> Result<String> {
        let output = Command::new("stty").arg("-a").stdin(self.keys.try_clone()?).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Waits for the program's end; answers its exit code.
    pub fn finish(mut self) -> Result<i32> {
        self.await_end()
    }

    /// Waits for the program's end and keeps the terminal to be looked at; answers the exit code.
    pub fn await_end(&mut self) -> Result<i32> {
        let end = until("the program at the terminal to end", seconds(20), || Ok(self.child.try_wait()?));
        if end.is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        let end = end.with_context(|| format!("the screen shows: {}", self.screen))?;
        end.code().context("the program was not killed")
    }

    /// Everything that was shown and not yet asked for, until nothing comes for a moment or the program hangs up.
    pub fn rest(&mut self) -> String {
        while let Ok(bytes) = self.output.recv_timeout(Duration::from_millis(200)) {
            self.screen.push_str(&String::from_utf8_lossy(&bytes));
        }
        std::mem::take(&mut self.screen)
    }
}

fn follow(master: OwnedFd) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    let mut master = File::from(master);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        // Reading fails with EIO when the last holder of the other side is gone.
        while let Ok(count @ 1..) = master.read(&mut buffer) {
            if sender.send(buffer[..count].to_vec()).is_err() {
                return;
            }
        }
    });
    receiver
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
