//! Making the sockets: what is listened on is bound to a gateway's address and to its bridge, so nothing reaches it but
//! through the bridge; what asks others has a port of the kernel's choosing.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 64;
/// Bytes of queries that wait while netd does something else (puts rules back, say).
const RECEIVE_BUFFER_BYTES: usize = 1 << 20;

/// A socket for questions over UDP at `address`, through `bridge` alone.
pub(crate) fn datagrams(address: SocketAddr, bridge: &str) -> io::Result<UdpSocket> {
    let socket = bound(address, bridge, SocketType::DGRAM)?;
    // Refused without the capability; then the default has to do.
    let _ = sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER_BYTES);
    Ok(UdpSocket::from(socket))
}

/// A socket for connections at `address`, through `bridge` alone.
pub(crate) fn listener(address: SocketAddr, bridge: &str) -> io::Result<TcpListener> {
    let socket = bound(address, bridge, SocketType::STREAM)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}

/// A socket that talks over UDP to `server` alone, from a port of the kernel's choosing.
pub(crate) fn ask(server: SocketAddr) -> io::Result<UdpSocket> {
    let any = match server.ip() {
        IpAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        IpAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = UdpSocket::bind(any)?;
    socket.set_nonblocking(true)?;
    socket.connect(server)?;
    Ok(socket)
}

/// A connection to `server` that has begun.
pub(crate) fn connect(server: SocketAddr) -> io::Result<TcpStream> {
    let socket = new(server, SocketType::STREAM)?;
    match rustix::net::connect(&socket, &server) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(TcpStream::from(socket)),
        Err(error) => Err(error.into()),
    }
}

fn bound(address: SocketAddr, bridge: &str, kind: SocketType) -> io::Result<OwnedFd> {
    let socket = new(address, kind)?;
    gantry_linux::network::bind_to_device(socket.as_fd(), bridge)?;
    // Another server that listens everywhere and allows it (dnsmasq does) is no obstacle: ours is the closer match.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    // The address may be on its way: the bridge is made beside the file.
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
        sockopt::set_ipv6_freebind(&socket, true)?;
    } else {
        sockopt::set_ip_freebind(&socket, true)?;
    }
    rustix::net::bind(&socket, &address)?;
    Ok(socket)
}

fn new(address: SocketAddr, kind: SocketType) -> io::Result<OwnedFd> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(family, kind, flags, None)?)
}
