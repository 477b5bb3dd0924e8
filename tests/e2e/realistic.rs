//! Do programs that people run in containers run in ours? From Debian's packages: a database, a web server, a language.

use anyhow::{Context as _, Result, ensure};
use gantry_tests::daemon::Daemon;
use gantry_tests::fixture::debian;
use gantry_tests::trial::{World, skip};
use gantry_tests::wait::{seconds, until_true};
use serde_json::json;

tests![debian_runs_redis_nginx_and_python];

fn debian_runs_redis_nginx_and_python(world: &World) -> Result<()> {
    if std::env::var_os("GANTRY_TEST_MACHINE").is_some() {
        return skip("the virtual machine has no network to get Debian's packages from");
    }
    let config = json!({"Cmd": ["bash"], "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"]});
    let image = debian(&["nginx-light", "python3-minimal", "redis-server"], config)?;
    let image = image.push(&world.shared.registry, "debian", "latest")?.reference;
    let daemon = Daemon::start()?;
    daemon.ok(&["pull", "-q", &image]).context("pulling Debian")?;
    redis(&daemon, &image)?;
    nginx(&daemon, &image)?;
    let python = daemon.ok(&[
        "run",
        "--rm",
        &image,
        "python3",
        "-c",
        "import sys, os; print(sum(range(10)), os.getpid())",
    ])?;
    ensure!(python == "45 1", "{python}");
    let script =
        "dpkg-query -W redis-server >/dev/null && apt-get --version | head -1 && su -s /bin/sh redis -c id";
    let said = daemon.ok(&["run", "--rm", &image, "bash", "-c", script])?;
    ensure!(said.starts_with("apt ") && said.contains("(redis)"), "{said}");
    world.done(daemon);
    Ok(())
}

fn redis(daemon: &Daemon, image: &str) -> Result<()> {
    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "redis",
        "--user",
        "redis",
        "--init",
        image,
        "redis-server",
        "--dir",
        "/tmp",
    ])?;
    let cli = |words: &[&str]| daemon.gantry(&[&["exec", "redis", "redis-cli"], words].concat());
    until_true("redis to answer", seconds(20), || Ok(cli(&["ping"])?.stdout.trim() == "PONG"))?;
    cli(&["set", "key", "kept"])?.exits(0)?;
    cli(&["save"])?.exits(0)?;
    daemon.ok(&["restart", "redis"])?;
    until_true("redis to answer again", seconds(20), || Ok(cli(&["get", "key"])?.stdout.trim() == "kept"))?;
    daemon.ok(&["stop", "redis"])?;
    ensure!(daemon.inspect("redis", "{{.State.ExitCode}}")? == "0", "redis did not end by its signal");
    Ok(())
}

fn nginx(daemon: &Daemon, image: &str) -> Result<()> {
    daemon.ok(&["run", "-d", "--name", "nginx", "--tmpfs", "/run", image, "nginx", "-g", "daemon off;"])?;
    let fetch = "import socket; s = socket.create_connection(('127.0.0.1', 80)); \
                 s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n'); print(s.recv(15).decode())";
    until_true("nginx to answer", seconds(20), || {
        Ok(daemon.gantry(&["exec", "nginx", "python3", "-c", fetch])?.stdout.trim() == "HTTP/1.1 200 OK")
    })?;
    daemon.ok(&["stop", "nginx"])?;
    ensure!(daemon.inspect("nginx", "{{.State.ExitCode}}")? == "0", "nginx did not end by its signal");
    Ok(())
}
