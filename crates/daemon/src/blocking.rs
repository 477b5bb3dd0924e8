//! The one crossing from async code to blocking kernel and disk calls. It bounds how many run at once and
//! carries the caller's tracing span; a panic in there becomes a panic of the caller, never a lost result.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tracing::Span;

/// The bounded crossing. Cloning shares the bound.
#[derive(Debug, Clone)]
pub(crate) struct Blocking {
    permits: Arc<Semaphore>,
    at_once_max: usize,
}

impl Blocking {
    pub(crate) fn new(at_once_max: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(at_once_max)), at_once_max }
    }

    /// Whether half of the places are taken.
    pub(crate) fn is_busy(&self) -> bool {
        self.permits.available_permits() < self.at_once_max / 2
    }

    /// Runs `work` on a blocking thread.
    ///
    /// Dropping the future does not stop `work`: it runs to its end and its result is dropped, so `work`
    /// must leave nothing half-done by itself.
    #[expect(clippy::disallowed_methods, reason = "this is the place that the lint points to")]
    pub(crate) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let permit = Arc::clone(&self.permits).acquire_owned().await.expect("the semaphore is never closed");
        let span = Span::current();
        let task = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            span.in_scope(work)
        });
        match task.await {
            Ok(value) => value,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}
