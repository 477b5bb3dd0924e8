//! What can go wrong in the daemon above its engines. Engines' errors pass through with their own class,
//! reason and hint; only what the daemon itself decides has words here.

use std::fmt;
use std::io;

use gantry_types::{
    Class, Classified, ContainerId, ContainerName, ContainerState, ExecId, IdError, LeaseId, Platform,
    Reference, ReferenceError, Resource, TransitionError,
};

use crate::events::PlaceLost;
use crate::supervisor::ShimError;

/// An error of a use case.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Store(#[from] gantry_store::StoreError),
    #[error(transparent)]
    Snapshot(#[from] gantry_snapshot::SnapshotError),
    #[error(transparent)]
    Pull(#[from] gantry_image::PullError),
    #[error(transparent)]
    Import(#[from] gantry_image::import::ImportError),
    #[error(transparent)]
    Content(#[from] gantry_image::content::ContentError),
    #[error(transparent)]
    Credentials(#[from] gantry_image::registry::CredentialsError),
    #[error(transparent)]
    Spec(#[from] gantry_runtime::spec::SpecError),
    #[error(transparent)]
    Plan(#[from] gantry_runtime::plan::PlanError),
    #[error(transparent)]
    Filter(#[from] gantry_runtime::seccomp::SeccompError),
    #[error(transparent)]
    User(#[from] gantry_runtime::user::UserError),
    #[error(transparent)]
    Cgroup(#[from] gantry_runtime::cgroup::CgroupError),
    #[error(transparent)]
    CgroupPlan(#[from] gantry_runtime::cgroup::CgroupPlanError),
    #[error(transparent)]
    Syscall(#[from] gantry_linux::SyscallError),
    #[error(transparent)]
    Shim(#[from] ShimError),
    #[error(transparent)]
    Id(#[from] IdError),
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    #[error(transparent)]
    Digest(#[from] gantry_types::DigestError),
    #[error(transparent)]
    PlaceLost(#[from] PlaceLost),
    #[error(transparent)]
    Field(#[from] gantry_api::convert::InvalidField),
    #[error("this machine cannot run containers: {rule}")]
    Machine { rule: &'static str },
    #[error("cannot {action}")]
    Io { action: &'static str, source: io::Error },
    #[error("no container {text:?} in namespace {namespace:?}")]
    ContainerNotFound { text: String, namespace: String },
    #[error("{text:?} is the beginning of several container ids")]
    ContainerAmbiguous { text: String },
    #[error("container {name} cannot do that now")]
    Transition { name: ContainerName, source: TransitionError },
    #[error("container {name} is {state}, not running")]
    NotRunning { name: ContainerName, state: ContainerState },
    #[error("container {name} is {state}")]
    StillAlive { name: ContainerName, state: ContainerState },
    #[error("the container was removed in the meantime")]
    ContainerGone,
    #[error("container name {name} is taken by {holder}")]
    NameTaken { name: ContainerName, holder: ContainerId },
    #[error("container {name} could not be removed whole")]
    RemovalUnfinished { name: ContainerName },
    #[error("container {name} did not end after SIGKILL")]
    StopUnfinished { name: ContainerName },
    #[error("container {name} has its {max} execs running already", max = gantry_types::EXECS_MAX)]
    TooManyExecs { name: ContainerName },
    #[error("container {name} has too many clients waiting for its start")]
    TooManyAttachments { name: ContainerName },
    #[error("no exec {id} in container {name}")]
    ExecNotFound { id: ExecId, name: ContainerName },
    #[error("no image {text:?} in namespace {namespace:?}")]
    ImageNotFound { text: String, namespace: String },
    #[error("{text:?} is the beginning of several image ids")]
    ImageAmbiguous { text: String },
    #[error("image {reference} is for {found}, and {wanted} was asked for")]
    ImagePlatform { reference: Reference, wanted: Platform, found: Platform },
    #[error("image {reference} is used by container {container}")]
    ImageInUse { reference: Reference, container: ContainerName },
    #[error("{text:?} is an id with {names} names")]
    ImageSeveralNames { text: String, names: usize },
    #[error("lease {id} keeps its {max} things already")]
    LeaseFull { id: LeaseId, max: usize },
    #[error("the archive has {images} images, and one name was given")]
    ImportNameForSeveral { images: usize },
    #[error("the archive has an image without a name")]
    ImportNameless,
    #[error("offset {offset} is behind the blob's {size} bytes")]
    OffsetBeyondEnd { offset: u64, size: u64 },
    #[error("lease {id} exists already")]
    LeaseExists { id: LeaseId },
    #[error("no lease {id}")]
    LeaseNotFound { id: LeaseId },
    #[error("no {kind} {name:?}")]
    NotFound { kind: &'static str, name: String },
    #[error("request id {id:?} was used for {method}")]
    RequestIdReused { id: String, method: String },
    #[error("the daemon is shutting down")]
    ShuttingDown,
    #[error("the streams ended before the process did")]
    StreamsLost,
    #[error("{rule}")]
    Protocol { rule: &'static str },
}

/// The engine's error behind a transparent variant, for its class, reason, resource and hint.
fn engine(error: &Error) -> Option<&dyn Classified> {
    match error {
        Error::Store(error) => Some(error),
        Error::Snapshot(error) => Some(error),
        Error::Pull(error) => Some(error),
        Error::Import(error) => Some(error),
        Error::Content(error) => Some(error),
        Error::Credentials(error) => Some(error),
        Error::Spec(error) => Some(error),
        Error::Plan(error) => Some(error),
        Error::User(error) => Some(error),
        Error::Filter(error) => Some(error),
        Error::Cgroup(error) => Some(error),
        Error::CgroupPlan(error) => Some(error),
        Error::Syscall(error) => Some(error),
        Error::Shim(error) => Some(error),
        Error::Id(error) => Some(error),
        Error::Reference(error) => Some(error),
        Error::PlaceLost(error) => Some(error),
        Error::Field(error) => Some(error),
        _ => None,
    }
}

impl Classified for Error {
    fn class(&self) -> Class {
        if let Some(error) = engine(self) {
            return error.class();
        }
        match self {
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Class::ResourceExhausted,
                _ => Class::Internal,
            },
            Self::ContainerNotFound { .. }
            | Self::ContainerGone
            | Self::ImageNotFound { .. }
            | Self::LeaseNotFound { .. }
            | Self::ExecNotFound { .. }
            | Self::NotFound { .. } => Class::NotFound,
            Self::RequestIdReused { .. } | Self::Protocol { .. } => Class::InvalidArgument,
            Self::ContainerAmbiguous { .. }
            | Self::ImageAmbiguous { .. }
            | Self::ImagePlatform { .. }
            | Self::ImageSeveralNames { .. }
            | Self::Transition { .. }
            | Self::NotRunning { .. }
            | Self::StillAlive { .. }
            | Self::ImageInUse { .. } => Class::FailedPrecondition,
            Self::NameTaken { .. } | Self::LeaseExists { .. } => Class::AlreadyExists,
            Self::TooManyExecs { .. } | Self::TooManyAttachments { .. } | Self::LeaseFull { .. } => {
                Class::ResourceExhausted
            }
            Self::StreamsLost | Self::ShuttingDown => Class::Unavailable,
            Self::OffsetBeyondEnd { .. } => Class::OutOfRange,
            Self::Digest(_) | Self::ImportNameForSeveral { .. } | Self::ImportNameless => {
                Class::InvalidArgument
            }
            Self::Machine { .. } => Class::Unimplemented,
            _ => Class::Internal,
        }
    }

    fn reason(&self) -> &'static str {
        if let Some(error) = engine(self) {
            return error.reason();
        }
        match self {
            Self::Io { .. } => "HOST_IO",
            Self::Machine { .. } => "MACHINE",
            Self::ContainerNotFound { .. } | Self::ContainerGone => "CONTAINER_NOT_FOUND",
            Self::ContainerAmbiguous { .. } => "CONTAINER_AMBIGUOUS",
            Self::Transition { .. } | Self::NotRunning { .. } | Self::StillAlive { .. } => "CONTAINER_STATE",
            Self::NameTaken { .. } => "CONTAINER_NAME_TAKEN",
            Self::RemovalUnfinished { .. } => "REMOVAL_UNFINISHED",
            Self::StopUnfinished { .. } => "STOP_UNFINISHED",
            Self::TooManyExecs { .. } => "EXECS_MAX",
            Self::TooManyAttachments { .. } => "ATTACHMENTS_MAX",
            Self::ExecNotFound { .. } => "EXEC_NOT_FOUND",
            Self::ImageNotFound { .. } => "IMAGE_NOT_FOUND",
            Self::ImageAmbiguous { .. } => "IMAGE_AMBIGUOUS",
            Self::ImageInUse { .. } | Self::ImageSeveralNames { .. } => "IMAGE_IN_USE",
            Self::LeaseFull { .. } => "LEASE_FULL",
            Self::OffsetBeyondEnd { .. } => "OFFSET_BEYOND_END",
            Self::Digest(_) => "DIGEST_INVALID",
            Self::ImportNameForSeveral { .. } | Self::ImportNameless => "IMPORT_NAME",
            Self::ImagePlatform { .. } => "PLATFORM_UNAVAILABLE",
            Self::LeaseExists { .. } => "LEASE_EXISTS",
            Self::LeaseNotFound { .. } => "LEASE_NOT_FOUND",
            Self::NotFound { .. } => "NOT_FOUND",
            Self::RequestIdReused { .. } => "REQUEST_ID_REUSED",
            Self::StreamsLost => "STREAMS_LOST",
            Self::ShuttingDown => "SHUTTING_DOWN",
            Self::Protocol { .. } => "STREAM_PROTOCOL",
            _ => "INTERNAL",
        }
    }

    fn resource(&self) -> Option<Resource> {
        if let Some(error) = engine(self) {
            return error.resource();
        }
        let container = |name: String| Some(Resource { kind: "container", name });
        match self {
            Self::ContainerNotFound { text, .. } | Self::ContainerAmbiguous { text } => {
                container(text.clone())
            }
            Self::Transition { name, .. }
            | Self::NotRunning { name, .. }
            | Self::StillAlive { name, .. }
            | Self::NameTaken { name, .. }
            | Self::RemovalUnfinished { name }
            | Self::StopUnfinished { name }
            | Self::TooManyExecs { name }
            | Self::TooManyAttachments { name }
            | Self::ExecNotFound { name, .. } => container(name.to_string()),
            Self::ImageNotFound { text, .. } | Self::ImageAmbiguous { text } => {
                Some(Resource { kind: "image", name: text.clone() })
            }
            Self::ImageInUse { reference, .. } => {
                Some(Resource { kind: "image", name: reference.familiar() })
            }
            Self::LeaseExists { id } | Self::LeaseNotFound { id } => {
                Some(Resource { kind: "lease", name: id.to_string() })
            }
            Self::NotFound { kind, name } => Some(Resource { kind, name: name.clone() }),
            _ => None,
        }
    }

    fn hint(&self) -> Option<String> {
        if let Some(error) = engine(self) {
            return error.hint();
        }
        match self {
            Self::ContainerNotFound { .. } => Some("`gantry ps -a` lists all containers".into()),
            Self::ContainerAmbiguous { .. } | Self::ImageAmbiguous { .. } => {
                Some("give more digits, or the name".into())
            }
            Self::NotRunning { name, .. } => Some(format!("start it first: `gantry start {name}`")),
            Self::StillAlive { name, .. } => {
                Some(format!("stop it first: `gantry stop {name}`, or remove it with force"))
            }
            Self::NameTaken { name, .. } => {
                Some(format!("choose another name, or remove the other: `gantry rm {name}`"))
            }
            Self::ImageNotFound { text, .. } => Some(format!("pull it first: `gantry pull {text}`")),
            Self::ImageInUse { container, .. } => {
                Some(format!("remove the container first: `gantry rm {container}`, or use force"))
            }
            Self::ImageSeveralNames { .. } => {
                Some("give one of the names, or use force to remove all".into())
            }
            Self::ImportNameless => Some("give a name for it: `gantry import FILE NAME`".into()),
            Self::StreamsLost => Some("the container goes on; attach again".into()),
            _ => None,
        }
    }
}

/// An error with its causes on one line, for logs and for records.
pub(crate) struct Chain<'a>(pub(crate) &'a dyn std::error::Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl From<Error> for tonic::Status {
    fn from(error: Error) -> Self {
        match error {
            // A field's error also tells which field, for programs.
            Error::Field(field) => field.into(),
            other => gantry_api::status::to_status(&other),
        }
    }
}
