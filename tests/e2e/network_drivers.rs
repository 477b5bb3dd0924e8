//! Do networks work whose links somebody else makes? Debian's CNI plugins, with traffic through what they made, and
//! small plugins of this file's own that refuse, wait and keep count: what a driver was given it must always be asked to
//! take back, whoever dies in between.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use gantry_tests::daemon::Daemon;
use gantry_tests::network::{HOST, OUTSIDE, Stage};
use gantry_tests::trial::World;
use gantry_tests::wait::{seconds, until_true};
use serde_json::{Value, json};

use crate::network::{get, on_stage, says_hello, serve, shell};

tests![
    containers_on_a_cni_network_have_traffic_and_ports_and_give_everything_back,
    a_configuration_is_taken_from_the_daemons_folders_and_kept,
    what_a_configuration_cannot_do_is_refused_before_anything_is_asked,
    a_running_container_joins_a_cni_network_and_leaves_it,
    containers_in_user_namespaces_are_on_a_cni_network,
    a_daemon_killed_at_any_step_gives_the_plugins_their_addresses_back,
    a_plugin_that_refuses_to_delete_is_asked_again,
    what_plugins_find_wrong_with_a_link_is_told,
    a_sandbox_on_a_cni_network_outlives_the_daemon,
    networks_that_cannot_be_are_refused_when_they_are_made,
];

/// Debian's containernetworking-plugins.
const PLUGINS: &str = "/usr/lib/cni";

/// A daemon that has Debian's plugins, and a folder for those of a test.
struct Cni<'a> {
    stage: &'a Stage,
    daemon: &'a mut Daemon,
    image: &'a str,
}

fn on_cni(world: &World, test: impl FnOnce(&mut Cni<'_>) -> Result<()>) -> Result<()> {
    ensure!(Path::new(PLUGINS).join("bridge").is_file(), "install Debian's containernetworking-plugins");
    on_stage(world, |stage, daemon, image| {
        daemon.stop()?;
        let folder = |name: &str| -> Result<String> {
            fs::create_dir(daemon.path(name))?;
            Ok(daemon.path(name).display().to_string())
        };
        let (configurations, plugins) = (folder("net.d")?, folder("bin")?);
        daemon.write_config(&format!(
            "networks.cni_config_dirs = [{configurations:?}]\nnetworks.cni_plugin_dirs = [{plugins:?}, {PLUGINS:?}]\n"
        ))?;
        daemon.restart()?;
        test(&mut Cni { stage, daemon, image })
    })
}

impl Cni<'_> {
    fn leases(&self) -> PathBuf {
        self.daemon.path("leases")
    }

    /// Writes a configuration of a bridge `cni0` with addresses of 10.88.7.0/24 and further plugins.
    fn write(&self, name: &str, capabilities: &Value, further: &[Value]) -> Result<PathBuf> {
        let ipam = json!({
            "type": "host-local", "dataDir": self.leases(),
            "ranges": [[{"subnet": "10.88.7.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}],
        });
        let bridge = json!({
            "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
            "capabilities": capabilities, "ipam": ipam,
        });
        let plugins: Vec<Value> = std::iter::once(bridge).chain(further.iter().cloned()).collect();
        let path = self.daemon.path(&format!("net.d/{name}.conflist"));
        fs::write(&path, json!({"cniVersion": "1.0.0", "name": name, "plugins": plugins}).to_string())?;
        Ok(path)
    }

    /// Makes a network `lan` of a configuration with further plugins.
    fn lan(&self, further: &[Value]) -> Result<()> {
        let path = self.write("lan", &json!({"ips": true}), further)?;
        let option = format!("config={}", path.display());
        self.daemon.ok(&["network", "create", "--driver", "cni", "-o", &option, "lan"])?;
        Ok(fs::remove_file(path)?)
    }

    /// Writes a plugin that is a shell's; `$LOG` is where it may say what it was asked.
    fn plugin(&self, name: &str, script: &str) -> Result<()> {
        let path = self.daemon.path("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\nLOG={}\n{script}\n", self.log().display()))?;
        Ok(fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?)
    }

    fn log(&self) -> PathBuf {
        self.daemon.path("plugins.log")
    }

    fn said(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// The addresses that the plugins hold.
    fn held(&self) -> Vec<String> {
        let files = fs::read_dir(self.leases().join("lan")).into_iter().flatten().flatten();
        let names = files.filter_map(|file| file.file_name().into_string().ok());
        names.filter(|name| name.starts_with("10.")).collect()
    }

    fn holds_nothing(&self) -> Result<()> {
        self.holds_no_address()?;
        until_true("the plugins to have no rules", seconds(20), || {
            Ok(!self.stage.host("iptables-save -t nat")?.ok()?.contains("10.88.7."))
        })
    }

    fn holds_no_address(&self) -> Result<()> {
        until_true("the plugins to hold nothing", seconds(20), || Ok(self.held().is_empty()))?;
        until_true("no namespace to be pinned", seconds(20), || {
            Ok(fs::read_dir(self.daemon.path("run/netns")).into_iter().flatten().count() == 0)
        })
    }

    fn address(&self, container: &str) -> Result<String> {
        self.daemon.inspect(container, "{{.NetworkSettings.Networks.lan.IPAddress}}")
    }
}

fn portmap() -> Value {
    json!({"type": "portmap", "capabilities": {"portMappings": true}})
}

fn containers_on_a_cni_network_have_traffic_and_ports_and_give_everything_back(world: &World) -> Result<()> {
    on_cni(world, |cni| {
        cni.lan(&[portmap()])?;
        let (daemon, stage, image) = (&cni.daemon, cni.stage, cni.image);
        serve(daemon, image, "--name web --network lan -p 8080:80")?;
        daemon.ok(&["run", "-d", "--name", "client", "--network", "lan", image, "sleep", "1000"])?;
        let address = cni.address("web")?;
        ensure!(address.starts_with("10.88.7."), "{address}");
        ensure!(daemon.inspect("web", "{{.NetworkSettings.Networks.lan.Gateway}}")? == "10.88.7.1");
        ensure!(shell(daemon, "web", "cat /etc/hosts")?.contains(&address), "/etc/hosts lacks {address}");
        let inside = shell(daemon, "web", "ip -o -4 addr show dev eth0")?;
        ensure!(inside.contains(&format!("{address}/24")), "{inside}");
        says_hello("the neighbour", || shell(daemon, "client", &format!("wget -qO- http://{address}/")))?;
        says_hello("the port from outside", || Ok(stage.outside(&get(HOST, 8080))?.stdout))?;
        let out = format!("ping -c 1 -W 2 {OUTSIDE} >/dev/null && echo yes");
        ensure!(shell(daemon, "client", &out)? == "yes", "the outside does not answer");
        let document = daemon.ok(&["network", "inspect", "lan"])?;
        for text in ["\"Driver\": \"cni\"", "host-local", &format!("{address}/24"), "\"Problem\": \"\""] {
            ensure!(document.contains(text), "no {text} in {document}");
        }
        ensure!(daemon.ok(&["network", "ls"])?.contains("cni"));
        daemon.gantry(&["network", "rm", "lan"])?.exits(1)?.complains("has 2 endpoints")?;
        // Stopped, it holds no address; started again, it has one.
        daemon.ok(&["stop", "-t", "0", "client"])?;
        until_true("its address to be given back", seconds(10), || Ok(cni.held() == [address.clone()]))?;
        until_true("its address not to be told", seconds(10), || Ok(cni.address("client")?.is_empty()))?;
        daemon.ok(&["restart", "-t", "0", "web"])?;
        says_hello("the port after a restart", || Ok(stage.outside(&get(HOST, 8080))?.stdout))?;
        daemon
            .gantry(&["port", "add", "web", "9090:80"])?
            .exits(1)?
            .complains("told of ports when the container starts")?;
        daemon.ok(&["rm", "-f", "web", "client"])?;
        cni.holds_nothing()?;
        ensure!(daemon.ok(&["network", "prune", "-f"])?.contains("lan"));
        Ok(())
    })
}

fn a_configuration_is_taken_from_the_daemons_folders_and_kept(world: &World) -> Result<()> {
    on_cni(world, |cni| {
        let path = cni.write("lan", &json!({}), &[])?;
        let daemon = &cni.daemon;
        daemon.ok(&["network", "create", "-d", "cni", "lan"])?;
        daemon.ok(&["network", "create", "-d", "cni", "-o", "name=lan", "other"])?;
        daemon.ok(&["network", "rm", "other"])?;
        fs::remove_file(path)?;
        daemon.ok(&["run", "--rm", "--network", "lan", cni.image, "true"])?;
        cni.holds_nothing()?;
        let missing = daemon.gantry(&["network", "create", "-d", "cni", "nowhere"])?.exits(1)?;
        missing.complains("no network configuration is named \"nowhere\"")?.complains("cni_config_dirs")?;
        daemon.ok(&["network", "rm", "lan"]).map(drop)
    })
}

fn what_a_configuration_cannot_do_is_refused_before_anything_is_asked(world: &World) -> Result<()> {
    on_cni(world, |cni| {
        let path = cni.write("lan", &json!({}), &[json!({"type": "no-such-plugin"})])?;
        let create = |name: &str| cni.daemon.gantry(&["network", "create", "-d", "cni", name]);
        let refused =
            create("lan")?.exits(1)?.complains("plugin no-such-plugin is in none of the folders")?;
        refused.complains("containernetworking-plugins")?;
        for text in
            ["{", "{\"name\": \"lan\", \"cniVersion\": \"1.0.0\", \"plugins\": [{\"type\": \"../bridge\"}]}"]
        {
            fs::write(&path, text)?;
            let option = format!("config={}", path.display());
            let refused =
                cni.daemon.gantry(&["network", "create", "-d", "cni", "-o", &option, "lan"])?.exits(1)?;
            refused.complains("network configuration is not")?;
        }
        let subnet = ["network", "create", "-d", "cni", "--subnet", "10.1.0.0/16", "lan"];
        cni.daemon.gantry(&subnet)?.exits(1)?.complains("the configuration says so itself")?;
        cni.write("lan", &json!({}), &[])?;
        create("lan")?.exits(0)?;
        let run = |flags: &[&str]| {
            let words = [&["run", "--rm"], flags, &[cni.image, "true"]].concat();
            cni.daemon.gantry(&words)?.exits(125)
        };
        run(&["--network", "lan:ip=10.88.7.9"])?
            .complains("cannot give an address of the caller's choice")?;
        run(&["--network", "lan:mac=02:00:00:00:00:09"])?.complains("cannot give a hardware address")?;
        run(&["--network", "lan", "-p", "8080:80"])?.complains("ports cannot be published")?;
        cni.holds_nothing()?;
        cni.daemon.ok(&["network", "rm", "lan"])?;
        cni.lan(&[portmap()])?;
        let asked = ["run", "--rm", "--network", "lan:ip=10.88.7.9", cni.image, "ip", "-o", "-4", "addr"];
        ensure!(cni.daemon.ok(&asked)?.contains("10.88.7.9/24"));
        run(&["--network", "lan", "-p", "8000-9100:8000-9100"])?.complains("1024 ports at most").map(drop)
    })
}

fn a_running_container_joins_a_cni_network_and_leaves_it(world: &World) -> Result<()> {
    on_cni(world, |cni| {
        cni.lan(&[])?;
        let daemon = &cni.daemon;
        daemon.ok(&["network", "create", "own"])?;
        serve(daemon, cni.image, "--name web --network own")?;
        daemon.ok(&["run", "-d", "--name", "client", "--network", "lan", cni.image, "sleep", "1000"])?;
        daemon.ok(&["network", "connect", "lan", "web"])?;
        let address = cni.address("web")?;
        says_hello("the one that joined", || {
            shell(daemon, "client", &format!("wget -qO- http://{address}/"))
        })?;
        let before = shell(daemon, "web", "cat /etc/hosts")?;
        ensure!(before.contains(&address), "{before}");
        daemon.ok(&["network", "disconnect", "lan", "web"])?;
        ensure!(!shell(daemon, "web", "ip addr")?.contains(&address));
        ensure!(!shell(daemon, "web", "cat /etc/hosts")?.contains(&address));
        ensure!(!cni.held().contains(&address), "{:?}", cni.held());
        // Both from the start: the default route is the bridge's, and the plugins' neighbours are reached.
        let both =
            ["run", "-d", "--name", "both", "--network", "own", "--network", "lan", cni.image, "sleep", "99"];
        daemon.ok(&both)?;
        let links = shell(daemon, "both", "ip -o -4 addr")?;
        ensure!(links.contains("eth0") && links.contains("eth1"), "{links}");
        daemon.ok(&["rm", "-f", "web", "client", "both"])?;
        cni.holds_nothing()
    })
}

fn containers_in_user_namespaces_are_on_a_cni_network(world: &World) -> Result<()> {
    on_cni(world, |cni| {
        cni.lan(&[portmap()])?;
        serve(cni.daemon, cni.image, "--name web --userns auto --network lan -p 8080:80")?;
        serve(cni.daemon, cni.image, "--name client --userns auto --network lan")?;
        let address = cni.address("web")?;
        let files = shell(cni.daemon, "web", "cat /etc/hosts; ip -o -4 addr show dev eth0")?;
        ensure!(
            files.contains(&format!("{address}\t")) && files.contains(&format!("{address}/24")),
            "{files}"
        );
        let ask = format!("wget -qO- http://{address}/");
        says_hello("the neighbour", || shell(cni.daemon, "client", &ask))?;
        says_hello("the port from outside", || Ok(cni.stage.outside(&get(HOST, 8080))?.stdout))?;
        cni.daemon.ok(&["network", "disconnect", "lan", "client"])?;
        ensure!(!shell(cni.daemon, "client", "ls /sys/class/net")?.contains("eth"), "a link is left");
        cni.daemon.kill()?;
        cni.daemon.restart()?;
        cni.daemon.ok(&["network", "connect", "lan", "client"])?;
        says_hello("the neighbour again", || shell(cni.daemon, "client", &ask))?;
        cni.daemon.ok(&["restart", "-t", "0", "web"])?;
        says_hello("the port after a restart", || Ok(cni.stage.outside(&get(HOST, 8080))?.stdout))?;
        cni.daemon.ok(&["rm", "-f", "web", "client"])?;
        cni.daemon.ok(&["network", "rm", "lan"])?;
        cni.holds_nothing()
    })
}

fn a_daemon_killed_at_any_step_gives_the_plugins_their_addresses_back(world: &World) -> Result<()> {
    on_cni(world, |cni| {
        let open = cni.daemon.path("open");
        let opened = open.display();
        let gate = format!(
            "echo $CNI_COMMAND >>$LOG\n[ $CNI_COMMAND = ADD ] || exit 0\n\
             until [ -e {opened} ]; do sleep 0.02; done\necho added >>$LOG"
        );
        cni.plugin("gate", &gate)?;
        cni.lan(&[json!({"type": "gate"})])?;
        // While a plugin adds: the next daemon waits for it, then takes back what the first plugin had given.
        let starting =
            cni.daemon.begin(&["run", "--name", "first", "--network", "lan", cni.image, "sleep", "99"])?;
        until_true("the plugin to add", seconds(20), || Ok(cni.said().contains("ADD")))?;
        ensure!(cni.held().len() == 1, "{:?}", cni.held());
        cni.daemon.kill()?;
        drop(starting);
        cni.daemon.restart()?;
        ensure!(!cni.said().contains("DEL"), "it was undone while it was being done: {}", cni.said());
        fs::write(&open, "")?;
        cni.holds_nothing()?;
        ensure!(cni.said().starts_with("ADD\nadded\nDEL"), "{}", cni.said());
        cni.daemon.ok(&["rm", "-f", "first"])?;
        // While it runs: it keeps its address, and its end gives it back.
        cni.daemon.ok(&["run", "-d", "--name", "second", "--network", "lan", cni.image, "sleep", "1000"])?;
        let address = cni.address("second")?;
        cni.daemon.kill()?;
        cni.daemon.restart()?;
        ensure!(cni.address("second")? == address, "{address} is not told any more");
        // While nobody looks.
        let pid = cni.daemon.container_pid("second")?;
        cni.daemon.kill()?;
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(i32::try_from(pid)?),
            nix::sys::signal::Signal::SIGKILL,
        )?;
        cni.daemon.restart()?;
        cni.holds_nothing()?;
        cni.daemon.ok(&["rm", "second"])?;
        // While a running one is connected: the next daemon connects it.
        fs::remove_file(&open)?;
        cni.daemon.ok(&["run", "-d", "--name", "third", cni.image, "sleep", "1000"])?;
        let connecting = cni.daemon.begin(&["network", "connect", "lan", "third"])?;
        let adds = || cni.said().lines().filter(|line| *line == "ADD").count();
        until_true("the plugin to add", seconds(20), || Ok(adds() == 3))?;
        cni.daemon.kill()?;
        drop(connecting);
        fs::write(&open, "")?;
        cni.daemon.restart()?;
        until_true("the next daemon to connect it", seconds(20), || Ok(!cni.address("third")?.is_empty()))?;
        let inside = shell(cni.daemon, "third", "ip -o -4 addr")?;
        ensure!(inside.contains(&cni.address("third")?), "{inside}");
        ensure!(cni.held().len() == 1, "{:?}", cni.held());
        cni.daemon.ok(&["rm", "-f", "third"])?;
        cni.holds_nothing()
    })
}

fn a_plugin_that_refuses_to_delete_is_asked_again(world: &World) -> Result<()> {
    on_cni(world, |cni| {
        let stuck = cni.daemon.path("stuck");
        let stuck_path = stuck.display();
        let script = format!(
            "[ $CNI_COMMAND = DEL ] && [ -e {stuck_path} ] || exit 0\n\
             echo '{{\"code\": 11, \"msg\": \"the switch is on fire\"}}'; exit 1"
        );
        cni.plugin("switch", &script)?;
        cni.lan(&[json!({"type": "switch"})])?;
        fs::write(&stuck, "")?;
        let run = ["run", "-d", "--name", "one", "--network", "lan", cni.image, "sleep", "1000"];
        cni.daemon.ok(&run)?;
        // The container goes; what its plugins keep is not forgotten.
        cni.daemon.ok(&["rm", "-f", "one"])?;
        let refused = cni.daemon.gantry(&["network", "rm", "lan"])?.exits(1)?;
        refused.complains("plugin switch refuses DEL: the switch is on fire")?;
        cni.daemon.kill()?;
        cni.daemon.restart()?;
        cni.daemon.gantry(&["network", "rm", "lan"])?.exits(1)?;
        fs::remove_file(&stuck)?;
        cni.daemon.ok(&["network", "rm", "lan"])?;
        cni.holds_nothing()
    })
}

fn what_plugins_find_wrong_with_a_link_is_told(world: &World) -> Result<()> {
    on_cni(world, |cni| {
        cni.lan(&[])?;
        cni.daemon.ok(&["run", "-d", "--name", "web", "--network", "lan", cni.image, "sleep", "1000"])?;
        let pid = cni.daemon.container_pid("web")?;
        let problem = || -> Result<String> {
            let document: Value = serde_json::from_str(&cni.daemon.ok(&["network", "inspect", "lan"])?)?;
            let places = document[0]["Containers"].as_object().context("no containers")?;
            let place = places.values().next().context("no place")?;
            Ok(place["Problem"].as_str().unwrap_or_default().to_owned())
        };
        ensure!(problem()?.is_empty(), "{}", problem()?);
        cni.stage.host(&format!("nsenter --net=/proc/{pid}/ns/net ip link del eth0"))?.exits(0)?;
        ensure!(problem()?.contains("plugin bridge refuses CHECK"), "{}", problem()?);
        cni.daemon.ok(&["rm", "-f", "web"])?;
        // Without its link the plugin does not find its own rules again.
        cni.holds_no_address()
    })
}

fn a_sandbox_on_a_cni_network_outlives_the_daemon(world: &World) -> Result<()> {
    on_cni(world, |cni| {
        cni.write("front", &json!({}), &[portmap()])?;
        cni.daemon.ok(&["network", "create", "-d", "cni", "front"])?;
        let sandbox = crate::network_programs::make_sandbox(cni.daemon)?;
        serve(cni.daemon, cni.image, &format!("--name web --network sandbox:{}", sandbox.id))?;
        says_hello("the sandbox", || Ok(cni.stage.outside(&get(HOST, 8080))?.stdout))?;
        cni.daemon.kill()?;
        cni.daemon.restart()?;
        says_hello("the sandbox after its daemon", || Ok(cni.stage.outside(&get(HOST, 8080))?.stdout))?;
        cni.daemon.ok(&["rm", "-f", "web"])?;
        crate::network_programs::remove_sandbox(cni.daemon, &sandbox.id)??;
        cni.daemon.ok(&["network", "rm", "front"])?;
        let left = fs::read_dir(cni.leases().join("front"))?.flatten();
        let left = left.filter(|file| file.file_name().to_string_lossy().starts_with("10."));
        ensure!(left.count() == 0, "an address is left");
        cni.holds_nothing()
    })
}

fn networks_that_cannot_be_are_refused_when_they_are_made(world: &World) -> Result<()> {
    on_stage(world, |stage, daemon, _| {
        let create =
            |words: &[&str]| daemon.gantry(&[&["network", "create"], words, &["net"]].concat())?.exits(1);
        create(&["-d", "macvlan", "-o", "parent=nothere0"])?.complains("there is no link nothere0")?;
        create(&["-d", "macvlan"])?.complains("parent")?;
        create(&["-d", "macvlan", "-o", "parent=up0", "-o", "mode=l2"])?.complains("no such mode")?;
        create(&["-d", "macvlan", "-o", "parent=up0", "-o", "mode=sideways"])?.complains("sideways")?;
        create(&["-d", "weave"])?
            .complains("there is no network driver \"weave\"")?
            .complains("bridge, macvlan")?;
        // A link of another kind on the same parent, which the kernel does not mix.
        stage.host("ip link add link up0 name mv0 type macvlan mode passthru")?.exits(0)?;
        let taken = create(&["-d", "macvlan", "-o", "parent=up0"])?;
        taken.complains("on up0")?;
        stage.host("ip link del mv0")?.exits(0)?;
        ensure!(!daemon.ok(&["network", "ls"])?.contains("net "), "a network was made");
        Ok(())
    })
}
