//! The way to one server for one question: a connected UDP socket, or a TCP connection that carries one message each way.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};

use rustix::io::Errno;
use rustix::net::RecvFlags;

use crate::poller::{Poller, Token};
use crate::resolve::Transport;
use crate::socket;

/// Bytes of an answer at the most; a UDP datagram and a TCP message hold no more.
const MESSAGE_BYTES_MAX: usize = 65_535;

/// What was heard from a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// Nothing yet.
    Nothing,
    /// A message is in the buffer.
    Message,
    /// It cannot be reached, or hung up.
    Failure,
}

#[derive(Debug)]
pub(super) enum Link {
    Datagram(UdpSocket),
    Stream {
        socket: TcpStream,
        /// Bytes of length and query that are sent.
        sent: usize,
        received: Vec<u8>,
    },
}

impl Link {
    /// Begins to ask.
    pub(super) fn open(
        transport: Transport,
        server: SocketAddr,
        query: &[u8],
        poller: &Poller,
        token: Token,
    ) -> io::Result<Self> {
        match transport {
            Transport::Udp => {
                let socket = socket::ask(server)?;
                socket.send(query)?;
                poller.add(&socket, token, false)?;
                Ok(Self::Datagram(socket))
            }
            Transport::Tcp => {
                let socket = socket::connect(server)?;
                poller.add(&socket, token, true)?;
                Ok(Self::Stream { socket, sent: 0, received: Vec::new() })
            }
        }
    }

    /// Takes what there is to take; sends what there is to send.
    pub(super) fn hear(
        &mut self,
        query: &[u8],
        buffer: &mut Vec<u8>,
        poller: &Poller,
        token: Token,
    ) -> Heard {
        match self {
            Self::Datagram(socket) => hear_datagram(socket, buffer),
            Self::Stream { socket, sent, received } => {
                match send_framed(socket, query, sent) {
                    Ok(true) => {}
                    Ok(false) => return Heard::Nothing,
                    Err(_) => return Heard::Failure,
                }
                if poller.change(&*socket, token, false).is_err() {
                    return Heard::Failure;
                }
                hear_stream(socket, received, buffer)
            }
        }
    }
}

fn hear_datagram(socket: &UdpSocket, buffer: &mut Vec<u8>) -> Heard {
    buffer.clear();
    buffer.reserve(MESSAGE_BYTES_MAX);
    match rustix::net::recv(socket, rustix::buffer::spare_capacity(buffer), RecvFlags::empty()) {
        Ok(_) => Heard::Message,
        Err(Errno::AGAIN | Errno::INTR) => Heard::Nothing,
        Err(_) => Heard::Failure,
    }
}

/// Whether all of length and query is sent.
fn send_framed(socket: &mut TcpStream, query: &[u8], sent: &mut usize) -> io::Result<bool> {
    let length = u16::try_from(query.len()).map_err(|_| io::Error::from(ErrorKind::InvalidInput))?;
    let framed = [&length.to_be_bytes(), query].concat();
    while *sent < framed.len() {
        match socket.write(&framed[*sent..]) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => *sent += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

fn hear_stream(socket: &mut TcpStream, received: &mut Vec<u8>, buffer: &mut Vec<u8>) -> Heard {
    let mut piece = [0; 4096];
    loop {
        if let Some((length, rest)) = received.split_first_chunk::<2>()
            && let Some(message) = rest.get(..usize::from(u16::from_be_bytes(*length)))
        {
            buffer.clear();
            buffer.extend_from_slice(message);
            received.clear();
            return Heard::Message;
        }
        match socket.read(&mut piece) {
            Ok(0) => return Heard::Failure,
            Ok(count) => received.extend_from_slice(&piece[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Heard::Nothing,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Heard::Failure,
        }
    }
}
