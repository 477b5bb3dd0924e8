//! Reading a container's user databases without mounting anything: a file is looked up layer by layer, top
//! first, by overlayfs's own rules for what hides what (kernel documentation, filesystems/overlayfs). Where
//! `/etc` or the file is a symbolic link, the layers are mounted for a moment and the kernel resolves it.
//!
//! It is the container's root filesystem as it is on disk, the same for a start and for an exec; what the
//! container mounts over it is its own business.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use gantry_linux::mount::MountAttributes;
use gantry_linux::overlay::Overlay;
use gantry_linux::{Errno, RootDir, SyscallError};
use gantry_runtime::user::{ResolvedUser, UserDatabases, resolve};
use gantry_snapshot::Rootfs;
use gantry_types::USER_DATABASE_BYTES_MAX;
use rustix::fs::{FileType, Stat, fstat};

use crate::error::Error;

/// Where the two databases are.
const FOLDER: &str = "etc";
const PASSWD: &str = "passwd";
const GROUP: &str = "group";

/// Resolves `user` and the `additional` groups against the databases in `rootfs`.
pub(crate) fn look_up(rootfs: &Rootfs, user: &str, additional: &[String]) -> Result<ResolvedUser, Error> {
    let mut layers = vec![rootfs.upper.clone()];
    layers.extend_from_slice(&rootfs.lower);
    let passwd = read(&layers, PASSWD)?;
    let group = read(&layers, GROUP)?;
    Ok(resolve(user, additional, UserDatabases { passwd: &passwd, group: &group })?)
}

/// The bytes of `/etc/<name>`; empty when there is none.
fn read(layers: &[PathBuf], name: &str) -> Result<Vec<u8>, Error> {
    for layer in layers {
        match look(layer, name)? {
            Found::Nothing => {}
            Found::Hidden => return Ok(Vec::new()),
            Found::File(file) => return Ok(gantry_linux::path::read_bounded(file, USER_DATABASE_BYTES_MAX)?),
            Found::Link => return read_mounted(layers, name),
        }
    }
    Ok(Vec::new())
}

/// What one layer says about a file.
enum Found {
    /// Nothing: the layer below decides.
    Nothing,
    /// That it is not there, whatever is below.
    Hidden,
    /// This is it.
    File(OwnedFd),
    /// A symbolic link on the way.
    Link,
}

fn look(layer: &Path, name: &str) -> Result<Found, Error> {
    let root = RootDir::open_host(layer)?;
    let Some(folder) = present(root.open_no_follow(FOLDER))? else { return Ok(Found::Nothing) };
    match kind(&fstat(&folder).map_err(gantry_linux_error)?) {
        Kind::Folder => {}
        Kind::Link => return Ok(Found::Link),
        Kind::Whiteout | Kind::File | Kind::Other => return Ok(Found::Hidden),
    }
    let opaque = is_opaque(&root)?;
    let folder = RootDir::new(folder);
    let below = if opaque { Found::Hidden } else { Found::Nothing };
    let Some(file) = present(folder.open_no_follow(name))? else { return Ok(below) };
    Ok(match kind(&fstat(&file).map_err(gantry_linux_error)?) {
        Kind::File => Found::File(folder.open_file(name)?),
        Kind::Link => Found::Link,
        Kind::Whiteout | Kind::Folder | Kind::Other => Found::Hidden,
    })
}

/// The file as the kernel finds it in the stack of layers.
fn read_mounted(layers: &[PathBuf], name: &str) -> Result<Vec<u8>, Error> {
    let lower: Vec<&str> = layers.iter().filter_map(|layer| layer.to_str()).collect();
    let mount = Overlay { lower: &lower, ..Overlay::default() }.mount(MountAttributes::empty())?;
    let root = RootDir::new(mount);
    match present(root.open_file(PathBuf::from(FOLDER).join(name)))? {
        Some(file) => Ok(gantry_linux::path::read_bounded(file, USER_DATABASE_BYTES_MAX)?),
        None => Ok(Vec::new()),
    }
}

/// A missing file is no error.
fn present(opened: Result<OwnedFd, SyscallError>) -> Result<Option<OwnedFd>, Error> {
    match opened {
        Ok(descriptor) => Ok(Some(descriptor)),
        Err(error) if matches!(error.errno, Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

enum Kind {
    Folder,
    File,
    Link,
    Whiteout,
    Other,
}

fn kind(stat: &Stat) -> Kind {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Kind::Folder,
        FileType::RegularFile => Kind::File,
        FileType::Symlink => Kind::Link,
        FileType::CharacterDevice if stat.st_rdev == 0 => Kind::Whiteout,
        FileType::CharacterDevice
        | FileType::BlockDevice
        | FileType::Fifo
        | FileType::Socket
        | FileType::Unknown => Kind::Other,
    }
}

/// Whether the folder hides everything below it.
fn is_opaque(root: &RootDir) -> Result<bool, Error> {
    let folder = root.open_with(FOLDER, rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY, 0)?;
    let mut value = [0_u8; 4];
    match rustix::fs::fgetxattr(folder.as_fd(), "trusted.overlay.opaque", &mut value) {
        Ok(length) => Ok(value.get(..length) == Some(b"y")),
        Err(_) => Ok(false),
    }
}

fn gantry_linux_error(errno: Errno) -> Error {
    Error::Io { action: "look at a container's user database", source: errno.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(parent: &Path, name: &str, passwd: Option<&str>) -> PathBuf {
        let path = parent.join(name);
        std::fs::create_dir_all(path.join(FOLDER)).expect("a layer");
        if let Some(passwd) = passwd {
            std::fs::write(path.join(FOLDER).join(PASSWD), passwd).expect("a database");
        }
        path
    }

    #[test]
    fn the_topmost_database_counts_and_a_missing_one_is_empty() {
        let folder = tempfile::tempdir().expect("a temp folder");
        let base = layer(folder.path(), "base", Some("app:x:7:8::/old:/bin/sh\n"));
        let top = layer(folder.path(), "top", Some("app:x:9:9::/new:/bin/sh\n"));
        let upper = folder.path().join("upper");
        std::fs::create_dir(&upper).expect("an upper");
        let mut rootfs =
            Rootfs { lower: vec![top, base.clone()], upper: upper.clone(), work: PathBuf::new() };
        assert_eq!(look_up(&rootfs, "app", &[]).expect("known").uid, 9);
        rootfs.lower = vec![base];
        assert_eq!(look_up(&rootfs, "app", &[]).expect("known").home, "/old");
        rootfs.lower = vec![upper.clone()];
        assert!(look_up(&rootfs, "app", &[]).is_err());
        assert_eq!(look_up(&rootfs, "5", &[]).expect("a number").uid, 5);
    }

    #[test]
    fn a_link_out_of_the_root_finds_nothing_of_the_host() {
        let folder = tempfile::tempdir().expect("a temp folder");
        let base = layer(folder.path(), "base", None);
        let other = layer(folder.path(), "other", None);
        std::os::unix::fs::symlink("/../../../../etc/passwd", base.join(FOLDER).join(PASSWD))
            .expect("a link");
        if !rustix::process::geteuid().is_root() {
            std::io::Write::write_all(&mut std::io::stderr(), b"SKIP: mounting an overlay needs root\n")
                .expect("standard error is open");
            return;
        }
        // The link leads to itself within the root: the kernel refuses, and the host's root is not found.
        let found = read(&[base, other], PASSWD);
        assert!(!found.is_ok_and(|bytes| bytes.starts_with(b"root:")));
    }
}
