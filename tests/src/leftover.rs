//! What did one private daemon leave behind? Whatever bears its name (cgroups) or its folder (processes, mounts,
//! sockets). Found after a test that passed, it fails the test; found after one that failed, it is removed.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::wait::{seconds, until_true};

/// Things that outlived a daemon and its containers.
#[derive(Debug, Default)]
pub(crate) struct Leftover {
    processes: Vec<(i32, String)>,
    cgroups: Vec<PathBuf>,
    mounts: Vec<String>,
}

impl Leftover {
    /// Looks for what bears `name` or `folder`.
    pub(crate) fn find(name: &str, folder: &Path) -> Result<Self> {
        let folder = folder.to_str().unwrap_or_default();
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        Ok(Self {
            processes: processes(name, folder)?,
            cgroups: cgroups(name)?,
            mounts: mounts.lines().filter(|line| line.contains(folder)).map(str::to_owned).collect(),
        })
    }

    /// Whether there is nothing.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.processes.is_empty() && self.cgroups.is_empty() && self.mounts.is_empty()
    }

    /// Kills, unmounts and removes what was found, as far as that goes.
    pub(crate) fn remove(&self) {
        for (pid, _) in &self.processes {
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
        for line in &self.mounts {
            if let Some(target) = line.split(' ').nth(4) {
                let _ = nix::mount::umount2(target, nix::mount::MntFlags::MNT_DETACH);
            }
        }
        let _ = until_true("leftover cgroups to be empty", seconds(5), || {
            Ok(self
                .cgroups
                .iter()
                .rev()
                .fold(true, |gone, folder| gone & (fs::remove_dir(folder).is_ok() || !folder.exists())))
        });
    }
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (pid, command) in &self.processes {
            writeln!(f, "process {pid}: {command}")?;
        }
        for folder in &self.cgroups {
            writeln!(f, "cgroup {}", folder.display())?;
        }
        for line in &self.mounts {
            writeln!(f, "mount {line}")?;
        }
        Ok(())
    }
}

/// Processes in a cgroup of that name, or with the folder in their command line, working directory or open files.
fn processes(name: &str, folder: &str) -> Result<Vec<(i32, String)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|text| text.parse::<i32>().ok()) else {
            continue;
        };
        let read = |file: &str| fs::read(entry.path().join(file)).unwrap_or_default();
        let cgroup = String::from_utf8_lossy(&read("cgroup")).into_owned();
        let command = String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
        let ours = cgroup.contains(&format!("/{name}/")) || (!folder.is_empty() && command.contains(folder));
        let touches = fs::read_link(entry.path().join("cwd")).is_ok_and(|path| path.starts_with(folder))
            || open_files(&entry.path()).any(|path| path.starts_with(folder));
        let itself = u32::try_from(pid).is_ok_and(|pid| pid == std::process::id());
        if (ours || touches) && !itself {
            found.push((pid, command));
        }
    }
    Ok(found)
}

fn open_files(process: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let files = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    files.filter_map(|file| fs::read_link(file.path()).ok())
}

/// Removes the folders above containers' cgroups, which a daemon keeps for the next container: the name itself and, below
/// it, one per namespace. One that is not empty stays, and is found.
pub(crate) fn remove_empty_parents(name: &str) -> Result<()> {
    for mount in crate::cgroup::hierarchies()? {
        let top = mount.join(name);
        for entry in fs::read_dir(&top).into_iter().flatten().flatten() {
            let _ = fs::remove_dir(entry.path());
        }
        let _ = fs::remove_dir(top);
    }
    Ok(())
}

/// Folders of that name in every hierarchy, parents before children.
fn cgroups(name: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for mount in crate::cgroup::hierarchies()? {
        let top = mount.join(name);
        if top.is_dir() {
            found.push(top.clone());
            let mut rest = vec![top];
            while let Some(folder) = rest.pop() {
                for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                    if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                        found.push(entry.path());
                        rest.push(entry.path());
                    }
                }
            }
        }
    }
    found.sort();
    Ok(found)
}
