//! What does one more process in a running container cost? `/bin/true`, through the daemon over one connection, and by
//! the runtimes' own `exec`; in rounds, as everything is.

use std::time::Instant;

use anyhow::Result;

use crate::Bench;
use crate::engines::{Engines, Latency, Rows};
use crate::stats::Samples;
use crate::table::Table;

pub(crate) fn latency(engines: &Engines, bench: &Bench, rounds: usize, table: &mut Table) -> Vec<Latency> {
    let mut rows = Rows::default();
    for _ in 0..rounds {
        rows.measure(table, "Gantry, gRPC exec", &mut |samples| through_daemon(engines, samples));
        for runtime in &engines.runtimes {
            rows.measure(table, &format!("`{} exec`, no daemon", runtime.name), &mut |samples| {
                let id = runtime.start_idle(bench)?;
                let measured = repeat(20, samples, || runtime.run(&["exec", &id, "/bin/true"]));
                let removed = runtime.run(&["delete", "--force", &id]);
                measured.and(removed)
            });
        }
    }
    rows.done
}

fn through_daemon(engines: &Engines, samples: &mut Samples) -> Result<()> {
    let ids = engines.gantry.idle(1)?;
    let measured = engines.gantry.execs(&ids[0], 40, samples);
    let removed = engines.gantry.remove(&ids);
    measured.and(removed)
}

pub(crate) fn repeat(
    count: usize,
    samples: &mut Samples,
    mut cycle: impl FnMut() -> Result<()>,
) -> Result<()> {
    for _ in 0..count {
        let start = Instant::now();
        cycle()?;
        samples.push(start.elapsed());
    }
    Ok(())
}
