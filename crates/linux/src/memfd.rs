//! How a programme is kept where nothing can change it: a sealed file in memory (memfd_create(2)). The daemon
//! makes one of the shim at its start and executes it from there, so that neither a container (CVE-2019-5736)
//! nor an upgrade of the file on disk touches what runs.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, SealFlags};

use crate::error::{Errno, Result, SyscallError};

/// MFD_EXEC (Linux 6.3): said aloud, because a machine may forbid executable memfds that are not.
const MFD_EXEC: u32 = 0x10;

/// Copies `source` from its start into a new executable file in memory, and seals it against every change.
/// `name` is what `/proc/<pid>/exe` shows.
pub fn seal(name: &str, source: &mut (impl Read + Seek)) -> io::Result<OwnedFd> {
    let mut file = File::from(create(name)?);
    source.rewind()?;
    io::copy(source, &mut file)?;
    file.flush()?;
    file.rewind()?;
    let descriptor = OwnedFd::from(file);
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&descriptor, seals).map_err(SyscallError::name("fcntl", "seals"))?;
    Ok(descriptor)
}

/// An empty file in memory that is not to be executed. Allocates nothing.
pub fn new(name: &std::ffi::CStr) -> Result<OwnedFd> {
    rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC).map_err(SyscallError::caller("memfd_create"))
}

/// Whether a file is sealed against every change.
pub fn is_sealed(file: std::os::fd::BorrowedFd<'_>) -> bool {
    let needed = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_get_seals(file).is_ok_and(|seals| seals.contains(needed))
}

fn create(name: &str) -> Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let executable = flags | MemfdFlags::from_bits_retain(MFD_EXEC);
    rustix::fs::memfd_create(name, executable)
        .or_else(|errno| match errno {
            // Older kernels refuse the flag, and make every memfd executable.
            Errno::INVAL => rustix::fs::memfd_create(name, flags),
            _ => Err(errno),
        })
        .map_err(SyscallError::path("memfd_create", name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_sealed_file_holds_the_bytes_and_refuses_every_change() {
        let sealed = seal("gantry-test", &mut io::Cursor::new(b"hello")).expect("memfd");
        assert!(is_sealed(sealed.as_fd()));
        let mut file = File::from(sealed);
        let mut text = String::new();
        file.read_to_string(&mut text).expect("read");
        assert_eq!(text, "hello");
        file.rewind().expect("rewind");
        assert!(file.write(b"x").is_err());
        assert!(file.set_len(0).is_err());
        assert!(rustix::fs::fcntl_add_seals(&file, SealFlags::FUTURE_WRITE).is_err());
    }
}
