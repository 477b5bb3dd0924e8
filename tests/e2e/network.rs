//! Do networks do what people expect? Names, published ports, changes while containers run, and law one: all of it
//! without the daemon. Each test has a stage of its own, so the machine's network is never touched.

use std::process::{Child, Command};

use anyhow::{Result, ensure};
use gantry_tests::cli::{run, send_signal};
use gantry_tests::daemon::Daemon;
use gantry_tests::network::{HOST, HOST6, OUTSIDE, Stage, is_possible};
use gantry_tests::trial::{World, skip};
use gantry_tests::wait::{seconds, until, until_true};
use nix::sys::signal::Signal;

tests![
    containers_find_each_other_by_name_and_reach_the_outside,
    a_published_port_answers_from_everywhere_and_keeps_the_source,
    networks_come_and_go_while_the_container_runs,
    ports_come_and_go_while_the_container_runs,
    a_port_that_is_taken_is_refused_with_its_holder,
    an_address_stays_over_restarts,
    names_and_ports_work_while_no_daemon_does,
    rules_that_somebody_flushes_come_back,
    names_resolve_again_after_netd_was_killed,
    an_internal_network_has_no_way_out,
    networks_are_closed_to_each_other,
    version_6_works_as_version_4_does,
    a_container_shares_the_network_of_another,
    a_process_that_got_the_number_of_an_ended_init_is_let_alone,
    twenty_containers_at_once_get_addresses_of_their_own,
    a_daemon_killed_during_starts_leaves_nothing_of_them,
    a_daemon_with_networks_has_no_socket_that_others_could_take,
    values_that_would_break_a_file_are_refused,
    networks_that_are_reset_leave_nothing_in_the_kernel_and_come_again,
];

/// A web server that answers `hello`.
pub(crate) const SERVER: &str = "mkdir /www; echo hello >/www/index.html; exec httpd -f -p 80 -h /www";

/// A daemon with busybox and further images on a stage of its own, where no registry is; `None` where there can be none.
fn stage(world: &World, images: &[&str]) -> Result<Option<(Stage, Daemon, String)>> {
    if !is_possible() {
        return Ok(None);
    }
    let (mut daemon, image) = world.daemon_with_busybox()?;
    for image in images {
        daemon.ok(&["pull", "-q", image])?;
    }
    let stage = Stage::make()?;
    stage.move_in(&mut daemon)?;
    Ok(Some((stage, daemon, image)))
}

/// Runs a test on a stage, and looks for what its containers left in the network.
pub(crate) fn on_stage(
    world: &World,
    test: impl FnOnce(&Stage, &mut Daemon, &str) -> Result<()>,
) -> Result<()> {
    on_stage_with(world, &[], test)
}

/// The same with further images, given as references.
pub(crate) fn on_stage_with(
    world: &World,
    images: &[&str],
    test: impl FnOnce(&Stage, &mut Daemon, &str) -> Result<()>,
) -> Result<()> {
    let Some((stage, mut daemon, image)) = stage(world, images)? else {
        return skip("ip, nsenter, unshare and nft are needed (packages iproute2, util-linux, nftables)");
    };
    test(&stage, &mut daemon, &image)?;
    let all = daemon.ok(&["ps", "-aq", "--no-trunc"])?;
    if !all.is_empty() {
        let ids: Vec<&str> = all.lines().collect();
        daemon.ok(&[&["rm", "-f"], ids.as_slice()].concat())?;
    }
    stage.check_clean(&daemon)?;
    daemon.finish()
}

/// Starts [`SERVER`] in a container with these flags.
pub(crate) fn serve(daemon: &Daemon, image: &str, flags: &str) -> Result<()> {
    let flags: Vec<&str> = flags.split_whitespace().collect();
    daemon.ok(&[&["run", "-d"], flags.as_slice(), &[image, "sh", "-c", SERVER]].concat()).map(drop)
}

/// What a container's shell prints.
pub(crate) fn shell(daemon: &Daemon, container: &str, script: &str) -> Result<String> {
    Ok(daemon.gantry(&["exec", container, "sh", "-c", script])?.stdout.trim().to_owned())
}

/// Waits until `hello` comes back from an address, asked for by whoever `ask` is.
pub(crate) fn says_hello(what: &str, ask: impl Fn() -> Result<String>) -> Result<()> {
    until_true(format!("{what} to answer"), seconds(10), || Ok(ask()?.contains("hello")))
}

/// A request without a program for it on the host: busybox is everywhere.
pub(crate) fn get(address: &str, port: u16) -> String {
    format!("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | /bin/busybox nc -w 2 {address} {port}")
}

fn containers_find_each_other_by_name_and_reach_the_outside(world: &World) -> Result<()> {
    on_stage(world, |_, daemon, image| {
        daemon.ok(&["network", "create", "front"])?;
        serve(daemon, image, "--name web --network front:alias=www")?;
        daemon.ok(&["run", "-d", "--name", "client", "--network", "front", image, "sleep", "1000"])?;
        for name in ["web", "www"] {
            says_hello(name, || shell(daemon, "client", &format!("wget -qO- http://{name}/")))?;
        }
        let reached = shell(daemon, "client", &format!("ping -c 1 -W 2 {OUTSIDE} >/dev/null && echo yes"))?;
        ensure!(reached == "yes", "the outside does not answer");
        let own = daemon.inspect("client", "{{.NetworkSettings.Networks.front.IPAddress}}")?;
        ensure!(shell(daemon, "client", "cat /etc/hosts")?.contains(&own), "/etc/hosts lacks {own}");
        ensure!(shell(daemon, "client", &format!("nslookup {own}"))?.contains("client"), "no reverse name");
        daemon.ok(&["rename", "web", "shop"])?;
        says_hello("the new name", || shell(daemon, "client", "wget -qO- http://shop/"))
    })
}

fn a_published_port_answers_from_everywhere_and_keeps_the_source(world: &World) -> Result<()> {
    on_stage(world, |stage, daemon, image| {
        serve(daemon, image, "--name web -p 8080:80")?;
        says_hello("the port from outside", || Ok(stage.outside(&get(HOST, 8080))?.stdout))?;
        says_hello("the port from the host", || Ok(stage.host(&get(HOST, 8080))?.stdout))?;
        says_hello("the port on 127.0.0.1", || Ok(stage.host(&get("127.0.0.1", 8080))?.stdout))?;
        let hairpin = format!("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 2 {HOST} 8080");
        says_hello("the port from the container itself", || shell(daemon, "web", &hairpin))?;
        ensure!(daemon.ok(&["port", "web", "80"])?.lines().any(|line| line == "0.0.0.0:8080"));
        let table = daemon.ok(&["ps"])?;
        ensure!(table.contains("0.0.0.0:8080->80/tcp"), "{table}");
        // The flow in the kernel's table says whom the container sees: the outside itself, not the host.
        let script = "while :; do nc -l -p 90 -e sh -c 'cat /proc/net/tcp /proc/net/tcp6'; done";
        daemon.ok(&["run", "-d", "--name", "peers", "-p", "9090:90", image, "sh", "-c", script])?;
        // 203.0.113.2 as /proc/net/tcp writes it.
        until_true("the source address", seconds(10), || {
            let said = stage.outside(&format!("/bin/busybox nc -w 2 {HOST} 9090 </dev/null"))?.stdout;
            Ok(said.contains("027100CB"))
        })
    })
}

fn networks_come_and_go_while_the_container_runs(world: &World) -> Result<()> {
    on_stage(world, |stage, daemon, image| {
        daemon.ok(&["network", "create", "front"])?;
        daemon.ok(&["network", "create", "back"])?;
        serve(daemon, image, "--name web --network front -p 8080:80")?;
        daemon.ok(&["run", "-d", "--name", "client", "--network", "back", image, "sleep", "1000"])?;
        let hosts = "stat -c %i /etc/hosts";
        let inode = shell(daemon, "web", hosts)?;
        daemon.ok(&["network", "connect", "--alias", "w", "back", "web"])?;
        for name in ["web", "w"] {
            says_hello(name, || shell(daemon, "client", &format!("wget -qO- http://{name}/")))?;
        }
        let address = daemon.inspect("web", "{{.NetworkSettings.Networks.back.IPAddress}}")?;
        ensure!(shell(daemon, "web", "cat /etc/hosts")?.contains(&address), "/etc/hosts lacks {address}");
        ensure!(shell(daemon, "web", hosts)? == inode, "/etc/hosts is another file");
        says_hello("the port", || Ok(stage.outside(&get(HOST, 8080))?.stdout))?;
        daemon.ok(&["network", "disconnect", "front", "web"])?;
        let links = shell(daemon, "web", "ip -o -4 addr")?;
        ensure!(links.contains(&address) && links.lines().count() == 2, "{links}");
        says_hello("the port through the other network", || Ok(stage.outside(&get(HOST, 8080))?.stdout))?;
        daemon.gantry(&["network", "disconnect", "front", "web"])?.exits(1)?.complains("no place")?;
        daemon.ok(&["network", "rm", "front"])?;
        daemon.gantry(&["network", "rm", "back"])?.exits(1)?.complains("2 endpoints").map(drop)
    })
}

fn ports_come_and_go_while_the_container_runs(world: &World) -> Result<()> {
    on_stage(world, |stage, daemon, image| {
        serve(daemon, image, "--name web")?;
        daemon.ok(&["port", "add", "web", "8080:80"])?;
        says_hello("the added port", || Ok(stage.outside(&get(HOST, 8080))?.stdout))?;
        daemon.ok(&["port", "rm", "web", "8080:80"])?;
        until_true("the port to be closed", seconds(10), || {
            Ok(!stage.outside(&get(HOST, 8080))?.stdout.contains("hello"))
        })?;
        ensure!(daemon.ok(&["port", "web"])?.is_empty());
        let picked = daemon.ok(&["port", "add", "web", "127.0.0.1::80"])?;
        let port: u16 = picked.rsplit(':').next().unwrap_or_default().trim().parse()?;
        says_hello("the picked port", || Ok(stage.host(&get("127.0.0.1", port))?.stdout))?;
        ensure!(
            !stage.outside(&get(HOST, port))?.stdout.contains("hello"),
            "it is published on 127.0.0.1 only"
        );
        Ok(())
    })
}

fn a_port_that_is_taken_is_refused_with_its_holder(world: &World) -> Result<()> {
    on_stage(world, |stage, daemon, image| {
        daemon.ok(&["run", "-d", "--name", "one", "-p", "8080:80", image, "sleep", "1000"])?;
        daemon.gantry(&["create", "-p", "8080:81", image])?.exits(1)?.complains("taken by container")?;
        daemon.ok(&["create", "-p", "8080:80/udp", image])?;
        let listening =
            stage.host("/bin/busybox nc -l -p 7070 >/dev/null 2>&1 & sleep 0.3; echo $!")?.ok()?;
        daemon.gantry(&["create", "-p", "7070:80", image])?.exits(1)?.complains("a process of the host")?;
        stage.host(&format!("kill {listening}")).map(drop)
    })
}

fn an_address_stays_over_restarts(world: &World) -> Result<()> {
    on_stage(world, |_, daemon, image| {
        daemon.ok(&["network", "create", "front"])?;
        daemon.ok(&[
            "run",
            "-d",
            "--name",
            "web",
            "--network",
            "front",
            "-p",
            "80",
            image,
            "sleep",
            "1000",
        ])?;
        let facts = |daemon: &Daemon| -> Result<String> {
            let address = daemon.inspect("web", "{{.NetworkSettings.Networks.front.IPAddress}}")?;
            Ok(format!("{address} {}", daemon.ok(&["port", "web"])?))
        };
        let before = facts(daemon)?;
        for _ in 0..3 {
            daemon.ok(&["restart", "-t", "0", "web"])?;
            ensure!(facts(daemon)? == before, "{before} became {}", facts(daemon)?);
        }
        let address = before.split(' ').next().unwrap_or_default();
        ensure!(shell(daemon, "web", "ip -o -4 addr show eth0")?.contains(address));
        Ok(())
    })
}

fn names_and_ports_work_while_no_daemon_does(world: &World) -> Result<()> {
    on_stage(world, |stage, daemon, image| {
        daemon.ok(&["network", "create", "front"])?;
        serve(daemon, image, "--name web --network front -p 8080:80")?;
        let folder = daemon.path("said");
        std::fs::create_dir(&folder)?;
        let volume = format!("{}:/said", folder.display());
        let script = "while :; do wget -qO /said/new http://web/ && mv /said/new /said/page; sleep 0.1; done";
        daemon.ok(&["run", "-d", "--network", "front", "-v", &volume, image, "sh", "-c", script])?;
        let page = folder.join("page");
        until_true("a page by name", seconds(10), || Ok(page.exists()))?;
        daemon.kill()?;
        std::fs::remove_file(&page)?;
        until_true("a page by name without a daemon", seconds(10), || Ok(page.exists()))?;
        says_hello("the port without a daemon", || Ok(stage.outside(&get(HOST, 8080))?.stdout))?;
        stage.host("nft flush ruleset")?.exits(0)?;
        says_hello("the port after a flush without a daemon", || {
            Ok(stage.outside(&get(HOST, 8080))?.stdout)
        })?;
        daemon.restart()?;
        says_hello("the port with the next daemon", || Ok(stage.outside(&get(HOST, 8080))?.stdout))?;
        std::fs::remove_file(&page)?;
        until_true("a page by name with the next daemon", seconds(10), || Ok(page.exists()))
    })
}

fn rules_that_somebody_flushes_come_back(world: &World) -> Result<()> {
    on_stage(world, |stage, daemon, image| {
        serve(daemon, image, "--name web -p 8080:80")?;
        says_hello("the port", || Ok(stage.outside(&get(HOST, 8080))?.stdout))?;
        stage.host("nft add table inet other && nft add chain inet other x")?.exits(0)?;
        for _ in 0..5 {
            stage.host("nft delete table inet gantry")?.exits(0)?;
            says_hello("the port after its rules were taken away", || {
                Ok(stage.outside(&get(HOST, 8080))?.stdout)
            })?;
        }
        stage.host("nft list chain inet other x")?.exits(0).map(drop)
    })
}

fn names_resolve_again_after_netd_was_killed(world: &World) -> Result<()> {
    on_stage(world, |_, daemon, image| {
        daemon.ok(&["run", "-d", "--name", "web", image, "sleep", "1000"])?;
        let resolves = || Ok(shell(daemon, "web", "nslookup web && echo found")?.contains("found"));
        until_true("a name", seconds(10), resolves)?;
        let lock = daemon.path("run/netd/lock");
        let before = std::fs::read_to_string(&lock)?;
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(before.trim().parse()?),
            nix::sys::signal::Signal::SIGKILL,
        )?;
        until_true("another netd", seconds(10), || Ok(std::fs::read_to_string(&lock)? != before))?;
        until_true("the name again", seconds(10), resolves)
    })
}

fn an_internal_network_has_no_way_out(world: &World) -> Result<()> {
    on_stage(world, |_, daemon, image| {
        daemon.ok(&["network", "create", "--internal", "lab"])?;
        serve(daemon, image, "--name near --network lab")?;
        daemon.ok(&["run", "-d", "--name", "asker", "--network", "lab", image, "sleep", "1000"])?;
        says_hello("the neighbour", || shell(daemon, "asker", "wget -qO- http://near/"))?;
        let out =
            shell(daemon, "asker", &format!("ping -c 1 -W 1 {OUTSIDE} >/dev/null 2>&1 || echo closed"))?;
        ensure!(out == "closed", "the outside answers");
        ensure!(!shell(daemon, "asker", "ip route")?.contains("default"), "there is a default route");
        daemon
            .gantry(&["port", "add", "near", "8080:80"])?
            .exits(1)?
            .complains("cannot be published")
            .map(drop)
    })
}

fn networks_are_closed_to_each_other(world: &World) -> Result<()> {
    on_stage(world, |_, daemon, image| {
        daemon.ok(&["network", "create", "one"])?;
        daemon.ok(&["network", "create", "two"])?;
        serve(daemon, image, "--name near --network one")?;
        daemon.ok(&["run", "-d", "--name", "asker", "--network", "two", image, "sleep", "1000"])?;
        let address = daemon.inspect("near", "{{.NetworkSettings.IPAddress}}")?;
        let request = format!("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 2 {address} 80");
        says_hello("the server itself", || shell(daemon, "near", &request))?;
        let said = shell(daemon, "asker", &request)?;
        ensure!(!said.contains("hello"), "one network reaches the other");
        let said = shell(daemon, "asker", "nslookup near 2>&1 && echo found")?;
        ensure!(!said.contains("found"), "one network knows the other's names: {said}");
        daemon.ok(&["network", "connect", "one", "asker"])?;
        says_hello("the other network, once connected", || shell(daemon, "asker", "wget -qO- http://near/"))
    })
}

fn version_6_works_as_version_4_does(world: &World) -> Result<()> {
    on_stage(world, |stage, daemon, image| {
        daemon.ok(&["network", "create", "--ipv6", "six"])?;
        serve(daemon, image, "--name web --network six -p 8080:80")?;
        daemon.ok(&["run", "-d", "--name", "client", "--network", "six", image, "sleep", "1000"])?;
        let reached = || Ok(shell(daemon, "client", "ping6 -c 1 -W 2 web >/dev/null && echo yes")? == "yes");
        until_true("the neighbour over version 6", seconds(10), reached)?;
        says_hello("the port over version 6", || Ok(stage.outside(&get(HOST6, 8080))?.stdout))?;
        let script = "ping6 -c 1 -W 2 2001:db8:1::2 >/dev/null && echo yes";
        until_true(
            "the outside over version 6",
            seconds(10),
            || Ok(shell(daemon, "client", script)? == "yes"),
        )
    })
}

fn a_container_shares_the_network_of_another(world: &World) -> Result<()> {
    on_stage(world, |_, daemon, image| {
        serve(daemon, image, "--name web")?;
        says_hello("localhost", || {
            daemon.ok(&[
                "run",
                "--rm",
                "--network",
                "container:web",
                image,
                "wget",
                "-qO-",
                "http://127.0.0.1/",
            ])
        })?;
        daemon
            .gantry(&["run", "--network", "container:web", "-p", "1:1", image])?
            .exits(125)?
            .complains("shares")?;
        daemon.ok(&["stop", "-t", "0", "web"])?;
        daemon
            .gantry(&["run", "--rm", "--network", "container:web", image])?
            .exits(125)?
            .complains("does not run")
            .map(drop)
    })
}

fn a_process_that_got_the_number_of_an_ended_init_is_let_alone(world: &World) -> Result<()> {
    on_stage(world, |_, daemon, image| {
        daemon.ok(&["network", "create", "back"])?;
        daemon.ok(&["run", "-d", "--name", "web", image, "sleep", "1000"])?;
        let init = daemon.container_pid("web")?;
        // While somebody may still write to its log, its shim has reaped it, and the daemon does not know.
        let log = std::fs::File::options().write(true).open(format!("/proc/{init}/fd/1"))?;
        send_signal(init, Signal::SIGKILL)?;
        let _other = until("a process with the number", seconds(10), || process_with_number(init))?;
        daemon.ok(&["network", "connect", "back", "web"])?;
        let shares = ["run", "--rm", "--network", "container:web", image, "ls", "/sys/class/net"];
        daemon.gantry(&shares)?.exits(125)?.complains("does not run")?;
        let number = init.to_string();
        let links = run(Command::new("nsenter").args(["--net", "-t", &number, "ip", "-o", "link"]))?.ok()?;
        drop(log);
        ensure!(links.lines().count() == 1 && links.contains("lo:"), "its namespace got {links}");
        ensure!(daemon.ok(&["wait", "web"])? == "137");
        Ok(())
    })
}

/// A process with this number and a network namespace of its own, once the number is free: numbers are given one after
/// the other, and anybody may take it.
fn process_with_number(number: u32) -> Result<Option<Ended>> {
    std::fs::write("/proc/sys/kernel/ns_last_pid", (number - 1).to_string())?;
    let child = Ended(Command::new("unshare").args(["--net", "sleep", "1000"]).spawn()?);
    if child.0.id() == number {
        let own = std::fs::read_link("/proc/self/ns/net")?;
        let theirs = || std::fs::read_link(format!("/proc/{number}/ns/net"));
        until_true("a network namespace", seconds(10), || Ok(theirs()? != own))?;
        return Ok(Some(child));
    }
    Ok(None)
}

/// A process that ends with this.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn twenty_containers_at_once_get_addresses_of_their_own(world: &World) -> Result<()> {
    on_stage(world, |_, daemon, image| {
        daemon.ok(&["network", "create", "front"])?;
        let started: Vec<_> = (0..24)
            .map(|number| {
                let name = format!("m{number}");
                daemon.begin(&["run", "-d", "--name", &name, "--network", "front", image, "sleep", "1000"])
            })
            .collect::<Result<_>>()?;
        for one in started {
            one.finish()?.exits(0)?;
        }
        let mut addresses = std::collections::BTreeSet::new();
        for number in 0..24 {
            let name = format!("m{number}");
            addresses.insert(daemon.inspect(&name, "{{.NetworkSettings.Networks.front.IPAddress}}")?);
        }
        ensure!(addresses.len() == 24, "{addresses:?}");
        let reached = || Ok(shell(daemon, "m3", "ping -c 1 -W 2 m17 >/dev/null && echo yes")? == "yes");
        until_true("one of many", seconds(10), reached)
    })
}

fn a_daemon_killed_during_starts_leaves_nothing_of_them(world: &World) -> Result<()> {
    on_stage(world, |stage, daemon, image| {
        daemon.ok(&["network", "create", "front"])?;
        for round in 0..8_u64 {
            let port = format!("{}:80", 8000 + round);
            let starts: Vec<_> = (0..4)
                .map(|_| {
                    daemon.begin(&["run", "-d", "--network", "front", "-p", &port, image, "sleep", "1000"])
                })
                .collect::<Result<_>>()?;
            // Not a wait for anything: where in the start the daemon dies is the point.
            std::thread::sleep(std::time::Duration::from_millis(5 + round * 12));
            daemon.kill()?;
            drop(starts);
            daemon.restart()?;
            let alive = daemon.ok(&["ps", "-q"])?.lines().count();
            let links = stage.host("ip -o link")?.ok()?.lines().filter(|line| line.contains(": gv")).count();
            ensure!(links == alive, "{links} links of {alive} containers that run, in round {round}");
            let all = daemon.ok(&["ps", "-aq", "--no-trunc"])?;
            let ids: Vec<&str> = all.lines().collect();
            if !ids.is_empty() {
                daemon.ok(&[&["rm", "-f"], ids.as_slice()].concat())?;
            }
            stage.check_clean(daemon)?;
        }
        daemon.ok(&["network", "rm", "front"])?;
        let links = stage.host("ip -o link")?.ok()?;
        ensure!(!links.contains(": gn"), "a bridge is left: {links}");
        Ok(())
    })
}

/// An abstract name is anybody's in the network namespace, a container's of the host's network included (CVE-2020-15257).
fn a_daemon_with_networks_has_no_socket_that_others_could_take(world: &World) -> Result<()> {
    on_stage(world, |stage, daemon, image| {
        daemon.ok(&["run", "-d", "--name", "one", image, "sleep", "1000"])?;
        let tables = stage.host("nft list tables")?.stdout;
        ensure!(tables.contains("gantry-daemon"), "the namespace is not claimed: {tables}");
        let sockets = stage.host("grep ' @' /proc/thread-self/net/unix || true")?.stdout;
        ensure!(!sockets.contains("gantry"), "{sockets}");
        Ok(())
    })
}

fn values_that_would_break_a_file_are_refused(world: &World) -> Result<()> {
    on_stage(world, |_, daemon, image| {
        for (flag, value) in [
            ("--add-host", "a\nb:127.0.0.1"),
            ("--dns-search", "a b"),
            ("--dns-option", "ndots:1\nnameserver 192.0.2.1"),
            ("--dns", "not-an-address"),
            ("--network-alias", "a b"),
            ("--hostname", "a\nb"),
            ("--mac-address", "01:00:5e:00:00:01"),
            ("--ip", "10.0.0.0.1"),
        ] {
            let outcome = daemon.gantry(&["create", flag, value, image])?;
            ensure!(outcome.code != 0, "{flag} {value:?} was taken");
        }
        Ok(())
    })
}

fn networks_that_are_reset_leave_nothing_in_the_kernel_and_come_again(world: &World) -> Result<()> {
    on_stage(world, |stage, daemon, image| {
        let reset = |daemon: &Daemon| run(daemon.command().args(["networks", "reset"]));
        let links = || stage.host("ip -o link")?.ok();
        daemon.ok(&["network", "create", "back"])?;
        serve(daemon, image, "--name web -p 8080:80")?;
        daemon.ok(&["network", "connect", "back", "web"])?;
        let netd = std::fs::read_to_string(daemon.path("run/netd/lock"))?;
        reset(daemon)?.exits(1)?.complains("another daemon uses the folder")?;
        daemon.stop()?;
        reset(daemon)?.exits(1)?.complains("1 containers are alive")?;
        ensure!(links()?.contains("gantry0"), "a refused reset has taken the bridge");
        daemon.restart()?;
        daemon.ok(&["stop", "-t", "0", "web"])?;
        daemon.stop()?;
        reset(daemon)?.exits(0)?;
        let left = links()?;
        ensure!(!left.contains("gantry0") && !left.contains(": gn"), "{left}");
        stage.host("nft list table inet gantry")?.exits(1)?;
        // Whoever is to take note of its end may not have done so yet.
        let command = std::fs::read(format!("/proc/{}/cmdline", netd.trim())).unwrap_or_default();
        ensure!(command.is_empty(), "gantry-netd runs on");
        // Once more is no error, and what was recorded is made again.
        reset(daemon)?.exits(0)?;
        daemon.restart()?;
        daemon.ok(&["start", "web"])?;
        says_hello("the port", || Ok(stage.outside(&get(HOST, 8080))?.stdout))?;
        ensure!(shell(daemon, "web", "ls /sys/class/net")?.contains("eth1"), "a place was lost");
        Ok(())
    })
}
