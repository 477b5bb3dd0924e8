//! Flushing a file system once for everybody who asks meanwhile. Layers of one pull finish close together, and
//! syncfs costs the same for one as for ten; a caller is served by any flush that *began* after it asked.
//!
//! ```text
//!   asked:   A      B C                flush 1 serves A; B and C came while it ran, so flush 2 serves both
//!   flushes: [--1------][--2---]
//! ```
//!
//! An error is given to every caller that its flush served, and never retried: the kernel reports a lost page
//! once per descriptor and forgets it (<https://lwn.net/Articles/752063/>).

use std::os::fd::BorrowedFd;
use std::sync::{Condvar, Mutex, PoisonError};

use rustix::io::Errno;

/// The queue for one file system.
#[derive(Debug, Default)]
pub(super) struct GroupSync {
    state: Mutex<State>,
    finished: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Number of the flush that runs now.
    running: Option<u64>,
    /// Number of the last flush that ended.
    ended: u64,
    /// Failed flushes, by number.
    failed: Vec<(u64, Errno)>,
}

impl GroupSync {
    /// Blocks until a flush that began after this call has ended.
    pub(super) fn sync(&self, file_system: BorrowedFd<'_>) -> Result<(), Errno> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let serving = state.running.unwrap_or(state.ended) + 1;
        loop {
            if state.ended >= serving {
                let failure = state.failed.iter().find(|(number, _)| *number >= serving);
                return failure.map_or(Ok(()), |(_, errno)| Err(*errno));
            }
            if state.running.is_none() {
                break;
            }
            state = self.finished.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let number = state.ended + 1;
        state.running = Some(number);
        drop(state);
        let result = rustix::fs::syncfs(file_system);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.running = None;
        state.ended = number;
        if let Err(errno) = result {
            state.failed.push((number, errno));
        }
        drop(state);
        self.finished.notify_all();
        result
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::sync::Arc;

    use super::*;

    #[test]
    fn callers_that_come_together_are_all_served() {
        let folder = std::fs::File::open(".").expect("the crate's folder opens");
        let group = Arc::new(GroupSync::default());
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| group.sync(folder.as_fd()).expect("the file system flushes"));
            }
        });
        let state = group.state.lock().expect("no thread panicked");
        assert!(state.ended >= 1 && state.ended <= 16);
        assert_eq!(state.running, None);
    }

    #[test]
    fn a_failure_reaches_its_caller_and_the_next_flush_stands_alone() {
        let folder = std::fs::File::open(".").expect("the crate's folder opens");
        // syncfs(2) refuses descriptors that name a place without opening it.
        let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
        let place = rustix::fs::open(".", flags, rustix::fs::Mode::empty()).expect("a place");
        let group = GroupSync::default();
        assert_eq!(group.sync(place.as_fd()), Err(Errno::BADF));
        assert_eq!(group.sync(folder.as_fd()), Ok(()));
    }
}
