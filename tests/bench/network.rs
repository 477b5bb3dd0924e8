//! What does a network cost? The same container with nothing but loopback and with a place on a user-defined bridge
//! (names and one published port), in turn, so that the difference is the network's; then eight clients at once.
//!
//! Everything is made in the network namespace of the run, never in the machine's.

use std::fs;
use std::path::PathBuf;

use anyhow::{Result, ensure};

use crate::Bench;
use crate::engines::{Engines, side_by_side};
use crate::exec::repeat;
use crate::floor::Floor;
use crate::gantry::Network;
use crate::podman::Podman;
use crate::stats::Samples;
use crate::table::Table;
use crate::volatile::PRIVATE;

/// One line of the table.
pub(crate) struct Addition {
    pub(crate) name: &'static str,
    pub(crate) none: Samples,
    pub(crate) bridge: Samples,
    /// Containers a second with eight clients, on the bridge; `None` where that failed.
    pub(crate) rate: Option<f64>,
}

/// Refuses to make bridges and rules where the machine's are.
pub(crate) fn check() -> Result<()> {
    let outer = std::env::var_os(PRIVATE).map(PathBuf::from);
    let is_own = outer.is_some_and(|outer| fs::read_link("/proc/self/ns/net").is_ok_and(|own| own != outer));
    ensure!(is_own, "start it by tests/bench/run, which gives it a network of its own");
    Ok(())
}

pub(crate) fn measure(engines: &Engines, bench: &Bench, rounds: usize, table: &mut Table) {
    let (gantry, floor) = (&engines.gantry, &engines.floor);
    let podman = match Podman::prepare(bench) {
        Ok(podman) => podman,
        Err(error) => {
            table.not_measured("podman", &error);
            None
        }
    };
    let mut rows = Vec::new();
    let mut row = |name, cycles: &mut Cycles<'_>, rate: &dyn Fn() -> Result<f64>| {
        match addition(name, rounds, cycles) {
            Ok(row) => rows.push(row),
            Err(error) => return table.not_measured(&format!("{name}, on a bridge"), &error),
        }
        match (rate(), rows.last_mut()) {
            (Ok(rate), Some(row)) => row.rate = Some(rate),
            (Err(error), _) => table.not_measured(&format!("{name}, on a bridge, eight at once"), &error),
            (Ok(_), None) => {}
        }
    };
    // The same kernel work for the link; names and a published port are more.
    if let Err(error) = Floor::make_bridge() {
        return table.not_measured("networks", &error);
    }
    row(
        "floor (bare system calls; no names, no port)",
        &mut |network, samples| floor.run(bench, network, 40, samples),
        &|| floor.throughput(bench, Network::Bridge, 400),
    );
    row(
        "Gantry, gRPC create + start + wait + delete",
        &mut |network, samples| gantry.cycles(&bench.image, network, 40, samples),
        &|| gantry.throughput(Network::Bridge, 400),
    );
    if let Some(daemons) = engines.daemons.as_ref().filter(|daemons| daemons.has_docker()) {
        row(
            "`docker run --rm`",
            &mut |network, samples| repeat(4, samples, || daemons.docker_cycle(network)),
            &|| side_by_side(24, || daemons.docker_cycle(Network::Bridge)),
        );
    }
    if let Some(podman) = &podman {
        row(
            "`podman run --rm`",
            &mut |network, samples| repeat(4, samples, || podman.cycle(network)),
            &|| side_by_side(24, || podman.cycle(Network::Bridge)),
        );
    }
    let ended = podman.map_or(Ok(()), Podman::finish);
    if let Err(error) = Floor::remove_bridge().and(ended) {
        table.not_measured("what the networks left", &error);
    }
    table.networks(&rows);
}

type Cycles<'a> = dyn FnMut(Network, &mut Samples) -> Result<()> + 'a;

fn addition(name: &'static str, rounds: usize, cycles: &mut Cycles<'_>) -> Result<Addition> {
    // The first one on a network brings its bridge up, which the others find there.
    cycles(Network::Bridge, &mut Samples::default())?;
    let mut row = Addition { name, none: Samples::default(), bridge: Samples::default(), rate: None };
    for _ in 0..rounds {
        cycles(Network::None, &mut row.none)?;
        cycles(Network::Bridge, &mut row.bridge)?;
    }
    Ok(row)
}
