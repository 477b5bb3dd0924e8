//! What can be done with a container that is alive, through its control group: pause, resume, update, stats, top. Limits
//! are read back from the kernel's own files on the host.

use anyhow::{Context as _, Result, ensure};
use gantry_tests::cgroup;
use gantry_tests::daemon::Daemon;
use gantry_tests::trial::World;
use gantry_tests::wait::{seconds, until, until_true};

tests![
    a_paused_container_stands_still_and_goes_on,
    a_paused_container_is_stopped_killed_and_removed,
    nothing_is_run_in_a_paused_container,
    a_pause_is_still_one_after_the_daemon_was_killed,
    limits_change_at_once_and_for_the_next_start,
    a_limit_is_taken_away,
    an_update_that_cannot_be_changes_nothing,
    a_container_that_does_not_run_is_updated_for_its_start,
    stats_tell_what_is_used_once_and_again,
    stats_of_all_add_what_starts_and_drop_what_ends,
    top_lists_the_processes,
    what_does_not_run_cannot_be_paused_watched_or_listed,
];

/// A container that writes a line every few milliseconds.
const TALKER: &str = "i=0; while :; do echo $i; i=$((i+1)); sleep 0.01; done";

fn memory_max(daemon: &Daemon, id: &str) -> Result<String> {
    cgroup::read(daemon.container_pid(id)?, ("memory", "memory.limit_in_bytes"), "memory.max")
}

fn pids_max(daemon: &Daemon, id: &str) -> Result<String> {
    cgroup::read(daemon.container_pid(id)?, ("pids", "pids.max"), "pids.max")
}

/// The line that it wrote last.
fn last_line(daemon: &Daemon, id: &str) -> Result<String> {
    daemon.ok(&["logs", "--tail", "1", id])
}

fn a_paused_container_stands_still_and_goes_on(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let id = daemon.ok(&["run", "-d", "--name", "talker", &image, "sh", "-c", TALKER])?;
    until_true("it to write", seconds(10), || Ok(!last_line(&daemon, &id)?.is_empty()))?;
    ensure!(daemon.ok(&["pause", "talker"])? == "talker");
    ensure!(
        daemon.inspect(&id, "{{.State.Status}} {{.State.Paused}} {{.State.Running}}")? == "paused true true"
    );
    ensure!(daemon.ok(&["ps"])?.contains("(Paused)"));
    ensure!(daemon.ok(&["ps", "-q", "--filter", "status=paused"])? == id[..12]);
    // What was in the pipe when it stopped comes to an end.
    let still = until("its output to end", seconds(10), || {
        let before = last_line(&daemon, &id)?;
        Ok((last_line(&daemon, &id)? == before).then_some(before))
    })?;
    daemon.ok(&["pause", "talker"])?;
    ensure!(last_line(&daemon, &id)? == still, "a paused container wrote");
    ensure!(daemon.ok(&["unpause", "talker"])? == "talker");
    until_true("it to go on", seconds(10), || Ok(last_line(&daemon, &id)? != still))?;
    ensure!(daemon.inspect(&id, "{{.State.Status}} {{.State.Paused}}")? == "running false");
    daemon.ok(&["unpause", "talker"])?;
    let events = daemon.ok(&["events", "--since", "10m", "--until", "0s"])?;
    for verb in ["pause", "resume"] {
        let count = events.lines().filter(|line| line.contains(&format!("container {verb} {id}"))).count();
        ensure!(count == 1, "{count} times {verb} in:\n{events}");
    }
    world.done(daemon);
    Ok(())
}

fn a_paused_container_is_stopped_killed_and_removed(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let script = "trap 'exit 7' TERM; while :; do sleep 0.1; done";
    for (name, verb, code) in [("one", &["stop", "one"][..], "7"), ("two", &["kill", "two"][..], "137")] {
        let id = daemon.ok(&["run", "-d", "--name", name, &image, "sh", "-c", script])?;
        // The trap is set once the shell sleeps.
        until_true("its child", seconds(10), || Ok(daemon.ok(&["top", name])?.contains("sleep 0.1")))?;
        daemon.ok(&["pause", name])?;
        daemon.ok(verb)?;
        daemon.await_state(&id, "exited")?;
        ensure!(daemon.inspect(&id, "{{.State.ExitCode}}")? == code, "{name}");
        daemon.ok(&["start", name])?;
        daemon.ok(&["pause", name])?;
        daemon.ok(&["rm", "-f", name])?;
    }
    world.done(daemon);
    Ok(())
}

fn nothing_is_run_in_a_paused_container(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    daemon.ok(&["run", "-d", "--name", "still", &image, "sleep", "1000"])?;
    daemon.ok(&["pause", "still"])?;
    let said = daemon.gantry(&["exec", "still", "true"])?;
    ensure!(said.stderr.contains("paused") && said.stderr.contains("gantry unpause still"), "{said}");
    daemon.gantry(&["start", "still"])?.exits(1)?.complains("gantry unpause still")?;
    daemon.gantry(&["rm", "still"])?.exits(1)?.complains("paused")?;
    daemon.ok(&["unpause", "still"])?;
    daemon.gantry(&["exec", "still", "true"])?.exits(0)?;
    world.done(daemon);
    Ok(())
}

fn a_pause_is_still_one_after_the_daemon_was_killed(world: &World) -> Result<()> {
    let (mut daemon, image) = world.daemon_with_busybox()?;
    let id = daemon.ok(&["run", "-d", &image, "sh", "-c", TALKER])?;
    daemon.ok(&["pause", &id])?;
    let pid = daemon.container_pid(&id)?;
    daemon.kill()?;
    daemon.restart()?;
    ensure!(daemon.inspect(&id, "{{.State.Status}}")? == "paused");
    ensure!(daemon.container_pid(&id)? == pid);
    let still = last_line(&daemon, &id)?;
    daemon.ok(&["unpause", &id])?;
    until_true("it to go on", seconds(10), || Ok(last_line(&daemon, &id)? != still))?;
    world.done(daemon);
    Ok(())
}

fn limits_change_at_once_and_for_the_next_start(world: &World) -> Result<()> {
    let (mut daemon, image) = world.daemon_with_busybox()?;
    let id = daemon.ok(&["run", "-d", "-m", "64m", "--pids-limit", "10", &image, "sleep", "1000"])?;
    daemon.ok(&["update", "-m", "32m", "--cpus", "0.5", &id])?;
    let check = |daemon: &Daemon| -> Result<()> {
        ensure!(memory_max(daemon, &id)? == "33554432");
        ensure!(pids_max(daemon, &id)? == "10", "what was not named stays");
        let pid = daemon.container_pid(&id)?;
        let quota = cgroup::read(pid, ("cpu", "cpu.cfs_quota_us"), "cpu.max")?;
        ensure!(quota == "50000" || quota == "50000 100000", "{quota}");
        Ok(())
    };
    check(&daemon)?;
    daemon.ok(&["update", "-m", "128m", &id])?;
    ensure!(memory_max(&daemon, &id)? == "134217728");
    daemon.ok(&["update", "-m", "32m", &id])?;
    daemon.kill()?;
    daemon.restart()?;
    check(&daemon)?;
    daemon.ok(&["restart", "-t", "0", &id])?;
    check(&daemon)?;
    // A paused one too.
    daemon.ok(&["pause", &id])?;
    daemon.ok(&["update", "--pids-limit", "20", &id])?;
    ensure!(pids_max(&daemon, &id)? == "20");
    daemon.ok(&["unpause", &id])?;
    world.done(daemon);
    Ok(())
}

fn a_limit_is_taken_away(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let id = daemon.ok(&["run", "-d", "-m", "64m", "--pids-limit", "10", &image, "sleep", "1000"])?;
    daemon.ok(&["update", "-m", "-1", "--pids-limit", "-1", &id])?;
    let memory = memory_max(&daemon, &id)?;
    ensure!(memory == "max" || memory.parse::<u64>()? > 1 << 60, "{memory}");
    ensure!(pids_max(&daemon, &id)? == "max");
    ensure!(daemon.inspect(&id, "{{json .HostConfig.Memory}}")? == "null");
    world.done(daemon);
    Ok(())
}

fn an_update_that_cannot_be_changes_nothing(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    // With something to do after the sleep the shell stays, and its memory with it.
    let script = "x=$(yes | head -c 30000000); echo full; sleep 1000; :";
    let id = daemon.ok(&["run", "-d", "-m", "128m", "--pids-limit", "50", &image, "sh", "-c", script])?;
    until_true("its memory to be full", seconds(20), || Ok(daemon.ok(&["logs", &id])? == "full"))?;
    let flags = ["update", "--pids-limit", "20", "-m", "8m", "--memory-swap", "8m", &id];
    daemon.gantry(&flags)?.exits(1)?.complains("memory.")?;
    ensure!(memory_max(&daemon, &id)? == "134217728");
    ensure!(pids_max(&daemon, &id)? == "50");
    ensure!(daemon.inspect(&id, "{{.State.Status}} {{.HostConfig.PidsLimit}}")? == "running 50");
    daemon.gantry(&["update", "--cpuset-cpus", "4000", &id])?.exits(1)?.complains("cpuset")?;
    daemon.gantry(&["update", "--memory-swap", "1m", &id])?.exits(1)?.complains("memory_swap_bytes")?;
    daemon.gantry(&["update", &id])?.exits(1)?.complains("nothing to update")?;
    world.done(daemon);
    Ok(())
}

fn a_container_that_does_not_run_is_updated_for_its_start(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let id = daemon.ok(&["create", "--cpuset-cpus", "0", &image, "sleep", "1000"])?;
    daemon.ok(&["update", "-m", "32m", &id])?;
    ensure!(daemon.inspect(&id, "{{.State.Status}}")? == "created");
    daemon.ok(&["start", &id])?;
    ensure!(memory_max(&daemon, &id)? == "33554432");
    world.done(daemon);
    Ok(())
}

fn stats_tell_what_is_used_once_and_again(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let busy = ["run", "-d", "--name", "busy", "-m", "64m", &image, "sh", "-c", "while :; do :; done"];
    daemon.ok(&busy)?;
    daemon.ok(&["run", "-d", "--name", "idle", &image, "sleep", "1000"])?;
    let field = |name: &str, field: &str| -> Result<String> {
        daemon.ok(&["stats", "--no-stream", "--format", &format!("{{{{.{field}}}}}"), name])
    };
    let share: f64 = field("busy", "CPUPerc")?.trim_end_matches('%').parse()?;
    ensure!((5.0..=110.0).contains(&share), "a loop takes {share} per cent of a processor");
    ensure!(field("busy", "MemUsage")?.ends_with("/ 64.0MiB"));
    ensure!(field("idle", "PIDs")? == "1");
    let table = daemon.ok(&["stats", "--no-stream"])?;
    ensure!(
        table.starts_with("CONTAINER ID   NAME") && table.contains("busy") && table.contains("idle"),
        "{table}"
    );
    // Again and again, until it ends.
    let mut running = daemon.begin(&["stats", "--format", "{{.Name}} {{.CPUPerc}}", "busy"])?;
    running.line_with("busy 0.00%")?;
    running.line_with("busy ")?;
    running.line_with("busy ")?;
    daemon.ok(&["kill", "busy"])?;
    running.finish()?.exits(0)?;
    let all = daemon.ok(&["stats", "--no-stream", "-a"])?;
    let busy = all.lines().find(|line| line.contains("busy")).context("it is not listed")?;
    ensure!(busy.contains("--"), "{busy}");
    world.done(daemon);
    Ok(())
}

fn stats_of_all_add_what_starts_and_drop_what_ends(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let mut watching = daemon.begin(&["stats", "--format", "{{.Name}} {{.PIDs}}"])?;
    // It shows nothing yet, and does not end for it.
    for name in ["first", "second"] {
        daemon.ok(&["run", "-d", "--name", name, &image, "sleep", "1000"])?;
        watching.line_with(&format!("{name} 1"))?;
    }
    daemon.ok(&["kill", "first"])?;
    let mut before = String::new();
    until_true("the second alone", seconds(20), || {
        let line = watching.next_line()?;
        let is_alone = before == "second 1" && line == "second 1";
        before = line;
        Ok(is_alone)
    })?;
    daemon.ok(&["start", "first"])?;
    watching.line_with("first 1")?;
    world.done(daemon);
    Ok(())
}

fn top_lists_the_processes(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let id = daemon.ok(&["run", "-d", "--user", "1000", &image, "sh", "-c", "sleep 1000 & wait"])?;
    let pid = daemon.container_pid(&id)?;
    let table = until("its child", seconds(10), || {
        let table = daemon.ok(&["top", &id])?;
        Ok(table.contains("\n1000").then_some(table).filter(|table| table.lines().count() == 3))
    })?;
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    ensure!(lines[0] == ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"], "{table}");
    ensure!(lines[1][..2] == ["1000", &pid.to_string()], "{table}");
    ensure!(lines[2][2] == pid.to_string() && lines[2][7..] == ["sleep", "1000"], "{table}");
    world.done(daemon);
    Ok(())
}

fn what_does_not_run_cannot_be_paused_watched_or_listed(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    daemon.ok(&["create", "--name", "asleep", &image, "true"])?;
    for verb in ["pause", "unpause", "top"] {
        daemon.gantry(&[verb, "asleep"])?.exits(1)?.complains("asleep is created, not running")?;
        daemon.gantry(&[verb, "ghost"])?.exits(1)?.complains("ghost")?;
    }
    ensure!(daemon.ok(&["stats", "--no-stream", "asleep"])?.contains("--"));
    world.done(daemon);
    Ok(())
}
