//! In which order is everything measured? In rounds, so that a slow minute of the machine slows all of them: each round
//! runs every engine a few times, and the medians are over all rounds.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use gantry_tests::programs::installed;

use crate::exec::repeat;
use crate::floor::{Floor, Library};
use crate::gantry::{Gantry, Network};
use crate::peers::{Daemons, OWN, RUN, Runtime, YOUKI};
use crate::stats::Samples;
use crate::table::Table;
use crate::volatile;
use crate::{Bench, LAYERS};

/// Everything that can run a container here.
pub(crate) struct Engines {
    pub(crate) floor: Floor,
    pub(crate) gantry: Gantry,
    pub(crate) daemons: Option<Daemons>,
    pub(crate) runtimes: Vec<Runtime>,
    library: Option<Library>,
    /// Instructions of Gantry's seccomp filter.
    pub(crate) filter_length: usize,
}

/// One line of the latency table.
pub(crate) struct Latency {
    pub(crate) name: String,
    pub(crate) samples: Samples,
}

/// Lines under way: a name measured again adds to its line.
#[derive(Default)]
pub(crate) struct Rows {
    pub(crate) done: Vec<Latency>,
}

impl Rows {
    /// Adds what `measure` gives; what cannot be measured is said in the table.
    pub(crate) fn measure(
        &mut self,
        table: &mut Table,
        name: &str,
        measure: &mut dyn FnMut(&mut Samples) -> Result<()>,
    ) {
        let mut samples = Samples::default();
        if let Err(error) = measure(&mut samples) {
            table.not_measured(name, &error);
            return;
        }
        match self.done.iter_mut().find(|row| row.name == name) {
            Some(row) => row.samples.extend(samples),
            None => self.done.push(Latency { name: name.to_owned(), samples }),
        }
    }
}

impl Engines {
    pub(crate) fn start(bench: &Bench) -> Result<Self> {
        let floor = Floor::build(bench)?;
        let gantry = Gantry::start(bench)?;
        let ids = gantry.idle(1)?;
        let filter_length = floor.take_filter(gantry.daemon.container_pid(&ids[0])?)?;
        gantry.remove(&ids)?;
        volatile::make(&bench.path(RUN))?;
        let names = ["crun", "runc", YOUKI].into_iter().filter(|name| installed(name).is_some()).chain([OWN]);
        let runtimes = names.map(|name| Runtime::prepare(name, bench)).collect::<Result<Vec<_>>>()?;
        let library = Library::find(bench)?;
        let daemons = installed("containerd").map(|_| Daemons::start(bench)).transpose()?;
        Ok(Self { floor, gantry, daemons, runtimes, library, filter_length })
    }

    pub(crate) fn stop(self, bench: &Bench) -> Result<()> {
        let stopped = self.daemons.map_or(Ok(()), |mut daemons| daemons.stop());
        let unmounted = volatile::end(&bench.path(RUN));
        let finished = self.gantry.finish();
        unmounted.and(finished).and(stopped)
    }
}

/// How many containers a second that was.
#[expect(clippy::cast_precision_loss, reason = "a count of containers is far below 2^52")]
pub(crate) fn per_second(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

/// One container from nothing to nothing, by every engine.
pub(crate) fn latency(
    engines: &mut Engines,
    bench: &Bench,
    rounds: usize,
    table: &mut Table,
) -> Vec<Latency> {
    let mut rows = Rows::default();
    let mut row = |name: &str, measure: &mut dyn FnMut(&mut Samples) -> Result<()>| {
        rows.measure(table, name, measure);
    };
    for _ in 0..rounds {
        row("floor (bare system calls)", &mut |samples| engines.floor.run(bench, Network::None, 40, samples));
        if let Some(library) = &engines.library {
            row("Gantry's runtime library, in process", &mut |samples| library.run(40, samples));
            row("the same in a user namespace", &mut |samples| library.run_shifted(1, 20, samples));
            row("the same with 60 layers", &mut |samples| library.run_shifted(LAYERS, 20, samples));
        }
        row("Gantry, gRPC create + start + wait + delete", &mut |samples| {
            engines.gantry.cycles(&bench.image, Network::None, 40, samples)
        });
        row("Gantry, gRPC, an image of 60 layers", &mut |samples| {
            engines.gantry.cycles(&bench.layered_image, Network::None, 20, samples)
        });
        row("Gantry, `gantry run --rm`", &mut |samples| {
            repeat(20, samples, || engines.gantry.command_line_cycle())
        });
        for runtime in &engines.runtimes {
            let name = format!("`{} run`, no daemon", runtime.name);
            row(&name, &mut |samples| repeat(20, samples, || runtime.cycle()));
        }
        if let Some(daemons) = &engines.daemons {
            row("`ctr run --rm`", &mut |samples| repeat(5, samples, || daemons.ctr_cycle()));
            if daemons.has_docker() {
                row("`docker run --rm`", &mut |samples| {
                    repeat(4, samples, || daemons.docker_cycle(Network::None))
                });
            }
        }
    }
    rows.done
}

/// Containers a second with eight clients at once, by every engine.
pub(crate) fn throughput(engines: &mut Engines, bench: &Bench, table: &mut Table) -> Vec<(String, f64)> {
    let mut rows = Vec::new();
    let mut row = |name: String, rate: Result<f64>| match rate {
        Ok(rate) => rows.push((name, rate)),
        Err(error) => table.not_measured(&format!("{name}, eight at once"), &error),
    };
    row("floor (bare system calls)".to_owned(), engines.floor.throughput(bench, Network::None, 400));
    row("Gantry, gRPC, a connection per client".to_owned(), engines.gantry.throughput(Network::None, 400));
    for runtime in &engines.runtimes {
        row(format!("`{} run`", runtime.name), side_by_side(160, || runtime.cycle()));
    }
    if let Some(daemons) = &engines.daemons {
        row("`ctr run --rm`".to_owned(), side_by_side(40, || daemons.ctr_cycle()));
        if daemons.has_docker() {
            row("`docker run --rm`".to_owned(), side_by_side(24, || daemons.docker_cycle(Network::None)));
        }
    }
    rows
}

pub(crate) fn side_by_side(count: usize, cycle: impl Fn() -> Result<()> + Sync) -> Result<f64> {
    const CLIENTS: usize = 8;
    let start = Instant::now();
    let results: Vec<Result<()>> = std::thread::scope(|scope| {
        let clients: Vec<_> =
            (0..CLIENTS).map(|_| scope.spawn(|| (0..count / CLIENTS).try_for_each(|_| cycle()))).collect();
        clients.into_iter().map(|client| client.join().expect("a client does not panic")).collect()
    });
    let took = start.elapsed();
    for result in results {
        result?;
    }
    ensure!(count.is_multiple_of(CLIENTS), "the count divides among the clients");
    Ok(per_second(count, took))
}
