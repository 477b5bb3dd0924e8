//! The spec's `mounts`, in their order. A fresh filesystem becomes a [`Mount`], a host path a [`Bind`].

use std::path::Path;

use oci_spec::runtime::Mount as SpecMount;

use super::namespaces::Namespaces;
use super::options::{self, Options, PRIVATE, RDONLY};
use super::{cgroup_mounts, identity, path, remount};
use crate::cgroup::Host;
use crate::plan::{
    Bind, EnterCgroupNamespace, IdMap, Mount, MountIdMap, NamespaceKind, Op, PlanError, Readonly, Step,
};

/// Files of procfs that a mount may cover (lxcfs and the like); anything else there would let a container
/// fake what the kernel or the runtime reads (CVE-2015-3631, CVE-2019-16884).
const PROC_FILES: [&str; 10] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/net/dev",
    "/proc/sys/kernel/ns_last_pid",
];

/// Appends the steps of the mounts. What is returned comes later, if it can: entering the cgroup namespace,
/// which waits until the parent has put the child into its cgroup, and the cgroup mounts, which need that.
pub(super) fn compile(
    mounts: &[SpecMount],
    namespaces: &Namespaces,
    ids: Option<&IdMap>,
    (host, cgroup): (&Host, &str),
    steps: &mut Vec<Step>,
) -> Result<Vec<Step>, PlanError> {
    if mounts.len() > gantry_types::MOUNTS_MAX {
        return Err(PlanError::invalid("mounts", format!("{} of them", mounts.len())));
    }
    let mut late = Vec::new();
    let can_wait = cgroup_can_wait(mounts)?;
    if namespaces.is_new(NamespaceKind::Cgroup) {
        let list = if can_wait { &mut late } else { &mut *steps };
        list.push(Op::EnterCgroupNamespace(EnterCgroupNamespace {}).into());
    }
    for (index, mount) in mounts.iter().enumerate() {
        let field = format!("mounts[{index}]");
        let target = path::clean(&format!("{field}.destination"), &mount.destination().to_string_lossy())?;
        let mut options = options::parse(&field, mount.options().as_deref().unwrap_or_default())?;
        let fstype = mount.typ().as_deref().unwrap_or_default();
        options.bind |= fstype == "bind";
        if target == "/" {
            return Err(PlanError::invalid(format!("{field}.destination"), "/"));
        }
        if options.remount {
            remount::compile(&field, mount, target, options, steps)?;
            continue;
        }
        check_proc(&field, &target, fstype, &options, mount)?;
        if options.bind {
            steps.push(Op::Bind(bind(&field, mount, target, &options, ids)?).into());
        } else if matches!(fstype, "cgroup" | "cgroup2") {
            let list = if can_wait { &mut late } else { &mut *steps };
            let own = if namespaces.is_host(NamespaceKind::Cgroup) { Some(cgroup) } else { None };
            cgroup_mounts::compile(&field, &target, options, host, own, list)?;
        } else {
            steps.push(Op::Mount(fresh(&field, mount, target, fstype, options)?).into());
        }
    }
    Ok(late)
}

/// Whether the cgroup mounts may come after all others: no later mount is on them, or over them.
fn cgroup_can_wait(mounts: &[SpecMount]) -> Result<bool, PlanError> {
    let targets = mounts
        .iter()
        .map(|mount| path::clean("mounts.destination", &mount.destination().to_string_lossy()))
        .collect::<Result<Vec<_>, _>>()?;
    let is_cgroup = |mount: &SpecMount| matches!(mount.typ().as_deref(), Some("cgroup" | "cgroup2"));
    let related =
        |one: &str, other: &str| Path::new(one).starts_with(other) || Path::new(other).starts_with(one);
    Ok(!mounts.iter().enumerate().any(|(index, mount)| {
        is_cgroup(mount) && targets[index + 1..].iter().any(|later| related(later, &targets[index]))
    }))
}

/// A read-only `/dev` is made so after the device nodes are in it.
pub(super) fn delayed_readonly(mounts: &[SpecMount], steps: &mut Vec<Step>) -> Result<(), PlanError> {
    let mut readonly = false;
    for mount in mounts.iter().filter(|mount| is_dev(mount)) {
        let options = options::parse("mounts", mount.options().as_deref().unwrap_or_default())?;
        if options.remount {
            readonly = (readonly || options.set & RDONLY != 0) && options.clear & RDONLY == 0;
        } else {
            readonly = !options.bind && (options.set | options.set_all) & RDONLY != 0;
        }
    }
    if readonly {
        steps.push(Op::Readonly(Readonly { paths: vec!["/dev".to_owned()] }).into());
    }
    Ok(())
}

/// Whether `/dev` is the container's own, so that nodes and links are made in it; a host folder bound there
/// is left as it is.
pub(super) fn owns_dev(mounts: &[SpecMount]) -> bool {
    !mounts.iter().any(|mount| {
        let has =
            |words: &[&str]| mount.options().iter().flatten().any(|word| words.contains(&word.as_str()));
        let bind = mount.typ().as_deref() == Some("bind") || has(&["bind", "rbind"]);
        bind && !has(&["remount"]) && is_dev(mount)
    })
}

fn is_dev(mount: &SpecMount) -> bool {
    path::clean("", &mount.destination().to_string_lossy()).as_deref() == Ok("/dev")
}

fn bind(
    field: &str,
    mount: &SpecMount,
    target: String,
    options: &Options,
    ids: Option<&IdMap>,
) -> Result<Bind, PlanError> {
    if let Some(setting) = options.settings.iter().find(|setting| !options::is_about_whole(&setting.key)) {
        return Err(PlanError::unsupported(format!("{field}.options {:?} of a bind mount", setting.key)));
    }
    let source = mount.source().as_ref().map(|path| path.to_string_lossy()).unwrap_or_default();
    let map = identity::map(
        &format!("{field}."),
        mount.uid_mappings().as_deref(),
        mount.gid_mappings().as_deref(),
    )?;
    let map = match &options.id_ranges {
        Some(_) if map.is_some() => {
            return Err(PlanError::invalid(format!("{field}.options"), "idmap= beside uidMappings"));
        }
        Some(ranges) => Some(identity::inline(&format!("{field}.options idmap"), ranges, ids)?),
        None => map,
    };
    let mapped = map.is_some() || options.id_map.is_some();
    let silent = options.propagation == 0;
    Ok(Bind {
        source: path::host(&format!("{field}.source"), &source)?,
        target,
        recursive: options.recursive,
        set: options.set,
        clear: options.clear,
        set_all: options.set_all,
        clear_all: options.clear_all,
        propagation: if silent { PRIVATE } else { options.propagation },
        propagation_all: silent || options.propagation_all,
        id_map: mapped.then(|| MountIdMap { map, recursive: options.id_map.unwrap_or(false) }),
    })
}

fn fresh(
    field: &str,
    mount: &SpecMount,
    target: String,
    fstype: &str,
    options: Options,
) -> Result<Mount, PlanError> {
    if fstype.is_empty() || fstype.contains('\0') {
        return Err(PlanError::invalid(format!("{field}.type"), fstype));
    }
    let source = mount.source().as_ref().map(|path| path.to_string_lossy().into_owned());
    if source.as_ref().is_some_and(|source| source.contains('\0')) {
        return Err(PlanError::invalid(format!("{field}.source"), source.unwrap_or_default()));
    }
    if options.id_map.is_some() || mount.uid_mappings().as_ref().is_some_and(|list| !list.is_empty()) {
        return Err(PlanError::unsupported(format!(
            "{field}.uidMappings of a mount that is not a bind mount"
        )));
    }
    if options.copy_up && fstype != "tmpfs" {
        return Err(PlanError::invalid(format!("{field}.options"), "tmpcopyup"));
    }
    let readonly_later = if target == "/dev" { RDONLY } else { 0 };
    Ok(Mount {
        target,
        fstype: fstype.to_owned(),
        source: source.unwrap_or_else(|| fstype.to_owned()),
        attributes: (options.set | options.set_all) & !readonly_later,
        settings: options.settings,
        propagation: options.propagation,
        copy_up: options.copy_up,
    })
}

fn check_proc(
    field: &str,
    target: &str,
    fstype: &str,
    options: &Options,
    mount: &SpecMount,
) -> Result<(), PlanError> {
    let refused = || Err(PlanError::invalid(format!("{field}.destination"), target));
    let host_proc = options.bind && mount.source().as_deref() == Some(Path::new("/proc"));
    if target == "/proc" {
        return if fstype == "proc" || host_proc { Ok(()) } else { refused() };
    }
    if target.starts_with("/proc/") && !(options.bind && PROC_FILES.contains(&target)) {
        return refused();
    }
    Ok(())
}
