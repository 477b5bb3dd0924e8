//! What a control group tells of its container: who is in it, and whether the kernel killed somebody because
//! memory ran out.

use std::os::fd::{AsRawFd, OwnedFd};

use gantry_linux::{Errno, Object, Pid, SyscallError};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::fs::{Mode, OFlags};

use super::CgroupError;
use super::directory::{Cgroup, Role, read_file, write_file};
use super::end::processes_in_tree;

impl Cgroup {
    /// How many processes the kernel has killed in it for want of memory; `None` where nothing counts that, or the
    /// folder is gone.
    pub fn oom_kills(&self) -> Result<Option<u64>, CgroupError> {
        let counters = self.places.iter().filter_map(|place| {
            let file = match place.role {
                Role::Unified => "memory.events",
                Role::Memory => "memory.oom_control",
                Role::Freezer | Role::Cpuset | Role::Other => return None,
            };
            Some(format!("{}/{file}", place.folder(&self.path)))
        });
        let mut kills = None;
        for path in counters {
            match read_file(&path) {
                Ok(text) => kills = Some(kills.unwrap_or(0) + field(&text, "oom_kill")),
                // On a hybrid machine version 2 has no memory controller.
                Err(error) if [Errno::NOENT, Errno::NODEV].contains(&error.errno) => {}
                Err(source) => return Err(CgroupError::Read { path, source }),
            }
        }
        Ok(kills)
    }

    /// How many the kernel has killed so in the version 2 group above and everywhere below that, groups that have gone
    /// included. 0 where nothing counts it.
    pub fn oom_kills_above(&self) -> u64 {
        let unified = self.places.iter().find(|place| place.role == Role::Unified);
        let folder = unified.and_then(|place| Some(place.folder(self.path.rsplit_once('/')?.0)));
        let text = folder.and_then(|folder| read_file(&format!("{folder}/memory.events")).ok());
        text.map_or(0, |text| field(&text, "oom_kill"))
    }

    /// A descriptor, nonblocking, that becomes readable when memory runs out in it; then [`Self::oom_kills`] tells
    /// whether somebody was killed, and reading up to 4 KiB clears it. `None` where nothing tells.
    pub fn oom_notifier(&self) -> Result<Option<OwnedFd>, CgroupError> {
        for place in &self.places {
            let folder = place.folder(&self.path);
            let notifier = match place.role {
                Role::Unified => watch(&format!("{folder}/memory.events")),
                Role::Memory => subscribe(&folder),
                Role::Freezer | Role::Cpuset | Role::Other => continue,
            };
            match notifier {
                Ok(notifier) => return Ok(Some(notifier)),
                Err(error) if error.errno == Errno::NOENT => {}
                Err(source) => return Err(CgroupError::Read { path: folder, source }),
            }
        }
        Ok(None)
    }

    /// Every process in it, at this moment. Beside version 1 the folder of version 2 is empty where another runtime, one
    /// that knows only version 1 on such machines, made the container: then a folder of version 1 has them.
    pub fn processes(&self) -> Result<Vec<Pid>, CgroupError> {
        let unified = self.places.iter().find(|place| place.role == Role::Unified);
        let legacy = self.places.iter().find(|place| place.role != Role::Unified);
        for place in unified.into_iter().chain(legacy) {
            let processes = processes_in_tree(&place.folder(&self.path))?;
            if !processes.is_empty() {
                return Ok(processes);
            }
        }
        Ok(Vec::new())
    }
}

/// Version 2: the file's changes.
fn watch(file: &str) -> Result<OwnedFd, SyscallError> {
    let fail = |errno| SyscallError::new("inotify_add_watch", Object::Path(file.into()), errno);
    let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map_err(fail)?;
    inotify::add_watch(&inotify, file, WatchFlags::MODIFY).map_err(fail)?;
    Ok(inotify)
}

/// Version 1: an event counter registered by the numbers of its descriptor and of the file's.
fn subscribe(folder: &str) -> Result<OwnedFd, SyscallError> {
    let control = format!("{folder}/memory.oom_control");
    let fail = |errno| SyscallError::new("open", Object::Path(control.clone().into()), errno);
    let watched =
        rustix::fs::open(control.as_str(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(fail)?;
    let counter = gantry_linux::event::eventfd()?;
    let registration = format!("{} {}", counter.as_raw_fd(), watched.as_raw_fd());
    write_file(&format!("{folder}/cgroup.event_control"), &registration)?;
    Ok(counter)
}

/// A line `name value` of a flat keyed file; 0 when it is missing (oom_control has it since Linux 4.13).
fn field(text: &str, name: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::field;

    #[test]
    fn a_counter_is_found_by_its_whole_name() {
        let events = "low 0\noom 3\noom_kill 2\noom_group_kill 1\n";
        assert_eq!(field(events, "oom_kill"), 2);
        assert_eq!(field(events, "max"), 0);
    }
}
