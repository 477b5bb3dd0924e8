//! From an OCI spec to a [`Plan`]: pure, so that golden files can hold it. Nothing here opens a file; what
//! depends on the host is an input. The order of the steps is decided here, and only here.
//!
//! What is deliberately absent: Intel RDT, and what belongs to other systems than Linux. A spec that asks for
//! them is refused by name ([`PlanError::Unsupported`]).

mod capability;
mod cgroup_mounts;
mod devices;
mod hooks;
mod identity;
mod mounts;
mod namespaces;
mod options;
mod path;
mod process;
mod refuse;
mod remount;
mod scheduling;
mod sysctl;

use std::collections::BTreeMap;

use oci_spec::runtime::{Linux, Spec};

use self::namespaces::Namespaces;
use super::step::{Folder, Loopback, Mask, Name, Op, Readonly, RootAttributes, Setting};
use super::{
    ExecPlan, IdMap, Listener, NamespaceKind, NetDevice, Plan, PlanError, Process, Rootfs, Seccomp, Step,
};
use crate::cgroup::{self, CgroupPlan};

/// What a plan depends on beside the spec.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PlanInput {
    /// Where the root filesystem comes from; the spec's `root.path` is not read.
    pub rootfs: Rootfs,
    /// The host's control group hierarchies: where the container's own is made, and what it sees of them.
    pub cgroups: cgroup::Host,
    /// Whether Gantry's own tiny init is pid 1.
    pub init: bool,
    /// The compiled form of the spec's `linux.seccomp`. It must be there exactly when that is: callers cache
    /// it by the profile's digest, because it costs more than the rest of the plan together.
    pub filter: Option<Seccomp>,
    /// Namespaces that whoever executes the plan passes as open descriptors, where the spec wants new ones.
    pub passed: Vec<NamespaceKind>,
    /// The container's id, which hooks are told.
    pub id: String,
    /// The folder of its spec, which hooks are told.
    pub bundle: String,
}

/// Compiles the start of a container.
pub fn compile(spec: &Spec, input: &PlanInput) -> Result<Plan, PlanError> {
    refuse::what_is_not_there_yet(spec)?;
    let linux = spec.linux().as_ref().ok_or(PlanError::Missing { field: "linux" })?;
    let namespaces = Namespaces::read(linux, &input.passed)?;
    let process = spec.process().as_ref().ok_or(PlanError::Missing { field: "process" })?;
    let mut process = process::compile(process, seccomp(linux, input.filter.as_ref())?)?;
    process.personality = scheduling::personality(linux)?;
    process.memory_policy = linux.memory_policy().as_ref().map(scheduling::memory_policy).transpose()?;
    process.listener = listener(spec, linux, input)?;

    let (slave_propagation, root_propagation, root_propagation_all) = propagation(linux)?;
    let mut steps = Vec::new();
    network_and_names(spec, &namespaces, &mut steps)?;
    let cgroup = control_group(linux, &input.cgroups)?;
    if namespaces.is_host(NamespaceKind::Mount) {
        without_mounts(linux)?;
        sysctl::compile(linux, spec.domainname().as_deref(), &namespaces, &mut steps)?;
    } else {
        let path = cgroup.as_ref().map_or("", |cgroup| cgroup.path.as_str());
        files(spec, linux, &namespaces, &process, (&input.cgroups, path), &mut steps)?;
    }
    let mut plan = Plan {
        version: 1,
        rootfs: Some(input.rootfs.clone()),
        namespaces: namespaces.to_plan(),
        slave_propagation,
        steps,
        process: Some(process),
        init: input.init,
        cgroup,
        hooks: hooks::compile(spec, input)?,
        ids: ids(linux, &namespaces)?,
        clock_offsets: clock_offsets(linux, &namespaces)?,
        root_propagation,
        root_propagation_all,
        net_devices: net_devices(linux, &namespaces)?,
    };
    plan.version = plan.lowest_version();
    Ok(plan)
}

/// What the container sees: its mounts, devices, folders and protected paths.
fn files(
    spec: &Spec,
    linux: &Linux,
    namespaces: &Namespaces,
    process: &Process,
    cgroup: (&cgroup::Host, &str),
    steps: &mut Vec<Step>,
) -> Result<(), PlanError> {
    let mounts = spec.mounts().as_deref().unwrap_or_default();
    let ids = own_ids(linux)?;
    let late = mounts::compile(mounts, namespaces, ids.as_ref(), cgroup, steps)?;
    devices::compile(mounts, linux, process.terminal.is_some(), steps)?;
    if process.cwd != "/" {
        steps.push(Op::Folder(Folder { path: process.cwd.clone() }).into());
    }
    sysctl::compile(linux, spec.domainname().as_deref(), namespaces, steps)?;
    steps.extend(late);
    label_mounts(linux, steps)?;
    mounts::delayed_readonly(mounts, steps)?;
    protected_paths(linux, steps)?;
    if is_readonly(spec) {
        steps.push(Op::RootAttributes(RootAttributes { set: options::RDONLY }).into());
    }
    Ok(())
}

fn is_readonly(spec: &Spec) -> bool {
    spec.root().as_ref().is_some_and(|root| root.readonly().unwrap_or(false))
}

/// In the host's mount namespace nothing is mounted: it would be there for everybody. As with runc the
/// spec's mounts are passed over, but not what is there to protect.
fn without_mounts(linux: &Linux) -> Result<(), PlanError> {
    let any = |paths: &Option<Vec<String>>| paths.as_ref().is_some_and(|paths| !paths.is_empty());
    let without = |field: &'static str| Err(PlanError::invalid(field, "without a mount namespace"));
    if any(linux.masked_paths()) {
        return without("linux.maskedPaths");
    }
    if any(linux.readonly_paths()) {
        return without("linux.readonlyPaths");
    }
    Ok(())
}

/// Compiles a process that joins a container started from `container`. `spec` is the process as the OCI
/// runtime-spec describes it; `filter` is the container's compiled filter, or `None` for an unconfined one.
pub fn compile_exec(
    container: &Plan,
    spec: &oci_spec::runtime::Process,
    filter: Option<Seccomp>,
) -> Result<ExecPlan, PlanError> {
    refuse::process(spec)?;
    let namespaces = container.namespaces.iter().map(|namespace| namespace.kind).collect();
    let mut process = process::compile(spec, filter)?;
    if let Some(first) = &container.process {
        process.personality = first.personality;
        process.listener = first.listener.clone().filter(|_| process.seccomp.is_some());
    }
    let kinds = [NamespaceKind::User, NamespaceKind::Time];
    let second = process.is_second_version()
        || container.namespaces.iter().any(|namespace| kinds.contains(&namespace.kind()));
    let ids = container.ids.clone();
    Ok(ExecPlan { version: if second { 2 } else { 1 }, namespaces, process: Some(process), ids })
}

fn control_group(linux: &Linux, host: &cgroup::Host) -> Result<Option<CgroupPlan>, PlanError> {
    let path = linux.cgroups_path().as_ref().map(|path| path.to_string_lossy()).unwrap_or_default();
    let resources = linux.resources().as_ref();
    if path.is_empty() {
        return match resources {
            None => Ok(None),
            Some(_) => Err(PlanError::Missing { field: "linux.cgroupsPath" }),
        };
    }
    let path = path::clean("linux.cgroupsPath", &path)?;
    Ok(Some(cgroup::plan(resources, &path, host)?))
}

fn seccomp(linux: &Linux, filter: Option<&Seccomp>) -> Result<Option<Seccomp>, PlanError> {
    match (linux.seccomp(), filter) {
        (None, None) => Ok(None),
        (Some(_), Some(filter)) => Ok(Some(filter.clone())),
        (Some(_), None) => Err(PlanError::Missing { field: "the compiled linux.seccomp" }),
        (None, Some(_)) => Err(PlanError::Missing { field: "linux.seccomp" }),
    }
}

fn network_and_names(spec: &Spec, namespaces: &Namespaces, steps: &mut Vec<Step>) -> Result<(), PlanError> {
    if namespaces.is_new(NamespaceKind::Network) {
        steps.push(Op::Loopback(Loopback {}).into());
    }
    let name = |field: &'static str, value: &Option<String>| -> Result<Option<Name>, PlanError> {
        match value.as_deref() {
            None | Some("") => Ok(None),
            Some(_) if namespaces.is_host(NamespaceKind::Uts) => {
                Err(PlanError::invalid(field, "set without a uts namespace"))
            }
            Some(name) if name.len() > 64 || name.contains('\0') => Err(PlanError::invalid(field, name)),
            Some(name) => Ok(Some(Name { name: name.to_owned() })),
        }
    };
    if let Some(name) = name("hostname", spec.hostname())? {
        steps.push(Op::Hostname(name).into());
    }
    if let Some(name) = name("domainname", spec.domainname())? {
        steps.push(Op::Domainname(name).into());
    }
    Ok(())
}

fn protected_paths(linux: &Linux, steps: &mut Vec<Step>) -> Result<(), PlanError> {
    let clean = |field: &'static str, paths: &Option<Vec<String>>| -> Result<Vec<String>, PlanError> {
        // A relative one would protect some other path than whoever wrote it meant.
        let absolute = |text: &String| {
            if text.starts_with('/') {
                path::clean(field, text)
            } else {
                Err(PlanError::invalid(field, text))
            }
        };
        paths.iter().flatten().map(absolute).collect()
    };
    let paths = clean("linux.readonlyPaths", linux.readonly_paths())?;
    if !paths.is_empty() {
        steps.push(Op::Readonly(Readonly { paths }).into());
    }
    let paths = clean("linux.maskedPaths", linux.masked_paths())?;
    if !paths.is_empty() {
        steps.push(Op::Mask(Mask { paths }).into());
    }
    Ok(())
}

/// Whether the host's mounts go on appearing, and the propagation that the root has in the end.
fn propagation(linux: &Linux) -> Result<(bool, u64, bool), PlanError> {
    match linux.rootfs_propagation().as_deref() {
        None | Some("" | "private" | "rprivate") => Ok((false, 0, false)),
        Some("slave" | "rslave") => Ok((true, 0, false)),
        Some(word) => match options::propagation(word) {
            Some((bits, all)) => Ok((false, bits, all)),
            None => Err(PlanError::invalid("linux.rootfsPropagation", word)),
        },
    }
}

fn own_ids(linux: &Linux) -> Result<Option<IdMap>, PlanError> {
    identity::map("linux.", linux.uid_mappings().as_deref(), linux.gid_mappings().as_deref())
}

/// The mappings of a new user namespace, which must be there exactly when that is.
fn ids(linux: &Linux, namespaces: &Namespaces) -> Result<Option<IdMap>, PlanError> {
    match (own_ids(linux)?, namespaces.is_new(NamespaceKind::User)) {
        (None, true) => Err(PlanError::Missing { field: "linux.uidMappings" }),
        (Some(_), false) if namespaces.is_host(NamespaceKind::User) => {
            Err(PlanError::invalid("linux.uidMappings", "without a user namespace"))
        }
        // Those of a namespace that is joined are its own.
        (_, false) => Ok(None),
        (map, true) => Ok(map),
    }
}

fn clock_offsets(linux: &Linux, namespaces: &Namespaces) -> Result<String, PlanError> {
    let offsets: BTreeMap<_, _> = linux.time_offsets().iter().flatten().collect();
    if !offsets.is_empty() && !namespaces.is_new(NamespaceKind::Time) {
        return Err(PlanError::invalid("linux.timeOffsets", "without a new time namespace"));
    }
    let mut lines = Vec::new();
    for (clock, offset) in offsets {
        let nanoseconds = offset.nanosecs().unwrap_or(0);
        if !matches!(clock.as_str(), "monotonic" | "boottime") || nanoseconds >= 1_000_000_000 {
            return Err(PlanError::invalid("linux.timeOffsets", clock));
        }
        lines.push(format!("{clock} {} {nanoseconds}\n", offset.secs().unwrap_or(0)));
    }
    Ok(lines.concat())
}

/// Links that move; never out of and back into the host's own namespace.
fn net_devices(linux: &Linux, namespaces: &Namespaces) -> Result<Vec<NetDevice>, PlanError> {
    let devices: BTreeMap<_, _> = linux.net_devices().iter().flatten().collect();
    if !devices.is_empty() && namespaces.is_host(NamespaceKind::Network) {
        return Err(PlanError::invalid("linux.netDevices", "without a network namespace"));
    }
    // What dev_valid_name() of the kernel takes.
    let valid = |name: &str| {
        !name.is_empty()
            && name.len() < 16
            && !matches!(name, "." | "..")
            && !name.contains(|c: char| c.is_whitespace() || matches!(c, '/' | ':' | '\0' | '%'))
    };
    let mut list: Vec<NetDevice> = Vec::new();
    for (name, device) in devices {
        let name_inside = device.name().as_ref().filter(|name| !name.is_empty()).unwrap_or(name).clone();
        let taken = list.iter().any(|known| known.name_inside == name_inside);
        if !valid(name) || !valid(&name_inside) || taken {
            return Err(PlanError::invalid("linux.netDevices", format!("{name} as {name_inside}")));
        }
        list.push(NetDevice { name: name.clone(), name_inside });
    }
    Ok(list)
}

/// Who answers for the filter's listener: a profile without a path for it has nobody.
fn listener(spec: &Spec, linux: &Linux, input: &PlanInput) -> Result<Option<Listener>, PlanError> {
    let Some(profile) = linux.seccomp() else { return Ok(None) };
    let path = profile.listener_path().as_ref().map(|path| path.to_string_lossy()).unwrap_or_default();
    if path.is_empty() {
        return Ok(None);
    }
    let mut state = serde_json::json!({"ociVersion": spec.version(), "fds": ["seccompFd"]});
    if let Some(metadata) = profile.listener_metadata().as_ref().filter(|text| !text.is_empty()) {
        state["metadata"] = metadata.as_str().into();
    }
    let mut state = state.to_string();
    state.pop();
    state += ",\"state\":";
    state += &hooks::state(spec, input);
    Ok(Some(Listener { path: path::host("linux.seccomp.listenerPath", &path)?, state }))
}

/// The label of filesystems that have none of their own.
fn label_mounts(linux: &Linux, steps: &mut [Step]) -> Result<(), PlanError> {
    let label = process::label("linux.mountLabel", linux.mount_label().as_ref())?;
    if label.is_empty() {
        return Ok(());
    }
    for step in steps {
        if let Some(Op::Mount(mount)) = &mut step.op
            && matches!(mount.fstype.as_str(), "tmpfs" | "mqueue" | "devpts")
        {
            mount.settings.push(Setting { key: "context".to_owned(), value: Some(label.clone()) });
        }
    }
    Ok(())
}
