//! Network namespaces that are ready before anybody asks: making one takes longer than everything else of a
//! container's network. They are filled up again in the background, and end with the daemon, because nothing but its
//! descriptors holds them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use gantry_network::Netns;

use crate::assemble::Daemon;
use crate::error::{Chain, Error};

/// The namespaces.
#[derive(Debug)]
pub(crate) struct Pool {
    ready: Mutex<Vec<Netns>>,
    size: usize,
    filling: AtomicBool,
}

impl Pool {
    pub(crate) fn new(size: usize) -> Self {
        Self { ready: Mutex::default(), size, filling: AtomicBool::new(false) }
    }

    fn pop(&self) -> Option<Netns> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// Makes what is missing, one after the other, until nothing is.
    fn fill(&self) -> Result<(), Error> {
        while self.ready.lock().unwrap_or_else(PoisonError::into_inner).len() < self.size {
            let made = Netns::make()?;
            self.ready.lock().unwrap_or_else(PoisonError::into_inner).push(made);
        }
        Ok(())
    }
}

impl Daemon {
    /// A namespace with loopback up and nothing else.
    pub(crate) async fn take_namespace(self: &Arc<Self>) -> Result<Netns, Error> {
        let taken = self.networks.pool.pop();
        self.fill_namespaces();
        match taken {
            Some(netns) => Ok(netns),
            None => self.blocking.run(|| Ok(Netns::make()?)).await,
        }
    }

    /// Fills the pool up, unless somebody does.
    pub(crate) fn fill_namespaces(self: &Arc<Self>) {
        if self.networks.pool.filling.swap(true, Ordering::AcqRel) {
            return;
        }
        let daemon = Arc::clone(self);
        self.tasks.spawn("namespaces", async move {
            let worker = Arc::clone(&daemon);
            if let Err(error) = daemon.blocking.run(move || worker.networks.pool.fill()).await {
                tracing::warn!(error = %Chain(&error), "no network namespaces can be made ready");
            }
            daemon.networks.pool.filling.store(false, Ordering::Release);
        });
    }
}
