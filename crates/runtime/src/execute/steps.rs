//! The child's steps, between the attaching of the root and the change of root. Every path is resolved
//! beneath the root's descriptor. Nothing here allocates or takes a lock, unless the step fails: what runs
//! here is a copy of its parent that shares nothing with it.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gantry_linux::mount::{self, AttributeChange, FsContext, MountAttributes};
use gantry_linux::namespace::{Namespaces, unshare};
use gantry_linux::path::is_procfs;
use gantry_linux::proc::ProcFs;
use gantry_linux::tty::{Pty, WindowSize, open_pty, set_window_size};
use gantry_linux::{Errno, network, process as linux};

use super::copy_up::copy_up;
use super::handshake::{self, Word};
use super::prepare::{ReadyStep, propagation};
use super::{Operation, beneath, device};
use crate::plan;

/// Where the kernel's own filesystems are.
const KERNEL: [&CStr; 2] = [c"/proc", c"/sys"];

fn kernel_place(target: &CStr) -> Option<usize> {
    KERNEL.iter().position(|place| *place == target)
}

/// What failed in a step: which item of it, and why.
pub(super) type Failed = (u32, Errno);

/// What later steps need of earlier ones.
pub(super) struct Setup<'a> {
    /// The container's root.
    pub(super) root: BorrowedFd<'a>,
    /// Where the parent speaks.
    pub(super) socket: BorrowedFd<'a>,
    /// The copy of the host's null device; attached after its first use.
    pub(super) null: Option<OwnedFd>,
    /// Whether it is known that this process is in its cgroup; otherwise the parent will say so.
    pub(super) in_cgroup: bool,
    pub(super) terminal: Option<plan::Terminal>,
    pub(super) pty: Option<Pty>,
    devpts: Option<OwnedFd>,
    /// What is mounted at `/proc` and `/sys`. Paths below are resolved from there: whoever can rename in the
    /// root filesystem could lead them elsewhere after the mount (CVE-2019-19921).
    kernel: [Option<OwnedFd>; KERNEL.len()],
    proc: Option<ProcFs>,
    empty: Option<OwnedFd>,
    null_attached: bool,
}

impl<'a> Setup<'a> {
    pub(super) fn new(
        root: BorrowedFd<'a>,
        socket: BorrowedFd<'a>,
        null: Option<OwnedFd>,
        terminal: Option<plan::Terminal>,
    ) -> Self {
        Self {
            root,
            socket,
            null,
            terminal,
            in_cgroup: false,
            pty: None,
            devpts: None,
            kernel: [const { None }; KERNEL.len()],
            proc: None,
            empty: None,
            null_attached: false,
        }
    }

    /// Carries out one step.
    pub(super) fn step(&mut self, step: &ReadyStep<'_>) -> Result<(), Failed> {
        let one = |errno: Errno| (0, errno);
        match step {
            ReadyStep::Mount { mount, target, no_links, may_be_proc } => {
                self.mount(mount, target, *no_links, *may_be_proc).map_err(one)
            }
            ReadyStep::Bind { tree, folder, target, may_be_proc } => {
                let place = if *folder { beneath::folder } else { beneath::file };
                let place = place(self.root, target).map_err(one)?;
                if let Some(at) = kernel_place(target) {
                    self.kernel[at] = Some(rustix::io::fcntl_dupfd_cloexec(tree, 0).map_err(one)?);
                }
                attach(tree.as_fd(), place.as_fd(), *may_be_proc).map_err(one)
            }
            ReadyStep::Remount { target, changes, may_be_proc } => {
                self.remount(target, changes, *may_be_proc).map_err(one)
            }
            ReadyStep::Device { device, path, made } => {
                device::make(self.root, device, path, made.as_ref()).map_err(one)
            }
            ReadyStep::Symlink { path, target } => self.symlink(path, target).map_err(one),
            ReadyStep::Folder(path) => beneath::folder(self.root, path).map(drop).map_err(one),
            ReadyStep::Console => self.console().map_err(one),
            ReadyStep::Mask(paths) => self.each(paths, Self::mask),
            ReadyStep::Readonly(paths) => self.each(paths, Self::readonly),
            ReadyStep::RootAttributes(set) => {
                let change = AttributeChange { set: *set, ..AttributeChange::default() };
                mount::set_attributes(self.root, &change).map_err(|error| one(error.errno))
            }
            ReadyStep::Hostname(name) => {
                linux::set_hostname(name.as_bytes()).map_err(|error| one(error.errno))
            }
            ReadyStep::Domainname(name) => {
                linux::set_domainname(name.as_bytes()).map_err(|error| one(error.errno))
            }
            ReadyStep::Sysctl { path, value } => self.sysctl(path, value).map_err(one),
            ReadyStep::Loopback => network::bring_loopback_up().map_err(|error| one(error.errno)),
            ReadyStep::EnterCgroupNamespace => {
                if !self.in_cgroup {
                    handshake::await_word(self.socket, Word::InCgroup).map_err(one)?;
                }
                unshare(Namespaces::CGROUP).map_err(|error| one(error.errno))
            }
        }
    }

    fn mount(
        &mut self,
        step: &plan::Mount,
        target: &CStr,
        no_links: bool,
        may_be_proc: bool,
    ) -> Result<(), Errno> {
        let mounted = fresh(step, self.covered_mode(step, target)?)?;
        let find = if no_links { beneath::folder_without_links } else { beneath::folder };
        let place = find(self.root, target)?;
        if step.copy_up {
            copy_up(place.as_fd(), mounted.as_fd())?;
        }
        attach(mounted.as_fd(), place.as_fd(), may_be_proc)?;
        if step.fstype == "devpts" {
            self.devpts = Some(mounted);
        } else if let Some(at) = kernel_place(target) {
            self.kernel[at] = Some(mounted);
        }
        Ok(())
    }

    /// The mode for a tmpfs that is told none, as runc and crun have it: that of the folder which it covers.
    fn covered_mode(&self, step: &plan::Mount, target: &CStr) -> Result<Option<u32>, Errno> {
        let is_told = step.copy_up || step.settings.iter().any(|setting| setting.key == "mode");
        if step.fstype != "tmpfs" || is_told {
            return Ok(None);
        }
        let covered = match beneath::open(self.root, target) {
            Err(Errno::NOENT) => return Ok(None),
            found => rustix::fs::fstat(found?)?,
        };
        Ok(Some(covered.st_mode & 0o7777))
    }

    fn symlink(&self, path: &CStr, target: &CStr) -> Result<(), Errno> {
        let (above, name) = beneath::split(path)?;
        let parent = above.folder(self.root)?;
        match rustix::fs::symlinkat(target, &parent, name) {
            Err(Errno::EXIST) => Ok(()),
            made => made,
        }
    }

    /// The pseudo terminal comes from the devpts that was mounted, by descriptor, and `/dev/console` is its
    /// peer, also by descriptor: no name inside the container is trusted (CVE-2025-52565).
    fn console(&mut self) -> Result<(), Errno> {
        // Where the container's /dev is the host's, so is its devpts: what is there is verified to be one.
        let found = self.devpts.is_none().then(|| beneath::open(self.root, c"/dev/pts")).transpose()?;
        let devpts = self.devpts.as_ref().or(found.as_ref()).ok_or(Errno::NODEV)?;
        let pty = open_pty(devpts.as_fd()).map_err(|error| error.errno)?;
        size(&pty, self.terminal)?;
        let place = beneath::file(self.root, c"/dev/console")?;
        let peer = mount::clone_tree(pty.peer.as_fd(), false).map_err(|error| error.errno)?;
        attach(peer.as_fd(), place.as_fd(), false)?;
        self.pty = Some(pty);
        Ok(())
    }

    pub(super) fn find(&self, path: &CStr) -> Result<OwnedFd, Errno> {
        let bytes = path.to_bytes_with_nul();
        for (top, mount) in KERNEL.iter().zip(&self.kernel) {
            let rest = bytes.strip_prefix(top.to_bytes());
            if let (Some(rest), Some(mount)) = (rest.filter(|rest| rest.starts_with(b"/")), mount) {
                let rest = CStr::from_bytes_with_nul(rest).map_err(|_| Errno::INVAL)?;
                return beneath::open(mount.as_fd(), rest);
            }
        }
        beneath::open(self.root, path)
    }

    fn each(
        &mut self,
        paths: &[CString],
        act: fn(&mut Self, &OwnedFd) -> Result<(), Errno>,
    ) -> Result<(), Failed> {
        for (item, path) in (0..).zip(paths) {
            match self.find(path) {
                Ok(found) => act(self, &found).map_err(|errno| (item, errno))?,
                Err(Errno::NOENT | Errno::NOTDIR) => {}
                Err(errno) => return Err((item, errno)),
            }
        }
        Ok(())
    }

    /// One empty folder and one null device serve all: each is attached once, and copied from there, because
    /// kernels before 6.15 copy attached mounts only.
    fn mask(&mut self, found: &OwnedFd) -> Result<(), Errno> {
        if !beneath::is_folder(found)? {
            let null = self.null.as_ref().ok_or(Errno::NODEV)?;
            cover(null, std::mem::replace(&mut self.null_attached, true), found)?;
            return Ok(());
        }
        if let Some(empty) = &self.empty {
            return cover(empty, true, found);
        }
        let attributes = MountAttributes::RDONLY
            | MountAttributes::NOSUID
            | MountAttributes::NODEV
            | MountAttributes::NOEXEC;
        let options = [("size", Some("0")), ("nr_inodes", Some("1"))];
        let empty = mount::new_filesystem("tmpfs", &options, attributes).map_err(|error| error.errno)?;
        cover(&empty, false, found)?;
        self.empty = Some(empty);
        Ok(())
    }

    /// What is a mount already only changes, without the mounts on it: a read-only `/dev` keeps its writable
    /// `/dev/shm`.
    #[expect(clippy::unused_self, reason = "a step of the setup like the others")]
    fn readonly(&mut self, found: &OwnedFd) -> Result<(), Errno> {
        if mount::is_mount_root(found.as_fd()).map_err(|error| error.errno)? {
            let change = AttributeChange { set: MountAttributes::RDONLY, ..AttributeChange::default() };
            return mount::set_attributes(found.as_fd(), &change).map_err(|error| error.errno);
        }
        let copy = mount::clone_tree(found.as_fd(), true).map_err(|error| error.errno)?;
        let change =
            AttributeChange { set: MountAttributes::RDONLY, recursive: true, ..AttributeChange::default() };
        mount::set_attributes(copy.as_fd(), &change).map_err(|error| error.errno)?;
        mount::attach(copy.as_fd(), found.as_fd()).map_err(|error| error.errno)
    }

    /// Through a procfs that is in no mount table and over which nobody can have mounted (CVE-2025-52881).
    fn sysctl(&mut self, path: &CStr, value: &str) -> Result<(), Errno> {
        let proc = match self.proc.take() {
            Some(proc) => proc,
            None => ProcFs::mount().map_err(|error| error.errno)?,
        };
        let path = path.to_str().map_err(|_| Errno::INVAL)?;
        let written = proc.write(path, value.as_bytes()).map_err(|error| error.errno);
        self.proc = Some(proc);
        written
    }
}

/// The size of a terminal that has one.
pub(super) fn size(pty: &Pty, terminal: Option<plan::Terminal>) -> Result<(), Errno> {
    let Some(asked) = terminal.filter(|asked| asked.rows != 0) else { return Ok(()) };
    let side = |value: u32| u16::try_from(value).map_err(|_| Errno::INVAL);
    let window = WindowSize { rows: side(asked.rows)?, columns: side(asked.columns)? };
    set_window_size(pty.master.as_fd(), window).map_err(|error| error.errno)
}

/// Which operation a step is, for its failure.
pub(super) fn operation(step: &ReadyStep<'_>) -> Operation {
    match step {
        ReadyStep::Mount { .. } => Operation::Mount,
        ReadyStep::Bind { .. } => Operation::Bind,
        ReadyStep::Remount { .. } => Operation::Remount,
        ReadyStep::Device { .. } => Operation::Device,
        ReadyStep::Symlink { .. } => Operation::Symlink,
        ReadyStep::Folder(_) => Operation::Folder,
        ReadyStep::Console => Operation::Terminal,
        ReadyStep::Mask(_) => Operation::Mask,
        ReadyStep::Readonly(_) => Operation::Readonly,
        ReadyStep::RootAttributes(_) => Operation::RootAttributes,
        ReadyStep::Hostname(_) => Operation::Hostname,
        ReadyStep::Domainname(_) => Operation::Domainname,
        ReadyStep::Sysctl { .. } => Operation::Sysctl,
        ReadyStep::Loopback => Operation::Loopback,
        ReadyStep::EnterCgroupNamespace => Operation::CgroupNamespace,
    }
}

fn fresh(step: &plan::Mount, mode: Option<u32>) -> Result<OwnedFd, Errno> {
    let fail = |error: gantry_linux::SyscallError| error.errno;
    let context = FsContext::open(&step.fstype).map_err(fail)?;
    if !step.source.is_empty() {
        context.set_string("source", &step.source).map_err(fail)?;
    }
    for setting in &step.settings {
        match &setting.value {
            Some(value) => context.set_string(&setting.key, value).map_err(fail)?,
            None => context.set_flag(&setting.key).map_err(fail)?,
        }
    }
    if let Some(mode) = mode {
        let digits = [9, 6, 3, 0].map(|shift| b"01234567"[(mode >> shift & 7) as usize]);
        let digits = std::str::from_utf8(&digits).map_err(|_| Errno::INVAL)?;
        context.set_string("mode", digits).map_err(fail)?;
    }
    context.create().map_err(fail)?;
    let mounted = context.mount(MountAttributes::from_bits_retain(step.attributes)).map_err(fail)?;
    if let Some(propagation) = propagation(step.propagation)? {
        let change = AttributeChange { propagation: Some(propagation), ..AttributeChange::default() };
        mount::set_attributes(mounted.as_fd(), &change).map_err(fail)?;
    }
    Ok(mounted)
}

/// Attaches, unless a link led the target into procfs, where only targets that say so belong.
fn attach(mounted: BorrowedFd<'_>, place: BorrowedFd<'_>, may_be_proc: bool) -> Result<(), Errno> {
    if !may_be_proc && is_procfs(place).map_err(|error| error.errno)? {
        return Err(Errno::LOOP);
    }
    mount::attach(mounted, place).map_err(|error| error.errno)
}

fn cover(template: &OwnedFd, attached: bool, found: &OwnedFd) -> Result<(), Errno> {
    if !attached {
        return mount::attach(template.as_fd(), found.as_fd()).map_err(|error| error.errno);
    }
    let copy = mount::clone_tree(template.as_fd(), false).map_err(|error| error.errno)?;
    mount::attach(copy.as_fd(), found.as_fd()).map_err(|error| error.errno)
}
