//! What a person is told when something failed, and the exit code that the shell gets: one sentence, and a
//! hint when there is something to do. Docker's codes: 125 for Gantry's own failures where the container's code
//! would be given otherwise, 126 and 127 for a programme that cannot be executed or is not there, else 1.

use std::io::{self, Write as _};
use std::process::ExitCode;

use gantry_api::connect::ConnectError;
use gantry_api::status::{ApiError, chain};
use gantry_types::{Class, Classified as _};

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    /// One sentence, without an end. Empty when everything was said already.
    pub(crate) message: String,
    /// What to do next.
    pub(crate) hint: Option<String>,
    /// The daemon's stable name of it; empty for the command line's own failures.
    pub(crate) reason: String,
    /// The kind, when the daemon told it.
    pub(crate) class: Option<Class>,
    /// The exit code.
    pub(crate) code: u8,
}

impl Failure {
    /// A failure of the command line's own.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, reason: String::new(), class: None, code: 1 }
    }

    /// The same with a hint.
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// The system refused something.
    pub(crate) fn io(doing: &str, error: &io::Error) -> Self {
        let code = if error.kind() == io::ErrorKind::BrokenPipe { BROKEN_PIPE } else { 1 };
        Self { code, ..Self::new(format!("{doing}: {error}")) }
    }

    /// Everything was said already; only the code is left.
    pub(crate) fn silent(code: u8) -> Self {
        Self { code, ..Self::new("") }
    }

    /// Whether the daemon says that there is no such thing.
    pub(crate) fn is_not_found(&self) -> bool {
        self.class == Some(Class::NotFound)
    }

    /// Whether the daemon says that no such thing could be.
    pub(crate) fn is_invalid(&self) -> bool {
        self.class == Some(Class::InvalidArgument)
    }

    /// The same as a failure to run a container's programme: 126 and 127 keep their meaning, the rest is 125.
    pub(crate) fn of_run(self) -> Self {
        Self { code: self.command_code().unwrap_or(125), ..self }
    }

    /// What the shell expects of a programme that is not there or cannot be executed.
    pub(crate) fn command_code(&self) -> Option<u8> {
        match self.reason.as_str() {
            "COMMAND_NOT_FOUND" => Some(127),
            "COMMAND_NOT_EXECUTABLE" => Some(126),
            _ => None,
        }
    }

    /// Tells it on standard error.
    pub(crate) fn report(&self) -> ExitCode {
        self.tell();
        ExitCode::from(self.code)
    }

    /// Tells it on standard error, for commands that go on with the next of several names.
    pub(crate) fn tell(&self) {
        if self.message.is_empty() || self.code == BROKEN_PIPE {
            return;
        }
        // Nothing can be done about a standard error that is gone.
        let mut stderr = anstream::stderr().lock();
        let _ = writeln!(stderr, "\x1b[1;31mgantry:\x1b[0m {}", self.message);
        if let Some(hint) = &self.hint {
            let _ = writeln!(stderr, "\x1b[1mhint:\x1b[0m {hint}");
        }
    }
}

/// 128 and SIGPIPE: the reader of our output went away, which is its right.
const BROKEN_PIPE: u8 = 141;

impl From<tonic::Status> for Failure {
    fn from(status: tonic::Status) -> Self {
        if let Some(alert) = tls_alert(&status) {
            let hint = "it must be of the authority in the daemon's grpc.tls_client_ca, made for clients, and still good";
            return Self::new(format!("the daemon does not take the client certificate: {alert}")).hint(hint);
        }
        let cause = std::error::Error::source(&status);
        if cause.is_some_and(<dyn std::error::Error>::is::<tonic::transport::Error>) {
            // The connection may be reset before the alert that says why is read.
            let hint =
                "over tcp:// this is also how a client certificate is refused; the daemon's log says why";
            return Self::new(format!("the connection to the daemon is lost: {}", status.message()))
                .hint(hint);
        }
        let error = ApiError::from(status);
        let message = match (&error.reason, error.class) {
            (reason, Class::Unavailable) if reason.is_empty() => {
                format!("the connection to the daemon is lost: {}", error.message)
            }
            _ => error.message,
        };
        let hint = error.hint;
        Self { message, hint, reason: error.reason, class: Some(error.class), code: 1 }
    }
}

/// What the daemon's TLS refused with. It looks at the client's certificate when the client believes itself connected
/// (RFC 8446 section 4.4.2), so that the first call is told; the TLS library gives such errors this kind.
fn tls_alert(status: &tonic::Status) -> Option<String> {
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<io::Error>()
            && error.kind() == io::ErrorKind::InvalidData
        {
            return Some(error.to_string());
        }
        source = error.source();
    }
    None
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        let mut message = chain(&error);
        if matches!(error, ConnectError::Unreachable { .. }) {
            // The transport's own sentence says nothing; the system's at the end of the chain does.
            message = message.replace(": transport error", "").replace(": tcp connect error", "");
        }
        Self { hint: error.hint(), ..Self::new(message) }
    }
}
