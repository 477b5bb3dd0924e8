//! A plan as people read it: one line per thing that is done, in the order it is done.

use std::fmt::Write as _;

use gantry_runtime::plan::{Bind, Mount, NamespaceKind, Op, Plan, Process, Root};

pub(crate) fn lines(plan: &Plan) -> String {
    let mut text = format!("version {}\n", plan.version);
    if let Some(cgroup) = &plan.cgroup {
        let _ = writeln!(text, "cgroup {} in {} hierarchies", cgroup.path, cgroup.folders.len());
    }
    match plan.rootfs.as_ref().and_then(|rootfs| rootfs.root.as_ref()).expect("a root") {
        Root::Overlay(overlay) => {
            let _ = writeln!(text, "overlay {} on {}", overlay.upper, overlay.lower.join(":"));
        }
        Root::Folder(folder) => {
            let _ = writeln!(text, "folder {folder}");
        }
    }
    for namespace in &plan.namespaces {
        let from = if namespace.path.is_empty() { "new" } else { &namespace.path };
        let kind = NamespaceKind::try_from(namespace.kind).expect("a known kind");
        let _ = writeln!(text, "namespace {kind:?} {from}");
    }
    let _ = writeln!(text, "propagation {}", if plan.slave_propagation { "slave" } else { "private" });
    for step in &plan.steps {
        let _ = writeln!(text, "{}", op(step.op.as_ref().expect("an operation")));
    }
    text.push_str(&process(plan.process.as_ref().expect("a process")));
    if plan.init {
        text.push_str("tiny init\n");
    }
    text
}

fn op(op: &Op) -> String {
    match op {
        Op::Mount(mount) => fresh(mount),
        Op::Bind(bind) => bound(bind),
        Op::Device(device) => format!(
            "device {} {:o} {}:{} owner {}:{}",
            device.path, device.mode, device.major, device.minor, device.uid, device.gid
        ),
        Op::Symlink(link) => format!("symlink {} -> {}", link.path, link.target),
        Op::Folder(folder) => format!("folder {}", folder.path),
        Op::Console(_) => "console".to_owned(),
        Op::Mask(mask) => format!("mask {}", mask.paths.join(" ")),
        Op::Readonly(readonly) => format!("read-only {}", readonly.paths.join(" ")),
        Op::RootAttributes(root) => format!("root attributes {:#x}", root.set),
        Op::Hostname(name) => format!("host name {}", name.name),
        Op::Domainname(name) => format!("domain name {}", name.name),
        Op::Sysctl(sysctl) => format!("sysctl {} = {}", sysctl.path, sysctl.value),
        Op::Loopback(_) => "loopback up".to_owned(),
        Op::EnterCgroupNamespace(_) => "enter cgroup namespace".to_owned(),
    }
}

fn fresh(mount: &Mount) -> String {
    let settings = mount.settings.iter().map(|setting| match &setting.value {
        Some(value) => format!(" {}={value}", setting.key),
        None => format!(" {}", setting.key),
    });
    let settings: String = settings.collect();
    format!("mount {} at {} attributes {:#x}{settings}", mount.fstype, mount.target, mount.attributes)
}

fn bound(bind: &Bind) -> String {
    let recursive = if bind.recursive { " with submounts" } else { "" };
    let all = if bind.propagation_all { " for all" } else { "" };
    format!(
        "bind {}{recursive} at {} set {:#x} clear {:#x} set all {:#x} clear all {:#x} propagation {:#x}{all}",
        bind.source, bind.target, bind.set, bind.clear, bind.set_all, bind.clear_all, bind.propagation
    )
}

fn process(process: &Process) -> String {
    let mut text = String::new();
    for limit in &process.rlimits {
        let _ = writeln!(text, "rlimit {} {} {}", limit.resource, limit.soft, limit.hard);
    }
    let _ = writeln!(
        text,
        "user {}:{} groups {:?} umask {:?}",
        process.uid, process.gid, process.groups, process.umask
    );
    if let Some(sets) = process.capabilities {
        let _ = writeln!(
            text,
            "capabilities bounding {:x} effective {:x} inheritable {:x} permitted {:x} ambient {:x}",
            sets.bounding, sets.effective, sets.inheritable, sets.permitted, sets.ambient
        );
    }
    let _ = writeln!(
        text,
        "no new privileges {}, filter {}, terminal {:?}, oom score {:?}",
        process.no_new_privileges,
        process.seccomp.is_some(),
        process.terminal.map(|size| (size.rows, size.columns)),
        process.oom_score_adj
    );
    let _ = writeln!(text, "in {} run {:?} with {:?}", process.cwd, process.args, process.env);
    text
}
