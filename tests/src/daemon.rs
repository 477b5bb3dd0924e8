//! How does a test get a daemon of its own? By giving `gantryd` a folder, a socket and a cgroup parent that nobody else
//! has; so tests run side by side, on a machine that may run another Gantry.
//!
//! [`Daemon::finish`] removes every container through the daemon, stops it and then looks for what was left behind;
//! a daemon that is only dropped (its test failed) is cleared away by force.

use std::cell::RefCell;
use std::fs::{self, File};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::cli::{Running, gantry, run, run_with_input};
use crate::leftover::Leftover;
use crate::outcome::Outcome;
use crate::programs::{program, target};
use crate::wait::{seconds, until, until_true};

static COUNT: AtomicU32 = AtomicU32::new(0);

thread_local! {
    static KEPT_LOGS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// A private daemon.
#[derive(Debug)]
pub struct Daemon {
    folder: TempDir,
    /// Names its cgroup parent; unique on the machine.
    name: String,
    child: Option<Child>,
    wrapper: Vec<String>,
    env: Vec<(String, String)>,
    log_level: &'static str,
    finished: bool,
}

impl Daemon {
    /// Starts a daemon with nothing in it.
    pub fn start() -> Result<Self> {
        let mut daemon = Self::prepare()?;
        daemon.restart()?;
        Ok(daemon)
    }

    /// Makes the folders and the config of a daemon, and starts nothing.
    pub fn prepare() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("gantry-test-").tempdir()?;
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("gantry-test-{}-{number}", std::process::id());
        let daemon = Self {
            folder,
            name,
            child: None,
            wrapper: Vec::new(),
            env: Vec::new(),
            log_level: "debug",
            finished: false,
        };
        daemon.write_config("")?;
        Ok(daemon)
    }

    /// Replaces the config file: the lines of every private daemon, then these.
    pub fn write_config(&self, lines: &str) -> Result<()> {
        Ok(fs::write(
            self.path("config.toml"),
            format!("containers.cgroup_parent = \"/{}\"\n{lines}", self.name),
        )?)
    }

    /// Has the daemon started under another program, such as strace.
    pub fn wrap(&mut self, wrapper: &[&str]) {
        self.wrapper = wrapper.iter().map(|word| (*word).to_owned()).collect();
    }

    /// Adds a variable to the daemon's environment.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.env.push((name.to_owned(), value.to_owned()));
    }

    /// Has the daemon log from this level on; `debug` where nothing is said.
    pub fn set_log_level(&mut self, level: &'static str) {
        self.log_level = level;
    }

    /// A path below the daemon's own folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The daemon's socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.path("sock")
    }

    /// The last component of its containers' cgroup paths' first folder.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The daemon's process id (of the wrapper where it has one).
    pub fn pid(&self) -> Result<u32> {
        Ok(self.child.as_ref().context("the daemon runs")?.id())
    }

    /// The arguments that every start of this daemon gets.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        [("--config", "config.toml"), ("--root", "root"), ("--state", "run"), ("--address", "sock")]
            .iter()
            .flat_map(|(flag, name)| [(*flag).to_owned(), self.path(name).display().to_string()])
            .chain(["--log-level".to_owned(), self.log_level.to_owned()])
            .collect()
    }

    /// The command that starts this daemon.
    #[must_use]
    pub fn command(&self) -> Command {
        let daemon = program("gantryd");
        let mut command = match self.wrapper.split_first() {
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(daemon);
                command
            }
            None => Command::new(daemon),
        };
        command.args(self.arguments()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null());
        command
    }

    /// Starts the daemon (again) and waits until it answers.
    pub fn restart(&mut self) -> Result<()> {
        self.launch()?;
        // A daemon that was killed may leave its socket open for a moment, in a process it was just starting.
        until("the daemon to answer", seconds(10), || {
            let outcome = self.gantry(&["version"])?;
            if let Some(status) = self.child.as_mut().context("the daemon runs")?.try_wait()? {
                anyhow::bail!("gantryd ended with {status}:\n{}", self.log());
            }
            Ok((outcome.code == 0).then_some(()))
        })
    }

    /// Starts the daemon (again) and waits until its socket takes connections.
    pub fn launch(&mut self) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.path("log"))?;
        let mut child =
            self.command().stdout(log.try_clone()?).stderr(log).spawn().context("starting gantryd")?;
        let socket = self.socket();
        let answer = until("the daemon to listen", seconds(20), || {
            if let Some(status) = child.try_wait()? {
                return Ok(Some(Err(status)));
            }
            Ok(UnixStream::connect(&socket).is_ok().then_some(Ok(())))
        })?;
        if let Err(status) = answer {
            anyhow::bail!("gantryd ended with {status}:\n{}", self.log());
        }
        self.child = Some(child);
        Ok(())
    }

    /// Ends the daemon as a crash does.
    pub fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("the daemon runs")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Ends the daemon as an operator does.
    pub fn stop(&mut self) -> Result<()> {
        let mut child = self.child.take().context("the daemon runs")?;
        kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGTERM)?;
        let status = until("the daemon to stop", seconds(20), || Ok(child.try_wait()?));
        if status.is_err() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let status = status?;
        ensure!(status.success(), "gantryd ended with {status} after SIGTERM:\n{}", self.log());
        Ok(())
    }

    /// What the daemon has logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Runs `gantry` with these arguments to its end.
    pub fn gantry(&self, args: &[&str]) -> Result<Outcome> {
        run(&mut gantry(&self.socket(), args))
    }

    /// Runs `gantry` and expects success; answers what it printed.
    pub fn ok(&self, args: &[&str]) -> Result<String> {
        self.gantry(args)?.ok()
    }

    /// Runs `gantry` with `input` on standard input.
    pub fn gantry_with_input(&self, args: &[&str], input: &str) -> Result<Outcome> {
        run_with_input(&mut gantry(&self.socket(), args), input)
    }

    /// Starts `gantry` beside the test.
    pub fn begin(&self, args: &[&str]) -> Result<Running> {
        Running::start(&mut gantry(&self.socket(), args))
    }

    /// A value of `gantry inspect --format` for a container.
    pub fn inspect(&self, container: &str, template: &str) -> Result<String> {
        self.ok(&["inspect", "--format", template, container])
    }

    /// Waits until a container's state is `state` (as `inspect` names it).
    pub fn await_state(&self, container: &str, state: &str) -> Result<()> {
        until_true(format!("{container} to be {state}"), seconds(20), || {
            Ok(self.inspect(container, "{{.State.Status}}")? == state)
        })
    }

    /// The host's id of a container's first process.
    pub fn container_pid(&self, container: &str) -> Result<u32> {
        Ok(self.inspect(container, "{{.State.Pid}}")?.parse()?)
    }

    /// Removes all containers, stops the daemon, and fails if anything of them is left on the machine.
    pub fn finish(mut self) -> Result<()> {
        if self.child.is_none() {
            self.restart()?;
        }
        let all = self.ok(&["ps", "-aq", "--no-trunc"])?;
        if !all.is_empty() {
            let ids: Vec<&str> = all.lines().collect();
            self.ok(&[&["rm", "-f"], ids.as_slice()].concat())?;
        }
        self.stop()?;
        crate::network::end_netd(&self)?;
        crate::leftover::remove_empty_parents(&self.name)?;
        let leftover = until("nothing to be left behind", seconds(10), || {
            let found = Leftover::find(&self.name, self.folder())?;
            Ok(found.is_empty().then_some(()))
        });
        if leftover.is_err() {
            anyhow::bail!("left behind:\n{}", Leftover::find(&self.name, self.folder())?);
        }
        self.finished = true;
        Ok(())
    }

    /// Copies the log to where it outlives the test, and notes that.
    fn keep_log(&self) {
        const LINES: usize = 30;
        let log = self.log();
        let file = target().join("test-logs").join(&self.name).with_extension("log");
        let kept = file.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&file, &log));
        let lines: Vec<&str> = log.lines().collect();
        let last = lines[lines.len().saturating_sub(LINES)..].join("\n");
        let place = kept.map_or_else(|error| format!("not kept: {error}"), |()| file.display().to_string());
        KEPT_LOGS.with_borrow_mut(|logs| logs.push(format!("--- the daemon's log ({place}) ends\n{last}")));
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// The logs of the daemons that this thread dropped without finishing them: where they are kept, and their last lines.
#[must_use]
pub fn kept_logs() -> String {
    KEPT_LOGS.take().join("\n")
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if !self.finished {
            self.keep_log();
        }
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = crate::network::end_netd(self);
        if let Ok(leftover) = Leftover::find(&self.name, self.folder()) {
            leftover.remove();
        }
    }
}
