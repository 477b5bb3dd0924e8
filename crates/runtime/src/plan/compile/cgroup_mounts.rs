//! The container's own view of the cgroup filesystem, which looks like the host's: one tree on v2, one
//! folder per hierarchy on v1. With a cgroup namespace the container's cgroup is the root of it; without one
//! the container's folder of each hierarchy is bound there, so that it sees no other's.

use super::options::{NODEV, NOEXEC, NOSUID, Options, PRIVATE, RDONLY};
use crate::cgroup::Host;
use crate::plan::{Bind, Mount, Op, PlanError, Readonly, Setting, Step, Symlink};

/// The steps for a mount of type `cgroup` at `target`. `own` is the container's path below every hierarchy
/// where it has no cgroup namespace. The filesystem's own options are for the kernel to judge where the one mount is
/// made; elsewhere they are refused.
pub(super) fn compile(
    field: &str,
    target: &str,
    options: Options,
    host: &Host,
    own: Option<&str>,
    steps: &mut Vec<Step>,
) -> Result<(), PlanError> {
    let readonly = options.set & RDONLY != 0;
    let is_made = !host.has_legacy_controllers() && own.is_none();
    if let Some(setting) = options.settings.first().filter(|_| !is_made) {
        let field = format!("{field}.options {:?} of control groups that the host has mounted", setting.key);
        return Err(PlanError::unsupported(field));
    }
    let bound = |mountpoint: &str, target: String| {
        own.map(|own| {
            let source = format!("{}/{}", mountpoint.trim_end_matches('/'), own.trim_start_matches('/'));
            let set = NOSUID | NODEV | NOEXEC | if readonly { RDONLY } else { 0 };
            let (propagation, propagation_all) = (PRIVATE, true);
            let bind = Bind { source, target, set, propagation, propagation_all, ..Bind::default() };
            Step::from(Op::Bind(bind))
        })
    };
    let attributes = NOSUID | NODEV | NOEXEC | if readonly { RDONLY } else { 0 };
    if !host.has_legacy_controllers() {
        let mountpoint = host.unified.as_ref().map_or("", |unified| unified.mountpoint.as_str());
        if let Some(step) = bound(mountpoint, target.to_owned()) {
            steps.push(step);
            return Ok(());
        }
        let mount = Mount {
            target: target.to_owned(),
            fstype: "cgroup2".to_owned(),
            source: "cgroup".to_owned(),
            attributes,
            settings: options.settings,
            ..Mount::default()
        };
        steps.push(Op::Mount(mount).into());
        return Ok(());
    }
    let folder = Mount {
        target: target.to_owned(),
        fstype: "tmpfs".to_owned(),
        source: "cgroup".to_owned(),
        attributes: NOSUID | NODEV | NOEXEC,
        settings: vec![Setting { key: "mode".to_owned(), value: Some("755".to_owned()) }],
        ..Mount::default()
    };
    steps.push(Op::Mount(folder).into());
    for hierarchy in &host.legacy {
        let name = hierarchy.mountpoint.rsplit('/').next().unwrap_or_default();
        if name.is_empty() {
            return Err(PlanError::invalid("the host's cgroup hierarchy", &hierarchy.mountpoint));
        }
        let mount = Mount {
            target: format!("{target}/{name}"),
            fstype: "cgroup".to_owned(),
            source: "cgroup".to_owned(),
            attributes,
            settings: hierarchy.controllers.iter().flat_map(|word| settings(word)).collect(),
            ..Mount::default()
        };
        let bound = bound(&hierarchy.mountpoint, mount.target.clone());
        steps.push(bound.unwrap_or_else(|| Op::Mount(mount).into()));
        for controller in name.split(',').filter(|_| name.contains(',')) {
            let link = Symlink { path: format!("{target}/{controller}"), target: name.to_owned() };
            steps.push(Op::Symlink(link).into());
        }
    }
    if readonly {
        steps.push(Op::Readonly(Readonly { paths: vec![target.to_owned()] }).into());
    }
    Ok(())
}

/// The mount options that choose a hierarchy: its controllers, or none and its name.
fn settings(word: &str) -> Vec<Setting> {
    match word.split_once('=') {
        Some((key, value)) => vec![
            Setting { key: "none".to_owned(), value: None },
            Setting { key: key.to_owned(), value: Some(value.to_owned()) },
        ],
        None => vec![Setting { key: word.to_owned(), value: None }],
    }
}
