//! What the parent does to its child from outside, because only it has the privilege, or the view: identity
//! maps, clocks, limits, scheduling, the out-of-memory score, and the descriptor of a filter's listener.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use gantry_linux::link::Link;
use gantry_linux::namespace::{Namespaces, enter, open_own};
use gantry_linux::proc::ProcFs;
use gantry_linux::process::{self as linux, Limit, SchedulerAttributes};
use gantry_linux::socket::{self, Kind};
use gantry_linux::{Errno, Pid};

use super::words::rlimit_name;
use super::{ExecuteError, Operation, failed};
use crate::plan::{Affinity, IdMap, Listener, NetDevice, Process};

/// Gives the child's new user namespace its mappings. Without the privilege for more, one id of each kind, its
/// own, can be mapped, and groups cannot be changed any more.
pub(super) fn set_ids(pid: Pid, ids: &IdMap) -> Result<(), ExecuteError> {
    let (users, groups) = (ids.users_text(), ids.groups_text());
    let set = ProcFs::open().and_then(|proc| match proc.set_id_maps(pid, &users, &groups) {
        Err(error) if error.errno == Errno::PERM => {
            proc.write(format!("{pid}/setgroups"), b"deny")?;
            // The users' may be written already.
            proc.write(format!("{pid}/uid_map"), users.as_bytes())
                .or_else(|error| if error.errno == Errno::PERM { Ok(()) } else { Err(error) })?;
            proc.write(format!("{pid}/gid_map"), groups.as_bytes())
        }
        set => set,
    });
    set.map_err(|error| failed(Operation::IdMap, &error))
}

/// Sets the clocks of the child's new time namespace off.
pub(super) fn set_clocks(pid: Pid, offsets: &str) -> Result<(), ExecuteError> {
    let set = ProcFs::open().and_then(|proc| proc.set_clock_offsets(pid, offsets));
    set.map_err(|error| failed(Operation::Clocks, &error))
}

/// Sets the child's resource limits.
pub(super) fn set_limits(pid: Pid, process: &Process) -> Result<(), ExecuteError> {
    for limit in &process.rlimits {
        let value = Limit { soft: limit.soft, hard: limit.hard };
        linux::set_limit(Some(pid), limit.resource, value)
            .map_err(|error| ExecuteError::new(Operation::Rlimit, rlimit_name(limit), error.errno))?;
    }
    Ok(())
}

/// Sets how the child is scheduled, if the plan says so.
pub(super) fn set_scheduling(pid: Pid, process: &Process) -> Result<(), ExecuteError> {
    if let Some(asked) = process.scheduler {
        let attributes = SchedulerAttributes {
            size: 0,
            policy: asked.policy,
            flags: asked.flags,
            nice: asked.nice,
            priority: asked.priority,
            runtime_ns: asked.runtime_ns,
            deadline_ns: asked.deadline_ns,
            period_ns: asked.period_ns,
        };
        linux::set_scheduler(Some(pid), attributes)
            .map_err(|error| ExecuteError::new(Operation::Scheduling, "scheduler", error.errno))?;
    }
    if let Some(asked) = process.io_priority {
        linux::set_io_priority(Some(pid), asked.class, asked.level)
            .map_err(|error| ExecuteError::new(Operation::Scheduling, "ioPriority", error.errno))?;
    }
    Ok(())
}

/// Which of the two masks of an [`Affinity`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// Before the move to the cgroup.
    Before,
    /// After it.
    After,
}

/// Sets which processors a joining process may use.
pub(super) fn set_affinity(
    pid: Pid,
    affinity: Option<&Affinity>,
    moment: Moment,
) -> Result<(), ExecuteError> {
    let mask = affinity.map_or(&[][..], |affinity| match moment {
        Moment::Before => &affinity.initial,
        Moment::After => &affinity.last,
    });
    if mask.is_empty() {
        return Ok(());
    }
    linux::set_affinity(pid, mask)
        .map_err(|error| ExecuteError::new(Operation::Scheduling, "execCPUAffinity", error.errno))
}

/// Sets the child's out-of-memory score.
pub(super) fn set_oom_score(pid: Pid, score: Option<i32>) -> Result<(), ExecuteError> {
    let Some(score) = score else { return Ok(()) };
    let set = ProcFs::open().and_then(|proc| proc.set_oom_score_adjustment(Some(pid), score));
    set.map_err(|error| ExecuteError::new(Operation::OomScore, score.to_string(), error.errno))
}

/// Moves links of the host into the child's network namespace, under their new names and with their addresses.
pub(super) fn move_net_devices(child: BorrowedFd<'_>, devices: &[NetDevice]) -> Result<(), ExecuteError> {
    let fail = |object: &str, errno| ExecuteError::new(Operation::NetDevice, object, errno);
    let own = open_own(Namespaces::NETWORK).map_err(|error| fail("", error.errno))?;
    for device in devices {
        let fail = |errno| fail(&device.name, errno);
        let link = Link::open(&device.name).map_err(|error| fail(error.errno))?;
        let addresses = link.addresses().map_err(|error| fail(error.errno))?;
        link.move_to(child, &device.name_inside).map_err(|error| fail(error.errno))?;
        enter(child, Namespaces::NETWORK).map_err(|error| fail(error.errno))?;
        let set_up = Link::open(&device.name_inside).and_then(|link| link.set_up(&addresses));
        enter(own.as_fd(), Namespaces::NETWORK).map_err(|error| fail(error.errno))?;
        set_up.map_err(|error| fail(error.errno))?;
    }
    Ok(())
}

/// Fetches the listener's descriptor, number `number` in the child, and hands it to whoever answers, with the
/// process's state beside it (runtime-spec, config-linux.md "The Container Process State").
pub(super) fn hand_over_listener(
    (pid, pidfd): (Pid, BorrowedFd<'_>),
    number: i32,
    listener: &Listener,
    status: &str,
) -> Result<(), ExecuteError> {
    let fail = |errno| ExecuteError::new(Operation::Listener, &listener.path, errno);
    let descriptor = linux::take_descriptor(pidfd, number).map_err(|error| fail(error.errno))?;
    let socket = socket::connect(Kind::Stream, Path::new(&listener.path), false);
    let socket = socket.map_err(|error| fail(error.errno))?;
    let state = format!("{},\"status\":\"{status}\",\"pid\":{pid}}},\"pid\":{pid}}}", listener.state);
    let mut left = state.as_bytes();
    let mut beside = vec![descriptor.as_fd()];
    while !left.is_empty() {
        let sent = socket::send(socket.as_fd(), left, &beside).map_err(|error| fail(error.errno))?;
        left = &left[sent..];
        beside.clear();
    }
    Ok(())
}
