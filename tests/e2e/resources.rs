//! Do limits reach the kernel? Read back from the container's own cgroup on the host, and felt by what runs into them.

use anyhow::{Result, ensure};
use gantry_tests::cgroup;
use gantry_tests::trial::World;

tests![
    memory_processors_and_processes_are_limited_in_the_cgroup,
    what_takes_too_much_memory_is_killed_and_said_so,
    a_fork_bomb_stops_at_its_limit,
    the_cgroup_is_below_the_daemons_parent_and_goes_with_the_container,
    an_exec_is_in_the_containers_cgroup,
];

fn memory_processors_and_processes_are_limited_in_the_cgroup(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let flags = ["--memory", "64m", "--cpus", "0.5", "--pids-limit", "33", "--cpu-shares", "512"];
    let id = daemon.ok(&[&["run", "-d"], &flags[..], &[&image, "sleep", "1000"]].concat())?;
    let pid = daemon.container_pid(&id)?;
    let unified = cgroup::is_unified()?;
    ensure!(cgroup::read(pid, ("memory", "memory.limit_in_bytes"), "memory.max")? == "67108864");
    ensure!(cgroup::read(pid, ("pids", "pids.max"), "pids.max")? == "33");
    if unified {
        ensure!(cgroup::read(pid, ("", ""), "cpu.max")? == "50000 100000");
    } else {
        ensure!(cgroup::read(pid, ("cpu", "cpu.cfs_quota_us"), "")? == "50000");
        ensure!(cgroup::read(pid, ("cpu", "cpu.shares"), "")? == "512");
    }
    world.done(daemon);
    Ok(())
}

fn what_takes_too_much_memory_is_killed_and_said_so(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    // A shell that keeps a growing string in memory.
    let script = "x=xxxxxxxxxxxxxxxx; while :; do x=$x$x; done";
    let id = daemon.ok(&["create", "--memory", "16m", "--memory-swap", "16m", &image, "sh", "-c", script])?;
    daemon.gantry(&["start", "-a", &id])?.exits(137)?;
    ensure!(daemon.inspect(&id, "{{.State.OOMKilled}}")? == "true");
    world.done(daemon);
    Ok(())
}

fn a_fork_bomb_stops_at_its_limit(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let script = "for i in $(seq 30); do sleep 1000 & done 2>&1; echo started";
    let said = daemon.gantry(&["run", "--rm", "--pids-limit", "10", &image, "sh", "-c", script])?;
    ensure!(said.stdout.contains("fork") || said.stderr.contains("fork"), "{said}");
    world.done(daemon);
    Ok(())
}

fn the_cgroup_is_below_the_daemons_parent_and_goes_with_the_container(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let id = daemon.ok(&["run", "-d", &image, "sleep", "1000"])?;
    let pid = daemon.container_pid(&id)?;
    let table = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let ours = table
        .lines()
        .filter(|line| line.contains(&format!("/{}/", daemon.name())) && line.contains(&id))
        .count();
    // A v2 hierarchy beside v1 ones decides nothing and may be left alone.
    let all =
        table.lines().filter(|line| cgroup::is_unified().unwrap_or(true) || !line.starts_with("0:")).count();
    ensure!(ours >= all, "{table}");
    daemon.ok(&["rm", "-f", &id])?;
    for hierarchy in cgroup::hierarchies()? {
        let folder = hierarchy.join(daemon.name()).join("default").join(&id);
        ensure!(!folder.exists(), "{} is left", folder.display());
    }
    world.done(daemon);
    Ok(())
}

fn an_exec_is_in_the_containers_cgroup(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let id = daemon.ok(&["run", "-d", &image, "sleep", "1000"])?;
    daemon.ok(&["exec", "-d", &id, "sleep", "2000"])?;
    let procs = |pid: u32| cgroup::read(pid, ("pids", "cgroup.procs"), "cgroup.procs");
    let pid = daemon.container_pid(&id)?;
    let count = procs(pid)?.lines().count();
    ensure!(count == 2, "{count} processes are in the cgroup");
    world.done(daemon);
    Ok(())
}
