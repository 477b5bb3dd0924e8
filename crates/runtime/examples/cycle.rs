//! How long is one container's life when nothing but this crate is in the way? Create, start, wait and clean
//! up, in process, so many times; medians in microseconds, to be held against the floor programme of
//! `tests/bench`, which does the same kernel work in bare system calls.
//!
//! `cycle SPEC ROOTFS COUNT [LAYERS [each]]`: an OCI spec whose command ends by itself, a root filesystem folder (the
//! lower layer), how many times, and how many layers in all, the others empty; with `each`, the microseconds of each
//! instead of medians. The filter is the spec's `linux.seccomp`. With a user namespace the layers are shifted by its mapping.

use std::error::Error;
use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use gantry_linux::wait::wait_pidfd;
use gantry_runtime::cgroup;
use gantry_runtime::execute::{self, Stdio};
use gantry_runtime::plan::{self, Overlay, Plan, PlanInput, Root, Rootfs};
use gantry_runtime::seccomp;
use oci_spec::runtime::Spec;

const PHASES: [&str; 6] = ["layers", "create", "start", "wait", "clean up", "all"];

#[expect(clippy::print_stdout, reason = "a programme that prints its measurements")]
fn main() -> Result<(), Box<dyn Error>> {
    let usage = "usage: cycle SPEC ROOTFS COUNT [LAYERS [each]]";
    let mut arguments = std::env::args().skip(1);
    let spec: Spec = serde_json::from_slice(&fs::read(arguments.next().ok_or(usage)?)?)?;
    let lower = arguments.next().ok_or(usage)?;
    let count: usize = arguments.next().ok_or(usage)?.parse()?;
    let layers: usize = arguments.next().map_or(Ok(1), |text| text.parse())?;
    let each = arguments.next().is_some_and(|word| word == "each");
    let folder = tempfile::tempdir()?;
    let plan = compile(&spec, &layer_folders(&lower, layers, folder.path())?, folder.path())?;
    let mut samples = Vec::with_capacity(count);
    for _ in 0..count {
        samples.push(cycle(&plan, folder.path())?);
    }
    if each {
        for sample in &samples {
            println!("{}", sample[PHASES.len() - 1].as_micros());
        }
        return Ok(());
    }
    for (number, phase) in PHASES.iter().enumerate() {
        let mut column: Vec<Duration> = samples.iter().map(|sample| sample[number]).collect();
        column.sort_unstable();
        let at = |percent: usize| column[(count - 1) * percent / 100].as_micros();
        println!("{phase:>8}  median {:>6}  min {:>6}  p95 {:>6}", at(50), at(0), at(95));
    }
    Ok(())
}

/// Empty layers on top of the one that has everything.
fn layer_folders(lower: &str, layers: usize, folder: &Path) -> Result<Vec<String>, Box<dyn Error>> {
    let mut list = Vec::new();
    for number in 1..layers {
        let layer = folder.join(format!("layer-{number}"));
        fs::create_dir(&layer)?;
        list.push(layer.to_string_lossy().into_owned());
    }
    list.push(lower.to_owned());
    Ok(list)
}

fn compile(spec: &Spec, lower: &[String], folder: &Path) -> Result<Plan, Box<dyn Error>> {
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let overlay =
        Overlay { lower: lower.to_vec(), upper: path("upper"), work: path("work"), ..Overlay::default() };
    let filter = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    let id_mapped = spec.linux().as_ref().is_some_and(|linux| linux.uid_mappings().is_some());
    let input = PlanInput {
        rootfs: Rootfs { root: Some(Root::Overlay(overlay)), id_mapped },
        cgroups: cgroup::Host::read()?,
        filter: filter.map(seccomp::compile).transpose()?,
        ..PlanInput::default()
    };
    Ok(plan::compile(spec, &input)?)
}

/// One life; how long each phase and all of it took.
fn cycle(plan: &Plan, folder: &Path) -> Result<[Duration; 6], Box<dyn Error>> {
    let null = || File::options().read(true).write(true).open("/dev/null").map(OwnedFd::from);
    let begin = Instant::now();
    let mut last = begin;
    let mut lap = || {
        let before = std::mem::replace(&mut last, Instant::now());
        last - before
    };
    for name in ["upper", "work"] {
        fs::create_dir(folder.join(name))?;
    }
    let layers = lap();
    let stdio = Stdio::Descriptors { stdin: null()?, stdout: null()?, stderr: null()? };
    let created = execute::create(plan, stdio)?;
    let create = lap();
    let running = created.start()?;
    let start = lap();
    wait_pidfd(running.process.pidfd.as_fd())?;
    let wait = lap();
    if let Some(cgroup) = running.cgroup {
        cgroup.remove()?;
    }
    for name in ["upper", "work"] {
        fs::remove_dir_all(folder.join(name))?;
    }
    let clean_up = lap();
    Ok([layers, create, start, wait, clean_up, begin.elapsed()])
}
