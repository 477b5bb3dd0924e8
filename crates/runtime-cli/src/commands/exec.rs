//! `exec`: another process in a running container. What is not said is the container's own: its environment,
//! working folder, user, capabilities and filter.

use std::os::fd::AsFd as _;

use gantry_linux::wait::open_pidfd;
use gantry_runtime::cgroup::Cgroup;
use gantry_runtime::execute::{self, Input, Stdio};
use gantry_runtime::plan::{self, Plan};
use oci_spec::runtime::{Capability, LinuxCapabilities, Process, User};

use super::Outcome;
use super::create::{own_descriptors, write_pid};
use crate::bundle;
use crate::console;
use crate::containers::Containers;
use crate::failure::Failure;
use crate::foreground;
use crate::options::Exec;
use crate::reading;
use crate::record::{Record, Status};
use crate::report::Report;

pub(super) fn exec(options: &Exec, containers: &Containers, report: &Report) -> Outcome {
    let (folder, record) = containers.find(&options.id)?;
    match super::status(&folder, &record)? {
        Status::Created | Status::Running => {}
        Status::Paused if options.ignore_paused => {}
        status @ Status::Paused => {
            return Err(Failure::WrongStatus { id: options.id.clone(), verb: "exec in", status });
        }
        Status::Creating | Status::Stopped => {
            return Err(Failure::Spec {
                field: "exec",
                problem: format!(
                    "cannot exec in a stopped container {:?}: container not running",
                    options.id
                ),
            });
        }
    }
    let container = folder.plan()?;
    let mut process = wanted(options, &record, report)?;
    bundle::add_home(&mut process, &record.rootfs)?;
    let filter = container.process.as_ref().and_then(|process| process.seccomp.clone());
    let joining = plan::compile_exec(&container, &process, filter)?;
    let has_terminal = joining.process.as_ref().is_some_and(|process| process.terminal.is_some());
    if has_terminal && options.detach && options.console_socket.is_none() {
        return Err(Failure::usage("cannot allocate tty if runc will detach without setting console socket"));
    }

    if let Some(affinity) = joining.process.as_ref().and_then(|process| process.affinity.as_ref()) {
        report.debug(&format!("initial processor affinity: {}", mask(&affinity.initial)));
    }
    let pid = record.pid().ok_or(Failure::NotRunning)?;
    let target = open_pidfd(pid).map_err(Failure::kernel)?;
    // Looked at after the pidfd is open: what it is of cannot change any more.
    if !record.is_alive() {
        return Err(Failure::NotRunning);
    }
    let signals = if options.detach { None } else { Some(foreground::Signals::take()?) };
    let cgroup = cgroup(options, &container)?;
    let stdio = if has_terminal { Stdio::Terminal } else { own_descriptors()? };
    let mut input = Input::from(stdio);
    input.preserved = options.preserve_fds;
    input.orphan = options.detach;
    input.oom_score_adj = None;
    let mut process = execute::exec(&joining, target.as_fd(), cgroup.as_ref(), input)?;

    if let Some(path) = &options.pid_file {
        write_pid(path, process.pid)?;
    }
    let mut terminal = process.terminal.take();
    if let Some(socket) = &options.console_socket
        && let Some(master) = terminal.take()
    {
        console::send(socket, &master)?;
    }
    match signals {
        None => Ok(None),
        Some(signals) => foreground::wait(&process, terminal, &signals).map(Some),
    }
}

/// A processor mask as one number, the way runc logs it.
fn mask(words: &[u64]) -> String {
    let words: Vec<_> = words.iter().rev().map(|word| format!("{word:016x}")).collect();
    let digits = words.concat();
    let digits = digits.trim_start_matches('0');
    format!("0x{}", if digits.is_empty() { "0" } else { digits })
}

/// The group to join: the container's, or one below it.
fn cgroup(options: &Exec, container: &Plan) -> Result<Option<Cgroup>, Failure> {
    let Some(plan) = &container.cgroup else { return Ok(None) };
    let asked = options.cgroup.as_deref().unwrap_or_default();
    let below = asked.trim_matches('/');
    if below.split('/').any(|part| part == "..") {
        return Err(Failure::usage(format!(
            "--cgroup {asked:?} leads out of the container's group: `..` components are not allowed"
        )));
    }
    let opened = if below.is_empty() { Cgroup::open(plan) } else { Cgroup::open_below(plan, below) };
    Ok(Some(opened?))
}

/// The process that is asked for, in the specification's form.
fn wanted(options: &Exec, record: &Record, report: &Report) -> Result<Process, Failure> {
    let mut process = match &options.process {
        Some(path) => return reading::process(path, report),
        None => own_process(record, report)?,
    };
    process.set_args(Some(options.args.clone())).set_terminal(Some(options.tty)).set_console_size(None);
    if let Some(cwd) = &options.cwd {
        process.set_cwd(cwd.into());
    }
    process.set_env(Some(merged(process.env().clone().unwrap_or_default(), &options.env)));
    if let Some(user) = &options.user {
        process.set_user(parse_user(user, process.user())?);
    }
    if !options.additional_gids.is_empty() {
        let mut user = process.user().clone();
        let mut groups = user.additional_gids().clone().unwrap_or_default();
        groups.extend(&options.additional_gids);
        user.set_additional_gids(Some(groups));
        process.set_user(user);
    }
    if !options.capabilities.is_empty() {
        let capabilities = add_capabilities(process.capabilities().clone(), &options.capabilities)?;
        process.set_capabilities(Some(capabilities));
    }
    if let Some(profile) = &options.apparmor {
        process.set_apparmor_profile(Some(profile.clone()));
    }
    if let Some(label) = &options.process_label {
        process.set_selinux_label(Some(label.clone()));
    }
    if let Some(no_new_privileges) = options.no_new_privileges {
        process.set_no_new_privileges(Some(no_new_privileges));
    }
    Ok(process)
}

/// The container's own process, from the bundle it was made of.
fn own_process(record: &Record, report: &Report) -> Result<Process, Failure> {
    let spec = reading::spec(&record.bundle.join("config.json"), report)?;
    Ok(spec.process().clone().unwrap_or_default())
}

/// An environment in which what is added replaces what has its name.
fn merged(mut env: Vec<String>, added: &[String]) -> Vec<String> {
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    for entry in added {
        env.retain(|own| name(own) != name(entry));
        env.push(entry.clone());
    }
    env
}

/// `uid[:gid]`; numbers, because the container's databases are not the runtime's to read.
fn parse_user(text: &str, own: &User) -> Result<User, Failure> {
    let refused = || Failure::usage(format!("--user {text:?} is not uid[:gid]"));
    let (uid, gid) = match text.split_once(':') {
        Some((uid, gid)) => (uid, Some(gid)),
        None => (text, None),
    };
    let mut user = own.clone();
    user.set_uid(uid.parse().map_err(|_| refused())?);
    if let Some(gid) = gid {
        user.set_gid(gid.parse().map_err(|_| refused())?);
    }
    Ok(user)
}

/// As with runc, what is added is in every set but the ambient and the inheritable one.
fn add_capabilities(own: Option<LinuxCapabilities>, names: &[String]) -> Result<LinuxCapabilities, Failure> {
    let mut all = own.unwrap_or_default();
    for name in names {
        let name = name.to_ascii_uppercase();
        let name = name.strip_prefix("CAP_").unwrap_or(&name);
        let unknown = |_| Failure::usage(format!("unknown capability {name:?}"));
        let capability: Capability =
            serde_json::from_value(serde_json::Value::from(format!("CAP_{name}"))).map_err(unknown)?;
        let add = |set: &Option<oci_spec::runtime::Capabilities>| {
            let mut set = set.clone().unwrap_or_default();
            set.insert(capability);
            Some(set)
        };
        let (bounding, effective, permitted) =
            (add(all.bounding()), add(all.effective()), add(all.permitted()));
        all.set_bounding(bounding).set_effective(effective).set_permitted(permitted);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_numbers() {
        let own = User::default();
        let user = parse_user("7:8", &own).expect("a user");
        assert_eq!((user.uid(), user.gid()), (7, 8));
        assert_eq!(parse_user("7", &own).expect("a user").gid(), 0);
        for text in ["", "root", "7:", "-1", "7:8:9"] {
            assert!(parse_user(text, &own).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_mask_is_one_number_whose_highest_word_is_last() {
        assert_eq!(mask(&[]), "0x0");
        assert_eq!(mask(&[3]), "0x3");
        assert_eq!(mask(&[1, 2]), "0x20000000000000001");
    }

    #[test]
    fn what_is_added_to_the_environment_replaces_what_has_its_name() {
        let own = ["A=1", "B=2"].map(str::to_owned).to_vec();
        assert_eq!(merged(own, &["A=3".to_owned(), "C=".to_owned()]), ["B=2", "A=3", "C="]);
    }

    #[test]
    fn capabilities_are_added_by_name() {
        let all = add_capabilities(None, &["CAP_NET_RAW".into(), "sys_chroot".into()]).expect("known");
        let bounding = all.bounding().clone().expect("a set");
        assert!(bounding.contains(&Capability::NetRaw) && bounding.contains(&Capability::SysChroot));
        assert!(add_capabilities(None, &["NOPE".into()]).is_err());
    }
}
