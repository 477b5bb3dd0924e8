//! One command of another runtime, from its first word to its end: run, waited for, and if it failed, what it said.
//! The daemon reads that, for it is JSON as often as not.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use gantry_api::shim::RUNTIME_LOG_FILE;
use gantry_api::shim::v1::{Failure, FailureKind};
use gantry_linux::event::wait_readable;
use gantry_linux::process::set_umask;
use gantry_linux::signal::{Signal, send_to_pidfd};
use gantry_linux::spawn::{Spawn, Spawned};
use gantry_linux::wait::{Exit, wait_pidfd};
use rustix::fs::{CWD, Mode, OFlags, openat};

use super::Foreign;
use crate::failure;

/// How long a command may take; the daemon waits 30 s for the answer of a request.
pub(super) const LIMIT: Duration = Duration::from_secs(20);
/// Bytes of what a command wrote that are told.
const SAID_BYTES_MAX: u64 = 4096;
/// The umask of programmes that people run; the shim's own would make a container's files private.
const UMASK: u32 = 0o022;
/// Their out-of-memory score adjustment, which crun 1.8 leaves as it is where the spec asks for zero; the shim's own is
/// the lowest.
const SCORE: &str = "0";
const SCORE_FILE: &str = "/proc/self/oom_score_adj";
/// Where a runtime looks for programmes of its own.
const SEARCH_PATH: &CStr = c"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Standard streams that a command hands on to the container.
pub(super) type Given = [OwnedFd; 3];

impl Foreign {
    /// Runs a command to its end. Without streams of a container its output goes where its log goes.
    pub(super) fn run(&self, verb: &str, arguments: &[&str], given: Option<&Given>) -> Result<(), Failure> {
        let fail = |error: &std::io::Error| failure::step("run the runtime", &self.programme(), error);
        let log = self.open_log().map_err(|error| fail(&error))?;
        let spawned = self.spawn(verb, arguments, given, log.as_fd())?;
        let watch = spawned.pidfd.as_fd();
        if !wait_readable(watch, Some(LIMIT)).map_err(|error| failure::syscall("wait", verb, &error))? {
            // It ends by this, and is then reaped.
            let _ = send_to_pidfd(watch, Signal::KILL);
        }
        match wait_pidfd(watch).map_err(|error| failure::syscall("wait", verb, &error))? {
            Exit::Code { code: 0 } => Ok(()),
            Exit::Code { .. } | Exit::Signal { .. } => Err(Failure {
                kind: FailureKind::Runtime.into(),
                message: said(log),
                step: verb.to_owned(),
                object: self.programme(),
                ..Failure::default()
            }),
        }
    }

    fn spawn(
        &self,
        verb: &str,
        arguments: &[&str],
        given: Option<&Given>,
        log: BorrowedFd<'_>,
    ) -> Result<Spawned, Failure> {
        let fail = |error: &std::io::Error| failure::step("run the runtime", &self.programme(), error);
        let programme = File::open(self.programme()).map_err(|error| fail(&error))?;
        let null = File::open("/dev/null").map_err(|error| fail(&error))?;
        let streams = match given {
            Some([stdin, stdout, stderr]) => [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()],
            None => [null.as_fd(), log, log],
        };
        let words = [verb].into_iter().chain(arguments.iter().copied());
        let words: Result<Vec<_>, _> = words.map(CString::new).collect();
        let words =
            words.map_err(|_| failure::refuse(FailureKind::InvalidRequest, "an argument has a NUL"))?;
        let spawn = Spawn {
            programme: programme.as_fd(),
            args: self.command.iter().cloned().chain(words).collect(),
            env: vec![SEARCH_PATH.to_owned()],
            descriptors: (0..).zip(streams).map(|(number, stream)| (stream, number)).collect(),
        };
        // Relative paths are the bundle's.
        rustix::process::chdir(&self.bundle).map_err(|error| fail(&error.into()))?;
        let umask = set_umask(UMASK);
        let score = std::fs::read(SCORE_FILE).unwrap_or_default();
        // What refuses it would refuse the shim's own as well, and then there is nothing to keep apart.
        let _ = std::fs::write(SCORE_FILE, SCORE);
        let spawned = spawn.start();
        let _ = std::fs::write(SCORE_FILE, score);
        set_umask(umask);
        rustix::process::chdir("/").map_err(|error| fail(&error.into()))?;
        spawned.map_err(|error| failure::syscall("run the runtime", &self.programme(), &error))
    }

    /// The log, empty: what an earlier command said is of no interest to the next one's failure.
    fn open_log(&self) -> std::io::Result<OwnedFd> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC | OFlags::APPEND | OFlags::CLOEXEC;
        Ok(openat(CWD, self.file(RUNTIME_LOG_FILE), flags | OFlags::NOFOLLOW, Mode::RUSR | Mode::WUSR)?)
    }

    fn programme(&self) -> String {
        self.command.first().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// The path of a file in the bundle folder.
    pub(super) fn file(&self, name: &str) -> String {
        path_text(&self.bundle.join(name))
    }
}

/// The end of the log.
fn said(log: OwnedFd) -> String {
    let mut log = File::from(log);
    let mut bytes = Vec::new();
    let length = log.metadata().map_or(0, |status| status.len());
    let read = log
        .seek(SeekFrom::Start(length.saturating_sub(SAID_BYTES_MAX)))
        .and_then(|_| log.take(SAID_BYTES_MAX).read_to_end(&mut bytes));
    // A log that cannot be read says nothing.
    read.map(|_| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

fn path_text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
