//! Which files changed? inotify(7) on the folders of networks and endpoints. When the kernel had more to tell than it
//! keeps, everything is read anew.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gantry_network::netd::Folder;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

/// One thing that happened to the files.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Change {
    /// This network's file was written or removed.
    Network(String),
    /// This endpoint's file was written or removed.
    Endpoint(String),
    /// Something was missed.
    Everything,
    /// The folder is gone, and with it whom to serve.
    Gone,
}

/// The watched folders.
#[derive(Debug)]
pub(crate) struct Watch {
    descriptor: OwnedFd,
    networks: i32,
    endpoints: i32,
}

impl Watch {
    /// Begins to watch; what happens from now on is told.
    pub(crate) fn new(folder: &Folder) -> io::Result<Self> {
        let descriptor = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let own = WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF | WatchFlags::ONLYDIR;
        let files = WatchFlags::MOVED_TO | WatchFlags::MOVED_FROM | WatchFlags::DELETE;
        inotify::add_watch(&descriptor, folder.path(), own)?;
        let networks = inotify::add_watch(&descriptor, folder.networks_path(), files | own)?;
        let endpoints = inotify::add_watch(&descriptor, folder.endpoints_path(), files | own)?;
        Ok(Self { descriptor, networks, endpoints })
    }

    /// What happened since the last time.
    pub(crate) fn changes(&self) -> io::Result<Vec<Change>> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.descriptor, &mut buffer);
        let mut changes = Vec::new();
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::AGAIN) => return Ok(changes),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let flags = event.events();
            if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
                changes.push(Change::Everything);
            } else if flags.intersects(ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::IGNORED) {
                changes.push(Change::Gone);
            } else if let Some(name) = event.file_name().and_then(|name| name.to_str().ok()) {
                if event.wd() == self.networks {
                    changes.push(Change::Network(name.to_owned()));
                } else if event.wd() == self.endpoints {
                    changes.push(Change::Endpoint(name.to_owned()));
                }
            }
        }
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writing_and_removing_a_file_is_told_by_its_id_and_the_folders_end_too() {
        let state = tempfile::tempdir().expect("a temporary folder");
        let folder = Folder::create(state.path()).expect("created");
        let watch = Watch::new(&folder).expect("inotify");
        assert_eq!(watch.changes().expect("read"), vec![]);
        std::fs::write(folder.path().join("x"), b"").expect("written");
        std::fs::rename(folder.path().join("x"), folder.networks_path().join("n1")).expect("renamed");
        std::fs::write(folder.path().join("x"), b"").expect("written");
        std::fs::rename(folder.path().join("x"), folder.endpoints_path().join("e1")).expect("renamed");
        std::fs::remove_file(folder.endpoints_path().join("e1")).expect("removed");
        let endpoint = Change::Endpoint("e1".to_owned());
        let expected = vec![Change::Network("n1".to_owned()), endpoint.clone(), endpoint];
        assert_eq!(watch.changes().expect("read"), expected);
        state.close().expect("removed");
        assert!(watch.changes().expect("read").contains(&Change::Gone));
    }
}
