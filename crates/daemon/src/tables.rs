//! The daemon's tables: what was asked of each container, where it is in its life, and the images, events
//! and leases beside it. What was asked is one row that seldom changes (its name, its resources); what changes often
//! is another, small one.
//!
//! ```text
//! containers        (namespace, id)         ContainerRecord
//! container_status  (namespace, id)         ContainerStatus
//! container_names   (namespace, name)       ContainerId
//! images            (namespace, reference)  ImageRow
//! events            number                  EventRow
//! leases            (namespace, id)         LeaseRow
//! requests          (namespace, request id) RequestRow
//! id_ranges         first user id           IdRangeRow
//! ```

use gantry_image::ImageRecord;
use gantry_store::Table;
use gantry_types::{
    ContainerId, ContainerName, ContainerOptions, ContainerState, Digest, Exit, ImageConfig, Labels, LeaseId,
    Namespace, Reference, RequestId, SnapshotKey,
};
use serde::{Deserialize, Serialize};

pub(crate) const CONTAINERS: Table<(Namespace, ContainerId), ContainerRecord> = Table::new("containers");
pub(crate) const CONTAINER_STATUS: Table<(Namespace, ContainerId), ContainerStatus> =
    Table::new("container_status");
pub(crate) const CONTAINER_NAMES: Table<(Namespace, ContainerName), ContainerId> =
    Table::new("container_names");
pub(crate) const IMAGES: Table<(Namespace, Reference), ImageRow> = Table::new("images");
pub(crate) const EVENTS: Table<u64, EventRow> = Table::new("events");
pub(crate) const LEASES: Table<(Namespace, LeaseId), LeaseRow> = Table::new("leases");
/// Ids of the host that are one container's, by the first of them.
pub(crate) const ID_RANGES: Table<u64, IdRangeRow> = Table::new("id_ranges");
pub(crate) const REQUESTS: Table<(Namespace, RequestId), RequestRow> = Table::new("requests");

/// What was asked of a container, with everything of the image that a later start needs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ContainerRecord {
    pub namespace: Namespace,
    pub id: ContainerId,
    pub name: ContainerName,
    /// The image as the caller named it.
    pub image: Reference,
    /// The manifest it was made from; a tag that moves later changes nothing.
    pub image_digest: Digest,
    /// The digest of its configuration.
    pub image_id: Digest,
    /// Its layers, bottom first.
    pub layers: Vec<SnapshotKey>,
    pub image_config: ImageConfig,
    pub options: ContainerOptions,
    pub created_unix_ns: i64,
}

/// Where a container is in its life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ContainerStatus {
    pub state: ContainerState,
    /// Process id of its init on the host while it runs, else 0.
    pub pid: u32,
    /// When it was last started, 0 when never.
    pub started_unix_ns: i64,
    /// How it last ended.
    pub exit: Option<Exit>,
    /// Why the last start failed, empty when it did not.
    pub error: String,
}

impl ContainerStatus {
    pub(crate) fn new(state: ContainerState) -> Self {
        Self { state, pid: 0, started_unix_ns: 0, exit: None, error: String::new() }
    }
}

/// One name of an image in one namespace.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ImageRow {
    pub image: ImageRecord,
    /// The caller's labels, not the image's.
    #[serde(default)]
    pub labels: Labels,
    pub created_unix_ns: i64,
}

/// A range of user and group ids of the host, given to a container for its user namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IdRangeRow {
    pub count: u32,
    pub namespace: Namespace,
    pub container: ContainerId,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EventRow {
    pub unix_ns: i64,
    pub namespace: Namespace,
    pub kind: EventKind,
    /// Id or name of what it happened to.
    pub resource: String,
    /// Facts worth having without asking: `name`, `image`, `exit_code`…
    #[serde(default)]
    pub attributes: Labels,
    /// The resource's labels at the time.
    #[serde(default)]
    pub labels: Labels,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EventKind {
    ContainerCreate,
    ContainerStart,
    ContainerKill,
    ContainerOom,
    ContainerExit,
    ContainerRemove,
    ContainerRename,
    ContainerExecStart,
    ContainerExecExit,
    ContainerPause,
    ContainerResume,
    ContainerUpdate,
    ImagePull,
    ImageImport,
    ImageTag,
    ImageUntag,
    ImageRemove,
    LeaseCreate,
    LeaseRemove,
    NetworkCreate,
    NetworkRemove,
    NetworkConnect,
    NetworkDisconnect,
}

/// What keeps resources from being collected.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct LeaseRow {
    pub labels: Labels,
    pub created_unix_ns: i64,
    /// When it ends by itself, 0 for never.
    pub expires_unix_ns: i64,
    /// `image:<manifest digest>`, `blob:<digest>`, `snapshot:<key>`.
    pub resources: std::collections::BTreeSet<String>,
}

impl LeaseRow {
    /// Whether it still keeps what it names.
    pub(crate) fn is_alive(&self, now_unix_ns: i64) -> bool {
        self.expires_unix_ns == 0 || now_unix_ns < self.expires_unix_ns
    }
}

/// The answer of a mutating request that was carried out, for its retries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RequestRow {
    /// The RPC, so that one id is not used for two.
    pub method: String,
    /// Id of what it made.
    pub resource: String,
    pub unix_ns: i64,
}
