//! How a container's folders are made, limited and joined, in few calls: on a warm machine one mkdir per
//! hierarchy, a look at version 2's controllers and three calls per limit. The folders above are made, and on version 2
//! their controllers enabled, only when they are missing. A process is born in the version 2 folder
//! ([`Cgroup::clone_target`]) and enters those of version 1 itself ([`Cgroup::doors`]); a process that is there
//! already is written into them from outside ([`Cgroup::join`]), which waits for the whole machine.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gantry_linux::process::set_umask;
use gantry_linux::{Errno, Object, Pid, SyscallError, bpf};
use rustix::fs::{CWD, Mode, OFlags};

use super::{CgroupError, CgroupPlan, Folder, Version, Write};

/// Folders are seen by the container's users.
const FOLDER_MODE: u32 = 0o755;
/// The umask that lets them.
const FOLDER_UMASK: u32 = 0o022;

/// A container's control group on the host. Small, for a supervisor keeps it for life.
#[derive(Debug)]
pub struct Cgroup {
    pub(super) path: Box<str>,
    pub(super) places: Box<[Place]>,
    unified: Option<OwnedFd>,
    given: bool,
    /// The container's own, in the hierarchies that this one is not in; only of [`Cgroup::open_below`].
    above: Option<Box<Cgroup>>,
}

/// One folder of it.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) mountpoint: Box<str>,
    pub(super) role: Role,
}

/// What a folder is good for beside its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Version 2: birth, death, and with controllers memory events.
    Unified,
    /// Version 1, `freezer`.
    Freezer,
    /// Version 1, `memory`.
    Memory,
    /// Version 1, `cpuset`: takes nobody until it has processors.
    Cpuset,
    /// Any other version 1 hierarchy.
    Other,
}

impl Place {
    pub(super) fn folder(&self, path: &str) -> String {
        format!("{}/{path}", self.mountpoint)
    }

    /// Fills the processors and memory nodes of every folder on the way down to one of this hierarchy.
    pub(super) fn fill_cpusets(&self, folder: &str) -> Result<(), SyscallError> {
        let path = folder.strip_prefix(&*self.mountpoint).unwrap_or(folder);
        fill_cpusets(&self.mountpoint, path.trim_start_matches('/'))
    }
}

impl Cgroup {
    /// Makes every folder, but those that are given, and writes every limit. A folder that a crash left behind without
    /// processes is made anew; after a failure nothing of the container is left. Changes the process's umask meanwhile:
    /// a chmod of every folder costs as much as making one.
    pub fn create(plan: &CgroupPlan) -> Result<Self, CgroupError> {
        let mut made = Self::of(plan);
        let umask = set_umask(FOLDER_UMASK);
        let result = made.make(plan);
        set_umask(umask);
        match result {
            Ok(()) => Ok(made),
            Err(error) => {
                // The first failure is what counts; a folder that stays is found by its name later.
                let _ = made.remove();
                Err(error)
            }
        }
    }

    /// The group that a plan made before, for a supervisor that starts again, or to take away what is left of it. It
    /// need not be there.
    pub fn open(plan: &CgroupPlan) -> Result<Self, CgroupError> {
        let mut opened = Self::of(plan);
        opened.open_unified()?;
        Ok(opened)
    }

    /// Without a look at the host.
    fn of(plan: &CgroupPlan) -> Self {
        Self {
            path: plan.path.as_str().into(),
            places: places(plan),
            unified: None,
            given: plan.given,
            above: None,
        }
    }

    /// A group below the container's, for another process to join. Whoever made it need not have made it in every
    /// hierarchy of version 1: where it is not, the process joins the container's own. It must be somewhere.
    pub fn open_below(plan: &CgroupPlan, below: &str) -> Result<Self, CgroupError> {
        let mut above = Self::open(plan)?;
        let path = format!("{}/{below}", plan.path);
        let mut found = Self::open(&CgroupPlan { path: path.clone(), ..plan.clone() })?;
        let (there, missing): (Vec<_>, Vec<_>) = std::mem::take(&mut found.places)
            .into_iter()
            .partition(|place| rustix::fs::stat(place.folder(&path)).is_ok());
        if there.is_empty() {
            let source = SyscallError::new("stat", Object::Name("a folder"), Errno::NOENT);
            return Err(CgroupError::Read { path, source });
        }
        above.places = missing.into();
        found.places = there.into();
        found.above = Some(Box::new(above));
        Ok(found)
    }

    /// Whether a service manager made it, who takes it away when nobody is in it.
    pub fn is_given(&self) -> bool {
        self.given
    }

    /// The version 2 folder, for CLONE_INTO_CGROUP; `None` on a machine with version 1 alone.
    pub fn clone_target(&self) -> Option<BorrowedFd<'_>> {
        self.unified.as_ref().or_else(|| self.above.as_ref()?.unified.as_ref()).map(AsFd::as_fd)
    }

    /// The folders that a process joins, with their paths.
    pub(super) fn joined(&self) -> impl Iterator<Item = (&Place, String)> {
        let above = self.above.iter().flat_map(|above| above.places.iter().map(|place| (place, &above.path)));
        let own = self.places.iter().map(|place| (place, &self.path));
        own.chain(above).map(|(place, path)| (place, place.folder(path)))
    }

    /// Puts a process into the version 1 folders. Nothing to do on version 2, where it was born in its folder.
    pub fn join(&self, pid: Pid) -> Result<(), CgroupError> {
        let value = pid.to_string();
        for (place, folder) in self.joined().filter(|(place, _)| place.role != Role::Unified) {
            let file = format!("{folder}/cgroup.procs");
            let joined = match write_file(&file, &value) {
                // A cpuset without processors takes nobody: the folders above were made by somebody else.
                Err(error) if error.errno == Errno::NOSPC => {
                    place.fill_cpusets(&folder).and_then(|()| write_file(&file, &value))
                }
                other => other,
            };
            joined.map_err(|source| CgroupError::Join { pid: pid.as_raw(), path: folder, source })?;
        }
        Ok(())
    }

    fn make(&mut self, plan: &CgroupPlan) -> Result<(), CgroupError> {
        for folder in &plan.folders {
            let path = format!("{}/{}", folder.mountpoint, plan.path);
            let made = make_folder(&path).or_else(|error| match error.errno {
                Errno::NOENT => make_above(folder, &plan.path).and_then(|()| make_folder(&path)),
                Errno::EXIST if plan.given => Ok(()),
                Errno::EXIST => super::end::remove_tree(&path).and_then(|()| make_folder(&path)),
                _ => Err(error),
            });
            made.map_err(|source| CgroupError::Create { path: path.clone(), source })?;
            if !plan.given && folder.version() == Version::Unified {
                add_missing_controllers(folder, &plan.path);
            }
            for writes in folder.writes.chunk_by(is_same_file) {
                apply(folder, &plan.path, writes)?;
            }
        }
        self.open_unified()?;
        if let (Some(unified), false) = (&self.unified, plan.device_filter.is_empty()) {
            filter_devices(unified.as_fd(), &plan.device_filter)
                .map_err(|source| CgroupError::DeviceFilter { path: plan.path.clone(), source })?;
        }
        Ok(())
    }

    fn open_unified(&mut self) -> Result<(), CgroupError> {
        if let Some(place) = self.places.iter().find(|place| place.role == Role::Unified) {
            let path = place.folder(&self.path);
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let opened = rustix::fs::open(path.as_str(), flags, Mode::empty());
            self.unified = match opened {
                Ok(folder) => Some(folder),
                Err(Errno::NOENT) => None,
                Err(errno) => {
                    let source = SyscallError::new("open", Object::Name("a folder"), errno);
                    return Err(CgroupError::Read { path, source });
                }
            };
        }
        Ok(())
    }
}

/// Whether two writes go to one file, so that it is opened once.
pub(super) fn is_same_file(one: &Write, next: &Write) -> bool {
    one.file == next.file && one.preferred.is_none() && next.preferred.is_none()
}

fn places(plan: &CgroupPlan) -> Box<[Place]> {
    let place = |folder: &Folder| {
        let has = |name: &str| folder.controllers.iter().any(|controller| controller == name);
        let role = match folder.version() {
            Version::Unified => Role::Unified,
            Version::Legacy if has("freezer") => Role::Freezer,
            Version::Legacy if has("memory") => Role::Memory,
            Version::Legacy if has("cpuset") => Role::Cpuset,
            Version::Legacy => Role::Other,
        };
        Place { mountpoint: folder.mountpoint.as_str().into(), role }
    };
    plan.folders.iter().map(place).collect()
}

/// Writes one or more values to one file. On version 2 a missing file may mean that a controller is not enabled
/// above.
pub(super) fn apply(folder: &Folder, path: &str, writes: &[Write]) -> Result<(), CgroupError> {
    let Some(first) = writes.first() else { return Ok(()) };
    let base = format!("{}/{path}", folder.mountpoint);
    writes.iter().filter(|write| !write.usage.is_empty()).try_for_each(|write| check_usage(&base, write))?;
    if let Some(preferred) = &first.preferred {
        let path = format!("{base}/{}", preferred.file);
        match write_file(&path, &preferred.value) {
            Err(error) if error.errno == Errno::NOENT => {}
            result => {
                let value = preferred.value.clone();
                return result.map_err(|source| CgroupError::Limit { path, value, source });
            }
        }
    }
    let file = format!("{base}/{}", first.file);
    let refused = |write: &Write, source| {
        Err(CgroupError::Limit { path: file.clone(), value: write.value.clone(), source })
    };
    let opened = match open_file(&file) {
        Err(error) if error.errno == Errno::NOENT && folder.version() == Version::Unified => {
            make_above(folder, path).and_then(|()| open_file(&file))
        }
        result => result,
    };
    let opened = match opened {
        Err(error) if error.errno == Errno::NOENT && first.optional => return Ok(()),
        Err(error) => return refused(first, error),
        Ok(opened) => opened,
    };
    writes
        .iter()
        .try_for_each(|write| write_to(&opened, &file, &write.value).or_else(|error| refused(write, error)))
}

/// Refuses a limit below what is in use. Between this look and the write the use may grow: the kernel then does
/// what it does without the look.
fn check_usage(base: &str, write: &Write) -> Result<(), CgroupError> {
    let path = format!("{base}/{}", write.usage);
    let text = read_file(&path).map_err(|source| CgroupError::Read { path, source })?;
    match (text.trim().parse::<u64>(), write.value.parse::<u64>()) {
        (Ok(used), Ok(limit)) if used > limit => {
            Err(CgroupError::InUse { path: format!("{base}/{}", write.file), value: limit, used })
        }
        _ => Ok(()),
    }
}

/// Makes the folders above, and prepares each for those below it: controllers on version 2, and on version 1
/// processors that children inherit. All of it can be done twice.
fn make_above(folder: &Folder, path: &str) -> Result<(), SyscallError> {
    let enable = folder.controllers.iter().map(|name| format!("+{name}")).collect::<Vec<_>>().join(" ");
    let is_cpuset =
        folder.version() == Version::Legacy && folder.controllers.iter().any(|name| name == "cpuset");
    let prepare = |current: &str| match folder.version() {
        Version::Unified if !enable.is_empty() => {
            write_file(&format!("{current}/cgroup.subtree_control"), &enable)
        }
        Version::Unified | Version::Legacy => Ok(()),
    };
    let mut parent = folder.mountpoint.clone();
    prepare(&parent)?;
    for current in above(&folder.mountpoint, path).skip(1) {
        match make_folder(&current) {
            Err(error) if error.errno != Errno::EXIST => return Err(error),
            _ => {}
        }
        if is_cpuset {
            inherit_cpuset(&parent, &current)?;
            write_file(&format!("{current}/cgroup.clone_children"), "1")?;
        }
        prepare(&current)?;
        parent = current;
    }
    Ok(())
}

/// The mount point, and the folders on the way down to the one above a path.
fn above(mountpoint: &str, path: &str) -> impl Iterator<Item = String> {
    let folders = path.rsplit_once('/').map_or("", |(above, _)| above);
    let components = folders.split('/').filter(|component| !component.is_empty());
    let below = components.scan(mountpoint.to_owned(), |current, component| {
        *current = format!("{current}/{component}");
        Some(current.clone())
    });
    std::iter::once(mountpoint.to_owned()).chain(below)
}

/// Gives a new version 2 folder the controllers of the plan that it has not got, because the folders above were there
/// before and somebody else's: without them its use is not counted, and whoever is inside cannot divide it further.
/// What the kernel does not give here (a folder above has processes of its own) is done without; a limit that
/// needs it tells.
fn add_missing_controllers(folder: &Folder, path: &str) {
    let Ok(there) = read_file(&format!("{}/{path}/cgroup.controllers", folder.mountpoint)) else { return };
    let is_missing = |name: &&String| !there.split_ascii_whitespace().any(|one| one == **name);
    let missing: Vec<&String> = folder.controllers.iter().filter(is_missing).collect();
    if missing.is_empty() {
        return;
    }
    for current in above(&folder.mountpoint, path) {
        for name in &missing {
            let _ = write_file(&format!("{current}/cgroup.subtree_control"), &format!("+{name}"));
        }
    }
}

/// Fills the processors and memory nodes of every folder on the way down that has none.
fn fill_cpusets(mountpoint: &str, path: &str) -> Result<(), SyscallError> {
    let mut current = mountpoint.to_owned();
    for component in path.split('/') {
        let parent = current.clone();
        current = format!("{current}/{component}");
        inherit_cpuset(&parent, &current)?;
    }
    Ok(())
}

fn inherit_cpuset(parent: &str, child: &str) -> Result<(), SyscallError> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let own = read_file(&format!("{child}/{file}"))?;
        if own.trim().is_empty() {
            write_file(&format!("{child}/{file}"), read_file(&format!("{parent}/{file}"))?.trim())?;
        }
    }
    Ok(())
}

fn filter_devices(folder: BorrowedFd<'_>, bytes: &[u8]) -> Result<(), SyscallError> {
    let programme = bpf::load_device_filter(&instructions(bytes))?;
    bpf::attach_device_filter(folder, programme.as_fd())
}

pub(super) fn instructions(bytes: &[u8]) -> Vec<bpf::Instruction> {
    let instruction = |chunk: &[u8]| bpf::Instruction {
        code: chunk[0],
        registers: chunk[1],
        offset: i16::from_ne_bytes([chunk[2], chunk[3]]),
        immediate: i32::from_ne_bytes([chunk[4], chunk[5], chunk[6], chunk[7]]),
    };
    bytes.chunks_exact(size_of::<bpf::Instruction>()).map(instruction).collect()
}

fn make_folder(path: &str) -> Result<(), SyscallError> {
    let fail = |call| move |errno| SyscallError::new(call, Object::Path(path.into()), errno);
    rustix::fs::mkdir(path, Mode::from_raw_mode(FOLDER_MODE)).map_err(fail("mkdir"))
}

pub(super) fn remove_folder(path: &str) -> Result<(), SyscallError> {
    rustix::fs::unlinkat(CWD, path, rustix::fs::AtFlags::REMOVEDIR)
        .map_err(|errno| SyscallError::new("rmdir", Object::Path(path.into()), errno))
}

pub(super) fn write_file(path: &str, value: &str) -> Result<(), SyscallError> {
    write_to(&open_file(path)?, path, value)
}

pub(super) fn open_file(path: &str) -> Result<OwnedFd, SyscallError> {
    rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| SyscallError::new("open", Object::Path(path.into()), errno))
}

fn write_to(file: &OwnedFd, path: &str, value: &str) -> Result<(), SyscallError> {
    rustix::io::write(file, value.as_bytes())
        .map(drop)
        .map_err(|errno| SyscallError::new("write", Object::Path(path.into()), errno))
}

pub(super) fn read_file(path: &str) -> Result<String, SyscallError> {
    const BYTES_MAX: u64 = 1 << 20;
    let fail = |call| move |errno| SyscallError::new(call, Object::Path(path.into()), errno);
    let file =
        rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(fail("open"))?;
    let bytes = gantry_linux::path::read_bounded(file, BYTES_MAX)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
