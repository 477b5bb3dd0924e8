//! Where a failure is told: a line in the log, in the form that the caller asked for. The log is the file that it
//! named, and then the bare message is on standard error too; or, without one, standard error itself. Docker and
//! containerd read the last line of level `error` of that file.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use jiff::Timestamp;
use serde::Serialize;

use crate::failure::Failure;
use crate::options::Globals;

/// How a line of the log file looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Format {
    /// `time="…" level=error msg="…"`.
    #[default]
    Text,
    /// `{"level":"error","msg":"…","time":"…"}`.
    Json,
}

/// Where lines go.
#[derive(Debug, Default)]
pub(crate) struct Report {
    log: Option<PathBuf>,
    format: Format,
    debug: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    level: &'a str,
    msg: &'a str,
    time: String,
}

impl Report {
    pub(crate) fn new(globals: &Globals) -> Self {
        Self { log: globals.log.clone(), format: globals.log_format, debug: globals.debug }
    }

    /// Tells a failure, and gives the code to exit with.
    pub(crate) fn failure(&self, failure: &Failure, code: u8) -> ExitCode {
        let line = failure.line();
        self.tell("error", &line);
        if self.log.is_some() {
            // Nobody is left to tell if this fails.
            let _ = writeln!(io::stderr().lock(), "{line}");
        }
        ExitCode::from(code)
    }

    /// Tells something that went wrong and did not stop the command.
    pub(crate) fn warning(&self, message: &str) {
        self.tell("warning", message);
    }

    /// Tells a decision, when `--debug` asks for it.
    pub(crate) fn debug(&self, message: &str) {
        if self.debug {
            self.tell("debug", message);
        }
    }

    fn tell(&self, level: &str, message: &str) {
        let line = self.line(level, message, Timestamp::now());
        // A log that cannot be written must not hide the failure: that one is on standard error too.
        let _ = match &self.log {
            Some(path) => append(path, &line),
            None => io::stderr().lock().write_all(line.as_bytes()),
        };
    }

    fn line(&self, level: &str, message: &str, time: Timestamp) -> String {
        let time = format!("{time:.0}");
        match self.format {
            Format::Text => format!("time={time:?} level={level} msg={message:?}\n"),
            Format::Json => {
                let line = Line { level, msg: message, time };
                serde_json::to_string(&line).map(|line| line + "\n").unwrap_or_default()
            }
        }
    }
}

fn append(path: &Path, line: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).mode(0o644).open(path)?;
    file.write_all(line.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_text_or_json() {
        let time = Timestamp::from_second(0).expect("a time");
        let mut report = Report::default();
        let text = report.line("error", "no \"x\"", time);
        assert_eq!(text, "time=\"1970-01-01T00:00:00Z\" level=error msg=\"no \\\"x\\\"\"\n");
        report.format = Format::Json;
        let json = report.line("error", "no \"x\"", time);
        assert_eq!(
            json,
            "{\"level\":\"error\",\"msg\":\"no \\\"x\\\"\",\"time\":\"1970-01-01T00:00:00Z\"}\n"
        );
    }
}
