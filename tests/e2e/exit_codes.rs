//! Does the shell learn what happened? Docker's exit codes: 125 for Gantry's own failures, 126 for what cannot be
//! executed, 127 for what is not there, 128 + n for signals, and otherwise the container's own.

use anyhow::{Result, ensure};
use gantry_tests::fixture::busybox;
use gantry_tests::image::Layer;
use gantry_tests::trial::World;

tests![
    a_programs_own_exit_code_is_passed_on,
    a_death_by_signal_is_128_and_its_number,
    a_missing_program_is_127,
    a_program_that_cannot_be_executed_is_126,
    a_bad_flag_is_125,
    an_option_the_daemon_refuses_is_125_and_leaves_nothing,
    a_failed_start_keeps_the_container_and_says_why,
    no_daemon_is_a_clear_error,
];

fn a_programs_own_exit_code_is_passed_on(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    for code in [0, 1, 77, 255] {
        daemon.gantry(&["run", "--rm", &image, "sh", "-c", &format!("exit {code}")])?.exits(code)?;
    }
    world.done(daemon);
    Ok(())
}

fn a_death_by_signal_is_128_and_its_number(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    for (signal, code) in [("KILL", 137), ("TERM", 143), ("SEGV", 139)] {
        let script = format!("kill -{signal} $$");
        daemon.gantry(&["run", "--rm", "--init", &image, "sh", "-c", &script])?.exits(code)?;
    }
    world.done(daemon);
    Ok(())
}

fn a_missing_program_is_127(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    daemon.gantry(&["run", "--rm", &image, "no-such-program"])?.exits(127)?.complains("no-such-program")?;
    daemon.gantry(&["run", "--rm", &image, "/no/such/program"])?.exits(127)?.complains("/no/such/program")?;
    let id = daemon.ok(&["run", "-d", &image, "sleep", "1000"])?;
    daemon.gantry(&["exec", &id, "no-such-program"])?.exits(127)?.complains("no-such-program")?;
    world.done(daemon);
    Ok(())
}

fn a_program_that_cannot_be_executed_is_126(world: &World) -> Result<()> {
    let (daemon, _) = world.daemon_with_busybox()?;
    let layer =
        Layer::new().file("plain", 0o644, b"not a program").file("garbage", 0o755, b"\x7fELF garbage");
    let image =
        busybox(None)?.layer(&layer)?.push(&world.shared.registry, "not-executable", "latest")?.reference;
    daemon.ok(&["pull", "-q", &image])?;
    for program in ["/plain", "/garbage", "/etc"] {
        daemon.gantry(&["run", "--rm", &image, program])?.exits(126)?.complains(program)?;
    }
    let id = daemon.ok(&["run", "-d", &image, "sleep", "1000"])?;
    daemon.gantry(&["exec", &id, "/plain"])?.exits(126)?.complains("/plain")?;
    world.done(daemon);
    Ok(())
}

fn a_bad_flag_is_125(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    daemon.gantry(&["run", "--no-such-flag", &image])?.exits(125)?.complains("--no-such-flag")?;
    daemon.gantry(&["run", "--memory", "lots", &image])?.exits(125)?.complains("lots")?;
    daemon.gantry(&["run", "--rm"])?.exits(125)?;
    world.done(daemon);
    Ok(())
}

fn an_option_the_daemon_refuses_is_125_and_leaves_nothing(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    for args in [
        &["--user", "nobody-of-that-name"][..],
        &["--user", "4294967296"],
        &["--user", "-1"],
        &["--cap-add", "NO_SUCH_CAPABILITY"],
        &["--device", "/dev/no-such-device"],
        &["--sysctl", "kernel.core_pattern=/tmp/x"],
        &["-v", "/no/such/folder-of-the-host:/x:ro,nonsense"],
        &["--ulimit", "nonsense=1"],
        &["-w", "relative"],
        &["--security-opt", "seccomp=/no/such/profile.json"],
    ] {
        let said = daemon.gantry(&[&["run", "--rm"], args, &[&image, "true"]].concat())?;
        ensure!(said.code == 125 && !said.stderr.is_empty(), "{said}");
        ensure!(daemon.ok(&["ps", "-aq"])?.is_empty(), "a container is left after: {said}");
    }
    world.done(daemon);
    Ok(())
}

fn a_failed_start_keeps_the_container_and_says_why(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let id = daemon.ok(&["create", &image, "no-such-program"])?;
    let said = daemon.gantry(&["start", &id])?;
    ensure!(said.code != 0, "{said}");
    said.complains("no-such-program")?;
    ensure!(daemon.inspect(&id, "{{.State.Status}}")? == "exited");
    ensure!(daemon.inspect(&id, "{{.State.ExitCode}}")? == "127");
    ensure!(daemon.inspect(&id, "{{.State.Error}}")?.contains("no-such-program"));
    world.done(daemon);
    Ok(())
}

fn no_daemon_is_a_clear_error(world: &World) -> Result<()> {
    let (mut daemon, image) = world.daemon_with_busybox()?;
    daemon.stop()?;
    let socket = daemon.socket().display().to_string();
    daemon.gantry(&["ps"])?.exits(1)?.complains(&socket)?;
    daemon.gantry(&["run", "--rm", &image])?.exits(125)?.complains(&socket)?;
    daemon.restart()?;
    world.done(daemon);
    Ok(())
}
