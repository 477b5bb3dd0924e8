//! What differs when another OCI runtime makes the container: it gets a spec as JSON where Gantry's own gets a plan, and
//! what it says of a failure has to be found in what it wrote. The same spec, user and control group; the shim does
//! the rest (`crates/shim/src/foreign`). Decision 0009 has the whys.

use std::path::{Path, PathBuf};

use gantry_api::shim::v1::{Failure, FailureKind, ForeignLaunch};
use gantry_api::shim::{NETWORK_FILE, ROOTFS_FOLDER, RUNTIME_LOG_FILE, SPEC_FILE};
use gantry_runtime::cgroup::{self, CgroupPlan};
use gantry_runtime::spec::{self, ExecInput};
use gantry_snapshot::Rootfs;
use gantry_types::{NamespaceMode, ProcessOptions};
use oci_spec::runtime::{LinuxNamespaceType, Process, Spec};
use prost::Message;
use serde::Deserialize;

use super::spec::{container_user, passed};
use crate::assemble::Daemon;
use crate::config::Runtime;
use crate::error::Error;
use crate::tables::ContainerRecord;
use crate::{runtimes, sweep, users};

/// The version that the spec says it has: nothing newer is in it, and crun took none before 1.9.
const OCI_VERSION: &str = "1.0.2";
/// What its processes get where nothing else is asked; the shim's own is the lowest.
const OOM_SCORE_ADJ: i32 = 0;
/// What every runtime makes in `/dev` unasked (config-linux.md, "Default Devices"; runtime-linux.md, "Dev symbolic links").
/// youki fails where it is asked for as well, as a privileged container does with all that the machine has.
const UNASKED: [&str; 12] = [
    "null", "zero", "full", "random", "urandom", "tty", "console", "ptmx", "fd", "stdin", "stdout", "stderr",
];

impl Daemon {
    /// The container's other runtime; `None` is Gantry's own.
    pub(super) fn foreign(&self, record: &ContainerRecord) -> Result<Option<Runtime>, Error> {
        Ok(runtimes::find(&self.config, &record.options)?)
    }

    /// Writes the spec into the bundle, and says what the shim shall run.
    pub(super) fn prepare_foreign(
        &self,
        record: &ContainerRecord,
        runtime: &Runtime,
    ) -> Result<ForeignLaunch, Error> {
        let bundle = self.layout.bundle(&record.namespace, &record.id);
        let rootfs = self.describe(record)?;
        let user = container_user(record, &rootfs)?;
        let mut spec = foreign_spec(self.build_spec(record, &user)?, record, &bundle);
        let scope = self.scope_name(&record.namespace, &record.id);
        if let Some(scope) = &scope {
            name_scope(&mut spec, scope);
        }
        let write = || {
            serde_json::to_vec(&spec)
                .map_err(std::io::Error::from)
                .and_then(|json| std::fs::write(bundle.join(SPEC_FILE), json))
        };
        write().map_err(|source| Error::Io { action: "write the container's spec", source })?;
        Self::link_state(record, runtime, &bundle)?;
        let group = self.cgroup_path(&record.namespace, &record.id);
        let cgroup = CgroupPlan { given: scope.is_some(), ..cgroup::plan(None, &group, &self.cgroups)? };
        Ok(ForeignLaunch {
            command: command(runtime, &bundle, scope.is_some()),
            container_id: record.id.to_string(),
            rootfs: self.overlay(record, &rootfs).encode_to_vec(),
            cgroup: cgroup.encode_to_vec(),
            own_pid_namespace: record.options.pid_mode == NamespaceMode::Private,
        })
    }

    /// Leaves a trace of a state that is kept elsewhere, for the sweep after a shim that was killed.
    fn link_state(record: &ContainerRecord, runtime: &Runtime, bundle: &Path) -> Result<(), Error> {
        let Some(root) = state_root(runtime) else { return Ok(()) };
        match std::os::unix::fs::symlink(root.join(record.id.as_str()), bundle.join(sweep::RUNTIME_STATE)) {
            Err(source) if source.kind() != std::io::ErrorKind::AlreadyExists => {
                Err(Error::Io { action: "note where the runtime keeps its state", source })
            }
            _ => Ok(()),
        }
    }

    /// A further process, as the runtime reads it.
    pub(super) fn foreign_exec(
        &self,
        record: &ContainerRecord,
        options: &ProcessOptions,
        rootfs: &Rootfs,
    ) -> Result<Vec<u8>, Error> {
        let own = &record.options.process;
        let text = options.user.as_ref().or(own.user.as_ref()).unwrap_or(&record.image_config.user);
        let user = users::look_up(rootfs, text, &options.additional_groups)?;
        let spec = self.build_spec(record, &container_user(record, rootfs)?)?;
        let mut process = spec::process_for_exec(&ExecInput {
            spec: &spec,
            container: &record.options,
            image: &record.image_config,
            hostname: &self.hostname(record),
            options,
            user: &user,
            host: &self.host,
        })?;
        settle(&mut process);
        serde_json::to_vec(&process)
            .map_err(|source| Error::Io { action: "write the process's spec", source: source.into() })
    }
}

/// The programme and what stands in front of the command word.
fn command(runtime: &Runtime, bundle: &Path, makes_scope: bool) -> Vec<String> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let root = state_root(runtime).unwrap_or_else(|| bundle.join(sweep::RUNTIME_STATE));
    let mut words = vec![text(&runtime.path)];
    words.extend(runtime.args.iter().cloned());
    words.extend(["--root".into(), text(&root), "--log".into(), text(&bundle.join(RUNTIME_LOG_FILE))]);
    words.extend(["--log-format".into(), "json".into()]);
    words.extend(makes_scope.then(|| "--systemd-cgroup".to_owned()));
    words
}

/// Where the runtime keeps its state beyond the bundle, if it does.
fn state_root(runtime: &Runtime) -> Option<PathBuf> {
    (!runtime.root.as_os_str().is_empty()).then(|| runtime.root.clone())
}

/// The spec with the paths where the shim puts things.
fn foreign_spec(mut spec: Spec, record: &ContainerRecord, bundle: &Path) -> Spec {
    spec.set_version(OCI_VERSION.to_owned());
    if let Some(root) = spec.root_mut() {
        root.set_path(bundle.join(ROOTFS_FOLDER));
    }
    if let Some(process) = spec.process_mut() {
        settle(process);
    }
    let devices = spec.linux_mut().as_mut().and_then(|linux| linux.devices_mut().as_mut());
    if let Some(devices) = devices {
        let is_unasked = |path: &Path| UNASKED.iter().any(|name| Path::new("/dev").join(name) == path);
        devices.retain(|device| !is_unasked(device.path()));
    }
    let namespaces = spec.linux_mut().as_mut().and_then(|linux| linux.namespaces_mut().as_mut());
    if !passed(&record.options).is_empty() {
        for namespace in namespaces.into_iter().flatten() {
            if namespace.typ() == LinuxNamespaceType::Network {
                namespace.set_path(Some(bundle.join(NETWORK_FILE)));
            }
        }
    }
    spec
}

/// Says what runtimes would take from elsewhere where nothing is said, and leaves out what they misread.
fn settle(process: &mut Process) {
    process.set_oom_score_adj(process.oom_score_adj().or(Some(OOM_SCORE_ADJ)));
    // youki 0.7 takes a false that is written out for a true when it chooses the moment of the filter, and then has no
    // right to load it.
    process.set_no_new_privileges(process.no_new_privileges().filter(|forbidden| *forbidden));
}

/// Names the scope that the runtime makes, as runtimes read it. The container is in the scope itself and not in a group
/// below it, which is crun's way where nothing is said.
fn name_scope(spec: &mut Spec, scope: &str) {
    if let Some(linux) = spec.linux_mut() {
        linux.set_cgroups_path(Some(scope.into()));
    }
    let annotations = spec.annotations_mut().get_or_insert_default();
    annotations.insert("run.oci.systemd.subgroup".to_owned(), String::new());
}

/// What the shim tells of another runtime's command, in a sentence and with the kind that it means.
pub(super) fn explain(failure: Failure) -> Failure {
    if failure.kind() != FailureKind::Runtime {
        return failure;
    }
    let (said, cause) = last_words(&failure.message);
    let programme = Path::new(&failure.object).file_name().map(|name| name.to_string_lossy().into_owned());
    let programme = programme.unwrap_or_else(|| failure.object.clone());
    let words = if said.is_empty() { "it did not say why" } else { &said };
    let kind = match failure.step.as_str() {
        "create" | "start" | "exec" => kind_of(&said),
        _ => FailureKind::Runtime,
    };
    // What is wrong with a command needs no more words.
    let is_told = kind == FailureKind::Runtime && !cause.is_empty();
    let cause = if is_told { format!(" ({cause})") } else { String::new() };
    let message = format!("{programme} cannot {} the container: {words}{cause}", failure.step);
    let message = message.replace(" exec the container", " run a process in the container");
    Failure { kind: kind.into(), message, ..failure }
}

/// A runtime has no other words for it than its text: these are runc's, crun's, youki's, runsc's and Gantry's. A missing
/// working folder is no missing command.
fn kind_of(said: &str) -> FailureKind {
    let any = |words: &[&str]| words.iter().any(|word| said.contains(word));
    let is_about_folder = any(&["chdir", "working directory"]);
    if !is_about_folder && any(&["executable file", "command", "exec", "failed to load /"]) {
        if any(&["not found", "no such file or directory", "No such file or directory"]) {
            return FailureKind::CommandNotFound;
        }
        let unusable = ["ermission denied", "xec format error", "is a directory", "Is a directory"];
        let youkis = ["not have correct permissions", "failed to execute workload"];
        if any(&unusable) || any(&youkis) {
            return FailureKind::CommandNotExecutable;
        }
    }
    FailureKind::Runtime
}

/// An entry of a runtime's log. youki writes `message`, and beside it what the system said.
#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    level: String,
    #[serde(alias = "message")]
    msg: String,
    #[serde(default, alias = "err", alias = "e")]
    error: String,
}

/// What youki wraps its failures in. It tells nothing, and "command" would make a missing command of any missing file.
const WRAPPINGS: [&str; 3] = [
    "error in executing command: ",
    "failed to create container: ",
    "exec process failed with error error in executing process : ",
];

/// The message of the last error that was logged, else the last line of text; and the first error, from which the others
/// follow: youki and runsc log each step of the way back.
fn last_words(said: &str) -> (String, String) {
    let lines = || said.lines().map(str::trim).filter(|line| !line.is_empty());
    // Not an entry a line: runsc writes no line ends.
    let entries = |line| serde_json::Deserializer::from_str(line).into_iter::<Entry>().map_while(Result::ok);
    let logged: Vec<Entry> = lines().flat_map(entries).collect();
    let is_error =
        |entry: &&Entry| ["error", "fatal"].iter().any(|level| entry.level.eq_ignore_ascii_case(level));
    let last = logged.iter().rfind(is_error).or_else(|| logged.last());
    let words = last.map_or_else(|| lines().next_back().unwrap_or_default(), |entry| unwrapped(&entry.msg));
    let cause = logged.iter().find(is_error).map_or_else(String::new, |first| match &*first.error {
        error if unwrapped(&first.msg) == words => error.to_owned(),
        "" => first.msg.clone(),
        error => format!("{}: {error}", first.msg),
    });
    (words.replace('\n', " "), cause.replace('\n', " "))
}

/// A message without what youki puts around it.
fn unwrapped(message: &str) -> &str {
    let bare = WRAPPINGS.iter().fold(message, |rest, wrapping| rest.strip_prefix(wrapping).unwrap_or(rest));
    bare.trim_matches(|c: char| c.is_whitespace() || c == '\0')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(step: &str, message: &str) -> (FailureKind, String) {
        let failure = Failure {
            kind: FailureKind::Runtime.into(),
            message: message.into(),
            step: step.into(),
            object: "/usr/bin/crun".into(),
            ..Failure::default()
        };
        let failure = explain(failure);
        (failure.kind(), failure.message)
    }

    #[test]
    fn the_logged_error_is_told_and_not_the_warning_before_or_the_text_after() {
        let said = concat!(
            "{\"msg\":\"cgroups are old\",\"level\":\"warning\"}\n",
            "{\"msg\":\"mount proc: Operation not permitted\",\"level\":\"error\"}\n",
            "some more text\n"
        );
        let wanted = "crun cannot create the container: mount proc: Operation not permitted";
        assert_eq!(explained("create", said), (FailureKind::Runtime, wanted.into()));
        let text = explained("start", "first\nsegmentation fault\n\n");
        assert_eq!(text.1, "crun cannot start the container: segmentation fault");
        assert_eq!(explained("delete", "").1, "crun cannot delete the container: it did not say why");
    }

    #[test]
    fn of_a_chain_of_errors_the_last_is_told_without_its_wrapping_and_with_the_first() {
        let said = concat!(
            "{\"level\":\"ERROR\",\"message\":\"failed to chdir\",\"e\":\"ENOENT\",\"target\":\"init\"}\n",
            "{\"level\":\"ERROR\",\"message\":\"failed to wait for init ready\",\"target\":\"main\"}\n",
            "{\"level\":\"ERROR\",\"message\":\"error in executing command: failed to create container: exec process ",
            "failed with error error in executing process : failed to unix syscall\",\"target\":\"youki\"}\n",
            "Error: failed to create container\n\nCaused by:\n    0: exec process failed\n"
        );
        let wanted = "crun cannot create the container: failed to unix syscall (failed to chdir: ENOENT)";
        assert_eq!(explained("create", said), (FailureKind::Runtime, wanted.into()));
        let said = concat!(
            "{\"msg\":\"mounting /a: is a directory\",\"level\":\"error\"}",
            "{\"msg\":\"cannot create sandbox: EOF\",\"level\":\"error\"}"
        );
        let wanted =
            "crun cannot create the container: cannot create sandbox: EOF (mounting /a: is a directory)";
        assert_eq!(explained("create", said).1, wanted);
        let missing_file = "{\"level\":\"ERROR\",\"message\":\"error in executing command: /a: No such file or directory\"}\n";
        assert_eq!(explained("create", missing_file).0, FailureKind::Runtime);
    }

    #[test]
    fn a_missing_command_and_an_unusable_one_are_known_by_every_runtimes_words() {
        let missing = [
            "executable file `nope` not found in $PATH: No such file or directory",
            "runc create failed: unable to start container process: exec: \"nope\": executable file not found in $PATH",
            "cannot run the command \"nope\": No such file or directory (os error 2)",
            "open executable: No such file or directory",
            "executable 'nope' not found in $PATH",
            "starting sandbox: error finding executable \"nope\" in PATH [/bin]: no such file or directory",
            "starting sandbox: creating process: failed to load /nope: no such file or directory",
        ];
        for said in missing {
            assert_eq!(explained("create", said).0, FailureKind::CommandNotFound, "{said}");
        }
        let unusable = [
            "open executable: Permission denied",
            "runc create failed: unable to start container process: exec: \"/etc/passwd\": permission denied",
            "exec /x: Exec format error",
            "executable '/etc/passwd' at path '\"/etc/passwd\"' does not have correct permissions",
            "failed to execute workload\0",
            "starting sandbox: creating process: failed to load /etc/passwd: permission denied",
        ];
        for said in unusable {
            assert_eq!(explained("exec", said).0, FailureKind::CommandNotExecutable, "{said}");
        }
        for said in [
            "mount `/a` to `b`: No such file or directory",
            "exec failed: unable to start container process: chdir to cwd (\"/x\") failed: no such file or directory",
            "executing command \"a\" in sandbox: failed to find initial working directory \"/x\": no such file or directory",
        ] {
            assert_eq!(explained("create", said).0, FailureKind::Runtime, "{said}");
        }
        assert_eq!(explained("kill", missing[0]).0, FailureKind::Runtime);
    }

    #[test]
    fn a_scope_is_told_by_its_name_and_has_no_group_below_it() {
        let mut spec = Spec::default();
        name_scope(&mut spec, "a.slice:gantry:c1");
        let path = spec.linux().as_ref().and_then(|linux| linux.cgroups_path().as_deref());
        assert_eq!(path, Some(Path::new("a.slice:gantry:c1")));
        let annotations = spec.annotations().clone().unwrap_or_default();
        assert_eq!(annotations.get("run.oci.systemd.subgroup").map(String::as_str), Some(""));
    }

    #[test]
    fn state_is_in_the_bundle_unless_the_configuration_says_where() {
        let mut runtime =
            Runtime { path: "/bin/crun".into(), args: vec!["--x".into()], ..Runtime::default() };
        let words = command(&runtime, Path::new("/b"), false);
        let wanted =
            ["/bin/crun", "--x", "--root", "/b/runtime", "--log", "/b/runtime.log", "--log-format", "json"];
        assert_eq!(words, wanted);
        runtime.root = "/run/crun".into();
        let words = command(&runtime, Path::new("/b"), true);
        assert_eq!(
            (words[3].as_str(), words.last().map(String::as_str)),
            ("/run/crun", Some("--systemd-cgroup"))
        );
    }
}
