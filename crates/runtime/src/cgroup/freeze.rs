//! How everybody in a control group is held still, and let go. A freeze is over only when the kernel says that all
//! are still: version 2 tells it in `cgroup.events`, version 1's `freezer.state` is written and looked at again,
//! because a fork may slip by. On a hybrid machine version 2's freezer is taken, whose frozen processes can be
//! killed; version 1's are first thawed for that ([`Cgroup::kill`]). A freeze that does not come about in time is
//! undone: half frozen is worse than either.

use std::time::{Duration, Instant};

use gantry_linux::{Errno, Object, SyscallError};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};

use super::CgroupError;
use super::directory::{Cgroup, Role, read_file, write_file};

/// How long a freeze may take: a process in a system call that cannot be interrupted is waited for.
const FROZEN_DEADLINE: Duration = Duration::from_secs(10);
/// Version 1 is looked at again after this.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// The files of one freezer.
enum Freezer {
    Unified(String),
    Legacy(String),
}

impl Cgroup {
    /// Holds every process in it still. Waits until all are, at most ten seconds; then it is undone and an error.
    pub fn freeze(&self) -> Result<(), CgroupError> {
        let freezer = self.freezer()?;
        let result = match &freezer {
            Freezer::Unified(folder) => freeze_unified(folder),
            Freezer::Legacy(folder) => freeze_legacy(folder),
        };
        if result.is_err() {
            // The first failure is what counts.
            let _ = freezer.thaw();
        }
        result
    }

    /// Lets everybody go on. Nobody waits: a thawed process is runnable at once.
    pub fn thaw(&self) -> Result<(), CgroupError> {
        self.freezer()?.thaw()
    }

    /// Whether everybody in it is held still. A group that is gone, which a service manager may see to as soon as it is
    /// empty, holds nobody.
    pub fn is_frozen(&self) -> Result<bool, CgroupError> {
        let (path, line) = match self.freezer() {
            Err(CgroupError::NoFreezer { .. }) if !self.is_there() => return Ok(false),
            Err(error) => return Err(error),
            Ok(Freezer::Unified(folder)) => (format!("{folder}/cgroup.events"), "frozen 1"),
            Ok(Freezer::Legacy(folder)) => (format!("{folder}/freezer.state"), "FROZEN"),
        };
        match read_file(&path) {
            // NODEV: it went while its file was open.
            Err(error) if matches!(error.errno, Errno::NOENT | Errno::NODEV) => Ok(false),
            Err(source) => Err(CgroupError::Read { path, source }),
            Ok(text) => Ok(text.lines().any(|found| found == line)),
        }
    }

    fn is_there(&self) -> bool {
        self.places.iter().any(|place| rustix::fs::stat(place.folder(&self.path)).is_ok())
    }

    fn freezer(&self) -> Result<Freezer, CgroupError> {
        let folder = |role| {
            let place = self.places.iter().find(|place| place.role == role)?;
            Some(place.folder(&self.path))
        };
        // Linux 5.2 has it.
        let unified = folder(Role::Unified)
            .filter(|folder| rustix::fs::stat(format!("{folder}/cgroup.freeze")).is_ok())
            .map(Freezer::Unified);
        let freezer = unified.or_else(|| folder(Role::Freezer).map(Freezer::Legacy));
        freezer.ok_or_else(|| CgroupError::NoFreezer { path: self.path.to_string() })
    }
}

impl Freezer {
    fn thaw(&self) -> Result<(), CgroupError> {
        let (path, value) = match self {
            Self::Unified(folder) => (format!("{folder}/cgroup.freeze"), "0"),
            Self::Legacy(folder) => (format!("{folder}/freezer.state"), "THAWED"),
        };
        write_file(&path, value).map_err(|source| CgroupError::Freeze { path, source })
    }
}

fn freeze_unified(folder: &str) -> Result<(), CgroupError> {
    let path = format!("{folder}/cgroup.events");
    let fail = |source| CgroupError::Freeze { path: folder.to_owned(), source };
    let at = |call| {
        let object = Object::Path(path.clone().into());
        move |errno| SyscallError::new(call, object.clone(), errno)
    };
    // Opened before the freeze: a change between two reads ends the poll.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let events = rustix::fs::open(path.as_str(), flags, Mode::empty()).map_err(at("open")).map_err(fail)?;
    write_file(&format!("{folder}/cgroup.freeze"), "1").map_err(fail)?;
    let begin = Instant::now();
    loop {
        let mut text = [0; 256];
        let length = rustix::io::pread(&events, &mut text, 0).map_err(at("pread")).map_err(fail)?;
        if text[..length].split(|byte| *byte == b'\n').any(|line| line == b"frozen 1") {
            return Ok(());
        }
        let left = FROZEN_DEADLINE.saturating_sub(begin.elapsed());
        if left.is_zero() {
            return Err(not_frozen(folder));
        }
        let seconds = i64::try_from(left.as_secs()).unwrap_or(i64::MAX);
        let timeout = Timespec { tv_sec: seconds, tv_nsec: i64::from(left.subsec_nanos()) };
        match rustix::event::poll(&mut [PollFd::new(&events, PollFlags::PRI)], Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(fail(at("poll")(errno))),
        }
    }
}

fn freeze_legacy(folder: &str) -> Result<(), CgroupError> {
    let path = format!("{folder}/freezer.state");
    let fail = |source| CgroupError::Freeze { path: path.clone(), source };
    let begin = Instant::now();
    loop {
        // Written again each time: this is what makes the kernel look for those that were not still.
        write_file(&path, "FROZEN").map_err(fail)?;
        if read_file(&path).map_err(fail)?.trim() == "FROZEN" {
            return Ok(());
        }
        if begin.elapsed() > FROZEN_DEADLINE {
            return Err(not_frozen(folder));
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

fn not_frozen(folder: &str) -> CgroupError {
    let waited_ms = u64::try_from(FROZEN_DEADLINE.as_millis()).unwrap_or(u64::MAX);
    CgroupError::NotFrozen { path: folder.to_owned(), waited_ms }
}
