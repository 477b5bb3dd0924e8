//! How `/proc` is used when something hostile may have mounted over it: by a procfs of one's own that is in no
//! mount table, or by `/proc` after its root is verified; each file is resolved beneath that, without links
//! and without crossing a mount, and verified to be on procfs before it is written (CVE-2025-52881).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::error::{Errno, Result, SyscallError};
use crate::mount::{MountAttributes, new_filesystem};
use crate::path::{is_procfs, openat2, read_bounded};
use crate::process::Pid;

/// A procfs that can be trusted.
#[derive(Debug)]
pub struct ProcFs {
    root: OwnedFd,
}

impl ProcFs {
    /// Mounts a procfs of the caller's pid namespace, detached. Needs CAP_SYS_ADMIN.
    pub fn mount() -> Result<Self> {
        let attributes = MountAttributes::NOSUID | MountAttributes::NODEV | MountAttributes::NOEXEC;
        Ok(Self { root: new_filesystem("proc", &[], attributes)? })
    }

    /// Opens the `/proc` that is there and verifies that it is the root of a procfs.
    pub fn open() -> Result<Self> {
        const PROC_ROOT_INODE: u64 = 1;
        let root =
            rustix::fs::open("/proc", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                .map_err(SyscallError::name("open", "/proc"))?;
        let (_, inode) = crate::path::identity(root.as_fd())?;
        if is_procfs(root.as_fd())? && inode == PROC_ROOT_INODE {
            Ok(Self { root })
        } else {
            Err(SyscallError::name("fstatfs", "/proc")(Errno::XDEV))
        }
    }

    /// A procfs of one's own where that is allowed, else the verified `/proc`.
    pub fn mount_or_open() -> Result<Self> {
        Self::mount().or_else(|_| Self::open())
    }

    /// Opens a file, `self/uid_map` or `sys/net/ipv4/ip_forward`, with flags of the caller's own.
    pub fn open_file(&self, path: impl AsRef<Path>, flags: OFlags) -> Result<OwnedFd> {
        let path = path.as_ref();
        // `self` and `thread-self` are links, but to a name of procfs's own, never to a magic one.
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        let file = openat2(self.root.as_fd(), path, flags | OFlags::NOFOLLOW, Mode::empty(), resolve)?;
        if is_procfs(file.as_fd())? {
            Ok(file)
        } else {
            Err(SyscallError::path("openat2", path)(Errno::XDEV))
        }
    }

    /// Writes a whole value with one write(2): most of procfs takes nothing else.
    pub fn write(&self, path: impl AsRef<Path>, value: &[u8]) -> Result<()> {
        let path = path.as_ref();
        let file = self.open_file(path, OFlags::WRONLY)?;
        let written = rustix::io::write(&file, value).map_err(SyscallError::path("write", path))?;
        if written == value.len() { Ok(()) } else { Err(SyscallError::path("write", path)(Errno::IO)) }
    }

    /// Reads a file of at most `bytes_max` bytes.
    pub fn read(&self, path: impl AsRef<Path>, bytes_max: u64) -> Result<Vec<u8>> {
        read_bounded(self.open_file(path, OFlags::RDONLY)?, bytes_max)
    }

    /// Sets a kernel parameter by its dotted or slashed name, in the caller's namespaces.
    pub fn set_sysctl(&self, name: &str, value: &str) -> Result<()> {
        self.write(sysctl_path(name), value.as_bytes())
    }

    /// Sets how early the kernel kills a process when memory runs out, -1000 to 1000.
    pub fn set_oom_score_adjustment(&self, pid: Option<Pid>, value: i32) -> Result<()> {
        self.write(process_path(pid, "oom_score_adj"), value.to_string().as_bytes())
    }

    /// Sets the ids of a user namespace: lines of `inside outside count`.
    pub fn set_id_maps(&self, pid: Pid, uid_map: &str, gid_map: &str) -> Result<()> {
        self.write(process_path(Some(pid), "uid_map"), uid_map.as_bytes())?;
        self.write(process_path(Some(pid), "gid_map"), gid_map.as_bytes())
    }

    /// Sets how far the clocks of the time namespace are set off that a process will have its children in: lines
    /// of `clock seconds nanoseconds`.
    pub fn set_clock_offsets(&self, pid: Pid, offsets: &str) -> Result<()> {
        self.write(process_path(Some(pid), "timens_offsets"), offsets.as_bytes())
    }

    /// Opens the directory of a process; it stays this process's, and reads ESRCH once that is gone.
    pub fn process(&self, pid: Pid) -> Result<OwnedFd> {
        self.open_file(pid.to_string(), OFlags::PATH | OFlags::DIRECTORY)
    }
}

impl AsFd for ProcFs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

fn process_path(pid: Option<Pid>, file: &str) -> String {
    pid.map_or_else(|| format!("thread-self/{file}"), |pid| format!("{pid}/{file}"))
}

/// `net.ipv4.conf.eth0/1.forwarding` as sysctl(8) writes it: the first separator decides, and the other one
/// stands for itself turned round.
fn sysctl_path(name: &str) -> String {
    let dotted = name.find(['.', '/']).is_none_or(|at| name.as_bytes()[at] == b'.');
    let swap = |c: char| match c {
        '.' if dotted => '/',
        '/' if dotted => '.',
        other => other,
    };
    format!("sys/{}", name.chars().map(swap).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_parameters_are_named_with_dots_or_slashes() {
        assert_eq!(sysctl_path("net.ipv4.ip_forward"), "sys/net/ipv4/ip_forward");
        assert_eq!(sysctl_path("net/ipv4/ip_forward"), "sys/net/ipv4/ip_forward");
        assert_eq!(sysctl_path("net.ipv4.conf.eth0/1.forwarding"), "sys/net/ipv4/conf/eth0.1/forwarding");
        assert_eq!(sysctl_path("net/ipv4/conf/eth0.1/forwarding"), "sys/net/ipv4/conf/eth0.1/forwarding");
    }

    #[test]
    fn a_private_procfs_shows_this_process_and_refuses_ways_out() {
        if !crate::testing::is_root_or_skipped() {
            return;
        }
        let procfs = ProcFs::mount().expect("mount");
        let status = String::from_utf8(procfs.read("self/status", 1 << 16).expect("read")).expect("utf-8");
        assert!(status.contains(&format!("Pid:\t{}", std::process::id())));
        assert!(procfs.open_file("self/root", OFlags::PATH | OFlags::DIRECTORY).is_err());
        assert!(procfs.open_file("self/root/etc/passwd", OFlags::RDONLY).is_err());
        assert!(procfs.open_file("../etc/passwd", OFlags::RDONLY).is_err());
        assert!(procfs.set_sysctl("../../etc/passwd", "x").is_err());
    }

    #[test]
    fn the_host_proc_is_verified() {
        let procfs = ProcFs::open().expect("/proc is a procfs");
        assert!(procfs.read("self/comm", 100).is_ok());
        let own = procfs.process(crate::process::current_pid()).expect("open");
        assert!(crate::namespace::open_of(own.as_fd(), crate::clone::Namespaces::UTS).is_ok());
    }
}
