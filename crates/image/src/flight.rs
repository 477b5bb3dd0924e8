//! One blob, one download, however many pulls want it: a turn per digest. Whoever waited looks again when it
//! gets the turn and finds the blob there; when the first one failed, the next goes on from what it left. So a cancelled or
//! broken pull never takes others down with it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use gantry_types::Digest;
use tokio::sync::{Mutex as Turn, OwnedMutexGuard};

/// The turns of all blobs that are on their way.
#[derive(Debug, Default, Clone)]
pub(crate) struct Flights {
    turns: Arc<Mutex<HashMap<Digest, Arc<Turn<()>>>>>,
}

/// The right to fetch one blob.
#[derive(Debug)]
pub(crate) struct Flight {
    turns: Arc<Mutex<HashMap<Digest, Arc<Turn<()>>>>>,
    digest: Digest,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Flights {
    /// Waits for the turn. Cancel safe: giving up the wait gives up the place in the queue.
    pub(crate) async fn enter(&self, digest: &Digest) -> Flight {
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(turns.entry(digest.clone()).or_default())
        };
        let guard = turn.lock_owned().await;
        Flight { turns: Arc::clone(&self.turns), digest: digest.clone(), guard: Some(guard) }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        self.guard = None;
        // Nobody else holds or awaits it when the map's is the only reference.
        if turns.get(&self.digest).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            turns.remove(&self.digest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn turns_come_one_at_a_time_and_nothing_stays() {
        let flights = Flights::default();
        let digest = Digest::sha256(&[1; 32]);
        let first = flights.enter(&digest).await;
        let waiting = tokio::spawn({
            let (flights, digest) = (flights.clone(), digest.clone());
            async move { drop(flights.enter(&digest).await) }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(first);
        waiting.await.expect("no panic");
        assert!(flights.turns.lock().expect("sound").is_empty());
    }
}
