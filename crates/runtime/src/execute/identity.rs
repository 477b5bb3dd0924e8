//! How files and descriptors get the ids that a user namespace gives them: user namespaces with nobody in them
//! as the mappings of id-mapped mounts, and the overlay whose layers are shifted. The folder that all layers
//! share is mapped once, however many they are. Before Linux 6.15 an overlay's layers must be attached somewhere, which
//! the mapped folder then is for a moment, in a mount namespace that nobody else sees.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use gantry_linux::mount::{self, AttributeChange};
use gantry_linux::namespace::make_user_namespace;
use gantry_linux::proc::ProcFs;
use gantry_linux::process::with_file_ids;
use gantry_linux::{Errno, SyscallError, overlay};
use rustix::fs::{Mode, OFlags};

use super::prepare::mount_overlay_in;
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
    /// Where that folder is.
    base: CString,
    mapped: OwnedFd,
    overlay: Overlay,
    owner: (u32, u32),
}

impl Shifted {
    /// Mounts it as the user and group that own its upper folder through the mapping: others cannot make files
    /// there.
    pub(super) fn mount(&self) -> Result<OwnedFd, SyscallError> {
        match self.mount_in(false) {
            // What a kernel says that does not take layers on a detached mount.
            Err(error) if error.errno == Errno::INVAL => self.mount_apart(),
            mounted => mounted,
        }
    }

    fn mount_apart(&self) -> Result<OwnedFd, SyscallError> {
        overlay::apart(|| {
            mount::attach_at(self.mapped.as_fd(), &self.base)?;
            self.mount_in(true)
        })
    }

    fn mount_in(&self, is_apart: bool) -> Result<OwnedFd, SyscallError> {
        let (uid, gid) = self.owner;
        with_file_ids(uid, gid, || mount_overlay_in(&self.overlay, is_apart))?
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
    let place = CString::new(base.as_str()).map_err(|_| fail(Errno::INVAL))?;
    Ok(Shifted { base: place, mapped, overlay: shifted, owner: (status.st_uid, status.st_gid) })
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
    use std::os::unix::fs::MetadataExt;

    use super::*;

    /// What kernels before 6.15 need, with one layer and with more than a context takes in one string.
    #[test]
    #[expect(clippy::print_stdout, reason = "a skipped test says so")]
    fn an_overlay_of_mapped_layers_can_be_mounted_apart() {
        if !rustix::process::geteuid().is_root() {
            println!("SKIP: needs root");
            return;
        }
        let base = tempfile::tempdir().expect("a temporary folder");
        let folder = |name: &str| {
            let path = base.path().join(name);
            std::fs::create_dir(&path).expect("create_dir");
            path.to_string_lossy().into_owned()
        };
        let mut mappings = Mappings::new(None, None);
        let range = crate::plan::IdRange { inside: 0, outside: 700_000, count: 10 };
        let map = IdMap { users: vec![range], groups: vec![range] };
        let namespace = mappings.of(Some(&map)).expect("a mapping");
        let layers: Vec<String> =
            (0..12).map(|number| folder(&format!("a-layer-with-a-long-name-{number}"))).collect();
        std::fs::write(format!("{}/file", layers[0]), "below").expect("write");
        for (number, lower) in [&layers[..1], &layers[..]].into_iter().enumerate() {
            let (upper, work) = (folder(&format!("upper{number}")), folder(&format!("work{number}")));
            let overlay = Overlay { lower: lower.to_vec(), upper: upper.clone(), work, ..Overlay::default() };
            let mounted = shifted(&overlay, namespace).expect("mapped").mount_apart().expect("mounted");
            let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
            let seen = rustix::fs::statat(&mounted, "file", rustix::fs::AtFlags::empty()).expect("there");
            assert_eq!((seen.st_uid, seen.st_gid), (700_000, 700_000), "{number}");
            // As the container's root, whom the host's own does not stand for here.
            let made = with_file_ids(700_000, 700_000, || {
                rustix::fs::openat(&mounted, "made", flags, Mode::from_raw_mode(0o644)).map(drop)
            });
            made.expect("changed ids").expect("made");
            let on_disk = std::fs::metadata(format!("{upper}/made")).expect("in the upper folder");
            assert_eq!((on_disk.uid(), on_disk.gid()), (0, 0), "{number}");
        }
        let table = std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
        assert!(!table.contains(&*base.path().to_string_lossy()), "{table}");
    }

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
