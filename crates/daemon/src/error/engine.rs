//! An engine's error on its way through the daemon: which one it was is of no interest above the engine, so
//! all travel in one box and keep their own words, class, reason, resource and hint.

use std::error::Error as StdError;
use std::fmt;

use gantry_types::{Class, Classified, Resource};

use super::Error;

/// An engine's error in a box. Displays as the error itself, and has its source.
#[derive(Debug)]
pub(crate) struct Engine(Box<dyn Classified + Send + Sync>);

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for Engine {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}

impl Classified for Engine {
    fn class(&self) -> Class {
        self.0.class()
    }

    fn reason(&self) -> &'static str {
        self.0.reason()
    }

    fn resource(&self) -> Option<Resource> {
        self.0.resource()
    }

    fn hint(&self) -> Option<String> {
        self.0.hint()
    }
}

/// Lets `?` box the errors named.
macro_rules! engines {
    ($($error:ty),* $(,)?) => {
        $(
            impl From<$error> for Error {
                fn from(error: $error) -> Self {
                    Self::Engine(Engine(Box::new(error)))
                }
            }
        )*
    };
}

engines!(
    crate::events::PlaceLost,
    crate::networks::DriverProblem,
    crate::networks::NetworkProblem,
    crate::runtimes::RuntimeError,
    crate::user_namespaces::UserNamespaceProblem,
    gantry_image::PullError,
    gantry_image::content::ContentError,
    gantry_image::import::ImportError,
    gantry_image::registry::CredentialsError,
    gantry_linux::SyscallError,
    gantry_network::NetworkError,
    gantry_network::cni::CniError,
    gantry_network::netd::NetdError,
    gantry_runtime::cgroup::CgroupAtError,
    gantry_runtime::cgroup::CgroupError,
    gantry_runtime::cgroup::CgroupPlanError,
    gantry_runtime::plan::PlanError,
    gantry_runtime::seccomp::SeccompError,
    gantry_runtime::spec::SpecError,
    gantry_runtime::systemd::SystemdError,
    gantry_runtime::user::UserError,
    gantry_snapshot::SnapshotError,
    gantry_store::StoreError,
    gantry_types::DigestError,
    gantry_types::IdError,
    gantry_types::ReferenceError,
);
