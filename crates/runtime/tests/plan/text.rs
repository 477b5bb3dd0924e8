//! A plan as people read it: one line per thing that is done, in the order it is done.

use std::fmt::Write as _;

use gantry_runtime::plan::{Bind, Mount, NamespaceKind, Op, Plan, Process, Remount, Root};

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
        let from = match (namespace.passed, namespace.path.as_str()) {
            (true, _) => "passed",
            (false, "") => "new",
            (false, path) => path,
        };
        let kind = NamespaceKind::try_from(namespace.kind).expect("a known kind");
        let _ = writeln!(text, "namespace {kind:?} {from}");
    }
    let _ = writeln!(text, "propagation {}", if plan.slave_propagation { "slave" } else { "private" });
    second_version(plan, &mut text);
    for step in &plan.steps {
        let _ = writeln!(text, "{}", op(step.op.as_ref().expect("an operation")));
    }
    text.push_str(&process(plan.process.as_ref().expect("a process")));
    if plan.init {
        text.push_str("tiny init\n");
    }
    text
}

/// What plans of version 2 may have; nothing for others.
fn second_version(plan: &Plan, text: &mut String) {
    for range in plan.ids.iter().flat_map(|ids| ids.users.iter().chain(&ids.groups)) {
        let _ = writeln!(text, "ids {} are {} ({})", range.inside, range.outside, range.count);
    }
    if plan.rootfs.as_ref().is_some_and(|rootfs| rootfs.id_mapped) {
        text.push_str("root shifted\n");
    }
    for device in &plan.net_devices {
        let _ = writeln!(text, "link {} becomes {}", device.name, device.name_inside);
    }
    for line in plan.clock_offsets.lines() {
        let _ = writeln!(text, "clock {line}");
    }
    if plan.root_propagation != 0 {
        let _ =
            writeln!(text, "root propagation {:#x} all {}", plan.root_propagation, plan.root_propagation_all);
    }
    let Some(hooks) = &plan.hooks else { return };
    let _ = writeln!(text, "state {} in {}", hooks.state, hooks.bundle);
    for (kind, list) in [
        ("prestart", &hooks.prestart),
        ("createRuntime", &hooks.create_runtime),
        ("createContainer", &hooks.create_container),
        ("startContainer", &hooks.start_container),
        ("poststart", &hooks.poststart),
        ("poststop", &hooks.poststop),
    ] {
        for hook in list {
            let _ = writeln!(
                text,
                "{kind} {} {:?} {:?} {}s",
                hook.path, hook.args, hook.env, hook.timeout_seconds
            );
        }
    }
}

fn op(op: &Op) -> String {
    match op {
        Op::Mount(mount) => fresh(mount),
        Op::Bind(bind) => bound(bind),
        Op::Remount(remount) => changed(remount),
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
    let copied = if mount.copy_up { " copied up" } else { "" };
    format!("mount {} at {} attributes {:#x}{settings}{copied}", mount.fstype, mount.target, mount.attributes)
}

fn bound(bind: &Bind) -> String {
    let recursive = if bind.recursive { " with submounts" } else { "" };
    let all = if bind.propagation_all { " for all" } else { "" };
    let shifted =
        bind.id_map.as_ref().map_or("", |map| if map.recursive { " shifted for all" } else { " shifted" });
    format!(
        "bind {}{recursive} at {} set {:#x} clear {:#x} set all {:#x} clear all {:#x} propagation {:#x}{all}{shifted}",
        bind.source, bind.target, bind.set, bind.clear, bind.set_all, bind.clear_all, bind.propagation
    )
}

fn changed(remount: &Remount) -> String {
    let all = if remount.propagation_all { " for all" } else { "" };
    format!(
        "remount {} set {:#x} clear {:#x} set all {:#x} clear all {:#x} propagation {:#x}{all}",
        remount.target, remount.set, remount.clear, remount.set_all, remount.clear_all, remount.propagation
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
