//! Does Gantry take account of what was in the kernel before: flows of clients that were sending already, and bridges
//! that a daemon before this one made? Neither is in a row, and both would be found out only by those who are hurt.

use anyhow::{Context as _, Result, ensure};
use gantry_network::segment_name;
use gantry_tests::daemon::Daemon;
use gantry_tests::network::HOST;
use gantry_tests::trial::World;
use gantry_tests::wait::{seconds, until_true};

use crate::network::{on_stage, shell};

tests![
    a_client_that_was_sending_before_reaches_a_port_that_is_published_now,
    a_client_that_was_sending_before_reaches_a_container_that_starts_now,
    a_networks_further_segments_are_known_to_the_next_daemon_and_go_with_it,
];

fn a_client_that_was_sending_before_reaches_a_port_that_is_published_now(world: &World) -> Result<()> {
    sending_before(world, |daemon, image| {
        daemon.ok(&["run", "-d", "--name", "closed", image, "sleep", "1000"]).map(drop)?;
        daemon.ok(&["port", "add", "closed", "5300:53/udp"]).map(drop)
    })
}

fn a_client_that_was_sending_before_reaches_a_container_that_starts_now(world: &World) -> Result<()> {
    sending_before(world, |daemon, image| {
        daemon.ok(&["run", "-d", "--name", "closed", "-p", "5300:53/udp", image, "sleep", "1000"]).map(drop)
    })
}

/// A client outside sends to a port of the host's all the time, and must be heard by the container after `publish`.
fn sending_before(world: &World, publish: impl Fn(&Daemon, &str) -> Result<()>) -> Result<()> {
    on_stage(world, |stage, daemon, image| {
        let sent = daemon.path("sent");
        // One socket, so that everything is one flow; its first packets are for the host, where nobody listens; flows are
        // tracked once the table is there.
        daemon.ok(&["run", "--rm", image, "true"])?;
        let script = format!(
            "exec 3<>/dev/udp/{HOST}/5300; while :; do echo hello >&3; echo >>{}; sleep 0.05; done",
            sent.display()
        );
        let client = stage.outside(&format!("bash -c '{script}' >/dev/null 2>&1 & echo $!"))?.ok()?;
        let begun = until_true("the client to send", seconds(10), || {
            Ok(std::fs::metadata(&sent).is_ok_and(|file| file.len() > 5))
        });
        // Packets for a port that nobody listens at are counted, so no program is needed there.
        let arrived = || {
            let count = shell(daemon, "closed", "awk '/^Udp: [0-9]/ { print $3 }' /proc/net/snmp")?;
            count.parse::<u64>().with_context(|| format!("no count of packets: {count}"))
        };
        let published = begun.and_then(|()| publish(daemon, image));
        let reached =
            published.and_then(|()| until_true("the client to be heard", seconds(10), || Ok(arrived()? > 0)));
        stage.outside(&format!("kill {client}"))?.exits(0)?;
        reached
    })
}

fn a_networks_further_segments_are_known_to_the_next_daemon_and_go_with_it(world: &World) -> Result<()> {
    on_stage(world, |stage, daemon, image| {
        daemon.ok(&["network", "create", "front"])?;
        daemon.ok(&["run", "-d", "--name", "one", "--network", "front", image, "sleep", "1000"])?;
        let links = || stage.host("ip -o link")?.ok();
        let names = links()?;
        let bridge = names
            .split([' ', ':'])
            .find(|word| word.starts_with("gn"))
            .context("the network has no bridge")?
            .parse()?;
        let segment = segment_name(&bridge, 1).to_string();
        let rules = || stage.host("nft list table inet gantry")?.ok();
        ensure!(!rules()?.contains(&segment), "there is no second segment yet");
        // As a daemon leaves it that gave nine hundred and one containers a place.
        daemon.kill()?;
        stage.host(&format!("ip link add {segment} type bridge"))?.exits(0)?;
        daemon.restart()?;
        daemon.ok(&["run", "-d", "--name", "two", "--network", "front", image, "sleep", "1000"])?;
        ensure!(rules()?.contains(&segment), "the table does not know {segment}: {}", rules()?);
        daemon.kill()?;
        daemon.restart()?;
        daemon.ok(&["rm", "-f", "one", "two"])?;
        daemon.ok(&["network", "rm", "front"])?;
        ensure!(!links()?.contains(&segment), "{segment} is left: {}", links()?);
        ensure!(!rules()?.contains(&segment), "the table still has {segment}: {}", rules()?);
        Ok(())
    })
}
