//! Which program runs, with which words, environment, folder and rights? Merges the request with the
//! image's defaults by docker's rules, for a container's own process and for one started later in it.
//! Image words are hostile: a malformed environment entry of an image is dropped, and no name is ever
//! looked up in the daemon's own environment (podman's CVE-2026-57231).

use std::path::PathBuf;

use gantry_types::{
    ARGS_ENV_BYTES_MAX, ARGS_MAX, ContainerOptions, ENV_MAX, ImageConfig, NamespaceMode, ProcessOptions,
};
use oci_spec::runtime::{LinuxCapabilities, Process, Spec, User};

use super::{CapabilitySet, HostFacts, SpecError, SpecInput, capabilities, paths, rlimits, user_namespace};
use crate::user::ResolvedUser;

/// The search path of a process whose image names none.
const PATH_DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What [`process_for_exec`] needs.
#[derive(Debug, Clone, Copy)]
pub struct ExecInput<'a> {
    /// The container's spec, from [`super::build`].
    pub spec: &'a Spec,
    /// The container's request.
    pub container: &'a ContainerOptions,
    /// The container's image.
    pub image: &'a ImageConfig,
    /// The container's host name, for `HOSTNAME`.
    pub hostname: &'a str,
    /// The new process.
    pub options: &'a ProcessOptions,
    /// Who it runs as, resolved in the container as it is now.
    pub user: &'a ResolvedUser,
    /// The host.
    pub host: &'a HostFacts,
}

/// A further process of a running container: the container's environment, folder, limits and
/// capabilities, unless the request says otherwise.
pub fn process_for_exec(input: &ExecInput<'_>) -> Result<Process, SpecError> {
    let options = input.options;
    user_namespace::check_user(input.container, input.user)?;
    let mut args = options.entrypoint.clone().unwrap_or_default();
    args.extend_from_slice(&options.args);
    let own = input.spec.process().as_ref();
    let cwd = match &options.working_dir {
        Some(path) => paths::inside("working folder", path)?,
        None => own.map_or_else(|| PathBuf::from("/"), |process| process.cwd().clone()),
    };
    let bounding = if options.privileged {
        input.host.capabilities
    } else {
        own.and_then(|process| process.capabilities().as_ref())
            .and_then(|sets| sets.bounding().as_ref())
            .map_or(CapabilitySet::EMPTY, CapabilitySet::from_oci)
    };
    let mut environment = Environment::new(input.hostname, options.terminal);
    environment.image(input.image)?;
    environment.request(&input.container.process.env)?;
    environment.request(&options.env)?;
    let mut process = process(args, environment.finish(input.user), cwd, input.user, bounding)?;
    process.set_terminal(Some(options.terminal));
    process.set_rlimits(own.and_then(|process| process.rlimits().clone()));
    let confined = !options.privileged && own.and_then(Process::no_new_privileges).unwrap_or(false);
    process.set_no_new_privileges(Some(confined));
    Ok(process)
}

/// The container's own process.
pub(crate) fn build(input: &SpecInput<'_>, capabilities: CapabilitySet) -> Result<Process, SpecError> {
    let options = &input.options.process;
    let args = arguments(options, input.image)?;
    let cwd = match &options.working_dir {
        Some(path) => paths::inside("working folder", path)?,
        None => image_folder(&input.image.working_dir)?,
    };
    let mut environment = Environment::new(&hostname(input), options.terminal);
    environment.image(input.image)?;
    environment.request(&options.env)?;
    let mut process = process(args, environment.finish(input.user), cwd, input.user, capabilities)?;
    process.set_terminal(Some(options.terminal));
    process.set_rlimits(rlimits::build(&input.options.ulimits)?);
    process.set_no_new_privileges(Some(input.options.security.no_new_privileges));
    Ok(process)
}

/// The set of the container by its request.
pub(crate) fn capabilities(options: &ContainerOptions, host: &HostFacts) -> Result<CapabilitySet, SpecError> {
    let security = &options.security;
    let chosen = capabilities::choose(&security.cap_add, &security.cap_drop, host.capabilities)?;
    Ok(if security.privileged { host.capabilities } else { chosen })
}

/// The name the container sees as its host's.
pub(crate) fn hostname(input: &SpecInput<'_>) -> String {
    match (input.options.uts_mode, &input.options.hostname) {
        (NamespaceMode::Host, _) => input.host.hostname.clone(),
        (NamespaceMode::Private, Some(name)) => name.clone(),
        (NamespaceMode::Private, None) => input.id.short().to_owned(),
    }
}

/// The full command line of a container's own process; empty when neither request nor image has one. A replaced
/// entrypoint drops the image's command; arguments replace the command alone.
pub fn command(options: &ProcessOptions, image: &ImageConfig) -> Vec<String> {
    let (mut args, default) = match &options.entrypoint {
        Some(entrypoint) => (entrypoint.clone(), &[][..]),
        None => (image.entrypoint.clone(), image.command.as_slice()),
    };
    args.extend_from_slice(if options.args.is_empty() { default } else { &options.args });
    args
}

fn arguments(options: &ProcessOptions, image: &ImageConfig) -> Result<Vec<String>, SpecError> {
    let args = command(options, image);
    if args.is_empty() { Err(SpecError::NoCommand) } else { Ok(args) }
}

/// An image's folder may be relative or hold `..`; it is cleaned as if beneath `/`.
fn image_folder(text: &str) -> Result<PathBuf, SpecError> {
    let mut clean = PathBuf::from("/");
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                clean.pop();
            }
            part => clean.push(part),
        }
    }
    paths::absolute("image's working folder", &clean.to_string_lossy())?;
    Ok(clean)
}

fn process(
    args: Vec<String>,
    env: Vec<String>,
    cwd: PathBuf,
    user: &ResolvedUser,
    bounding: CapabilitySet,
) -> Result<Process, SpecError> {
    if args.first().is_none_or(String::is_empty) {
        return Err(SpecError::NoCommand);
    }
    for (what, count, max) in [
        ("arguments", args.len(), ARGS_MAX),
        ("environment entries", env.len(), ENV_MAX),
        (
            "bytes of arguments and environment",
            args.iter().chain(&env).map(|text| text.len() + 1).sum(),
            ARGS_ENV_BYTES_MAX,
        ),
    ] {
        if count > max {
            return Err(SpecError::ProcessTooLarge { what, max });
        }
    }
    if let Some(text) = args.iter().find(|text| text.contains('\0')) {
        return Err(SpecError::ZeroByte { what: "argument", text: text.clone() });
    }
    let mut owner = User::default();
    owner.set_uid(user.uid).set_gid(user.gid).set_additional_gids(Some(user.groups.clone()));
    let mut process = Process::default();
    process
        .set_args(Some(args))
        .set_env(Some(env))
        .set_cwd(cwd)
        .set_user(owner)
        .set_capabilities(Some(sets(user, bounding)))
        .set_rlimits(None);
    Ok(process)
}

/// Root has what it may have; anybody else starts with nothing and can gain up to the bounding set from
/// files. Nothing is inheritable or ambient (CVE-2016-8867, CVE-2022-24769, CVE-2022-29162).
fn sets(user: &ResolvedUser, bounding: CapabilitySet) -> LinuxCapabilities {
    let held = if user.uid == 0 { bounding } else { CapabilitySet::EMPTY };
    let mut sets = LinuxCapabilities::default();
    sets.set_bounding(Some(bounding.to_oci()))
        .set_effective(Some(held.to_oci()))
        .set_permitted(Some(held.to_oci()))
        .set_inheritable(Some(CapabilitySet::EMPTY.to_oci()))
        .set_ambient(Some(CapabilitySet::EMPTY.to_oci()));
    sets
}

/// `NAME=value` entries; a later entry takes the place of an earlier one of the same name.
struct Environment(Vec<String>);

impl Environment {
    fn new(hostname: &str, terminal: bool) -> Self {
        let mut entries = vec![format!("PATH={PATH_DEFAULT}"), format!("HOSTNAME={hostname}")];
        if terminal {
            entries.push("TERM=xterm".to_owned());
        }
        Self(entries)
    }

    /// The image's entries; malformed ones are dropped, too many are refused.
    fn image(&mut self, image: &ImageConfig) -> Result<(), SpecError> {
        bounded(image.env.len())?;
        for entry in image.env.iter().filter(|entry| !entry.contains('\0')) {
            if let Some(name) = name(entry) {
                self.set(name, entry);
            }
        }
        Ok(())
    }

    /// The request's entries; malformed ones are refused.
    fn request(&mut self, entries: &[String]) -> Result<(), SpecError> {
        bounded(entries.len())?;
        for entry in entries {
            if entry.contains('\0') {
                return Err(SpecError::ZeroByte { what: "environment entry", text: entry.clone() });
            }
            let name = name(entry).ok_or_else(|| SpecError::Environment { text: entry.clone() })?;
            self.set(name, entry);
        }
        Ok(())
    }

    /// `HOME` comes from the user database unless somebody has set it.
    fn finish(mut self, user: &ResolvedUser) -> Vec<String> {
        if self.find("HOME").is_none() {
            self.0.push(format!("HOME={}", user.home));
        }
        self.0
    }

    fn set(&mut self, name: &str, entry: &str) {
        match self.find(name) {
            Some(position) => entry.clone_into(&mut self.0[position]),
            None => self.0.push(entry.to_owned()),
        }
    }

    fn find(&self, wanted: &str) -> Option<usize> {
        self.0.iter().position(|entry| name(entry) == Some(wanted))
    }
}

fn bounded(entries: usize) -> Result<(), SpecError> {
    if entries > ENV_MAX {
        return Err(SpecError::ProcessTooLarge { what: "environment entries", max: ENV_MAX });
    }
    Ok(())
}

/// The name of a well-formed entry.
fn name(entry: &str) -> Option<&str> {
    entry.split_once('=').map(|(name, _)| name).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests;
