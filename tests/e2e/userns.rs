//! Is root of a container in a user namespace of its own root inside and nobody outside, and does everything else go on
//! as people know it? Files, devices, terminals, networks, volumes; and the ranges of ids that the daemon gives.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use gantry_tests::cgroup;
use gantry_tests::daemon::Daemon;
use gantry_tests::fixture::busybox;
use gantry_tests::image::Layer;
use gantry_tests::network::HOST;
use gantry_tests::terminal::Terminal;
use gantry_tests::trial::World;
use gantry_tests::wait::{seconds, until_true};

use crate::network::{SERVER, get, on_stage, says_hello, serve, shell};
use crate::network_programs::{make_sandbox, remove_sandbox};

tests![
    root_inside_is_nobody_outside_and_files_are_the_images,
    no_two_containers_have_the_same_ids_and_removal_gives_them_back,
    concurrent_creates_get_ranges_of_their_own,
    a_pool_without_room_refuses_and_leaves_nothing,
    mappings_of_the_callers_are_taken_and_wrong_ones_refused,
    what_cannot_be_mapped_is_refused_with_a_reason,
    the_usual_files_devices_and_options_work_inside,
    an_exec_joins_the_user_namespace,
    terminals_are_the_mapped_roots,
    a_volume_has_the_hosts_owners_unless_it_is_id_mapped,
    the_containers_outlive_the_daemon_with_their_ids,
    the_default_is_configured_and_host_wins_over_it,
    root_inside_has_a_network_of_its_own,
    networks_of_others_are_joined,
    a_sandbox_is_shared_with_and_without_a_user_namespace,
    its_processes_are_in_its_cgroup_with_its_limits_cve_2025_47291,
    a_hostile_user_database_neither_hangs_nor_decides_the_range_cve_2024_9676,
];

const AUTO: [&str; 2] = ["--userns", "auto"];

/// What `sh -c script` prints in a new container in a user namespace of its own, with these flags more.
fn says(daemon: &Daemon, flags: &[&str], image: &str, script: &str) -> Result<String> {
    daemon.ok(&[&["run", "--rm"], &AUTO[..], flags, &[image, "sh", "-c", script]].concat())
}

/// A container that sleeps.
fn sleeper(daemon: &Daemon, flags: &[&str], image: &str) -> Result<String> {
    daemon.ok(&[&["run", "-d"], flags, &[image, "sleep", "1000"]].concat())
}

/// The first id on the host, by what the daemon says.
fn first_id(daemon: &Daemon, container: &str) -> Result<u32> {
    let mapping = daemon.inspect(container, "{{join .HostConfig.IDMappings.UidMap \",\"}}")?;
    Ok(mapping.split(':').nth(1).with_context(|| format!("no mapping: {mapping:?}"))?.parse()?)
}

/// The same, by what the kernel says.
fn first_id_of_process(daemon: &Daemon, container: &str) -> Result<u32> {
    let map = fs::read_to_string(format!("/proc/{}/uid_map", daemon.container_pid(container)?))?;
    Ok(map.split_whitespace().nth(1).context("a mapping")?.parse()?)
}

/// A daemon whose pool has room for so many containers of the usual size.
fn with_room_for(world: &World, containers: u32) -> Result<(Daemon, String)> {
    let mut daemon = Daemon::prepare()?;
    let pool = format!("containers.userns_pool = \"700000/{}\"\n", containers * 65_536);
    daemon.write_config(&pool)?;
    daemon.restart()?;
    let image = world.shared.busybox.reference.clone();
    daemon.ok(&["pull", "-q", &image])?;
    Ok((daemon, image))
}

/// Where a file of some container's upper folder is.
fn in_upper(daemon: &Daemon, name: &str) -> Result<PathBuf> {
    let snapshots = fs::read_dir(daemon.path("root/snapshots/overlayfs"))?;
    let places = snapshots.filter_map(|entry| Some(entry.ok()?.path().join("fs").join(name)));
    places.into_iter().find(|path| path.exists()).with_context(|| format!("no snapshot has {name}"))
}

fn root_inside_is_nobody_outside_and_files_are_the_images(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let id = sleeper(&daemon, &AUTO, &image)?;
    let script = "cat /proc/self/uid_map /proc/self/gid_map; id -u; stat -c %u:%g /bin/busybox; \
                  touch /made; mkdir /of-alice; chown alice:alice /of-alice; stat -c %u /made /of-alice";
    let said = daemon.ok(&["exec", &id, "sh", "-c", script])?;
    let first = first_id(&daemon, &id)?;
    let map = format!("0 {first} 65536");
    let lines: Vec<String> =
        said.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    ensure!(lines == [&map, &map, "0", "0:0", "0", "1000"], "{said}");
    ensure!(first >= 65_536 && first_id_of_process(&daemon, &id)? == first);
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.container_pid(&id)?))?;
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:")).context("a user")?;
    ensure!(uid.split_whitespace().all(|id| id == first.to_string()), "on the host it is {uid}");
    // What is on the disk has the image's ids, so that nothing has to be changed for the next container.
    for (name, owner) in [("made", 0), ("of-alice", 1000)] {
        ensure!(
            fs::metadata(in_upper(&daemon, name)?)?.uid() == owner,
            "{name} has another owner on the disk"
        );
    }
    ensure!(daemon.inspect(&id, "{{.HostConfig.UsernsMode}}")? == "auto");
    world.done(daemon);
    Ok(())
}

fn no_two_containers_have_the_same_ids_and_removal_gives_them_back(world: &World) -> Result<()> {
    let (mut daemon, image) = with_room_for(world, 3)?;
    let first = sleeper(&daemon, &AUTO, &image)?;
    let small = sleeper(&daemon, &["--userns", "auto:size=2000"], &image)?;
    let third = daemon.ok(&["create", "--userns", "auto", &image, "true"])?;
    let ids = |daemon: &Daemon| -> Result<Vec<u32>> {
        [&first, &small, &third].map(|id| first_id(daemon, id)).into_iter().collect()
    };
    ensure!(ids(&daemon)? == [700_000, 765_536, 767_536]);
    ensure!(first_id_of_process(&daemon, &small)? == 765_536);
    daemon.kill()?;
    daemon.restart()?;
    ensure!(ids(&daemon)? == [700_000, 765_536, 767_536], "the ranges are in the store");
    daemon.ok(&["rm", "-f", &first])?;
    let next = sleeper(&daemon, &AUTO, &image)?;
    ensure!(first_id(&daemon, &next)? == 700_000, "the removed container's range is free");
    daemon.ok(&["run", "--rm", "--userns", "auto:size=1000", &image, "true"])?;
    let after = daemon.ok(&["create", "--userns", "auto:size=1000", &image, "true"])?;
    ensure!(first_id(&daemon, &after)? == 833_072, "behind the third, where the one before was");
    world.done(daemon);
    Ok(())
}

fn concurrent_creates_get_ranges_of_their_own(world: &World) -> Result<()> {
    let (daemon, image) = with_room_for(world, 8)?;
    let begun = (0..8).map(|_| daemon.begin(&["create", "--userns", "auto", &image, "true"]));
    let begun = begun.collect::<Result<Vec<_>>>()?;
    let ids = begun.into_iter().map(|one| one.finish()?.ok()).collect::<Result<Vec<_>>>()?;
    let firsts = ids.iter().map(|id| first_id(&daemon, id)).collect::<Result<BTreeSet<_>>>()?;
    ensure!(firsts == (0..8).map(|index| 700_000 + index * 65_536).collect(), "{firsts:?}");
    world.done(daemon);
    Ok(())
}

fn a_pool_without_room_refuses_and_leaves_nothing(world: &World) -> Result<()> {
    let (daemon, image) = with_room_for(world, 1)?;
    let only = sleeper(&daemon, &AUTO, &image)?;
    let refused = daemon.gantry(&["run", "--name", "second", "--userns", "auto", &image, "true"])?;
    let refused = refused.exits(125)?.complains("no 65536 free ones")?;
    ensure!(refused.stderr.contains("containers.userns_pool"), "no hint: {refused}");
    ensure!(daemon.ok(&["ps", "-aq", "--no-trunc"])? == only, "the refused one is there");
    daemon.ok(&["run", "--rm", "--name", "second", &image, "true"])?;
    daemon.ok(&["rm", "-f", &only])?;
    daemon.ok(&["run", "--rm", "--name", "second", "--userns", "auto", &image, "true"])?;
    world.done(daemon);
    Ok(())
}

fn mappings_of_the_callers_are_taken_and_wrong_ones_refused(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let flags = ["--uidmap", "0:300000:1000", "--uidmap", "1000:400000:1", "--gidmap", "0:500000:2001"];
    let script = "tr -s ' ' ' ' </proc/self/uid_map; tr -s ' ' ' ' </proc/self/gid_map";
    let said = daemon.ok(&[&["run", "--rm"], &flags[..], &[&image, "sh", "-c", script]].concat())?;
    let lines: Vec<&str> = said.lines().map(str::trim).collect();
    ensure!(lines == ["0 300000 1000", "1000 400000 1", "0 500000 2001"], "{said}");
    let id = daemon.ok(&[&["create"], &flags[..], &[&image, "true"]].concat())?;
    let told = daemon.inspect(&id, "{{json .HostConfig.IDMappings}}")?;
    ensure!(told.contains("1000:400000:1") && told.contains("0:500000:2001"), "{told}");
    for (mapping, why) in [
        (&["--uidmap", "1:300000:1000"][..], "the container's root"),
        (&["--uidmap", "0:300000:1000", "--uidmap", "1:500000:1"], "overlaps"),
        (&["--uidmap", "0:4294967295:1"], "ends beyond"),
        (&["--uidmap", "0:1879048192:10"], "the daemon's own pool"),
        (&["--uidmap", "0:300000"], "INSIDE:OUTSIDE:COUNT"),
        (&["--userns", "keep-id"], "not available"),
    ] {
        let outcome = daemon.gantry(&[&["create"], mapping, &[&image, "true"]].concat())?;
        ensure!(outcome.code != 0, "{mapping:?} was taken");
        outcome.complains(why)?;
    }
    world.done(daemon);
    Ok(())
}

fn what_cannot_be_mapped_is_refused_with_a_reason(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let id = sleeper(&daemon, &["--userns", "auto:size=1000"], &image)?;
    daemon.gantry(&["exec", "-u", "1000", &id, "true"])?.complains("user 1000 is outside")?;
    daemon.gantry(&["exec", "-u", "999:999", &id, "true"])?.exits(0)?;
    for (flags, why) in [
        (&["--userns", "auto", "--privileged"][..], "--privileged"),
        (&["--userns", "auto", "--pid", "host"], "--pid host"),
        (&["--userns", "auto", "--runtime", "crun"], "cannot give a user namespace"),
        (&["--userns", "host", "-v", "/tmp:/mnt:idmap"], "cannot be id-mapped"),
    ] {
        let refused = daemon.gantry(&[&["create"], flags, &[&image, "true"]].concat())?;
        refused.exits(1)?.complains(why)?.complains("hint")?;
    }
    let refused = daemon.gantry(&["run", "--userns", "auto:size=1000", "-u", "1000", &image, "true"])?;
    refused.exits(125)?.complains("user 1000 is outside")?;
    world.done(daemon);
    Ok(())
}

fn the_usual_files_devices_and_options_work_inside(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let script = "set -e; for file in hosts hostname resolv.conf; do cat /etc/$file >/dev/null; \
                  stat -c %u /etc/$file; echo '# mine' >>/etc/$file; done; echo x >/dev/null; \
                  head -c 1 /dev/urandom | wc -c; echo x >/dev/shm/x; ls /sys/class/net; \
                  echo out >/dev/stdout; echo err >/dev/stderr; ls /dev/mqueue | wc -l; hostname";
    let said = says(&daemon, &["--network", "none", "-h", "box"], &image, script)?;
    ensure!(said == "0\n0\n0\n1\nlo\nout\n0\nbox", "{said}");
    let flags = [
        "--read-only",
        "--tmpfs",
        "/t:size=1m",
        "--ulimit",
        "nofile=77:88",
        "--init",
        "--device",
        "/dev/zero:/dev/own",
    ];
    let script = "touch /x 2>/dev/null || echo read-only; touch /t/x; ulimit -n; ulimit -Hn; \
                  head -c 2 /dev/own | wc -c; cat /proc/1/comm";
    let said = says(&daemon, &flags, &image, script)?;
    ensure!(said.starts_with("read-only\n77\n88\n2\n"), "{said}");
    let flags = ["--sysctl", "net.ipv4.ip_default_ttl=99", "--sysctl", "kernel.shmmax=4096", "-u", "alice"];
    let script = "cat /proc/sys/net/ipv4/ip_default_ttl /proc/sys/kernel/shmmax; id -u; id -G; grep CapEff /proc/self/status";
    let said = says(&daemon, &flags, &image, script)?;
    ensure!(said.starts_with("99\n4096\n1000\n1000 2000\n") && said.ends_with("0000000000000000"), "{said}");
    for file in ["/proc/kcore", "/sys/firmware"] {
        ensure!(
            says(&daemon, &[], &image, &format!("head -c 1 {file} 2>/dev/null | wc -c"))? == "0",
            "{file}"
        );
    }
    let said = says(
        &daemon,
        &["--ipc", "host", "--uts", "host"],
        &image,
        "touch /dev/shm/gantry-none/x 2>&1; hostname",
    )?;
    ensure!(said.ends_with(fs::read_to_string("/proc/sys/kernel/hostname")?.trim()), "{said}");
    // Started again it is in the same namespace's ids, and finds its files.
    let id =
        daemon.ok(&["create", "--userns", "auto", &image, "sh", "-c", "cat /kept; echo $(id -u) >>/kept"])?;
    daemon.gantry(&["start", "-a", &id])?.exits(0)?;
    daemon.gantry(&["start", "-a", &id])?.exits(0)?.prints("0")?;
    world.done(daemon);
    Ok(())
}

fn an_exec_joins_the_user_namespace(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let id = sleeper(&daemon, &AUTO, &image)?;
    let own = fs::read_link(format!("/proc/{}/ns/user", daemon.container_pid(&id)?))?;
    let script =
        "readlink /proc/self/ns/user; id -u; cat; echo out >/dev/stdout; echo err >/dev/stderr; exit 4";
    let said = daemon.gantry_with_input(&["exec", "-i", &id, "sh", "-c", script], "input\n")?.exits(4)?;
    ensure!(said.stdout == format!("{}\n0\ninput\nout\n", own.display()) && said.stderr == "err\n", "{said}");
    let script = "id -u; echo out >/dev/stdout; touch /home/x 2>/dev/null || echo not mine";
    daemon.gantry(&["exec", "-u", "alice", &id, "sh", "-c", script])?.prints("1000\nout\nnot mine")?;
    daemon
        .gantry(&["exec", "--privileged", &id, "sh", "-c", "mount -t tmpfs x /mnt 2>&1; id -u"])?
        .exits(0)?;
    ensure!(daemon.ok(&["top", &id])?.contains("sleep"));
    world.done(daemon);
    Ok(())
}

fn terminals_are_the_mapped_roots(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let script = "stty size; stat -c %u:%g:%a $(tty); echo reopened >$(tty); exit $((5 + 7))\r";
    let run = ["run", "--rm", "-it", "--userns", "auto", &image, "sh"];
    let mut terminal = Terminal::start(&daemon.socket(), &run, 111, 37)?;
    let id = sleeper(&daemon, &AUTO, &image)?;
    let exec = ["exec", "-it", &id, "sh"];
    let mut other = Terminal::start(&daemon.socket(), &exec, 111, 37)?;
    for terminal in [&mut terminal, &mut other] {
        terminal.press(script)?;
        terminal.see("37 111")?;
        terminal.see("0:5:620")?;
        terminal.see("reopened")?;
    }
    ensure!(terminal.finish()? == 12 && other.finish()? == 12);
    let mut terminal = Terminal::start(&daemon.socket(), &["exec", "-it", "-u", "alice", &id, "sh"], 80, 24)?;
    terminal.press("stat -c %u $(tty); echo mine >$(tty)\r")?;
    terminal.see("1000")?;
    terminal.see("mine")?;
    terminal.press("exit\r")?;
    ensure!(terminal.finish()? == 0);
    // Without the group of terminals there still are terminals.
    let few = ["run", "--rm", "-t", "--uidmap", "0:300000:2", &image, "sh", "-c", "test -t 0 && echo yes"];
    let mut terminal = Terminal::start(&daemon.socket(), &few, 80, 24)?;
    terminal.see("yes")?;
    ensure!(terminal.finish()? == 0);
    world.done(daemon);
    Ok(())
}

fn a_volume_has_the_hosts_owners_unless_it_is_id_mapped(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let source = daemon.path("volume");
    fs::create_dir(&source)?;
    fs::write(source.join("file"), "content\n")?;
    let script = "stat -c %u /v/file; cat /v/file; touch /v/made 2>/dev/null || echo not mine";
    let plain = format!("{}:/v", source.display());
    ensure!(says(&daemon, &["-v", &plain], &image, script)? == "65534\ncontent\nnot mine");
    let mapped = format!("{}:/v:idmap", source.display());
    let script = "stat -c %u /v/file; touch /v/made && chown alice /v/made && stat -c %u /v/made";
    ensure!(says(&daemon, &["-v", &mapped], &image, script)? == "0\n1000");
    ensure!(fs::metadata(source.join("made"))?.uid() == 1000, "the owner on the disk is the container's");
    let mount = format!("type=bind,source={},target=/v,idmap,readonly", source.display());
    let script = "stat -c %u /v/file; touch /v/more 2>/dev/null || echo read-only";
    ensure!(says(&daemon, &["--mount", &mount], &image, script)? == "0\nread-only");
    world.done(daemon);
    Ok(())
}

fn the_containers_outlive_the_daemon_with_their_ids(world: &World) -> Result<()> {
    let (mut daemon, image) = world.daemon_with_busybox()?;
    let script = "trap 'echo term; exit 8' TERM; echo ready; while :; do sleep 0.1; done";
    let id = daemon.ok(&["run", "-d", "--userns", "auto", "--memory", "64m", &image, "sh", "-c", script])?;
    let first = first_id(&daemon, &id)?;
    daemon.kill()?;
    daemon.restart()?;
    ensure!(first_id(&daemon, &id)? == first && first_id_of_process(&daemon, &id)? == first);
    daemon.gantry(&["exec", &id, "sh", "-c", "id -u; echo out >/dev/stdout"])?.prints("0\nout")?;
    ensure!(daemon.ok(&["stats", "--no-stream", &id])?.contains("/ 64.0MiB"));
    daemon.ok(&["pause", &id])?;
    daemon.ok(&["unpause", &id])?;
    daemon.ok(&["stop", &id])?;
    ensure!(
        daemon.ok(&["logs", &id])? == "ready\nterm" && daemon.inspect(&id, "{{.State.ExitCode}}")? == "8"
    );
    daemon.ok(&["start", &id])?;
    ensure!(first_id_of_process(&daemon, &id)? == first);
    world.done(daemon);
    Ok(())
}

fn the_default_is_configured_and_host_wins_over_it(world: &World) -> Result<()> {
    let mut daemon = Daemon::prepare()?;
    daemon.write_config("containers.default_userns = \"auto\"\n")?;
    daemon.restart()?;
    let image = world.shared.busybox.reference.clone();
    daemon.ok(&["pull", "-q", &image])?;
    let of = |flags: &[&str]| -> Result<String> {
        daemon.ok(&[&["run", "--rm"], flags, &[&image, "sh", "-c", "cat /proc/self/uid_map"]].concat())
    };
    let words = |text: String| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    ensure!(words(of(&[])?) == ["0", "1879048192", "65536"]);
    ensure!(words(of(&["--userns", "host"])?) == ["0", "0", "4294967295"]);
    daemon.ok(&["run", "--rm", "--userns", "host", "--privileged", &image, "true"])?;
    daemon
        .gantry(&["run", "--rm", "--privileged", &image, "true"])?
        .exits(125)?
        .complains("--userns host")?;
    world.done(daemon);
    Ok(())
}

fn root_inside_has_a_network_of_its_own(world: &World) -> Result<()> {
    on_stage(world, |stage, daemon, image| {
        daemon.ok(&["network", "create", "front"])?;
        daemon.ok(&["network", "create", "back"])?;
        serve(daemon, image, "--name web --network front -p 8080:80 --userns auto")?;
        let flags =
            [&AUTO[..], &["--name", "client", "--network", "front", "--cap-add", "NET_ADMIN"]].concat();
        sleeper(daemon, &flags, image)?;
        let shell = |daemon: &Daemon, script: &str| daemon.ok(&["exec", "client", "sh", "-c", script]);
        let hello = |daemon: &Daemon, container: &str, name: &str| {
            until_true(format!("{name} to answer {container}"), seconds(20), || {
                let said = daemon.gantry(&["exec", container, "wget", "-qO-", &format!("http://{name}/")])?;
                Ok(said.stdout == "hello\n")
            })
        };
        hello(daemon, "client", "web")?;
        let request = get("127.0.0.1", 8080);
        until_true("the published port", seconds(20), || Ok(stage.host(&request)?.stdout.contains("hello")))?;
        ensure!(shell(daemon, "ping -c 1 -W 5 web >/dev/null && echo yes")? == "yes", "no raw sockets");
        // With the capability it is master of its own links, and of nobody else's.
        shell(
            daemon,
            "ip link add extra type bridge && ip address add 10.99.0.1/24 dev extra && ip link set extra up",
        )?;
        ensure!(shell(daemon, "ls /sys/class/net")?.split_whitespace().eq(["eth0", "extra", "lo"]));
        daemon.ok(&["network", "connect", "back", "client"])?;
        ensure!(shell(daemon, "ip -o link show eth1 | wc -l")? == "1");
        let own = daemon.inspect("client", "{{.NetworkSettings.Networks.front.IPAddress}}")?;
        ensure!(shell(daemon, "cat /etc/hosts")?.contains(&own), "/etc/hosts lacks {own}");
        daemon.kill()?;
        daemon.restart()?;
        daemon.ok(&["network", "disconnect", "back", "client"])?;
        daemon.ok(&["restart", "-t", "0", "web"])?;
        hello(daemon, "client", "web")
    })
}

fn networks_of_others_are_joined(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    for owner in [&AUTO[..], &["--userns", "host"]] {
        let peer = sleeper(&daemon, &[owner, &["--network", "none"]].concat(), &image)?;
        let of_peer = fs::read_link(format!("/proc/{}/ns/net", daemon.container_pid(&peer)?))?;
        let joined = format!("container:{peer}");
        let script = "readlink /proc/self/ns/net; ls -d /sys/class; touch /sys/x 2>/dev/null || echo read-only; cat /etc/hosts >/dev/null && echo read";
        let said = says(&daemon, &["--network", &joined], &image, script)?;
        ensure!(said == format!("{}\n/sys/class\nread-only\nread", of_peer.display()), "{said}");
        daemon.ok(&["rm", "-f", &peer])?;
    }
    let of_host = fs::read_link("/proc/self/ns/net")?;
    let script = "readlink /proc/self/ns/net; echo 1 2>/dev/null >/sys/kernel/mm/ksm/run || echo not mine; \
                  grep -c ' /sys/fs/cgroup' /proc/self/mountinfo | grep -v '^0$' >/dev/null && echo cgroups";
    let said = says(&daemon, &["--network", "host"], &image, script)?;
    ensure!(said == format!("{}\nnot mine\ncgroups", of_host.display()), "{said}");
    world.done(daemon);
    Ok(())
}

fn a_sandbox_is_shared_with_and_without_a_user_namespace(world: &World) -> Result<()> {
    on_stage(world, |stage, daemon, image| {
        daemon.ok(&["network", "create", "front"])?;
        let sandbox = make_sandbox(daemon)?;
        let join = format!("sandbox:{}", sandbox.id);
        serve(daemon, image, &format!("--name web --network {join}"))?;
        // The sandbox is not its root's: its port is not one of the first 1024.
        let mapped = [&["run", "-d", "--name", "mapped", "--network", &join], &AUTO[..]].concat();
        daemon.ok(&[&mapped[..], &[image, "sh", "-c", &SERVER.replace("-p 80", "-p 8081")]].concat())?;
        serve(daemon, image, "--name other --network front --userns auto")?;
        let asks = |who: &str, whom: &str| {
            says_hello(whom, || shell(daemon, who, &format!("wget -qO- http://{whom}/")))
        };
        asks("mapped", "127.0.0.1")?;
        asks("web", "127.0.0.1:8081")?;
        asks("mapped", "other")?;
        asks("other", "pod")?;
        asks("other", "pod:8081")?;
        says_hello("the sandbox's port", || Ok(stage.outside(&get(HOST, 8080))?.stdout))?;
        // Nor are its links, whatever capability it has.
        let flags = ["--network", &join, "--cap-add", "NET_ADMIN"];
        let said = says(daemon, &flags, image, "ip link set eth0 down 2>/dev/null || echo not mine")?;
        ensure!(said == "not mine", "{said}");
        daemon.kill()?;
        daemon.restart()?;
        daemon.ok(&["restart", "-t", "0", "mapped"])?;
        says_hello("the sandbox again", || shell(daemon, "other", "wget -qO- http://pod:8081/"))?;
        daemon.ok(&["rm", "-f", "web", "mapped"])?;
        remove_sandbox(daemon, &sandbox.id)?.map_err(Into::into)
    })
}

fn its_processes_are_in_its_cgroup_with_its_limits_cve_2025_47291(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let flags = [&AUTO[..], &["--memory", "64m", "--pids-limit", "33"]].concat();
    let id = sleeper(&daemon, &flags, &image)?;
    let mut exec = daemon.begin(&["exec", &id, "sh", "-c", "echo ready; sleep 1000"])?;
    ensure!(exec.next_line()? == "ready");
    let group = format!("/{}/default/{id}", daemon.name());
    let pids = daemon.ok(&["top", &id])?;
    let pids: Vec<u32> =
        pids.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)?.parse().ok()).collect();
    ensure!(pids.len() == 2, "{pids:?}");
    for pid in pids {
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
        let outside = groups.lines().find(|line| {
            let (named, path) = (line.split(':').nth(1), line.splitn(3, ':').nth(2).unwrap_or(""));
            // Hierarchies without a controller have no limits.
            path != group && !named.is_some_and(|name| name.starts_with("name="))
        });
        ensure!(
            outside.is_none() || !cgroup::is_unified()? && groups.contains(&group),
            "{pid} is in {groups}"
        );
        ensure!(cgroup::read(pid, ("memory", "memory.limit_in_bytes"), "memory.max")? == "67108864");
        ensure!(cgroup::read(pid, ("pids", "pids.max"), "pids.max")? == "33");
    }
    daemon.ok(&["rm", "-f", &id])?;
    exec.finish()?;
    world.done(daemon);
    Ok(())
}

fn a_hostile_user_database_neither_hangs_nor_decides_the_range_cve_2024_9676(world: &World) -> Result<()> {
    let (daemon, _) = world.daemon_with_busybox()?;
    let mut many = String::new();
    for id in 0..5000 {
        writeln!(many, "u{id}:x:{}:{id}::/:/bin/sh", 4_000_000_000_u32 - id)?;
    }
    let layers = [
        Layer::new().whiteout("etc/passwd").symlink("etc/passwd", "/dev/zero"),
        Layer::new().symlink("etc/passwd", "../../../../../../etc/shadow"),
        Layer::new().file("etc/passwd", 0o644, many.as_bytes()),
    ];
    for (number, layer) in layers.iter().enumerate() {
        let image = busybox(None)?.layer(layer)?;
        let image = image.push(&world.shared.registry, &format!("users{number}"), "latest")?.reference;
        daemon.ok(&["pull", "-q", &image])?;
        let id = daemon.ok(&["create", "--userns", "auto", &image, "true"])?;
        let mapping = daemon.inspect(&id, "{{join .HostConfig.IDMappings.UidMap \",\"}}")?;
        ensure!(mapping.ends_with(":65536"), "the image decided: {mapping}");
        // Root is a number: whatever the file is, it decides nothing.
        let said = daemon.gantry(&["run", "--rm", "--userns", "auto", "-u", "0:0", &image, "echo", "ran"])?;
        ensure!(said.code == 0 && said.stdout == "ran\n" || said.code == 125, "{said}");
    }
    world.done(daemon);
    Ok(())
}
