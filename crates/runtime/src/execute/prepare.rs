//! The host side before the clone: everything that can be opened, mounted or laid out in memory beforehand
//! is, so that the child only makes system calls on descriptors and strings that stand ready.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

use gantry_linux::mount::{AttributeChange, MountAttributes, Propagation};
use gantry_linux::namespace::Namespaces;
use gantry_linux::overlay;
use gantry_linux::path::{Node, verify_node};
use gantry_linux::{Errno, SyscallError, mount};
use rustix::fs::{FileType, Mode, OFlags};

use super::hook::ReadyHook;
use super::identity::{self, Mappings};
use super::process::ReadyProcess;
use super::{ExecuteError, Input, Operation, Stdio, beneath, device, hook, remount};
use crate::cgroup::Doors;
use crate::plan::{self, Bind, Hooks, IdMap, NamespaceKind, Op, Plan, Root};

/// A plan with everything opened. Borrowed strings are the plan's own.
pub(super) struct Ready<'p> {
    /// By which it enters its cgroup, on version 1.
    pub(super) doors: Option<Doors>,
    pub(super) root: OwnedFd,
    /// Where the root is attached before it becomes the root.
    pub(super) root_place: CString,
    pub(super) new: Namespaces,
    pub(super) joined: Vec<(OwnedFd, Namespaces)>,
    /// Whether what is joined was entered before the birth.
    pub(super) entered: bool,
    /// Whether the child becomes root of its user namespace.
    pub(super) becomes_root: bool,
    pub(super) has_clock_offsets: bool,
    pub(super) has_net_devices: bool,
    /// Whether the child knows from an early answer that it is in its cgroup.
    pub(super) asks_early: bool,
    /// Whose mount namespace it is.
    pub(super) mounts: Mounts,
    pub(super) slave_propagation: bool,
    /// What the root mount becomes in the end, and whether with all below it.
    pub(super) root_propagation: Option<(Propagation, bool)>,
    pub(super) steps: Vec<ReadyStep<'p>>,
    /// A detached copy of the host's null device, verified, if anything is masked.
    pub(super) null: Option<OwnedFd>,
    /// The mount of the device nodes that stand ready.
    pub(super) nodes: Option<OwnedFd>,
    pub(super) process: ReadyProcess,
    pub(super) input: Input,
    pub(super) init: bool,
    pub(super) hooks: Option<ReadyHooks<'p>>,
}

/// Whose mount namespace the container lives in, and so how it gets its root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mounts {
    /// Its own: the old root is left behind for ever.
    Own,
    /// Another container's, whose root is not to be changed.
    Joined,
    /// The host's, in which nothing is mounted for it: it sees its folder and nothing else.
    Hosts,
}

impl Mounts {
    fn of(new: Namespaces, joined: &[(OwnedFd, Namespaces)]) -> Self {
        if new.contains(Namespaces::MOUNT) {
            Self::Own
        } else if joined.iter().any(|(_, kind)| *kind == Namespaces::MOUNT) {
            Self::Joined
        } else {
            Self::Hosts
        }
    }
}

impl Ready<'_> {
    /// Whether something has to be entered before the child's birth.
    pub(super) fn needs_midwife(&self) -> bool {
        let joined = |kinds: Namespaces| self.joined.iter().any(|(_, kind)| kinds.contains(*kind));
        let others = Namespaces::all() - Namespaces::MOUNT - Namespaces::TIME;
        joined(Namespaces::USER | Namespaces::PID) || (self.new.contains(Namespaces::USER) && joined(others))
    }
}

/// The hooks for which the child stops before its change of root.
pub(super) struct ReadyHooks<'p> {
    /// The state without its end.
    pub(super) state: &'p str,
    pub(super) create: Vec<ReadyHook>,
    /// Whether others will run at the start, which read the state too.
    pub(super) at_start: bool,
}

/// A step with its paths as C strings and its sources opened.
pub(super) enum ReadyStep<'p> {
    Mount {
        mount: &'p plan::Mount,
        target: CString,
        no_links: bool,
        may_be_proc: bool,
    },
    Bind {
        tree: OwnedFd,
        folder: bool,
        target: CString,
        may_be_proc: bool,
    },
    Remount {
        target: CString,
        changes: remount::Changes,
        may_be_proc: bool,
    },
    /// `made` is the node where one stands ready.
    Device {
        device: &'p plan::Device,
        path: CString,
        made: Option<OwnedFd>,
    },
    Symlink {
        path: CString,
        target: CString,
    },
    Folder(CString),
    Console,
    Mask(Vec<CString>),
    Readonly(Vec<CString>),
    RootAttributes(MountAttributes),
    Hostname(&'p str),
    Domainname(&'p str),
    Sysctl {
        path: CString,
        value: &'p str,
    },
    Loopback,
    EnterCgroupNamespace,
}

/// Opens everything that a plan needs.
pub(super) fn prepare(plan: &Plan, mut input: Input) -> Result<Ready<'_>, ExecuteError> {
    let bad = |what: &str| ExecuteError::new(Operation::Plan, what, Errno::INVAL);
    if plan.version == 0 || plan.version > plan::VERSION {
        return Err(ExecuteError::new(Operation::Plan, format!("version {}", plan.version), Errno::NOSYS));
    }
    let process = plan.process.as_ref().ok_or_else(|| bad("process"))?;
    if process.terminal.is_some() != matches!(input.stdio, Stdio::Terminal) {
        return Err(bad("terminal"));
    }
    let (new, joined) = namespaces(plan, std::mem::take(&mut input.namespaces))?;
    let user = joined.iter().find(|(_, kind)| *kind == Namespaces::USER).map(|(file, _)| file.try_clone());
    let user = user.transpose().map_err(|_| bad("a descriptor"))?;
    let in_user_namespace = plan.ids.is_some() || user.is_some();
    if new.contains(Namespaces::USER) != plan.ids.is_some() {
        return Err(bad("ids"));
    }
    let mounts = Mounts::of(new, &joined);
    let mut nodes = if mounts == Mounts::Own { device::NodeFolder::of(plan)? } else { None };
    let mut mappings = Mappings::new(plan.ids.as_ref(), user);
    let steps = plan.steps.iter().map(|step| {
        let op = step.op.as_ref().ok_or_else(|| bad("step"))?;
        ready(op, &mut mappings, nodes.as_mut())
    });
    let steps = steps.collect::<Result<Vec<_>, _>>()?;
    let masks = steps.iter().any(|step| matches!(step, ReadyStep::Mask(_)));
    let env = &process.env;
    let mut process = ReadyProcess::new(process, &input)?;
    let hooks = plan.hooks.as_ref().map(|hooks| ready_hooks(hooks, env, &mut process)).transpose()?;
    process.in_user_namespace = in_user_namespace;
    if let Some(ids) = &plan.ids {
        own_stdio(ids, plan.process.as_ref().map_or(0, |process| process.uid), &input.stdio);
    }
    let rootfs = plan.rootfs.as_ref().ok_or_else(|| bad("rootfs"))?;
    let asked = rootfs.root.as_ref().ok_or_else(|| bad("rootfs"))?;
    let root_propagation = propagation(plan.root_propagation).map_err(|_| bad("root_propagation"))?;
    let becomes_root = plan
        .ids
        .as_ref()
        .map_or(in_user_namespace, |ids| ids.outside_user(0).is_some() && ids.outside_group(0).is_some());
    Ok(Ready {
        mounts,
        root: match mounts {
            Mounts::Own | Mounts::Joined => {
                root(asked, plan.slave_propagation, rootfs.id_mapped.then_some(&mut mappings))?
            }
            Mounts::Hosts => plain_root(asked)?,
        },
        root_place: place(asked, plan.hooks.as_ref())?,
        new,
        joined,
        entered: false,
        becomes_root,
        has_clock_offsets: !plan.clock_offsets.is_empty(),
        has_net_devices: !plan.net_devices.is_empty(),
        doors: None,
        asks_early: asks_early(plan),
        slave_propagation: plan.slave_propagation,
        root_propagation: root_propagation.map(|kind| (kind, plan.root_propagation_all)),
        steps,
        null: if masks { Some(null_device()?) } else { None },
        nodes: nodes.map(device::NodeFolder::into_mount),
        process,
        input,
        init: plan.init,
        hooks: hooks.flatten(),
    })
}

/// Hooks that mount below the path of a root that is a folder find it there; otherwise the root lies on the
/// old one, in nobody's way.
fn place(root: &Root, hooks: Option<&Hooks>) -> Result<CString, ExecuteError> {
    match (root, hooks) {
        (Root::Folder(path), Some(hooks)) if hooks.at_create() => c_string(Operation::AttachRoot, path),
        (Root::Folder(_) | Root::Overlay(_), _) => Ok(c"/".to_owned()),
    }
}

fn ready_hooks<'p>(
    hooks: &'p Hooks,
    env: &[String],
    process: &mut ReadyProcess,
) -> Result<Option<ReadyHooks<'p>>, ExecuteError> {
    process.start_hooks = hook::ready(&hooks.start_container, Some(env))?;
    let at_start = !process.start_hooks.is_empty();
    let create = hook::ready(&hooks.create_container, None)?;
    Ok((hooks.at_create() || at_start).then_some(ReadyHooks { state: &hooks.state, create, at_start }))
}

/// Whether the child has something done for it before its steps.
pub(super) fn asks_early(plan: &Plan) -> bool {
    plan.ids.is_some() || !plan.clock_offsets.is_empty() || !plan.net_devices.is_empty()
}

/// A C string of a string that came with a plan.
pub(super) fn c_string(operation: Operation, text: &str) -> Result<CString, ExecuteError> {
    CString::new(text).map_err(|_| ExecuteError::new(operation, text, Errno::INVAL))
}

/// Several of them.
pub(super) fn c_strings(operation: Operation, texts: &[String]) -> Result<Vec<CString>, ExecuteError> {
    texts.iter().map(|text| c_string(operation, text)).collect()
}

fn ready<'p>(
    op: &'p Op,
    mappings: &mut Mappings,
    nodes: Option<&mut device::NodeFolder<'_>>,
) -> Result<ReadyStep<'p>, ExecuteError> {
    let below = |path: &str, top: &str| {
        path == top || path.strip_prefix(top).is_some_and(|rest| rest.starts_with('/'))
    };
    Ok(match op {
        Op::Mount(mount) => ReadyStep::Mount {
            mount,
            target: c_string(Operation::Mount, &mount.target)?,
            no_links: matches!(mount.target.as_str(), "/proc" | "/sys")
                || matches!(mount.fstype.as_str(), "proc" | "sysfs"),
            may_be_proc: below(&mount.target, "/proc"),
        },
        Op::Bind(bind) => {
            let (tree, folder) = bind_source(bind, mappings)?;
            let target = c_string(Operation::Bind, &bind.target)?;
            ReadyStep::Bind { tree, folder, target, may_be_proc: below(&bind.target, "/proc") }
        }
        Op::Remount(asked) => ReadyStep::Remount {
            target: c_string(Operation::Remount, &asked.target)?,
            changes: remount::changes(
                (asked.set, asked.clear),
                (asked.set_all, asked.clear_all),
                (asked.propagation, asked.propagation_all),
            )
            .map_err(|errno| ExecuteError::new(Operation::Remount, &asked.target, errno))?,
            may_be_proc: below(&asked.target, "/proc"),
        },
        Op::Device(device) => ReadyStep::Device {
            device,
            path: c_string(Operation::Device, &device.path)?,
            made: nodes.map(|nodes| nodes.node(device)).transpose()?.flatten(),
        },
        Op::Symlink(link) => ReadyStep::Symlink {
            path: c_string(Operation::Symlink, &link.path)?,
            target: c_string(Operation::Symlink, &link.target)?,
        },
        Op::Folder(folder) => ReadyStep::Folder(c_string(Operation::Folder, &folder.path)?),
        Op::Console(_) => ReadyStep::Console,
        Op::Mask(mask) => ReadyStep::Mask(c_strings(Operation::Mask, &mask.paths)?),
        Op::Readonly(readonly) => ReadyStep::Readonly(c_strings(Operation::Readonly, &readonly.paths)?),
        Op::RootAttributes(root) => ReadyStep::RootAttributes(MountAttributes::from_bits_retain(root.set)),
        Op::Hostname(name) => ReadyStep::Hostname(&name.name),
        Op::Domainname(name) => ReadyStep::Domainname(&name.name),
        Op::Sysctl(sysctl) => ReadyStep::Sysctl {
            path: c_string(Operation::Sysctl, &format!("sys/{}", sysctl.path))?,
            value: &sysctl.value,
        },
        Op::Loopback(_) => ReadyStep::Loopback,
        Op::EnterCgroupNamespace(_) => ReadyStep::EnterCgroupNamespace,
    })
}

/// The root as a detached mount, its ids shifted if there are mappings.
fn root(root: &Root, slave: bool, mappings: Option<&mut Mappings>) -> Result<OwnedFd, ExecuteError> {
    let id_map = mappings.map(|mappings| mappings.of(None)).transpose()?;
    match root {
        Root::Overlay(overlay) => {
            let fail =
                |error: SyscallError| ExecuteError::new(Operation::Rootfs, error.to_string(), error.errno);
            match id_map {
                Some(namespace) => identity::shifted(overlay, namespace)?.mount().map_err(fail),
                None => mount_overlay(overlay).map_err(fail),
            }
        }
        Root::Folder(path) => {
            let fail = |errno| ExecuteError::new(Operation::Rootfs, path, errno);
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let folder = rustix::fs::open(path.as_str(), flags, Mode::empty()).map_err(fail)?;
            let tree = mount::clone_tree(folder.as_fd(), true).map_err(|error| fail(error.errno))?;
            // A copy of a shared mount is its peer: what the child mounts on it would appear on the host.
            let propagation = Some(if slave { Propagation::Slave } else { Propagation::Private });
            let change = AttributeChange { propagation, recursive: true, ..AttributeChange::default() };
            mount::set_attributes(tree.as_fd(), &change).map_err(|error| fail(error.errno))?;
            if let Some(namespace) = id_map {
                identity::shift(tree.as_fd(), namespace, false)
                    .map_err(|error| ExecuteError::new(Operation::IdMap, path, error.errno))?;
            }
            Ok(tree)
        }
    }
}

/// A folder of the host as it is.
fn plain_root(root: &Root) -> Result<OwnedFd, ExecuteError> {
    let Root::Folder(path) = root else {
        return Err(ExecuteError::new(Operation::Plan, "an overlay without a mount namespace", Errno::INVAL));
    };
    rustix::fs::open(path.as_str(), OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| ExecuteError::new(Operation::Rootfs, path, errno))
}

/// Pipes and terminals become the user's here, because the child has no right to those of the host. One that
/// cannot be given away stays as it is.
pub(super) fn own_stdio(ids: &IdMap, user: u32, stdio: &Stdio) {
    let Stdio::Descriptors { stdin, stdout, stderr } = stdio else { return };
    let Some(uid) = ids.outside_user(user).map(rustix::fs::Uid::from_raw) else { return };
    for file in [stdin, stdout, stderr] {
        let kind = rustix::fs::fstat(file).map(|status| FileType::from_raw_mode(status.st_mode));
        if matches!(kind, Ok(FileType::Fifo | FileType::Socket))
            || gantry_linux::tty::is_terminal(file.as_fd())
        {
            let _ = rustix::fs::fchown(file, Some(uid), None);
        }
    }
}

/// The overlay as a detached mount, for whoever attaches it where another runtime looks for its root.
pub fn mount_overlay(overlay: &plan::Overlay) -> Result<OwnedFd, SyscallError> {
    mount_overlay_in(overlay, false)
}

/// The same, in a mount namespace that is nobody else's or not.
pub(super) fn mount_overlay_in(overlay: &plan::Overlay, is_apart: bool) -> Result<OwnedFd, SyscallError> {
    let lower: Vec<&str> = overlay.lower.iter().map(String::as_str).collect();
    let options: Vec<_> =
        overlay.settings.iter().map(|setting| (setting.key.as_str(), setting.value.as_deref())).collect();
    let (upper, work) = (overlay.upper.as_str(), overlay.work.as_str());
    let asked = overlay::Overlay {
        lower: &lower,
        upper_and_work: (!upper.is_empty()).then_some((upper, work)),
        volatile: overlay.volatile,
        options: &options,
        is_apart,
    };
    match asked.mount(MountAttributes::empty()) {
        // An overlay whose writes are not synced leaves a mark, so that nobody trusts the upper folder after a
        // power cut. Whoever asked for such a container accepted that; its next start takes the mark away.
        Err(error) if error.errno == Errno::INVAL && overlay.volatile && remove_volatile_mark(work) => {
            asked.mount(MountAttributes::empty())
        }
        mounted => mounted,
    }
}

fn remove_volatile_mark(work: &str) -> bool {
    let mark = format!("{work}/work/incompat/volatile");
    rustix::fs::unlink(format!("{mark}/dirty")).is_ok() && rustix::fs::rmdir(mark).is_ok()
}

/// Opens and copies the host side of a bind mount, with its attributes set: it is finished but for its place.
fn bind_source(bind: &Bind, mappings: &mut Mappings) -> Result<(OwnedFd, bool), ExecuteError> {
    let fail = |errno| ExecuteError::new(Operation::BindSource, &bind.source, errno);
    let source = rustix::fs::open(bind.source.as_str(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(fail)?;
    let folder = beneath::is_folder(&source).map_err(fail)?;
    let tree = mount::clone_tree(source.as_fd(), bind.recursive).map_err(|error| fail(error.errno))?;
    if let Some(asked) = &bind.id_map {
        let namespace = mappings.of(asked.map.as_ref())?;
        identity::shift(tree.as_fd(), namespace, asked.recursive)
            .map_err(|error| ExecuteError::new(Operation::IdMap, &bind.source, error.errno))?;
    }
    let propagation = (bind.propagation, bind.propagation_all);
    let changes = remount::changes((bind.set, bind.clear), (bind.set_all, bind.clear_all), propagation);
    remount::apply(&tree, &changes.map_err(fail)?).map_err(fail)?;
    Ok((tree, folder))
}

/// The kernel's `MS_*` number of a propagation; 0 leaves it alone.
pub(super) fn propagation(bits: u64) -> Result<Option<Propagation>, Errno> {
    match bits {
        0 => Ok(None),
        0x2_0000 => Ok(Some(Propagation::Unbindable)),
        0x4_0000 => Ok(Some(Propagation::Private)),
        0x8_0000 => Ok(Some(Propagation::Slave)),
        0x10_0000 => Ok(Some(Propagation::Shared)),
        _ => Err(Errno::INVAL),
    }
}

/// The host's own null device, never the container's, whose `/dev/null` could be anything (CVE-2025-31133).
fn null_device() -> Result<OwnedFd, ExecuteError> {
    let fail = |errno| ExecuteError::new(Operation::Mask, "/dev/null", errno);
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let null = rustix::fs::open(c"/dev/null", flags, Mode::empty()).map_err(fail)?;
    verify_node(null.as_fd(), Node::Character { major: 1, minor: 3 }).map_err(|error| fail(error.errno))?;
    mount::clone_tree(null.as_fd(), false).map_err(|error| fail(error.errno))
}

fn namespaces(
    plan: &Plan,
    mut passed: Vec<(NamespaceKind, OwnedFd)>,
) -> Result<(Namespaces, Vec<(OwnedFd, Namespaces)>), ExecuteError> {
    let bad = |what: &str| ExecuteError::new(Operation::Plan, what, Errno::INVAL);
    let mut new = Namespaces::empty();
    let mut joined = Vec::new();
    for namespace in &plan.namespaces {
        let kind = flag(namespace.kind())?;
        if namespace.passed {
            let found = passed.iter().position(|(kind, _)| *kind == namespace.kind());
            let found = found.ok_or_else(|| bad("a namespace that was not passed"))?;
            joined.push((passed.swap_remove(found).1, kind));
            continue;
        }
        if namespace.path.is_empty() {
            new |= kind;
            continue;
        }
        let file = rustix::fs::open(namespace.path.as_str(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| ExecuteError::new(Operation::Namespace, &namespace.path, errno))?;
        joined.push((file, kind));
    }
    if !passed.is_empty() {
        return Err(bad("a namespace that the plan does not expect"));
    }
    Ok((new, joined))
}

/// The kernel's flag of a namespace kind.
pub(super) fn flag(kind: NamespaceKind) -> Result<Namespaces, ExecuteError> {
    match kind {
        NamespaceKind::Unspecified => Err(ExecuteError::new(Operation::Plan, "namespace", Errno::INVAL)),
        NamespaceKind::Mount => Ok(Namespaces::MOUNT),
        NamespaceKind::Pid => Ok(Namespaces::PID),
        NamespaceKind::Uts => Ok(Namespaces::UTS),
        NamespaceKind::Ipc => Ok(Namespaces::IPC),
        NamespaceKind::Network => Ok(Namespaces::NETWORK),
        NamespaceKind::Cgroup => Ok(Namespaces::CGROUP),
        NamespaceKind::User => Ok(Namespaces::USER),
        NamespaceKind::Time => Ok(Namespaces::TIME),
    }
}
