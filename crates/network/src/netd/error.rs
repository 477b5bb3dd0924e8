//! Why a file of netd's could not be written, read or believed.

use std::io;
use std::path::PathBuf;

use gantry_types::{Class, Classified};
use rustix::io::Errno;

/// A file of netd's that is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum NetdError {
    /// The system refused something about a file or folder.
    #[error("{action} {} failed", path.display())]
    File {
        /// What was attempted: `open`, `read`, `write`, `rename`…
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// An id that cannot be a file's name.
    #[error("{id:?} is no id: 1 to 128 of a-z A-Z 0-9 _ - and not a dot in front")]
    Id {
        /// The id as given.
        id: String,
    },
    /// A file larger than [`super::FILE_BYTES_MAX`].
    #[error("{} is larger than a file of netd may be", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// A file that is no protobuf message of its kind.
    #[error("{} is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the decoder met.
        #[source]
        source: prost::DecodeError,
    },
    /// A field that has no meaning.
    #[error("{} has a {field} that means nothing", path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// The field's name.
        field: &'static str,
    },
    /// A file of a later Gantry.
    #[error("{} is of version {found}, and {} is the newest known", path.display(), super::VERSION)]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
}

impl Classified for NetdError {
    fn class(&self) -> Class {
        match self {
            Self::File { source, .. } => match Errno::from_io_error(source) {
                Some(Errno::NOENT) => Class::NotFound,
                Some(Errno::ACCESS | Errno::PERM) => Class::PermissionDenied,
                Some(Errno::NOSPC | Errno::DQUOT | Errno::MFILE | Errno::NFILE) => Class::ResourceExhausted,
                Some(_) | None => Class::Internal,
            },
            Self::Id { .. } => Class::InvalidArgument,
            Self::TooLarge { .. } => Class::ResourceExhausted,
            Self::Damaged { .. } | Self::Field { .. } => Class::DataLoss,
            Self::Version { .. } => Class::FailedPrecondition,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::File { .. } => "NETD_FILE_FAILED",
            Self::Id { .. } => "NETD_ID_INVALID",
            Self::TooLarge { .. } => "NETD_FILE_TOO_LARGE",
            Self::Damaged { .. } | Self::Field { .. } => "NETD_FILE_DAMAGED",
            Self::Version { .. } => "NETD_FILE_TOO_NEW",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Version { .. } => {
                Some("restart gantry-netd: it is older than the gantryd that wrote the file".to_owned())
            }
            Self::File { .. }
            | Self::Id { .. }
            | Self::TooLarge { .. }
            | Self::Damaged { .. }
            | Self::Field { .. } => None,
        }
    }
}
