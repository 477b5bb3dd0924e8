//! Is what was asked of a container what it gets? The image's defaults and the command line's options, seen from inside.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use anyhow::{Result, ensure};
use gantry_tests::daemon::Daemon;
use gantry_tests::fixture::busybox;
use gantry_tests::trial::World;
use serde_json::json;

tests![
    environment_comes_from_the_image_a_file_and_the_command_line,
    an_environment_file_with_a_bad_line_is_refused,
    the_images_entrypoint_command_user_and_folder_are_honoured,
    an_entrypoint_on_the_command_line_clears_the_images_command,
    declared_volumes_and_ports_are_kept,
    a_user_is_a_name_or_a_number_and_gets_its_groups,
    the_host_name_is_set_and_resolves,
    the_working_folder_is_made_when_it_is_missing,
    a_read_only_root_takes_no_files_but_its_tmpfs_does,
    a_folder_of_the_host_is_bound,
    a_bound_folder_can_be_read_only,
    a_tmpfs_has_its_size_and_mode,
    limits_of_processes_are_set,
    kernel_parameters_are_set_in_the_containers_namespaces,
    a_device_of_the_host_is_given,
    the_process_is_number_one_in_its_namespaces,
    the_default_devices_and_links_are_there,
];

/// What `sh -c script` prints in a new container with these flags.
fn says(daemon: &Daemon, flags: &[&str], image: &str, script: &str) -> Result<String> {
    daemon.ok(&[&["run", "--rm"], flags, &[image, "sh", "-c", script]].concat())
}

fn environment_comes_from_the_image_a_file_and_the_command_line(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let file = daemon.path("variables");
    fs::write(&file, "# a comment\nONE=from file\nTWO=from file\n\nTHREE=a=b\n")?;
    let file = file.display().to_string();
    let flags = ["--env-file", &file, "-e", "TWO=from flag", "-e", "EMPTY="];
    let script = "echo $FROM_IMAGE; echo $ONE; echo $TWO; echo $THREE; echo ${EMPTY-unset}; echo ${HOST-unset}; echo $HOME";
    ensure!(says(&daemon, &flags, &image, script)? == "yes\nfrom file\nfrom flag\na=b\n\nunset\n/root");
    let mut command =
        gantry_tests::cli::gantry(&daemon.socket(), &["run", "--rm", "-e", "PASSED", "-e", "ABSENT", &image]);
    command.args(["sh", "-c", "echo $PASSED ${ABSENT-absent}"]).env("PASSED", "through");
    ensure!(gantry_tests::cli::run(&mut command)?.ok()? == "through absent");
    world.done(daemon);
    Ok(())
}

fn an_environment_file_with_a_bad_line_is_refused(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let file = daemon.path("variables");
    fs::write(&file, "GOOD=1\nbad name=2\n")?;
    let said = daemon.gantry(&["run", "--rm", "--env-file", &file.display().to_string(), &image, "true"])?;
    said.exits(125)?.complains("bad name")?;
    world.done(daemon);
    Ok(())
}

fn the_images_entrypoint_command_user_and_folder_are_honoured(world: &World) -> Result<()> {
    let (daemon, _) = world.daemon_with_busybox()?;
    let config = json!({
        "Entrypoint": ["sh", "-c", "echo $0 $@; id -u; pwd; echo $COLOUR"], "Cmd": ["by", "default"],
        "Env": ["PATH=/bin", "COLOUR=red"], "User": "alice", "WorkingDir": "/tmp", "StopSignal": "SIGUSR1",
    });
    let image = busybox(Some(config))?.push(&world.shared.registry, "configured", "latest")?.reference;
    daemon.ok(&["pull", "-q", &image])?;
    ensure!(daemon.ok(&["run", "--rm", &image])? == "by default\n1000\n/tmp\nred");
    ensure!(daemon.ok(&["run", "--rm", &image, "as", "asked"])? == "as asked\n1000\n/tmp\nred");
    ensure!(daemon.ok(&["run", "--rm", "-u", "0", "-w", "/", &image])? == "by default\n0\n/\nred");
    world.done(daemon);
    Ok(())
}

fn an_entrypoint_on_the_command_line_clears_the_images_command(world: &World) -> Result<()> {
    let (daemon, _) = world.daemon_with_busybox()?;
    let config = json!({"Entrypoint": ["false"], "Cmd": ["of", "the", "image"], "Env": ["PATH=/bin"]});
    let image = busybox(Some(config))?.push(&world.shared.registry, "entrypoint", "latest")?.reference;
    daemon.ok(&["pull", "-q", &image])?;
    daemon.gantry(&["run", "--rm", "--entrypoint", "echo", &image])?.exits(0)?.prints("")?;
    daemon.gantry(&["run", "--rm", "--entrypoint", "echo", &image, "mine"])?.exits(0)?.prints("mine")?;
    world.done(daemon);
    Ok(())
}

fn declared_volumes_and_ports_are_kept(world: &World) -> Result<()> {
    let (daemon, _) = world.daemon_with_busybox()?;
    let config = json!({"Cmd": ["true"], "Volumes": {"/data": {}}, "ExposedPorts": {"80/tcp": {}}, "Labels": {"k": "v"}});
    let image = busybox(Some(config))?.push(&world.shared.registry, "declared", "latest")?.reference;
    daemon.ok(&["pull", "-q", &image])?;
    let shown = daemon.ok(&["inspect", &image])?;
    ensure!(shown.contains("/data") && shown.contains("80/tcp"), "{shown}");
    world.done(daemon);
    Ok(())
}

fn a_user_is_a_name_or_a_number_and_gets_its_groups(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    for (user, uid, groups) in [
        ("alice", "1000", "1000 2000"),
        ("1000", "1000", "1000 2000"),
        ("1000:2000", "1000", "2000"),
        ("alice:friends", "1000", "2000"),
        ("5555", "5555", "0"),
        // The image's passwd has a line that calls itself 1234 and is root: a number is a number (CVE-2016-3697).
        ("1234", "1234", "0"),
    ] {
        let said = says(&daemon, &["-u", user], &image, "id -u; id -G")?;
        ensure!(said == format!("{uid}\n{groups}"), "{user} became {said:?}");
    }
    for user in ["2147483648", "4294967295", "99999999999", "-1", "0x0", "+0", " 0", "ghost"] {
        let said = daemon.gantry(&["run", "--rm", "--user", user, &image, "id", "-u"])?;
        ensure!(said.code == 125 || (said.code == 0 && said.stdout.trim() == user), "{user:?}: {said}");
    }
    world.done(daemon);
    Ok(())
}

fn the_host_name_is_set_and_resolves(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    ensure!(says(&daemon, &["--hostname", "here"], &image, "hostname; cat /etc/hostname")? == "here\nhere");
    let hosts = says(&daemon, &["--hostname", "here"], &image, "cat /etc/hosts")?;
    ensure!(hosts.contains("127.0.0.1") && hosts.contains("here"), "{hosts}");
    let id = daemon.ok(&["run", "-d", &image, "sleep", "1000"])?;
    ensure!(daemon.ok(&["exec", &id, "hostname"])? == id[..12]);
    world.done(daemon);
    Ok(())
}

fn the_working_folder_is_made_when_it_is_missing(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    ensure!(says(&daemon, &["-w", "/new/folder"], &image, "pwd")? == "/new/folder");
    world.done(daemon);
    Ok(())
}

fn a_read_only_root_takes_no_files_but_its_tmpfs_does(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let script = "touch /file 2>/dev/null && echo root; touch /scratch/file && echo tmpfs; touch /dev/shm/file && echo shm";
    ensure!(says(&daemon, &["--read-only", "--tmpfs", "/scratch"], &image, script)? == "tmpfs\nshm");
    world.done(daemon);
    Ok(())
}

fn a_folder_of_the_host_is_bound(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let folder = daemon.path("shared");
    fs::create_dir(&folder)?;
    fs::write(folder.join("in"), "from the host")?;
    let volume = format!("{}:/mnt/shared", folder.display());
    ensure!(
        says(&daemon, &["-v", &volume], &image, "cat /mnt/shared/in; echo back >/mnt/shared/out")?
            == "from the host"
    );
    ensure!(fs::read_to_string(folder.join("out"))? == "back\n");
    let mount = format!("type=bind,source={},target=/mnt/file,readonly", folder.join("in").display());
    ensure!(says(&daemon, &["--mount", &mount], &image, "cat /mnt/file")? == "from the host");
    world.done(daemon);
    Ok(())
}

fn a_bound_folder_can_be_read_only(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let folder = daemon.path("shared");
    fs::create_dir(&folder)?;
    let volume = format!("{}:/mnt:ro", folder.display());
    let said = says(&daemon, &["-v", &volume], &image, "touch /mnt/file 2>&1; ls /mnt | wc -l")?;
    ensure!(said.contains("Read-only") && said.ends_with('0'), "{said}");
    world.done(daemon);
    Ok(())
}

fn a_tmpfs_has_its_size_and_mode(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let flags = ["--tmpfs", "/scratch:size=1m,mode=700"];
    let script = "stat -c %a /scratch; dd if=/dev/zero of=/scratch/file bs=64k count=64 2>/dev/null; stat -c %s /scratch/file";
    ensure!(says(&daemon, &flags, &image, script)? == "700\n1048576");
    world.done(daemon);
    Ok(())
}

fn limits_of_processes_are_set(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let flags = ["--ulimit", "nofile=100:200", "--ulimit", "core=0"];
    let script = "ulimit -Sn; ulimit -Hn; ulimit -c";
    ensure!(says(&daemon, &flags, &image, script)? == "100\n200\n0");
    world.done(daemon);
    Ok(())
}

fn kernel_parameters_are_set_in_the_containers_namespaces(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let flags = ["--sysctl", "net.ipv4.ip_unprivileged_port_start=77", "--sysctl", "kernel.msgmax=4321"];
    let script = "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/msgmax";
    let before = fs::read_to_string("/proc/sys/kernel/msgmax")?;
    ensure!(says(&daemon, &flags, &image, script)? == "77\n4321");
    ensure!(fs::read_to_string("/proc/sys/kernel/msgmax")? == before, "the host's parameter changed");
    let host = ["--network", "host", "--sysctl", "net.ipv4.ip_unprivileged_port_start=77"];
    let said = daemon.gantry(&[&["run", "--rm"], &host[..], &[&image, "true"]].concat())?;
    said.exits(125)?.complains("net.ipv4.ip_unprivileged_port_start")?;
    world.done(daemon);
    Ok(())
}

fn a_device_of_the_host_is_given(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let control = fs::metadata("/dev/loop-control")?.rdev();
    let flags = ["--device", "/dev/loop-control:/dev/mine:r"];
    let said = says(
        &daemon,
        &flags,
        &image,
        "stat -c '%t %T' /dev/mine; : </dev/mine && echo read; (: >>/dev/mine) 2>/dev/null || true",
    )?;
    let expected = format!("{:x} {:x}\nread", control >> 8, control & 0xff);
    ensure!(said == expected, "{said}, not {expected}");
    let refused =
        daemon.gantry(&["run", "--rm", &image, "sh", "-c", "mknod /tmp/mine c 10 237; (: </tmp/mine)"])?;
    ensure!(
        refused.code != 0 && refused.stderr.contains("not permitted"),
        "a device that was not given opens: {refused}"
    );
    world.done(daemon);
    Ok(())
}

fn the_process_is_number_one_in_its_namespaces(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let id = daemon.ok(&["run", "-d", &image, "sleep", "1000"])?;
    ensure!(says(&daemon, &[], &image, "echo $$; ps | tail -n +2 | wc -l")?.starts_with('1'));
    let pid = daemon.container_pid(&id)?;
    for namespace in ["pid", "mnt", "ipc", "uts", "net", "cgroup"] {
        let own = fs::read_link(format!("/proc/{pid}/ns/{namespace}"))?;
        let hosts = fs::read_link(format!("/proc/self/ns/{namespace}"))?;
        ensure!(own != hosts, "it shares the {namespace} namespace of the host");
    }
    ensure!(says(&daemon, &[], &image, "cat /proc/self/cgroup")?.lines().all(|line| line.ends_with(":/")));
    world.done(daemon);
    Ok(())
}

fn the_default_devices_and_links_are_there(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let script = "for f in null zero full random urandom tty; do test -c /dev/$f || echo $f; done
        for f in fd stdin stdout stderr ptmx; do test -L /dev/$f || echo $f; done
        for d in pts shm mqueue; do test -d /dev/$d || echo $d; done
        echo x >/dev/null && mount | grep -c ' on /proc type proc '";
    ensure!(says(&daemon, &[], &image, script)? == "1");
    world.done(daemon);
    Ok(())
}
