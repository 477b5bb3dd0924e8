//! What of networks is neither netlink's nor std's: a new namespace's loopback interface comes up, and a socket is
//! bound to one interface.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::error::{Result, SyscallError};
use crate::sys;

/// Brings `lo` of the calling thread's network namespace up. Allocates nothing.
pub fn bring_loopback_up() -> Result<()> {
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .map_err(SyscallError::caller("socket"))?;
    let mut request = InterfaceRequest { name: *b"lo\0\0\0\0\0\0\0\0\0\0\0\0\0\0", flags: UP, rest: [0; 22] };
    // SAFETY: the request is a whole `struct ifreq`, live and exclusively borrowed.
    let returned =
        unsafe { libc::syscall(libc::SYS_ioctl, socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw mut request) };
    sys::check(returned).map(drop).map_err(SyscallError::name("ioctl", "SIOCSIFFLAGS lo"))
}

/// Lets a socket send and receive through one interface only. Needs no capability where the socket is bound to none.
pub fn bind_to_device(socket: BorrowedFd<'_>, interface: &str) -> Result<()> {
    // SAFETY: the name is live for the call and as long as said; the kernel takes it without a zero at its end.
    let returned = unsafe {
        libc::syscall(
            libc::SYS_setsockopt,
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_BINDTODEVICE,
            interface.as_ptr(),
            interface.len(),
        )
    };
    sys::check(returned).map(drop).map_err(SyscallError::path("setsockopt", interface))
}

/// IFF_UP.
const UP: libc::c_short = 1;

/// `struct ifreq` with its flags member.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; 16],
    flags: libc::c_short,
    rest: [u8; 22],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_bound_to_an_interface_that_is_there() {
        use std::os::fd::AsFd;
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("bind");
        let error = bind_to_device(socket.as_fd(), "gantry-none").expect_err("no such interface");
        assert_eq!(error.errno, crate::Errno::NODEV);
        bind_to_device(socket.as_fd(), "lo").expect("setsockopt");
    }

    #[test]
    fn loopback_of_a_new_network_namespace_comes_up() {
        if !crate::testing::is_root_or_skipped() {
            return;
        }
        std::thread::spawn(|| {
            crate::namespace::unshare(crate::clone::Namespaces::NETWORK).expect("unshare");
            assert!(
                std::net::TcpListener::bind("127.0.0.1:0")
                    .is_ok_and(|l| { std::net::TcpStream::connect(l.local_addr().expect("bound")).is_err() })
            );
            bring_loopback_up().expect("ioctl");
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
            std::net::TcpStream::connect(listener.local_addr().expect("bound")).expect("connect");
        })
        .join()
        .expect("the thread ends well");
    }
}
