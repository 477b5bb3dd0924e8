//! How are the figures shown? As a page of tables in markdown, with the machine, the date, the versions, and the goals
//! that the project has set itself beside what was measured.

use std::fmt::{self, Write as _};
use std::fs;
use std::process::Command;

use anyhow::Result;
use gantry_tests::programs::installed;

use crate::engines::Latency;
use crate::memory::{CONTAINERS, Memory};
use crate::network::Addition;
use crate::peers::{YOUKI, YOUKI_WAKE_EVERY, version};
use crate::pull::Pull;
use crate::runtimes::Phases;
use crate::stats::Samples;

/// The page under construction.
pub(crate) struct Table {
    text: String,
}

impl Table {
    pub(crate) fn new() -> Result<Self> {
        let mut table = Self { text: String::new() };
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
        let cpuinfo = fs::read_to_string("/proc/cpuinfo")?;
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name\t: ")).unwrap_or("unknown");
        let cpus = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
        let date = Command::new("date").args(["-u", "+%Y-%m-%d %H:%M UTC"]).output()?;
        let unified = gantry_tests::cgroup::is_unified()?;
        let peers = ["crun", "runc", YOUKI, "containerd", "dockerd", "podman"]
            .into_iter()
            .filter(|peer| installed(peer).is_some());
        let peers: Vec<String> = peers.map(version).collect();
        table.line("# Benchmarks\n");
        table.line("Written by `tests/bench/run`, which measures Gantry, the floor and the peers in one run, in turn. The floor");
        table.line("is the same kernel work in bare system calls (`tests/bench/floor.c`), with Gantry's own seccomp filter. Only");
        table.line("ratios hold on another machine. What `/run` holds is on a tmpfs, for everybody.\n");
        table.line(&format!(
            "{}; {cpus} x {model}; Linux {}; cgroup v{}. Peers: {}.\n",
            String::from_utf8_lossy(&date.stdout).trim(),
            kernel.trim(),
            if unified { 2 } else { 1 },
            peers.join("; ")
        ));
        Ok(table)
    }

    /// Adds a line as it is.
    pub(crate) fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// Says what is missing in this run, and why.
    pub(crate) fn not_measured(&mut self, what: &str, error: &anyhow::Error) {
        let reason = format!("{error:#}").replace('\n', " ");
        let line = format!("Not measured in this run: {what}, because {reason}\n");
        if !self.text.contains(&line) {
            self.line(&line);
        }
    }

    pub(crate) fn latency(&mut self, rows: &[Latency], filter_length: usize) {
        self.line("## One container: from nothing to `/bin/true` to nothing\n");
        self.line("Own network namespace without a network, default seccomp profile, one after another.");
        self.line(&format!(
            "Gantry's filter has {filter_length} instructions; the floor installs the same one.\n"
        ));
        self.ratios(rows);
        if rows.iter().any(|row| row.name.contains(YOUKI)) {
            self.line(&format!(
                "\n`{YOUKI} run` misses the end of a container that was quicker than it, and would wait for ever; it is woken every {} ms,",
                YOUKI_WAKE_EVERY.as_millis()
            ));
            self.line("here and where eight run at once.");
        }
        self.line("\nGoals: gRPC at most 2.5 x floor, and not slower than `crun run`; `gantry run --rm` at most 5 ms more than gRPC;");
        self.line("the library at most 1.25 x floor; `gantry-runtime run` at most 0.8 x `crun run`; 60 layers in a user namespace at");
        self.line("most 1.5 x one.\n");
    }

    pub(crate) fn execs(&mut self, rows: &[Latency]) {
        self.line("## One more process in a running container: `/bin/true`\n");
        self.ratios(rows);
        self.line("\nGoal: through the daemon at most half of `crun exec`.\n");
    }

    pub(crate) fn phases(&mut self, rows: &[Phases]) {
        self.line("## A runtime's commands one by one, median ms\n");
        self.line("| runtime | create | start | delete | n |");
        self.line("| --- | ---: | ---: | ---: | ---: |");
        for row in rows {
            let [create, start, delete] = [&row.create, &row.start, &row.delete].map(Samples::median_ms);
            let n = row.create.len();
            self.line(&format!("| {} | {create:.2} | {start:.2} | {delete:.2} | {n} |", row.name));
        }
        self.line("\nGoal: each of `gantry-runtime`'s below crun's.\n");
    }

    fn ratios(&mut self, rows: &[Latency]) {
        let median = |beginning: &str| {
            rows.iter().find(|row| row.name.starts_with(beginning)).map(|row| row.samples.median_ms())
        };
        let (floor, crun) = (median("floor"), median("`crun"));
        self.line("| engine | median ms | min | p95 | n | x floor | x crun |");
        self.line("| --- | ---: | ---: | ---: | ---: | ---: | ---: |");
        for Latency { name, samples } in rows {
            let ratio = |base: Option<f64>| {
                base.map_or_else(|| "-".to_owned(), |base| format!("{:.2}", samples.median_ms() / base))
            };
            let (min, p95, n) = (samples.percentile_ms(0), samples.percentile_ms(95), samples.len());
            let median = samples.median_ms();
            self.line(&format!(
                "| {name} | {median:.2} | {min:.2} | {p95:.2} | {n} | {} | {} |",
                ratio(floor),
                ratio(crun)
            ));
        }
    }

    pub(crate) fn throughput(&mut self, rows: &[(String, f64)]) {
        self.line("## Eight clients at once\n");
        self.line("| engine | containers a second |");
        self.line("| --- | ---: |");
        for (name, rate) in rows {
            self.line(&format!("| {name} | {rate:.0} |"));
        }
        self.line("\nGoals: at least 150 a second on 2 cores, then 250.\n");
    }

    pub(crate) fn networks(&mut self, rows: &[Addition]) {
        self.line("## What a network adds: a place on a bridge with names, and one published port\n");
        self.line("The same container as above, with and without, in turn; then eight clients at once.\n");
        self.line("| engine | none, median ms | bridge, median ms | min | p95 | n | adds ms | bridge, containers a second |");
        self.line("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
        for Addition { name, none, bridge, rate } in rows {
            let (without, with) = (none.median_ms(), bridge.median_ms());
            let (min, p95, n) = (bridge.percentile_ms(0), bridge.percentile_ms(95), bridge.len());
            let rate = rate.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.0}"));
            let adds = with - without;
            self.line(&format!(
                "| {name} | {without:.2} | {with:.2} | {min:.2} | {p95:.2} | {n} | {adds:.2} | {rate} |"
            ));
        }
        self.line("\nGoals: through the daemon at most 0.8 ms more, and at least 180 a second on 2 cores.\n");
    }

    pub(crate) fn memory(&mut self, rows: &[Memory]) {
        self.line(&format!("## Memory, {CONTAINERS} idle containers (KiB)\n"));
        self.line("| engine | PSS per monitor | private dirty per monitor | daemon RSS, none | with one | with all | each more |");
        self.line("| --- | ---: | ---: | ---: | ---: | ---: | ---: |");
        for row in rows {
            let more =
                row.daemon_busy.saturating_sub(row.daemon_first) / u64::try_from(CONTAINERS - 1).unwrap_or(1);
            self.line(&format!(
                "| {} | {} | {} | {} | {} | {} | {more} |",
                row.name, row.pss, row.private_dirty, row.daemon_idle, row.daemon_first, row.daemon_busy
            ));
        }
        self.line("\nGoals: 400 PSS and 150 private dirty per shim; the daemon 20 MiB idle and 50 KiB for each container more.\n");
    }

    pub(crate) fn recovery(&mut self, samples: &Samples) {
        self.line("## A killed daemon\n");
        self.line(&format!(
            "From the start of the new daemon to its answer about 100 running containers: {:.0} ms (worst of {}: {:.0} ms).",
            samples.median_ms(),
            samples.len(),
            samples.percentile_ms(100)
        ));
        self.line("\nGoal: 1 s.\n");
    }

    pub(crate) fn pull(&mut self, pull: &Pull) {
        self.line("## Pull of one large layer from a local registry, unpacked and synced\n");
        self.line(&format!(
            "{} MB of gzip; median of {}, seconds.\n",
            pull.layer_bytes / 1_000_000,
            pull.gantry.len()
        ));
        self.line("| engine | median s |");
        self.line("| --- | ---: |");
        self.line(&format!("| `gantry pull` | {:.2} |", pull.gantry.median_ms() / 1000.0));
        if !pull.containerd.is_empty() {
            let ratio = pull.containerd.median_ms() / pull.gantry.median_ms();
            self.line(&format!("| `ctr images pull` | {:.2} |", pull.containerd.median_ms() / 1000.0));
            let _ = writeln!(self.text, "\nGantry is {ratio:.1} x faster. Goal: 2 x.\n");
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
