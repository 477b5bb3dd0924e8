//! What did a program say, and how did it end? The answer of every command line a test runs, with the checks tests make
//! most, each of which shows the whole answer when it fails.

use std::fmt;
use std::process::Output;

use anyhow::{Result, ensure};

/// A finished command.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The command line, for messages.
    pub command: String,
    /// Its exit code; 128 + n when signal n ended it.
    pub code: i32,
    /// All of standard output, as text.
    pub stdout: String,
    /// All of standard error, as text.
    pub stderr: String,
}

impl Outcome {
    pub(crate) fn new(command: String, output: &Output) -> Self {
        use std::os::unix::process::ExitStatusExt as _;
        let code = output.status.code().or_else(|| output.status.signal().map(|signal| 128 + signal));
        Self {
            command,
            code: code.expect("a finished process exited or was killed"),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Fails unless the command succeeded; answers standard output without the last line end.
    pub fn ok(self) -> Result<String> {
        ensure!(self.code == 0, "expected success: {self}");
        Ok(self.stdout.trim_end_matches('\n').to_owned())
    }

    /// Fails unless the command ended with `code`.
    pub fn exits(self, code: i32) -> Result<Self> {
        ensure!(self.code == code, "expected exit code {code}: {self}");
        Ok(self)
    }

    /// Fails unless standard output is `text`, line ends at the end left aside.
    pub fn prints(self, text: &str) -> Result<Self> {
        ensure!(self.stdout.trim_end() == text, "expected to read {text:?}: {self}");
        Ok(self)
    }

    /// Fails unless standard error has `text` in it, whatever the case of letters.
    pub fn complains(self, text: &str) -> Result<Self> {
        let found = self.stderr.to_lowercase().contains(&text.to_lowercase());
        ensure!(found, "expected {text:?} in the complaint: {self}");
        Ok(self)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "`{}` ended with {}", self.command, self.code)?;
        writeln!(f, "--- stdout\n{}", self.stdout)?;
        write!(f, "--- stderr\n{}", self.stderr)
    }
}
