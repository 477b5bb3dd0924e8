//! How a container's control group ends: everybody in it is killed, it is waited for until it is empty, and
//! its folders are removed, with those that the container made in them. Killing is one write on version 2
//! (`cgroup.kill`, Linux 5.14), which no fork escapes; where only version 1 is, the freezer holds everybody
//! still meanwhile. Every wait has an end.

use std::time::{Duration, Instant};

use gantry_linux::signal::{self, Signal};
use gantry_linux::{Errno, Object, Pid, SyscallError};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};

use super::CgroupError;
use super::directory::{Cgroup, Role, read_file, remove_folder, write_file};

/// How long processes may take to go once they are killed: writing a core or unmounting takes time.
const EMPTY_DEADLINE: Duration = Duration::from_secs(10);
/// Where nothing tells that a folder is empty it is looked at again after this.
const LOOK_AGAIN: Duration = Duration::from_millis(2);
/// Folders that a container may have nested.
const DEPTH_MAX: usize = 64;

impl Cgroup {
    /// Kills every process in it (SIGKILL). Nobody is left to fork; they may take a moment to be gone.
    pub fn kill(&self) -> Result<(), CgroupError> {
        let Some(place) = self.places.iter().find(|place| place.role == Role::Unified) else {
            return self.kill_frozen();
        };
        let path = place.folder(&self.path);
        match write_file(&format!("{path}/cgroup.kill"), "1") {
            Err(error) if error.errno == Errno::NOENT => self.kill_frozen(),
            result => result.map_err(|source| CgroupError::Kill { path, source }),
        }
    }

    /// Sends a signal to every process in it; one that forks meanwhile may have a child that misses it.
    pub fn signal_all(&self, signal: Signal) -> Result<(), CgroupError> {
        let kill = |source| CgroupError::Kill { path: self.path.to_string(), source };
        self.processes()?.into_iter().try_for_each(|pid| send(pid, signal)).map_err(kill)
    }

    /// Waits until no process is in it, at most ten seconds.
    pub fn wait_empty(&self) -> Result<(), CgroupError> {
        let begin = Instant::now();
        for place in &self.places {
            let folder = place.folder(&self.path);
            while is_populated(&folder, place.role)? {
                let left = EMPTY_DEADLINE.saturating_sub(begin.elapsed());
                if left.is_zero() {
                    let waited_ms = u64::try_from(EMPTY_DEADLINE.as_millis()).unwrap_or(u64::MAX);
                    return Err(CgroupError::Populated { path: folder, waited_ms });
                }
                wait_for_change(&folder, place.role, left);
            }
        }
        Ok(())
    }

    /// Removes every folder. One that is gone already is no failure; in one with processes they are killed and
    /// waited for, once. All are tried, and the first failure is told.
    pub fn remove(&self) -> Result<(), CgroupError> {
        let mut failure: Option<CgroupError> = None;
        for place in &self.places {
            let path = place.folder(&self.path);
            let removed = match remove_folder(&path) {
                Err(error) if error.errno == Errno::BUSY && failure.is_none() => self
                    .kill()
                    .and_then(|()| self.wait_empty())
                    .and_then(|()| remove_tree(&path).map_err(|source| CgroupError::Remove { path, source })),
                Err(error) if error.errno == Errno::NOENT => Ok(()),
                result => result.map_err(|source| CgroupError::Remove { path, source }),
            };
            failure = failure.or_else(|| removed.err());
        }
        failure.map_or(Ok(()), Err)
    }

    /// Freezes everybody, kills, and thaws, so that nobody forks between; round after round until all are
    /// marked, because a kernel without a freezer folder for us leaves only racing.
    fn kill_frozen(&self) -> Result<(), CgroupError> {
        const ROUNDS_MAX: u32 = 1000;
        let freezer =
            self.places.iter().find(|place| place.role == Role::Freezer).or_else(|| self.places.first());
        let Some(place) = freezer else { return Ok(()) };
        let folder = place.folder(&self.path);
        let freeze = |state: &str| match write_file(&format!("{folder}/freezer.state"), state) {
            Err(error) if error.errno != Errno::NOENT => Err(error),
            _ => Ok(()),
        };
        let kill = |source| CgroupError::Kill { path: folder.clone(), source };
        for _ in 0..ROUNDS_MAX {
            freeze("FROZEN").map_err(kill)?;
            let processes = processes_in_tree(&folder)?;
            let killed = processes.iter().try_for_each(|pid| send(*pid, Signal::KILL));
            // Whatever happened, nobody is left frozen: a frozen process does not even die.
            freeze("THAWED").and(killed).map_err(kill)?;
            if processes.is_empty() {
                return Ok(());
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        let waited_ms = u64::try_from(LOOK_AGAIN.as_millis()).unwrap_or_default() * u64::from(ROUNDS_MAX);
        Err(CgroupError::Populated { path: folder, waited_ms })
    }
}

/// Removes the folders of namespaces that have no containers beneath `parent` (`/gantry`), and `parent` itself
/// when it is empty then; in every hierarchy. They cost something to make again, so not after each container.
/// What is in use stays, untold. Not while a container is being made.
#[cfg(feature = "plan")]
pub fn prune(host: &super::Host, parent: &str) -> Result<(), CgroupError> {
    let mountpoints = host.legacy.iter().map(|hierarchy| &hierarchy.mountpoint);
    for mountpoint in mountpoints.chain(host.unified.iter().map(|hierarchy| &hierarchy.mountpoint)) {
        let top = format!("{mountpoint}/{}", parent.trim_matches('/'));
        let mut folders = children(&top).map_err(|source| CgroupError::Read { path: top.clone(), source })?;
        folders.push(top);
        for path in folders {
            match remove_folder(&path) {
                Err(error) if ![Errno::BUSY, Errno::NOENT, Errno::NOTEMPTY].contains(&error.errno) => {
                    return Err(CgroupError::Remove { path, source: error });
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Signals a process, if it is still there.
fn send(pid: Pid, signal: Signal) -> Result<(), SyscallError> {
    match signal::send(pid, signal) {
        Err(error) if error.errno != Errno::SRCH => Err(error),
        _ => Ok(()),
    }
}

/// Removes a folder and those in it, the deepest first. None may have processes.
pub(super) fn remove_tree(path: &str) -> Result<(), SyscallError> {
    let tree = tree(path)?;
    tree.iter().rev().try_for_each(|folder| match remove_folder(folder) {
        Err(error) if error.errno != Errno::NOENT => Err(error),
        _ => Ok(()),
    })
}

/// Every process in a folder and those in it.
pub(super) fn processes_in_tree(path: &str) -> Result<Vec<Pid>, CgroupError> {
    let fail = |source| CgroupError::Read { path: path.to_owned(), source };
    let mut processes = Vec::new();
    for folder in tree(path).map_err(fail)? {
        match read_file(&format!("{folder}/cgroup.procs")) {
            Ok(text) => processes.extend(text.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?))),
            // It went meanwhile; or it is a threaded one, whose processes its parent shows.
            Err(error) if [Errno::NOENT, Errno::NODEV, Errno::OPNOTSUPP].contains(&error.errno) => {}
            Err(source) => return Err(fail(source)),
        }
    }
    Ok(processes)
}

/// A folder and all in it, each after its parent.
fn tree(path: &str) -> Result<Vec<String>, SyscallError> {
    let mut found = vec![(path.to_owned(), 0)];
    let mut next = 0;
    while let Some((folder, depth)) = found.get(next).cloned() {
        next += 1;
        if depth == DEPTH_MAX {
            return Err(SyscallError::new("open", Object::Path(folder.into()), Errno::LOOP));
        }
        found.extend(children(&folder)?.into_iter().map(|child| (child, depth + 1)));
    }
    Ok(found.into_iter().map(|(folder, _)| folder).collect())
}

/// The folders in a folder; none when it is gone.
fn children(folder: &str) -> Result<Vec<String>, SyscallError> {
    let fail = |errno| SyscallError::new("open", Object::Path(folder.into()), errno);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = match rustix::fs::open(folder, flags, Mode::empty()) {
        Ok(directory) => directory,
        Err(Errno::NOENT) => return Ok(Vec::new()),
        Err(errno) => return Err(fail(errno)),
    };
    let mut found = Vec::new();
    for entry in rustix::fs::Dir::new(directory).map_err(fail)? {
        let entry = match entry {
            Ok(entry) => entry,
            // Removed between its opening and its reading.
            Err(Errno::NOENT) => return Ok(Vec::new()),
            Err(errno) => return Err(fail(errno)),
        };
        let name = entry.file_name().to_string_lossy();
        if entry.file_type().is_dir() && name != "." && name != ".." {
            found.push(format!("{folder}/{name}"));
        }
    }
    Ok(found)
}

fn is_populated(folder: &str, role: Role) -> Result<bool, CgroupError> {
    let (file, is_unified) = match role {
        Role::Unified => ("cgroup.events", true),
        Role::Freezer | Role::Memory | Role::Cpuset | Role::Other => ("cgroup.procs", false),
    };
    if !is_unified {
        return Ok(!processes_in_tree(folder)?.is_empty());
    }
    let path = format!("{folder}/{file}");
    match read_file(&path) {
        Ok(text) => Ok(text.lines().any(|line| line == "populated 1")),
        Err(error) if [Errno::NOENT, Errno::NODEV].contains(&error.errno) => Ok(false),
        Err(source) => Err(CgroupError::Read { path, source }),
    }
}

/// Waits until the folder may have changed: version 2 tells it, version 1 is looked at again.
fn wait_for_change(folder: &str, role: Role, left: Duration) {
    /// Between the look and the wait the last process may have gone, untold.
    const UNTOLD_MAX: Duration = Duration::from_millis(20);
    let events = format!("{folder}/cgroup.events");
    let opened = (role == Role::Unified)
        .then(|| rustix::fs::open(events.as_str(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok())
        .flatten();
    let Some(file) = opened else {
        std::thread::sleep(LOOK_AGAIN.min(left));
        return;
    };
    let timeout = left.min(UNTOLD_MAX);
    let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(timeout.subsec_nanos()) };
    // A failed poll is only an early look.
    let _ = rustix::event::poll(&mut [PollFd::new(&file, PollFlags::PRI)], Some(&timeout));
}
