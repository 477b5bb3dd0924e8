//! One entry of a layer, checked: its name is relative and clean, its kind is known, its numbers fit.

use super::UnpackError;
use super::error::shown;

const NAME_BYTES_MAX: usize = 255;
const PATH_BYTES_MAX: usize = 4095;

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    File {
        size: u64,
    },
    Folder,
    Symlink {
        target: Vec<u8>,
    },
    /// The target is a clean path, like a name.
    Hardlink {
        target: Vec<u8>,
    },
    CharDevice {
        major: u32,
        minor: u32,
    },
    BlockDevice {
        major: u32,
        minor: u32,
    },
    Fifo,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Components joined by `/`, without `.`, `..` and leading slash; empty for the root.
    pub(crate) path: Vec<u8>,
    pub(crate) kind: Kind,
    /// Permission bits with set-user-id, set-group-id and sticky.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Seconds and nanoseconds.
    pub(super) mtime: (i64, u32),
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Cleans a path of the archive. A `..` is refused even where it would stay inside: no tool that makes layers
/// writes one.
pub(super) fn clean(path: &[u8]) -> Result<Vec<u8>, UnpackError> {
    let refuse = |rule| UnpackError::Name { entry: shown(path), rule };
    if path.contains(&0) {
        return Err(refuse("it has a NUL byte"));
    }
    let mut clean = Vec::with_capacity(path.len());
    for component in path.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => return Err(refuse("it has a component ..")),
            long if long.len() > NAME_BYTES_MAX => {
                return Err(refuse("a component is longer than 255 bytes"));
            }
            fits => {
                if !clean.is_empty() {
                    clean.push(b'/');
                }
                clean.extend_from_slice(fits);
            }
        }
    }
    if clean.len() > PATH_BYTES_MAX {
        return Err(refuse("it is longer than 4095 bytes"));
    }
    Ok(clean)
}

/// Folder and last component; the folder of a top-level name is empty.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_relative_and_never_climb() {
        for (given, cleaned) in [
            ("a/b", "a/b"),
            ("./a//b/", "a/b"),
            ("/etc/passwd", "etc/passwd"),
            (".", ""),
            ("/", ""),
            ("...", "..."),
        ] {
            assert_eq!(clean(given.as_bytes()).expect(given), cleaned.as_bytes());
        }
        for bad in ["..", "a/..", "../a", "a/../b", "a\0b"] {
            assert!(clean(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(clean(&[b'x'; 256]).is_err());
        assert!(clean("x/".repeat(3000).as_bytes()).is_err());
    }

    #[test]
    fn a_path_splits_into_folder_and_name() {
        assert_eq!(split(b"a/b/c"), (&b"a/b"[..], &b"c"[..]));
        assert_eq!(split(b"a"), (&b""[..], &b"a"[..]));
    }
}
