//! Does the daemon start, stop and refuse as an operator expects?

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::{Result, ensure};
use gantry_tests::cli::run;
use gantry_tests::daemon::Daemon;
use gantry_tests::trial::World;

tests![
    an_unknown_config_key_is_refused_with_its_name,
    a_value_of_the_wrong_type_is_refused_with_its_key,
    the_printed_default_config_passes_the_check,
    a_driver_that_the_machine_has_not_got_is_refused_at_once,
    a_socket_in_use_is_refused_and_left_alone,
    a_second_daemon_on_the_same_folder_is_refused,
    daemons_with_folders_of_their_own_do_not_see_each_other,
    the_socket_is_for_root_and_its_group_only,
    the_daemons_folders_cannot_be_entered_by_others,
    no_abstract_socket_is_opened,
    info_tells_of_machine_configuration_and_containers,
];

fn an_unknown_config_key_is_refused_with_its_name(_: &World) -> Result<()> {
    let daemon = Daemon::prepare()?;
    daemon
        .write_config("[containers]\nstop_timeout = 3\n".replace("[containers]\n", "containers.").as_str())?;
    let outcome = run(&mut daemon.command())?;
    ensure!(outcome.code != 0, "{outcome}");
    outcome.complains("stop_timeout")?.complains("config.toml")?;
    ensure!(!daemon.path("root").exists(), "nothing is made before the config is accepted");
    Ok(())
}

fn a_value_of_the_wrong_type_is_refused_with_its_key(_: &World) -> Result<()> {
    let daemon = Daemon::prepare()?;
    daemon.write_config("containers.stop_timeout_ms = \"soon\"\n")?;
    let outcome = run(&mut daemon.command())?;
    ensure!(outcome.code != 0, "{outcome}");
    outcome.complains("stop_timeout_ms")?;
    Ok(())
}

fn the_printed_default_config_passes_the_check(_: &World) -> Result<()> {
    let daemon = Daemon::prepare()?;
    let gantryd = gantry_tests::programs::program("gantryd");
    let default = run(std::process::Command::new(&gantryd).args(["config", "default"]))?.ok()?;
    ensure!(default.contains("[containers]"), "{default}");
    let file = daemon.path("default.toml");
    fs::write(&file, default)?;
    run(std::process::Command::new(&gantryd).args(["--config"]).arg(&file).args(["config", "check"]))?
        .ok()?;
    Ok(())
}

/// Where systemd runs, tests/vm/engine takes it away and looks at the same.
fn a_driver_that_the_machine_has_not_got_is_refused_at_once(_: &World) -> Result<()> {
    if Path::new("/run/systemd/system").exists() {
        return Ok(());
    }
    let daemon = Daemon::prepare()?;
    daemon.write_config("containers.cgroup_manager = \"systemd\"\n")?;
    for words in [&["config", "check"][..], &[]] {
        let outcome = run(daemon.command().args(words))?;
        ensure!(outcome.code != 0, "{outcome}");
        outcome
            .complains("containers.cgroup_manager")?
            .complains("systemd does not run this machine")?
            .complains("SYSTEMD_ABSENT")?
            .complains("hint:")?;
    }
    ensure!(!daemon.path("root").exists(), "nothing is made before the driver is accepted");
    Ok(())
}

fn a_socket_in_use_is_refused_and_left_alone(world: &World) -> Result<()> {
    let first = Daemon::start()?;
    let second = Daemon::prepare()?;
    let address = first.socket().display().to_string();
    let mut command = second.command();
    command.args(["--address", &address]);
    // Said twice, the last one counts or the flag is refused; either way the first daemon keeps its socket.
    let outcome = run(&mut command)?;
    ensure!(outcome.code != 0, "{outcome}");
    first.ok(&["version"])?;
    let mut again = std::process::Command::new(gantry_tests::programs::program("gantryd"));
    let config = second.path("config.toml").display().to_string();
    let (root, state) = (second.path("root").display().to_string(), second.path("run").display().to_string());
    again.args(["--config", &config, "--root", &root, "--state", &state, "--address", &address]);
    let outcome = run(&mut again)?;
    ensure!(outcome.code != 0, "{outcome}");
    outcome.complains(&address)?.complains("another daemon")?;
    first.ok(&["version"])?;
    world.done(first);
    Ok(())
}

fn a_second_daemon_on_the_same_folder_is_refused(world: &World) -> Result<()> {
    let first = Daemon::start()?;
    let mut command = std::process::Command::new(gantry_tests::programs::program("gantryd"));
    let path = |name: &str| first.path(name).display().to_string();
    command.args(["--config", &path("config.toml"), "--root", &path("root"), "--state", &path("run2")]);
    let outcome = run(command.args(["--address", &path("sock2")]))?;
    ensure!(outcome.code != 0, "{outcome}");
    outcome.complains("root")?;
    first.ok(&["version"])?;
    world.done(first);
    Ok(())
}

fn daemons_with_folders_of_their_own_do_not_see_each_other(world: &World) -> Result<()> {
    let (first, image) = world.daemon_with_busybox()?;
    let (second, _) = world.daemon_with_busybox()?;
    first.ok(&["run", "-d", "--name", "same", &image, "sleep", "1000"])?;
    second.ok(&["run", "-d", "--name", "same", &image, "sleep", "1000"])?;
    second.ok(&["rm", "-f", "same"])?;
    ensure!(first.ok(&["ps", "--format", "{{.Names}}"])? == "same");
    ensure!(second.ok(&["ps", "-aq"])?.is_empty());
    world.done(first);
    world.done(second);
    Ok(())
}

fn the_socket_is_for_root_and_its_group_only(world: &World) -> Result<()> {
    let daemon = Daemon::start()?;
    let meta = fs::metadata(daemon.socket())?;
    let group = std::process::Command::new("getent").args(["group", "gantry"]).output()?;
    // Without the group, which is optional, the socket is root's alone.
    let expected = if group.status.success() { 0o660 } else { 0o600 };
    let mode = meta.permissions().mode() & 0o777;
    ensure!(meta.uid() == 0 && mode == expected, "{mode:o}, not {expected:o}");
    world.done(daemon);
    Ok(())
}

fn the_daemons_folders_cannot_be_entered_by_others(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    daemon.ok(&["run", "-d", &image, "sleep", "1000"])?;
    // The test's own folder is 0700 as every temporary one; the daemon's must stand without it.
    fs::set_permissions(daemon.path(""), fs::Permissions::from_mode(0o755))?;
    for (folder, allowed) in [("root", &["root"][..]), ("run", &[][..])] {
        let top = daemon.path(folder);
        let mut find = std::process::Command::new("setpriv");
        find.args(["--reuid=65534", "--regid=65534", "--clear-groups", "find"]).arg(&top);
        let seen = run(&mut find)?.stdout;
        let below = seen.lines().filter(|line| *line != top.to_string_lossy()).count();
        let shims =
            seen.lines().filter(|line| line.contains("shim.sock") || line.contains("blobs/sha256/")).count();
        ensure!(shims == 0 && (below == 0 || !allowed.contains(&folder)), "nobody can see:\n{seen}");
    }
    world.done(daemon);
    Ok(())
}

fn no_abstract_socket_is_opened(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    daemon.ok(&["run", "-d", "--network", "host", &image, "sleep", "1000"])?;
    let table = fs::read_to_string("/proc/net/unix")?;
    let folder = daemon.path("").display().to_string();
    let suspects: Vec<&str> = table
        .lines()
        .filter_map(|line| line.split_whitespace().nth(7))
        .filter(|path| path.starts_with('@') && (path.contains("gantry") || path.contains(&folder)))
        .collect();
    ensure!(suspects.is_empty(), "{suspects:?}");
    world.done(daemon);
    Ok(())
}

fn info_tells_of_machine_configuration_and_containers(world: &World) -> Result<()> {
    let (mut daemon, image) = world.daemon_with_busybox()?;
    let info = |daemon: &Daemon, fields: &str| daemon.ok(&["info", "--format", fields]);
    ensure!(info(&daemon, "{{.CgroupDriver}} {{.DefaultRuntime}} {{.Images}}")? == "cgroupfs gantry 1");
    daemon.ok(&["run", "-d", "--name", "runs", &image, "sleep", "1000"])?;
    daemon.ok(&["run", "-d", "--name", "waits", &image, "sleep", "1000"])?;
    daemon.ok(&["pause", "waits"])?;
    daemon.ok(&["create", &image, "true"])?;
    daemon.ok(&["run", &image, "true"])?;
    let counts = "{{.Containers}} {{.ContainersRunning}} {{.ContainersPaused}} {{.ContainersCreated}} {{.ContainersExited}}";
    ensure!(info(&daemon, counts)? == "4 1 1 1 1", "{}", info(&daemon, counts)?);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    ensure!(info(&daemon, "{{.KernelVersion}}")? == kernel.trim());
    let text = daemon.ok(&["info"])?;
    for line in
        ["4 (1 running, 1 paused, 1 created, 1 exited)", "driver cgroupfs", "Default runtime:   gantry"]
    {
        ensure!(text.contains(line), "no {line} in {text}");
    }
    daemon.ok(&["unpause", "waits"])?;
    daemon.write_config("containers.default_runtime = \"crun\"\n")?;
    daemon.stop()?;
    daemon.restart()?;
    ensure!(info(&daemon, "{{.DefaultRuntime}}")? == "crun");
    world.done(daemon);
    Ok(())
}
