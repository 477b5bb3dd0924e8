//! What a good layer becomes on disk.

use std::fs::{self, File};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use gantry_image::unpack::{UnpackError, UnpackLimits, Unpacked, decoder, unpack};
use tar::EntryType;

use crate::archive::{Archive, gzip, zstd};

/// Unpacks through the decompressor, as a pull does.
pub(crate) fn into_folder(
    bytes: &[u8],
    folder: &Path,
    limits: UnpackLimits,
) -> Result<Unpacked, UnpackError> {
    let open = File::open(folder).expect("opens");
    let reader = decoder(bytes).map_err(|source| UnpackError::Read { source })?;
    unpack(std::io::BufReader::new(reader), open.as_fd(), limits)
}

fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = [0; 256];
    let size = rustix::fs::lgetxattr(path, name, &mut value).ok()?;
    Some(value[..size].to_vec())
}

#[test]
fn kinds_owners_modes_times_and_attributes_are_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let tar = Archive::default()
        .entry(EntryType::Directory, "./", b"", |h| h.set_mode(0o1755))
        .entry(EntryType::Directory, "bin/", b"", |h| h.set_mtime(1_234_567_890))
        .pax(&[("SCHILY.xattr.user.note", "hello"), ("mtime", "1111111111.5")])
        .entry(EntryType::Regular, "bin/su", b"root", |h| {
            h.set_mode(0o4755);
            h.set_uid(12);
            h.set_gid(34);
        })
        .hardlink("bin/su2", "bin/su")
        .symlink("sh", "/bin/su")
        .entry(EntryType::Char, "null", b"", |h| {
            h.set_device_major(1).expect("ustar");
            h.set_device_minor(3).expect("ustar");
            h.set_mode(0o666);
        })
        .entry(EntryType::Fifo, "pipe", b"", |_| {})
        .file("implied/deep/file", "x")
        .finish();
    let done = into_folder(&tar, root, UnpackLimits::default()).expect("unpacks");
    assert_eq!(done.bytes, tar.len() as u64);

    let su = fs::metadata(root.join("bin/su")).expect("is there");
    assert_eq!((su.permissions().mode() & 0o7777, su.uid(), su.gid()), (0o4755, 12, 34));
    assert_eq!((su.mtime(), su.mtime_nsec()), (1_111_111_111, 500_000_000));
    assert_eq!(su.nlink(), 2);
    assert_eq!(xattr(&root.join("bin/su"), "user.note").as_deref(), Some(&b"hello"[..]));
    assert_eq!(fs::metadata(root.join("bin")).expect("is there").mtime(), 1_234_567_890);
    assert_eq!(fs::metadata(root).expect("is there").permissions().mode() & 0o7777, 0o1755);
    assert_eq!(fs::read_link(root.join("sh")).expect("link"), Path::new("/bin/su"));
    let null = fs::metadata(root.join("null")).expect("is there");
    assert!(null.file_type().is_char_device() && null.permissions().mode() & 0o777 == 0o666);
    assert_eq!(null.rdev(), rustix::fs::makedev(1, 3));
    assert!(fs::metadata(root.join("pipe")).expect("is there").file_type().is_fifo());
    assert_eq!(fs::metadata(root.join("implied")).expect("is there").permissions().mode() & 0o777, 0o755);
}

#[test]
fn every_compression_gives_the_same_files() {
    let tar = Archive::default().file("a", &"x".repeat(100_000)).finish();
    let two_members = [gzip(&tar[..700]), gzip(&tar[700..])].concat();
    for bytes in [tar.clone(), gzip(&tar), zstd(&tar), two_members] {
        let folder = tempfile::tempdir().expect("a folder");
        into_folder(&bytes, folder.path(), UnpackLimits::default()).expect("unpacks");
        assert_eq!(fs::metadata(folder.path().join("a")).expect("is there").len(), 100_000);
    }
}

#[test]
fn whiteouts_become_what_overlayfs_reads() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let tar = Archive::default()
        .file("etc/.wh.gone", "")
        .folder("opt")
        .file("opt/.wh..wh..opq", "")
        .file("opt/kept", "x")
        .file(".wh..wh.plnk", "")
        // This layer's own names win over whiteouts, before and after.
        .file("own", "mine")
        .file(".wh.own", "")
        .file(".wh.again", "")
        .folder("again")
        .file("again/inside", "x")
        .finish();
    into_folder(&tar, root, UnpackLimits::default()).expect("unpacks");
    let gone = fs::symlink_metadata(root.join("etc/gone")).expect("is there");
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    assert_eq!(xattr(&root.join("opt"), "trusted.overlay.opaque").as_deref(), Some(&b"y"[..]));
    assert_eq!(fs::read_to_string(root.join("own")).expect("kept"), "mine");
    assert_eq!(xattr(&root.join("again"), "trusted.overlay.opaque").as_deref(), Some(&b"y"[..]));
    assert!(root.join("again/inside").exists());
    assert_eq!(fs::read_dir(root).expect("reads").count(), 4);
}

#[test]
fn a_later_entry_replaces_an_earlier_one_of_any_kind() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let tar = Archive::default()
        .file("a", "old")
        .file("a", "new")
        .file("tree/deep/file", "x")
        .file("tree", "now a file")
        .file("f", "x")
        .folder("f")
        .file("f/in", "x")
        .symlink("l", "f")
        .folder("l")
        .file("l/in", "own")
        .finish();
    into_folder(&tar, root, UnpackLimits::default()).expect("unpacks");
    assert_eq!(fs::read_to_string(root.join("a")).expect("a"), "new");
    assert_eq!(fs::read_to_string(root.join("tree")).expect("tree"), "now a file");
    assert_eq!(fs::read_to_string(root.join("f/in")).expect("f/in"), "x");
    assert!(!fs::symlink_metadata(root.join("l")).expect("l").is_symlink());
}
