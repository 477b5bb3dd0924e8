//! How does a test kill a daemon at a given step of its work, and not at a given time? By stopping it at every system
//! call (ptrace(2)) and counting those that change something outside of it: messages to the kernel's network, files of
//! gantry-netd's that come and go, namespaces, mounts, flushes of the store, programmes that are started. At the step
//! that the test names, the daemon dies before the call is made.
//!
//! The daemon has no hook for it, so it is the daemon that people run. Only its own threads are stopped, never what it
//! starts. Reads and requests for lists are no steps.

use std::fs;
use std::io::IoSliceMut;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result, bail};
use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;

/// A daemon whose steps are counted.
#[derive(Debug)]
pub struct Steps {
    watcher: JoinHandle<Result<Vec<Step>>>,
}

/// One step among those of the same kind, counted from 1: their order differs where threads work side by side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What it is.
    pub kind: String,
    /// Which of its kind.
    pub number: usize,
}

impl Steps {
    /// Watches the process from now on, and kills it at this step; `None` lets it live.
    pub fn kill_at(process: u32, last: Option<Step>) -> Result<Self> {
        let process = Pid::from_raw(i32::try_from(process)?);
        let (ready, watching) = channel();
        let watcher = std::thread::spawn(move || {
            Watcher { process, last, seen: Vec::new(), inside: Vec::new() }.watch(&ready)
        });
        // An error of the watcher closes the channel, and is told at the end.
        let _ = watching.recv();
        Ok(Self { watcher })
    }

    /// What it did, the step that it died at included. The process must have been killed by now, here or by the caller;
    /// it is still the caller's to wait for.
    pub fn finish(self) -> Result<Vec<Step>> {
        match self.watcher.join() {
            Ok(steps) => steps,
            Err(_) => bail!("the thread that watches the daemon panicked"),
        }
    }
}

struct Watcher {
    process: Pid,
    last: Option<Step>,
    seen: Vec<Step>,
    /// Threads that are in a system call.
    inside: Vec<Pid>,
}

impl Watcher {
    fn watch(mut self, ready: &Sender<()>) -> Result<Vec<Step>> {
        self.seize()?;
        let _ = ready.send(());
        loop {
            // The process itself is the caller's child too, and must be left for it to wait for.
            let peek = WaitPidFlag::WNOWAIT | WaitPidFlag::WEXITED | WaitPidFlag::WSTOPPED;
            let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
            let changed = match waitid(Id::All, peek | flags) {
                Err(Errno::EINTR) => continue,
                Err(Errno::ECHILD) => return Ok(self.seen),
                other => other.context("waiting for the daemon")?,
            };
            let thread = changed.pid().context("somebody changed")?;
            if matches!(changed, WaitStatus::Exited(..) | WaitStatus::Signaled(..)) && thread == self.process
            {
                return Ok(self.seen);
            }
            match waitpid(thread, Some(flags))? {
                WaitStatus::PtraceSyscall(thread) => self.call(thread)?,
                WaitStatus::PtraceEvent(thread, ..) => resume(thread, None)?,
                WaitStatus::Stopped(thread, signal) => resume(thread, Some(signal))?,
                WaitStatus::Exited(..)
                | WaitStatus::Signaled(..)
                | WaitStatus::Continued(_)
                | WaitStatus::StillAlive => {}
            }
        }
    }

    /// Takes every thread; new ones are taken by the kernel.
    fn seize(&self) -> Result<()> {
        let options =
            Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_EXITKILL;
        let folder = format!("/proc/{}/task", self.process);
        let mut taken = Vec::new();
        loop {
            let mut is_new = false;
            for entry in fs::read_dir(&folder).context("listing the daemon's threads")?.flatten() {
                let thread: i32 = entry.file_name().to_str().unwrap_or_default().parse()?;
                if taken.contains(&thread) {
                    continue;
                }
                taken.push(thread);
                is_new = true;
                match ptrace::seize(Pid::from_raw(thread), options) {
                    // It ended, or one that was taken before it made it, and it with it.
                    Err(Errno::ESRCH | Errno::EPERM) => continue,
                    other => other.with_context(|| format!("tracing thread {thread}"))?,
                }
                ptrace::interrupt(Pid::from_raw(thread))?;
            }
            if !is_new {
                return Ok(());
            }
        }
    }

    /// A thread is about to make a system call, or has made it.
    fn call(&mut self, thread: Pid) -> Result<()> {
        if let Some(place) = self.inside.iter().position(|inside| *inside == thread) {
            self.inside.swap_remove(place);
            return resume(thread, None);
        }
        // A new thread's first stop may be the end of the call that made it.
        let Ok(info) = ptrace::syscall_info(thread) else { return Ok(()) };
        if info.op != libc::PTRACE_SYSCALL_INFO_ENTRY {
            return resume(thread, None);
        }
        self.inside.push(thread);
        if let Some(kind) = Call::read(self.process, thread).and_then(|call| call.step(thread)) {
            let number = 1 + self.seen.iter().filter(|step| step.kind == kind).count();
            self.seen.push(Step { kind, number });
            if self.seen.last() == self.last.as_ref() {
                kill(self.process, Signal::SIGKILL)?;
                return Ok(());
            }
        }
        resume(thread, None)
    }
}

fn resume(thread: Pid, signal: Option<Signal>) -> Result<()> {
    match ptrace::syscall(thread, signal) {
        // Killed meanwhile.
        Err(Errno::ESRCH) => Ok(()),
        other => Ok(other?),
    }
}

/// A system call that is about to be made.
struct Call {
    number: i64,
    arguments: Vec<u64>,
}

impl Call {
    /// As /proc/<pid>/task/<tid>/syscall tells it.
    fn read(process: Pid, thread: Pid) -> Option<Self> {
        let line = fs::read_to_string(format!("/proc/{process}/task/{thread}/syscall")).ok()?;
        let mut words = line.split_whitespace();
        let number = words.next()?.parse().ok()?;
        let arguments =
            words.filter_map(|word| u64::from_str_radix(word.trim_start_matches("0x"), 16).ok()).collect();
        Some(Self { number, arguments })
    }

    fn argument(&self, place: usize) -> u64 {
        self.arguments.get(place).copied().unwrap_or_default()
    }

    /// What it changes; `None` of what changes nothing that outlives the daemon.
    fn step(&self, thread: Pid) -> Option<String> {
        let path = |place| text(thread, self.argument(place));
        match self.number {
            libc::SYS_sendto => message(thread, self.argument(1), self.argument(2)),
            libc::SYS_fsync | libc::SYS_fdatasync => Some("flush".to_owned()),
            libc::SYS_unshare if self.argument(0) & flag(libc::CLONE_NEWNET) != 0 => {
                Some("make namespace".to_owned())
            }
            libc::SYS_clone if self.argument(0) & flag(libc::CLONE_THREAD) == 0 => Some("spawn".to_owned()),
            libc::SYS_clone3 => {
                let flags = bytes(thread, self.argument(0), 8)?;
                let flags = u64::from_ne_bytes(flags.first_chunk().copied()?);
                (flags & flag(libc::CLONE_THREAD) == 0).then(|| "spawn".to_owned())
            }
            libc::SYS_renameat | libc::SYS_renameat2 => file("write", &path(3)),
            libc::SYS_unlinkat => file("remove", &path(1)),
            libc::SYS_mount => file("mount", &path(1)),
            libc::SYS_umount2 => file("unmount", &path(0)),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_rename => file("write", &path(1)),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_unlink => file("remove", &path(0)),
            _ => None,
        }
    }
}

fn flag(flag: i32) -> u64 {
    u64::from(flag.cast_unsigned())
}

/// A message to the kernel's network, by its number in linux/rtnetlink.h; a batch of nf_tables; a deletion of flows.
fn message(thread: Pid, at: u64, length: u64) -> Option<String> {
    const NETFILTER_BATCH_BYTES: u32 = 20;
    let header = bytes(thread, at, 8)?;
    let size = u32::from_ne_bytes(header[..4].try_into().ok()?);
    let kind = u16::from_ne_bytes(header[4..6].try_into().ok()?);
    if size < 16 || u64::from(size) > length || kind == 0 {
        return None;
    }
    match (kind, size) {
        (16, NETFILTER_BATCH_BYTES) => Some("change rules".to_owned()),
        // RTM_GET… are lists.
        (16..=127, _) if kind % 4 != 2 => Some(format!("route message {kind}")),
        (0x102, _) => Some("forget flow".to_owned()),
        _ => None,
    }
}

/// A change of a file that others than the daemon read: netd's, and those that namespaces are mounted on.
fn file(verb: &str, path: &str) -> Option<String> {
    let (_, place) = path.rsplit_once("/run/")?;
    let mut names = place.split('/');
    let (first, second) = (names.next()?, names.next()?);
    match first {
        "netd" => Some(format!("{verb} netd's {second}")),
        "netns" => Some(format!("{verb} namespace")),
        _ => None,
    }
}

fn text(thread: Pid, at: u64) -> String {
    let mut read = Vec::new();
    // To the end of each page, because the next one may not be there.
    while read.len() < 4096 && !read.contains(&0) {
        let next = at + read.len() as u64;
        let Some(more) = bytes(thread, next, 4096 - next % 4096) else { break };
        read.extend(more);
    }
    let end = read.iter().position(|byte| *byte == 0).unwrap_or(read.len());
    String::from_utf8_lossy(&read[..end]).into_owned()
}

fn bytes(thread: Pid, at: u64, count: u64) -> Option<Vec<u8>> {
    let (base, len) = (usize::try_from(at).ok()?, usize::try_from(count).ok()?);
    let mut read = vec![0; len];
    let got =
        process_vm_readv(thread, &mut [IoSliceMut::new(&mut read)], &[RemoteIoVec { base, len }]).ok()?;
    (got == len).then_some(read)
}
