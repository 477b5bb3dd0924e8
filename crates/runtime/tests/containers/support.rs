//! A bundle: a busybox root filesystem in a temporary folder, a spec, and the running of it.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use gantry_linux::signal::{Signal, send_to_pidfd};
use gantry_linux::wait::wait_pidfd;
use gantry_runtime::cgroup::{self, Cgroup};
use gantry_runtime::execute::{self, ExecuteError, Process, Stdio};
use gantry_runtime::plan::{self, NamespaceKind, Overlay, Plan, PlanInput, Root, Rootfs, Seccomp};
use oci_spec::runtime::Spec;
use serde_json::{Value, json};

/// What a finished process left.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Exit code, or 128 and the signal.
    pub(crate) code: i32,
    /// What it wrote.
    pub(crate) stdout: String,
    /// What it wrote as errors.
    pub(crate) stderr: String,
}

/// A root filesystem and a spec.
pub(crate) struct Bundle {
    folder: tempfile::TempDir,
    /// The spec as JSON; tests change it before they run it.
    pub(crate) spec: Value,
    /// Whether the tiny init is pid 1.
    pub(crate) init: bool,
    /// Kinds of namespaces that are passed.
    pub(crate) passed: Vec<NamespaceKind>,
    /// Whether the root filesystem is shifted by the container's mappings.
    pub(crate) id_mapped: bool,
    /// The compiled filter of the spec's profile.
    pub(crate) filter: Option<Seccomp>,
}

impl Bundle {
    /// A bundle with the applets that tests use; `None`, said aloud, where it cannot be.
    pub(crate) fn new_or_skip() -> Option<Self> {
        let busybox =
            ["/bin/busybox", "/usr/bin/busybox"].into_iter().map(Path::new).find(|path| path.exists());
        let Some(busybox) = busybox else {
            skip("there is no busybox");
            return None;
        };
        if gantry_linux::process::effective_uid() != 0 {
            skip("needs root");
            return None;
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        for name in
            ["lower/bin", "lower/proc", "lower/sys", "lower/dev", "lower/etc", "lower/tmp", "upper", "work"]
        {
            fs::create_dir_all(folder.path().join(name)).expect("create_dir_all");
        }
        fs::copy(busybox, folder.path().join("lower/bin/busybox")).expect("copy");
        for applet in [
            "sh", "cat", "echo", "ls", "id", "hostname", "true", "sleep", "stat", "readlink", "grep",
            "touch", "mkdir", "pwd", "env", "stty", "tty", "kill", "ps", "test", "mount", "ifconfig", "wc",
            "uname", "cut",
        ] {
            symlink("busybox", folder.path().join("lower/bin").join(applet)).expect("symlink");
        }
        let name =
            folder.path().file_name().expect("a name").to_str().expect("utf-8").trim_start_matches('.');
        let mut spec = spec();
        spec["linux"]["cgroupsPath"] = json!(format!("gantry-test-{name}"));
        Some(Self { folder, spec, init: false, passed: Vec::new(), id_mapped: false, filter: None })
    }

    /// A path in the read-only layer.
    pub(crate) fn lower(&self, path: &str) -> PathBuf {
        self.folder.path().join("lower").join(path)
    }

    /// The folder that everything of it is in.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A path beside the root filesystem, on the host.
    pub(crate) fn host(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// The plan of the spec with these arguments.
    pub(crate) fn plan(&self, args: &[&str]) -> Plan {
        let mut spec = self.spec.clone();
        spec["process"]["args"] = json!(args);
        let spec: Spec = serde_json::from_value(spec).expect("a valid spec");
        plan::compile(&spec, &self.input()).expect("a spec that compiles")
    }

    /// The overlay of this bundle.
    pub(crate) fn rootfs(&self) -> Rootfs {
        let path = |name: &str| self.folder.path().join(name).to_str().expect("utf-8").to_owned();
        let overlay = Overlay {
            lower: vec![path("lower")],
            upper: path("upper"),
            work: path("work"),
            volatile: true,
            settings: Vec::new(),
        };
        Rootfs { root: Some(Root::Overlay(overlay)), id_mapped: self.id_mapped }
    }

    fn input(&self) -> PlanInput {
        let cgroups = cgroup::Host::read().expect("control groups");
        let (rootfs, id) = (self.rootfs(), "box".to_owned());
        let (passed, filter) = (self.passed.clone(), self.filter.clone());
        PlanInput { rootfs, cgroups, init: self.init, passed, id, filter, ..PlanInput::default() }
    }

    /// Starts the command with pipes.
    pub(crate) fn start(&self, args: &[&str]) -> Result<Started, ExecuteError> {
        start(&self.plan(args))
    }

    /// Runs the command to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Outcome {
        self.start(args).expect("a container that starts").outcome()
    }

    /// Runs a command that must not start.
    pub(crate) fn refuse(&self, args: &[&str]) -> ExecuteError {
        match self.start(args) {
            Err(error) => error,
            Ok(started) => panic!("it started and gave {:?}", started.outcome()),
        }
    }
}

/// Runs a plan to its end.
pub(crate) fn run_plan(plan: &Plan) -> Outcome {
    start(plan).expect("a container that starts").outcome()
}

fn start(plan: &Plan) -> Result<Started, ExecuteError> {
    let (stdio, stdout, stderr) = pipes();
    let created = execute::create(plan, stdio)?;
    let running = created.start()?;
    Ok(Started { cgroup: running.cgroup, ..Started::new(running.process, stdout, stderr) })
}

/// A running process and the read ends of its pipes.
pub(crate) struct Started {
    /// The process.
    pub(crate) process: Process,
    /// Its control group.
    pub(crate) cgroup: Option<Cgroup>,
    stdout: File,
    stderr: File,
}

impl Started {
    /// A process whose pipes are these.
    pub(crate) fn new(process: Process, stdout: File, stderr: File) -> Self {
        Self { process, cgroup: None, stdout, stderr }
    }

    /// Waits for one line of output.
    pub(crate) fn read_line(&mut self) {
        let mut byte = [0];
        while self.stdout.read(&mut byte).expect("read") == 1 && byte != *b"\n" {}
    }

    /// Ends it.
    pub(crate) fn kill(self) {
        send_to_pidfd(self.process.pidfd.as_fd(), Signal::KILL).expect("pidfd_send_signal");
        self.outcome();
    }

    /// Waits for the end and reads everything.
    pub(crate) fn outcome(mut self) -> Outcome {
        let mut outcome = Outcome { code: 0, stdout: String::new(), stderr: String::new() };
        self.stdout.read_to_string(&mut outcome.stdout).expect("utf-8");
        self.stderr.read_to_string(&mut outcome.stderr).expect("utf-8");
        outcome.code = wait_pidfd(self.process.pidfd.as_fd()).expect("waitid").shell_code();
        remove(self.cgroup.take());
        outcome
    }
}

/// Ends whoever is left in a control group, and removes it.
pub(crate) fn remove(cgroup: Option<Cgroup>) {
    if let Some(cgroup) = cgroup {
        cgroup.kill().expect("kill");
        cgroup.remove().expect("remove");
    }
}

/// Standard descriptors with an empty input, and the read ends of output and error.
pub(crate) fn pipes() -> (Stdio, File, File) {
    let stdin = OwnedFd::from(File::open("/dev/null").expect("/dev/null"));
    let (stdout_read, stdout) = std::io::pipe().expect("pipe");
    let (stderr_read, stderr) = std::io::pipe().expect("pipe");
    let file = |pipe: std::io::PipeReader| File::from(OwnedFd::from(pipe));
    (
        Stdio::Descriptors { stdin, stdout: stdout.into(), stderr: stderr.into() },
        file(stdout_read),
        file(stderr_read),
    )
}

/// Says why a test does not run, where its output is kept.
#[expect(clippy::print_stderr, reason = "a skip is counted by its line in the test's output")]
pub(crate) fn skip(reason: &str) {
    eprintln!("SKIP: {reason}");
}

/// A spec with everything a usual container has but limits and a filter.
fn spec() -> Value {
    let capabilities = json!(["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_KILL", "CAP_SETUID", "CAP_SETGID"]);
    json!({
        "ociVersion": "1.2.0",
        "root": {"path": "rootfs"},
        "hostname": "gantry-test",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": [],
            "env": ["PATH=/bin"],
            "cwd": "/",
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
            "noNewPrivileges": true
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
             "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
             "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
             "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]}
        ],
        "linux": {
            "resources": {"pids": {"limit": 64}},
            "namespaces": [
                {"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"},
                {"type": "cgroup"}
            ],
            "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/scsi",
                            "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
        }
    })
}
