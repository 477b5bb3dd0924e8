//! Harness A1: tars made to leave their folder, to be read in two ways, or to exhaust the machine. Every case has a
//! canary outside the folder that must stay as it was.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use gantry_image::unpack::{UnpackError, UnpackLimits};
use tar::EntryType;

use crate::archive::{Archive, gzip, zstd};
use crate::unpacking::into_folder;

const SMALL: UnpackLimits = UnpackLimits { bytes_max: 4 << 20, entries_max: 1000 };

/// Unpacks beside a canary and says what came of it.
fn beside_canary(tar: &[u8]) -> (Result<(), UnpackError>, tempfile::TempDir) {
    let outer = tempfile::tempdir().expect("a folder");
    let canary = outer.path().join("canary");
    fs::create_dir(&canary).expect("canary");
    fs::write(canary.join("file"), "alive").expect("canary");
    fs::create_dir(outer.path().join("layer")).expect("layer");
    let before = look(&canary);
    let result = into_folder(tar, &outer.path().join("layer"), SMALL);
    assert_eq!(look(&canary), before, "the canary changed");
    assert_eq!(fs::read_dir(outer.path()).expect("reads").count(), 2, "something was made outside");
    (result.map(|_| ()), outer)
}

fn look(canary: &Path) -> Vec<(String, u32, u32, i64, u64, String)> {
    let mut seen = Vec::new();
    for path in [canary.to_owned(), canary.join("file")] {
        let meta = fs::symlink_metadata(&path).expect("the canary is there");
        let text = fs::read_to_string(&path).unwrap_or_default();
        seen.push((path.display().to_string(), meta.mode(), meta.uid(), meta.mtime(), meta.nlink(), text));
    }
    assert_eq!(fs::read_dir(canary).expect("reads").count(), 1);
    seen
}

#[test]
fn names_that_climb_are_refused() {
    for name in ["../canary/file", "a/../../canary/file", "..", "/../canary/file"] {
        let (result, _outer) = beside_canary(&Archive::default().file(name, "dead").finish());
        assert!(matches!(result, Err(UnpackError::Name { .. })), "{name}: {result:?}");
    }
}

#[test]
fn links_of_the_archive_stay_inside_whatever_they_say() {
    let outside = ["../canary", "/proc/self/cwd", "/proc/self/root", "../../../../../../etc"];
    for target in outside {
        let tars = [
            Archive::default().symlink("out", target).file("out/file", "dead"),
            Archive::default().symlink("out", target).folder("out").file("out/file", "x"),
            Archive::default().symlink("out", target).file("out", "x"),
            Archive::default().symlink("a", "out").symlink("out", target).file("a/file", "dead"),
            Archive::default()
                .symlink("out", target)
                .entry(EntryType::Directory, "out", b"", |h| h.set_mode(0o777)),
            Archive::default().symlink("out", target).hardlink("h", "out/file").file("h", "dead"),
            Archive::default().symlink("out", target).hardlink("h", "out").file("h/file", "dead"),
            Archive::default().symlink("out", target).file("out/.wh.file", ""),
            Archive::default().symlink("out", target).file("out/.wh..wh..opq", ""),
        ];
        for tar in tars {
            // Refused or placed inside; the canary decides.
            let _ = beside_canary(&tar.finish());
        }
    }
}

#[test]
fn an_absolute_link_is_resolved_inside_the_layer() {
    let tar = Archive::default().folder("etc").symlink("x", "/etc").file("x/passwd", "inside").finish();
    let (result, outer) = beside_canary(&tar);
    result.expect("unpacks");
    assert_eq!(fs::read_to_string(outer.path().join("layer/etc/passwd")).expect("inside"), "inside");
}

#[test]
fn hard_links_reach_only_earlier_entries_of_the_layer() {
    for target in ["canary/file", "../canary/file", "/etc/passwd", "", ".", "folder", "white"] {
        let tar = Archive::default().folder("folder").file(".wh.white", "").hardlink("h", target).finish();
        let (result, _outer) = beside_canary(&tar);
        assert!(
            matches!(result, Err(UnpackError::LinkTarget { .. } | UnpackError::Name { .. })),
            "{target}: {result:?}"
        );
    }
}

#[test]
fn attributes_of_a_hard_link_do_not_pass_through_a_symbolic_link() {
    let tar = Archive::default()
        .symlink("s", "../canary/file")
        .hardlink("h", "s")
        .entry(EntryType::Link, "h2", b"", |h| {
            h.as_mut_bytes()[157..158].copy_from_slice(b"h");
            h.set_mode(0o777);
            h.set_uid(1000);
        })
        .finish();
    beside_canary(&tar).0.expect("links to links are links");
}

#[test]
fn the_root_can_only_be_a_folder() {
    for name in [".", "/", "./"] {
        let symlink = Archive::default().symlink(name, "../canary").file("file", "dead");
        let hardlink = Archive::default().file("a", "x").hardlink(name, "a");
        let device = Archive::default().entry(EntryType::Char, name, b"", |_| {});
        for tar in [symlink, hardlink, device] {
            assert!(beside_canary(&tar.finish()).0.is_err(), "{name}");
        }
    }
}

#[test]
fn a_size_told_twice_and_differently_is_refused() {
    let hidden = Archive::default().file("smuggled", "x").unfinished();
    let tars = [
        Archive::default().pax(&[("size", "1024")]).entry(EntryType::Regular, "a", b"", |_| {}).raw(&hidden),
        Archive::default().pax(&[("size", "0")]).entry(EntryType::Regular, "a", &hidden, |_| {}),
        Archive::default().entry(EntryType::Directory, "a", &hidden, |_| {}),
        Archive::default().entry(EntryType::Symlink, "a", &hidden, |h| h.as_mut_bytes()[157] = b'b'),
        Archive::default().entry(EntryType::Regular, "a/", &hidden, |_| {}),
    ];
    for tar in tars {
        let (result, _outer) = beside_canary(&tar.finish());
        assert!(matches!(result, Err(UnpackError::Disagreement { .. })), "{result:?}");
    }
}

#[test]
fn a_name_told_twice_and_differently_is_refused() {
    let long = |name: &'static [u8]| move |a: Archive| a.entry(EntryType::GNULongName, "long", name, |_| {});
    let both = long(b"one\0")(Archive::default()).pax(&[("path", "two")]).file("three", "");
    assert!(matches!(beside_canary(&both.finish()).0, Err(UnpackError::Disagreement { .. })));
    let twice = long(b"two\0")(long(b"one\0")(Archive::default())).file("three", "");
    assert!(matches!(beside_canary(&twice.finish()).0, Err(UnpackError::Header { .. })));
    let nothing_follows = long(b"one\0")(Archive::default());
    assert!(matches!(beside_canary(&nothing_follows.finish()).0, Err(UnpackError::Truncated)));
}

/// What the differential test (`unpack/differential`) has found, one case each.
#[test]
fn what_another_reader_would_call_otherwise_is_refused() {
    // GNU's and old headers have no prefix; Python's tarfile reads one all the same.
    for magic in [&b"ustar  \0"[..], &[0; 8]] {
        let prefixed = Archive::default().entry(EntryType::Regular, "a", b"", |h| {
            h.as_mut_bytes()[257..265].copy_from_slice(magic);
            h.as_mut_bytes()[345..348].copy_from_slice(b"pre");
        });
        assert!(matches!(beside_canary(&prefixed.finish()).0, Err(UnpackError::Disagreement { .. })));
    }
    // The slash that makes a folder, in one of the two names.
    let slash = |kind: u8| {
        let pax = Archive::default().pax(&[("path", "a/\u{e9}")]);
        pax.entry(EntryType::Regular, "a/", b"", |h| h.as_mut_bytes()[156] = kind)
    };
    beside_canary(&slash(b'0').finish()).0.expect("what Go's archive/tar writes for a name beyond ASCII");
    let slash = slash(0);
    assert!(matches!(beside_canary(&slash.finish()).0, Err(UnpackError::Disagreement { .. })));
    // Bytes behind a long name's end, which the tar crate takes for part of it.
    let more = Archive::default().entry(EntryType::GNULongName, "l", b"one\0more\0", |_| {}).file("a", "");
    assert!(matches!(beside_canary(&more.finish()).0, Err(UnpackError::Header { .. })));
    // A record inside a value, which readers that go by lines see; and one without a key, at which Python stops.
    for record in [("comment", "x\n10 path=y"), ("", "5")] {
        let odd = Archive::default().pax(&[record, ("path", "b")]).file("a", "");
        assert!(matches!(beside_canary(&odd.finish()).0, Err(UnpackError::Header { .. })), "{record:?}");
    }
}

#[test]
fn entries_hidden_behind_the_end_are_refused() {
    let after_one_zero_block = Archive::default().raw(&[0; 512]).file("hidden", "x").finish();
    let after_the_end =
        [Archive::default().finish(), Archive::default().file("hidden", "x").finish()].concat();
    for tar in [after_one_zero_block, after_the_end] {
        assert!(matches!(beside_canary(&tar).0, Err(UnpackError::Header { .. })));
    }
}

#[test]
fn global_headers_that_rename_or_resize_are_refused() {
    let tar = Archive::default().entry(EntryType::XGlobalHeader, "g", b"9 path=b\n", |_| {}).file("a", "x");
    assert!(matches!(beside_canary(&tar.finish()).0, Err(UnpackError::Header { .. })));
    let comment =
        Archive::default().entry(EntryType::XGlobalHeader, "g", b"13 comment=x\n", |_| {}).file("a", "x");
    beside_canary(&comment.finish()).0.expect("a comment harms nobody");
}

#[test]
fn kinds_that_layers_do_not_have_are_refused() {
    for kind in [EntryType::GNUSparse, EntryType::Continuous, EntryType::new(b'Z'), EntryType::new(b'V')] {
        let result = beside_canary(&Archive::default().entry(kind, "a", b"", |_| {}).finish()).0;
        // '7' is an ordinary file to everybody.
        assert_eq!(result.is_ok(), kind.is_contiguous(), "{kind:?}");
    }
    let sparse =
        Archive::default().pax(&[("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0")]).file("a", "x");
    assert!(matches!(beside_canary(&sparse.finish()).0, Err(UnpackError::Kind { .. })));
}

#[test]
fn strange_whiteouts_are_refused() {
    for name in [".wh.", ".wh..", ".wh...", "a/.wh.", ".wh.x/file", "a/.wh.b/c"] {
        let result = beside_canary(&Archive::default().file(name, "").finish()).0;
        assert!(matches!(result, Err(UnpackError::Name { .. })), "{name}: {result:?}");
    }
    let device = Archive::default().entry(EntryType::Char, "etc", b"", |_| {});
    assert!(matches!(beside_canary(&device.finish()).0, Err(UnpackError::Name { .. })));
}

#[test]
fn attributes_of_overlayfs_are_not_taken_from_a_layer() {
    let names = ["trusted.overlay.opaque", "trusted.overlay.redirect", "user.overlay.opaque", "trusted.x"];
    for name in names {
        let record = format!("SCHILY.xattr.{name}");
        let (result, outer) = beside_canary(&Archive::default().pax(&[(&record, "y")]).folder("a").finish());
        result.expect("dropped, not refused");
        let mut value = [0; 8];
        assert!(rustix::fs::lgetxattr(outer.path().join("layer/a"), name, &mut value).is_err(), "{name}");
    }
}

#[test]
fn bombs_end_at_the_limit() {
    let zeros = Archive::default().entry(EntryType::Regular, "a", &vec![0; 8 << 20], |_| {}).finish();
    let padding = [Archive::default().file("a", "x").finish(), vec![0; 8 << 20]].concat();
    for bytes in [zeros.clone(), gzip(&zeros), zstd(&zeros), gzip(&padding)] {
        assert!(matches!(beside_canary(&bytes).0, Err(UnpackError::TooLarge { bytes_max: 4_194_304 })));
    }
    let declared =
        Archive::default().entry(EntryType::Regular, "a", b"", |h| h.set_size(1 << 40)).unfinished();
    assert!(matches!(beside_canary(&declared).0, Err(UnpackError::TooLarge { .. })));
    let mut many = Archive::default();
    for _ in 0..1001 {
        many = many.file("a", "");
    }
    assert!(matches!(beside_canary(&many.finish()).0, Err(UnpackError::TooMany { entries_max: 1000 })));
    let header = Archive::default().entry(EntryType::XHeader, "x", &vec![b'1'; 2 << 20], |_| {}).finish();
    assert!(matches!(beside_canary(&header).0, Err(UnpackError::Header { .. })));
    let name = Archive::default().entry(EntryType::GNULongName, "x", &vec![b'a'; 8192], |_| {}).finish();
    assert!(matches!(beside_canary(&name).0, Err(UnpackError::Header { .. })));
}

#[test]
fn a_zstd_window_of_gigabytes_is_refused_before_it_is_allocated() {
    // Magic, no options, a window of 2 GiB (RFC 8878 section 3.1.1.1.2), and one last raw block of a byte.
    let frame = [&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3][..], &[0x09, 0x00, 0x00], b"x"].concat();
    assert!(matches!(beside_canary(&frame).0, Err(UnpackError::Read { .. })));
    // The same frame with the smallest window is read, and is no tar.
    let small = [&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 0][..], &[0x09, 0x00, 0x00], b"x"].concat();
    assert!(matches!(beside_canary(&small).0, Err(UnpackError::Truncated)));
}

#[test]
fn cut_and_garbled_streams_end_with_an_error() {
    let tar = Archive::default().file("a", &"text ".repeat(5000)).folder("b").finish();
    for whole in [tar.clone(), gzip(&tar), zstd(&tar)] {
        for at in [1, 3, 10, whole.len() / 2, whole.len() - 1100.min(whole.len() - 4)] {
            let cut = &whole[..at.min(whole.len() - 1)];
            let garbled =
                [&whole[..at.min(whole.len())], b"garbage that is no archive at all".as_slice()].concat();
            for bytes in [cut, &garbled] {
                // A cut at a block's edge of a plain tar is a shorter tar; the diff id refuses it later.
                let _ = beside_canary(bytes);
            }
        }
    }
    assert!(matches!(beside_canary(&gzip(&tar)[..60]).0, Err(UnpackError::Read { .. })));
    assert!(matches!(beside_canary(&tar[..700]).0, Err(UnpackError::Truncated)));
}
