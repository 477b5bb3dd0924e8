//! What a control group has used of everything, in one shape for both versions. Read at the moment of the call
//! from the files of each controller, never kept. A controller that the machine has not got leaves its part at
//! zero or `None`; a group that is gone is an error of its first file.

mod legacy;
mod text;
mod unified;

use std::collections::BTreeMap;

use gantry_linux::Errno;

use super::directory::read_file;
use super::{CgroupError, Host};

/// Everything at one moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Stats {
    /// Processor time.
    pub cpu: CpuStats,
    /// Memory.
    pub memory: MemoryStats,
    /// Processes and threads.
    pub pids: PidsStats,
    /// Block devices, in the order of their numbers.
    pub io: Vec<IoStats>,
    /// Pressure of block I/O.
    pub io_pressure: Option<Pressure>,
    /// Huge pages by their size, `2MB`.
    pub hugetlb: BTreeMap<String, HugetlbStats>,
    /// RDMA devices by their names.
    pub rdma: BTreeMap<String, RdmaStats>,
}

/// Processor time, in nanoseconds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CpuStats {
    /// All of it.
    pub usage_ns: u64,
    /// In user mode.
    pub user_ns: u64,
    /// In the kernel.
    pub system_ns: u64,
    /// By processor; version 1 only.
    pub per_cpu_ns: Vec<u64>,
    /// Bandwidth periods in which it ran.
    pub periods: u64,
    /// Of these, in how many it was held back.
    pub throttled_periods: u64,
    /// How long it was held back.
    pub throttled_ns: u64,
    /// Pressure.
    pub pressure: Option<Pressure>,
}

/// Memory, in bytes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MemoryStats {
    /// In use, the page cache with it.
    pub usage_bytes: u64,
    /// The most that was ever in use, where the kernel keeps it.
    pub peak_bytes: Option<u64>,
    /// `None` is no limit.
    pub limit_bytes: Option<u64>,
    /// How often the limit was hit.
    pub limit_hits: u64,
    /// Swap in use; `None` where the kernel does not account it.
    pub swap_bytes: Option<u64>,
    /// Of swap alone, as version 2 counts it; `None` is no limit.
    pub swap_limit_bytes: Option<u64>,
    /// Kernel memory; `None` where the kernel does not tell.
    pub kernel_bytes: Option<u64>,
    /// Anonymous memory.
    pub anonymous_bytes: u64,
    /// Page cache.
    pub file_bytes: u64,
    /// Page cache that was not used lately, which the kernel takes back first.
    pub inactive_file_bytes: u64,
    /// Processes killed for want of memory.
    pub oom_kills: u64,
    /// Every line of `memory.stat`.
    pub all: BTreeMap<String, u64>,
    /// Pressure.
    pub pressure: Option<Pressure>,
}

impl MemoryStats {
    /// What is in use without the cache that would be given up first: what docker and Kubernetes show.
    pub fn working_set_bytes(&self) -> u64 {
        self.usage_bytes.saturating_sub(self.inactive_file_bytes)
    }
}

/// Processes and threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PidsStats {
    /// Now.
    pub current: u64,
    /// `None` is no limit.
    pub max: Option<u64>,
}

/// One block device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IoStats {
    /// Its major number.
    pub major: u32,
    /// Its minor number.
    pub minor: u32,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub write_bytes: u64,
    /// Reads.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
}

/// Huge pages of one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HugetlbStats {
    /// Bytes in use.
    pub usage_bytes: u64,
    /// The most ever in use, where the kernel keeps it.
    pub peak_bytes: Option<u64>,
    /// How often the limit was hit.
    pub limit_hits: u64,
}

/// One RDMA device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RdmaStats {
    /// Handles in use.
    pub hca_handles: u64,
    /// Objects in use.
    pub hca_objects: u64,
}

/// How much work stood still for want of a resource (kernel documentation, accounting/psi).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Pressure {
    /// Some of it.
    pub some: Stall,
    /// All of it; the kernel has none for a machine's processors.
    pub full: Option<Stall>,
}

/// One line of pressure.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Stall {
    /// Per cent of the last ten seconds.
    pub avg10: f64,
    /// Per cent of the last minute.
    pub avg60: f64,
    /// Per cent of the last five minutes.
    pub avg300: f64,
    /// Microseconds since the group was made.
    pub total_us: u64,
}

impl Stats {
    /// Reads everything of the group at `path` (`/gantry/default/1f2e`) below the machine's hierarchies.
    pub fn read(host: &Host, path: &str) -> Result<Self, CgroupError> {
        let path = path.trim_matches('/');
        let unified = host
            .unified
            .as_ref()
            .map(|hierarchy| Files { folder: format!("{}/{path}", hierarchy.mountpoint) });
        let mut stats = if host.has_legacy_controllers() {
            legacy::read(|controller: &str| {
                let has = |name: &String| name == controller;
                let hierarchy = host.legacy.iter().find(|hierarchy| hierarchy.controllers.iter().any(has))?;
                Some(Files { folder: format!("{}/{path}", hierarchy.mountpoint) })
            })?
        } else {
            unified.as_ref().map(unified::read).transpose()?.unwrap_or_default()
        };
        if let Some(files) = &unified {
            // Not a controller's: hybrid machines have it too.
            stats.cpu.pressure = files.pressure("cpu.pressure")?;
            stats.memory.pressure = files.pressure("memory.pressure")?;
            stats.io_pressure = files.pressure("io.pressure")?;
        }
        Ok(stats)
    }
}

/// The files of one folder.
struct Files {
    folder: String,
}

impl Files {
    /// A file's text; `None` when the kernel has not got it.
    fn text(&self, name: &str) -> Result<Option<String>, CgroupError> {
        let path = format!("{}/{name}", self.folder);
        match read_file(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if [Errno::NOENT, Errno::OPNOTSUPP].contains(&error.errno) => Ok(None),
            Err(source) => Err(CgroupError::Read { path, source }),
        }
    }

    /// A file that every group has: without it the group is gone.
    fn must(&self, name: &str) -> Result<String, CgroupError> {
        let path = format!("{}/{name}", self.folder);
        read_file(&path).map_err(|source| CgroupError::Read { path, source })
    }

    /// A file with one number; `None` for `max` too.
    fn number(&self, name: &str) -> Result<Option<u64>, CgroupError> {
        Ok(self.text(name)?.and_then(|text| text.trim().parse().ok()))
    }

    /// A file with a name and a number in every line.
    fn table(&self, name: &str) -> Result<BTreeMap<String, u64>, CgroupError> {
        Ok(text::table(&self.text(name)?.unwrap_or_default()))
    }

    fn pressure(&self, name: &str) -> Result<Option<Pressure>, CgroupError> {
        Ok(self.text(name)?.as_deref().and_then(text::pressure))
    }

    /// What stands between `before` and `after` in the names of the folder's files.
    fn between(&self, before: &str, after: &str) -> Vec<String> {
        let Ok(entries) = rustix::fs::open(
            self.folder.as_str(),
            rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )
        .and_then(rustix::fs::Dir::new) else {
            return Vec::new();
        };
        let name = |entry: rustix::fs::DirEntry| {
            let name = entry.file_name().to_string_lossy();
            let found = name.strip_prefix(before)?.strip_suffix(after)?;
            (!found.contains('.')).then(|| found.to_owned())
        };
        entries.filter_map(|entry| name(entry.ok()?)).collect()
    }
}
