//! From an OCI spec to a [`Plan`]: pure, so that golden files can hold it. Nothing here opens a file; what
//! depends on the host is an input. The order of the steps is decided here, and only here.
//!
//! What is deliberately absent: user and time namespaces, id-mapped mounts, hooks, LSM labels, schedulers,
//! Intel RDT. A spec that asks for them is refused by name ([`PlanError::Unsupported`]).

mod capability;
mod cgroup_mounts;
mod devices;
mod hooks;
mod mounts;
mod namespaces;
mod options;
mod path;
mod process;
mod refuse;
mod sysctl;

use oci_spec::runtime::{Linux, Spec};

use self::namespaces::Namespaces;
use super::step::{Folder, Loopback, Mask, Name, Op, Readonly, RootAttributes};
use super::{ExecPlan, NamespaceKind, Plan, PlanError, Rootfs, Seccomp, Step};
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
    let process = process::compile(process, seccomp(linux, input.filter.as_ref())?)?;

    let mut steps = Vec::new();
    network_and_names(spec, &namespaces, &mut steps)?;
    let mounts = spec.mounts().as_deref().unwrap_or_default();
    let late = mounts::compile(mounts, &namespaces, &input.cgroups, &mut steps)?;
    devices::compile(mounts, linux, process.terminal.is_some(), &mut steps)?;
    if process.cwd != "/" {
        steps.push(Op::Folder(Folder { path: process.cwd.clone() }).into());
    }
    sysctl::compile(linux, &namespaces, &mut steps)?;
    steps.extend(late);
    mounts::delayed_readonly(mounts, &mut steps)?;
    protected_paths(linux, &mut steps)?;
    if spec.root().as_ref().is_some_and(|root| root.readonly().unwrap_or(false)) {
        steps.push(Op::RootAttributes(RootAttributes { set: options::RDONLY }).into());
    }
    let mut plan = Plan {
        version: 1,
        rootfs: Some(input.rootfs.clone()),
        namespaces: namespaces.to_plan(),
        slave_propagation: slave_propagation(linux)?,
        steps,
        process: Some(process),
        init: input.init,
        cgroup: control_group(linux, &input.cgroups)?,
        hooks: hooks::compile(spec, input)?,
    };
    plan.version = plan.lowest_version();
    Ok(plan)
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
    Ok(ExecPlan { version: 1, namespaces, process: Some(process::compile(spec, filter)?) })
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
    if namespaces.network.is_new() {
        steps.push(Op::Loopback(Loopback {}).into());
    }
    let name = |field: &'static str, value: &Option<String>| -> Result<Option<Name>, PlanError> {
        match value.as_deref() {
            None | Some("") => Ok(None),
            Some(_) if namespaces.uts.is_host() => {
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
        paths.iter().flatten().map(|text| path::clean(field, text)).collect()
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

fn slave_propagation(linux: &Linux) -> Result<bool, PlanError> {
    match linux.rootfs_propagation().as_deref() {
        None | Some("" | "private" | "rprivate") => Ok(false),
        Some("slave" | "rslave") => Ok(true),
        Some(other) if options::propagation(other).is_some() => {
            Err(PlanError::unsupported(format!("linux.rootfsPropagation {other:?}")))
        }
        Some(other) => Err(PlanError::invalid("linux.rootfsPropagation", other)),
    }
}
