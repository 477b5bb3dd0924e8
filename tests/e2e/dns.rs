//! Do containers find by name what they should, and nothing else? Asked from inside real containers, packet by packet,
//! while they start, end, are renamed and connected; with the resolvers that people choose, and with nobody to ask.
//! What netd does with the files it is given is tested beside it (`crates/netd/tests`).

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use gantry_tests::daemon::Daemon;
use gantry_tests::dns::{Asker, Transport, Upstream, name_servers, query};
use gantry_tests::network::{OUTSIDE, Stage};
use gantry_tests::trial::World;
use gantry_tests::wait::{seconds, until_true};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;

use crate::network::{on_stage, shell};

tests![
    every_name_of_a_container_answers_on_its_networks_and_on_no_other,
    a_name_of_several_containers_is_answered_in_turn,
    a_name_ends_with_the_command_that_ends_its_endpoint,
    what_a_container_is_told_about_names_is_in_its_files_and_holds,
    questions_go_to_the_hosts_resolver_as_they_are_and_follow_it,
    nothing_leaves_an_internal_network,
    no_question_is_dropped_while_containers_come_and_go,
    a_killed_netd_is_missed_for_less_than_a_second,
    without_the_daemon_a_netd_that_stands_by_takes_over,
    nothing_of_ours_listens_but_netd_on_the_gateways,
];

/// The address that the host's resolver gives every name.
const ANSWER: &str = "198.51.100.7";

/// A stage whose host asks the servers that the file names, and at first nobody.
fn with_resolvers(
    world: &World,
    test: impl FnOnce(&Stage, &mut Daemon, &str, &Path) -> Result<()>,
) -> Result<()> {
    on_stage(world, |stage, daemon, image| {
        let file = daemon.path("resolv.conf");
        name_servers(&file, &[])?;
        stage.resolve_by(daemon, &file)?;
        test(stage, daemon, image, &file)
    })
}

fn sleeper(daemon: &Daemon, flags: &str, image: &str) -> Result<()> {
    let flags: Vec<&str> = flags.split_whitespace().collect();
    daemon.ok(&[&["run", "-d"], flags.as_slice(), &[image, "sleep", "1000"]].concat()).map(drop)
}

fn address(daemon: &Daemon, container: &str, network: &str) -> Result<String> {
    daemon.inspect(container, &format!("{{{{.NetworkSettings.Networks.{network}.IPAddress}}}}"))
}

fn every_name_of_a_container_answers_on_its_networks_and_on_no_other(world: &World) -> Result<()> {
    with_resolvers(world, |_, daemon, image, _| {
        daemon.ok(&["network", "create", "--ipv6", "front"])?;
        daemon.ok(&["network", "create", "back"])?;
        sleeper(daemon, "--name web --network front:alias=www -p 8080:80", image)?;
        sleeper(daemon, "--name near --network front", image)?;
        sleeper(daemon, "--name far --network back", image)?;
        let four = address(daemon, "web", "front")?;
        let six = daemon.inspect("web", "{{.NetworkSettings.Networks.front.GlobalIPv6Address}}")?;
        let id = daemon.inspect("web", "{{.Id}}")?[..12].to_owned();
        let (near, far) = (Asker::of(daemon, "near")?, Asker::of(daemon, "far")?);
        let names = ["web", "www", "WeB", &id, "web.front", "www.front", &format!("{id}.front")];
        for name in names {
            ensure!(near.addresses(name)? == [four.as_str()], "{name}: {:?}", near.ask(name, RecordType::A)?);
            ensure!(near.records(name, RecordType::AAAA)? == [six.as_str()], "{name} over version 6");
            let stranger = far.ask(name, RecordType::A)?;
            ensure!(stranger.answers.is_empty(), "{name} is known on another network: {stranger}");
        }
        for address in [&four, &six] {
            let reverse = hickory_proto::rr::Name::from(address.parse::<std::net::IpAddr>()?).to_ascii();
            let told = near.records(&reverse, RecordType::PTR)?;
            ensure!(told == ["web.front."], "{reverse} is {told:?}");
            ensure!(far.ask(&reverse, RecordType::PTR)?.answers.is_empty(), "{address} is known elsewhere");
        }
        let place = near.records("_80._tcp.web", RecordType::SRV)?;
        ensure!(place == ["0 1 80 web.front."], "{place:?}");
        ensure!(near.ask("_81._tcp.web", RecordType::SRV)?.metadata.response_code == ResponseCode::NXDomain);
        // It is there, and has nothing of the kind.
        let empty = far.ask("far", RecordType::AAAA)?;
        ensure!(empty.metadata.response_code == ResponseCode::NoError && empty.answers.is_empty(), "{empty}");
        // The default network has names too, and those of no other.
        sleeper(daemon, "--name plain", image)?;
        let plain = Asker::of(daemon, "plain")?;
        ensure!(plain.addresses("plain")? == [daemon.inspect("plain", "{{.NetworkSettings.IPAddress}}")?]);
        ensure!(plain.ask("web", RecordType::A)?.answers.is_empty(), "the default network knows web");
        ensure!(near.ask("plain", RecordType::A)?.answers.is_empty(), "front knows what is not on it");
        Ok(())
    })
}

fn a_name_of_several_containers_is_answered_in_turn(world: &World) -> Result<()> {
    with_resolvers(world, |_, daemon, image, _| {
        daemon.ok(&["network", "create", "app"])?;
        let mut all = Vec::new();
        // As compose makes them: the service is an alias of each.
        for number in 1..=3 {
            let name = format!("app-api-{number}");
            sleeper(daemon, &format!("--name {name} --network app:alias=api"), image)?;
            all.push(address(daemon, &name, "app")?);
        }
        sleeper(daemon, "--name asker --network app", image)?;
        let asker = Asker::of(daemon, "asker")?;
        let sorted = |mut addresses: Vec<String>| {
            addresses.sort();
            addresses
        };
        let mut first = std::collections::BTreeSet::new();
        for _ in 0..30 {
            let told = asker.addresses("api")?;
            first.extend(told.first().cloned());
            ensure!(sorted(told.clone()) == sorted(all.clone()), "{told:?} of {all:?}");
        }
        ensure!(first.len() == 3, "only {first:?} came first");
        daemon.ok(&["stop", "-t", "0", "app-api-1"])?;
        ensure!(sorted(asker.addresses("api")?) == sorted(all[1..].to_vec()));
        daemon.ok(&["network", "disconnect", "app", "app-api-2"])?;
        ensure!(asker.addresses("api")? == all[2..]);
        daemon.ok(&["start", "app-api-1"])?;
        ensure!(sorted(asker.addresses("api")?) == sorted(vec![all[0].clone(), all[2].clone()]));
        daemon.ok(&["network", "connect", "--alias", "api", "app", "app-api-2"])?;
        ensure!(asker.addresses("api")?.len() == 3, "who was connected again is missing");
        Ok(())
    })
}

fn a_name_ends_with_the_command_that_ends_its_endpoint(world: &World) -> Result<()> {
    with_resolvers(world, |_, daemon, image, _| {
        daemon.ok(&["network", "create", "front"])?;
        daemon.ok(&["network", "create", "back"])?;
        sleeper(daemon, "--name asker --network front", image)?;
        let asker = Asker::of(daemon, "asker")?;
        let begin: &[&[&str]] = &[&["start", "web"], &["network", "connect", "front", "web"]];
        let ends: &[(&[&str], &[&str])] = &[
            (&["stop", "-t", "0", "web"], begin[0]),
            (&["network", "disconnect", "front", "web"], begin[1]),
            (&["rename", "web", "shop"], &["rename", "shop", "web"]),
            (
                &["rm", "-f", "web"],
                &["run", "-d", "--name", "web", "--network", "front", image, "sleep", "1000"],
            ),
        ];
        sleeper(daemon, "--name web --network front", image)?;
        for (end, again) in ends {
            let known = asker.addresses("web")?;
            ensure!(known.len() == 1, "before {end:?}: {known:?}");
            daemon.ok(end)?;
            // The very next question: nothing is remembered.
            let told = asker.addresses("web")?;
            ensure!(told.is_empty(), "{told:?} after {end:?}");
            daemon.ok(again)?;
            ensure!(asker.addresses("web")?.len() == 1, "nothing after {again:?}");
        }
        daemon.ok(&["kill", "web"])?;
        daemon.await_state("web", "exited")?;
        ensure!(asker.addresses("web")?.is_empty(), "the name of a container that ended by itself");
        Ok(())
    })
}

fn what_a_container_is_told_about_names_is_in_its_files_and_holds(world: &World) -> Result<()> {
    with_resolvers(world, |stage, daemon, image, _| {
        let upstream = Upstream::start(stage.outside_process(), OUTSIDE, ANSWER.parse()?)?;
        daemon.ok(&["network", "create", "front"])?;
        let flags = "--name web --network front --dns-search example.test --dns-option ndots:2 \
                     --add-host db:192.0.2.9 --add-host host.internal:host-gateway --dns";
        sleeper(daemon, &format!("{flags} {OUTSIDE}"), image)?;
        let gateway = daemon.inspect("web", "{{.NetworkSettings.Networks.front.Gateway}}")?;
        let file = shell(daemon, "web", "cat /etc/resolv.conf")?;
        for line in [&format!("nameserver {gateway}"), "search example.test", "options ndots:2"] {
            ensure!(file.lines().any(|other| other == line), "{line} is missing in {file}");
        }
        let ping = |name: &str| shell(daemon, "web", &format!("ping -c 1 -W 1 {name} 2>&1 | head -n 1"));
        for (name, leads_to) in [("db", "192.0.2.9"), ("host.internal", gateway.as_str())] {
            ensure!(ping(name)?.contains(&format!("({leads_to})")), "{}", ping(name)?);
        }
        ensure!(upstream.names().is_empty(), "{:?} was asked, and is in the hosts file", upstream.names());
        // One dot is fewer than two: the domain is tried first.
        ensure!(ping("printer.hall")?.contains(&format!("({ANSWER})")), "{}", ping("printer.hall")?);
        let asked = upstream.names();
        ensure!(asked.contains(&"printer.hall.example.test.".to_owned()), "{asked:?}");
        // Its own resolver is its own: the host names nobody.
        sleeper(daemon, "--name other --network front", image)?;
        let answer = Asker::of(daemon, "other")?.ask("printer.example.test", RecordType::A)?;
        ensure!(answer.metadata.response_code == ResponseCode::ServFail, "{answer}");
        Ok(())
    })
}

/// A question that asks for signatures and has an option that nobody knows, as it is to arrive.
fn unusual(name: &str) -> Result<Vec<u8>> {
    let mut packet = query(name, RecordType::A)?;
    // One record more: the root, OPT, 1400 bytes, version 0, DO, and option 65001 with four bytes (RFC 6891).
    packet[11] = 1;
    packet.extend([0, 0, 41, 0x05, 0x78, 0, 0, 0x80, 0, 0, 8, 0xfd, 0xe9, 0, 4, 1, 2, 3, 4]);
    Ok(packet)
}

fn questions_go_to_the_hosts_resolver_as_they_are_and_follow_it(world: &World) -> Result<()> {
    with_resolvers(world, |stage, daemon, image, file| {
        stage.outside("ip addr add 203.0.113.3/24 dev out0")?.exits(0)?;
        let first = Upstream::start(stage.outside_process(), OUTSIDE, ANSWER.parse()?)?;
        let second = Upstream::start(stage.outside_process(), "203.0.113.3", "198.51.100.8".parse()?)?;
        daemon.ok(&["network", "create", "front"])?;
        sleeper(daemon, "--name web --network front", image)?;
        let asker = Asker::of(daemon, "web")?;
        let nobody = asker.ask("example.test", RecordType::A)?;
        ensure!(nobody.metadata.response_code == ResponseCode::ServFail, "{nobody}");
        name_servers(file, &[OUTSIDE])?;
        until_true("the new resolver to be asked", seconds(10), || {
            Ok(asker.addresses("example.test")? == [ANSWER])
        })?;
        for transport in [Transport::Udp, Transport::Tcp] {
            let packet = unusual("whole.example.test")?;
            let answer = asker.exchange(transport, &packet, seconds(5))?.context("no answer")?;
            let questions = first.asked();
            let (over, arrived) = questions.last().context("nothing arrived")?;
            ensure!(*over == transport, "it went on over {over:?}, and came over {transport:?}");
            // The id is netd's own, so that nobody outside can guess it.
            ensure!(arrived[2..] == packet[2..], "{arrived:?} arrived, {packet:?} was sent");
            ensure!(answer[..2] == packet[..2] && answer.ends_with(&[0, 4, 1, 2, 3, 4]), "{answer:?}");
        }
        // One that does not answer is passed over.
        name_servers(file, &["203.0.113.99", "203.0.113.3"])?;
        until_true("the next resolver to be asked", seconds(20), || {
            Ok(asker.addresses("example.test")? == ["198.51.100.8"])
        })?;
        let before = first.asked().len();
        ensure!(asker.addresses("other.example.test")? == ["198.51.100.8"]);
        ensure!(first.asked().len() == before && !second.asked().is_empty(), "the old one was asked");
        ensure!(asker.addresses("web")? == [address(daemon, "web", "front")?]);
        ensure!(!first.names().contains(&"web.".to_owned()), "a container's name left the machine");
        Ok(())
    })
}

fn nothing_leaves_an_internal_network(world: &World) -> Result<()> {
    with_resolvers(world, |stage, daemon, image, file| {
        let upstream = Upstream::start(stage.outside_process(), OUTSIDE, ANSWER.parse()?)?;
        name_servers(file, &[OUTSIDE])?;
        daemon.ok(&["network", "create", "--internal", "vault"])?;
        daemon.ok(&["network", "create", "front"])?;
        sleeper(daemon, &format!("--name safe --network vault --dns {OUTSIDE}"), image)?;
        sleeper(daemon, "--name plain --network vault", image)?;
        for container in ["safe", "plain"] {
            let asker = Asker::of(daemon, container)?;
            ensure!(asker.addresses("safe")? == [address(daemon, "safe", "vault")?]);
            for kind in [RecordType::A, RecordType::AAAA, RecordType::TXT, RecordType::PTR, RecordType::HTTPS]
            {
                let answer = asker.ask("secret.example.test", kind)?;
                ensure!(answer.metadata.response_code == ResponseCode::NXDomain, "{answer}");
            }
            let packet = query("secret.example.test", RecordType::TXT)?;
            asker.exchange(Transport::Tcp, &packet, seconds(5))?.context("no answer over TCP")?;
        }
        ensure!(upstream.asked().is_empty(), "{:?} left the network", upstream.names());
        // With a leg elsewhere it could ask there itself.
        daemon.ok(&["network", "connect", "front", "plain"])?;
        ensure!(Asker::of(daemon, "plain")?.addresses("open.example.test")? == [ANSWER]);
        Ok(())
    })
}

fn no_question_is_dropped_while_containers_come_and_go(world: &World) -> Result<()> {
    with_resolvers(world, |_, daemon, image, _| {
        daemon.ok(&["network", "create", "front"])?;
        daemon.ok(&["network", "create", "back"])?;
        sleeper(daemon, "--name web --network front", image)?;
        sleeper(daemon, "--name moving --network front:alias=crowd", image)?;
        let own = address(daemon, "web", "front")?;
        let asker = Asker::of(daemon, "web")?;
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let asking = scope.spawn(|| {
                let mut count = 0_u32;
                while !over.load(Ordering::Relaxed) {
                    // Fails when nobody answers within five seconds, and nothing is asked twice.
                    let told = asker.addresses("web")?;
                    ensure!(told == [own.as_str()], "{told:?} after {count}");
                    asker.ask("crowd", RecordType::A)?;
                    count += 2;
                }
                Ok(count)
            });
            let changed = (0..4).try_for_each(|_| {
                daemon.ok(&["run", "--rm", "--network", "front:alias=crowd", "-p", "80", image, "true"])?;
                daemon.ok(&["network", "connect", "back", "moving"])?;
                daemon.ok(&["network", "disconnect", "back", "moving"])?;
                daemon.ok(&["network", "create", "brief"])?;
                daemon.ok(&["run", "--rm", "--network", "brief", image, "true"])?;
                daemon.ok(&["restart", "-t", "0", "moving"])?;
                daemon.ok(&["network", "rm", "brief"]).map(drop)
            });
            over.store(true, Ordering::Relaxed);
            let count = asking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            changed?;
            ensure!(count > 100, "only {count} questions were asked: nothing was proven");
            Ok(())
        })
    })
}

/// How long questions fail from the moment that the netd which serves now is killed.
fn gap(daemon: &Daemon, asker: &Asker) -> Result<Duration> {
    let netd = std::fs::read_to_string(daemon.path("run/netd/lock"))?.trim().parse()?;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(netd), nix::sys::signal::Signal::SIGKILL)?;
    let start = Instant::now();
    // It dies in its own time, and one answer may still be its; whoever is to take note of its end is not waited for.
    until_true("the killed netd to be dead", seconds(10), || {
        let status = std::fs::read_to_string(format!("/proc/{netd}/status"));
        Ok(status.map_or(true, |status| status.contains("State:\tZ")))
    })?;
    until_true("names to resolve again", seconds(10), || answers(asker))?;
    Ok(start.elapsed())
}

/// Whether somebody answers now.
fn answers(asker: &Asker) -> Result<bool> {
    let question = query("web", RecordType::A)?;
    Ok(asker.exchange(Transport::Udp, &question, Duration::from_millis(50))?.is_some())
}

/// The shortest of several gaps: what is between them is the machine's business, what all have is ours.
fn shortest_gap(daemon: &Daemon, asker: &Asker) -> Result<()> {
    let mut gaps = Vec::new();
    for _ in 0..4 {
        gaps.push(gap(daemon, asker)?);
    }
    let shortest = gaps.iter().min().context("there are four")?;
    ensure!(*shortest < seconds(1), "names did not resolve for {gaps:?}");
    Ok(())
}

fn a_killed_netd_is_missed_for_less_than_a_second(world: &World) -> Result<()> {
    with_resolvers(world, |_, daemon, image, _| {
        daemon.ok(&["network", "create", "front"])?;
        sleeper(daemon, "--name web --network front", image)?;
        let asker = Asker::of(daemon, "web")?;
        until_true("a first answer", seconds(10), || answers(&asker))?;
        shortest_gap(daemon, &asker)
    })
}

fn without_the_daemon_a_netd_that_stands_by_takes_over(world: &World) -> Result<()> {
    with_resolvers(world, |stage, daemon, image, file| {
        daemon.ok(&["network", "create", "front"])?;
        sleeper(daemon, "--name web --network front", image)?;
        let asker = Asker::of(daemon, "web")?;
        until_true("a first answer", seconds(10), || answers(&asker))?;
        daemon.kill()?;
        ensure!(asker.addresses("web")?.len() == 1, "names end with the daemon");
        // As its unit does: started again whenever it ends, standing by while another serves.
        let unit = stage.stand_by(daemon, file)?;
        shortest_gap(daemon, &asker)?;
        drop(unit);
        daemon.restart()?;
        until_true("an answer with the next daemon", seconds(10), || answers(&asker))
    })
}

fn nothing_of_ours_listens_but_netd_on_the_gateways(world: &World) -> Result<()> {
    on_stage(world, |stage, daemon, image| {
        daemon.ok(&["network", "create", "--ipv6", "front"])?;
        sleeper(daemon, "--name web --network front -p 8080:80 -p 8080:80/udp", image)?;
        until_true("a first answer", seconds(10), || answers(&Asker::of(daemon, "web")?))?;
        // proc_net_tcp(5): the second field is address and port, the fourth the state; 0A listens, 07 is UDP without a peer.
        let tables = stage.host("cat /proc/net/tcp /proc/net/tcp6 /proc/net/udp /proc/net/udp6")?.ok()?;
        let mut open = std::collections::BTreeSet::new();
        for line in tables.lines() {
            let fields: Vec<&str> = line.split_whitespace().collect();
            if let Some((address, port)) = fields.get(1).and_then(|local| local.split_once(':'))
                && matches!(fields.get(3), Some(&"0A" | &"07"))
            {
                ensure!(port == "0035", "somebody listens on port {port}:\n{tables}");
                ensure!(!address.bytes().all(|byte| byte == b'0'), "on every address:\n{tables}");
                open.insert(address.to_owned());
            }
        }
        // One of each family for front.
        ensure!(open.len() == 2, "{open:?} are listened on:\n{tables}");
        let raw = stage.host("tail -q -n +2 /proc/net/raw /proc/net/raw6 /proc/net/packet")?.ok()?;
        ensure!(raw.is_empty(), "somebody reads packets: {raw}");
        Ok(())
    })
}
