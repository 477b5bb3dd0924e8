//! What does an idle container cost in memory? Read from the kernel for each monitor process with 20 containers asleep,
//! and for each daemon without and with them.

use std::fs;

use anyhow::{Context as _, Result};
use gantry_tests::wait::{seconds, until_true};

use crate::Bench;
use crate::engines::Engines;
use crate::peers::{Daemons, run, unique_name};

/// Idle containers while memory is read.
pub(crate) const CONTAINERS: usize = 20;

/// The memory of one kind of process, in KiB.
pub(crate) struct Memory {
    pub(crate) name: &'static str,
    /// Per monitor, with all of them alive.
    pub(crate) pss: u64,
    pub(crate) private_dirty: u64,
    /// The daemon's resident memory without a container, and with all.
    pub(crate) daemon_idle: u64,
    /// With the first one: what a daemon takes once, the code and the memory of its first start, is not a container's.
    pub(crate) daemon_first: u64,
    pub(crate) daemon_busy: u64,
}

pub(crate) fn measure(engines: &mut Engines, bench: &Bench) -> Result<Vec<Memory>> {
    let mut rows = vec![gantry(engines)?];
    if let Some(daemons) = &engines.daemons {
        rows.push(containerd(daemons, bench)?);
    }
    Ok(rows)
}

fn gantry(engines: &mut Engines) -> Result<Memory> {
    // A daemon that has just been started, as after an upgrade, and has done nothing yet.
    engines.gantry.daemon.kill()?;
    engines.gantry.daemon.restart()?;
    engines.gantry.reconnect()?;
    let daemon = engines.gantry.daemon.pid()?;
    let daemon_idle = resident(daemon)?;
    let mut ids = engines.gantry.idle(1)?;
    let daemon_first = resident(daemon)?;
    ids.extend(engines.gantry.idle(CONTAINERS - 1)?);
    let mut shims = Vec::new();
    for id in &ids {
        shims.push(parent(engines.gantry.daemon.container_pid(id)?)?);
    }
    let daemon_busy = resident(daemon)?;
    let (pss, private_dirty) = average(&shims)?;
    engines.gantry.remove(&ids)?;
    Ok(Memory { name: "Gantry", pss, private_dirty, daemon_idle, daemon_first, daemon_busy })
}

fn containerd(daemons: &Daemons, bench: &Bench) -> Result<Memory> {
    let (containerd, _) = daemons.pids();
    let daemon_idle = resident(containerd)?;
    let names: Vec<String> = (0..CONTAINERS).map(|_| unique_name()).collect();
    let mut daemon_first = 0;
    for name in &names {
        run(&mut daemons.ctr(&["run", "-d", "--seccomp", &bench.image, name, "/bin/sleep", "100000"]))?;
        if daemon_first == 0 {
            daemon_first = resident(containerd)?;
        }
    }
    let mut shims = Vec::new();
    for name in &names {
        shims.push(shim_of(name)?);
    }
    let daemon_busy = resident(containerd)?;
    let (pss, private_dirty) = average(&shims)?;
    for name in &names {
        run(&mut daemons.ctr(&["task", "kill", "-s", "SIGKILL", name]))?;
        until_true("a task to end", seconds(10), || {
            Ok(daemons.ctr(&["task", "rm", name]).output()?.status.success())
        })?;
        run(&mut daemons.ctr(&["container", "rm", name]))?;
    }
    Ok(Memory { name: "containerd", pss, private_dirty, daemon_idle, daemon_first, daemon_busy })
}

/// The containerd shim that has this container's name on its command line.
fn shim_of(name: &str) -> Result<u32> {
    let pids =
        fs::read_dir("/proc")?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut shims = pids.filter(|pid| {
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).into_owned();
        command.contains("containerd-shim") && command.split('\0').any(|word| word == name)
    });
    shims.next().with_context(|| format!("no shim of {name}"))
}

/// Averages of proportional set size and private dirty memory, in KiB.
fn average(pids: &[u32]) -> Result<(u64, u64)> {
    let (mut pss, mut dirty) = (0, 0);
    for pid in pids {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        pss += field(&rollup, "Pss:")?;
        dirty += field(&rollup, "Private_Dirty:")?;
    }
    let count = u64::try_from(pids.len())?;
    Ok((pss / count, dirty / count))
}

/// KiB of memory that a process has.
pub(crate) fn resident(pid: u32) -> Result<u64> {
    field(&fs::read_to_string(format!("/proc/{pid}/status"))?, "VmRSS:")
}

fn parent(pid: u32) -> Result<u32> {
    Ok(u32::try_from(field(&fs::read_to_string(format!("/proc/{pid}/status"))?, "PPid:")?)?)
}

fn field(text: &str, name: &str) -> Result<u64> {
    let line = text.lines().find(|line| line.starts_with(name)).with_context(|| format!("no {name}"))?;
    Ok(line.split_whitespace().nth(1).context("a field has a value")?.parse()?)
}
