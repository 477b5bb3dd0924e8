//! Every bound of the system, in one place, so that nothing that a caller or a peer sends is unbounded.

/// Labels on one resource.
pub const LABELS_MAX: usize = 256;
/// Bytes of one label, key and value together.
pub const LABEL_BYTES_MAX: usize = 4096;
/// Arguments of one process.
pub const ARGS_MAX: usize = 4096;
/// Environment entries of one process.
pub const ENV_MAX: usize = 4096;
/// Bytes of arguments and environment together; the kernel's own limit is a quarter of the stack limit.
pub const ARGS_ENV_BYTES_MAX: usize = 1 << 20;
/// Mappings of one kind of id in one user namespace, the kernel's own limit (user_namespaces(7)).
pub const ID_MAPPINGS_MAX: usize = 340;
/// Ids of a container in a user namespace of its own, where nothing else is asked: images have none above, but nobody's.
pub const USER_NAMESPACE_IDS: u32 = 65_536;
/// Mounts of one container.
pub const MOUNTS_MAX: usize = 512;
/// Devices of one container.
pub const DEVICES_MAX: usize = 256;
/// Bytes of one manifest or index (OCI distribution-spec recommends at least 4 MiB).
pub const MANIFEST_BYTES_MAX: u64 = 4 << 20;
/// Bytes of one image config.
pub const IMAGE_CONFIG_BYTES_MAX: u64 = 8 << 20;
/// Bytes of one token answer of a registry.
pub const TOKEN_BYTES_MAX: u64 = 1 << 20;
/// Layers of one image; overlayfs itself takes 500 lower layers.
pub const LAYERS_MAX: usize = 128;
/// Bytes that one layer may unpack to, unless the configuration says otherwise.
pub const LAYER_UNPACKED_BYTES_MAX: u64 = 64 << 30;
/// Entries of one layer.
pub const LAYER_ENTRIES_MAX: u64 = 4_000_000;
/// Blobs fetched at once for one pull.
pub const PULL_PARALLEL_BLOBS: usize = 6;
/// Bytes read of a container's `/etc/passwd` or `/etc/group`.
pub const USER_DATABASE_BYTES_MAX: u64 = 1 << 20;
/// Resources in one page of a list; also the default.
pub const PAGE_SIZE_MAX: usize = 1000;
/// Events kept for readers that resume.
pub const EVENTS_KEPT_MAX: usize = 16_384;
/// Bytes of one gRPC message that the daemon accepts.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// Bytes of one shim frame.
pub const SHIM_FRAME_BYTES_MAX: usize = 4 << 20;
/// Connections that the daemon serves at once.
pub const CONNECTIONS_MAX: usize = 1024;
/// Blocking kernel and disk calls at once.
pub const BLOCKING_MAX: usize = 64;
/// Executions alive in one container.
pub const EXECS_MAX: usize = 1024;
/// Bytes of one log segment before the next begins.
pub const LOG_SEGMENT_BYTES: u64 = 16 << 20;
/// Log segments kept.
pub const LOG_SEGMENTS_MAX: usize = 4;
/// Milliseconds between the stop signal and SIGKILL, unless the container or the request says otherwise.
pub const STOP_TIMEOUT_MS: u64 = 10_000;
/// Networks of one container.
pub const ATTACHMENTS_MAX: usize = 64;
/// Further names of one endpoint.
pub const ALIASES_MAX: usize = 64;
/// Published ports or ranges of one container.
pub const PUBLISHED_PORTS_MAX: usize = 1024;
/// Exposed ports or ranges of one container.
pub const EXPOSED_PORTS_MAX: usize = 1024;
/// DNS servers of one container.
pub const DNS_SERVERS_MAX: usize = 16;
