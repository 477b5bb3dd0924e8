//! How is the floor programme built and run? Compiled from C once a run, given the seccomp filter that Gantry's own
//! container had, so that both ask the same of the kernel.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use crate::Bench;
use crate::gantry::Network;
use crate::peers::{bundle_config, run};
use crate::stats::Samples;

/// The compiled programme and the filter it installs.
pub(crate) struct Floor {
    program: PathBuf,
    filter: PathBuf,
}

/// The runtime crate's own example, which does a container's life in process.
pub(crate) struct Library {
    program: PathBuf,
    folder: PathBuf,
    rootfs: PathBuf,
}

/// The floor's bridge, and the address on it that its containers have their route by.
const BRIDGE: &str = "floor0";
const BRIDGE_ADDRESS: &str = "10.213.0.1/16";

/// The specs that the library is run with, by the names of their files.
const PLAIN: &str = "library.json";
const SHIFTED: &str = "library-user.json";

impl Library {
    /// Where `tests/bench/run` says that it is; `None` without.
    pub(crate) fn find(bench: &Bench) -> Result<Option<Self>> {
        let Some(program) = std::env::var_os("GANTRY_CYCLE").map(PathBuf::from) else { return Ok(None) };
        let mut config = bundle_config(&bench.rootfs)?;
        config["linux"]["cgroupsPath"] = format!("/gantry-bench-library-{}", std::process::id()).into();
        let folder = bench.folder.path().to_owned();
        fs::write(folder.join(PLAIN), config.to_string())?;
        let mapping = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
        let namespaces = config["linux"]["namespaces"].as_array_mut().context("a list")?;
        namespaces.push(json!({"type": "user"}));
        config["linux"]["uidMappings"] = mapping.clone();
        config["linux"]["gidMappings"] = mapping;
        fs::write(folder.join(SHIFTED), config.to_string())?;
        Ok(Some(Self { program, folder, rootfs: bench.rootfs.clone() }))
    }

    /// Runs so many containers one after another.
    pub(crate) fn run(&self, count: usize, samples: &mut Samples) -> Result<()> {
        self.cycle(PLAIN, 1, count, samples)
    }

    /// The same in a user namespace, with a root of so many layers.
    pub(crate) fn run_shifted(&self, layers: usize, count: usize, samples: &mut Samples) -> Result<()> {
        self.cycle(SHIFTED, layers, count, samples)
    }

    fn cycle(&self, spec: &str, layers: usize, count: usize, samples: &mut Samples) -> Result<()> {
        let mut command = Command::new(&self.program);
        command.arg(self.folder.join(spec)).arg(&self.rootfs);
        command.args([&count.to_string(), &layers.to_string(), "each"]);
        // Its layers lie where the floor's do, and not in /tmp.
        command.env("TMPDIR", self.folder.join("floor-work"));
        let output = command.output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        for line in String::from_utf8(output.stdout)?.lines() {
            samples.push_microseconds(line.parse().context("the example prints microseconds")?);
        }
        Ok(())
    }
}

impl Floor {
    pub(crate) fn build(bench: &Bench) -> Result<Self> {
        let program = bench.path("floor");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/bench/floor.c");
        let compiled =
            Command::new("cc").args(["-O2", "-static", "-o"]).arg(&program).arg(source).status()?;
        ensure!(compiled.success(), "floor.c does not compile");
        fs::create_dir(bench.path("floor-work"))?;
        Ok(Self { program, filter: bench.path("filter") })
    }

    /// Takes the filter of a running process; answers the number of its instructions.
    pub(crate) fn take_filter(&self, pid: u32) -> Result<usize> {
        let output = Command::new(&self.program).args(["filter", &pid.to_string()]).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        fs::write(&self.filter, &output.stdout)?;
        Ok(output.stdout.len() / 8)
    }

    /// Runs so many containers one after another.
    pub(crate) fn run(
        &self,
        bench: &Bench,
        network: Network,
        count: usize,
        samples: &mut Samples,
    ) -> Result<()> {
        for line in self.start(bench, network, count, 1)?.lines() {
            samples.push_microseconds(line.parse().context("the floor prints microseconds")?);
        }
        Ok(())
    }

    /// Containers a second with eight at once.
    pub(crate) fn throughput(&self, bench: &Bench, network: Network, count: usize) -> Result<f64> {
        let start = Instant::now();
        let done = self.start(bench, network, count, 8)?.lines().count();
        ensure!(done == count, "the floor ran {done} of {count}");
        Ok(crate::engines::per_second(count, start.elapsed()))
    }

    /// Makes the bridge of the containers that have one.
    pub(crate) fn make_bridge() -> Result<()> {
        run(Command::new("ip").args(["link", "add", BRIDGE, "type", "bridge"]))?;
        run(Command::new("ip").args(["address", "add", BRIDGE_ADDRESS, "dev", BRIDGE]))?;
        run(Command::new("ip").args(["link", "set", BRIDGE, "up"]))
    }

    pub(crate) fn remove_bridge() -> Result<()> {
        run(Command::new("ip").args(["link", "del", BRIDGE]))
    }

    fn start(&self, bench: &Bench, network: Network, count: usize, workers: usize) -> Result<String> {
        let mut command = Command::new(&self.program);
        command.arg("run").arg(&bench.rootfs).arg(bench.path("floor-work"));
        command.args([count.to_string(), workers.to_string()]).arg(&self.filter).arg("/bin/true");
        if network == Network::Bridge {
            command.arg(BRIDGE);
        }
        let output = command.output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }
}
