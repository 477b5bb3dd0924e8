//! The spec's `process`: names become numbers, sets become masks.

use oci_spec::runtime::{PosixRlimitType, Process as SpecProcess};

use super::{capability, path, scheduling};
use crate::plan::{PlanError, Process, Rlimit, Seccomp, Terminal};

pub(super) fn compile(spec: &SpecProcess, seccomp: Option<Seccomp>) -> Result<Process, PlanError> {
    let args = strings("process.args", spec.args().as_deref().unwrap_or_default(), gantry_types::ARGS_MAX)?;
    if args.first().is_none_or(String::is_empty) {
        return Err(PlanError::Missing { field: "process.args" });
    }
    let env = strings("process.env", spec.env().as_deref().unwrap_or_default(), gantry_types::ENV_MAX)?;
    if let Some(entry) = env.iter().find(|entry| entry.find('=').is_none_or(|at| at == 0)) {
        return Err(PlanError::invalid("process.env", entry));
    }
    let cwd = spec.cwd().to_string_lossy();
    if !cwd.starts_with('/') {
        return Err(PlanError::invalid("process.cwd", cwd));
    }
    if let Some(score) = spec.oom_score_adj().filter(|score| !(-1000..=1000).contains(score)) {
        return Err(PlanError::invalid("process.oomScoreAdj", score.to_string()));
    }
    let user = spec.user();
    Ok(Process {
        args,
        env,
        cwd: path::clean("process.cwd", &cwd)?,
        uid: user.uid(),
        gid: user.gid(),
        groups: user.additional_gids().clone().unwrap_or_default(),
        umask: user.umask().map(|mask| mask & 0o777),
        capabilities: spec.capabilities().as_ref().map(capability::masks),
        no_new_privileges: spec.no_new_privileges().unwrap_or(false),
        rlimits: rlimits(spec)?,
        seccomp,
        terminal: terminal(spec)?,
        oom_score_adj: spec.oom_score_adj(),
        scheduler: spec.scheduler().as_ref().map(scheduling::scheduler).transpose()?,
        io_priority: spec.io_priority().as_ref().map(scheduling::io_priority).transpose()?,
        affinity: spec.exec_cpu_affinity().as_ref().map(scheduling::affinity).transpose()?,
        apparmor: label("process.apparmorProfile", spec.apparmor_profile().as_ref())?,
        selinux: label("process.selinuxLabel", spec.selinux_label().as_ref())?,
        personality: None,
        memory_policy: None,
        listener: None,
    })
}

/// A label goes into one write, and between quotes of its own in no syntax.
pub(super) fn label(field: &'static str, label: Option<&String>) -> Result<String, PlanError> {
    let label = label.cloned().unwrap_or_default();
    if label.contains(['\0', '\n']) || label.len() > 4000 {
        return Err(PlanError::invalid(field, label));
    }
    Ok(label)
}

fn terminal(spec: &SpecProcess) -> Result<Option<Terminal>, PlanError> {
    if !spec.terminal().unwrap_or(false) {
        return Ok(None);
    }
    let Some(size) = spec.console_size() else { return Ok(Some(Terminal::default())) };
    let cells = |value: u64| {
        u16::try_from(value)
            .map(u32::from)
            .map_err(|_| PlanError::invalid("process.consoleSize", value.to_string()))
    };
    Ok(Some(Terminal { rows: cells(size.height())?, columns: cells(size.width())? }))
}

fn strings(field: &'static str, list: &[String], max: usize) -> Result<Vec<String>, PlanError> {
    if list.len() > max
        || list.iter().map(|text| text.len() + 1).sum::<usize>() > gantry_types::ARGS_ENV_BYTES_MAX
    {
        return Err(PlanError::invalid(field, format!("{} entries, too many or too long", list.len())));
    }
    match list.iter().find(|text| text.contains('\0')) {
        Some(text) => Err(PlanError::invalid(field, text)),
        None => Ok(list.to_vec()),
    }
}

fn rlimits(spec: &SpecProcess) -> Result<Vec<Rlimit>, PlanError> {
    let mut limits: Vec<Rlimit> = Vec::new();
    for limit in spec.rlimits().iter().flatten() {
        let resource = number(limit.typ());
        if limit.soft() > limit.hard() || limits.iter().any(|known| known.resource == resource) {
            return Err(PlanError::invalid("process.rlimits", limit.typ().to_string()));
        }
        limits.push(Rlimit { resource, soft: limit.soft(), hard: limit.hard() });
    }
    Ok(limits)
}

/// The kernel's numbers (include/uapi/asm-generic/resource.h), which x86-64 and aarch64 share.
fn number(kind: PosixRlimitType) -> u32 {
    match kind {
        PosixRlimitType::RlimitCpu => 0,
        PosixRlimitType::RlimitFsize => 1,
        PosixRlimitType::RlimitData => 2,
        PosixRlimitType::RlimitStack => 3,
        PosixRlimitType::RlimitCore => 4,
        PosixRlimitType::RlimitRss => 5,
        PosixRlimitType::RlimitNproc => 6,
        PosixRlimitType::RlimitNofile => 7,
        PosixRlimitType::RlimitMemlock => 8,
        PosixRlimitType::RlimitAs => 9,
        PosixRlimitType::RlimitLocks => 10,
        PosixRlimitType::RlimitSigpending => 11,
        PosixRlimitType::RlimitMsgqueue => 12,
        PosixRlimitType::RlimitNice => 13,
        PosixRlimitType::RlimitRtprio => 14,
        PosixRlimitType::RlimitRttime => 15,
    }
}
