//! How fast and how small is Gantry, beside the floor and its peers? One run measures all of them in turn on one machine,
//! because only ratios mean something on another; it writes a table with the machine and the date.
//!
//!     tests/bench/run               builds, measures, and writes docs/benchmarks.md
//!     tests/bench/run --networks    only the part about networks
//!     tests/bench/run --throughput FILE  only throughput, beside links and rules made by hand
//!     tests/bench/run --scale FILE  only a thousand containers on a network and ten thousand ports
//!
//! Deliberately not a test: a busy machine is slow, not wrong. What can be counted exactly is a test (`e2e/counts.rs`).

mod engines;
mod exec;
mod floor;
mod gantry;
mod memory;
mod network;
mod peers;
mod podman;
mod pull;
mod runtimes;
mod scale;
mod stats;
mod table;
mod throughput;
mod volatile;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use gantry_tests::fixture::busybox;
use gantry_tests::image::Layer;
use gantry_tests::network::Stage;
use gantry_tests::registry::Registry;
use serde_json::json;

use engines::Engines;
use table::Table;

/// What every measurement stands on.
struct Bench {
    folder: tempfile::TempDir,
    registry: Registry,
    /// The image that every engine runs.
    image: String,
    /// An image of sixty layers, the same but for their number.
    layered_image: String,
    /// The same files as a plain folder, for the floor and the bare runtimes.
    rootfs: PathBuf,
}

/// Layers of the large image.
const LAYERS: usize = 60;

impl Bench {
    fn prepare() -> Result<Self> {
        // Beside the engines' own data and not in /tmp, which may be in memory.
        let folder = tempfile::Builder::new().prefix("gantry-bench-").tempdir_in("/var/tmp")?;
        let registry = Registry::start()?;
        let mut image = busybox(Some(json!({"Cmd": ["/bin/true"], "Env": ["PATH=/bin"]})))?;
        let reference = image.push(&registry, "bench", "latest")?.reference;
        for number in 1..LAYERS {
            image = image.layer(&Layer::new().file(&format!("layer-{number}"), 0o644, b"one"))?;
        }
        let layered_image = image.push(&registry, "layered", "latest")?.reference;
        let rootfs = folder.path().join("rootfs");
        for name in ["bin", "dev", "proc", "sys", "etc", "tmp"] {
            fs::create_dir_all(rootfs.join(name))?;
        }
        fs::copy("/bin/busybox", rootfs.join("bin/busybox"))?;
        std::os::unix::fs::symlink("busybox", rootfs.join("bin/true"))?;
        std::os::unix::fs::symlink("busybox", rootfs.join("bin/sleep"))?;
        Ok(Self { folder, registry, image: reference, layered_image, rootfs })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let rounds = if arguments.iter().any(|word| word == "--quick") { 1 } else { 5 };
    let out = arguments.iter().find(|word| !word.starts_with("--")).map(PathBuf::from);
    volatile::check()?;
    network::check()?;
    let mut table = Table::new()?;
    let bench = Bench::prepare()?;
    let asked = |flag: &str| arguments.iter().any(|word| word == flag);
    if asked("--scale") || asked("--throughput") {
        measure_alone(&bench, asked("--throughput"), &mut table)?;
        return write(&table, out.as_deref());
    }
    let mut engines = Engines::start(&bench)?;
    if !arguments.iter().any(|word| word == "--networks") {
        measure_containers(&mut engines, &bench, rounds, &mut table);
    }
    network::measure(&engines, &bench, rounds, &mut table);
    let stopped = engines.stop(&bench);
    write(&table, out.as_deref())?;
    stopped
}

/// What needs no peer: throughput, or what takes many of everything.
fn measure_alone(bench: &Bench, is_throughput: bool, table: &mut Table) -> Result<()> {
    let mut gantry = gantry::Gantry::start(bench)?;
    let stage = Stage::make()?;
    stage.move_in(&mut gantry.daemon)?;
    gantry.reconnect()?;
    if is_throughput {
        throughput::measure(&gantry, &stage, table);
    } else {
        scale::measure(&mut gantry, &stage, table);
    }
    gantry.finish()
}

/// Everything that needs no network. What one engine cannot do here is said in the table; the others are measured all
/// the same.
fn measure_containers(engines: &mut Engines, bench: &Bench, rounds: usize, table: &mut Table) {
    let rows = engines::latency(engines, bench, rounds, table);
    table.latency(&rows, engines.filter_length);
    let rows = exec::latency(engines, bench, rounds, table);
    table.execs(&rows);
    let rows = runtimes::phases(engines, rounds, table);
    table.phases(&rows);
    let rows = engines::throughput(engines, bench, table);
    table.throughput(&rows);
    match memory::measure(engines, bench) {
        Ok(rows) => table.memory(&rows),
        Err(error) => table.not_measured("memory", &error),
    }
    match engines.gantry.recover(100) {
        Ok(samples) => table.recovery(&samples),
        Err(error) => table.not_measured("recovery", &error),
    }
    match pull::measure(engines, bench) {
        Ok(pull) => table.pull(&pull),
        Err(error) => table.not_measured("pull", &error),
    }
}

fn write(table: &Table, out: Option<&Path>) -> Result<()> {
    use std::io::Write as _;
    let text = table.to_string();
    match out {
        Some(path) => fs::write(path, &text).with_context(|| format!("writing {}", path.display()))?,
        None => std::io::stdout().write_all(text.as_bytes())?,
    }
    Ok(())
}
