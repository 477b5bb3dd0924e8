//! `checkpoint`: CRIU writes everything of a running container's processes into a folder of images. They end with
//! that, and the container is deleted, unless they are to go on (`--leave-running`, and always after `--pre-dump`).
//! A checkpoint that fails leaves the container as it was.

use std::fs;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use gantry_linux::Pid;
use gantry_runtime::cgroup::{CgroupPlan, Version};
use rustix::fs::{Mode, OFlags};

use super::delete::clean_up;
use super::{Outcome, cgroup_of, status};
use crate::containers::{Containers, Folder};
use crate::criu::message::{Kind, Options};
use crate::criu::{Criu, Job};
use crate::failure::Failure;
use crate::options::{CgroupMode, Checkpoint, Globals, Images};
use crate::outside;
use crate::record::{Record, Status};
use crate::report::Report;

/// The folder of the images when none is named, as with runc.
const USUAL_IMAGES: &str = "checkpoint";
/// CRIU's log beside its work.
const LOG: &str = "dump.log";
/// CRIU tells what it does; a failure cannot be understood with less.
const LOG_LEVEL: i32 = 4;
/// nftables, in CRIU's numbers.
const LOCK_WITH_NFTABLES: i32 = 2;
const NEW_NETWORK: u32 = gantry_linux::clone::Namespaces::NETWORK.bits();

/// Where CRIU reads and writes.
pub(super) struct Folders {
    pub(super) images: PathBuf,
    images_descriptor: OwnedFd,
    work: PathBuf,
    work_descriptor: OwnedFd,
}

pub(super) fn checkpoint(
    options: &Checkpoint,
    globals: &Globals,
    containers: &Containers,
    report: &Report,
) -> Outcome {
    let (folder, record) = containers.find(&options.id)?;
    let before = status(&folder, &record)?;
    match before {
        Status::Running | Status::Paused => {}
        Status::Stopped => return Err(Failure::NotRunning),
        found @ (Status::Creating | Status::Created) => {
            return Err(Failure::WrongStatus { id: options.id.clone(), verb: "checkpoint", status: found });
        }
    }
    let criu = Criu::find(globals.criu.as_deref())?;
    let folders = Folders::open(&options.images, true)?;
    if let Some(parent) = &options.parent {
        let parent = folders.images.join(parent);
        fs::metadata(&parent).map_err(|error| Failure::file("open", parent, error))?;
    }
    let asked = dump(options, &folder, &record, &folders)?;
    let kind = if options.pre_dump { Kind::SinglePreDump } else { Kind::Dump };
    let job = Job { kind, options: asked, inherited: Vec::new(), log: folders.log(LOG) };
    if let Err(failure) = criu.run(job, &mut |_, _| Ok(())) {
        if before == Status::Running {
            // A CRIU that was killed may have left it frozen. The failure that led here is the one that is told.
            drop(cgroup_of(&folder).map(|cgroup| cgroup.map(|cgroup| cgroup.thaw())));
        }
        return Err(failure);
    }
    if !options.pre_dump && !options.leave_running {
        clean_up(folder, report)?;
    }
    Ok(None)
}

/// What CRIU is asked.
fn dump(
    options: &Checkpoint,
    folder: &Folder,
    record: &Record,
    folders: &Folders,
) -> Result<Options, Failure> {
    let plan = folder.plan()?;
    outside::check(&plan)?;
    let pid = record.pid().ok_or(Failure::NotRunning)?;
    let descriptors = outside::descriptors_of(pid)?;
    outside::keep_descriptors(&folders.images, &descriptors)?;
    let mut asked = asked(&options.images, folders, &record.rootfs)?;
    asked.log_file = Some(LOG.to_owned());
    asked.pid = Some(pid.as_raw());
    asked.leave_running = Some(options.leave_running);
    asked.external_mounts = outside::mounts_to_leave_out(&plan, pid)?;
    asked.external = outside::namespaces_to_leave_out(&plan, pid)?;
    asked.external.extend(outside::external_files(&descriptors));
    asked.freezer = plan.cgroup.as_ref().and_then(freezer);
    asked.tcp_skip_in_flight = Some(options.tcp_skip_in_flight);
    asked.link_remap = Some(options.link_remap);
    asked.parent_images = options.parent.as_deref().map(text).transpose()?;
    asked.track_memory = Some(options.pre_dump || options.parent.is_some());
    // Looked at last: the number may have become another's while the rest was read.
    if is_same(record, pid) { Ok(asked) } else { Err(Failure::NotRunning) }
}

fn is_same(record: &Record, pid: Pid) -> bool {
    record.pid() == Some(pid) && record.is_alive()
}

/// What a checkpoint and a restore ask alike.
pub(super) fn asked(images: &Images, folders: &Folders, root: &Path) -> Result<Options, Failure> {
    Ok(Options {
        images_dir: folders.images_descriptor.as_raw_fd(),
        work_dir: Some(folders.work_descriptor.as_raw_fd()),
        root: Some(text(root)?),
        log_level: Some(LOG_LEVEL),
        external_unix_sockets: Some(images.ext_unix_sk),
        tcp_established: Some(images.tcp_established),
        shell_job: Some(images.shell_job),
        file_locks: Some(images.file_locks),
        auto_dedup: Some(images.auto_dedup),
        cgroup_mode: Some(number_of(images.cgroup_mode)),
        empty_namespaces: images.empty_network.then_some(NEW_NETWORK),
        orphan_terminals: Some(true),
        network_lock: (!has_iptables()).then_some(LOCK_WITH_NFTABLES),
        ..Options::default()
    })
}

/// CRIU's numbers of what becomes of control groups.
fn number_of(mode: CgroupMode) -> i32 {
    match mode {
        CgroupMode::Ignore => 0,
        CgroupMode::Soft => 3,
        CgroupMode::Full => 4,
        CgroupMode::Strict => 5,
    }
}

/// Whether there is what CRIU by itself would hold network traffic back with.
fn has_iptables() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join("iptables-restore").exists())
}

/// The folder that everybody is frozen by, in the order in which `pause` looks for it.
fn freezer(group: &CgroupPlan) -> Option<String> {
    let path = |mountpoint: &str| format!("{mountpoint}/{}", group.path);
    let unified = group.folders.iter().filter(|folder| folder.version() == Version::Unified);
    let legacy = group.folders.iter().filter(|folder| folder.version() == Version::Legacy);
    let file = |name: &'static str| move |folder: &String| Path::new(folder).join(name).exists();
    let unified = unified.map(|folder| path(&folder.mountpoint)).find(file("cgroup.freeze"));
    unified.or_else(|| legacy.map(|folder| path(&folder.mountpoint)).find(file("freezer.state")))
}

fn text(path: &Path) -> Result<String, Failure> {
    let problem = || Failure::usage(format!("{} is not UTF-8", path.display()));
    path.to_str().map(str::to_owned).ok_or_else(problem)
}

impl Folders {
    /// Opens them; those of a checkpoint are made, for root alone: memory is in them.
    pub(super) fn open(images: &Images, make: bool) -> Result<Self, Failure> {
        let given = images.path.clone().unwrap_or_else(|| USUAL_IMAGES.into());
        let open = |path: &Path, make: bool| -> Result<(PathBuf, OwnedFd), Failure> {
            if make {
                let created = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
                created.map_err(|error| Failure::file("make", path, error))?;
            }
            let path = fs::canonicalize(path).map_err(|error| Failure::file("open", path, error))?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let descriptor = rustix::fs::open(&path, flags, Mode::empty())
                .map_err(|errno| Failure::file("open", &path, errno.into()))?;
            Ok((path, descriptor))
        };
        let (images_path, images_descriptor) = open(&given, make)?;
        let (work, work_descriptor) = match &images.work {
            Some(work) => open(work, true)?,
            None => open(&images_path, false)?,
        };
        Ok(Self { images: images_path, images_descriptor, work, work_descriptor })
    }

    /// The path of a log.
    pub(super) fn log(&self, name: &str) -> PathBuf {
        self.work.join(name)
    }
}
