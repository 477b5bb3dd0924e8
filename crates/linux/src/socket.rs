//! How descriptors and bytes travel between local processes: unix sockets with SCM_RIGHTS. Listeners are files
//! of mode 0600, never abstract names (CVE-2020-15257). Framing is the caller's.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};

use crate::error::{Errno, Result, SyscallError};
use crate::process::Pid;
use crate::sys;

/// Descriptors in one message at the most; the kernel's own limit is 253.
pub const DESCRIPTORS_MAX: usize = 16;

/// How bytes are kept apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A stream of bytes.
    Stream,
    /// Whole packets, with an end.
    SequencedPacket,
}

/// Who is at the other end of a connection, as the kernel recorded it when it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerCredentials {
    /// Its process, `None` when outside the caller's pid namespace.
    pub pid: Option<Pid>,
    /// Its effective user.
    pub uid: u32,
    /// Its effective group.
    pub gid: u32,
}

/// What came with one receive.
#[derive(Debug)]
pub struct Received {
    /// How many bytes; 0 is the end.
    pub length: usize,
    /// Descriptors beside the first of them, close-on-exec.
    pub descriptors: Vec<OwnedFd>,
}

/// Two connected sockets, close-on-exec.
pub fn pair(kind: Kind, nonblocking: bool) -> Result<(OwnedFd, OwnedFd)> {
    rustix::net::socketpair(AddressFamily::UNIX, socket_type(kind), flags(nonblocking), None)
        .map_err(SyscallError::caller("socketpair"))
}

/// A nonblocking listener at a path that does not exist yet, mode 0600 from its first moment on.
pub fn listen(kind: Kind, path: &Path, backlog: i32) -> Result<OwnedFd> {
    let socket = new_socket(kind, true)?;
    // The socket's own mode is what bind(2) gives the file; so no umask and no moment with a wider mode.
    rustix::fs::fchmod(&socket, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)
        .map_err(SyscallError::path("fchmod", path))?;
    rustix::net::bind(&socket, &address(path)?).map_err(SyscallError::path("bind", path))?;
    rustix::net::listen(&socket, backlog).map_err(SyscallError::path("listen", path))?;
    Ok(socket)
}

/// Connects to a listener at a path; it is nonblocking afterwards if asked.
pub fn connect(kind: Kind, path: &Path, nonblocking: bool) -> Result<OwnedFd> {
    let socket = new_socket(kind, false)?;
    rustix::net::connect(&socket, &address(path)?).map_err(SyscallError::path("connect", path))?;
    set_nonblocking(socket.as_fd(), nonblocking)?;
    Ok(socket)
}

/// Accepts a waiting connection, nonblocking and close-on-exec; `None` when nobody waits.
pub fn accept(listener: BorrowedFd<'_>) -> Result<Option<OwnedFd>> {
    match rustix::net::accept_with(listener, flags(true)) {
        Ok(connection) => Ok(Some(connection)),
        // A peer that left in the queue is nobody's failure.
        Err(Errno::AGAIN | Errno::CONNABORTED | Errno::INTR) => Ok(None),
        Err(errno) => Err(SyscallError::fd("accept4", listener)(errno)),
    }
}

/// Sends bytes, with descriptors beside the first of them; returns how many bytes went. Never raises SIGPIPE.
/// When the socket is full nothing goes and the errno is EAGAIN.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<usize> {
    let fail = SyscallError::fd("sendmsg", socket);
    if descriptors.is_empty() {
        return retry(|| rustix::net::send(socket, bytes, SendFlags::NOSIGNAL)).map_err(fail);
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if descriptors.len() > DESCRIPTORS_MAX || !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(fail(Errno::TOOBIG));
    }
    retry(|| rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL))
        .map_err(fail)
}

/// Receives into `buffer`, with what descriptors come. More than [`DESCRIPTORS_MAX`] is EMSGSIZE, and all are closed.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<Received> {
    let fail = SyscallError::fd("recvmsg", socket);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = retry(|| {
        rustix::net::recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut control, RecvFlags::CMSG_CLOEXEC)
    })
    .map_err(&fail)?;
    let mut descriptors = Vec::new();
    for item in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = item {
            descriptors.extend(rights);
        }
    }
    if message.flags.contains(ReturnFlags::CTRUNC) {
        return Err(fail(Errno::MSGSIZE));
    }
    Ok(Received { length: message.bytes, descriptors })
}

/// As [`receive`], for a peer that sends one descriptor at a time; allocates nothing.
pub fn receive_one(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<(usize, Option<OwnedFd>)> {
    let fail = SyscallError::fd("recvmsg", socket);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = retry(|| {
        rustix::net::recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut control, RecvFlags::CMSG_CLOEXEC)
    })
    .map_err(&fail)?;
    let mut descriptor = None;
    for item in control.drain() {
        if let RecvAncillaryMessage::ScmRights(mut rights) = item {
            descriptor = rights.next();
        }
    }
    if message.flags.contains(ReturnFlags::CTRUNC) {
        return Err(fail(Errno::MSGSIZE));
    }
    Ok((message.bytes, descriptor))
}

/// Who made the connection.
pub fn peer_credentials(socket: BorrowedFd<'_>) -> Result<PeerCredentials> {
    // SAFETY: three integers, for which all zero is valid.
    let mut credentials: libc::ucred = unsafe { std::mem::zeroed() };
    let mut length: libc::socklen_t = sys::size_of_u32::<libc::ucred>();
    // SAFETY: `credentials` is live, exclusively borrowed, and as long as `length` says.
    let returned = unsafe {
        libc::syscall(
            libc::SYS_getsockopt,
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            &raw mut credentials,
            &raw mut length,
        )
    };
    sys::check(returned).map_err(SyscallError::fd("getsockopt", socket))?;
    Ok(PeerCredentials { pid: Pid::from_raw(credentials.pid), uid: credentials.uid, gid: credentials.gid })
}

/// Makes reads and writes of an open file wait, or not. It is the open file that changes, for all who share it.
pub fn set_nonblocking(file: BorrowedFd<'_>, nonblocking: bool) -> Result<()> {
    rustix::io::ioctl_fionbio(file, nonblocking).map_err(SyscallError::fd("ioctl", file))
}

/// Says that no more bytes will be sent; the peer reads the end.
pub fn shutdown_write(socket: BorrowedFd<'_>) -> Result<()> {
    rustix::net::shutdown(socket, rustix::net::Shutdown::Write).map_err(SyscallError::fd("shutdown", socket))
}

fn new_socket(kind: Kind, nonblocking: bool) -> Result<OwnedFd> {
    rustix::net::socket_with(AddressFamily::UNIX, socket_type(kind), flags(nonblocking), None)
        .map_err(SyscallError::caller("socket"))
}

/// A path of at most 107 bytes; a longer one is reached through `/proc/self/fd/<directory>/<name>` by its caller.
fn address(path: &Path) -> Result<SocketAddrUnix> {
    SocketAddrUnix::new(path).map_err(SyscallError::path("bind", path))
}

fn socket_type(kind: Kind) -> SocketType {
    match kind {
        Kind::Stream => SocketType::STREAM,
        Kind::SequencedPacket => SocketType::SEQPACKET,
    }
}

fn flags(nonblocking: bool) -> SocketFlags {
    if nonblocking { SocketFlags::CLOEXEC | SocketFlags::NONBLOCK } else { SocketFlags::CLOEXEC }
}

fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn descriptors_travel_beside_the_first_byte() {
        let (left, right) = pair(Kind::SequencedPacket, false).expect("socketpair");
        let file = tempfile::tempfile().expect("a temporary file");
        let sent = send(left.as_fd(), b"take this", &[file.as_fd(), left.as_fd()]).expect("send");
        assert_eq!(sent, 9);
        let mut buffer = [0; 64];
        let received = receive(right.as_fd(), &mut buffer).expect("receive");
        assert_eq!(&buffer[..received.length], b"take this");
        assert_eq!(received.descriptors.len(), 2);
        let identity = |fd: BorrowedFd<'_>| crate::path::identity(fd).expect("fstat");
        assert_eq!(identity(received.descriptors[0].as_fd()), identity(file.as_fd()));
        drop((left, received));
        assert_eq!(receive(right.as_fd(), &mut buffer).expect("the end").length, 0);
    }

    #[test]
    fn more_descriptors_than_the_limit_are_refused_by_the_sender() {
        let (left, _right) = pair(Kind::Stream, true).expect("socketpair");
        let many = [left.as_fd(); DESCRIPTORS_MAX + 1];
        assert_eq!(send(left.as_fd(), b"x", &many).expect_err("too many").errno, Errno::TOOBIG);
    }

    #[test]
    fn a_listener_is_a_file_that_only_its_owner_can_use() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("socket");
        let listener = listen(Kind::Stream, &path, 8).expect("listen");
        let mode = std::fs::metadata(&path).expect("metadata").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(accept(listener.as_fd()).expect("accept").is_none());
        let client = connect(Kind::Stream, &path, true).expect("connect");
        let server = accept(listener.as_fd()).expect("accept").expect("somebody waits");
        let peer = peer_credentials(server.as_fd()).expect("getsockopt");
        assert_eq!(peer.pid, Some(crate::process::current_pid()));
        assert_eq!(peer.uid, crate::process::effective_uid());
        let mut buffer = [0; 1];
        assert_eq!(receive(client.as_fd(), &mut buffer).expect_err("nothing yet").errno, Errno::AGAIN);
    }
}
