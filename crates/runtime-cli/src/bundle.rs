//! What a bundle folder asks for: its `config.json` (runtime-spec, bundle.md) read, completed with what a
//! caller may leave out, and compiled to a plan. Nothing has happened on the host when this is done.

use std::fs;
use std::path::{Path, PathBuf};

use gantry_linux::RootDir;
use gantry_linux::path::read_bounded;
use gantry_runtime::cgroup;
use gantry_runtime::plan::{self, Plan, PlanInput, Root, Rootfs};
use gantry_runtime::seccomp;
use gantry_runtime::systemd::{self, Scope};
use gantry_runtime::user::{self, UserDatabases};
use gantry_types::USER_DATABASE_BYTES_MAX;
use oci_spec::runtime::{Process, Spec};

use crate::containers::check_id;
use crate::failure::Failure;
use crate::options::{Create, Globals};
use crate::reading;
use crate::report::Report;

/// A bundle that can be started.
#[derive(Debug)]
pub(crate) struct Bundle {
    /// Its folder, absolute.
    pub(crate) path: PathBuf,
    /// The root filesystem's folder, absolute and without links.
    pub(crate) rootfs: PathBuf,
    pub(crate) spec: Spec,
    pub(crate) plan: Plan,
    /// The unit that holds it, where systemd makes control groups.
    pub(crate) scope: Option<Scope>,
}

/// Reads and compiles the bundle of a `create` or `run`.
pub(crate) fn load(options: &Create, globals: &Globals, report: &Report) -> Result<Bundle, Failure> {
    // Its control group would be of that name.
    check_id(&options.id)?;
    let given = options.bundle.as_deref().unwrap_or_else(|| Path::new("."));
    let path = fs::canonicalize(given).map_err(|error| Failure::file("open", given, error))?;
    let config = path.join(options.config.as_deref().unwrap_or_else(|| Path::new("config.json")));
    let mut spec = reading::spec(&config, report)?;
    check_version(spec.version())?;
    let rootfs = rootfs(&spec, &path)?;
    let scope = complete(&mut spec, options, globals)?;
    let cgroups = cgroup::Host::read()?;
    if scope.is_some() {
        systemd::check(&cgroups)?;
    }
    if let Some(process) = spec.process_mut() {
        add_home(process, &rootfs)?;
        pass_listeners(process);
    }
    let filter = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    let input = PlanInput {
        rootfs: Rootfs { root: Some(Root::Folder(text("root.path", &rootfs)?)), id_mapped: false },
        cgroups,
        init: false,
        filter: filter.map(seccomp::compile).transpose()?,
        passed: Vec::new(),
        id: options.id.clone(),
        bundle: text("bundle", &path)?,
    };
    let plan = plan::compile(&spec, &input)?;
    Ok(Bundle { path, rootfs, spec, plan, scope })
}

/// A process without `HOME` gets its user's, from the root filesystem's own `/etc/passwd`.
pub(crate) fn add_home(process: &mut Process, rootfs: &Path) -> Result<(), Failure> {
    let mut env = process.env().clone().unwrap_or_default();
    if env.iter().any(|entry| entry.strip_prefix("HOME=").is_some_and(|home| !home.is_empty())) {
        return Ok(());
    }
    let root = RootDir::open_host(rootfs).map_err(Failure::kernel)?;
    // One that is not there, or not a file, names nobody.
    let passwd = root.open_file("etc/passwd").and_then(|file| read_bounded(file, USER_DATABASE_BYTES_MAX));
    let databases = UserDatabases { passwd: &passwd.unwrap_or_default(), group: &[] };
    let user = user::resolve(&process.user().uid().to_string(), &[], databases);
    env.retain(|entry| !entry.starts_with("HOME="));
    env.push(format!("HOME={}", user.map_or_else(|_| "/".to_owned(), |user| user.home)));
    process.set_env(Some(env));
    Ok(())
}

/// Sockets that a service manager passed to this process are the container's (sd_listen_fds(3)).
fn pass_listeners(process: &mut Process) {
    let count = listeners();
    if count > 0 {
        let mut env = process.env().clone().unwrap_or_default();
        env.push(format!("LISTEN_FDS={count}"));
        env.push("LISTEN_PID=1".to_owned());
        process.set_env(Some(env));
    }
}

/// How many sockets a service manager passed.
pub(crate) fn listeners() -> u32 {
    std::env::var("LISTEN_FDS").ok().and_then(|count| count.parse().ok()).unwrap_or(0)
}

/// Versions 1.x are read; a 2.0 may mean anything.
fn check_version(version: &str) -> Result<(), Failure> {
    let problem = |problem: &str| Failure::Spec { field: "ociVersion", problem: problem.to_owned() };
    let (core, _) = version.split_once(['-', '+']).unwrap_or((version, ""));
    let numbers: Vec<Option<u32>> = core.split('.').map(|part| part.parse().ok()).collect();
    match numbers[..] {
        [Some(1), Some(_), Some(_)] => Ok(()),
        [Some(_), Some(_), Some(_)] => Err(problem(&format!("version {version} is not supported"))),
        _ => Err(problem(&format!("{version:?} is not a version"))),
    }
}

fn rootfs(spec: &Spec, bundle: &Path) -> Result<PathBuf, Failure> {
    let missing = || Failure::Spec { field: "root", problem: "it is missing".to_owned() };
    let root = spec.root().as_ref().ok_or_else(missing)?;
    let path = bundle.join(root.path());
    let found = fs::canonicalize(&path).map_err(|error| Failure::file("open", &path, error))?;
    if found.is_dir() {
        Ok(found)
    } else {
        Err(Failure::file("open", found, std::io::ErrorKind::NotADirectory.into()))
    }
}

/// What runc's callers leave out: every container has a control group of its own, named after it. With systemd it is
/// the folder of the scope that is returned.
fn complete(spec: &mut Spec, options: &Create, globals: &Globals) -> Result<Option<Scope>, Failure> {
    let Some(linux) = spec.linux_mut() else { return Ok(None) };
    let path = linux.cgroups_path().as_ref().map(|path| path.to_string_lossy()).unwrap_or_default();
    if globals.systemd_cgroup {
        let scope = Scope::parse(&path, &options.id)?;
        linux.set_cgroups_path(Some(scope.folder().into()));
        return Ok(Some(scope));
    }
    linux.set_cgroups_path(Some(cgroup::folder(&path, &options.id)?.into()));
    Ok(None)
}

fn text(field: &'static str, path: &Path) -> Result<String, Failure> {
    let problem = || Failure::Spec { field, problem: format!("{} is not UTF-8", path.display()) };
    path.to_str().map(str::to_owned).ok_or_else(problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_the_first_major_are_read() {
        for version in ["1.0.0", "1.0.2-dev", "1.2.1", "1.3.0+x"] {
            check_version(version).expect("is read");
        }
        for version in ["", "1.0", "2.0.0", "0.6.0", "1.x.0", "v1.0.0"] {
            assert!(check_version(version).is_err(), "{version:?}");
        }
    }

    #[test]
    fn an_id_that_is_none_is_refused_first() {
        let options = Create { id: ".".into(), ..Create::default() };
        let loaded = load(&options, &Globals::default(), &Report::default());
        assert!(matches!(loaded, Err(Failure::InvalidId { .. })), "{loaded:?}");
    }

    #[test]
    fn a_process_without_a_home_gets_its_users() {
        let root = tempfile::tempdir().expect("a folder");
        fs::create_dir(root.path().join("etc")).expect("made");
        fs::write(root.path().join("etc/passwd"), "a:x:7:7::/home/a:/bin/sh\n").expect("written");
        let home_of = |uid: u32, env: &[&str]| {
            let mut process = Process::default();
            let mut user = process.user().clone();
            user.set_uid(uid);
            process.set_user(user).set_env(Some(env.iter().map(|entry| (*entry).to_owned()).collect()));
            add_home(&mut process, root.path()).expect("a home");
            process.env().clone().unwrap_or_default().join(" ")
        };
        assert_eq!(home_of(7, &["A=1"]), "A=1 HOME=/home/a");
        assert_eq!(home_of(8, &["HOME="]), "HOME=/");
        assert_eq!(home_of(7, &["HOME=/x"]), "HOME=/x");
    }

    #[test]
    fn a_container_without_a_cgroup_path_gets_one_of_its_name() {
        let mut spec = Spec::default();
        spec.set_linux(Some(oci_spec::runtime::Linux::default()));
        let options = Create { id: "c1".into(), ..Create::default() };
        let path_of = |globals: &Globals| {
            let mut spec = spec.clone();
            let scope = complete(&mut spec, &options, globals).expect("a path");
            (spec.linux().as_ref().and_then(|linux| linux.cgroups_path().clone()), scope)
        };
        assert_eq!(path_of(&Globals::default()), (Some("/c1".into()), None));
        let (path, scope) = path_of(&Globals { systemd_cgroup: true, ..Globals::default() });
        assert_eq!(path, Some("/system.slice/gantry-c1.scope".into()));
        assert_eq!(scope.expect("a scope").unit, "gantry-c1.scope");
    }
}
