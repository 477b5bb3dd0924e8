//! The container's own view of the cgroup filesystem, which looks like the host's: one tree on v2, one
//! folder per hierarchy on v1. With a cgroup namespace the container's cgroup is the root of it.

use super::options::{NODEV, NOEXEC, NOSUID, RDONLY};
use crate::plan::{Mount, Op, PlanError, Readonly, Setting, Step, Symlink};

/// How cgroups are mounted on the host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum CgroupLayout {
    /// The unified hierarchy.
    #[default]
    Unified,
    /// One mount per hierarchy, version 1; the unified one beside them has no controllers.
    Legacy {
        /// In the order they are shown.
        hierarchies: Vec<Hierarchy>,
    },
}

/// A version 1 hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// The folder's name below the mount of all: `cpu,cpuacct`, `systemd`.
    pub name: String,
    /// The mount options that choose it: `cpu`, `cpuacct`; `none` and `name=systemd`.
    pub options: Vec<String>,
}

/// The steps for a mount of type `cgroup` at `target`.
pub(super) fn compile(
    target: &str,
    readonly: bool,
    layout: &CgroupLayout,
    steps: &mut Vec<Step>,
) -> Result<(), PlanError> {
    let attributes = NOSUID | NODEV | NOEXEC | if readonly { RDONLY } else { 0 };
    let hierarchies = match layout {
        CgroupLayout::Unified => {
            let mount = Mount {
                target: target.to_owned(),
                fstype: "cgroup2".to_owned(),
                source: "cgroup".to_owned(),
                attributes,
                ..Mount::default()
            };
            steps.push(Op::Mount(mount).into());
            return Ok(());
        }
        CgroupLayout::Legacy { hierarchies } => hierarchies,
    };
    let folder = Mount {
        target: target.to_owned(),
        fstype: "tmpfs".to_owned(),
        source: "cgroup".to_owned(),
        attributes: NOSUID | NODEV | NOEXEC,
        settings: vec![Setting { key: "mode".to_owned(), value: Some("755".to_owned()) }],
        ..Mount::default()
    };
    steps.push(Op::Mount(folder).into());
    for hierarchy in hierarchies {
        if hierarchy.name.is_empty() || hierarchy.name.contains('/') {
            return Err(PlanError::invalid("the host's cgroup hierarchy", &hierarchy.name));
        }
        let mount = Mount {
            target: format!("{target}/{}", hierarchy.name),
            fstype: "cgroup".to_owned(),
            source: "cgroup".to_owned(),
            attributes,
            settings: hierarchy.options.iter().map(|word| setting(word)).collect(),
            ..Mount::default()
        };
        steps.push(Op::Mount(mount).into());
        for controller in hierarchy.name.split(',').filter(|_| hierarchy.name.contains(',')) {
            let link = Symlink { path: format!("{target}/{controller}"), target: hierarchy.name.clone() };
            steps.push(Op::Symlink(link).into());
        }
    }
    if readonly {
        steps.push(Op::Readonly(Readonly { paths: vec![target.to_owned()] }).into());
    }
    Ok(())
}

fn setting(word: &str) -> Setting {
    match word.split_once('=') {
        Some((key, value)) => Setting { key: key.to_owned(), value: Some(value.to_owned()) },
        None => Setting { key: word.to_owned(), value: None },
    }
}
