//! What does the kernel say about a container's cgroup? Read from the host's own files, so that a limit counts only
//! when the kernel has it. Both versions of cgroups are read; the caller names the file of each.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

/// The mount points of all cgroup hierarchies of this machine, v1 and v2.
pub fn hierarchies() -> Result<Vec<PathBuf>> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let cgroups = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (target, kind) = (fields.next()?, fields.next()?);
        kind.starts_with("cgroup").then(|| PathBuf::from(target))
    });
    Ok(cgroups.collect())
}

/// Whether this machine has cgroup v2 only.
pub fn is_unified() -> Result<bool> {
    Ok(fs::read_to_string("/proc/self/mounts")?.lines().all(|line| line.split(' ').nth(2) != Some("cgroup")))
}

/// Reads a file of the cgroup a process is in: `v1` is (controller, file), `v2` the file's name.
pub fn read(pid: u32, v1: (&str, &str), v2: &str) -> Result<String> {
    let unified = is_unified()?;
    let (controller, file) = if unified { ("", v2) } else { v1 };
    let table = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let path = table
        .lines()
        .filter_map(|line| line.splitn(3, ':').skip(1).collect::<Vec<_>>().try_into().ok())
        .find_map(|[controllers, path]: [&str; 2]| {
            controllers.split(',').any(|name| name == controller).then(|| path.to_owned())
        })
        .with_context(|| format!("no cgroup for {controller:?} in:\n{table}"))?;
    let mount = mount_of(controller)?;
    let file = mount.join(path.trim_start_matches('/')).join(file);
    let content = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    Ok(content.trim_end().to_owned())
}

fn mount_of(controller: &str) -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let found = mounts.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        let (target, kind, options) = (fields.get(1)?, fields.get(2)?, fields.get(3)?);
        let fits = match *kind {
            "cgroup2" => controller.is_empty(),
            "cgroup" => !controller.is_empty() && options.split(',').any(|option| option == controller),
            _ => false,
        };
        fits.then(|| PathBuf::from(target))
    });
    found.with_context(|| format!("no hierarchy for {controller:?}"))
}
