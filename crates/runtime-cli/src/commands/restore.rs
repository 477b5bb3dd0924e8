//! `restore`: CRIU makes a container's processes again from a checkpoint's images, in a control group that was made
//! for the bundle as for any other, and they go on. The id may be another than the one before. Whatever fails leaves
//! nothing behind: no process, no control group, no folder.
//!
//! CRIU wants the root filesystem to be a mountpoint, so it is mounted on itself, in a mount namespace of this
//! process's own: the host's mount table does not change, and whatever ends this process, nothing stays.

use std::os::fd::{AsFd as _, OwnedFd};

use gantry_linux::clone::Namespaces;
use gantry_linux::mount::{self, AttributeChange, MountAttributes, Propagation};
use gantry_linux::wait::open_pidfd;
use gantry_linux::{Pid, RootDir, namespace};
use gantry_runtime::cgroup::Cgroup;
use gantry_runtime::execute::{self, ExecuteError, Operation, Process};
use gantry_runtime::plan::Op;
use rustix::fs::{Mode, OFlags};

use super::Outcome;
use super::checkpoint::{Folders, asked};
use super::create::{has_terminal, record_of, write_pid};
use super::delete::{clean_up, end};
use super::start::after_start;
use crate::bundle::{self, Bundle};
use crate::console;
use crate::containers::{Containers, Folder};
use crate::criu::message::{CgroupRoot, Inherited, Kind};
use crate::criu::{Criu, Job, inherited_number};
use crate::failure::Failure;
use crate::foreground;
use crate::options::{Create, Globals, Restore};
use crate::outside;
use crate::record::start_of;
use crate::report::Report;

/// CRIU's log beside its work.
const LOG: &str = "restore.log";
/// The mode of a `/tmp` that is missing.
const TMP_MODE: u32 = 0o755;
/// CRIU's names of the moments at which something is done here.
const NAMESPACES_ARE_MADE: &str = "setup-namespaces";
const TERMINAL_IS_MADE: &str = "orphan-pts-master";

pub(super) fn restore(
    options: &Restore,
    globals: &Globals,
    containers: &Containers,
    report: &Report,
) -> Outcome {
    let create = &options.create;
    let criu = Criu::find(globals.criu.as_deref())?;
    // Before CRIU's folders are opened: it mounts in them, which a folder of another namespace refuses.
    leave_mount_table()?;
    let folders = Folders::open(&options.images, false)?;
    let bundle = bundle::load(create, globals, report)?;
    if create.detach && has_terminal(&bundle) && create.console_socket.is_none() {
        return Err(Failure::usage("cannot allocate tty if runc will detach without setting console socket"));
    }
    check(&bundle)?;
    // Before the container is there, so that no signal for it is lost.
    let signals = if create.detach { None } else { Some(foreground::Signals::take()?) };
    let folder = containers.make(&create.id)?;
    if let Err(failure) = make_group(create, &bundle, &folder) {
        // The failure that led here is the one that is told.
        drop(folder.remove());
        return Err(failure);
    }
    let restored = run(options, &bundle, &folders, &criu);
    let (process, master) = match restored {
        Ok(restored) => restored,
        Err(failure) => {
            // As above. The processes that there are already are in the control group.
            drop(clean_up(folder, report));
            return Err(failure);
        }
    };
    let settled = settle(options, &bundle, &folder, &process, master);
    let terminal = match settled {
        Ok(terminal) => terminal,
        Err(failure) => {
            let ended = folder.record().map(|record| record.map(|record| end(&folder, &record)));
            drop((ended, clean_up(folder, report)));
            return Err(failure);
        }
    };
    let Some(signals) = signals else { return Ok(None) };
    let code = foreground::wait(&process, terminal, &signals);
    if !create.keep {
        clean_up(folder, report)?;
    }
    code.map(Some)
}

/// Makes the control group, and first keeps what leads to it. Hooks may ask for the state too.
fn make_group(options: &Create, bundle: &Bundle, folder: &Folder) -> Result<(), Failure> {
    folder.keep_plan(&bundle.plan)?;
    folder.keep_record(&record_of(options, bundle))?;
    bundle.plan.cgroup.as_ref().map(Cgroup::create).transpose()?;
    Ok(())
}

/// Refuses what nobody has tried: CRIU puts processes into control groups itself, and a scope is systemd's.
fn check(bundle: &Bundle) -> Result<(), Failure> {
    if bundle.scope.is_some() {
        let why = "control groups of systemd are not restored; use the cgroupfs driver for it".to_owned();
        return Err(Failure::Unavailable { what: "restore with --systemd-cgroup", why });
    }
    outside::check(&bundle.plan)
}

/// Has CRIU restore the processes; the first of them, and the master of its terminal.
fn run(
    options: &Restore,
    bundle: &Bundle,
    folders: &Folders,
    criu: &Criu,
) -> Result<(Process, Option<OwnedFd>), Failure> {
    let plan = &bundle.plan;
    outside::make_mountpoints(plan, &bundle.rootfs)?;
    mount_root(bundle)?;
    let mut asked = asked(&options.images, folders, &bundle.rootfs)?;
    asked.log_file = Some(LOG.to_owned());
    asked.notifies = Some(true);
    asked.as_sibling = Some(true);
    asked.external_mounts = outside::mounts_for_restore(plan)?;
    asked.cgroup_roots =
        plan.cgroup.iter().map(|group| CgroupRoot { path: format!("/{}", group.path) }).collect();
    asked.lsm_profile.clone_from(&options.lsm_profile);
    asked.lsm_mount_context.clone_from(&options.lsm_mount_context);
    let namespaces = outside::namespaces_for_restore(plan)?;
    let mut inherited: Vec<_> = namespaces.iter().map(|(_, descriptor)| descriptor.as_fd()).collect();
    let mut keys: Vec<String> = namespaces.iter().map(|(key, _)| key.clone()).collect();
    let own = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
    for (number, key) in outside::replaced(&outside::kept_descriptors(&folders.images)?) {
        inherited.extend(own.get(number));
        keys.push(key);
    }
    asked.inherited = keys
        .into_iter()
        .enumerate()
        .map(|(at, key)| Inherited { key, descriptor: inherited_number(at).cast_signed() })
        .collect();
    let mut master = None;
    let job = Job { kind: Kind::Restore, options: asked, inherited, log: folders.log(LOG) };
    let response = criu.run(job, &mut |notice, descriptor| {
        match (notice.moment.as_deref(), &plan.hooks, notice.pid.and_then(Pid::from_raw)) {
            (Some(TERMINAL_IS_MADE), ..) => master = descriptor,
            (Some(NAMESPACES_ARE_MADE), Some(hooks), Some(pid)) => execute::at_create(hooks, pid)?,
            _ => {}
        }
        Ok(())
    })?;
    let pid =
        response.restored.and_then(|restored| Pid::from_raw(restored.pid)).ok_or(Failure::NotRunning)?;
    // It is this process's child, and so its number cannot be another's.
    let pidfd = open_pidfd(pid).map_err(Failure::kernel)?;
    Ok((Process { pid, pidfd, terminal: None }, master))
}

/// What is mounted from now on is seen here alone; what the host mounts goes on being seen.
fn leave_mount_table() -> Result<(), Failure> {
    namespace::unshare(Namespaces::MOUNT).map_err(Failure::kernel)?;
    mount::set_propagation(c"/", Propagation::Slave, true).map_err(|error| {
        let (operation, object) = (Operation::Propagation, String::new());
        ExecuteError { operation, object, errno: error.errno }.into()
    })
}

/// Mounts the root filesystem on itself, with the attributes that it has in the container: CRIU leaves them as they are.
/// It moves its old root to `/tmp`, and would make a folder for that where there is none, so there is one.
fn mount_root(bundle: &Bundle) -> Result<(), Failure> {
    let path = &bundle.rootfs;
    let inside = RootDir::open_host(path).map_err(Failure::kernel)?;
    inside.create_dir_all("/tmp", TMP_MODE).map_err(Failure::kernel)?;
    let attributes = bundle.plan.steps.iter().filter_map(|step| {
        let Some(Op::RootAttributes(attributes)) = &step.op else { return None };
        Some(MountAttributes::from_bits_retain(attributes.set))
    });
    let set = attributes.fold(MountAttributes::empty(), |all, some| all | some);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(path, flags, Mode::empty())
        .map_err(|errno| Failure::file("open", path, errno.into()))?;
    let copy = mount::clone_tree(root.as_fd(), true).map_err(Failure::kernel)?;
    let change =
        AttributeChange { set, propagation: Some(Propagation::Private), ..AttributeChange::default() };
    mount::set_attributes(copy.as_fd(), &change).map_err(Failure::kernel)?;
    mount::attach(copy.as_fd(), root.as_fd()).map_err(Failure::kernel)
}

/// Records the container and gives the caller what it asked for; the terminal's master if it is nobody else's.
fn settle(
    options: &Restore,
    bundle: &Bundle,
    folder: &Folder,
    process: &Process,
    master: Option<OwnedFd>,
) -> Result<Option<OwnedFd>, Failure> {
    let mut record = record_of(&options.create, bundle);
    record.pid = process.pid.as_raw();
    record.started_ticks = start_of(process.pid).unwrap_or_default();
    folder.keep_record(&record)?;
    let master = match (&options.create.console_socket, master) {
        (Some(socket), Some(master)) => {
            console::send(socket, &master)?;
            None
        }
        (_, master) => master,
    };
    if let Some(path) = &options.create.pid_file {
        write_pid(path, process.pid)?;
    }
    after_start(folder, &record)?;
    Ok(master)
}
