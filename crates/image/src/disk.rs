//! What kind of failure an error of the disk is. Full disks are the caller's to act on, the rest is ours.

use std::io;

use gantry_types::Class;

/// The class of an error that the file system gave.
pub(crate) fn class_of(source: &io::Error) -> Class {
    if is_full(source) {
        Class::ResourceExhausted
    } else if source.kind() == io::ErrorKind::PermissionDenied {
        Class::PermissionDenied
    } else {
        Class::Internal
    }
}

/// What a person can do about it.
pub(crate) fn hint_for(source: &io::Error) -> Option<String> {
    is_full(source).then(|| "the disk is full: free space, for example by removing images".into())
}

fn is_full(source: &io::Error) -> bool {
    source.kind() == io::ErrorKind::StorageFull
        || source.kind() == io::ErrorKind::QuotaExceeded
        || source.kind() == io::ErrorKind::FileTooLarge
}
