//! What can be wrong with a seccomp profile, and with the filter of a spec.

use gantry_types::{Class, Classified};

/// Why a profile cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// The text is larger than is read.
    #[error("the seccomp profile has more than {bytes_max} bytes")]
    TooLarge {
        /// The limit.
        bytes_max: usize,
    },
    /// The text is not a profile.
    #[error("the seccomp profile is malformed at line {line}, column {column}: {problem}")]
    Json {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What the parser expected.
        problem: String,
    },
    /// Two fields say the same thing, and only one may be there.
    #[error("the seccomp profile has both {first} and {second}")]
    Both {
        /// One field.
        first: &'static str,
        /// The other.
        second: &'static str,
    },
    /// A condition names a kernel version that is none.
    #[error("{text:?} is not a kernel version")]
    KernelVersion {
        /// The text.
        text: String,
    },
}

impl Classified for ProfileError {
    fn class(&self) -> Class {
        match self {
            Self::TooLarge { .. } | Self::Json { .. } | Self::Both { .. } | Self::KernelVersion { .. } => {
                Class::InvalidArgument
            }
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "SECCOMP_PROFILE_TOO_LARGE",
            Self::Json { .. } => "SECCOMP_PROFILE_MALFORMED",
            Self::Both { .. } => "SECCOMP_PROFILE_AMBIGUOUS",
            Self::KernelVersion { .. } => "SECCOMP_PROFILE_KERNEL_VERSION",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::TooLarge { .. } => None,
            Self::Json { .. } => Some("write the profile in docker's format".to_owned()),
            Self::Both { first, second } => Some(format!("keep {first} or {second}")),
            Self::KernelVersion { .. } => Some("write major.minor, such as 4.8".to_owned()),
        }
    }
}

/// Why the filter of a spec cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SeccompError {
    /// This program's architecture has no system call table here.
    #[error("no seccomp filters can be made for this machine's architecture")]
    Architecture,
    /// A comparison names an argument that no system call has.
    #[error("the rule for {syscall} compares argument {index}, and the last one is 5")]
    ArgumentIndex {
        /// The first call of the rule.
        syscall: String,
        /// The index given.
        index: usize,
    },
    /// An error number that the kernel would change.
    #[error("error number {errno} is above the largest, 4095")]
    Errno {
        /// The number given.
        errno: u32,
    },
    /// A trace message that does not fit.
    #[error("trace message {message} is above the largest, 65535")]
    TraceMessage {
        /// The number given.
        message: u32,
    },
    /// Nobody could run if every call waited for a listener.
    #[error("a listener cannot be the default action")]
    NotifyDefault,
    /// A listener of `write` would wait for itself.
    #[error("a listener cannot be notified of write")]
    NotifyWrite,
    /// The program is larger than the kernel takes.
    #[error("the filter has {count} instructions, and the kernel takes {max}")]
    TooManyInstructions {
        /// How many there are.
        count: usize,
        /// `BPF_MAXINSNS`.
        max: usize,
    },
}

impl Classified for SeccompError {
    fn class(&self) -> Class {
        match self {
            Self::Architecture => Class::Unimplemented,
            Self::ArgumentIndex { .. }
            | Self::Errno { .. }
            | Self::TraceMessage { .. }
            | Self::NotifyDefault
            | Self::NotifyWrite
            | Self::TooManyInstructions { .. } => Class::InvalidArgument,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Architecture => "SECCOMP_ARCHITECTURE",
            Self::ArgumentIndex { .. } => "SECCOMP_ARGUMENT_INDEX",
            Self::Errno { .. } => "SECCOMP_ERRNO",
            Self::TraceMessage { .. } => "SECCOMP_TRACE_MESSAGE",
            Self::NotifyDefault => "SECCOMP_NOTIFY_DEFAULT",
            Self::NotifyWrite => "SECCOMP_NOTIFY_WRITE",
            Self::TooManyInstructions { .. } => "SECCOMP_TOO_LARGE",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::TooManyInstructions { .. } => {
                Some("compare fewer arguments, or give fewer rules for each call".to_owned())
            }
            Self::Architecture => {
                Some("run the container with the filter set to unconfined, if you must".to_owned())
            }
            Self::ArgumentIndex { .. }
            | Self::Errno { .. }
            | Self::TraceMessage { .. }
            | Self::NotifyDefault
            | Self::NotifyWrite => None,
        }
    }
}
