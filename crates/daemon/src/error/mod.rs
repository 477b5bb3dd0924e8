//! What can go wrong in the daemon above its engines. Engines' errors pass through with their own class,
//! reason and hint; only what the daemon itself decides has words here. What each of those words means to a
//! caller is in `classified.rs`.

mod classified;
mod engine;

use std::fmt;
use std::io;

use gantry_api::convert::InvalidField;
use gantry_types::{
    ContainerId, ContainerName, ContainerState, ExecId, LeaseId, Platform, Reference, TransitionError,
};

pub(crate) use self::engine::Engine;
use crate::supervisor::ShimError;

/// An error of a use case. Small, because every answer has room for one: what is long is boxed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// An engine's, as it is; nobody above decides by which.
    #[error(transparent)]
    Engine(Engine),
    #[error(transparent)]
    Shim(#[from] ShimError),
    #[error(transparent)]
    Field(#[from] InvalidField),
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
    ImagePlatform { reference: Box<Reference>, wanted: Box<Platform>, found: Box<Platform> },
    #[error("image {reference} is used by container {container}")]
    ImageInUse { reference: Box<Reference>, container: ContainerName },
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
        // A field's error also tells which field, for programs.
        if let Error::Field(field) = error { field.into() } else { gantry_api::status::to_status(&error) }
    }
}
