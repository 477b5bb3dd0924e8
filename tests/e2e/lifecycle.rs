//! Does a container live and die as it is told? create, start, stop, kill, wait, restart, rename, rm, and what each says
//! about a container that is in no state for it.

use std::time::Instant;

use anyhow::{Result, ensure};
use gantry_tests::trial::World;
use gantry_tests::wait::{seconds, until_true};

tests![
    a_container_runs_and_its_output_is_seen,
    a_created_container_waits_for_its_start,
    a_detached_container_prints_its_id_and_is_listed,
    a_stop_sends_the_signal_the_image_or_the_user_names,
    a_stop_kills_what_does_not_listen_in_time,
    a_kill_sends_any_signal_by_name_or_number,
    waiting_answers_the_exit_code,
    a_restart_runs_it_anew_with_its_files,
    a_running_container_is_removed_only_by_force,
    a_name_is_unique_and_can_be_changed,
    a_name_is_generated_when_none_is_given,
    a_container_is_found_by_name_id_and_a_beginning_of_its_id,
    a_container_started_with_rm_leaves_nothing,
    an_exited_container_is_started_again,
    inspect_tells_what_was_asked_and_what_is,
    the_list_filters_and_formats,
    an_unknown_container_is_an_error_everywhere,
    init_reaps_orphans_and_passes_signals_on,
    files_written_in_one_container_are_not_seen_in_another,
    twenty_containers_start_side_by_side,
];

fn a_container_runs_and_its_output_is_seen(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let said = daemon.gantry(&["run", "--rm", &image, "sh", "-c", "echo out; echo err >&2; exit 3"])?;
    let said = said.exits(3)?.prints("out")?;
    ensure!(said.stderr == "err\n", "{said}");
    let counted = daemon.gantry_with_input(&["run", "--rm", "-i", &image, "wc", "-c"], "twelve bytes")?;
    counted.exits(0)?.prints("12")?;
    world.done(daemon);
    Ok(())
}

fn a_created_container_waits_for_its_start(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let id = daemon.ok(&["create", "--name", "later", &image, "echo", "now"])?;
    ensure!(id.len() == 64, "{id}");
    ensure!(daemon.inspect("later", "{{.State.Status}}")? == "created");
    daemon.gantry(&["start", "-a", "later"])?.exits(0)?.prints("now")?;
    ensure!(daemon.inspect("later", "{{.State.Status}}")? == "exited");
    world.done(daemon);
    Ok(())
}

fn a_detached_container_prints_its_id_and_is_listed(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let id = daemon.ok(&["run", "-d", "--name", "web", &image, "sleep", "1000"])?;
    ensure!(daemon.ok(&["ps", "-q", "--no-trunc"])? == id);
    ensure!(daemon.ok(&["ps", "-q"])? == id[..12]);
    let listed = daemon.ok(&["ps"])?;
    ensure!(listed.contains("web") && listed.contains("sleep 1000") && listed.contains("Up"), "{listed}");
    world.done(daemon);
    Ok(())
}

fn a_stop_sends_the_signal_the_image_or_the_user_names(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let script = "trap 'echo usr1; exit 7' USR1; trap 'echo term; exit 8' TERM; echo ready; while :; do sleep 0.1; done";
    for (flags, code) in [(&["--stop-signal", "USR1"][..], "7"), (&[][..], "8")] {
        let id = daemon.ok(&[&["run", "-d"], flags, &[&image, "sh", "-c", script]].concat())?;
        until_true("the trap to be set", seconds(10), || Ok(daemon.ok(&["logs", &id])?.contains("ready")))?;
        daemon.ok(&["stop", &id])?;
        ensure!(daemon.inspect(&id, "{{.State.ExitCode}}")? == code);
    }
    world.done(daemon);
    Ok(())
}

fn a_stop_kills_what_does_not_listen_in_time(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let script = "trap '' TERM; echo ready; while :; do sleep 0.1; done";
    let id = daemon.ok(&["run", "-d", &image, "sh", "-c", script])?;
    until_true("the trap to be set", seconds(10), || Ok(daemon.ok(&["logs", &id])?.contains("ready")))?;
    let start = Instant::now();
    daemon.ok(&["stop", "-t", "1", &id])?;
    ensure!(start.elapsed().as_millis() >= 1000, "killed after {:?}", start.elapsed());
    ensure!(daemon.inspect(&id, "{{.State.ExitCode}}")? == "137");
    world.done(daemon);
    Ok(())
}

fn a_kill_sends_any_signal_by_name_or_number(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    for (signal, code) in [("KILL", "137"), ("SIGHUP", "129"), ("10", "138")] {
        // A shell's child, since pid 1 without a handler takes no signal but KILL from inside; from outside it does not
        // either: so the first process is an init.
        let id = daemon.ok(&["run", "-d", "--init", &image, "sleep", "1000"])?;
        daemon.ok(&["kill", "-s", signal, &id])?;
        daemon.await_state(&id, "exited")?;
        let exit = daemon.inspect(&id, "{{.State.ExitCode}}")?;
        ensure!(exit == code, "{signal} gave {exit}");
        let again = daemon.gantry(&["kill", &id])?;
        ensure!(again.code == 1, "{again}");
        again.complains("not running")?;
    }
    let id = daemon.ok(&["run", "-d", &image, "sleep", "1000"])?;
    let unknown = daemon.gantry(&["kill", "-s", "NONSENSE", &id])?;
    ensure!(unknown.code != 0, "{unknown}");
    unknown.complains("NONSENSE")?;
    world.done(daemon);
    Ok(())
}

fn waiting_answers_the_exit_code(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    daemon.ok(&["run", "-d", "-i", "--name", "slow", &image, "sh", "-c", "read line; exit 42"])?;
    let waiting = daemon.begin(&["wait", "slow"])?;
    let mut attached = daemon.begin(&["attach", "slow"])?;
    attached.say("go\n")?;
    waiting.finish()?.exits(0)?.prints("42")?;
    daemon.gantry(&["wait", "slow"])?.exits(0)?.prints("42")?;
    world.done(daemon);
    Ok(())
}

fn a_restart_runs_it_anew_with_its_files(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let script = "echo run >>/count; exec sleep 1000";
    let id = daemon.ok(&["run", "-d", "--init", &image, "sh", "-c", script])?;
    let first = daemon.container_pid(&id)?;
    daemon.ok(&["restart", "-t", "2", &id])?;
    ensure!(daemon.container_pid(&id)? != first);
    until_true("the second line", seconds(10), || {
        Ok(daemon.ok(&["exec", &id, "cat", "/count"])? == "run\nrun")
    })?;
    world.done(daemon);
    Ok(())
}

fn a_running_container_is_removed_only_by_force(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let id = daemon.ok(&["run", "-d", &image, "sleep", "1000"])?;
    let said = daemon.gantry(&["rm", &id])?;
    ensure!(said.code == 1, "{said}");
    said.complains("running")?;
    daemon.ok(&["rm", "-f", &id])?;
    ensure!(daemon.ok(&["ps", "-aq"])?.is_empty());
    world.done(daemon);
    Ok(())
}

fn a_name_is_unique_and_can_be_changed(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    daemon.ok(&["create", "--name", "one", &image])?;
    daemon.gantry(&["create", "--name", "one", &image])?.exits(1)?.complains("one")?;
    daemon.gantry(&["run", "--name", "one", &image])?.exits(125)?.complains("one")?;
    daemon.ok(&["rename", "one", "two"])?;
    daemon.ok(&["create", "--name", "one", &image])?;
    daemon.gantry(&["rename", "one", "two"])?.exits(1)?.complains("two")?;
    daemon.gantry(&["create", "--name", "not a name", &image])?.complains("name")?;
    world.done(daemon);
    Ok(())
}

fn a_name_is_generated_when_none_is_given(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let id = daemon.ok(&["create", &image])?;
    let name = daemon.ok(&["ps", "-a", "--format", "{{.Names}}"])?;
    ensure!(name.len() > 3, "{name:?}");
    ensure!(daemon.inspect(&name, "{{.Id}}")? == id);
    world.done(daemon);
    Ok(())
}

fn a_container_is_found_by_name_id_and_a_beginning_of_its_id(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let id = daemon.ok(&["create", "--name", "sought", &image])?;
    for name in ["sought", &id, &id[..12], &id[..4]] {
        ensure!(daemon.inspect(name, "{{.Id}}")? == id, "not found by {name}");
    }
    world.done(daemon);
    Ok(())
}

fn a_container_started_with_rm_leaves_nothing(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    daemon.gantry(&["run", "--rm", &image, "false"])?.exits(1)?;
    ensure!(daemon.ok(&["ps", "-aq"])?.is_empty());
    let id = daemon.ok(&["run", "-d", "--rm", &image, "sleep", "1000"])?;
    daemon.ok(&["kill", &id])?;
    until_true("the container to be gone", seconds(10), || Ok(daemon.ok(&["ps", "-aq"])?.is_empty()))?;
    until_true("its snapshot to be gone", seconds(10), || {
        Ok(std::fs::read_dir(daemon.path("root/snapshots"))?.count() <= 1)
    })?;
    world.done(daemon);
    Ok(())
}

fn an_exited_container_is_started_again(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let id = daemon.ok(&["create", &image, "sh", "-c", "echo again; exit 5"])?;
    for _ in 0..3 {
        daemon.gantry(&["start", "-a", &id])?.exits(5)?.prints("again")?;
    }
    world.done(daemon);
    Ok(())
}

fn inspect_tells_what_was_asked_and_what_is(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let id = daemon
        .ok(&["run", "-d", "--name", "shown", "--label", "a=b", "-e", "X=1", &image, "sleep", "1000"])?;
    let shown: serde_json::Value = serde_json::from_str(&daemon.ok(&["inspect", "shown"])?)?;
    let shown = &shown[0];
    ensure!(shown["Id"] == id.as_str(), "{shown}");
    ensure!(shown["State"]["Running"] == true && shown["State"]["Status"] == "running", "{shown}");
    ensure!(shown["Config"]["Labels"]["a"] == "b", "{shown}");
    world.done(daemon);
    Ok(())
}

fn the_list_filters_and_formats(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    daemon.ok(&["create", "--name", "resting", "--label", "tier=back", &image])?;
    daemon.ok(&["run", "-d", "--name", "running", "--label", "tier=front", &image, "sleep", "1000"])?;
    let names = |args: &[&str]| daemon.ok(&[&["ps", "--format", "{{.Names}}"], args].concat());
    ensure!(names(&[])? == "running");
    ensure!(names(&["-a"])? == "running\nresting", "newest first: {}", names(&["-a"])?);
    ensure!(names(&["-a", "--filter", "label=tier=back"])? == "resting");
    ensure!(names(&["-a", "--filter", "status=running"])? == "running");
    ensure!(names(&["-a", "--filter", "name=rest"])? == "resting");
    let json = daemon.ok(&["ps", "--format", "json"])?;
    let line: serde_json::Value = serde_json::from_str(&json)?;
    ensure!(line.to_string().contains("running"), "{json}");
    world.done(daemon);
    Ok(())
}

fn an_unknown_container_is_an_error_everywhere(world: &World) -> Result<()> {
    let (daemon, _) = world.daemon_with_busybox()?;
    for args in [
        &["start", "ghost"][..],
        &["stop", "ghost"],
        &["kill", "ghost"],
        &["rm", "ghost"],
        &["inspect", "ghost"],
        &["logs", "ghost"],
        &["exec", "ghost", "true"],
        &["attach", "ghost"],
        &["wait", "ghost"],
        &["rename", "ghost", "spirit"],
    ] {
        let said = daemon.gantry(args)?;
        ensure!(said.code != 0, "{said}");
        said.complains("ghost")?;
    }
    world.done(daemon);
    Ok(())
}

fn init_reaps_orphans_and_passes_signals_on(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let script = "trap 'exit 9' TERM; sh -c 'sleep 0.1 & exit 0'; echo ready; while :; do sleep 0.1; done";
    let id = daemon.ok(&["run", "-d", "--init", &image, "sh", "-c", script])?;
    until_true("no zombie to be left", seconds(10), || {
        let ready = daemon.ok(&["logs", &id])?.contains("ready");
        let table = daemon.ok(&["exec", &id, "ps", "-o", "stat,args"])?;
        Ok(ready && !table.lines().any(|line| line.starts_with('Z')))
    })?;
    daemon.ok(&["stop", &id])?;
    ensure!(daemon.inspect(&id, "{{.State.ExitCode}}")? == "9");
    world.done(daemon);
    Ok(())
}

fn files_written_in_one_container_are_not_seen_in_another(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    daemon.gantry(&["run", "--rm", &image, "sh", "-c", "rm /bin/wc; echo mine >/file"])?.exits(0)?;
    daemon.gantry(&["run", "--rm", &image, "sh", "-c", "test -e /bin/wc && test ! -e /file"])?.exits(0)?;
    world.done(daemon);
    Ok(())
}

fn twenty_containers_start_side_by_side(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let runs: Vec<_> = (0..20)
        .map(|number| daemon.begin(&["run", "--rm", &image, "sh", "-c", &format!("exit {number}")]))
        .collect::<Result<_>>()?;
    for (number, run) in (0..).zip(runs) {
        run.finish()?.exits(number)?;
    }
    world.done(daemon);
    Ok(())
}
