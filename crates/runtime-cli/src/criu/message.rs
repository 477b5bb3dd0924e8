//! What is said to CRIU and heard from it: the few messages of its protocol that are used here, by their numbers
//! (criu.org/RPC; the messages only grow, so that any release since 3.17 reads them). A field that is absent is
//! CRIU's own default. One message is one packet of the socket.

/// What is asked (`criu_req`).
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Request {
    #[prost(enumeration = "Kind", required, tag = "1")]
    pub(crate) kind: i32,
    #[prost(message, optional, tag = "2")]
    pub(crate) options: Option<Options>,
    /// In an answer to a notification: whether CRIU goes on.
    #[prost(bool, optional, tag = "3")]
    pub(crate) goes_on: Option<bool>,
    /// The kernel's features that are asked after.
    #[prost(message, optional, tag = "5")]
    pub(crate) features: Option<Features>,
}

/// What is answered (`criu_resp`). Its errno and message are left out: they are those of the first error that it met,
/// often one that it got over; the end of its log says what made it fail.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Response {
    #[prost(enumeration = "Kind", required, tag = "1")]
    pub(crate) kind: i32,
    #[prost(bool, required, tag = "2")]
    pub(crate) success: bool,
    #[prost(message, optional, tag = "4")]
    pub(crate) restored: Option<Restored>,
    #[prost(message, optional, tag = "5")]
    pub(crate) notice: Option<Notice>,
    #[prost(message, optional, tag = "8")]
    pub(crate) features: Option<Features>,
    #[prost(message, optional, tag = "10")]
    pub(crate) version: Option<Version>,
}

/// What a request or an answer is about (`criu_req_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
pub(crate) enum Kind {
    /// A request that was not understood.
    Empty = 0,
    Dump = 1,
    Restore = 2,
    Notify = 6,
    FeatureCheck = 9,
    Version = 10,
    /// Memory alone, while the processes run on.
    SinglePreDump = 13,
}

/// How it is done (`criu_opts`).
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Options {
    /// A descriptor of *this* process: CRIU opens it through `/proc`.
    #[prost(int32, required, tag = "1")]
    pub(crate) images_dir: i32,
    #[prost(int32, optional, tag = "2")]
    pub(crate) pid: Option<i32>,
    #[prost(bool, optional, tag = "3")]
    pub(crate) leave_running: Option<bool>,
    #[prost(bool, optional, tag = "4")]
    pub(crate) external_unix_sockets: Option<bool>,
    #[prost(bool, optional, tag = "5")]
    pub(crate) tcp_established: Option<bool>,
    #[prost(bool, optional, tag = "7")]
    pub(crate) shell_job: Option<bool>,
    #[prost(bool, optional, tag = "8")]
    pub(crate) file_locks: Option<bool>,
    /// 1 errors, 2 warnings, 3 what it does, 4 everything.
    #[prost(int32, optional, tag = "9")]
    pub(crate) log_level: Option<i32>,
    /// A name in the work folder.
    #[prost(string, optional, tag = "10")]
    pub(crate) log_file: Option<String>,
    #[prost(bool, optional, tag = "12")]
    pub(crate) notifies: Option<bool>,
    /// A mountpoint.
    #[prost(string, optional, tag = "13")]
    pub(crate) root: Option<String>,
    /// The images that these ones continue, seen from their folder.
    #[prost(string, optional, tag = "14")]
    pub(crate) parent_images: Option<String>,
    #[prost(bool, optional, tag = "15")]
    pub(crate) track_memory: Option<bool>,
    #[prost(bool, optional, tag = "16")]
    pub(crate) auto_dedup: Option<bool>,
    /// As `images_dir`.
    #[prost(int32, optional, tag = "17")]
    pub(crate) work_dir: Option<i32>,
    #[prost(bool, optional, tag = "18")]
    pub(crate) link_remap: Option<bool>,
    #[prost(message, repeated, tag = "23")]
    pub(crate) external_mounts: Vec<ExternalMount>,
    #[prost(message, repeated, tag = "25")]
    pub(crate) cgroup_roots: Vec<CgroupRoot>,
    /// The restored process is CRIU's sibling, not its child.
    #[prost(bool, optional, tag = "26")]
    pub(crate) as_sibling: Option<bool>,
    #[prost(message, repeated, tag = "27")]
    pub(crate) inherited: Vec<Inherited>,
    /// `CgroupMode`'s number.
    #[prost(int32, optional, tag = "34")]
    pub(crate) cgroup_mode: Option<i32>,
    /// `net[inode]:key`, `file[mount:inode]`, `tty[rdev:dev]`.
    #[prost(string, repeated, tag = "37")]
    pub(crate) external: Vec<String>,
    /// Namespaces whose contents are left out: `CLONE_NEWNET` alone.
    #[prost(uint32, optional, tag = "38")]
    pub(crate) empty_namespaces: Option<u32>,
    #[prost(string, optional, tag = "44")]
    pub(crate) freezer: Option<String>,
    #[prost(bool, optional, tag = "46")]
    pub(crate) tcp_skip_in_flight: Option<bool>,
    #[prost(bool, optional, tag = "50")]
    pub(crate) orphan_terminals: Option<bool>,
    #[prost(string, optional, tag = "53")]
    pub(crate) lsm_profile: Option<String>,
    #[prost(string, optional, tag = "63")]
    pub(crate) lsm_mount_context: Option<String>,
    /// 1 iptables, 2 nftables.
    #[prost(int32, optional, tag = "64")]
    pub(crate) network_lock: Option<i32>,
}

/// A mount that CRIU does not make: at a dump `key` is the mountpoint and `value` a name for it, at a restore
/// `key` is that name and `value` a path of the host.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct ExternalMount {
    #[prost(string, required, tag = "1")]
    pub(crate) key: String,
    #[prost(string, required, tag = "2")]
    pub(crate) value: String,
}

/// The control group that takes the place of the dumped one; of every controller, if none is named.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct CgroupRoot {
    #[prost(string, required, tag = "2")]
    pub(crate) path: String,
}

/// A descriptor of CRIU's own that takes the place of one that is named in the images.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Inherited {
    #[prost(string, required, tag = "1")]
    pub(crate) key: String,
    #[prost(int32, required, tag = "2")]
    pub(crate) descriptor: i32,
}

/// What came of a restore.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub(crate) struct Restored {
    #[prost(int32, required, tag = "1")]
    pub(crate) pid: i32,
}

/// Where CRIU is in its work; it waits for an answer.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub(crate) struct Notice {
    #[prost(string, optional, tag = "1")]
    pub(crate) moment: Option<String>,
    #[prost(int32, optional, tag = "2")]
    pub(crate) pid: Option<i32>,
}

/// What the kernel has of what only some checkpoints need.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub(crate) struct Features {
    #[prost(bool, optional, tag = "1")]
    pub(crate) memory_tracking: Option<bool>,
    #[prost(bool, optional, tag = "2")]
    pub(crate) lazy_pages: Option<bool>,
}

/// CRIU's release.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub(crate) struct Version {
    #[prost(int32, required, tag = "1")]
    pub(crate) major: i32,
    #[prost(int32, required, tag = "2")]
    pub(crate) minor: i32,
    #[prost(int32, optional, tag = "4")]
    pub(crate) patch: Option<i32>,
}
