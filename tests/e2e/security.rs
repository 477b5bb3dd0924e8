//! Is a container confined? The rows of the threat list that the first container can already be asked about, each seen
//! from inside or checked on the host.

use std::fs::{self, File};
use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use gantry_tests::cli::run;
use gantry_tests::daemon::Daemon;
use gantry_tests::fixture::busybox;
use gantry_tests::image::Layer;
use gantry_tests::programs::program;
use gantry_tests::trial::World;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::statvfs::{FsFlags, statvfs};
use serde_json::{Value, json};

tests![
    the_default_capabilities_are_few_and_none_is_inheritable,
    capabilities_are_added_and_dropped,
    a_user_that_is_not_root_has_no_capability,
    a_privileged_container_has_them_all_but_its_users_do_not,
    the_default_filter_refuses_what_the_profile_leaves_out,
    a_filter_from_a_file_refuses_what_it_says,
    an_unconfined_container_has_no_filter,
    system_paths_are_masked_or_read_only,
    no_descriptor_of_the_engine_is_open_inside,
    the_engines_programme_cannot_be_overwritten_from_inside_cve_2019_5736,
    the_runtimes_programme_is_behind_a_read_only_mount_cve_2019_5736,
    a_working_folder_through_a_descriptor_is_refused,
    no_new_privileges_is_set_when_asked,
    the_host_network_shows_no_gantry_socket,
    a_container_without_a_network_has_only_loopback,
    the_daemons_environment_does_not_leak,
    a_link_in_the_image_does_not_lead_out,
    a_secret_of_a_container_is_in_no_log_event_or_complaint,
];

fn says(daemon: &Daemon, flags: &[&str], image: &str, script: &str) -> Result<String> {
    daemon.ok(&[&["run", "--rm"], flags, &[image, "sh", "-c", script]].concat())
}

/// A capability set of the container's shell, from its status file.
fn capabilities(daemon: &Daemon, flags: &[&str], image: &str, set: &str) -> Result<u64> {
    let line = says(daemon, flags, image, &format!("grep {set}: /proc/self/status"))?;
    Ok(u64::from_str_radix(line.split_whitespace().last().unwrap_or_default(), 16)?)
}

fn the_default_capabilities_are_few_and_none_is_inheritable(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    // The fourteen of docker, as a mask.
    ensure!(capabilities(&daemon, &[], &image, "CapEff")? == 0xa804_25fb);
    ensure!(capabilities(&daemon, &[], &image, "CapBnd")? == 0xa804_25fb);
    ensure!(capabilities(&daemon, &[], &image, "CapInh")? == 0);
    ensure!(capabilities(&daemon, &[], &image, "CapAmb")? == 0);
    let id = daemon.ok(&["run", "-d", &image, "sleep", "1000"])?;
    let status = daemon.ok(&["exec", &id, "cat", "/proc/self/status"])?;
    ensure!(status.contains("CapInh:\t0000000000000000"), "an exec has inheritable capabilities: {status}");
    world.done(daemon);
    Ok(())
}

fn capabilities_are_added_and_dropped(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    ensure!(capabilities(&daemon, &["--cap-drop", "ALL"], &image, "CapEff")? == 0);
    ensure!(
        capabilities(&daemon, &["--cap-drop", "all", "--cap-add", "net_admin"], &image, "CapEff")? == 1 << 12
    );
    ensure!(capabilities(&daemon, &["--cap-drop", "CAP_CHOWN"], &image, "CapEff")? == 0xa804_25fa);
    world.done(daemon);
    Ok(())
}

fn a_user_that_is_not_root_has_no_capability(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        ensure!(capabilities(&daemon, &["-u", "1000"], &image, set)? == 0, "{set}");
    }
    world.done(daemon);
    Ok(())
}

fn a_privileged_container_has_them_all_but_its_users_do_not(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    // All that the daemon itself has to give, which on some machines is not all there is.
    let status = fs::read_to_string("/proc/self/status")?;
    let bounding = status.lines().find_map(|line| line.strip_prefix("CapBnd:\t")).unwrap_or_default();
    let all = u64::from_str_radix(bounding, 16)?;
    ensure!(capabilities(&daemon, &["--privileged"], &image, "CapEff")? == all);
    ensure!(
        says(&daemon, &["--privileged"], &image, "mkdir /m && mount -t tmpfs none /m && echo mounted")?
            == "mounted"
    );
    let user = ["--privileged", "--user", "1000"];
    ensure!(capabilities(&daemon, &user, &image, "CapEff")? == 0);
    ensure!(says(&daemon, &user, &image, "ls /root 2>&1 || true")?.contains("denied"));
    world.done(daemon);
    Ok(())
}

fn the_default_filter_refuses_what_the_profile_leaves_out(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    ensure!(says(&daemon, &[], &image, "grep Seccomp: /proc/self/status")?.ends_with('2'));
    // With the capability in hand, it is the filter that says no to a mount without CAP_SYS_ADMIN in the profile's eyes.
    let said =
        says(&daemon, &[], &image, "unshare -m true 2>&1 || true; mount -t tmpfs none /tmp 2>&1 || true")?;
    ensure!(
        said.contains("unshare(0x20000): Operation not permitted")
            && said.contains("mount: permission denied"),
        "{said}"
    );
    world.done(daemon);
    Ok(())
}

fn a_filter_from_a_file_refuses_what_it_says(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let file = daemon.path("profile.json");
    let profile = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls":
        [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13}]}"#;
    fs::write(&file, profile)?;
    let option = format!("seccomp={}", file.display());
    let said = says(
        &daemon,
        &["--security-opt", &option],
        &image,
        "mkdir /new 2>&1 || true; touch /file && echo touched",
    )?;
    ensure!(said.contains("Permission denied") && said.ends_with("touched"), "{said}");
    fs::write(&file, r#"{"defaultAction": "SCMP_ACT_NONSENSE"}"#)?;
    daemon
        .gantry(&["run", "--rm", "--security-opt", &option, &image, "true"])?
        .exits(125)?
        .complains("seccomp")?;
    world.done(daemon);
    Ok(())
}

fn an_unconfined_container_has_no_filter(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let flags = ["--security-opt", "seccomp=unconfined"];
    ensure!(says(&daemon, &flags, &image, "grep Seccomp: /proc/self/status")?.ends_with('0'));
    world.done(daemon);
    Ok(())
}

fn system_paths_are_masked_or_read_only(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let script = "for f in kcore keys timer_list interrupts latency_stats sched_debug; do
            [ ! -e /proc/$f ] || [ -z \"$(head -c 1 /proc/$f 2>/dev/null)\" ] || echo readable $f; done
        for d in /proc/acpi /proc/scsi /sys/firmware /proc/asound /sys/devices/virtual/powercap; do
            [ ! -e $d ] || [ -z \"$(ls $d)\" ] || echo filled $d; done
        for f in /proc/sys/kernel/hostname /proc/sysrq-trigger /proc/bus/x /proc/irq/default_smp_affinity /sys/kernel/x; do
            (echo x >$f) 2>/dev/null && echo writable $f; done; true";
    let said = says(&daemon, &[], &image, script)?;
    ensure!(said.is_empty(), "{said}");
    world.done(daemon);
    Ok(())
}

fn no_descriptor_of_the_engine_is_open_inside(world: &World) -> Result<()> {
    let (mut daemon, image) = world.daemon_with_busybox()?;
    // A daemon that itself was started with descriptors of somebody else's must not pass them on.
    daemon.stop()?;
    daemon.wrap(&["bash", "-c", "exec 7</etc/passwd 8</etc 9<>/dev/null; exec \"$0\" \"$@\""]);
    daemon.restart()?;
    let open = says(&daemon, &[], &image, "exec ls /proc/self/fd")?;
    // The last one is the folder that ls itself reads.
    ensure!(open == "0\n1\n2\n3", "{open}");
    let id = daemon.ok(&["run", "-d", &image, "sleep", "1000"])?;
    ensure!(daemon.ok(&["exec", &id, "ls", "/proc/self/fd"])? == "0\n1\n2\n3");
    let pid = daemon.container_pid(&id)?;
    ensure!(fs::read_dir(format!("/proc/{pid}/fd"))?.count() == 3);
    world.done(daemon);
    Ok(())
}

/// Looks for programmes of other processes for ever, keeps each one's file open, and writes to it when its process has
/// ended: what the first attack of this kind did.
const OVERWRITE: &str = "while :; do for p in /proc/[0-9]*; do
    { for i in 1 2 3 4; do echo broken >/proc/self/fd/9; done; } 9<$p/exe
done; done 2>/dev/null";

fn the_engines_programme_cannot_be_overwritten_from_inside_cve_2019_5736(world: &World) -> Result<()> {
    // A command for which the kernel executes the file that the process in front of it was made of: the shim's.
    let layer = Layer::new().file("attack", 0o755, b"#!/proc/self/exe\n");
    let image = busybox(None)?.layer(&layer)?.push(&world.shared.registry, "attack", "latest")?.reference;
    let daemon = Daemon::start()?;
    daemon.ok(&["pull", "-q", &image])?;
    let shim = fs::read(program("gantry-shim"))?;
    let own = format!("/proc/{}/exe", shim_of(&daemon, &image, "first")?);

    // The machine's root has every right that a container's could have.
    let file = fs::read_link(&own)?.display().to_string();
    ensure!(file.starts_with("/memfd:gantry-shim"), "the shim runs from {file}");
    let seals = SealFlag::from_bits_retain(fcntl(File::open(&own)?, FcntlArg::F_GET_SEALS)?);
    let needed =
        SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_SEAL;
    ensure!(seals.contains(needed), "the shim's file has only the seals {seals:?}");
    let written = File::options().write(true).open(&own).and_then(|mut file| file.write_all(b"broken"));
    ensure!(written.is_err(), "the shim's file was written to");

    for command in ["/attack", "/proc/self/exe"] {
        let said = daemon.gantry(&["run", "--rm", "--privileged", "--entrypoint", command, &image])?;
        ensure!(said.code != 0, "the engine's own programme was run inside: {said}");
    }
    daemon.ok(&["run", "-d", "--privileged", "--name", "attacker", &image, "sh", "-c", OVERWRITE])?;
    for _ in 0..20 {
        ensure!(daemon.gantry(&["exec", "attacker", "/attack"])?.code != 0);
        daemon.gantry(&["exec", "attacker", "true"])?.exits(0)?;
    }
    let other = format!("/proc/{}/exe", shim_of(&daemon, &image, "second")?);
    ensure!(fs::read(&own)? == shim && fs::read(&other)? == shim, "the shim's file in memory changed");
    ensure!(fs::read(program("gantry-shim"))? == shim, "the shim's file on the disk changed");
    world.done(daemon);
    Ok(())
}

/// Runs a container and answers its shim's process.
fn shim_of(daemon: &Daemon, image: &str, name: &str) -> Result<u32> {
    let id = daemon.ok(&["run", "-d", "--name", name, image, "sleep", "1000"])?;
    Ok(fs::read_to_string(daemon.path("run/shims/default").join(id).join("pid"))?.trim().parse()?)
}

fn the_runtimes_programme_is_behind_a_read_only_mount_cve_2019_5736(_: &World) -> Result<()> {
    let bundle = tempfile::Builder::new().prefix("gantry-test-bundle-").tempdir()?;
    fs::create_dir_all(bundle.path().join("rootfs/bin"))?;
    fs::copy("/bin/busybox", bundle.path().join("rootfs/bin/sh"))?;
    let id = format!("gantry-test-posture-{}", std::process::id());
    let runtime = |words: &[&str]| {
        let mut command = Command::new(program("gantry-runtime"));
        run(command.arg("--root").arg(bundle.path().join("state")).args(words).current_dir(bundle.path()))
    };
    runtime(&["spec"])?.exits(0)?;
    let mut config: Value = serde_json::from_slice(&fs::read(bundle.path().join("config.json"))?)?;
    config["process"]["terminal"] = json!(false);
    config["linux"]["cgroupsPath"] = json!(format!("/{id}"));
    fs::write(bundle.path().join("config.json"), config.to_string())?;
    // Created and not started: the process is the runtime's still, inside the container already. It keeps the streams,
    // which must not be those that are read to their end.
    let mut create = Command::new(program("gantry-runtime"));
    create.arg("--root").arg(bundle.path().join("state")).args(["create", "--pid-file", "pid", &id]);
    create.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let created = create.current_dir(bundle.path()).status()?;
    let looked = Ok(created.success()).and_then(|is_created: bool| {
        ensure!(is_created, "{created}");
        let pid = fs::read_to_string(bundle.path().join("pid"))?;
        let own = format!("/proc/{}/exe", pid.trim());
        let flags = statvfs(own.as_str())?.flags();
        let written = File::options().write(true).open(&own).map(drop);
        Ok((flags.contains(FsFlags::ST_RDONLY), written.is_err()))
    });
    runtime(&["delete", "--force", &id])?.exits(0)?;
    ensure!(looked? == (true, true), "the runtime's own file can be written to through its process");
    Ok(())
}

fn a_working_folder_through_a_descriptor_is_refused(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    // CVE-2024-21626.
    for number in 3..24 {
        let folder = format!("/proc/self/fd/{number}");
        let said = daemon.gantry(&["run", "--rm", "-w", &folder, &image, "ls", "."])?;
        ensure!(said.code != 0, "{said}");
    }
    world.done(daemon);
    Ok(())
}

fn no_new_privileges_is_set_when_asked(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let script = "grep NoNewPrivs /proc/self/status";
    ensure!(says(&daemon, &["--security-opt", "no-new-privileges"], &image, script)?.ends_with('1'));
    ensure!(says(&daemon, &[], &image, script)?.ends_with('0'));
    world.done(daemon);
    Ok(())
}

fn the_host_network_shows_no_gantry_socket(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let said =
        says(&daemon, &["--network", "host"], &image, "cat /proc/net/unix; readlink /proc/self/ns/net")?;
    let abstract_ones = said.lines().filter(|line| line.contains('@') && line.contains("gantry")).count();
    ensure!(abstract_ones == 0, "{said}");
    let hosts = fs::read_link("/proc/self/ns/net")?;
    ensure!(said.ends_with(&*hosts.to_string_lossy()), "not the host's network: {said}");
    world.done(daemon);
    Ok(())
}

fn a_container_without_a_network_has_only_loopback(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let script = "ls /sys/class/net; ping -c 1 -W 1 127.0.0.1 >/dev/null && echo up";
    ensure!(says(&daemon, &["--network", "none"], &image, script)? == "lo\nup");
    world.done(daemon);
    Ok(())
}

fn the_daemons_environment_does_not_leak(world: &World) -> Result<()> {
    let mut daemon = Daemon::prepare()?;
    daemon.set_env("CANARY_OF_THE_DAEMON", "sings");
    daemon.restart()?;
    let image = &world.shared.busybox.reference;
    daemon.ok(&["pull", "-q", image])?;
    ensure!(!says(&daemon, &[], image, "env; cat /proc/1/environ")?.contains("CANARY"));
    let id = daemon.ok(&["run", "-d", image, "sleep", "1000"])?;
    ensure!(!daemon.ok(&["exec", &id, "env"])?.contains("CANARY"));
    world.done(daemon);
    Ok(())
}

fn a_link_in_the_image_does_not_lead_out(world: &World) -> Result<()> {
    use gantry_tests::fixture::busybox;
    use gantry_tests::image::Layer;
    let (daemon, _) = world.daemon_with_busybox()?;
    let canary = daemon.path("canary");
    fs::create_dir(&canary)?;
    let target = canary.display().to_string();
    let layer = Layer::new()
        .symlink("out", &target)
        .symlink("up", "../../../../../../../tmp")
        .symlink("sys", &target);
    let image = busybox(None)?.layer(&layer)?.push(&world.shared.registry, "links", "latest")?.reference;
    daemon.ok(&["pull", "-q", &image])?;
    let source = daemon.path("source");
    fs::create_dir(&source)?;
    for point in ["/out/mount", "/out", "/up/gantry-canary"] {
        let volume = format!("{}:{point}", source.display());
        // Whether it is refused or resolved inside, the host's folder stays as it is.
        let _ = daemon.gantry(&["run", "--rm", "-v", &volume, &image, "true"])?;
        let _ = daemon.gantry(&["run", "--rm", "-w", point, &image, "touch", "file"])?;
    }
    ensure!(fs::read_dir(&canary)?.count() == 0, "something was made on the host");
    ensure!(!std::path::Path::new("/tmp/gantry-canary").exists(), "something was made in the host's /tmp");
    world.done(daemon);
    Ok(())
}

fn a_secret_of_a_container_is_in_no_log_event_or_complaint(world: &World) -> Result<()> {
    const SECRET: &str = "canary-7f3a91";
    let mut daemon = Daemon::prepare()?;
    daemon.set_log_level("trace");
    daemon.restart()?;
    let image = &world.shared.busybox.reference;
    daemon.ok(&["pull", "-q", image])?;
    let variable = format!("TOKEN={SECRET}");
    let id = daemon.ok(&["run", "-d", "-i", "-e", &variable, image, "cat"])?;
    let mut events = daemon.begin(&["events"])?;
    daemon.gantry_with_input(&["exec", "-i", &id, "cat"], SECRET)?.prints(SECRET)?;
    daemon.ok(&["exec", "-e", &variable, &id, "true"])?;
    let complaints = [
        daemon.gantry(&["run", "--rm", "-e", &variable, image, "/no/such/program"])?,
        daemon.gantry(&["run", "--rm", "-e", &variable, "--memory", "1", image, "true"])?,
        daemon.gantry(&["exec", "-e", &variable, &id, "/no/such/program"])?,
    ];
    for complaint in complaints {
        ensure!(complaint.code != 0 && !complaint.stderr.contains(SECRET), "{complaint}");
    }
    daemon.ok(&["rm", "-f", &id])?;
    loop {
        let line = events.next_line()?;
        ensure!(!line.contains(SECRET), "{line}");
        if line.contains("remove") && line.contains(&id[..12]) {
            break;
        }
    }
    let log = daemon.log();
    ensure!(log.contains("answered") && !log.contains(SECRET), "the daemon's log has it, or has nothing");
    world.done(daemon);
    Ok(())
}
