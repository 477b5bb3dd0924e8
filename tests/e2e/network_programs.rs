//! Do the programs that people put on networks find each other there, and do the rarer ways to a network carry real
//! traffic? Redis, PostgreSQL and nginx from Debian's packages talk by name; ranges of ports, exposed ports, links on a
//! host link and sandboxes are each asked for by somebody on the other side.

use anyhow::{Context as _, Result, ensure};
use gantry_api::connect::{Address, connect};
use gantry_api::networks::v1::network_service_client::NetworkServiceClient;
use gantry_api::networks::v1::{
    CreateSandboxRequest, NetworkAttachment, PublishedPort, RemoveSandboxRequest, Sandbox,
};
use gantry_tests::daemon::Daemon;
use gantry_tests::fixture::{busybox, debian};
use gantry_tests::network::{HOST, OUTSIDE, inside};
use gantry_tests::trial::{World, skip};
use gantry_tests::wait::{seconds, until_true};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockProtocol, SockType, SockaddrIn, accept, bind, connect as reach,
    getpeername, listen, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike as _};
use serde_json::json;
use tonic::transport::Channel;

use crate::network::{get, on_stage, on_stage_with, says_hello, serve, shell};

tests![
    redis_postgres_and_nginx_talk_by_name,
    a_range_of_ports_leads_to_a_range_of_ports,
    the_first_free_port_of_a_range_is_taken,
    exposed_ports_are_published_on_free_ones,
    macvlan_containers_reach_each_other_and_the_outside,
    private_macvlan_containers_reach_the_outside_only,
    ipvlan_works_or_is_refused_by_its_name,
    two_containers_share_a_sandbox_that_outlives_them,
    sctp_reaches_a_published_port_and_the_source_is_kept,
];

/// Starts a container in the background.
fn start(daemon: &Daemon, flags: &str, image: &str, command: &[&str]) -> Result<()> {
    let flags: Vec<&str> = flags.split_whitespace().collect();
    daemon.ok(&[&["run", "-d"], flags.as_slice(), &[image], command].concat()).map(drop)
}

fn redis_postgres_and_nginx_talk_by_name(world: &World) -> Result<()> {
    if std::env::var_os("GANTRY_TEST_MACHINE").is_some() {
        return skip("the virtual machine has no network to get Debian's packages from");
    }
    let config = json!({"Cmd": ["bash"], "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"]});
    let image = debian(&["nginx-light", "postgresql-15", "redis-server"], config)?;
    let debian = image.push(&world.shared.registry, "servers", "latest")?.reference;
    on_stage_with(world, &[&debian], |stage, daemon, busybox| {
        daemon.ok(&["network", "create", "shop"])?;
        let redis = ["redis-server", "--dir", "/tmp", "--protected-mode", "no"];
        start(daemon, "--name redis --network shop --user redis --init", &debian, &redis)?;
        start(daemon, "--name db --network shop --user postgres --init", &debian, &["sh", "-c", POSTGRES])?;
        let nginx = ["nginx", "-g", "daemon off;"];
        start(daemon, "--name web --network shop -p 8080:80 --tmpfs /run", &debian, &nginx)?;
        start(daemon, "--name client --network shop", &debian, &["sleep", "1000"])?;
        start(daemon, "--name second --network shop", busybox, &["sleep", "1000"])?;
        ask_redis(daemon)?;
        ask_postgres(daemon)?;
        let welcome = "<h1>Welcome to nginx!</h1>";
        until_true("nginx to answer by name", seconds(20), || {
            Ok(shell(daemon, "second", "wget -qO- http://web/")?.contains(welcome))
        })?;
        until_true("nginx to answer the outside", seconds(10), || {
            Ok(stage.outside(&get(HOST, 8080))?.stdout.contains(welcome))
        })?;
        // nginx writes down who asked: the outside itself, and not the host in its place.
        let logged = shell(daemon, "web", "cat /var/log/nginx/access.log")?;
        ensure!(logged.lines().any(|line| line.starts_with(OUTSIDE)), "{logged}");
        Ok(())
    })
}

/// A database of its own, open to everybody.
const POSTGRES: &str = "export PATH=/usr/lib/postgresql/15/bin:$PATH; initdb -A trust -D /tmp/data && \
     echo 'host all all all trust' >>/tmp/data/pg_hba.conf && \
     exec postgres -D /tmp/data -k /tmp -c listen_addresses='*'";

fn ask_redis(daemon: &Daemon) -> Result<()> {
    let cli = |words: &str| shell(daemon, "client", &format!("redis-cli -h redis {words}"));
    until_true("redis to answer by name", seconds(20), || Ok(cli("ping")? == "PONG"))?;
    ensure!(cli("set key kept")? == "OK" && cli("get key")? == "kept");
    ensure!(cli("save")? == "OK");
    daemon.ok(&["restart", "redis"])?;
    until_true("redis to answer by name after a restart", seconds(20), || Ok(cli("get key")? == "kept"))
}

fn ask_postgres(daemon: &Daemon) -> Result<()> {
    let sql = |text: &str| shell(daemon, "client", &format!("psql -h db -U postgres -Atc \"{text}\""));
    until_true("postgres to answer by name", seconds(60), || Ok(sql("select 40 + 2")? == "42"))?;
    sql("create table items as select n, md5(n::text) as text from generate_series(1, 20000) as n")?;
    // More than one packet of the largest size in each direction.
    let all = sql("select text from items order by n")?;
    ensure!(all.lines().count() == 20_000, "{} of 20000 rows came back", all.lines().count());
    let client = daemon.inspect("client", "{{.NetworkSettings.Networks.shop.IPAddress}}")?;
    let seen = sql("select host(client_addr) from pg_stat_activity where pid = pg_backend_pid()")?;
    ensure!(seen == client, "postgres saw {seen}, and {client} asked");
    Ok(())
}

/// Web servers on the ports 80 to 82, each of which says its own number.
const THREE: &str = "for n in 0 1 2; do mkdir /w$n; echo port-8$n >/w$n/index.html; httpd -p 8$n -h /w$n; done; exec sleep 1000";

fn a_range_of_ports_leads_to_a_range_of_ports(world: &World) -> Result<()> {
    on_stage(world, |stage, daemon, image| {
        start(daemon, "--name web -p 8000-8002:80-82", image, &["sh", "-c", THREE])?;
        for number in 0..3 {
            until_true(format!("port 800{number}"), seconds(10), || {
                let said = stage.outside(&get(HOST, 8000 + number))?.stdout;
                Ok(said.contains(&format!("port-8{number}")))
            })?;
        }
        let listed = daemon.ok(&["port", "web"])?;
        for number in 0..3 {
            ensure!(listed.contains(&format!("8{number}/tcp -> 0.0.0.0:800{number}")), "{listed}");
        }
        daemon.gantry(&["create", "-p", "8002:1", image])?.exits(1)?.complains("taken by container")?;
        daemon
            .gantry(&["create", "-p", "7999-8000:1-2", image])?
            .exits(1)?
            .complains("taken by container")?;
        daemon.ok(&["port", "rm", "web", "8000-8002:80-82"])?;
        until_true("the range to be closed", seconds(10), || {
            Ok(!stage.outside(&get(HOST, 8001))?.stdout.contains("port-"))
        })?;
        daemon.ok(&["port", "add", "web", "127.0.0.1:8100-8101:81-82"])?;
        until_true("the added range", seconds(10), || {
            Ok(stage.host(&get("127.0.0.1", 8101))?.stdout.contains("port-82"))
        })
    })
}

fn the_first_free_port_of_a_range_is_taken(world: &World) -> Result<()> {
    on_stage(world, |stage, daemon, image| {
        for (name, port) in [("one", 9000), ("two", 9001)] {
            serve(daemon, image, &format!("--name {name} -p 9000-9001:80"))?;
            let listed = daemon.ok(&["port", name])?;
            ensure!(listed.contains(&format!("0.0.0.0:{port}")), "{name}: {listed}");
            says_hello(name, || Ok(stage.outside(&get(HOST, port))?.stdout))?;
        }
        daemon.gantry(&["create", "-p", "9000-9001:80", image])?.exits(1)?.complains("taken").map(drop)
    })
}

fn exposed_ports_are_published_on_free_ones(world: &World) -> Result<()> {
    let config = json!({"Cmd": ["sh"], "Env": ["PATH=/bin"], "ExposedPorts": {"80/tcp": {}, "53/udp": {}}});
    let exposing = busybox(Some(config))?.push(&world.shared.registry, "exposing", "latest")?.reference;
    on_stage_with(world, &[&exposing], |stage, daemon, _| {
        start(daemon, "--name web -P --expose 81-82", &exposing, &["sh", "-c", THREE])?;
        let listed = daemon.ok(&["port", "web"])?;
        ensure!(listed.contains("53/udp -> 0.0.0.0:"), "{listed}");
        for number in 0..3 {
            let picked = daemon.ok(&["port", "web", &format!("8{number}")])?;
            let port: u16 = picked
                .lines()
                .find_map(|line| line.strip_prefix("0.0.0.0:"))
                .with_context(|| format!("no port of version 4 in {picked:?}"))?
                .parse()?;
            until_true(format!("the port picked for 8{number}"), seconds(10), || {
                Ok(stage.outside(&get(HOST, port))?.stdout.contains(&format!("port-8{number}")))
            })?;
        }
        start(daemon, "--name closed --expose 80", &exposing, &["sleep", "1000"])?;
        let listed = daemon.ok(&["port", "closed"])?;
        ensure!(listed.is_empty(), "exposed, and published without being asked: {listed}");
        Ok(())
    })
}

/// A network on the stage's link to the outside, with addresses next to the host's own.
fn on_the_link(daemon: &Daemon, driver: &str, mode: &str) -> Result<gantry_tests::outcome::Outcome> {
    let mode = format!("mode={mode}");
    let link = ["--subnet", "203.0.113.0/24", "--gateway", OUTSIDE, "--ip-range", "203.0.113.64/27"];
    let words = ["network", "create", "-d", driver, "-o", "parent=up0", "-o", &mode];
    daemon.gantry(&[&words, link.as_slice(), &["lan"]].concat())
}

/// Two containers on `lan`, of which `web` serves; answers its address.
fn two_on_the_link(daemon: &Daemon, image: &str) -> Result<String> {
    serve(daemon, image, "--name web --network lan")?;
    start(daemon, "--name client --network lan", image, &["sleep", "1000"])?;
    let address = daemon.inspect("web", "{{.NetworkSettings.Networks.lan.IPAddress}}")?;
    ensure!(address.starts_with("203.0.113."), "{address} is not of the link's subnet");
    Ok(address)
}

fn macvlan_containers_reach_each_other_and_the_outside(world: &World) -> Result<()> {
    on_stage(world, |stage, daemon, image| {
        on_the_link(daemon, "macvlan", "bridge")?.exits(0)?;
        let address = two_on_the_link(daemon, image)?;
        let ask = get(&address, 80);
        says_hello("the neighbour", || shell(daemon, "client", &ask))?;
        says_hello("the container from outside", || Ok(stage.outside(&get(&address, 80))?.stdout))?;
        pings(daemon, "client", OUTSIDE)?;
        daemon.ok(&["restart", "-t", "0", "web"])?;
        let after = daemon.inspect("web", "{{.NetworkSettings.Networks.lan.IPAddress}}")?;
        ensure!(after == address, "{address} became {after}");
        says_hello("the neighbour after its restart", || shell(daemon, "client", &ask))
    })
}

fn private_macvlan_containers_reach_the_outside_only(world: &World) -> Result<()> {
    on_stage(world, |stage, daemon, image| {
        on_the_link(daemon, "macvlan", "private")?.exits(0)?;
        let address = two_on_the_link(daemon, image)?;
        says_hello("the container from outside", || Ok(stage.outside(&get(&address, 80))?.stdout))?;
        pings(daemon, "client", OUTSIDE)?;
        says_hello("the server to itself", || shell(daemon, "web", &get(&address, 80)))?;
        let said = shell(daemon, "client", &get(&address, 80))?;
        ensure!(!said.contains("hello"), "private containers reach each other");
        Ok(())
    })
}

fn ipvlan_works_or_is_refused_by_its_name(world: &World) -> Result<()> {
    on_stage(world, |stage, daemon, image| {
        let kernel = stage.host("ip link add probe0 link up0 type ipvlan mode l2 && ip link del probe0")?;
        let made = on_the_link(daemon, "ipvlan", "l2")?;
        if kernel.code != 0 {
            // Whoever makes the network is told, and not whoever starts a container on it.
            return made.exits(1)?.complains("this kernel has no ipvlan links").map(drop);
        }
        made.exits(0)?;
        let address = two_on_the_link(daemon, image)?;
        says_hello("the neighbour", || shell(daemon, "client", &get(&address, 80)))?;
        pings(daemon, "client", OUTSIDE)
    })
}

fn pings(daemon: &Daemon, container: &str, address: &str) -> Result<()> {
    until_true(format!("{address} to answer {container}"), seconds(10), || {
        Ok(shell(daemon, container, &format!("ping -c 1 -W 1 {address} >/dev/null && echo yes"))? == "yes")
    })
}

/// The daemon's network service, and a runtime to call it in.
pub(crate) fn service(daemon: &Daemon) -> Result<(tokio::runtime::Runtime, NetworkServiceClient<Channel>)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let channel = runtime.block_on(connect(&Address::Unix(daemon.socket()), None))?;
    Ok((runtime, NetworkServiceClient::new(channel)))
}

/// A sandbox named `pod` on the network `front`, whose port 80 is published as 8080.
pub(crate) fn make_sandbox(daemon: &Daemon) -> Result<Sandbox> {
    let (runtime, mut client) = service(daemon)?;
    let place = NetworkAttachment { network: "front".into(), ..NetworkAttachment::default() };
    let port = PublishedPort { host_port: 8080, container_port: 80, ..PublishedPort::default() };
    let request = CreateSandboxRequest {
        networks: vec![place],
        ports: vec![port],
        hostname: "pod".into(),
        ..CreateSandboxRequest::default()
    };
    let answer = runtime.block_on(client.create_sandbox(request))?.into_inner();
    answer.sandbox.context("an answer has the sandbox")
}

pub(crate) fn remove_sandbox(daemon: &Daemon, id: &str) -> Result<Result<(), tonic::Status>> {
    let (runtime, mut client) = service(daemon)?;
    let request = RemoveSandboxRequest { sandbox: id.into(), ..RemoveSandboxRequest::default() };
    Ok(runtime.block_on(client.remove_sandbox(request)).map(drop))
}

fn two_containers_share_a_sandbox_that_outlives_them(world: &World) -> Result<()> {
    on_stage(world, |stage, daemon, image| {
        daemon.ok(&["network", "create", "front"])?;
        let sandbox = make_sandbox(daemon)?;
        let join = format!("--network sandbox:{}", sandbox.id);
        serve(daemon, image, &format!("--name web {join}"))?;
        start(daemon, &format!("--name beside {join}"), image, &["sleep", "1000"])?;
        start(daemon, "--name other --network front", image, &["sleep", "1000"])?;
        let answers = |daemon: &Daemon| {
            says_hello("localhost", || shell(daemon, "beside", "wget -qO- http://127.0.0.1/"))?;
            says_hello("the sandbox by its name", || shell(daemon, "other", "wget -qO- http://pod/"))?;
            says_hello("the sandbox's port", || Ok(stage.outside(&get(HOST, 8080))?.stdout))
        };
        answers(daemon)?;
        ensure!(shell(daemon, "web", "ip -o addr")? == shell(daemon, "beside", "ip -o addr")?);
        says_hello("a neighbour from the sandbox", || {
            shell(daemon, "beside", "ping -c 1 -W 2 other >/dev/null && echo hello")
        })?;
        let refused = remove_sandbox(daemon, &sandbox.id)?;
        ensure!(refused.is_err(), "a sandbox was removed under its containers");
        daemon.kill()?;
        daemon.restart()?;
        answers(daemon)?;
        daemon.ok(&["rm", "-f", "web", "beside"])?;
        serve(daemon, image, &format!("--name web {join}"))?;
        start(daemon, &format!("--name beside {join}"), image, &["sleep", "1000"])?;
        answers(daemon).context("with the next containers of the same sandbox")?;
        daemon.ok(&["rm", "-f", "web", "beside"])?;
        remove_sandbox(daemon, &sandbox.id)??;
        ensure!(!std::path::Path::new(&sandbox.netns_path).exists(), "{} is left", sandbox.netns_path);
        Ok(())
    })
}

/// A socket that waits ten seconds for anything.
fn sctp_socket() -> nix::Result<std::os::fd::OwnedFd> {
    let made = socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), Some(SockProtocol::Sctp))?;
    let patience = TimeVal::seconds(10);
    setsockopt(&made, sockopt::SendTimeout, &patience)?;
    setsockopt(&made, sockopt::ReceiveTimeout, &patience)?;
    Ok(made)
}

fn sctp_reaches_a_published_port_and_the_source_is_kept(world: &World) -> Result<()> {
    use std::os::fd::AsRawFd;
    if sctp_socket().is_err() {
        return skip("this kernel has no SCTP (its module is sctp)");
    }
    on_stage(world, |stage, daemon, image| {
        start(daemon, "--name web -p 8080:80/sctp", image, &["sleep", "1000"])?;
        let server = inside(daemon.container_pid("web")?, || {
            let server = sctp_socket()?;
            bind(server.as_raw_fd(), &SockaddrIn::new(0, 0, 0, 0, 80))?;
            listen(&server, Backlog::new(4)?)?;
            Ok(server)
        })?;
        let client = inside(stage.outside_process(), || {
            let client = sctp_socket()?;
            let host: std::net::Ipv4Addr = HOST.parse()?;
            let [a, b, c, d] = host.octets();
            reach(client.as_raw_fd(), &SockaddrIn::new(a, b, c, d, 8080))?;
            Ok(client)
        })?;
        let accepted = accept(server.as_raw_fd())?;
        let peer = getpeername::<SockaddrIn>(accepted)?;
        nix::unistd::close(accepted)?;
        ensure!(peer.ip().to_string() == OUTSIDE, "the container saw {peer}");
        drop(client);
        Ok(())
    })
}
