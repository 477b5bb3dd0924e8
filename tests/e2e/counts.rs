//! How much work is one container? Counted exactly under strace in the daemon and everything it starts: what is counted
//! does not depend on how busy the machine is.

use std::fs;

use anyhow::{Result, ensure};
use gantry_tests::daemon::Daemon;
use gantry_tests::trial::World;
use gantry_tests::wait::{seconds, until_true};

tests![
    a_container_costs_two_programs_and_three_syncs_at_most,
    a_pull_executes_no_program,
    containers_add_no_line_to_the_hosts_mount_table,
];

fn a_container_costs_two_programs_and_three_syncs_at_most(world: &World) -> Result<()> {
    const CONTAINERS: usize = 10;
    let mut daemon = Daemon::prepare()?;
    let trace = daemon.path("trace");
    let calls = "--trace=execve,execveat,fsync,fdatasync,sync_file_range,syncfs,sync,msync";
    // -D keeps the daemon our child, so that it is stopped as always.
    daemon.wrap(&["strace", "-D", "-f", "-qq", calls, "-o", &trace.display().to_string()]);
    daemon.restart()?;
    let image = &world.shared.busybox.reference;
    daemon.ok(&["pull", "-q", image])?;
    // What the first one does once, such as compiling the default filter, is not counted.
    daemon.ok(&["run", "--rm", image, "true"])?;
    let before = Counted::read(&trace)?;
    for _ in 0..CONTAINERS {
        daemon.ok(&["run", "--rm", image, "true"])?;
    }
    let now = Counted::read(&trace)?;
    let programs = now.programs - before.programs;
    let syncs = now.syncs - before.syncs;
    ensure!(programs <= 2 * CONTAINERS, "{programs} programs were executed for {CONTAINERS} containers");
    ensure!(syncs <= 3 * CONTAINERS, "{syncs} syncs were made for {CONTAINERS} containers");
    ensure!(programs >= CONTAINERS, "the trace is broken: {programs} programs for {CONTAINERS} containers");
    world.done(daemon);
    Ok(())
}

fn a_pull_executes_no_program(world: &World) -> Result<()> {
    // CVE-2014-9357, CVE-2019-14271, CVE-2026-41567: decompressors and helpers that ran as root on the image's bytes.
    let mut daemon = Daemon::prepare()?;
    let trace = daemon.path("trace");
    let file = trace.display().to_string();
    daemon.wrap(&["strace", "-D", "-f", "-qq", "--trace=execve,execveat", "-o", &file]);
    daemon.restart()?;
    let before = Counted::read(&trace)?.programs;
    daemon.ok(&["pull", "-q", &world.shared.busybox.reference])?;
    let during = Counted::read(&trace)?.programs - before;
    ensure!(before > 0 && during == 0, "{during} programs were executed during a pull, {before} before");
    world.done(daemon);
    Ok(())
}

struct Counted {
    programs: usize,
    syncs: usize,
}

impl Counted {
    /// Counts what strace has written; a call it saw begin and end on two lines counts once.
    fn read(trace: &std::path::Path) -> Result<Self> {
        let text = fs::read_to_string(trace)?;
        let count = |names: &[&str]| {
            let begun = |line: &&str| {
                names
                    .iter()
                    .any(|name| line.split_whitespace().nth(1).is_some_and(|call| call.starts_with(name)))
            };
            text.lines()
                .filter(begun)
                .filter(|line| !line.contains("resumed>") && !line.contains(" = -1 "))
                .count()
        };
        Ok(Self {
            programs: count(&["execve(", "execveat("]),
            syncs: count(&["fsync(", "fdatasync(", "syncfs(", "sync(", "msync("]),
        })
    }
}

fn containers_add_no_line_to_the_hosts_mount_table(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let folder = daemon.path("").display().to_string();
    for _ in 0..3 {
        daemon.ok(&["run", "-d", "--tmpfs", "/scratch", &image, "sleep", "1000"])?;
    }
    let ours = |table: &str| table.lines().filter(|line| line.contains(&folder)).count();
    ensure!(
        ours(&fs::read_to_string("/proc/self/mountinfo")?) == 0,
        "{}",
        fs::read_to_string("/proc/self/mountinfo")?
    );
    until_true("the containers to run", seconds(10), || Ok(daemon.ok(&["ps", "-q"])?.lines().count() == 3))?;
    world.done(daemon);
    Ok(())
}
