//! How the numbers that a child tells become words: what is kept of a plan for the errors of its start.
//! Nothing else of the plan outlives [`super::create`].

use gantry_linux::Errno;

use super::handshake::Trouble;
use super::{ExecuteError, Operation};
use crate::plan::{Hook, Op, Plan, Process, Rlimit};

/// The names that a failure after the set-up may need.
#[derive(Debug)]
pub(super) struct Words {
    command: String,
    cwd: String,
    start_hooks: Vec<String>,
}

impl Words {
    pub(super) fn of(plan: &Plan) -> Result<Self, ExecuteError> {
        let missing = || ExecuteError::new(Operation::Plan, "process", Errno::INVAL);
        let mut words = Self::of_process(plan.process.as_ref().ok_or_else(missing)?);
        let hooks = plan.hooks.iter().flat_map(|hooks| &hooks.start_container);
        words.start_hooks = hooks.map(|hook| hook.path.clone()).collect();
        Ok(words)
    }

    pub(super) fn of_process(process: &Process) -> Self {
        let command = process.args.first().cloned().unwrap_or_default();
        Self { command, cwd: process.cwd.clone(), start_hooks: Vec::new() }
    }

    /// A child's numbers as an error. The plan is there while the child carries its steps out.
    pub(super) fn error(&self, trouble: Trouble, plan: Option<&Plan>) -> ExecuteError {
        let Trouble { operation, step, item, errno } = trouble;
        let (step, item) = (step as usize, item as usize);
        let step = plan.and_then(|plan| plan.steps.get(step)).and_then(|step| step.op.as_ref());
        let path = |hooks: &[Hook]| hooks.get(item).map(|hook| hook.path.clone()).unwrap_or_default();
        let object = match (operation, step) {
            (Operation::Exec, _) => self.command.clone(),
            (Operation::WorkingDir, _) => self.cwd.clone(),
            (Operation::StartHook, _) => self.start_hooks.get(item).cloned().unwrap_or_default(),
            (Operation::CreateHook, _) => {
                let hooks = plan.and_then(|plan| plan.hooks.as_ref());
                hooks.map(|hooks| path(&hooks.create_container)).unwrap_or_default()
            }
            (Operation::Namespace, _) => {
                let joined = plan
                    .iter()
                    .flat_map(|plan| &plan.namespaces)
                    .filter(|one| one.passed || !one.path.is_empty());
                joined.map(|one| one.path.clone()).nth(item).unwrap_or_default()
            }
            (Operation::Label, _) => {
                let process = plan.and_then(|plan| plan.process.as_ref());
                process.map(|process| format!("{}{}", process.apparmor, process.selinux)).unwrap_or_default()
            }
            (Operation::Rlimit, _) => {
                let limits = plan.and_then(|plan| plan.process.as_ref()).map(|process| &process.rlimits);
                limits.and_then(|limits| limits.get(item)).map(rlimit_name).unwrap_or_default().to_owned()
            }
            (_, Some(op)) => object_of(op, item),
            (_, None) => String::new(),
        };
        ExecuteError { operation, object, errno }
    }
}

/// `RLIMIT_NOFILE` of its number.
pub(super) fn rlimit_name(limit: &Rlimit) -> &'static str {
    let known = gantry_linux::process::LIMITS.iter().find(|(_, number)| *number == limit.resource);
    known.map_or("", |(name, _)| *name)
}

fn object_of(op: &Op, item: usize) -> String {
    let nth = |paths: &[String]| paths.get(item).cloned().unwrap_or_default();
    match op {
        Op::Mount(mount) => format!("{} at {}", mount.fstype, mount.target),
        Op::Bind(bind) => format!("{} at {}", bind.source, bind.target),
        Op::Remount(remount) => remount.target.clone(),
        Op::Device(device) => device.path.clone(),
        Op::Symlink(link) => link.path.clone(),
        Op::Folder(folder) => folder.path.clone(),
        Op::Mask(mask) => nth(&mask.paths),
        Op::Readonly(readonly) => nth(&readonly.paths),
        Op::Hostname(name) | Op::Domainname(name) => name.name.clone(),
        Op::Sysctl(sysctl) => sysctl.path.clone(),
        Op::Console(_) | Op::RootAttributes(_) | Op::Loopback(_) | Op::EnterCgroupNamespace(_) => {
            String::new()
        }
    }
}
