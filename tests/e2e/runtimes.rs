//! Can a container be made by another OCI runtime, and is it then what a container of Gantry's own is? Debian's crun and
//! runc by name, `gantry-runtime` by its path, and youki and runsc where somebody has installed them: each does what people
//! do with containers, under the same shim.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use gantry_tests::cgroup;
use gantry_tests::daemon::Daemon;
use gantry_tests::programs::{installed, program};
use gantry_tests::terminal::Terminal;
use gantry_tests::trial::{World, skip};
use gantry_tests::wait::{seconds, until_true};

use crate::network::{on_stage, serve};

tests![
    they_run_with_streams_and_exit_codes,
    they_tell_why_a_command_cannot_run,
    they_give_a_terminal_that_is_resized,
    they_run_further_processes_with_and_without_a_terminal,
    they_stop_and_are_killed,
    they_pause_are_updated_and_measured,
    their_containers_outlive_the_daemon,
    a_killed_shim_takes_their_container_along,
    they_use_volumes_users_limits_and_are_started_again,
    they_are_on_networks,
    orphans_in_the_machines_pid_namespace_are_reaped,
    an_unknown_one_is_refused_with_what_is_known,
    one_is_configured_and_the_default,
    youki_is_among_them,
    runsc_is_among_them,
];

/// What `--runtime` is told, for each that is tested. youki and runsc are no packages of Debian's, and take minutes to
/// build.
fn tested() -> Result<Vec<String>> {
    for package in ["crun", "runc"] {
        ensure!(installed(package).is_some(), "{package} is missing: install Debian's package");
    }
    let by_path =
        [Some(program("gantry-runtime")), installed("youki"), installed("runsc")].into_iter().flatten();
    let names = ["crun", "runc"].map(str::to_owned).into_iter();
    Ok(names.chain(by_path.map(|path| path.display().to_string())).collect())
}

/// Does something with a daemon for each runtime.
fn with_each(world: &World, test: impl Fn(&mut Daemon, &[&str], &str) -> Result<()>) -> Result<()> {
    let (mut daemon, image) = world.daemon_with_busybox()?;
    if is_hybrid() {
        daemon.stop()?;
        hide_version_2(&mut daemon);
        daemon.restart()?;
    }
    for runtime in tested()? {
        test(&mut daemon, &["--runtime", &runtime], &image).with_context(|| format!("with {runtime}"))?;
    }
    world.done(daemon);
    Ok(())
}

/// Whether it runs containers on a kernel of its own, of whose processes the machine sees none.
fn is_sandbox(flags: &[&str]) -> bool {
    flags[1].ends_with("/runsc")
}

/// Whether version 2 has controllers beside version 1: crun 1.8 runs nothing there.
fn is_hybrid() -> bool {
    fs::read_to_string("/sys/fs/cgroup/unified/cgroup.controllers").is_ok_and(|text| !text.trim().is_empty())
}

/// Has the daemon, its shims and the runtimes see version 1 alone.
fn hide_version_2(daemon: &mut Daemon) {
    let script = "umount /sys/fs/cgroup/unified && exec \"$@\"";
    daemon.wrap(&["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"]);
}

/// `run <flags> <more>`.
fn run<'a>(flags: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [&["run"], flags, more].concat()
}

fn they_run_with_streams_and_exit_codes(world: &World) -> Result<()> {
    with_each(world, |daemon, flags, image| {
        let script = "echo out; echo err >&2; exit 3";
        let said = daemon.gantry(&run(flags, &["--rm", image, "sh", "-c", script]))?;
        let said = said.exits(3)?.prints("out")?;
        ensure!(said.stderr == "err\n", "{said}");
        let counted =
            daemon.gantry_with_input(&run(flags, &["--rm", "-i", image, "wc", "-c"]), "twelve bytes")?;
        counted.exits(0)?.prints("12")?;
        let id = daemon
            .ok(&run(flags, &["-d", image, "sh", "-c", "umask; cat /proc/self/oom_score_adj; hostname"]))?;
        daemon.gantry(&["wait", &id])?.prints("0")?;
        ensure!(daemon.ok(&["logs", &id])? == format!("0022\n0\n{}", &id[..12]));
        ensure!(daemon.inspect(&id, "{{.HostConfig.Runtime}}")? == flags[1]);
        daemon.ok(&["rm", &id])?;
        Ok(())
    })
}

fn they_tell_why_a_command_cannot_run(world: &World) -> Result<()> {
    with_each(world, |daemon, flags, image| {
        let missing = daemon.gantry(&run(flags, &["--rm", image, "no-such-program"]))?.exits(127)?;
        missing.complains("no-such-program")?;
        daemon.gantry(&run(flags, &["--rm", image, "/etc/passwd"]))?.exits(126)?;
        let id = daemon.ok(&run(flags, &["-d", image, "sleep", "1000"]))?;
        let missing = daemon.gantry(&["exec", &id, "no-such-program"])?;
        ensure!(missing.code == 127, "{missing}");
        daemon.gantry(&["exec", &id, "echo", "still", "alive"])?.exits(0)?.prints("still alive")?;
        daemon.ok(&["rm", "-f", &id])?;
        Ok(())
    })
}

fn they_give_a_terminal_that_is_resized(world: &World) -> Result<()> {
    with_each(world, |daemon, flags, image| {
        let args = run(flags, &["--rm", "-it", image, "sh"]);
        let mut terminal = Terminal::start(&daemon.socket(), &args, 111, 37)?;
        terminal.press("stty size; test -t 0 && test -t 1 && echo a terminal $((5 + 5))\r")?;
        terminal.see("37 111")?;
        terminal.see("a terminal 10")?;
        terminal.resize(99, 33)?;
        terminal.press(
            "until [ \"$(stty size)\" = '33 99' ]; do sleep 0.1; done; echo size is $((3)) changed\r",
        )?;
        terminal.see("size is 3 changed")?;
        terminal.press("exit 12\r")?;
        ensure!(terminal.finish()? == 12);
        Ok(())
    })
}

fn they_run_further_processes_with_and_without_a_terminal(world: &World) -> Result<()> {
    with_each(world, |daemon, flags, image| {
        let id = daemon.ok(&run(flags, &["-d", "--env", "GIVEN=yes", image, "sleep", "1000"]))?;
        let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", daemon.pid()?))?;
        ensure!(
            !mounts.contains(&*daemon.path("run").to_string_lossy()),
            "they are not the shim's alone: {mounts}"
        );
        let script = "echo inside $GIVEN; echo err >&2; cat; exit 4";
        let said = daemon.gantry_with_input(&["exec", "-i", &id, "sh", "-c", script], "input\n")?.exits(4)?;
        ensure!(said.stdout == "inside yes\ninput\n" && said.stderr == "err\n", "{said}");
        daemon
            .gantry(&["exec", "-u", "alice", "-w", "/home", &id, "sh", "-c", "id -u; pwd"])?
            .prints("1000\n/home")?;
        for _ in 0..5 {
            daemon.gantry(&["exec", &id, "true"])?.exits(0)?;
        }
        let mut terminal = Terminal::start(&daemon.socket(), &["exec", "-it", &id, "sh"], 100, 30)?;
        terminal.press("stty size; test -t 0 && echo a terminal $((5 + 5))\r")?;
        terminal.see("30 100")?;
        terminal.see("a terminal 10")?;
        terminal.press("exit 5\r")?;
        ensure!(terminal.finish()? == 5);
        daemon.ok(&["rm", "-f", &id])?;
        Ok(())
    })
}

fn they_stop_and_are_killed(world: &World) -> Result<()> {
    with_each(world, |daemon, flags, image| {
        let script = "trap 'echo term; exit 8' TERM; echo ready; while :; do sleep 0.1; done";
        let id = daemon.ok(&run(flags, &["-d", image, "sh", "-c", script]))?;
        let mut follow = daemon.begin(&["logs", "-f", &id])?;
        ensure!(follow.next_line()? == "ready");
        daemon.ok(&["stop", &id])?;
        ensure!(follow.next_line()? == "term");
        follow.finish()?.exits(0)?;
        ensure!(daemon.inspect(&id, "{{.State.ExitCode}}")? == "8");
        let id = daemon.ok(&run(flags, &["-d", image, "sleep", "1000"]))?;
        daemon.ok(&["stop", "-t", "0", &id])?;
        // Linux keeps signals without a handler from init, and runsc's kernel does not.
        let ended_by = if is_sandbox(flags) { "143" } else { "137" };
        ensure!(daemon.inspect(&id, "{{.State.ExitCode}}")? == ended_by);
        let id = daemon.ok(&run(flags, &["-d", image, "sleep", "1000"]))?;
        daemon.ok(&["kill", &id])?;
        daemon.await_state(&id, "exited")?;
        let again = daemon.gantry(&["kill", &id])?;
        again.complains("not running")?;
        Ok(())
    })
}

fn they_pause_are_updated_and_measured(world: &World) -> Result<()> {
    with_each(world, |daemon, flags, image| {
        let script = "while :; do echo tick; sleep 0.05; done";
        let id = daemon
            .ok(&run(flags, &["-d", "--memory", "64m", "--pids-limit", "33", image, "sh", "-c", script]))?;
        let pid = daemon.container_pid(&id)?;
        let limit = |pid| cgroup::read(pid, ("memory", "memory.limit_in_bytes"), "memory.max");
        ensure!(limit(pid)? == "67108864" && cgroup::read(pid, ("pids", "pids.max"), "pids.max")? == "33");
        daemon.ok(&["pause", &id])?;
        ensure!(daemon.inspect(&id, "{{.State.Status}}")? == "paused");
        let before = daemon.ok(&["logs", &id])?.lines().count();
        daemon.ok(&["unpause", &id])?;
        until_true("it to go on", seconds(10), || Ok(daemon.ok(&["logs", &id])?.lines().count() > before))?;
        daemon.ok(&["update", "--memory", "96m", "--memory-swap", "96m", &id])?;
        ensure!(limit(pid)? == "100663296");
        let stats = daemon.ok(&["stats", "--no-stream", &id])?;
        ensure!(stats.contains("/ 96.0MiB"), "{stats}");
        ensure!(daemon.ok(&["top", &id])?.contains(if is_sandbox(flags) {
            "runsc-sandbox"
        } else {
            "sleep"
        }));
        daemon.ok(&["rm", "-f", &id])?;
        let script = "x=xxxxxxxxxxxxxxxx; while :; do x=$x$x; done";
        // A kernel needs memory of its own.
        let memory = if is_sandbox(flags) { "64m" } else { "16m" };
        let id = daemon.ok(&run(
            flags,
            &["-d", "--memory", memory, "--memory-swap", memory, image, "sh", "-c", script],
        ))?;
        daemon.gantry(&["wait", &id])?.prints("137")?;
        ensure!(daemon.inspect(&id, "{{.State.OOMKilled}}")? == "true");
        Ok(())
    })
}

fn their_containers_outlive_the_daemon(world: &World) -> Result<()> {
    with_each(world, |daemon, flags, image| {
        let gate = daemon.path(&format!("gate{}", flags[1].replace('/', "-")));
        fs::create_dir(&gate)?;
        let volume = format!("{}:/gate", gate.display());
        let script = "echo begun; until [ -e /gate/open ]; do sleep 0.05; done; echo bye; exit 33";
        let id = daemon.ok(&run(flags, &["-d", "-v", &volume, image, "sh", "-c", script]))?;
        let pid = daemon.container_pid(&id)?;
        daemon.kill()?;
        daemon.restart()?;
        ensure!(daemon.container_pid(&id)? == pid, "it is another process now");
        daemon.gantry(&["exec", &id, "echo", "new"])?.exits(0)?.prints("new")?;
        daemon.kill()?;
        fs::write(gate.join("open"), "")?;
        until_true("the process to end", seconds(10), || Ok(!Path::new(&format!("/proc/{pid}")).exists()))?;
        daemon.restart()?;
        ensure!(daemon.inspect(&id, "{{.State.Status}} {{.State.ExitCode}}")? == "exited 33");
        ensure!(daemon.ok(&["logs", &id])? == "begun\nbye");
        Ok(())
    })
}

fn a_killed_shim_takes_their_container_along(world: &World) -> Result<()> {
    with_each(world, |daemon, flags, image| {
        let id = daemon.ok(&run(flags, &["-d", "--name", "orphaned", image, "sleep", "1000"]))?;
        let pid = daemon.container_pid(&id)?;
        let shim = fs::read_to_string(daemon.path(&format!("run/shims/default/{id}/pid")))?;
        let shim = nix::unistd::Pid::from_raw(shim.trim().parse()?);
        nix::sys::signal::kill(shim, nix::sys::signal::Signal::SIGKILL)?;
        daemon.await_state(&id, "exited")?;
        until_true("the process to end", seconds(10), || Ok(!Path::new(&format!("/proc/{pid}")).exists()))?;
        // What the runtime knew of it is gone, too: its name is free again.
        daemon.ok(&["start", &id])?;
        daemon.ok(&["rm", "-f", &id])?;
        Ok(())
    })
}

fn they_use_volumes_users_limits_and_are_started_again(world: &World) -> Result<()> {
    with_each(world, |daemon, flags, image| {
        let folder = daemon.path(&format!("volume{}", flags[1].replace('/', "-")));
        fs::create_dir(&folder)?;
        let volume = format!("{}:/data", folder.display());
        let script = "echo more >>/data/file; cat /data/file; echo kept >>/file; wc -l </file; id -un; \
                      touch /ro/x || echo read-only; df -k /dev/shm | tail -1 | awk '{print $2}'; grep Cap[EB] /proc/self/status";
        let own = format!("{}:/ro:ro", folder.display());
        let more = [
            "-d",
            "-v",
            &volume,
            "-v",
            &own,
            "--shm-size",
            "8m",
            "--cap-drop",
            "ALL",
            image,
            "sh",
            "-c",
            script,
        ];
        let id = daemon.ok(&run(flags, &more))?;
        daemon.gantry(&["wait", &id])?.prints("0")?;
        let log = daemon.ok(&["logs", &id])?;
        let wanted = "more\n1\nroot\nread-only\n8192\nCapEff:\t0000000000000000\nCapBnd:\t0000000000000000";
        ensure!(
            log.lines().filter(|line| !line.contains("touch")).collect::<Vec<_>>().join("\n") == wanted,
            "{log}"
        );
        let again = daemon.gantry(&["start", "-a", &id])?.exits(0)?;
        ensure!(again.stdout.starts_with("more\nmore\n2\n"), "{again}");
        let seccomp =
            daemon.gantry(&run(flags, &["--rm", image, "grep", "Seccomp:", "/proc/self/status"]))?;
        // The sandbox's filter is around it, and no matter of the container's.
        seccomp.exits(0)?.prints(if is_sandbox(flags) { "Seccomp:\t0" } else { "Seccomp:\t2" })?;
        let user = daemon.gantry(&run(
            flags,
            &["--rm", "-u", "alice", "--read-only", image, "sh", "-c", "id -u; touch /x"],
        ))?;
        ensure!(user.code == 1 && user.stdout == "1000\n", "{user}");
        let script = "test -c /dev/null && test -c /dev/kmsg && echo every device";
        let privileged = daemon.gantry(&run(flags, &["--rm", "--privileged", image, "sh", "-c", script]))?;
        privileged.exits(0)?.prints("every device")?;
        Ok(())
    })
}

fn they_are_on_networks(world: &World) -> Result<()> {
    if !gantry_tests::network::is_possible() {
        return skip("no network namespaces here");
    }
    // The stage has the daemon's wrapper for itself.
    let runtimes: Vec<String> =
        tested()?.into_iter().filter(|runtime| runtime != "crun" || !is_hybrid()).collect();
    on_stage(world, |_stage, daemon, image| {
        daemon.ok(&["network", "create", "front"])?;
        serve(daemon, image, "--name web --network front")?;
        for (number, runtime) in runtimes.iter().enumerate() {
            let flags = ["--runtime", runtime];
            let script = "wget -qO- http://web/";
            let said =
                daemon.gantry(&run(&flags, &["--rm", "--network", "front", image, "sh", "-c", script]))?;
            said.exits(0)?.prints("hello")?;
            let name = format!("web{number}");
            serve(daemon, image, &format!("--runtime {runtime} --name {name} --network front"))?;
            let url = format!("http://{name}/");
            until_true("its server to answer", seconds(10), || {
                Ok(daemon.gantry(&["exec", "web", "wget", "-qO-", &url])?.stdout == "hello\n")
            })?;
        }
        Ok(())
    })
}

fn orphans_in_the_machines_pid_namespace_are_reaped(world: &World) -> Result<()> {
    with_each(world, |daemon, flags, image| {
        if is_sandbox(flags) {
            // It has no process that the machine could see.
            return Ok(());
        }
        // The middle shell ends first, so that the last belongs to whoever takes orphans: the shim.
        let script = "sh -c 'sleep 0.2 & echo $!'; sleep 1000";
        let id = daemon.ok(&run(flags, &["-d", "--pid", "host", image, "sh", "-c", script]))?;
        until_true("the orphan to be known", seconds(10), || Ok(!daemon.ok(&["logs", &id])?.is_empty()))?;
        let orphan = daemon.ok(&["logs", &id])?;
        until_true("the orphan to be reaped", seconds(10), || {
            Ok(!Path::new(&format!("/proc/{}", orphan.trim())).exists())
        })?;
        daemon.ok(&["kill", &id])?;
        daemon.await_state(&id, "exited")?;
        ensure!(daemon.inspect(&id, "{{.State.ExitCode}}")? == "137");
        Ok(())
    })
}

fn an_unknown_one_is_refused_with_what_is_known(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let unknown = daemon.gantry(&["create", "--runtime", "nonsense", &image, "true"])?;
    ensure!(unknown.code != 0, "{unknown}");
    let unknown = unknown.complains("nonsense")?;
    ensure!(unknown.stderr.contains("gantry, crun, runc"), "{unknown}");
    let missing = daemon.gantry(&["create", "--runtime", "/no/such/file", &image, "true"])?;
    missing.complains("/no/such/file")?;
    let init = daemon.gantry(&["create", "--runtime", "crun", "--init", &image, "true"])?;
    init.complains("init")?;
    ensure!(daemon.ok(&["ps", "-aq"])?.is_empty());
    world.done(daemon);
    Ok(())
}

fn one_is_configured_and_the_default(world: &World) -> Result<()> {
    configured_and_the_default(world, Path::new("/usr/bin/crun"), |id| format!("{id}/status"))
}

fn youki_is_among_them(world: &World) -> Result<()> {
    let how = "cargo install youki --features v1,v2,systemd,seccomp, with libseccomp-dev";
    optional(world, "youki", how, |id| format!("{id}/state.json"))
}

fn runsc_is_among_them(world: &World) -> Result<()> {
    let how = "go install gvisor.dev/gvisor/runsc@latest, with CGO_ENABLED=0";
    optional(world, "runsc", how, |id| format!("{id}_sandbox:{id}.state"))
}

/// Where it is missing the other tests are without it, and this one tells so.
fn optional(world: &World, name: &str, how: &str, state: impl Fn(&str) -> String) -> Result<()> {
    match installed(name) {
        Some(path) => configured_and_the_default(world, &path, state),
        None => skip(format!("{name} is not installed, so that no test here had it ({how})")),
    }
}

/// The runtime keeps a file of this name for a container.
fn configured_and_the_default(world: &World, programme: &Path, state: impl Fn(&str) -> String) -> Result<()> {
    let programme = programme.display();
    let mut daemon = Daemon::prepare()?;
    let root = daemon.path("runtime-state");
    daemon.write_config(&format!(
        "containers.default_runtime = 'mine'\n[runtimes.mine]\npath = '{programme}'\nargs = ['--debug']\nroot = '{}'\n",
        root.display()
    ))?;
    if is_hybrid() {
        hide_version_2(&mut daemon);
    }
    daemon.restart()?;
    let image = world.shared.busybox.reference.clone();
    daemon.ok(&["pull", "-q", &image])?;
    let id = daemon.ok(&["run", "-d", &image, "sleep", "1000"])?;
    ensure!(daemon.inspect(&id, "{{.HostConfig.Runtime}}")? == "mine");
    let state = root.join(state(&id));
    ensure!(state.exists(), "it keeps its state elsewhere");
    // A default that changes later changes no container that is there.
    daemon.stop()?;
    daemon.write_config(&format!("[runtimes.mine]\npath = '{programme}'\n"))?;
    daemon.restart()?;
    daemon.gantry(&["exec", &id, "echo", "there"])?.prints("there")?;
    daemon.ok(&["rm", "-f", &id])?;
    ensure!(!state.exists(), "it still knows the container");
    let id = daemon.ok(&["run", "-d", &image, "true"])?;
    ensure!(daemon.inspect(&id, "{{.HostConfig.Runtime}}")? == "gantry");
    world.done(daemon);
    Ok(())
}
