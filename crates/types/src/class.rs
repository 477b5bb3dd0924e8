//! What kind of failure an error is, so that every edge (gRPC status, exit code, log level) decides by
//! one exhaustive match and never by an error's text.

/// The kind of a failure. The variants are gRPC's canonical codes that Gantry uses
/// (<https://grpc.github.io/grpc/core/md_doc_statuscodes.html>), so the mapping is one to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// The request is malformed whatever the state of the system.
    InvalidArgument,
    /// The resource does not exist.
    NotFound,
    /// A resource of that name exists already.
    AlreadyExists,
    /// The resource is not in the state that the request needs.
    FailedPrecondition,
    /// Another request changed or holds the resource; trying again may succeed.
    Aborted,
    /// The caller, or the credentials it gave for a registry, may not do this.
    PermissionDenied,
    /// Credentials are needed and were missing or wrong.
    Unauthenticated,
    /// A limit of Gantry's or of the machine's is reached: disk, memory, open files, queue.
    ResourceExhausted,
    /// A peer (registry, shim, the daemon itself) cannot be reached now; trying again may succeed.
    Unavailable,
    /// The time allowed ran out.
    DeadlineExceeded,
    /// The caller gave up.
    Cancelled,
    /// A position is outside what is still kept (a watch that resumes too late).
    OutOfRange,
    /// Bytes are damaged or lost: a digest does not match, a record does not parse.
    DataLoss,
    /// This kernel or this build cannot do what was asked.
    Unimplemented,
    /// A bug of Gantry's, or the kernel refused something it never should.
    Internal,
}

/// The object an error is about, for `google.rpc.ResourceInfo`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// The noun: `container`, `image`, `snapshot`, `content`, `namespace`…
    pub kind: &'static str,
    /// Its name or id as the caller knows it.
    pub name: String,
}

/// What every error enum of Gantry says of itself beside its `Display`.
pub trait Classified: std::error::Error {
    /// The kind of failure.
    fn class(&self) -> Class;

    /// A stable `UPPER_SNAKE_CASE` name that programs match on (AIP-193).
    fn reason(&self) -> &'static str;

    /// The object it is about, when there is exactly one.
    fn resource(&self) -> Option<Resource> {
        None
    }

    /// One sentence telling a person what to do next, when there is something to do.
    fn hint(&self) -> Option<String> {
        None
    }
}
