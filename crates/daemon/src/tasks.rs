//! The owner of every task the daemon spawns: each has a name and a span, all are told to end by one
//! token, and shutdown waits for them until a deadline.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

/// How long shutdown waits for tasks that were told to end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Cloning shares the owner.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    cancel: CancellationToken,
}

impl Tasks {
    /// Spawns `work` under `name`. It must end by itself soon after [`Self::cancelled`] resolves.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.tracker.spawn(work.instrument(tracing::debug_span!("task", name)))
    }

    /// Resolves when everything is to end. Cancel safe.
    pub(crate) async fn cancelled(&self) {
        self.cancel.cancelled().await;
    }

    /// The token behind [`Self::cancelled`].
    pub(crate) fn token(&self) -> &CancellationToken {
        &self.cancel
    }

    /// Tells all tasks to end and waits for them; false when some did not by the deadline.
    pub(crate) async fn drain(&self) -> bool {
        self.cancel.cancel();
        self.tracker.close();
        tokio::time::timeout(DRAIN_TIMEOUT, self.tracker.wait()).await.is_ok()
    }
}
