//! The one thing of a network namespace that every container needs and that is no network's business: its
//! loopback interface is up. The rest is netlink's, elsewhere.

use std::os::fd::AsRawFd;

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
