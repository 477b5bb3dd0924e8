//! Which field of a request is wrong and why. The path is protobuf's (`options.mounts[2].bind.target`), so
//! that a program can point at it whatever language it is written in.

use gantry_types::{Class, Classified};

/// A field that a request may not have as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct InvalidField {
    /// Where it is, from the request's root.
    pub path: String,
    /// What is wrong with it.
    pub problem: FieldProblem,
}

/// What can be wrong with a field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldProblem {
    /// It is empty or unset and may not be.
    #[error("must be given")]
    Missing,
    /// It has more elements than allowed.
    #[error("has {count} elements, at most {max} are allowed")]
    TooMany {
        /// How many it has.
        count: usize,
        /// How many it may have.
        max: usize,
    },
    /// It has more bytes than allowed.
    #[error("has {bytes} bytes, at most {max} are allowed")]
    TooLong {
        /// How many it has.
        bytes: usize,
        /// How many it may have.
        max: usize,
    },
    /// Its text is not of the form it must be of.
    #[error("{text:?} is not {rule}")]
    Malformed {
        /// The text, cut to 160 characters.
        text: String,
        /// What it should be: "an absolute path".
        rule: &'static str,
    },
    /// A number of an enum that this build does not know.
    #[error("{number} is no value of {kind}")]
    UnknownValue {
        /// The number.
        number: i32,
        /// The enum's name.
        kind: &'static str,
    },
    /// A number outside its range.
    #[error("{number} is not between {min} and {max}")]
    OutOfRange {
        /// The number.
        number: u64,
        /// The least allowed.
        min: u64,
        /// The most allowed.
        max: u64,
    },
    /// It contradicts another field.
    #[error("cannot be combined with {other}")]
    Conflict {
        /// The other field's path, from the same message.
        other: &'static str,
    },
    /// It is no identifier of its kind; the rule is the vocabulary's.
    #[error("{0}")]
    Identifier(gantry_types::IdError),
    /// It is no mapping of ids that the kernel takes.
    #[error("{0}")]
    IdMapping(gantry_types::IdMappingError),
    /// It is no platform.
    #[error("{0}")]
    Platform(gantry_types::PlatformError),
}

impl InvalidField {
    /// A problem of the field called `name`.
    pub fn new(name: impl Into<String>, problem: FieldProblem) -> Self {
        Self { path: name.into(), problem }
    }

    /// The same, seen from the message around it, in which this one is called `outer`.
    #[must_use]
    pub fn inside(self, outer: &str) -> Self {
        let separator = if self.path.is_empty() { "" } else { "." };
        Self { path: format!("{outer}{separator}{}", self.path), ..self }
    }

    /// The same, as element `index` of the list called `outer`.
    #[must_use]
    pub fn at(self, outer: &str, index: usize) -> Self {
        self.inside(&format!("{outer}[{index}]"))
    }
}

impl Classified for InvalidField {
    fn class(&self) -> Class {
        Class::InvalidArgument
    }

    fn reason(&self) -> &'static str {
        match self.problem {
            FieldProblem::Identifier(_) => "IDENTIFIER_INVALID",
            FieldProblem::Platform(_) => "PLATFORM_INVALID",
            FieldProblem::IdMapping(_) => "ID_MAPPING_INVALID",
            FieldProblem::Missing
            | FieldProblem::TooMany { .. }
            | FieldProblem::TooLong { .. }
            | FieldProblem::Malformed { .. }
            | FieldProblem::UnknownValue { .. }
            | FieldProblem::OutOfRange { .. }
            | FieldProblem::Conflict { .. } => "FIELD_INVALID",
        }
    }
}
