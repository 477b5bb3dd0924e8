//! Is a network whole or gone when the daemon is killed in the middle of it? A start, an end, a connection, a port, a
//! network and a sandbox are each cut off at every step of theirs that anybody but the daemon could see, one after the
//! other; the next daemon must leave no link, rule, address or namespace without an owner, and none of an owner's missing.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use gantry_api::networks::v1::{ListSandboxesRequest, Sandbox};
use gantry_tests::daemon::Daemon;
use gantry_tests::network::{HOST, Stage};
use gantry_tests::steps::{Step, Steps};
use gantry_tests::trial::World;
use gantry_tests::wait::{seconds, until_true};
use serde_json::Value;

use crate::network::{SERVER, get, on_stage, says_hello, shell};
use crate::network_programs::{make_sandbox, remove_sandbox, service};

tests![
    a_start_cut_off_at_any_step_is_whole_or_gone,
    an_end_cut_off_at_any_step_is_whole_or_gone,
    a_connection_cut_off_at_any_step_is_whole_or_gone,
    a_disconnection_cut_off_at_any_step_is_whole_or_gone,
    ports_cut_off_at_any_step_are_open_or_closed_as_recorded,
    a_network_cut_off_at_any_step_is_whole_or_gone,
    a_sandbox_cut_off_at_any_step_is_whole_or_gone,
];

/// More steps than any of the acts has: each is a round of half a second.
const STEPS_MAX: usize = 60;

/// Something that is done with a daemon and an image.
type Act = dyn Fn(&Daemon, &str) -> Result<()>;

/// What is done before each round, and what is cut off. What the act answers is nobody's concern: it was cut off.
struct Scene<'s> {
    prepare: Option<&'s Act>,
    act: &'s Act,
    /// Steps that it must have been cut off at, or the test sees nothing.
    steps: &'s [&'s str],
}

impl Scene<'_> {
    fn play(&self, world: &World) -> Result<()> {
        on_stage(world, |stage, daemon, image| {
            // Few addresses, so that one that is lost is missed soon.
            for (name, subnet) in [("front", "10.99.1.0/29"), ("back", "10.99.2.0/29")] {
                daemon.ok(&["network", "create", "--subnet", subnet, name])?;
                daemon.ok(&["run", "--rm", "--network", name, image, "true"])?;
            }
            let rules = stage.rules()?;
            // First to its end, so that the steps are known: those of a daemon that has just been started, as all are.
            self.cut_off(stage, daemon, image, &rules, None)?;
            let all = self.cut_off(stage, daemon, image, &rules, None)?;
            for kind in self.steps {
                ensure!(all.iter().any(|step| step.kind == *kind), "there is no {kind:?} in {all:?}");
            }
            ensure!(all.len() <= STEPS_MAX, "too many steps: {all:?}");
            let mut reached = 0;
            for step in &all {
                let seen = self.cut_off(stage, daemon, image, &rules, Some(step))?;
                reached += usize::from(seen.last() == Some(step));
            }
            // Namespaces are made ready in the background, more of them in one round than in another.
            ensure!(reached * 10 >= all.len() * 8, "{reached} steps of {all:?} were reached");
            for name in ["front", "back"] {
                daemon.ok(&["network", "rm", name])?;
            }
            Ok(())
        })
    }
}

impl Scene<'_> {
    /// One round: cut off at a step, or done to its end and killed then.
    fn cut_off(
        &self,
        stage: &Stage,
        daemon: &mut Daemon,
        image: &str,
        rules: &str,
        at: Option<&Step>,
    ) -> Result<Vec<Step>> {
        // A daemon that mended something has done already what it would do now.
        daemon.kill()?;
        daemon.restart()?;
        if let Some(prepare) = self.prepare {
            prepare(daemon, image)?;
        }
        let steps = Steps::kill_at(daemon.pid()?, at.cloned())?;
        let done = (self.act)(daemon, image);
        daemon.kill()?;
        let seen = steps.finish()?;
        let place = || format!("cut off at {at:?}, after {seen:?}: {done:?}");
        daemon.restart().with_context(place)?;
        check(stage, daemon).with_context(place)?;
        clear(stage, daemon, rules).with_context(place)?;
        Ok(seen)
    }
}

/// The addresses of a container, network by network, as it is recorded.
fn recorded(container: &Value) -> BTreeSet<String> {
    let networks = container["NetworkSettings"]["Networks"].as_object();
    let address = |network: &Value| network["IPAddress"].as_str().unwrap_or_default().to_owned();
    networks.into_iter().flat_map(|networks| networks.values().map(address)).collect()
}

/// Every container that runs has what is recorded of it, and nobody else has anything.
fn check(stage: &Stage, daemon: &Daemon) -> Result<()> {
    let mut places = 0;
    for id in daemon.ok(&["ps", "-q", "--no-trunc"])?.lines() {
        let said: Value = serde_json::from_str(&daemon.ok(&["inspect", id])?)?;
        let container = said.get(0).context("inspect answers with a list")?;
        let recorded = recorded(container);
        let inside = shell(daemon, id, "ip -o -4 addr show scope global")?;
        let inside: BTreeSet<String> = inside
            .lines()
            .filter_map(|line| Some(line.split_whitespace().nth(3)?.split('/').next()?.to_owned()))
            .collect();
        ensure!(inside == recorded, "{inside:?} inside, {recorded:?} recorded");
        places += recorded.len();
        let published = daemon.ok(&["port", id])?;
        for port in [8080, 8081] {
            let ask = || Ok(stage.outside(&get(HOST, port))?.stdout);
            if published.contains(&port.to_string()) {
                says_hello("a port that is recorded", ask)?;
            } else {
                ensure!(!ask()?.contains("hello"), "{port} answers, and is not recorded");
            }
        }
        for address in &recorded {
            until_true(format!("{address} to have a name"), seconds(10), || {
                Ok(shell(daemon, id, &format!("nslookup {address}"))?.contains("name = web."))
            })?;
        }
    }
    places += sandboxes(daemon)?.iter().filter(|sandbox| !sandbox.netns_path.is_empty()).count();
    let links = stage.host("ip -o link")?.ok()?;
    let found = links.lines().filter(|line| line.contains(": gv")).count();
    ensure!(found == places, "{found} links for {places} places:\n{links}");
    Ok(())
}

/// Those that are recorded; each has one place, if it has its namespace.
fn sandboxes(daemon: &Daemon) -> Result<Vec<Sandbox>> {
    let (runtime, mut client) = service(daemon)?;
    let answer = runtime.block_on(client.list_sandboxes(ListSandboxesRequest::default()))?;
    Ok(answer.into_inner().sandboxes)
}

/// Removes every owner; nothing may stay of them.
fn clear(stage: &Stage, daemon: &Daemon, rules: &str) -> Result<()> {
    let all = daemon.ok(&["ps", "-aq", "--no-trunc"])?;
    let ids: Vec<&str> = all.lines().collect();
    if !ids.is_empty() {
        daemon.ok(&[&["rm", "-f"], ids.as_slice()].concat())?;
    }
    for sandbox in sandboxes(daemon)? {
        remove_sandbox(daemon, &sandbox.id)??;
    }
    for name in daemon.ok(&["network", "ls", "--format", "{{.Name}}"])?.lines() {
        if name == "side" {
            daemon.ok(&["network", "rm", name])?;
        }
    }
    stage.check_clean(daemon)?;
    let links = stage.host("ip -o link")?.ok()?;
    ensure!(!links.contains("side0"), "a bridge is left:\n{links}");
    let now = stage.rules()?;
    ensure!(now == rules, "the table was\n{rules}\nand is\n{now}");
    Ok(())
}

/// A web server that runs on `front`, published on 8080.
fn server(daemon: &Daemon, image: &str) -> Result<()> {
    let words = ["run", "-d", "--name", "web", "--network", "front", "-p", "8080:80", image, "sh", "-c"];
    daemon.ok(&[&words, [SERVER].as_slice()].concat()).map(drop)
}

fn a_start_cut_off_at_any_step_is_whole_or_gone(world: &World) -> Result<()> {
    let steps = ["route message 16", "change rules", "write netd's endpoints", "flush", "route message 20"];
    Scene { prepare: None, act: &server, steps: &steps }.play(world)
}

fn an_end_cut_off_at_any_step_is_whole_or_gone(world: &World) -> Result<()> {
    let act = |daemon: &Daemon, _: &str| daemon.gantry(&["rm", "-f", "web"]).map(drop);
    let steps = ["change rules", "remove netd's endpoints", "flush", "forget flow"];
    Scene { prepare: Some(&server), act: &act, steps: &steps }.play(world)
}

fn a_connection_cut_off_at_any_step_is_whole_or_gone(world: &World) -> Result<()> {
    let act = |daemon: &Daemon, _: &str| daemon.gantry(&["network", "connect", "back", "web"]).map(drop);
    let steps = ["route message 16", "write netd's endpoints", "flush"];
    Scene { prepare: Some(&server), act: &act, steps: &steps }.play(world)
}

fn a_disconnection_cut_off_at_any_step_is_whole_or_gone(world: &World) -> Result<()> {
    let prepare = |daemon: &Daemon, image: &str| {
        server(daemon, image)?;
        daemon.ok(&["network", "connect", "back", "web"]).map(drop)
    };
    let act = |daemon: &Daemon, _: &str| daemon.gantry(&["network", "disconnect", "front", "web"]).map(drop);
    let steps = ["route message 17", "change rules", "remove netd's endpoints", "flush"];
    Scene { prepare: Some(&prepare), act: &act, steps: &steps }.play(world)
}

fn ports_cut_off_at_any_step_are_open_or_closed_as_recorded(world: &World) -> Result<()> {
    let act = |daemon: &Daemon, _: &str| {
        daemon.gantry(&["port", "add", "web", "8081:80"])?;
        daemon.gantry(&["port", "rm", "web", "8080:80"]).map(drop)
    };
    let steps = ["change rules", "write netd's endpoints", "flush"];
    Scene { prepare: Some(&server), act: &act, steps: &steps }.play(world)
}

fn a_network_cut_off_at_any_step_is_whole_or_gone(world: &World) -> Result<()> {
    let act = |daemon: &Daemon, _: &str| {
        daemon.gantry(&["network", "create", "-o", "bridge=side0", "--subnet", "10.99.3.0/29", "side"])?;
        daemon.gantry(&["network", "rm", "side"]).map(drop)
    };
    let steps = ["route message 16", "route message 17", "change rules", "write netd's networks"];
    Scene { prepare: None, act: &act, steps: &steps }.play(world)
}

fn a_sandbox_cut_off_at_any_step_is_whole_or_gone(world: &World) -> Result<()> {
    let act = |daemon: &Daemon, _: &str| {
        let sandbox = make_sandbox(daemon)?;
        remove_sandbox(daemon, &sandbox.id)?.map_err(Into::into)
    };
    let steps = ["mount namespace", "unmount namespace", "remove namespace", "change rules"];
    Scene { prepare: None, act: &act, steps: &steps }.play(world)
}
