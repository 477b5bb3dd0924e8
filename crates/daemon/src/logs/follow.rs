//! Waiting for a log to grow, by inotify(7) on its folder.

use std::io;
use std::path::Path;

use futures_util::{FutureExt, StreamExt};
use inotify::{EventStream, Inotify, WatchMask};

/// Tells when something in the folder was written or created since the last time it was asked.
pub(crate) struct Follower {
    events: EventStream<Vec<u8>>,
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Follower")
    }
}

impl Follower {
    /// Watches `folder`, which must exist. Open it before reading, so that no write falls between.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        let watch = Inotify::init()?;
        watch.watches().add(folder, WatchMask::MODIFY | WatchMask::CREATE)?;
        Ok(Self { events: watch.into_event_stream(vec![0; 4096])? })
    }

    /// Returns after the next change. Cancel safe: a change that was not seen is reported the next time.
    pub(crate) async fn changed(&mut self) -> io::Result<()> {
        let mut event = self.events.next().await;
        // All that wait already are one change.
        while let Some(seen) = event {
            seen?;
            match self.events.next().now_or_never() {
                Some(more) => event = more,
                None => return Ok(()),
            }
        }
        Ok(())
    }
}
