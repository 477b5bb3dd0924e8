//! How does a test get a network that is not the machine's? A *stage*: one network namespace for the daemon, the
//! "host", and one that plays the world outside, tied together by a pair of links. Both live as long as a process
//! that sleeps in each, and with them everything that was made there.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cli::NETWORKED;
use crate::cli::run;
use crate::daemon::Daemon;
use crate::outcome::Outcome;
use crate::programs::program;
use crate::wait::{seconds, until};

/// The host's address on the way to the outside.
pub const HOST: &str = "203.0.113.1";
/// The address of the outside.
pub const OUTSIDE: &str = "203.0.113.2";
/// The host's address of version 6.
pub const HOST6: &str = "2001:db8:1::1";

/// Two network namespaces.
#[derive(Debug)]
pub struct Stage {
    host: Child,
    outside: Child,
}

/// Whether this machine has what stages are made with.
#[must_use]
pub fn is_possible() -> bool {
    ["ip", "nsenter", "unshare", "nft"].iter().all(|program| {
        Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    })
}

impl Stage {
    /// Makes both, with a link between them.
    pub fn make() -> Result<Self> {
        let stage = Self { host: namespace()?, outside: namespace()? };
        let outside = stage.outside.id().to_string();
        for words in [
            "link set lo up",
            &format!("link add up0 type veth peer name out0 netns {outside}"),
            &format!("addr add {HOST}/24 dev up0"),
            "link set up0 up",
            &format!("-6 addr add {HOST6}/64 dev up0 nodad"),
            &format!("route add default via {OUTSIDE}"),
        ] {
            stage.host(&format!("ip {words}"))?.exits(0)?;
        }
        for words in [
            "link set lo up",
            &format!("addr add {OUTSIDE}/24 dev out0"),
            "link set out0 up",
            "-6 addr add 2001:db8:1::2/64 dev out0 nodad",
        ] {
            stage.outside(&format!("ip {words}"))?.exits(0)?;
        }
        Ok(stage)
    }

    /// Moves a daemon into the host's namespace: it is started again there.
    pub fn move_in(&self, daemon: &mut Daemon) -> Result<()> {
        daemon.stop()?;
        fs::write(daemon.socket().with_file_name(NETWORKED), "")?;
        daemon.wrap(&["nsenter", &path(&self.host)]);
        daemon.restart()
    }

    /// Moves a daemon into the host's namespace, where everybody finds this file as `/etc/resolv.conf`.
    pub fn resolve_by(&self, daemon: &mut Daemon, file: &Path) -> Result<()> {
        daemon.stop()?;
        let script = "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"";
        let (net, file) = (path(&self.host), file.display().to_string());
        let private = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, &file];
        daemon.wrap(&[&["nsenter", &net], private.as_slice()].concat());
        daemon.restart()
    }

    /// Keeps a gantry-netd standing by for a daemon's folder, as its systemd unit does.
    pub fn stand_by(&self, daemon: &Daemon, resolv_conf: &Path) -> Result<StandBy> {
        let script =
            "trap 'kill $child; exit 0' TERM; while :; do \"$@\" & child=$!; wait $child; sleep 0.1; done";
        let child = Command::new("nsenter")
            .args([&path(&self.host), "sh", "-c", script, "sh"])
            .arg(program("gantry-netd"))
            .args(["--standby", "--state"])
            .arg(daemon.path("run"))
            .arg("--resolv-conf")
            .arg(resolv_conf)
            .stdin(Stdio::null())
            .spawn()
            .context("starting a gantry-netd that stands by")?;
        Ok(StandBy { child })
    }

    /// The words before a program that shall be one of the host's.
    #[must_use]
    pub fn as_host(&self) -> Vec<String> {
        vec!["nsenter".to_owned(), path(&self.host)]
    }

    /// A process that is outside.
    #[must_use]
    pub fn outside_process(&self) -> u32 {
        self.outside.id()
    }

    /// Runs a command line as a process of the host.
    pub fn host(&self, line: &str) -> Result<Outcome> {
        within(&self.host, line)
    }

    /// Runs a command line outside.
    pub fn outside(&self, line: &str) -> Result<Outcome> {
        within(&self.outside, line)
    }

    /// Fails unless the kernel and netd have nothing of any container any more; the daemon has none.
    pub fn check_clean(&self, daemon: &Daemon) -> Result<()> {
        let found = until("nothing of a container to be left in the network", seconds(10), || {
            Ok(self.leftovers(daemon)?.is_empty().then_some(()))
        });
        if found.is_err() {
            anyhow::bail!("left in the network:\n{}", self.leftovers(daemon)?.join("\n"));
        }
        Ok(())
    }

    /// What the daemon's table holds, as nft tells it.
    pub fn rules(&self) -> Result<String> {
        Ok(self.host("nft list table inet gantry")?.stdout)
    }

    fn leftovers(&self, daemon: &Daemon) -> Result<Vec<String>> {
        let links = self.host("ip -o link")?.ok()?;
        let mut found: Vec<String> =
            links.lines().filter(|line| line.contains(": gv")).map(str::to_owned).collect();
        for folder in ["run/netd/endpoints", "run/netns"] {
            for entry in fs::read_dir(daemon.path(folder)).into_iter().flatten().flatten() {
                found.push(entry.path().display().to_string());
            }
        }
        let rules = self.rules()?;
        let published = rules.lines().skip_while(|line| !line.contains("map published4 ")).take(4);
        found.extend(published.filter(|line| line.contains("elements")).map(str::to_owned));
        Ok(found)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for child in [&mut self.host, &mut self.outside] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Ends the gantry-netd that stands by when it is dropped.
#[derive(Debug)]
pub struct StandBy {
    child: Child,
}

impl Drop for StandBy {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let _ = self.child.wait();
    }
}

/// A network namespace with nothing in it, as long as this lives.
#[derive(Debug)]
pub struct Namespace(Child);

impl Namespace {
    /// Makes one.
    pub fn make() -> Result<Self> {
        namespace().map(Self)
    }

    /// A process that is in it.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Does something in the network namespace of a process; sockets opened there stay there.
pub fn inside<T: Send>(process: u32, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let netns = fs::File::open(format!("/proc/{process}/ns/net"))?;
    std::thread::scope(|scope| {
        let entered = scope.spawn(|| {
            setns(&netns, CloneFlags::CLONE_NEWNET)?;
            work()
        });
        entered.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// A process that sleeps in a new network namespace.
fn namespace() -> Result<Child> {
    let own = fs::read_link("/proc/self/ns/net")?;
    let child = Command::new("unshare")
        .args(["--net", "sleep", "3600"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .context("starting unshare")?;
    until("a network namespace", seconds(10), || {
        let other = fs::read_link(format!("/proc/{}/ns/net", child.id()))?;
        Ok((other != own).then_some(()))
    })?;
    Ok(child)
}

fn path(child: &Child) -> String {
    format!("--net=/proc/{}/ns/net", child.id())
}

fn command(child: &Child, line: &str) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(path(child)).args(["sh", "-c", line]);
    command
}

fn within(child: &Child, line: &str) -> Result<Outcome> {
    run(&mut command(child, line))
}

/// Ends the gantry-netd that serves a daemon's folder, if there is one.
pub fn end_netd(daemon: &Daemon) -> Result<()> {
    let Ok(pid) = fs::read_to_string(daemon.path("run/netd/lock")) else { return Ok(()) };
    let Ok(pid) = pid.trim().parse::<i32>() else { return Ok(()) };
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let state = daemon.path("run").display().to_string();
    if !String::from_utf8_lossy(&command).contains(&state) {
        return Ok(());
    }
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM)?;
    let gone = until("gantry-netd to end", seconds(10), || {
        Ok((!std::path::Path::new(&format!("/proc/{pid}")).exists()).then_some(()))
    });
    ensure!(gone.is_ok(), "gantry-netd {pid} does not end");
    Ok(())
}
