//! When does memory that was freed go back to the kernel? The allocator keeps what a pull or a burst of starts took, in
//! pieces that it may need again; a daemon that idles needs none of it. A while after something was done it is given
//! back, once, off the path of any request. Nothing wakes a daemon that does nothing.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::assemble::Daemon;

/// From the work to the trim: longer than a blocking thread is kept without work (10 s), whose memory is then free too.
const DELAY: Duration = Duration::from_secs(12);

/// Whoever did something tells of it here. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Heap {
    used: Arc<Notify>,
}

impl Heap {
    /// Memory was taken and freed again. Costs next to nothing.
    pub(crate) fn used(&self) {
        self.used.notify_one();
    }
}

/// Trims the heap after work, until the daemon ends.
pub(crate) fn keep_small(daemon: &Arc<Daemon>) {
    let (heap, blocking, tasks) = (daemon.heap.clone(), daemon.blocking.clone(), daemon.tasks.clone());
    daemon.tasks.spawn("heap", async move {
        let trimming = async {
            loop {
                heap.used.notified().await;
                // What is told meanwhile may end after the trim, and gets one of its own.
                tokio::time::sleep(DELAY).await;
                blocking.run(gantry_linux::memory::trim_heap).await;
            }
        };
        tokio::select! {
            () = tasks.cancelled() => {}
            () = trimming => {}
        }
    });
}
