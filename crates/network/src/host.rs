//! Where do changes at the host's side happen? In the network namespace of the thread that calls; connections are
//! opened when needed and kept for the next caller, so that unrelated changes go side by side.

use std::sync::{Mutex, PoisonError};

use crate::error::Result;
use crate::netlink::socket::{Connection, Family};

/// The host's side of all networks. One per process and network namespace.
#[derive(Debug, Default)]
pub struct Host {
    route: Mutex<Vec<Connection>>,
    netfilter: Mutex<Vec<Connection>>,
}

/// Connections kept for later; more are closed.
const KEPT_MAX: usize = 8;

impl Host {
    /// Nothing is opened before it is needed.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs something with a connection that nobody else uses meanwhile.
    pub(crate) fn with<T>(
        &self,
        family: Family,
        work: impl FnOnce(&mut Connection) -> Result<T>,
    ) -> Result<T> {
        let kept = match family {
            Family::Route => &self.route,
            Family::Netfilter => &self.netfilter,
        };
        let idle = kept.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => Connection::open(family)?,
        };
        let answer = work(&mut connection);
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT_MAX {
            kept.push(connection);
        }
        answer
    }
}
