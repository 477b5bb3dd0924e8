//! What each of the daemon's own errors means to a caller: its class and reason, the object it is about and
//! what to do next. One exhaustive match for each question, so that a new error is asked all of them.

use std::io;

use gantry_types::{Class, Classified, ContainerState, Resource};

use super::Error;

impl Classified for Error {
    fn class(&self) -> Class {
        self.verdict().0
    }

    fn reason(&self) -> &'static str {
        self.verdict().1
    }

    fn resource(&self) -> Option<Resource> {
        let (kind, name) = match self {
            Self::Engine(error) => return error.resource(),
            Self::Shim(error) => return error.resource(),
            Self::Field(error) => return error.resource(),
            Self::ContainerNotFound { text, .. } | Self::ContainerAmbiguous { text } => {
                ("container", text.clone())
            }
            Self::Transition { name, .. }
            | Self::NotRunning { name, .. }
            | Self::StillAlive { name, .. }
            | Self::NameTaken { name, .. }
            | Self::RemovalUnfinished { name }
            | Self::StopUnfinished { name }
            | Self::TooManyExecs { name }
            | Self::TooManyAttachments { name }
            | Self::ExecNotFound { name, .. } => ("container", name.to_string()),
            Self::ImageNotFound { text, .. } | Self::ImageAmbiguous { text } => ("image", text.clone()),
            Self::ImageInUse { reference, .. } => ("image", reference.familiar()),
            Self::LeaseExists { id } | Self::LeaseNotFound { id } => ("lease", id.to_string()),
            Self::NotFound { kind, name } => (*kind, name.clone()),
            Self::Machine { .. }
            | Self::Io { .. }
            | Self::ContainerGone
            | Self::ImagePlatform { .. }
            | Self::ImageSeveralNames { .. }
            | Self::LeaseFull { .. }
            | Self::ImportNameForSeveral { .. }
            | Self::ImportNameless
            | Self::OffsetBeyondEnd { .. }
            | Self::RequestIdReused { .. }
            | Self::ShuttingDown
            | Self::StreamsLost
            | Self::Protocol { .. } => return None,
        };
        Some(Resource { kind, name })
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Engine(error) => return error.hint(),
            Self::Shim(error) => return error.hint(),
            Self::Field(error) => return error.hint(),
            Self::ContainerNotFound { .. } => "`gantry ps -a` lists all containers".into(),
            Self::ContainerAmbiguous { .. } | Self::ImageAmbiguous { .. } => {
                "give more digits, or the name".into()
            }
            Self::NotRunning { name, state: ContainerState::Paused } => {
                format!("let it go on first: `gantry unpause {name}`")
            }
            Self::NotRunning { name, .. } => format!("start it first: `gantry start {name}`"),
            Self::StillAlive { name, .. } => {
                format!("stop it first: `gantry stop {name}`, or remove it with force")
            }
            Self::NameTaken { name, .. } => {
                format!("choose another name, or remove the other: `gantry rm {name}`")
            }
            Self::ImageNotFound { text, .. } => format!("pull it first: `gantry pull {text}`"),
            Self::ImageInUse { container, .. } => {
                format!("remove the container first: `gantry rm {container}`, or use force")
            }
            Self::ImageSeveralNames { .. } => "give one of the names, or use force to remove all".into(),
            Self::ImportNameless => "give a name for it: `gantry import FILE NAME`".into(),
            Self::StreamsLost => "the container goes on; attach again".into(),
            Self::Machine { .. }
            | Self::Io { .. }
            | Self::Transition { .. }
            | Self::ContainerGone
            | Self::RemovalUnfinished { .. }
            | Self::StopUnfinished { .. }
            | Self::TooManyExecs { .. }
            | Self::TooManyAttachments { .. }
            | Self::ExecNotFound { .. }
            | Self::ImagePlatform { .. }
            | Self::LeaseExists { .. }
            | Self::LeaseNotFound { .. }
            | Self::LeaseFull { .. }
            | Self::ImportNameForSeveral { .. }
            | Self::OffsetBeyondEnd { .. }
            | Self::NotFound { .. }
            | Self::RequestIdReused { .. }
            | Self::ShuttingDown
            | Self::Protocol { .. } => return None,
        })
    }
}

impl Error {
    /// The class, and the reason that programs match on.
    fn verdict(&self) -> (Class, &'static str) {
        match self {
            Self::Engine(error) => (error.class(), error.reason()),
            Self::Shim(error) => (error.class(), error.reason()),
            Self::Field(error) => (error.class(), error.reason()),
            Self::Machine { .. } => (Class::Unimplemented, "MACHINE"),
            Self::Io { source, .. } => (io_class(source), "HOST_IO"),
            Self::ContainerNotFound { .. } | Self::ContainerGone => (Class::NotFound, "CONTAINER_NOT_FOUND"),
            Self::ContainerAmbiguous { .. } => (Class::FailedPrecondition, "CONTAINER_AMBIGUOUS"),
            Self::Transition { .. } | Self::NotRunning { .. } | Self::StillAlive { .. } => {
                (Class::FailedPrecondition, "CONTAINER_STATE")
            }
            Self::NameTaken { .. } => (Class::AlreadyExists, "CONTAINER_NAME_TAKEN"),
            Self::RemovalUnfinished { .. } => (Class::Internal, "REMOVAL_UNFINISHED"),
            Self::StopUnfinished { .. } => (Class::Internal, "STOP_UNFINISHED"),
            Self::TooManyExecs { .. } => (Class::ResourceExhausted, "EXECS_MAX"),
            Self::TooManyAttachments { .. } => (Class::ResourceExhausted, "ATTACHMENTS_MAX"),
            Self::ExecNotFound { .. } => (Class::NotFound, "EXEC_NOT_FOUND"),
            Self::ImageNotFound { .. } => (Class::NotFound, "IMAGE_NOT_FOUND"),
            Self::ImageAmbiguous { .. } => (Class::FailedPrecondition, "IMAGE_AMBIGUOUS"),
            Self::ImagePlatform { .. } => (Class::FailedPrecondition, "PLATFORM_UNAVAILABLE"),
            Self::ImageInUse { .. } | Self::ImageSeveralNames { .. } => {
                (Class::FailedPrecondition, "IMAGE_IN_USE")
            }
            Self::LeaseExists { .. } => (Class::AlreadyExists, "LEASE_EXISTS"),
            Self::LeaseNotFound { .. } => (Class::NotFound, "LEASE_NOT_FOUND"),
            Self::LeaseFull { .. } => (Class::ResourceExhausted, "LEASE_FULL"),
            Self::ImportNameForSeveral { .. } | Self::ImportNameless => {
                (Class::InvalidArgument, "IMPORT_NAME")
            }
            Self::OffsetBeyondEnd { .. } => (Class::OutOfRange, "OFFSET_BEYOND_END"),
            Self::NotFound { .. } => (Class::NotFound, "NOT_FOUND"),
            Self::RequestIdReused { .. } => (Class::InvalidArgument, "REQUEST_ID_REUSED"),
            Self::ShuttingDown => (Class::Unavailable, "SHUTTING_DOWN"),
            Self::StreamsLost => (Class::Unavailable, "STREAMS_LOST"),
            Self::Protocol { .. } => (Class::InvalidArgument, "STREAM_PROTOCOL"),
        }
    }
}

/// A full disk is the caller's to know; anything else the host refuses is not.
fn io_class(source: &io::Error) -> Class {
    if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
        Class::ResourceExhausted
    } else {
        Class::Internal
    }
}
