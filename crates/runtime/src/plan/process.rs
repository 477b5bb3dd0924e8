//! What the process is, once its file system view stands: identity, limits, confinement and command. The
//! same message serves a container's own process and one that joins a running container.

use super::{Affinity, IoPriority, MemoryPolicy, Scheduler};

/// One process.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Process {
    /// Command and arguments. A first argument without a slash is looked up in `PATH` of `env`, inside the
    /// container.
    #[prost(string, repeated, tag = "1")]
    pub args: Vec<String>,
    /// The whole environment.
    #[prost(string, repeated, tag = "2")]
    pub env: Vec<String>,
    /// Absolute folder in the container.
    #[prost(string, tag = "3")]
    pub cwd: String,
    /// User id.
    #[prost(uint32, tag = "4")]
    pub uid: u32,
    /// Group id.
    #[prost(uint32, tag = "5")]
    pub gid: u32,
    /// Supplementary groups.
    #[prost(uint32, repeated, tag = "6")]
    pub groups: Vec<u32>,
    /// File mode creation mask; absent keeps 022.
    #[prost(uint32, optional, tag = "7")]
    pub umask: Option<u32>,
    /// The five capability sets; absent is none at all.
    #[prost(message, optional, tag = "8")]
    pub capabilities: Option<Capabilities>,
    /// Whether set-user-id programmes and file capabilities give nothing.
    #[prost(bool, tag = "9")]
    pub no_new_privileges: bool,
    /// Resource limits; those not named are the executor's own.
    #[prost(message, repeated, tag = "10")]
    pub rlimits: Vec<Rlimit>,
    /// The system call filter.
    #[prost(message, optional, tag = "11")]
    pub seccomp: Option<Seccomp>,
    /// Present when it gets a pseudo terminal.
    #[prost(message, optional, tag = "12")]
    pub terminal: Option<Terminal>,
    /// `oom_score_adj`, -1000 to 1000; absent keeps the executor's.
    #[prost(sint32, optional, tag = "13")]
    pub oom_score_adj: Option<i32>,
    /// The scheduling policy; absent keeps the executor's. This and what follows is of version 2.
    #[prost(message, optional, tag = "14")]
    pub scheduler: Option<Scheduler>,
    /// The I/O priority; absent keeps the executor's.
    #[prost(message, optional, tag = "15")]
    pub io_priority: Option<IoPriority>,
    /// The execution domain and its flags (personality(2)); absent keeps the executor's.
    #[prost(uint32, optional, tag = "16")]
    pub personality: Option<u32>,
    /// The memory policy; absent keeps the executor's.
    #[prost(message, optional, tag = "17")]
    pub memory_policy: Option<MemoryPolicy>,
    /// Processors of a joining process.
    #[prost(message, optional, tag = "18")]
    pub affinity: Option<Affinity>,
    /// The AppArmor profile of the command; empty is none.
    #[prost(string, tag = "19")]
    pub apparmor: String,
    /// The SELinux label of the command; empty is none.
    #[prost(string, tag = "20")]
    pub selinux: String,
    /// Who answers for the calls that the filter leaves to a listener.
    #[prost(message, optional, tag = "21")]
    pub listener: Option<Listener>,
}

impl Process {
    /// Whether an executor of version 1 would leave something of it out.
    #[cfg(feature = "plan")]
    pub(super) fn is_second_version(&self) -> bool {
        let second = Self {
            scheduler: self.scheduler,
            io_priority: self.io_priority,
            personality: self.personality,
            memory_policy: self.memory_policy.clone(),
            affinity: self.affinity.clone(),
            apparmor: self.apparmor.clone(),
            selinux: self.selinux.clone(),
            listener: self.listener.clone(),
            ..Self::default()
        };
        second != Self::default()
    }
}

/// Who gets the descriptor on which notified system calls are answered (seccomp_unotify(2)).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Listener {
    /// Absolute host path of a unix socket that takes streams.
    #[prost(string, tag = "1")]
    pub path: String,
    /// The process state that is sent beside the descriptor, as JSON without its last members, inside the
    /// container's state: `{"ociVersion":"1.2.0","fds":["seccompFd"],"state":{"ociVersion":"1.2.0","id":"x"`.
    #[prost(string, tag = "2")]
    pub state: String,
}

/// Capability sets as bit masks (capabilities(7)).
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct Capabilities {
    /// What can ever be gained.
    #[prost(fixed64, tag = "1")]
    pub bounding: u64,
    /// What counts now.
    #[prost(fixed64, tag = "2")]
    pub effective: u64,
    /// What passes through execve(2) with file capabilities.
    #[prost(fixed64, tag = "3")]
    pub inheritable: u64,
    /// What may be made effective.
    #[prost(fixed64, tag = "4")]
    pub permitted: u64,
    /// What passes through execve(2) by itself.
    #[prost(fixed64, tag = "5")]
    pub ambient: u64,
}

/// One resource limit (setrlimit(2)).
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct Rlimit {
    /// `RLIMIT_*` as this kernel numbers it.
    #[prost(uint32, tag = "1")]
    pub resource: u32,
    /// What applies; `u64::MAX` is unlimited.
    #[prost(fixed64, tag = "2")]
    pub soft: u64,
    /// What the soft limit may be raised to.
    #[prost(fixed64, tag = "3")]
    pub hard: u64,
}

/// A system call filter, ready for seccomp(2).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Seccomp {
    /// `struct sock_filter` records, 8 bytes each, in this machine's byte order.
    #[prost(bytes = "vec", tag = "1")]
    pub program: Vec<u8>,
    /// `SECCOMP_FILTER_FLAG_*`.
    #[prost(uint32, tag = "2")]
    pub flags: u32,
}

/// A pseudo terminal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct Terminal {
    /// Rows; 0 leaves the size unset.
    #[prost(uint32, tag = "1")]
    pub rows: u32,
    /// Columns.
    #[prost(uint32, tag = "2")]
    pub columns: u32,
}

/// A process that joins a running container.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ExecPlan {
    /// The lowest executor version that carries this out faithfully.
    #[prost(uint32, tag = "1")]
    pub version: u32,
    /// The [`super::NamespaceKind`]s that the container does not share with the executor: those to join.
    #[prost(enumeration = "super::NamespaceKind", repeated, tag = "2")]
    pub namespaces: Vec<i32>,
    /// The process.
    #[prost(message, optional, tag = "3")]
    pub process: Option<Process>,
    /// The mappings of the container's own user namespace, by which the process's standard streams become its user's. An
    /// older executor leaves them as they are.
    #[prost(message, optional, tag = "4")]
    pub ids: Option<super::IdMap>,
}
