//! How are the peers run? Each as its own documentation says, at the least work it offers for the same container: own
//! network namespace without a network (unless networks are what is measured), the default seccomp profile, removed at
//! the end. The daemons are private ones,
//! with folders and sockets in the bench's own folder.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use gantry_runtime::seccomp::{self, Target};
use gantry_runtime::spec::CapabilitySet;
use gantry_tests::programs::{installed, program};
use gantry_tests::wait::{seconds, until_true};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::Bench;
use crate::gantry::{BRIDGE, Network};

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A name that nobody else on the machine has.
pub(crate) fn unique_name() -> String {
    format!("gantry-bench-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// Runs a command to its end, silent unless it fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("starting {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} ended with {}: {said}", output.status);
    Ok(())
}

/// A peer's program, which finds Debian's other programs before others of the same name.
pub(crate) fn peer(program: &str) -> Command {
    let mut command = Command::new(installed(program).unwrap_or_else(|| program.into()));
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command
}

/// A program's version, the first line of what it says.
pub(crate) fn version(program: &str) -> String {
    let output = peer(program).arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or("not installed").to_owned()
}

/// A bare runtime (crun, runc, youki, Gantry's own) and the bundle it runs.
pub(crate) struct Runtime {
    pub(crate) name: &'static str,
    pub(crate) bundle: PathBuf,
    state: PathBuf,
}

impl Runtime {
    pub(crate) fn prepare(name: &'static str, bench: &Bench) -> Result<Self> {
        let bundle = bench.path(&format!("bundle-{name}"));
        fs::create_dir(&bundle)?;
        fs::write(bundle.join("config.json"), bundle_config(&bench.rootfs)?.to_string())?;
        Ok(Self { name, bundle, state: bench.path(RUN).join(name) })
    }

    /// One container from nothing to nothing.
    pub(crate) fn cycle(&self) -> Result<()> {
        let bundle = self.bundle.to_str().context("a path in UTF-8")?;
        self.run(&["run", "--bundle", bundle, &unique_name()])
    }

    /// Runs one command of the runtime's to its end.
    pub(crate) fn run(&self, words: &[&str]) -> Result<()> {
        let mut command = if self.name == OWN { Command::new(program(OWN)) } else { peer(self.name) };
        command.arg("--root").arg(&self.state).args(words);
        // Not `output`: a container that goes on would keep a pipe open.
        let log = self.bundle.join("log");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log)?);
        let mut child = command.spawn().with_context(|| format!("starting {command:?}"))?;
        let status = if self.name == YOUKI { wait_and_wake(&mut child)? } else { child.wait()? };
        let said = || fs::read_to_string(&log).unwrap_or_default();
        ensure!(status.success(), "{command:?} ended with {status}: {}", said());
        Ok(())
    }

    /// Starts a container that sleeps; answers its id.
    pub(crate) fn start_idle(&self, bench: &Bench) -> Result<String> {
        let bundle = bench.path(&format!("bundle-idle-{}", self.name));
        fs::create_dir_all(&bundle)?;
        let mut config = bundle_config(&bench.rootfs)?;
        config["process"]["args"] = json!(["/bin/sleep", "100000"]);
        fs::write(bundle.join("config.json"), config.to_string())?;
        let id = unique_name();
        self.run(&["run", "--detach", "--bundle", bundle.to_str().context("a path in UTF-8")?, &id])?;
        Ok(id)
    }
}

/// Waits for a `youki run`: 0.7 misses the end of a container that was quicker than it, and would wait for ever, but
/// another SIGCHLD has it look again.
fn wait_and_wake(child: &mut Child) -> Result<ExitStatus> {
    let pid = Pid::from_raw(i32::try_from(child.id())?);
    let (alive, ended) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while ended.recv_timeout(YOUKI_WAKE_EVERY) == Err(mpsc::RecvTimeoutError::Timeout) {
                // It may have ended just now.
                let _ = kill(pid, Signal::SIGCHLD);
            }
        });
        let status = child.wait();
        drop(alive);
        Ok(status?)
    })
}

/// The runtime that has to be woken, and how often: seldom would be a part of what is measured.
pub(crate) const YOUKI: &str = "youki";
pub(crate) const YOUKI_WAKE_EVERY: Duration = Duration::from_millis(1);
/// Gantry's own runtime, behind the same commands.
pub(crate) const OWN: &str = "gantry-runtime";
/// The folder, on a tmpfs, of what the peers keep under `/run`.
pub(crate) const RUN: &str = "run";

/// The bundle: what `runc spec` proposes, with the lists of paths, the capabilities and the filter that Gantry uses.
pub(crate) fn bundle_config(rootfs: &Path) -> Result<Value> {
    let capabilities = CapabilitySet::container_default();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut numbers = kernel.split(['.', '-']).filter_map(|number| number.parse().ok());
    let kernel = (numbers.next().unwrap_or(5), numbers.next().unwrap_or(0));
    let architecture = seccomp::Architecture::host().context("an architecture with seccomp")?;
    let filter = seccomp::default_profile(&Target { architecture, kernel, capabilities });
    let names: Vec<String> = capabilities.names().map(|name| format!("CAP_{name}")).collect();
    let mut config: Value = serde_json::from_str(include_str!("bundle.json"))?;
    config["root"]["path"] = json!(rootfs);
    config["linux"]["seccomp"] = serde_json::to_value(&filter)?;
    for set in ["bounding", "effective", "permitted"] {
        config["process"]["capabilities"][set] = json!(names);
    }
    Ok(config)
}

/// A private containerd, and dockerd on top of it.
pub(crate) struct Daemons {
    folder: PathBuf,
    image: String,
    containerd: Child,
    dockerd: Option<Child>,
}

impl Daemons {
    pub(crate) fn start(bench: &Bench) -> Result<Self> {
        let folder = bench.path("peers");
        fs::create_dir(&folder)?;
        let config = "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n";
        fs::write(folder.join("containerd.toml"), config)?;
        let mut command = peer("containerd");
        command
            .arg("--config")
            .arg(folder.join("containerd.toml"))
            .arg("--root")
            .arg(folder.join("containerd"));
        command
            .arg("--state")
            .arg(bench.path(RUN).join("containerd"))
            .arg("--address")
            .arg(folder.join("containerd.sock"));
        let containerd = background(&mut command, &folder.join("containerd.log"))?;
        let mut daemons = Self { folder, image: bench.image.clone(), containerd, dockerd: None };
        until_true("containerd to answer", seconds(20), || {
            Ok(daemons.ctr(&["version"]).output()?.status.success())
        })?;
        run(&mut daemons.ctr(&["images", "pull", "--plain-http", &bench.image]))?;
        if installed("dockerd").is_some() {
            daemons.start_dockerd()?;
        }
        Ok(daemons)
    }

    fn start_dockerd(&mut self) -> Result<()> {
        let folder = &self.folder;
        let mut command = peer("dockerd");
        command
            .arg("--data-root")
            .arg(folder.join("docker"))
            .arg("--exec-root")
            .arg(folder.with_file_name(RUN).join("docker"));
        command
            .arg("--pidfile")
            .arg(folder.join("docker.pid"))
            .arg("--containerd")
            .arg(folder.join("containerd.sock"));
        command.arg("--host").arg(format!("unix://{}", folder.join("docker.sock").display()));
        // It has the run's own network namespace to itself, so it may have its bridges and its rules.
        command.args(["--ip6tables=false", "--storage-driver", "overlay2"]);
        fs::write(folder.join("docker.json"), "{}")?;
        command.arg("--config-file").arg(folder.join("docker.json"));
        let child = background(&mut command, &folder.join("dockerd.log"))?;
        self.dockerd = Some(child);
        until_true("dockerd to answer", seconds(30), || {
            Ok(self.docker(&["version"]).output()?.status.success())
        })?;
        run(&mut self.docker(&["network", "create", BRIDGE]))?;
        run(&mut self.docker(&["pull", &self.image]))
    }

    pub(crate) fn has_docker(&self) -> bool {
        self.dockerd.is_some()
    }

    pub(crate) fn ctr(&self, args: &[&str]) -> Command {
        let mut command = peer("ctr");
        command.arg("--address").arg(self.folder.join("containerd.sock")).args(args);
        command
    }

    pub(crate) fn docker(&self, args: &[&str]) -> Command {
        let mut command = peer("docker");
        command.arg("--host").arg(format!("unix://{}", self.folder.join("docker.sock").display())).args(args);
        command
    }

    pub(crate) fn ctr_cycle(&self) -> Result<()> {
        run(&mut self.ctr(&["run", "--rm", "--seccomp", &self.image, &unique_name(), "/bin/true"]))
    }

    pub(crate) fn docker_cycle(&self, network: Network) -> Result<()> {
        let flags: &[&str] = match network {
            Network::None => &["--network", "none"],
            Network::Bridge => &["--network", BRIDGE, "--publish", "80"],
        };
        run(&mut self.docker(&[&["run", "--rm"], flags, &[&self.image, "/bin/true"]].concat()))
    }

    /// The process ids of containerd and dockerd.
    pub(crate) fn pids(&self) -> (u32, Option<u32>) {
        (self.containerd.id(), self.dockerd.as_ref().map(Child::id))
    }

    pub(crate) fn stop(&mut self) -> Result<()> {
        let dockerd = self.dockerd.take().map_or(Ok(()), |mut dockerd| terminate(&mut dockerd));
        // Both are stopped, whatever the first one says.
        let containerd = terminate(&mut self.containerd);
        dockerd.and(containerd)
    }
}

impl Drop for Daemons {
    fn drop(&mut self) {
        for child in self.dockerd.iter_mut().chain([&mut self.containerd]) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn background(command: &mut Command, log: &Path) -> Result<Child> {
    let log = File::create(log)?;
    let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn();
    child.with_context(|| format!("starting {command:?}"))
}

fn terminate(child: &mut Child) -> Result<()> {
    kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGTERM)?;
    until_true("a peer to stop", seconds(30), || Ok(child.try_wait()?.is_some()))
}
