//! Network namespaces that are ready before anybody asks: making one takes longer than everything else of a
//! container's network. They are filled up again in the background, and end with the daemon, because nothing but its
//! descriptors holds them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gantry_network::Netns;
use tokio::sync::Notify;

use crate::assemble::Daemon;
use crate::error::{Chain, Error};

/// How long a start that took one has the processors and the kernel's lock of links to itself before another is made.
const FILL_DELAY: Duration = Duration::from_millis(10);

/// The namespaces.
#[derive(Debug)]
pub(crate) struct Pool {
    ready: Mutex<Vec<Netns>>,
    size: usize,
    filling: AtomicBool,
    /// Told when few are left, which is no time to wait.
    low: Notify,
}

impl Pool {
    pub(crate) fn new(size: usize) -> Self {
        Self { ready: Mutex::default(), size, filling: AtomicBool::new(false), low: Notify::new() }
    }

    fn pop(&self) -> Option<Netns> {
        let taken = self.ready.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if self.is_low() {
            self.low.notify_one();
        }
        taken
    }

    fn len(&self) -> usize {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn is_low(&self) -> bool {
        self.len() <= self.size / 2
    }

    /// Makes what is missing, one after the other, until nothing is.
    fn fill(&self) -> Result<(), Error> {
        if self.len() >= self.size {
            return Ok(());
        }
        Ok(Netns::make_until(|made| {
            let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
            ready.push(made);
            ready.len() >= self.size
        })?)
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
            if !daemon.networks.pool.is_low() {
                // Both ways lead to filling up.
                let _ = tokio::time::timeout(FILL_DELAY, daemon.networks.pool.low.notified()).await;
            }
            let worker = Arc::clone(&daemon);
            if let Err(error) = daemon.blocking.run(move || worker.networks.pool.fill()).await {
                tracing::warn!(error = %Chain(&error), "no network namespaces can be made ready");
            }
            daemon.networks.pool.filling.store(false, Ordering::Release);
        });
    }
}
