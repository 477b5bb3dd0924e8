//! Where containers are kept between two commands.
//!
//! ```text
//!  <root>/                 0711, default /run/gantry-runtime; a tmpfs: nothing is synced
//!    <id>/                 0700, made first and removed last; whoever makes it owns the id
//!      state.json          the record, replaced atomically
//!      plan                the compiled plan (protobuf): control group, hooks, namespaces, filter
//!      resources.json      what the last `update` asked, once there was one
//!      start, outcome      FIFOs of the gate: how `start` releases a created container, and what comes of it
//! ```
//!
//! The folder is opened once per command and used by descriptor. Nothing in it is visible in a container.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use gantry_runtime::plan::Plan;
use oci_spec::runtime::LinuxResources;
use prost::Message as _;
use rustix::fs::{AtFlags, Mode, OFlags};

use crate::failure::Failure;
use crate::record::{Record, Status};

const RECORD: &str = "state.json";
const PLAN: &str = "plan";
const RESOURCES: &str = "resources.json";
/// What ends the name of a file that is not whole yet.
const TEMPORARY: &str = ".tmp";
/// The FIFO that a container reads exactly while it waits for its start.
const GATE: &str = "start";
/// Bytes of an id; it is a file name.
const ID_BYTES_MAX: usize = 255;

/// The folder of all containers.
#[derive(Debug)]
pub(crate) struct Containers {
    root: PathBuf,
}

/// The folder of one container.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    descriptor: OwnedFd,
}

impl Containers {
    pub(crate) fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Makes the folder of a new container; nobody else can make it then.
    pub(crate) fn make(&self, id: &str) -> Result<Folder, Failure> {
        check_id(id)?;
        let path = self.root.join(id);
        let claim = || fs::DirBuilder::new().mode(0o700).create(&path);
        let claimed = match claim() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let root = fs::DirBuilder::new().mode(0o711).recursive(true).create(&self.root);
                root.and_then(|()| claim())
            }
            claimed => claimed,
        };
        match claimed {
            Ok(()) => Folder::open(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(Failure::Exists { id: id.to_owned() })
            }
            Err(error) => Err(Failure::file("make", path, error)),
        }
    }

    /// A container that is there, with its record.
    pub(crate) fn find(&self, id: &str) -> Result<(Folder, Record), Failure> {
        check_id(id)?;
        let unknown = || Failure::UnknownContainer { id: id.to_owned() };
        let folder = match Folder::open(self.root.join(id)) {
            Err(Failure::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Err(unknown());
            }
            opened => opened?,
        };
        match folder.record()? {
            Some(record) => Ok((folder, record)),
            None => Err(unknown()),
        }
    }

    /// The folder of an id even if it has no record: what a command that was killed left.
    pub(crate) fn remains(&self, id: &str) -> Result<Option<Folder>, Failure> {
        check_id(id)?;
        match Folder::open(self.root.join(id)) {
            Ok(folder) => Ok(Some(folder)),
            Err(Failure::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// All ids, sorted.
    pub(crate) fn ids(&self) -> Result<Vec<String>, Failure> {
        let entries = match fs::read_dir(&self.root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(|error| Failure::file("read", &self.root, error))?,
        };
        let mut ids = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| Failure::file("read", &self.root, error))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if check_id(&name).is_ok() && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                ids.push(name);
            }
        }
        ids.sort_unstable();
        Ok(ids)
    }
}

impl Folder {
    fn open(path: PathBuf) -> Result<Self, Failure> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::open(&path, flags, Mode::empty()) {
            Ok(descriptor) => Ok(Self { path, descriptor }),
            Err(errno) => Err(Failure::file("open", path, errno.into())),
        }
    }

    /// Keeps the record.
    pub(crate) fn keep_record(&self, record: &Record) -> Result<(), Failure> {
        let bytes =
            serde_json::to_vec(record).map_err(|error| Failure::json(self.path.join(RECORD), error))?;
        self.keep(RECORD, &bytes)
    }

    /// Keeps the plan.
    pub(crate) fn keep_plan(&self, plan: &Plan) -> Result<(), Failure> {
        self.keep(PLAN, &plan.encode_to_vec())
    }

    /// Keeps the limits of an update.
    pub(crate) fn keep_resources(&self, resources: &LinuxResources) -> Result<(), Failure> {
        let path = || self.path.join(RESOURCES);
        let bytes = serde_json::to_vec(resources).map_err(|error| Failure::json(path(), error))?;
        self.keep(RESOURCES, &bytes)
    }

    /// The limits of the last update, if there was one.
    pub(crate) fn resources(&self) -> Result<Option<LinuxResources>, Failure> {
        let Some(bytes) = self.bytes_of(RESOURCES)? else { return Ok(None) };
        let path = || self.path.join(RESOURCES);
        serde_json::from_slice(&bytes).map(Some).map_err(|error| Failure::json(path(), error))
    }

    /// The record; `None` before it was kept for the first time.
    pub(crate) fn record(&self) -> Result<Option<Record>, Failure> {
        let Some(bytes) = self.bytes_of(RECORD)? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|error| Failure::json(self.path.join(RECORD), error))
    }

    /// The plan.
    pub(crate) fn plan(&self) -> Result<Plan, Failure> {
        let path = || self.path.join(PLAN);
        let missing = || Failure::file("read", path(), io::ErrorKind::NotFound.into());
        let bytes = self.bytes_of(PLAN)?.ok_or_else(missing)?;
        let damaged = |_| Failure::file("decode", path(), io::ErrorKind::InvalidData.into());
        Plan::decode(&*bytes).map_err(damaged)
    }

    /// Where in its life the container is. Whether it is paused is not looked at: see `commands::status`.
    pub(crate) fn status(&self, record: &Record) -> Status {
        if record.pid == 0 {
            return Status::Creating;
        }
        if !record.is_alive() {
            return Status::Stopped;
        }
        // A container that waits has its gate open for reading; one that runs does not, whoever removed what.
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.descriptor, GATE, flags, Mode::empty()) {
            Ok(_) => Status::Created,
            Err(_) => Status::Running,
        }
    }

    /// Removes the folder with everything in it.
    pub(crate) fn remove(self) -> Result<(), Failure> {
        for name in [GATE, "outcome", RESOURCES, PLAN, RECORD] {
            match rustix::fs::unlinkat(&self.descriptor, name, AtFlags::empty()) {
                Ok(()) | Err(rustix::io::Errno::NOENT) => {}
                Err(errno) => return Err(Failure::file("remove", self.path.join(name), errno.into())),
            }
        }
        match fs::remove_dir(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                fs::remove_dir_all(&self.path).map_err(|error| Failure::file("remove", &self.path, error))
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Failure::file("remove", &self.path, error))
            }
            _ => Ok(()),
        }
    }

    fn keep(&self, name: &'static str, bytes: &[u8]) -> Result<(), Failure> {
        let temporary = format!("{name}{TEMPORARY}");
        let fail = |error: io::Error| Failure::file("write", self.path.join(name), error);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = rustix::fs::openat(&self.descriptor, &temporary, flags, mode);
        let mut file = File::from(file.map_err(|errno| fail(errno.into()))?);
        file.write_all(bytes).map_err(fail)?;
        rustix::fs::renameat(&self.descriptor, &temporary, &self.descriptor, name)
            .map_err(|errno| fail(errno.into()))
    }

    fn bytes_of(&self, name: &'static str) -> Result<Option<Vec<u8>>, Failure> {
        let fail = |error: io::Error| Failure::file("read", self.path.join(name), error);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = match rustix::fs::openat(&self.descriptor, name, flags, Mode::empty()) {
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            opened => File::from(opened.map_err(|errno| fail(errno.into()))?),
        };
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut { file }, &mut bytes).map_err(fail)?;
        Ok(Some(bytes))
    }
}

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// An id is a file name of letters, digits and `_+-.`, not a hidden one (what runc and crun take).
pub(crate) fn check_id(id: &str) -> Result<(), Failure> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_+-.".contains(&byte);
    if id.is_empty() || id.len() > ID_BYTES_MAX || id.starts_with('.') || !id.bytes().all(plain) {
        return Err(Failure::InvalidId { id: id.chars().take(ID_BYTES_MAX).collect() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_file_names_and_nothing_more() {
        for id in ["c1", "a_b+c-d.e", "x..", "0"] {
            check_id(id).expect("an id");
        }
        for id in ["", ".", "..", ".x", "a/b", "../x", "a b", "a\0", "é", &"x".repeat(256)] {
            assert!(check_id(id).is_err(), "{id:?}");
        }
    }

    #[test]
    fn an_id_has_one_owner_and_is_free_again_once_removed() {
        let root = tempfile::tempdir().expect("a folder");
        let containers = Containers::at(&root.path().join("deep/root"));
        assert!(containers.ids().expect("none").is_empty());
        let folder = containers.make("c1").expect("made");
        assert!(matches!(containers.make("c1"), Err(Failure::Exists { .. })));
        assert!(
            matches!(containers.find("c1"), Err(Failure::UnknownContainer { .. })),
            "it has no record yet"
        );
        assert_eq!(containers.ids().expect("one"), ["c1"]);
        folder.keep_plan(&Plan { init: true, ..Plan::default() }).expect("kept");
        assert!(folder.plan().expect("read").init);
        folder.remove().expect("removed");
        assert!(matches!(containers.find("c1"), Err(Failure::UnknownContainer { .. })));
    }
}
