//! How CRIU is spoken to: it is started as a worker (`criu swrk`) at the other end of a socket, gets one request, may
//! stop on its way to tell where it is, and answers. Its command line would do for most of it, but only here the
//! restored process becomes ours, a terminal's master comes as a descriptor, and a failure has words. Its library
//! (libcriu) speaks the same protocol and would be one more thing to link.
//!
//! Deliberately absent: what is asked. That is `commands::checkpoint`'s and `commands::restore`'s.

mod log;
pub(crate) mod message;

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gantry_linux::event::wait_readable;
use gantry_linux::signal::{Signal, send_to_pidfd};
use gantry_linux::socket::{self, Kind as SocketKind};
use gantry_linux::spawn::{Spawn, Spawned};
use gantry_linux::wait::{open_pidfd, wait_child};
use gantry_linux::{Pid, memfd, process, tty};
use prost::Message as _;
use rustix::fs::{Mode, OFlags};

use self::message::{Features, Kind, Notice, Options, Request, Response, Version};
use crate::failure::Failure;

/// Where it is looked for after the folders of `PATH`.
const USUAL_FOLDERS: [&str; 4] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/sbin"];
/// The number of its end of the socket.
const SOCKET: u32 = 3;
/// Where the numbers of inherited descriptors begin.
const INHERITED: u32 = 10;
/// Bytes of an answer; the longest part is one line of a log.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// How long a worker that has answered may take to end.
const END_DEADLINE: Duration = Duration::from_secs(10);
/// How long a worker may neither answer nor write to its log. It has no other limit: how long the memory of a container
/// takes to the disk and back, nobody knows, but of every step there is a line in the log.
const SILENCE_MAX: Duration = Duration::from_secs(600);

/// The program, found and open.
#[derive(Debug)]
pub(crate) struct Criu {
    program: OwnedFd,
    silence_max: Duration,
}

/// What a request needs besides itself.
#[derive(Debug)]
pub(crate) struct Job<'a> {
    pub(crate) kind: Kind,
    pub(crate) options: Options,
    /// Given to CRIU as [`inherited_number`] of their index says.
    pub(crate) inherited: Vec<BorrowedFd<'a>>,
    /// Where its log is, for the failure.
    pub(crate) log: PathBuf,
}

/// A moment of CRIU's, with the descriptor that came along.
pub(crate) type Told<'a> = &'a mut dyn FnMut(&Notice, Option<OwnedFd>) -> Result<(), Failure>;

/// The number that CRIU has an inherited descriptor under.
pub(crate) fn inherited_number(index: usize) -> u32 {
    INHERITED + u32::try_from(index).unwrap_or(u32::MAX - INHERITED)
}

impl Criu {
    /// Finds the program: where the caller says, or in the folders of `PATH`.
    pub(crate) fn find(given: Option<&Path>) -> Result<Self, Failure> {
        if let Some(path) = given {
            return open(path).map(Self::new).map_err(|error| Failure::file("open", path, error));
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::env::split_paths(&path).chain(USUAL_FOLDERS.map(PathBuf::from));
        let found = folders.filter(|folder| folder.is_absolute()).find_map(|f| open(&f.join("criu")).ok());
        found.map(Self::new).ok_or(Failure::NoCriu)
    }

    fn new(program: OwnedFd) -> Self {
        Self { program, silence_max: SILENCE_MAX }
    }

    /// Does a job; the answer to it, which is a success.
    pub(crate) fn run(&self, job: Job<'_>, told: Told<'_>) -> Result<Response, Failure> {
        let Job { kind, options, inherited, log } = job;
        let action = if kind == Kind::Restore { "restore" } else { "checkpoint" };
        // Of a job before: CRIU writes it anew, but only once it has understood the request.
        let _ = std::fs::remove_file(&log);
        let fail = |worker: &mut Worker| {
            worker.end();
            let message = log::complaint(&log).unwrap_or_else(|| worker.last_words());
            Failure::Criu { action, message, log: log.clone() }
        };
        let request = Request { kind: kind.into(), options: Some(options), ..Request::default() };
        let mut worker = self.start(&inherited)?;
        // One that is gone already says why.
        worker.say(&request).map_err(|_| fail(&mut worker))?;
        loop {
            if !self.is_heard_of(&worker, &log)? {
                drop(worker);
                end_orphans();
                return Err(Failure::CriuSilent { action, seconds: self.silence_max.as_secs(), log });
            }
            let Some((response, descriptor)) = worker.hear()? else { return Err(fail(&mut worker)) };
            if response.kind() == Kind::Notify {
                let notice = response.notice.unwrap_or_default();
                let result = told(&notice, descriptor);
                let goes_on = Some(result.is_ok());
                let sent = worker.say(&Request { kind: Kind::Notify.into(), goes_on, ..Request::default() });
                // What was said to make it stop; it undoes its work before it ends.
                result.inspect_err(|_| worker.end())?;
                sent?;
            } else if response.success && response.kind() == kind {
                worker.end();
                return Ok(response);
            } else {
                return Err(fail(&mut worker));
            }
        }
    }

    /// Waits for an answer; `false` when it seems to be stuck.
    fn is_heard_of(&self, worker: &Worker, log: &Path) -> Result<bool, Failure> {
        let length = || std::fs::metadata(log).map_or(0, |log| log.len());
        let mut before = length();
        while !wait_readable(worker.socket.as_fd(), Some(self.silence_max)).map_err(Failure::kernel)? {
            let now = length();
            if now == before {
                return Ok(false);
            }
            before = now;
        }
        Ok(true)
    }

    /// Its release, and what it makes of this kernel. Without a log there is nothing that it could be asked to try.
    pub(crate) fn describe(&self) -> Result<(Version, Features), Failure> {
        let all = Features { memory_tracking: Some(true), lazy_pages: Some(true) };
        let version = self.ask(&Request { kind: Kind::Version.into(), ..Request::default() })?;
        let request = Request { kind: Kind::FeatureCheck.into(), features: Some(all), ..Request::default() };
        let features = self.ask(&request)?.features.unwrap_or_default();
        Ok((version.version.unwrap_or_default(), features))
    }

    fn ask(&self, request: &Request) -> Result<Response, Failure> {
        let why = || "it does not answer".to_owned();
        let silent = || Failure::Unavailable { what: "criu", why: why() };
        let mut worker = self.start(&[])?;
        worker.say(request)?;
        if !wait_readable(worker.socket.as_fd(), Some(END_DEADLINE)).map_err(Failure::kernel)? {
            return Err(silent());
        }
        let (response, _) = worker.hear()?.ok_or_else(silent)?;
        worker.end();
        Ok(response)
    }

    /// Starts a worker. This process becomes its parent, though a step in between starts it: so the restored
    /// process, which CRIU makes its own sibling, is ours, and both are reaped.
    fn start(&self, inherited: &[BorrowedFd<'_>]) -> Result<Worker, Failure> {
        process::set_child_subreaper(true).map_err(Failure::kernel)?;
        let (ours, theirs) = socket::pair(SocketKind::SequencedPacket, false).map_err(Failure::kernel)?;
        let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| Failure::file("open", "/dev/null", errno.into()))?;
        let own_terminal = tty::is_terminal(rustix::stdio::stdin());
        let stdin = if own_terminal { rustix::stdio::stdin() } else { null.as_fd() };
        let errors = memfd::new(c"criu-errors").map_err(Failure::kernel)?;
        let mut descriptors =
            vec![(stdin, 0), (null.as_fd(), 1), (errors.as_fd(), 2), (theirs.as_fd(), SOCKET)];
        let numbers = (0..inherited.len()).map(inherited_number);
        descriptors.extend(inherited.iter().copied().zip(numbers));
        let words = ["criu".to_owned(), "swrk".to_owned(), SOCKET.to_string()];
        let env = std::env::vars_os().map(|(name, value)| [name.into_vec(), value.into_vec()].join(&b'='));
        let spawn = Spawn {
            programme: self.program.as_fd(),
            args: words.into_iter().filter_map(|word| CString::new(word).ok()).collect(),
            env: env.filter_map(|entry| CString::new(entry).ok()).collect(),
            descriptors,
        };
        let process = spawn.start().map_err(Failure::kernel)?;
        Ok(Worker { socket: ours, process, errors, ended: false })
    }
}

/// A CRIU that works for us. Dropped before its end, it is killed.
struct Worker {
    socket: OwnedFd,
    process: Spawned,
    /// Its standard error: what its programs complain of, and itself before it has a log.
    errors: OwnedFd,
    ended: bool,
}

impl Worker {
    fn say(&self, request: &Request) -> Result<(), Failure> {
        socket::send(self.socket.as_fd(), &request.encode_to_vec(), &[]).map(drop).map_err(Failure::kernel)
    }

    /// The next answer; `None` when it has gone away without one.
    fn hear(&self) -> Result<Option<(Response, Option<OwnedFd>)>, Failure> {
        let mut buffer = vec![0; ANSWER_BYTES_MAX];
        let received = match socket::receive(self.socket.as_fd(), &mut buffer) {
            Err(error) if error.errno == gantry_linux::Errno::CONNRESET => return Ok(None),
            received => received.map_err(Failure::kernel)?,
        };
        if received.length == 0 {
            return Ok(None);
        }
        let strange =
            |_| Failure::Unavailable { what: "criu", why: "its answer is not understood".to_owned() };
        let response = Response::decode(&buffer[..received.length]).map_err(strange)?;
        Ok(Some((response, received.descriptors.into_iter().next())))
    }

    /// The end of what it wrote to standard error, in one line.
    fn last_words(&self) -> String {
        log::complaint_of(&self.errors).unwrap_or_else(|| "it ended without a word".to_owned())
    }

    /// Waits until it is gone, and reaps it. One that stays is killed.
    fn end(&mut self) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let pidfd = self.process.pidfd.as_fd();
        if !wait_readable(pidfd, Some(END_DEADLINE)).unwrap_or(false) {
            // It may have ended this very moment.
            let _ = send_to_pidfd(pidfd, Signal::KILL);
        }
        // What it answered counts, not how it ended.
        let _ = wait_child(self.process.pid);
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if !self.ended {
            // It may have ended already, which is why nobody hears it.
            let _ = send_to_pidfd(self.process.pidfd.as_fd(), Signal::KILL);
            self.end();
        }
    }
}

/// Ends what a killed worker has left: processes half restored, which are in no control group yet, and programs of its
/// own. This process has no other children, and became the parent of these as their nearest subreaper.
fn end_orphans() {
    let children = || std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    let first = |all: String| Pid::from_raw(all.split_whitespace().next()?.parse().ok()?);
    while let Some(pid) = first(children()) {
        // Its number cannot be another's before it is waited for.
        let killed = open_pidfd(pid).and_then(|pidfd| send_to_pidfd(pidfd.as_fd(), Signal::KILL));
        if killed.and_then(|()| wait_child(pid)).is_err() {
            return;
        }
    }
}

fn open(path: &Path) -> io::Result<OwnedFd> {
    rustix::fs::access(path, rustix::fs::Access::EXEC_OK)?;
    Ok(rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_neither_answers_nor_logs_is_killed_with_what_it_started() {
        // It reads nothing and ends never.
        let found = Criu::find(Some(Path::new("/usr/bin/yes"))).expect("one of coreutils");
        let criu = Criu { silence_max: Duration::from_millis(50), ..found };
        let folder = tempfile::tempdir().expect("a folder");
        let (log, inherited) = (folder.path().join("dump.log"), Vec::new());
        let job = Job { kind: Kind::Dump, options: Options::default(), inherited, log };
        let failure = criu.run(job, &mut |_, _| Ok(())).expect_err("it never answers");
        assert!(matches!(failure, Failure::CriuSilent { action: "checkpoint", .. }), "{failure}");
        let left = std::fs::read_to_string("/proc/thread-self/children").expect("of this thread");
        assert_eq!(left, "");
    }
}
