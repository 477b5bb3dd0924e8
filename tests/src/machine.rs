//! Is the machine as it was? Two snapshots of everything a container engine makes outside of itself, taken before and
//! after the suite; whatever was added is a leak and fails it.
//!
//! Kernel threads, the cgroups of others and mounts in other mount namespaces are left aside. On a machine where others
//! work at the same time, only what bears one of the suite's names counts: see [`Machine::added`].

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::cgroup::hierarchies;

/// What the suite's names begin with, wherever it names something.
const OURS: &str = "gantry";

/// What was there at one moment, one line a thing.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Machine {
    things: BTreeSet<String>,
}

impl Machine {
    /// Looks at everything.
    pub fn look() -> Result<Self> {
        let mut machine = Self::default();
        machine.processes()?;
        machine.mounts()?;
        machine.cgroups()?;
        machine.sockets()?;
        machine.folders();
        machine.ask("link", "ip", &["-o", "link", "show"], |line| line.split(": ").nth(1).map(str::to_owned));
        machine.ask("loop device", "losetup", &["-n", "-O", "NAME,BACK-FILE"], |line| Some(line.to_owned()));
        machine.ask("named network namespace", "ip", &["netns", "list"], |line| Some(line.to_owned()));
        machine.ask("nft table", "nft", &["list", "tables"], |line| Some(line.to_owned()));
        Ok(machine)
    }

    /// What is there now and was not before.
    #[must_use]
    pub fn added<'now>(&'now self, before: &'now Self) -> Vec<&'now str> {
        self.things.difference(&before.things).map(String::as_str).collect()
    }

    fn add(&mut self, kind: &str, what: impl AsRef<str>) {
        self.things.insert(format!("{kind} {}", what.as_ref()));
    }

    /// Processes of ours, and the namespaces that any process is in.
    fn processes(&mut self) -> Result<()> {
        for entry in fs::read_dir("/proc")?.flatten() {
            let name = entry.file_name();
            let Some(pid) = name.to_str().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
            else {
                continue;
            };
            let read = |file: &str| fs::read(entry.path().join(file)).unwrap_or_default();
            let command = String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
            let cgroup = String::from_utf8_lossy(&read("cgroup")).into_owned();
            let itself = pid.parse() == Ok(std::process::id());
            let daemon = command.contains("gantryd")
                || command.contains("gantry-shim")
                || command.contains("gantry-netd")
                || command.contains("gantry-test-");
            if !itself && (daemon || cgroup.contains("/gantry")) {
                self.add("process", format!("{pid} {command}"));
            }
            if cgroup.contains("/gantry") {
                for namespace in fs::read_dir(entry.path().join("ns")).into_iter().flatten().flatten() {
                    if let Ok(target) = fs::read_link(namespace.path()) {
                        self.add("namespace", target.to_string_lossy());
                    }
                }
            }
        }
        Ok(())
    }

    fn mounts(&mut self) -> Result<()> {
        let table = fs::read_to_string("/proc/self/mountinfo").context("reading the mount table")?;
        for line in table.lines() {
            // The first two fields are numbers that differ from mount to mount of the same thing.
            let fields: Vec<&str> = line.split(' ').skip(3).collect();
            self.add("mount", fields.join(" "));
        }
        Ok(())
    }

    fn cgroups(&mut self) -> Result<()> {
        for hierarchy in hierarchies()? {
            for entry in fs::read_dir(&hierarchy).into_iter().flatten().flatten() {
                if entry.file_name().to_string_lossy().starts_with(OURS) {
                    self.add("cgroup", entry.path().to_string_lossy());
                }
            }
        }
        Ok(())
    }

    fn sockets(&mut self) -> Result<()> {
        for line in fs::read_to_string("/proc/net/unix")?.lines() {
            if let Some(path) = line.split_whitespace().nth(7).filter(|path| path.contains(OURS)) {
                self.add("socket", path);
            }
        }
        Ok(())
    }

    fn folders(&mut self) {
        for parent in
            [std::env::temp_dir().as_path(), Path::new("/run"), Path::new("/var/lib"), Path::new("/dev/shm")]
        {
            for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
                if entry.file_name().to_string_lossy().starts_with(OURS) {
                    self.add("file", entry.path().to_string_lossy());
                }
            }
        }
    }

    /// Adds what a program lists; a machine without the program or without the facility has nothing of the kind.
    fn ask(&mut self, kind: &str, program: &str, args: &[&str], pick: impl Fn(&str) -> Option<String>) {
        let Ok(output) = Command::new(program).args(args).output() else { return };
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            if let Some(what) = pick(line) {
                self.add(kind, what);
            }
        }
    }
}
