//! `remount`: an entry of the spec's `mounts` that changes the mount at its destination and makes none. Words about
//! one mount (`ro`, `nosuid`, `slave`) become a step of their own. A filesystem's parameters (`size=`) go to the step
//! that makes it: the superblock of a host path that is bound is the host's, and no container changes it.

use oci_spec::runtime::Mount as SpecMount;

use super::options::{self, Options, RDONLY};
use crate::plan::{Bind, Mount, Op, PlanError, Remount, Step};

/// Appends the change. Source and type are not read, as in mount(2).
pub(super) fn compile(
    field: &str,
    mount: &SpecMount,
    target: String,
    options: Options,
    steps: &mut Vec<Step>,
) -> Result<(), PlanError> {
    let beside = |word: &str| Err(PlanError::invalid(format!("{field}.options"), format!("remount, {word}")));
    if options.copy_up {
        return beside("tmpcopyup");
    }
    let mapped = |list: &Option<Vec<_>>| list.as_ref().is_some_and(|list| !list.is_empty());
    if options.id_map.is_some() || mapped(mount.uid_mappings()) || mapped(mount.gid_mappings()) {
        return beside("id mappings");
    }
    for setting in options.settings {
        if options.bind && options::is_about_whole(&setting.key) {
            continue;
        }
        let Some(made) = filesystem(steps, &target).filter(|_| !options.bind) else {
            let refused = format!("{field}.options {:?} for a remount of a bind mount", setting.key);
            return Err(PlanError::unsupported(refused));
        };
        made.settings.retain(|known| known.key != setting.key);
        made.settings.push(setting);
    }
    // The nodes of /dev come after all mounts, and read-only is it alone then.
    let later = if target == "/dev" { RDONLY } else { 0 };
    if options.set_all & later != 0 {
        return Err(PlanError::unsupported(format!("{field}.options \"rro\" for a remount of /dev")));
    }
    let change = Remount {
        target,
        set: options.set & !later,
        clear: options.clear,
        set_all: options.set_all,
        clear_all: options.clear_all,
        propagation: options.propagation,
        propagation_all: options.propagation_all,
    };
    steps.push(Op::Remount(change).into());
    Ok(())
}

/// The step that makes what is mounted at a path, if it is a filesystem of the container's own.
fn filesystem<'s>(steps: &'s mut [Step], target: &str) -> Option<&'s mut Mount> {
    let is_on_it = |op: &Op| matches!(op, Op::Mount(Mount { target: at, .. }) | Op::Bind(Bind { target: at, .. }) if at == target);
    let last = steps.iter_mut().rev().filter_map(|step| step.op.as_mut()).find(|op| is_on_it(op))?;
    if let Op::Mount(mount) = last { Some(mount) } else { None }
}
