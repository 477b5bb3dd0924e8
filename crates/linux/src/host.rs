//! What this machine has: where its cgroup hierarchies are mounted and which of its kernel's newer calls work.
//! Asked of the kernel, never of its version.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::error::{Errno, Result, SyscallError};
use crate::path::read_bounded;

/// The machine's cgroup hierarchies as they are mounted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CgroupMounts {
    /// Where the unified hierarchy is mounted.
    pub unified: Option<PathBuf>,
    /// Version 1 hierarchies by controller (`memory`, `cpu`…) or by name (`name=systemd`).
    pub legacy: BTreeMap<String, PathBuf>,
}

/// Which cgroup version does the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupMode {
    /// Version 2 alone.
    Unified,
    /// Version 1 controllers, with a version 2 hierarchy beside them.
    Hybrid,
    /// Version 1 alone.
    Legacy,
}

impl CgroupMounts {
    /// Reads the calling process's mount table.
    pub fn read() -> Result<Self> {
        const MOUNTINFO_BYTES_MAX: u64 = 16 << 20;
        let path = Path::new("/proc/self/mountinfo");
        let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(SyscallError::path("open", path))?;
        let bytes = read_bounded(file, MOUNTINFO_BYTES_MAX)?;
        Ok(Self::parse(&String::from_utf8_lossy(&bytes)))
    }

    /// Reads the text of a mountinfo file (proc_pid_mountinfo(5)). The first mount of a hierarchy counts.
    pub fn parse(mountinfo: &str) -> Self {
        let mut mounts = Self::default();
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let Some(mountpoint) = left.split(' ').nth(4) else { continue };
            let mut right = right.split(' ');
            let (fs_type, options) = (right.next().unwrap_or(""), right.nth(1).unwrap_or(""));
            let mountpoint = PathBuf::from(unescape(mountpoint));
            match fs_type {
                "cgroup2" => _ = mounts.unified.get_or_insert(mountpoint),
                "cgroup" => {
                    for option in options.split(',').filter(|option| is_hierarchy(option)) {
                        mounts.legacy.entry(option.to_owned()).or_insert_with(|| mountpoint.clone());
                    }
                }
                _ => {}
            }
        }
        mounts
    }

    /// Which version does the work; `None` when no hierarchy is mounted.
    pub fn mode(&self) -> Option<CgroupMode> {
        let has_controllers = self.legacy.keys().any(|name| !name.starts_with("name="));
        match (&self.unified, has_controllers) {
            (Some(_), false) => Some(CgroupMode::Unified),
            (Some(_), true) => Some(CgroupMode::Hybrid),
            (None, true) => Some(CgroupMode::Legacy),
            (None, false) => None,
        }
    }
}

/// Newer kernel calls that Gantry needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelFeatures {
    /// openat2(2), Linux 5.6; needed.
    pub openat2: bool,
    /// fsopen(2) and its kin, Linux 5.2; needed.
    pub mount_api: bool,
    /// mount_setattr(2), Linux 5.12; needed.
    pub mount_setattr: bool,
}

impl KernelFeatures {
    /// Tries each; needs CAP_SYS_ADMIN for the last two to be told.
    pub fn probe() -> Self {
        let missing = |result: Result<()>| result.is_err_and(|error| error.errno == Errno::NOSYS);
        let root = crate::path::openat2(
            rustix::fs::CWD,
            Path::new("/"),
            OFlags::PATH,
            Mode::empty(),
            ResolveFlags::NO_MAGICLINKS,
        );
        let context = crate::mount::FsContext::open("overlay");
        let set_nothing = match &root {
            Ok(root) => crate::mount::set_attributes(root.as_fd(), &crate::mount::AttributeChange::default()),
            Err(error) => Err(error.clone()),
        };
        Self {
            mount_setattr: !missing(set_nothing),
            openat2: !missing(root.map(drop)),
            mount_api: !missing(context.map(drop)),
        }
    }
}

/// Whether an option of a v1 mount names a hierarchy.
fn is_hierarchy(option: &str) -> bool {
    const CONTROLLERS: [&str; 14] = [
        "blkio",
        "cpu",
        "cpuacct",
        "cpuset",
        "devices",
        "freezer",
        "hugetlb",
        "memory",
        "misc",
        "net_cls",
        "net_prio",
        "perf_event",
        "pids",
        "rdma",
    ];
    option.starts_with("name=") || CONTROLLERS.contains(&option)
}

/// Turns `\040` and its kin, in a field of a mount table (proc_pid_mountinfo(5)), back into the characters they stand
/// for.
pub fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let octal = (first == b'\\').then(|| tail.get(..3)).flatten();
        let value = octal.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(value.unwrap_or(first));
        rest = if value.is_some() { &tail[3..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hybrid_machine_has_controllers_on_version_1_and_names_them() {
        let mounts = CgroupMounts::parse(
            "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n\
             40 31 0:37 / /sys/fs/cgroup/systemd rw shared:9 - cgroup cgroup rw,xattr,name=systemd\n\
             41 31 0:38 / /sys/fs/cgroup/uni\\040fied rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n\
             27 1 254:0 / / rw - ext4 /dev/vda rw,memory\n",
        );
        assert_eq!(mounts.mode(), Some(CgroupMode::Hybrid));
        assert_eq!(mounts.unified, Some(PathBuf::from("/sys/fs/cgroup/uni fied")));
        let names: Vec<&str> = mounts.legacy.keys().map(String::as_str).collect();
        assert_eq!(names, ["cpu", "cpuacct", "name=systemd"]);
        assert_eq!(mounts.legacy["cpu"], mounts.legacy["cpuacct"]);
    }

    #[test]
    fn a_machine_with_version_2_alone_is_unified_even_beside_a_named_hierarchy() {
        let unified = "41 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert_eq!(CgroupMounts::parse(unified).mode(), Some(CgroupMode::Unified));
        let named = format!("{unified}40 31 0:37 / /x rw - cgroup cgroup rw,name=elogind\n");
        assert_eq!(CgroupMounts::parse(&named).mode(), Some(CgroupMode::Unified));
        assert_eq!(CgroupMounts::parse("").mode(), None);
    }

    #[test]
    fn this_kernel_has_what_gantry_needs() {
        if !crate::testing::is_root_or_skipped() {
            return;
        }
        let features = KernelFeatures::probe();
        assert!(features.openat2 && features.mount_api && features.mount_setattr, "{features:?}");
    }
}
