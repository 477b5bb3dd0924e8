//! How an error of the vocabulary travels as a gRPC status, and how a client gets it back. The code is the
//! class; `google.rpc.ErrorInfo` carries the reason that programs match on and the hint that people read,
//! `google.rpc.ResourceInfo` the object. A status of an internal error says nothing of the machine's inside
//! beyond its message: sources are joined here, once, and logging is the daemon's.

use std::collections::HashMap;
use std::error::Error;

use gantry_types::{Class, Classified};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::convert::InvalidField;

/// The domain of every reason in [`tonic_types::ErrorInfo`].
pub const DOMAIN: &str = "gantry";
/// The metadata key of the sentence that tells a person what to do next.
const HINT: &str = "hint";
/// The metadata key of the path of a field that is wrong.
const FIELD: &str = "field";

/// The status that tells a client of `error`.
pub fn to_status(error: &(impl Classified + ?Sized)) -> Status {
    with_metadata(error, HashMap::new())
}

impl From<InvalidField> for Status {
    fn from(error: InvalidField) -> Self {
        with_metadata(&error, HashMap::from([(FIELD.to_owned(), error.path.clone())]))
    }
}

fn with_metadata(error: &(impl Classified + ?Sized), mut metadata: HashMap<String, String>) -> Status {
    if let Some(hint) = error.hint() {
        metadata.insert(HINT.to_owned(), hint);
    }
    let mut details = ErrorDetails::new();
    details.set_error_info(error.reason(), DOMAIN, metadata);
    if let Some(resource) = error.resource() {
        details.set_resource_info(resource.kind, resource.name, "", "");
    }
    Status::with_error_details(code(error.class()), chain(error), details)
}

/// An error and its sources in one line, joined by colons. A source that says nothing new is left out: libraries
/// often repeat theirs.
pub fn chain(error: &(impl Error + ?Sized)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let further = error.to_string();
        if !text.ends_with(&further) {
            text.push_str(": ");
            text.push_str(&further);
        }
        source = error.source();
    }
    text
}

/// The gRPC code of a class.
pub fn code(class: Class) -> Code {
    match class {
        Class::InvalidArgument => Code::InvalidArgument,
        Class::NotFound => Code::NotFound,
        Class::AlreadyExists => Code::AlreadyExists,
        Class::FailedPrecondition => Code::FailedPrecondition,
        Class::Aborted => Code::Aborted,
        Class::PermissionDenied => Code::PermissionDenied,
        Class::Unauthenticated => Code::Unauthenticated,
        Class::ResourceExhausted => Code::ResourceExhausted,
        Class::Unavailable => Code::Unavailable,
        Class::DeadlineExceeded => Code::DeadlineExceeded,
        Class::Cancelled => Code::Cancelled,
        Class::OutOfRange => Code::OutOfRange,
        Class::DataLoss => Code::DataLoss,
        Class::Unimplemented => Code::Unimplemented,
        Class::Internal => Code::Internal,
    }
}

/// The class of a gRPC code; codes that Gantry never sends are a bug of whoever did.
pub fn class(code: Code) -> Class {
    match code {
        Code::InvalidArgument => Class::InvalidArgument,
        Code::NotFound => Class::NotFound,
        Code::AlreadyExists => Class::AlreadyExists,
        Code::FailedPrecondition => Class::FailedPrecondition,
        Code::Aborted => Class::Aborted,
        Code::PermissionDenied => Class::PermissionDenied,
        Code::Unauthenticated => Class::Unauthenticated,
        Code::ResourceExhausted => Class::ResourceExhausted,
        Code::Unavailable => Class::Unavailable,
        Code::DeadlineExceeded => Class::DeadlineExceeded,
        Code::Cancelled => Class::Cancelled,
        Code::OutOfRange => Class::OutOfRange,
        Code::DataLoss => Class::DataLoss,
        Code::Unimplemented => Class::Unimplemented,
        Code::Ok | Code::Unknown | Code::Internal => Class::Internal,
    }
}

/// An error as a client has it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// The kind of failure.
    pub class: Class,
    /// One sentence.
    pub message: String,
    /// The stable name that programs match on; empty when the error did not come from Gantry.
    pub reason: String,
    /// What to do next.
    pub hint: Option<String>,
    /// The path of the field that is wrong.
    pub field: Option<String>,
    /// The noun and the name of the object it is about.
    pub resource: Option<(String, String)>,
}

impl From<Status> for ApiError {
    fn from(status: Status) -> Self {
        let details = status.get_error_details();
        let info = details.error_info().cloned().filter(|info| info.domain == DOMAIN);
        let (reason, mut metadata) = info.map(|info| (info.reason, info.metadata)).unwrap_or_default();
        let resource = details.resource_info().map(|r| (r.resource_type.clone(), r.resource_name.clone()));
        let mut message = status.message().to_owned();
        if reason.is_empty() {
            // The transport's own errors say little by themselves; what happened is in their sources.
            if let Some(source) = status.source() {
                message = chain(source);
            }
        }
        Self {
            class: class(status.code()),
            message,
            reason,
            hint: metadata.remove(HINT),
            field: metadata.remove(FIELD),
            resource,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert;

    const CLASSES: [Class; 15] = [
        Class::InvalidArgument,
        Class::NotFound,
        Class::AlreadyExists,
        Class::FailedPrecondition,
        Class::Aborted,
        Class::PermissionDenied,
        Class::Unauthenticated,
        Class::ResourceExhausted,
        Class::Unavailable,
        Class::DeadlineExceeded,
        Class::Cancelled,
        Class::OutOfRange,
        Class::DataLoss,
        Class::Unimplemented,
        Class::Internal,
    ];

    #[derive(Debug, thiserror::Error)]
    #[error("no container {name:?}")]
    struct Gone {
        name: String,
        source: std::num::ParseIntError,
    }

    impl Classified for Gone {
        fn class(&self) -> Class {
            Class::NotFound
        }

        fn reason(&self) -> &'static str {
            "CONTAINER_NOT_FOUND"
        }

        fn resource(&self) -> Option<gantry_types::Resource> {
            Some(gantry_types::Resource { kind: "container", name: self.name.clone() })
        }

        fn hint(&self) -> Option<String> {
            Some("list them".into())
        }
    }

    #[test]
    fn every_class_comes_back_from_its_code() {
        for each in CLASSES {
            assert_eq!(class(code(each)), each);
        }
    }

    #[test]
    fn an_error_reaches_the_client_whole() {
        let source = "x".parse::<u8>().expect_err("no number");
        let error = ApiError::from(to_status(&Gone { name: "web".into(), source }));
        assert_eq!(error.class, Class::NotFound);
        assert_eq!(error.message, "no container \"web\": invalid digit found in string");
        assert_eq!(error.reason, "CONTAINER_NOT_FOUND");
        assert_eq!(error.hint.as_deref(), Some("list them"));
        assert_eq!(error.resource, Some(("container".into(), "web".into())));
    }

    #[test]
    fn a_refused_field_is_named_for_programs_too() {
        let refused = convert::namespace("../x").expect_err("no namespace");
        let error = ApiError::from(Status::from(refused));
        assert_eq!(error.field.as_deref(), Some("namespace"));
        assert_eq!(error.reason, "IDENTIFIER_INVALID");
    }

    #[test]
    fn a_status_of_another_maker_has_no_reason() {
        let error = ApiError::from(Status::new(Code::Unknown, "boom"));
        assert_eq!(
            (error.class, error.message.as_str(), error.reason.as_str()),
            (Class::Internal, "boom", "")
        );
    }
}
