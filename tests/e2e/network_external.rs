//! Do networks work that another program makes? A driver of a few pages, started in the daemon's network namespace,
//! serves gantry.networks.driver.v1 and gives containers links of its own; and it refuses, hangs, dies and comes again.
//! And do two daemons keep out of each other's networks?

use std::fs;

use anyhow::{Result, ensure};
use gantry_tests::daemon::Daemon;
use gantry_tests::network::Stage;
use gantry_tests::network_driver::Running;
use gantry_tests::trial::World;
use gantry_tests::wait::{seconds, until_true};

use crate::network::{on_stage, says_hello, serve, shell};

tests![
    containers_on_a_drivers_network_have_what_it_gave_them,
    containers_in_user_namespaces_are_on_a_drivers_network,
    what_a_driver_refuses_or_does_not_answer_is_told,
    a_driver_that_was_away_is_told_what_it_missed,
    a_second_daemon_is_kept_out_of_the_networks_of_the_first,
];

/// A daemon that has a driver `ext`, which runs.
fn on_driver(
    world: &World,
    test: impl FnOnce(&dyn Fn() -> Result<Running>, &mut Daemon, &str) -> Result<()>,
) -> Result<()> {
    on_stage(world, |stage, daemon, image| {
        daemon.stop()?;
        fs::create_dir(daemon.path("driver"))?;
        let socket = daemon.path("driver/sock");
        daemon.write_config(&format!(
            "[networks.drivers.ext]\naddress = \"unix://{}\"\ntimeout_ms = 5000\n",
            socket.display()
        ))?;
        daemon.restart()?;
        let words = stage.as_host();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        test(&|| Running::start(&socket, &words), daemon, image)
    })
}

fn containers_on_a_drivers_network_have_what_it_gave_them(world: &World) -> Result<()> {
    on_driver(world, |start, daemon, image| {
        let driver = start()?;
        daemon.ok(&["network", "create", "-d", "ext", "-o", "colour=red", "lan"])?;
        ensure!(driver.said() == "CreateNetwork lan\n", "{}", driver.said());
        serve(daemon, image, "--name web --network lan:ip=10.99.0.77")?;
        daemon.ok(&["run", "-d", "--name", "client", "--network", "lan", image, "sleep", "1000"])?;
        says_hello("the neighbour", || shell(daemon, "client", "wget -qO- http://10.99.0.77/"))?;
        let told =
            |field: &str| daemon.inspect("web", &format!("{{{{.NetworkSettings.Networks.lan.{field}}}}}"));
        ensure!(told("IPAddress")? == "10.99.0.77" && told("Gateway")? == "10.99.0.1");
        ensure!(shell(daemon, "web", "cat /etc/hosts")?.contains("10.99.0.77"));
        ensure!(shell(daemon, "web", "cat /etc/resolv.conf")?.contains("nameserver 10.99.0.53"));
        let document = daemon.ok(&["network", "inspect", "lan"])?;
        for text in ["\"Driver\": \"ext\"", "\"colour\": \"red\"", "10.99.0.77/24", "\"Problem\": \"\""] {
            ensure!(document.contains(text), "no {text} in {document}");
        }
        let listed = daemon.ok(&["network", "ls", "--filter", "driver=ext", "--format", "{{.Name}}"])?;
        ensure!(listed == "lan", "{listed}");
        shell(daemon, "client", "ip link del eth0")?;
        // Only the one with a network administrator's rights could; the driver is asked about what there is.
        daemon.ok(&["restart", "-t", "0", "web"])?;
        ensure!(told("IPAddress")? == "10.99.0.77");
        daemon.gantry(&["network", "rm", "lan"])?.exits(1)?.complains("has 2 endpoints")?;
        daemon.ok(&["rm", "-f", "web", "client"])?;
        ensure!(driver.held() == 0, "the driver holds {}: {}", driver.held(), driver.said());
        daemon.ok(&["network", "rm", "lan"])?;
        ensure!(driver.said().ends_with("RemoveNetwork lan\n"), "{}", driver.said());
        Ok(())
    })
}

fn containers_in_user_namespaces_are_on_a_drivers_network(world: &World) -> Result<()> {
    on_driver(world, |start, daemon, image| {
        let driver = start()?;
        daemon.ok(&["network", "create", "-d", "ext", "lan"])?;
        serve(daemon, image, "--name web --userns auto --network lan")?;
        serve(daemon, image, "--name client --userns auto --network lan")?;
        let address = daemon.inspect("web", "{{.NetworkSettings.Networks.lan.IPAddress}}")?;
        let files = shell(daemon, "web", "cat /etc/hosts /etc/resolv.conf")?;
        ensure!(files.contains(&address) && files.contains("nameserver 10.99.0.53"), "{files}");
        let ask = format!("wget -qO- http://{address}/");
        says_hello("the neighbour", || shell(daemon, "client", &ask))?;
        daemon.ok(&["network", "disconnect", "lan", "client"])?;
        daemon.ok(&["network", "connect", "lan", "client"])?;
        says_hello("the neighbour again", || shell(daemon, "client", &ask))?;
        daemon.ok(&["restart", "-t", "0", "client"])?;
        says_hello("the neighbour after a restart", || shell(daemon, "client", &ask))?;
        daemon.ok(&["rm", "-f", "web", "client"])?;
        ensure!(driver.held() == 0, "{}", driver.said());
        daemon.ok(&["network", "rm", "lan"]).map(drop)
    })
}

fn what_a_driver_refuses_or_does_not_answer_is_told(world: &World) -> Result<()> {
    on_driver(world, |start, daemon, image| {
        let create = |option: &str| daemon.gantry(&["network", "create", "-d", "ext", "-o", option, "lan"]);
        let away = create("colour=red")?.exits(1)?.complains("network driver ext cannot be reached at")?;
        away.complains("is the program that serves driver ext running?")?;
        let driver = start()?;
        let refused = create("refuse=no reds here")?.exits(1)?;
        refused.complains("network driver ext refuses CreateNetwork: no reds here")?;
        ensure!(!daemon.ok(&["network", "ls"])?.contains("lan"), "a refused network is there");
        create("hang=yes")?.exits(0)?;
        let ports = daemon.gantry(&["run", "--rm", "--network", "lan", "-p", "80:80", image, "true"])?;
        ports.exits(125)?.complains("ports cannot be published")?;
        let hangs = daemon.gantry(&["run", "--rm", "--network", "lan", image, "true"])?.exits(125)?;
        hangs.complains("network driver ext did not answer Join within 5000 ms")?;
        ensure!(driver.said().contains("Join\nLeave\n"), "{}", driver.said());
        let taken = daemon.gantry(&["network", "create", "-d", "extra", "other"])?.exits(1)?;
        taken.complains("there is no network driver \"extra\"")?.complains("cni, ext;")?;
        daemon.ok(&["network", "rm", "lan"]).map(drop)
    })
}

fn a_driver_that_was_away_is_told_what_it_missed(world: &World) -> Result<()> {
    on_driver(world, |start, daemon, image| {
        let driver = start()?;
        daemon.ok(&["network", "create", "-d", "ext", "lan"])?;
        daemon.ok(&["run", "-d", "--name", "one", "--network", "lan", image, "sleep", "1000"])?;
        daemon.ok(&["run", "-d", "--name", "two", "--network", "lan", image, "sleep", "1000"])?;
        drop(driver);
        // Containers run on, and go, without it.
        ensure!(shell(daemon, "one", "ip -o -4 addr")?.contains("10.99.0."));
        daemon.ok(&["rm", "-f", "one"])?;
        let refused = daemon.gantry(&["run", "--network", "lan", image, "true"])?.exits(125)?;
        refused.complains("cannot be reached")?;
        daemon.kill()?;
        let driver = start()?;
        ensure!(driver.held() == 2, "{}", driver.held());
        daemon.restart()?;
        until_true("the driver to be told", seconds(20), || Ok(driver.held() == 1))?;
        // The network is made known to whom may have forgotten it.
        daemon.ok(&["run", "--rm", "--network", "lan", image, "true"])?;
        ensure!(driver.said().matches("CreateNetwork lan").count() == 2, "{}", driver.said());
        let all = daemon.ok(&["ps", "-aq"])?;
        daemon.ok(&[&["rm", "-f"], all.lines().collect::<Vec<_>>().as_slice()].concat())?;
        ensure!(driver.held() == 0, "{}", driver.said());
        daemon.ok(&["network", "rm", "lan"]).map(drop)
    })
}

fn a_second_daemon_is_kept_out_of_the_networks_of_the_first(world: &World) -> Result<()> {
    on_stage(world, |stage, first, image| {
        let (mut second, _) = world.daemon_with_busybox()?;
        stage.move_in(&mut second)?;
        let run = |daemon: &Daemon, words: &[&str]| {
            daemon.gantry(&[&["run", "-d"], words, &[image, "sleep", "1000"]].concat())
        };
        run(first, &["--name", "one"])?.exits(0)?;
        let state = first.path("run").display().to_string();
        let refused = run(&second, &[])?.exits(125)?.complains("are another daemon's")?.complains(&state)?;
        refused.complains("ip netns")?;
        // What needs no bridge works beside it.
        run(&second, &["--network", "none"])?.exits(0)?;
        // Whose daemon is stopped has its containers still.
        first.kill()?;
        run(&second, &[])?.exits(125)?.complains(&state)?;
        let rules = stage.host("nft list table inet gantry")?.ok()?;
        ensure!(rules.contains("comment \"") && rules.contains(&state), "{rules}");
        first.restart()?;
        run(first, &["--name", "two"])?.exits(0)?;
        first.ok(&["rm", "-f", "one", "two"])?;
        // Whose folder is gone has nothing any more.
        first.stop()?;
        gantry_tests::network::end_netd(first)?;
        fs::remove_file(first.path("run/networks-owner"))?;
        run(&second, &["--name", "three"])?.exits(0)?;
        let all = second.ok(&["ps", "-aq"])?;
        second.ok(&[&["rm", "-f"], all.lines().collect::<Vec<_>>().as_slice()].concat())?;
        second.stop()?;
        gantry_tests::network::end_netd(&second)?;
        first.restart()?;
        Stage::check_clean(stage, first)?;
        second.finish()
    })
}
