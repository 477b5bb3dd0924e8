//! How files and descriptors get the ids that a user namespace gives them: user namespaces with nobody in them
//! as the mappings of id-mapped mounts, and the overlay whose layers are shifted. The folder that all layers
//! share is mapped once, however many they are. An overlay on a detached mount needs Linux 6.15.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use gantry_linux::mount::{self, AttributeChange};
use gantry_linux::namespace::make_user_namespace;
use gantry_linux::proc::ProcFs;
use gantry_linux::process::with_file_ids;
use gantry_linux::{Errno, SyscallError};
use rustix::fs::{Mode, OFlags};

use super::{ExecuteError, Operation};
use crate::plan::{IdMap, Overlay};

/// The user namespaces that stand for mappings, each made once.
pub(super) struct Mappings {
    own: Option<IdMap>,
    /// The user namespace that is joined, when there is one.
    joined: Option<OwnedFd>,
    made: Vec<(IdMap, OwnedFd)>,
}

impl Mappings {
    pub(super) fn new(own: Option<&IdMap>, joined: Option<OwnedFd>) -> Self {
        Self { own: own.cloned(), joined, made: Vec::new() }
    }

    /// The namespace of a mapping, or of the container's own one.
    pub(super) fn of(&mut self, map: Option<&IdMap>) -> Result<BorrowedFd<'_>, ExecuteError> {
        let fail = |errno| ExecuteError::new(Operation::IdMap, "", errno);
        let map = match (map, &self.own) {
            (Some(map), _) | (None, Some(map)) => map.clone(),
            (None, None) => return self.joined.as_ref().map(AsFd::as_fd).ok_or_else(|| fail(Errno::INVAL)),
        };
        let known = self.made.iter().position(|(known, _)| *known == map);
        let at = known.unwrap_or(self.made.len());
        if known.is_none() {
            let (users, groups) = (map.users_text(), map.groups_text());
            let made = ProcFs::open().and_then(|proc| make_user_namespace(&proc, &users, &groups));
            let made =
                made.map_err(|error| ExecuteError::new(Operation::IdMap, error.to_string(), error.errno))?;
            self.made.push((map, made));
        }
        Ok(self.made[at].1.as_fd())
    }
}

/// Maps a detached mount.
pub(super) fn shift(
    tree: BorrowedFd<'_>,
    namespace: BorrowedFd<'_>,
    recursive: bool,
) -> Result<(), SyscallError> {
    let change = AttributeChange { id_map: Some(namespace), recursive, ..AttributeChange::default() };
    mount::set_attributes(tree, &change)
}

/// An overlay whose folders are beneath a mapped copy of the folder that they share.
pub(super) struct Shifted {
    /// Open until the overlay is mounted.
    _base: OwnedFd,
    overlay: Overlay,
    owner: (u32, u32),
}

impl Shifted {
    /// Mounts it as the user and group that own its upper folder through the mapping: others cannot make files
    /// there.
    pub(super) fn mount<T, E>(
        &self,
        mount: impl FnOnce(&Overlay) -> Result<T, E>,
    ) -> Result<Result<T, E>, SyscallError> {
        let (uid, gid) = self.owner;
        with_file_ids(uid, gid, || mount(&self.overlay))
    }
}

/// Moves an overlay's folders there.
pub(super) fn shifted(overlay: &Overlay, namespace: BorrowedFd<'_>) -> Result<Shifted, ExecuteError> {
    let paths =
        || overlay.lower.iter().chain([&overlay.upper, &overlay.work]).filter(|path| !path.is_empty());
    let base = shared_folder(paths());
    let fail = |errno| ExecuteError::new(Operation::IdMap, &base, errno);
    let folder = rustix::fs::open(&base, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(fail)?;
    let mapped = mount::clone_tree(folder.as_fd(), false).map_err(|error| fail(error.errno))?;
    shift(mapped.as_fd(), namespace, false).map_err(|error| fail(error.errno))?;
    let prefix = format!("/proc/self/fd/{}", mapped.as_raw_fd());
    let moved = |path: &String| match path.strip_prefix(&base) {
        Some(rest) if !path.is_empty() => format!("{prefix}/{}", rest.trim_start_matches('/')),
        _ => path.clone(),
    };
    let shifted = Overlay {
        lower: overlay.lower.iter().map(moved).collect(),
        upper: moved(&overlay.upper),
        work: moved(&overlay.work),
        ..overlay.clone()
    };
    let top = if shifted.upper.is_empty() { &prefix } else { &shifted.upper };
    let status = rustix::fs::stat(top).map_err(fail)?;
    Ok(Shifted { _base: mapped, overlay: shifted, owner: (status.st_uid, status.st_gid) })
}

/// The deepest folder that all paths are beneath, or are.
fn shared_folder<'a>(mut paths: impl Iterator<Item = &'a String>) -> String {
    let Some(first) = paths.next() else { return "/".to_owned() };
    let mut shared: Vec<&str> = first.split('/').collect();
    for path in paths {
        let same = shared.iter().zip(path.split('/')).take_while(|(one, other)| *one == other).count();
        shared.truncate(same);
    }
    let joined = shared.join("/");
    if joined.is_empty() { "/".to_owned() } else { joined }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shared_folder_is_the_deepest() {
        let shared = |paths: &[&str]| {
            let paths: Vec<String> = paths.iter().map(|&path| path.to_owned()).collect();
            shared_folder(paths.iter())
        };
        assert_eq!(shared(&["/a/b/1/fs", "/a/b/2/fs", "/a/b/2/work"]), "/a/b");
        assert_eq!(shared(&["/a/bc", "/a/bd"]), "/a");
        assert_eq!(shared(&["/a", "/b"]), "/");
        assert_eq!(shared(&["/a/b"]), "/a/b");
    }
}
