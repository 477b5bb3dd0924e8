//! The shim's files in the bundle folder: where a daemon finds it (`shim.sock`), who it is (`pid`), and how
//! init ended (`exit`), for a daemon that was not there. The folder is on a tmpfs, so nothing is synced: what
//! it says is true only as long as the machine is up.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use gantry_api::shim::v1::Exited;
use gantry_api::shim::{
    EXIT_FILE, FILES_FOLDER, HOSTNAME_FILE, HOSTS_FILE, PID_FILE, RESOLV_CONF_FILE, SOCKET_FILE,
};
use prost::Message;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, open, openat, renameat, unlinkat};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 16;
/// Suffix of a file that is not yet whole.
const TEMPORARY: &str = ".tmp";

/// A bundle folder with the shim's files in it.
#[derive(Debug)]
pub(crate) struct Bundle {
    path: PathBuf,
    dir: OwnedFd,
}

impl Bundle {
    /// Writes the pid and makes the control socket, which is returned listening and non-blocking.
    pub(crate) fn open(path: &Path, pid: u32) -> io::Result<(Self, OwnedFd)> {
        let dir = open(path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let bundle = Self { path: path.to_owned(), dir };
        bundle.write(PID_FILE, pid.to_string().as_bytes())?;
        let listener = bundle.listen();
        if listener.is_err() {
            bundle.remove_file(PID_FILE)?;
        }
        Ok((bundle, listener?))
    }

    /// Keeps how init ended.
    pub(crate) fn keep_exit(&self, exited: &Exited) -> io::Result<()> {
        self.write(EXIT_FILE, &exited.encode_to_vec())
    }

    /// Removes the shim's files, those that the daemon provided to the container, and the folder if nothing else is in
    /// it: by their names, which costs less than the daemon's look at what is there. Tries all; the first failure is
    /// returned.
    pub(crate) fn remove(&self) -> io::Result<()> {
        let provided = [HOSTNAME_FILE, HOSTS_FILE, RESOLV_CONF_FILE].map(|name| self.remove_file(name));
        let own = [SOCKET_FILE, EXIT_FILE, PID_FILE].map(|name| self.remove_file(name));
        let inside = remove_folder(&self.dir, Path::new(FILES_FOLDER));
        let folder = remove_folder(CWD, &self.path);
        provided.into_iter().chain(own).chain([inside, folder]).fold(Ok(()), io::Result::and)
    }

    /// The path of a socket is at most 107 bytes, and a bundle's may be longer: so it is bound by its name
    /// from inside the folder.
    fn listen(&self) -> io::Result<OwnedFd> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        // Left by a shim that was killed in this folder.
        self.remove_file(SOCKET_FILE)?;
        rustix::process::fchdir(&self.dir)?;
        // The process's umask makes it 0600 from its first moment.
        let bound = SocketAddrUnix::new(SOCKET_FILE).and_then(|address| bind(&socket, &address));
        rustix::process::chdir("/")?;
        bound?;
        listen(&socket, BACKLOG)?;
        Ok(socket)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut temporary = String::from(name);
        temporary.push_str(TEMPORARY);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = openat(&self.dir, &temporary, flags, Mode::RUSR | Mode::WUSR)?;
        io::Write::write_all(&mut std::fs::File::from(file), bytes)?;
        renameat(&self.dir, &temporary, &self.dir, name)?;
        Ok(())
    }

    fn remove_file(&self, name: &str) -> io::Result<()> {
        match unlinkat(&self.dir, name, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Removes a folder that is empty; one that is not stays.
fn remove_folder(dir: impl AsFd, path: &Path) -> io::Result<()> {
    match unlinkat(dir, path, AtFlags::REMOVEDIR) {
        Ok(()) | Err(rustix::io::Errno::NOTEMPTY | rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn the_socket_is_private_reachable_however_long_its_path_and_gone_at_the_end() {
        let parent = tempfile::tempdir().expect("tempdir");
        let path = parent.path().join("x".repeat(120)).join("bundle");
        std::fs::create_dir_all(path.join(FILES_FOLDER)).expect("made");
        std::fs::write(path.join(HOSTS_FILE), "127.0.0.1 localhost\n").expect("written");
        rustix::process::umask(Mode::from_raw_mode(0o077));
        let (bundle, _listener) = Bundle::open(&path, 42).expect("opened");
        let mode = std::fs::metadata(path.join(SOCKET_FILE)).expect("there").permissions().mode();
        assert_eq!(mode & 0o077, 0);
        assert_eq!(std::fs::read(path.join(PID_FILE)).expect("there"), b"42");
        let short = parent.path().join("s");
        std::os::unix::fs::symlink(&path, &short).expect("linked");
        UnixStream::connect(short.join(SOCKET_FILE)).expect("listening");

        let exited = Exited { exit_code: 3, at_unix_ns: 5, ..Exited::default() };
        bundle.keep_exit(&exited).expect("kept");
        let kept = std::fs::read(path.join(EXIT_FILE)).expect("there");
        assert_eq!(Exited::decode(&*kept).expect("decodes"), exited);
        bundle.remove().expect("removed");
        assert!(!path.exists());
        bundle.remove().expect("twice is as once");
    }

    #[test]
    fn files_of_others_keep_the_folder() {
        let parent = tempfile::tempdir().expect("tempdir");
        let (bundle, _listener) = Bundle::open(parent.path(), 1).expect("opened");
        std::fs::write(parent.path().join("other"), "").expect("written");
        bundle.remove().expect("removed");
        assert!(parent.path().join("other").exists());
    }
}
