//! Which netd serves a state folder: the one that holds the lock. The kernel lets the lock go with its holder, so a
//! pid that stands in a locked file is never another process's.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use rustix::io::Errno;

use super::{FOLDER, NetdError};

/// The right to serve a state folder, held until it is dropped or its process ends.
#[derive(Debug)]
pub struct Instance {
    _lock: File,
}

impl Instance {
    /// Takes the lock of `state`, whose folder exists. Where another holds it: waits for it if `wait`, else `None`.
    pub fn take(state: &Path, wait: bool) -> Result<Option<Self>, NetdError> {
        let path = lock_path(state);
        let fail = |action| {
            let path = path.clone();
            move |errno: Errno| NetdError::File { action, path, source: errno.into() }
        };
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mut lock = File::from(open(&path, flags, Mode::from_raw_mode(0o600)).map_err(fail("open"))?);
        let operation =
            if wait { FlockOperation::LockExclusive } else { FlockOperation::NonBlockingLockExclusive };
        loop {
            match flock(&lock, operation) {
                Ok(()) => break,
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(errno) => return Err(fail("lock")(errno)),
            }
        }
        let pid = std::process::id().to_string();
        lock.set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| lock.write_all(pid.as_bytes()))
            .map_err(|source| NetdError::File { action: "write", path, source })?;
        Ok(Some(Self { _lock: lock }))
    }
}

/// The process id of the netd that serves `state` now. `None` when none does, or there is no such folder.
pub fn running(state: &Path) -> Result<Option<u32>, NetdError> {
    let path = lock_path(state);
    let fail = |action| {
        let path = path.clone();
        move |errno: Errno| NetdError::File { action, path, source: errno.into() }
    };
    let mut lock = match open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(lock) => File::from(lock),
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(fail("open")(errno)),
    };
    match flock(&lock, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(None),
        Err(Errno::WOULDBLOCK) => {
            let mut text = String::new();
            // Between the lock and the pid there is a moment in which the old one stands there, or nothing.
            let read = lock.read_to_string(&mut text);
            read.map_err(|source| NetdError::File { action: "read", path: path.clone(), source })?;
            Ok(text.trim().parse().ok())
        }
        Err(errno) => Err(fail("lock")(errno)),
    }
}

fn lock_path(state: &Path) -> PathBuf {
    state.join(FOLDER).join("lock")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netd::Folder;

    #[test]
    fn one_serves_and_is_known_by_its_pid_until_it_lets_go() {
        let state = tempfile::tempdir().expect("a temporary folder");
        assert_eq!(running(state.path()).expect("no folder yet"), None);
        Folder::create(state.path()).expect("created");
        let first = Instance::take(state.path(), false).expect("the lock is asked for");
        assert!(first.is_some());
        assert!(Instance::take(state.path(), false).expect("the lock is asked for").is_none());
        assert_eq!(running(state.path()).expect("asked"), Some(std::process::id()));
        drop(first);
        assert_eq!(running(state.path()).expect("asked"), None);
        assert!(Instance::take(state.path(), true).expect("the lock is asked for").is_some());
    }
}
