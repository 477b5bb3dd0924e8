//! Does the thousandth container of a network cost what the first did, and the ten thousandth published port nothing?
//! Containers that sleep, one network of a thousand and two thousand over several; then ports of one container, each an
//! element of its own, asked for from outside.

use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use gantry_tests::dns::Asker;
use gantry_tests::network::{HOST, Stage, inside};
use gantry_tests::wait::{seconds, until, until_true};

use crate::gantry::Gantry;
use crate::memory::resident;
use crate::stats::Samples;
use crate::table::Table;

/// Containers on the one network.
const CROWD: usize = 1000;
/// Further networks, and the containers on each.
const NETWORKS: usize = 4;
const EACH: usize = 250;
/// How many of the first and of the last are compared.
const COMPARED: usize = 50;
/// Published ports of one container, from this one on.
const PORTS: u16 = 10_000;
const FIRST_PORT: u16 = 20_000;
/// What is asked how often.
const CONNECTIONS: usize = 100;
const TURNS: usize = 9;
/// The port that is there before the others come and after they went.
const ALONE: u16 = 80;
const FLUSHES: usize = 10;

pub(crate) fn measure(gantry: &mut Gantry, stage: &Stage, table: &mut Table) {
    table.line("## Many containers on networks\n");
    if let Err(error) = crowd(gantry, stage, table) {
        table.not_measured("many containers", &error);
    }
    table.line("\n## Many published ports\n");
    if let Err(error) = ports(gantry, stage, table) {
        table.not_measured("many ports", &error);
    }
    table.line("");
}

fn crowd(gantry: &mut Gantry, stage: &Stage, table: &mut Table) -> Result<()> {
    gantry.daemon.ok(&["network", "create", "--subnet", "10.210.0.0/20", "crowd"])?;
    // The first one brings the network up.
    let warm = gantry.sleepers("crowd", 1, &mut Samples::default())?;
    gantry.remove(&warm)?;
    let daemon_before = resident(gantry.daemon.pid()?)?;
    let mut starts = Vec::new();
    let mut worked = Vec::new();
    let mut ids = Vec::new();
    for _ in 0..CROWD / COMPARED {
        let mut samples = Samples::default();
        let before = processor_ms(gantry.daemon.pid()?)?;
        ids.extend(gantry.sleepers("crowd", COMPARED, &mut samples)?);
        worked.push(processor_ms(gantry.daemon.pid()?)? - before);
        starts.push(samples);
    }
    let (first, last) = (starts[0].median_ms(), starts[starts.len() - 1].median_ms());
    line(
        table,
        &format!(
            "create + start on a network of its own size, median of the first {COMPARED} | {first:.2} ms"
        ),
    );
    line(
        table,
        &format!(
            "the same, {} to {CROWD} | {last:.2} ms = {:.2} x (goal 1.5) ",
            CROWD - COMPARED + 1,
            last / first
        ),
    );
    let (first, last) = (worked[0], worked[worked.len() - 1]);
    line(
        table,
        &format!(
            "gantryd's own processor time for those, each | {:.2} and {:.2} ms = {:.2} x",
            first / count(COMPARED),
            last / count(COMPARED),
            last / first
        ),
    );
    let asker = Asker::of(&gantry.daemon, &ids[0])?;
    let newest = &ids[CROWD - 1][..12];
    ensure!(asker.addresses(newest)?.len() == 1, "the last one has no name");
    // Its socket keeps the container's namespace.
    drop(asker);
    let mut others = Samples::default();
    for number in 0..NETWORKS {
        let name = format!("side{number}");
        gantry.daemon.ok(&["network", "create", &name])?;
        ids.extend(gantry.sleepers(&name, EACH, &mut others)?);
    }
    let all = CROWD + NETWORKS * EACH;
    line(
        table,
        &format!(
            "{} more on {NETWORKS} further networks, median | {:.2} ms",
            NETWORKS * EACH,
            others.median_ms()
        ),
    );
    let daemon = resident(gantry.daemon.pid()?)?;
    line(table, &format!("gantryd, resident, with {all} containers | {daemon} KiB ({daemon_before} before)"));
    line(table, &format!("gantry-netd, resident, with {all} | {} KiB", resident(netd(gantry)?)?));
    let ports = stage.host("ip -o link")?.ok()?.lines().filter(|line| line.contains(": gv")).count();
    ensure!(ports == all, "{ports} links of {all} containers");
    after(gantry, stage, table, &ids)
}

/// A killed daemon's successor, and the end of everybody.
fn after(gantry: &mut Gantry, stage: &Stage, table: &mut Table, ids: &[String]) -> Result<()> {
    let all = ids.len();
    gantry.daemon.kill()?;
    let start = Instant::now();
    gantry.daemon.launch()?;
    gantry.reconnect()?;
    let running = gantry.daemon.ok(&["ps", "-q"])?.lines().count();
    ensure!(running == all, "{running} of {all} run on");
    line(
        table,
        &format!("a killed daemon, until the next has listed all {all} | {:.0} ms", ms(start.elapsed())),
    );
    let start = Instant::now();
    gantry.remove(ids)?;
    line(
        table,
        &format!("removal of all, one after the other | {:.2} ms each", ms(start.elapsed()) / count(all)),
    );
    stage.check_clean(&gantry.daemon)?;
    let start = Instant::now();
    for name in ["crowd", "side0", "side1", "side2", "side3"] {
        gantry.daemon.ok(&["network", "rm", name])?;
    }
    let links = stage.host("ip -o link")?.ok()?;
    ensure!(
        !links.lines().any(|line| line.contains(": gn") && !line.contains("DOWN")),
        "a bridge is left:\n{links}"
    );
    line(
        table,
        &format!("removal of the {} networks; nothing is left | {:.0} ms", NETWORKS + 1, ms(start.elapsed())),
    );
    Ok(())
}

fn ports(gantry: &mut Gantry, stage: &Stage, table: &mut Table) -> Result<()> {
    let daemon = &gantry.daemon;
    let image = gantry.image();
    let processes = processes(daemon.pid()?)?;
    let (slab, netd_before, daemon_before) = (slab()?, resident(netd(gantry)?)?, resident(daemon.pid()?)?);
    // Not to the same ports: those would be one element.
    let range = format!(
        "{FIRST_PORT}-{}:{}-{}",
        FIRST_PORT + PORTS - 1,
        FIRST_PORT + 10_000,
        FIRST_PORT + 9_999 + PORTS
    );
    let alone = format!("{ALONE}:{ALONE}");
    let published = ["-p", &alone, "-p", &range];
    let start = Instant::now();
    let words =
        [&["run", "-d", "--name", "many", "--network", "bench"], &published[..], &[image, "sleep", "100000"]];
    daemon.ok(&words.concat())?;
    line(table, &format!("`gantry run -d` with {PORTS} ports and one | {:.0} ms", ms(start.elapsed())));
    let more = self::processes(daemon.pid()?)?.saturating_sub(processes);
    line(table, &format!("processes more on the host, its shim included | {more}"));
    line(table, &format!("kernel memory (slab) more | {} KiB", self::slab()?.saturating_sub(slab)));
    line(
        table,
        &format!(
            "gantry-netd, resident, more | {} KiB",
            resident(netd(gantry)?)?.saturating_sub(netd_before)
        ),
    );
    line(
        table,
        &format!("gantryd, resident, more | {} KiB", resident(daemon.pid()?)?.saturating_sub(daemon_before)),
    );
    lookups(gantry, stage, table, &range)?;
    let daemon = &gantry.daemon;
    daemon.ok(&["rm", "-f", "many"])?;
    stage.check_clean(daemon)
}

/// What it costs to be one of many, in turn with being alone, and to have all of them put back.
fn lookups(gantry: &Gantry, stage: &Stage, table: &mut Table, range: &str) -> Result<()> {
    let daemon = &gantry.daemon;
    let many = daemon.container_pid("many")?;
    let (first, last) = (FIRST_PORT, FIRST_PORT + PORTS - 1);
    let [mut alone, mut with_others, mut at_first, mut at_last] = [(); 4].map(|()| Samples::default());
    for _ in 0..TURNS {
        connections(many, stage, (ALONE, ALONE), &mut with_others)?;
        connections(many, stage, (first, first + 10_000), &mut at_first)?;
        connections(many, stage, (last, last + 10_000), &mut at_last)?;
        daemon.ok(&["port", "rm", "many", range])?;
        connections(many, stage, (ALONE, ALONE), &mut alone)?;
        daemon.ok(&["port", "add", "many", range])?;
    }
    for (name, samples) in [("first", at_first), ("last", at_last), ("one beside them", with_others)] {
        let took = samples.median_ms() * 1000.0;
        let ratio = samples.median_ms() / alone.median_ms();
        line(
            table,
            &format!(
                "a connection to the {name}, median | {took:.0} us = {ratio:.2} x that of one port alone"
            ),
        );
    }
    let healed = healing(many, stage)?;
    line(
        table,
        &format!(
            "`nft delete table`, until the last answers, median and worst of {FLUSHES} | {:.1} and {:.1} ms",
            healed.median_ms(),
            healed.percentile_ms(100)
        ),
    );
    Ok(())
}

/// Connections from outside to a published port, one after the other; somebody inside takes them at the other.
fn connections(
    container: u32,
    stage: &Stage,
    (port, inside_port): (u16, u16),
    samples: &mut Samples,
) -> Result<()> {
    let at = SocketAddr::new(HOST.parse()?, port);
    let over = AtomicBool::new(false);
    let listener = listener(container, inside_port)?;
    std::thread::scope(|scope| {
        scope.spawn(|| take(&listener, &over));
        let measured = inside(stage.outside_process(), || {
            until_true("the port to answer", seconds(10), || {
                Ok(TcpStream::connect_timeout(&at, seconds(1)).is_ok())
            })?;
            for _ in 0..CONNECTIONS {
                let start = Instant::now();
                TcpStream::connect_timeout(&at, seconds(5))?;
                samples.push(start.elapsed());
            }
            Ok(())
        });
        over.store(true, Ordering::Relaxed);
        measured
    })
}

fn listener(container: u32, port: u16) -> Result<TcpListener> {
    let listener = inside(container, || Ok(TcpListener::bind(("0.0.0.0", port))?))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn take(listener: &TcpListener, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        if let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.flush();
        } else {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

/// From the end of nft, that took the table away, to the answer of the last of the ports.
fn healing(container: u32, stage: &Stage) -> Result<Samples> {
    let last = FIRST_PORT + PORTS - 1;
    let at = SocketAddr::new(HOST.parse()?, last);
    let listener = listener(container, last + 10_000)?;
    let over = AtomicBool::new(false);
    let mut samples = Samples::default();
    std::thread::scope(|scope| {
        scope.spawn(|| take(&listener, &over));
        let measured = (0..FLUSHES).try_for_each(|_| {
            stage.host("nft delete table inet gantry")?.exits(0)?;
            let start = Instant::now();
            inside(stage.outside_process(), || {
                until("the port after a flush", seconds(20), || {
                    Ok(TcpStream::connect_timeout(&at, Duration::from_millis(100)).ok())
                })
            })?;
            samples.push(start.elapsed());
            Ok(())
        });
        over.store(true, Ordering::Relaxed);
        measured
    })
    .map(|()| samples)
}

fn netd(gantry: &Gantry) -> Result<u32> {
    let lock = fs::read_to_string(gantry.daemon.path("run/netd/lock"))?;
    lock.trim().parse().context("netd holds its lock")
}

/// Processor time that a process has used, its threads that ended included.
fn processor_ms(process: u32) -> Result<f64> {
    /// USER_HZ, which is 100 wherever Linux runs Gantry.
    const TICK_MS: f64 = 10.0;
    let text = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let (_, fields) = text.rsplit_once(')').context("a process has a name")?;
    // proc_pid_stat(5): utime and stime, counted from the field behind the name.
    let times = fields.split_whitespace().skip(11).take(2).map(str::parse::<u32>);
    let ticks = times.sum::<Result<u32, _>>()?;
    Ok(f64::from(ticks) * TICK_MS)
}

/// KiB of kernel memory in small pieces, of the whole machine.
fn slab() -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("Slab:")).context("no Slab")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// Processes in the network namespace of the daemon: it, netd, the shims, and whatever a port might have.
fn processes(daemon: u32) -> Result<usize> {
    let own = fs::read_link(format!("/proc/{daemon}/ns/net"))?;
    let is_there =
        |entry: &fs::DirEntry| fs::read_link(entry.path().join("ns/net")).is_ok_and(|net| net == own);
    Ok(fs::read_dir("/proc")?.flatten().filter(is_there).count())
}

fn line(table: &mut Table, text: &str) {
    let (what, value) = text.split_once(" | ").unwrap_or((text, ""));
    table.line(&format!("- {what}: {value}"));
}

fn ms(took: Duration) -> f64 {
    took.as_secs_f64() * 1000.0
}

fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}
