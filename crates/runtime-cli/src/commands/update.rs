//! `update`: the limits of a container that is there change. What is said replaces what was said before, field
//! by field; the whole is kept for the next update.

use std::io::Read as _;
use std::path::Path;

use gantry_runtime::cgroup::{self, Host};
use oci_spec::runtime::LinuxResources;
use serde_json::{Map, Value, json};

use super::{Outcome, cgroup_of};
use crate::containers::{Containers, Folder};
use crate::failure::Failure;
use crate::options::Update;
use crate::reading;
use crate::record::{Record, Status};
use crate::report::Report;
use crate::scope;

pub(super) fn update(options: &Update, containers: &Containers, report: &Report) -> Outcome {
    let (folder, record) = containers.find(&options.id)?;
    match folder.status(&record) {
        Status::Created | Status::Running | Status::Paused => {}
        status @ (Status::Creating | Status::Stopped) => {
            return Err(Failure::WrongStatus { id: options.id.clone(), verb: "update", status });
        }
    }
    let plan = folder.plan()?;
    let (Some(cgroup), Some(group)) = (cgroup_of(&folder)?, plan.cgroup) else {
        let why = "the container has no control group of its own".to_owned();
        return Err(Failure::Unavailable { what: "update", why });
    };
    let current = current(&folder, &record, report)?;
    let wanted = cgroup::merge(&current, &change(options)?);
    let update = cgroup::update(&current, &wanted, &format!("/{}", group.path), &Host::read()?)?;
    if let Some(unit) = &record.scope {
        scope::limit(unit, &update)?;
    }
    cgroup.update(&update)?;
    folder.keep_resources(&wanted)?;
    Ok(None)
}

/// What was asked last: by an update, or by the bundle.
fn current(folder: &Folder, record: &Record, report: &Report) -> Result<LinuxResources, Failure> {
    if let Some(kept) = folder.resources()? {
        return Ok(kept);
    }
    let spec = reading::spec(&record.bundle.join("config.json"), report)?;
    Ok(spec.linux().as_ref().and_then(|linux| linux.resources().clone()).unwrap_or_default())
}

/// What is asked now.
fn change(options: &Update) -> Result<LinuxResources, Failure> {
    if let Some(path) = &options.resources {
        let bytes = read(path).map_err(|error| Failure::file("read", path, error))?;
        return serde_json::from_slice(&bytes).map_err(|error| Failure::json(path, error));
    }
    let mut resources = Map::new();
    for (name, value) in &options.limits {
        let (group, field, value) = limit(name, value)?;
        let group = resources.entry(group).or_insert_with(|| json!({}));
        group[field] = value;
    }
    serde_json::from_value(Value::Object(resources)).map_err(|error| Failure::json("the options", error))
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    if path == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin().lock().read_to_end(&mut bytes)?;
        return Ok(bytes);
    }
    std::fs::read(path)
}

/// Where in the specification's `linux.resources` an option belongs, and its value there.
fn limit(name: &'static str, text: &str) -> Result<(&'static str, &'static str, Value), Failure> {
    let refused = || Failure::usage(format!("--{name}: {text:?} is not a number"));
    let number = || text.parse::<i64>().map(Value::from).map_err(|_| refused());
    let size = || bytes(text).map(Value::from).ok_or_else(refused);
    Ok(match name {
        "blkio-weight" => ("blockIO", "weight", number()?),
        "cpu-period" => ("cpu", "period", number()?),
        "cpu-quota" => ("cpu", "quota", number()?),
        "cpu-burst" => ("cpu", "burst", number()?),
        "cpu-share" | "cpu-shares" => ("cpu", "shares", number()?),
        "cpu-rt-period" => ("cpu", "realtimePeriod", number()?),
        "cpu-rt-runtime" => ("cpu", "realtimeRuntime", number()?),
        "cpu-idle" => ("cpu", "idle", number()?),
        "cpuset-cpus" => ("cpu", "cpus", Value::from(text)),
        "cpuset-mems" => ("cpu", "mems", Value::from(text)),
        "kernel-memory" => ("memory", "kernel", size()?),
        "kernel-memory-tcp" => ("memory", "kernelTCP", size()?),
        "memory" => ("memory", "limit", size()?),
        "memory-reservation" => ("memory", "reservation", size()?),
        "memory-swap" => ("memory", "swap", size()?),
        "pids-limit" => ("pids", "limit", number()?),
        other => {
            return Err(Failure::Unavailable { what: "update", why: format!("--{other} needs Intel RDT") });
        }
    })
}

/// Bytes, or with `k`, `m`, `g` or `t` the binary multiples of them; -1 is no limit.
fn bytes(text: &str) -> Option<i64> {
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches('b').trim_end_matches('i');
    let (digits, shift) = match digits.char_indices().last()? {
        (at, 'k') => (&digits[..at], 10),
        (at, 'm') => (&digits[..at], 20),
        (at, 'g') => (&digits[..at], 30),
        (at, 't') => (&digits[..at], 40),
        _ => (digits, 0),
    };
    digits.parse::<i64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(bytes("100"), Some(100));
        assert_eq!(bytes("2k"), Some(2048));
        assert_eq!(bytes("1MiB"), Some(1 << 20));
        assert_eq!(bytes("-1"), Some(-1));
        for text in ["", "x", "k", "9999999999t", "1.5g"] {
            assert_eq!(bytes(text), None, "{text:?}");
        }
    }

    #[test]
    fn every_option_finds_its_field() {
        let limits = vec![
            ("memory", "1m".to_owned()),
            ("cpu-shares", "512".to_owned()),
            ("cpuset-cpus", "0-1".to_owned()),
        ];
        let options = Update { limits, ..Update::default() };
        let resources = change(&options).expect("resources");
        assert_eq!(
            resources.memory().as_ref().and_then(oci_spec::runtime::LinuxMemory::limit),
            Some(1 << 20)
        );
        let cpu = resources.cpu().clone().expect("cpu");
        assert_eq!((cpu.shares(), cpu.cpus().as_deref()), (Some(512), Some("0-1")));
    }
}
