//! How messages become vocabulary and vocabulary becomes messages. Everything a client sent is checked here
//! and nowhere else for form and for the limits of `gantry_types`; what the names mean on this machine (does
//! the image exist, is there such a capability) is left to the use case.

mod check;
mod container;
mod field;
mod foreign;
mod image;
mod mount;
mod network;
mod port;
mod process;
mod request;
mod resource_change;
mod resources;
mod state;
#[cfg(test)]
mod tests;
mod time;
mod user_namespace;

pub use container::ContainerRequest;
pub use field::{FieldProblem, InvalidField};
pub use network::{SandboxRequest, attachment, network_options, ports};
pub use request::{id, identifier, labels, namespace, page_size, platform, request_id, terminal_size};
pub use resource_change::changed_resources;
pub use time::{duration_since_epoch_ns, timestamp};
