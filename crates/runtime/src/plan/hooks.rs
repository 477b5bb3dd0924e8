//! Programmes of the operator's that run at certain moments of a container's life (runtime-spec, config.md
//! "POSIX-platform Hooks"). What they read on standard input is worked out here as far as it can be without
//! the container: the executor only adds the status and the process id.

/// A container's hooks, by kind.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Hooks {
    /// The state as JSON without its last members: `{"ociVersion":"1.2.0","id":"x","bundle":"/b"`.
    #[prost(string, tag = "1")]
    pub state: String,
    /// On the host, once the container's process and namespaces are there (deprecated by the specification).
    #[prost(message, repeated, tag = "2")]
    pub prestart: Vec<Hook>,
    /// On the host, after those.
    #[prost(message, repeated, tag = "3")]
    pub create_runtime: Vec<Hook>,
    /// In the container's namespaces, found on the host, before the change of root.
    #[prost(message, repeated, tag = "4")]
    pub create_container: Vec<Hook>,
    /// In the container, with the process's own privileges, right before its command.
    #[prost(message, repeated, tag = "5")]
    pub start_container: Vec<Hook>,
    /// On the host, after the command began.
    #[prost(message, repeated, tag = "6")]
    pub poststart: Vec<Hook>,
    /// On the host, after the container is gone.
    #[prost(message, repeated, tag = "7")]
    pub poststop: Vec<Hook>,
    /// The folder that those on the host run in; empty is the executor's own.
    #[prost(string, tag = "8")]
    pub bundle: String,
}

/// One programme.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Hook {
    /// Absolute path.
    #[prost(string, tag = "1")]
    pub path: String,
    /// Its arguments, the first of them its name; empty means the path alone.
    #[prost(string, repeated, tag = "2")]
    pub args: Vec<String>,
    /// Its whole environment.
    #[prost(string, repeated, tag = "3")]
    pub env: Vec<String>,
    /// Seconds after which it is killed; 0 waits for ever.
    #[prost(uint32, tag = "4")]
    pub timeout_seconds: u32,
    /// Whether it has, instead of `env`, that of the container's process (startContainer) or of the executor.
    #[prost(bool, tag = "5")]
    pub inherits_env: bool,
}

impl Hooks {
    /// Whether the child stops before its change of root for hooks to run.
    pub(crate) fn at_create(&self) -> bool {
        !(self.prestart.is_empty() && self.create_runtime.is_empty() && self.create_container.is_empty())
    }
}
