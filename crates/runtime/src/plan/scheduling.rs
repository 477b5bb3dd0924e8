//! How the kernel treats a process beside confining it: scheduling, disk priority, processors, memory nodes.
//! All but the memory policy is set by the executor from outside, which may have the privilege that a process
//! in a user namespace has not.

/// A scheduling policy (sched_setattr(2)).
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct Scheduler {
    /// `SCHED_*`.
    #[prost(uint32, tag = "1")]
    pub policy: u32,
    /// For SCHED_OTHER and SCHED_BATCH.
    #[prost(sint32, tag = "2")]
    pub nice: i32,
    /// For SCHED_FIFO and SCHED_RR.
    #[prost(uint32, tag = "3")]
    pub priority: u32,
    /// `SCHED_FLAG_*`.
    #[prost(uint64, tag = "4")]
    pub flags: u64,
    /// For SCHED_DEADLINE.
    #[prost(uint64, tag = "5")]
    pub runtime_ns: u64,
    /// For SCHED_DEADLINE.
    #[prost(uint64, tag = "6")]
    pub deadline_ns: u64,
    /// For SCHED_DEADLINE.
    #[prost(uint64, tag = "7")]
    pub period_ns: u64,
}

/// An I/O priority (ioprio_set(2)).
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct IoPriority {
    /// 1 real time, 2 best effort, 3 idle.
    #[prost(uint32, tag = "1")]
    pub class: u32,
    /// 0 to 7, highest first.
    #[prost(uint32, tag = "2")]
    pub level: u32,
}

/// Where the pages of a process lie (set_mempolicy(2)).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct MemoryPolicy {
    /// `MPOL_*` with its flags.
    #[prost(uint32, tag = "1")]
    pub mode: u32,
    /// The nodes as a bit mask, the lowest word first.
    #[prost(fixed64, repeated, tag = "2")]
    pub nodes: Vec<u64>,
}

/// Which processors a joining process may use. Each mask has the lowest word first; empty changes nothing.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Affinity {
    /// Before it is moved to the container's cgroup.
    #[prost(fixed64, repeated, tag = "1")]
    pub initial: Vec<u64>,
    /// Afterwards.
    #[prost(fixed64, repeated, tag = "2")]
    pub last: Vec<u64>,
}
