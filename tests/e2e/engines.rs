//! Can other engines run containers with `gantry-runtime`? Debian's containerd, docker and podman, each with folders,
//! sockets and cgroups of its own, are told to use it, and then do what people do with them: run, exec, logs, stop,
//! a terminal, exit codes.

mod containerd;
mod docker;
mod podman;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result, ensure};
use gantry_runtime::cgroup::{self, Host};
use gantry_tests::programs::program;
use gantry_tests::trial::World;
use gantry_tests::wait::{seconds, until_true};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use self::containerd::Containerd;
use self::docker::Docker;
use self::podman::Podman;

tests![
    docker_runs_execs_logs_and_stops,
    docker_gives_a_terminal,
    docker_tells_why_a_command_cannot_run,
    docker_pauses_and_updates,
    containerd_runs_execs_and_kills,
    containerd_gives_a_terminal,
    podman_runs_execs_logs_and_stops,
    podman_gives_a_terminal,
    podman_tells_why_a_command_cannot_run,
];

/// A command that tells when it is there, and ends with 9 when it is asked to.
const PATIENT: &str = "trap 'exit 9' TERM; echo started; while :; do sleep 0.1; done";
static COUNT: AtomicU32 = AtomicU32::new(0);

fn docker_runs_execs_logs_and_stops(world: &World) -> Result<()> {
    let docker = Docker::start(world)?;
    docker
        .cli(&["run", "--rm", "--network", "none", &docker.image, "sh", "-c", "echo out; exit 5"])?
        .exits(5)?
        .prints("out")?;
    let id = docker.cli(&["run", "-d", "--network", "none", &docker.image, "sh", "-c", PATIENT])?.ok()?;
    until_true("docker's log", seconds(10), || Ok(docker.cli(&["logs", &id])?.ok()? == "started"))?;
    let runtime = docker.cli(&["inspect", "-f", "{{.HostConfig.Runtime}}", &id])?.ok()?;
    ensure!(runtime == "gantry", "docker used {runtime}");
    docker.cli(&["exec", &id, "sh", "-c", "echo inside; exit 4"])?.exits(4)?.prints("inside")?;
    docker.cli(&["stop", "-t", "20", &id])?.ok()?;
    let code = docker.cli(&["inspect", "-f", "{{.State.ExitCode}}", &id])?.ok()?;
    ensure!(code == "9", "it ended with {code}");
    docker.cli(&["rm", &id])?.ok()?;
    docker.finish()
}

fn docker_gives_a_terminal(world: &World) -> Result<()> {
    let docker = Docker::start(world)?;
    let id = docker
        .cli(&["run", "-d", "-t", "--network", "none", &docker.image, "sh", "-c", "tty; sleep 1000"])?
        .ok()?;
    until_true("docker's log", seconds(10), || {
        Ok(docker.cli(&["logs", &id])?.ok()?.trim_end() == "/dev/pts/0")
    })?;
    let exec = docker.cli(&["exec", "-t", &id, "tty"])?.ok()?;
    ensure!(exec.starts_with("/dev/pts/"), "exec -t said {exec:?}");
    docker.cli(&["rm", "-f", &id])?.ok()?;
    docker.finish()
}

fn docker_tells_why_a_command_cannot_run(world: &World) -> Result<()> {
    let docker = Docker::start(world)?;
    let run = |program: &str| docker.cli(&["run", "--rm", "--network", "none", &docker.image, program]);
    run("no-such-program")?.exits(127)?.complains("no-such-program")?;
    run("/etc")?.exits(126)?.complains("/etc")?;
    docker.finish()
}

fn docker_pauses_and_updates(world: &World) -> Result<()> {
    let docker = Docker::start(world)?;
    let id = docker
        .cli(&["run", "-d", "--network", "none", "-m", "64m", &docker.image, "sh", "-c", PATIENT])?
        .ok()?;
    docker.cli(&["pause", &id])?.ok()?;
    let status = docker.cli(&["inspect", "-f", "{{.State.Status}}", &id])?.ok()?;
    ensure!(status == "paused", "it is {status}");
    docker.cli(&["unpause", &id])?.ok()?;
    docker.cli(&["update", "-m", "80m", "--memory-swap", "160m", &id])?.ok()?;
    let show = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null";
    // One of the two files is not there, so that the command's own code says nothing.
    let limit = docker.cli(&["exec", &id, "sh", "-c", show])?;
    ensure!(limit.stdout.trim_end() == (80 << 20).to_string(), "the limit is {limit}");
    docker.cli(&["kill", &id])?.ok()?;
    docker.cli(&["rm", "-f", &id])?.ok()?;
    docker.finish()
}

fn containerd_runs_execs_and_kills(world: &World) -> Result<()> {
    let containerd = Containerd::start(world)?;
    let image = &containerd.image;
    // ctr gives up output that it has not begun to read when the container ends, and on a busy machine it begins late.
    let script = "echo out; sleep 2; exit 5";
    containerd.run(&["--rm", image, "c1", "sh", "-c", script])?.exits(5)?.prints("out")?;
    containerd.run(&["-d", image, "c2", "sh", "-c", PATIENT])?.ok()?;
    // What it prints is not asked: ctr does not wait for the last of it.
    containerd.ctr(&["task", "exec", "--exec-id", "e1", "c2", "sh", "-c", "exit 4"])?.exits(4)?;
    containerd.ctr(&["task", "pause", "c2"])?.ok()?;
    containerd.ctr(&["task", "resume", "c2"])?.ok()?;
    containerd.ctr(&["task", "kill", "-s", "SIGTERM", "c2"])?.ok()?;
    until_true("the task to end", seconds(10), || {
        Ok(containerd.ctr(&["task", "ls"])?.ok()?.contains("STOPPED"))
    })?;
    containerd.ctr(&["task", "rm", "c2"])?.exits(0)?.complains("exit code 9")?;
    containerd.ctr(&["container", "rm", "c2"])?.ok()?;
    containerd.finish()
}

fn containerd_gives_a_terminal(world: &World) -> Result<()> {
    let containerd = Containerd::start(world)?;
    let said = containerd.run_on_terminal(&["--rm", "-t", &containerd.image, "c1", "tty"])?.ok()?;
    // script(1) adds a character of its own.
    ensure!(said.contains("/dev/pts/0"), "the terminal is {said:?}");
    containerd.finish()
}

fn podman_runs_execs_logs_and_stops(world: &World) -> Result<()> {
    let podman = Podman::start(world)?;
    podman.cli(&["run", "--rm", &podman.image, "sh", "-c", "echo out; exit 5"])?.exits(5)?.prints("out")?;
    let id = podman.cli(&["run", "-d", &podman.image, "sh", "-c", PATIENT])?.ok()?;
    until_true("podman's log", seconds(10), || Ok(podman.cli(&["logs", &id])?.ok()? == "started"))?;
    podman.cli(&["exec", &id, "sh", "-c", "echo inside; exit 4"])?.exits(4)?.prints("inside")?;
    podman.cli(&["pause", &id])?.ok()?;
    podman.cli(&["unpause", &id])?.ok()?;
    podman.cli(&["stop", "-t", "20", &id])?.ok()?;
    let told = podman.cli(&["inspect", "-f", "{{.State.ExitCode}} {{.OCIRuntime}}", &id])?.ok()?;
    ensure!(told == format!("9 {}", program("gantry-runtime").display()), "podman says {told}");
    podman.cli(&["rm", &id])?.ok()?;
    podman.finish()
}

fn podman_gives_a_terminal(world: &World) -> Result<()> {
    let podman = Podman::start(world)?;
    let said = podman.cli(&["run", "--rm", "-t", &podman.image, "tty"])?.ok()?;
    ensure!(said.trim_end() == "/dev/pts/0", "the terminal is {said:?}");
    podman.finish()
}

fn podman_tells_why_a_command_cannot_run(world: &World) -> Result<()> {
    let podman = Podman::start(world)?;
    let run = |program: &str| podman.cli(&["run", "--rm", &podman.image, program]);
    run("no-such-program")?.exits(127)?.complains("no-such-program")?;
    run("/etc")?.exits(126)?.complains("/etc")?;
    podman.finish()
}

/// A folder, and a name for cgroups and namespaces, that no other engine has.
#[derive(Debug)]
struct Place {
    folder: TempDir,
    name: String,
}

impl Place {
    fn new() -> Result<Self> {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("gantry-test-engine-{}-{number}", std::process::id());
        Ok(Self { folder: tempfile::Builder::new().prefix("gantry-test-engine-").tempdir()?, name })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Starts a program that stays, with its words in a log.
    fn background(&self, command: &mut Command, log: &str) -> Result<Service> {
        let log = self.path(log);
        let file = File::create(&log)?;
        let child = command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).spawn();
        Ok(Service { child: child.with_context(|| format!("starting {command:?}"))?, log })
    }

    /// The cgroups that the engine made for its containers, empty by now.
    fn remove_cgroups(&self) -> Result<()> {
        let parent = format!("/{}", self.name);
        let host = Host::read()?;
        // An engine's own processes may take a moment to be gone from them.
        until_true("the engine's cgroups to be removed", seconds(10), || {
            cgroup::prune(&host, &parent)?;
            Ok(!gantry_tests::cgroup::hierarchies()?.iter().any(|top| top.join(&self.name).exists()))
        })
    }
}

/// A program that stays until it is told to end.
#[derive(Debug)]
struct Service {
    child: Child,
    log: PathBuf,
}

impl Service {
    /// Asks it to end, and waits.
    fn stop(&mut self) -> Result<()> {
        kill(Pid::from_raw(i32::try_from(self.child.id())?), Signal::SIGTERM)?;
        until_true("an engine to stop", seconds(30), || Ok(self.child.try_wait()?.is_some()))
    }

    /// What it logged, for messages.
    fn words(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Of a test that failed; one that passed has stopped it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where Debian puts its programs: others of the same name may come first in the search path.
fn debian(name: &str) -> Command {
    let found = ["/usr/bin", "/usr/sbin"].map(|folder| Path::new(folder).join(name));
    let path = found.iter().find(|path| path.exists()).cloned().unwrap_or_else(|| PathBuf::from(name));
    let mut command = Command::new(path);
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command
}
