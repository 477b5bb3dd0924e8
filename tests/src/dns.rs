//! How do tests ask for names, and answer them? As a program in a container's own network namespace does, packet by
//! packet; and as a server that the host or a container is told to ask. Messages are made and read by hickory-proto and
//! never by netd's own code.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};

use crate::daemon::Daemon;
use crate::network::inside;
use crate::wait::seconds;

/// How often a server looks whether it is to end.
const TURN: Duration = Duration::from_millis(20);

/// Somebody in a container who asks the server that the container's resolv.conf names.
#[derive(Debug)]
pub struct Asker {
    process: u32,
    server: SocketAddr,
    socket: UdpSocket,
}

/// Over what a question goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// A datagram.
    Udp,
    /// A connection of its own.
    Tcp,
}

impl Asker {
    /// Somebody in this container, which runs.
    pub fn of(daemon: &Daemon, container: &str) -> Result<Self> {
        let process = daemon.container_pid(container)?;
        let resolv_conf = daemon.ok(&["exec", container, "cat", "/etc/resolv.conf"])?;
        let server = resolv_conf.lines().find_map(|line| line.strip_prefix("nameserver "));
        let server = server.with_context(|| format!("no server in {resolv_conf:?}"))?.trim().parse()?;
        let socket = inside(process, || Ok(UdpSocket::bind("0.0.0.0:0")?))?;
        Ok(Self { process, server: SocketAddr::new(server, 53), socket })
    }

    /// The answer to a packet, whose id it has; `None` when nobody answers in time.
    pub fn exchange(
        &self,
        transport: Transport,
        packet: &[u8],
        patience: Duration,
    ) -> Result<Option<Vec<u8>>> {
        match transport {
            Transport::Udp => self.over_udp(packet, patience),
            Transport::Tcp => inside(self.process, || {
                let mut stream = TcpStream::connect_timeout(&self.server, patience)?;
                stream.set_read_timeout(Some(patience))?;
                write_message(&mut stream, packet)?;
                Ok(Some(read_message(&mut stream)?))
            }),
        }
    }

    fn over_udp(&self, packet: &[u8], patience: Duration) -> Result<Option<Vec<u8>>> {
        self.socket.set_read_timeout(Some(patience))?;
        // While nobody listens, the kernel tells of the packet before.
        if self.socket.send_to(packet, self.server).is_err() {
            return Ok(None);
        }
        let mut answer = vec![0; 4096];
        loop {
            match self.socket.recv(&mut answer) {
                // The answer to an earlier question.
                Ok(length) if answer[..length].get(..2) != packet.get(..2) => {}
                Ok(length) => return Ok(Some(answer[..length].to_vec())),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Ok(None),
            }
        }
    }

    /// Asks once, and fails when nobody answers.
    pub fn ask(&self, name: &str, kind: RecordType) -> Result<Message> {
        let answer = self.exchange(Transport::Udp, &query(name, kind)?, seconds(5))?;
        Ok(Message::from_vec(&answer.with_context(|| format!("no answer about {name}"))?)?)
    }

    /// What a name leads to, as people write it, in the order of the answer.
    pub fn records(&self, name: &str, kind: RecordType) -> Result<Vec<String>> {
        Ok(self.ask(name, kind)?.answers.iter().map(|record| record.data.to_string()).collect())
    }

    /// The addresses of version 4 that a name has.
    pub fn addresses(&self, name: &str) -> Result<Vec<String>> {
        self.records(name, RecordType::A)
    }
}

/// A question with an id that the last ones did not have.
pub fn query(name: &str, kind: RecordType) -> Result<Vec<u8>> {
    static SERIAL: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(1);
    let id = SERIAL.fetch_add(1, Ordering::Relaxed);
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name)?, kind));
    Ok(message.to_vec()?)
}

/// What a server was asked, and over what.
type Asked = Arc<Mutex<Vec<(Transport, Vec<u8>)>>>;

/// A server that gives every question one address, and keeps what it was asked.
#[derive(Debug)]
pub struct Upstream {
    asked: Asked,
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Upstream {
    /// Starts one in the network namespace of a process.
    pub fn start(process: u32, address: &str, answer: Ipv4Addr) -> Result<Self> {
        let address = SocketAddr::new(address.parse()?, 53);
        let (datagrams, stream) =
            inside(process, || Ok((UdpSocket::bind(address)?, TcpListener::bind(address)?)))?;
        datagrams.set_read_timeout(Some(TURN))?;
        stream.set_nonblocking(true)?;
        let asked = Asked::default();
        let over = Arc::new(AtomicBool::new(false));
        let (kept, ending) = (Arc::clone(&asked), Arc::clone(&over));
        let udp = std::thread::spawn(move || {
            let mut packet = [0; 4096];
            while !ending.load(Ordering::Relaxed) {
                let Ok((length, from)) = datagrams.recv_from(&mut packet) else { continue };
                let packet = &packet[..length];
                kept.lock().unwrap_or_else(PoisonError::into_inner).push((Transport::Udp, packet.to_vec()));
                if let Ok(reply) = reply(packet, answer) {
                    let _ = datagrams.send_to(&reply, from);
                }
            }
        });
        let (kept, ending) = (Arc::clone(&asked), Arc::clone(&over));
        let tcp = std::thread::spawn(move || {
            while !ending.load(Ordering::Relaxed) {
                let Ok((mut stream, _)) = stream.accept() else {
                    std::thread::sleep(TURN);
                    continue;
                };
                let Ok(packet) = stream
                    .set_nonblocking(false)
                    .map_err(Into::into)
                    .and_then(|()| read_message(&mut stream))
                else {
                    continue;
                };
                if let Ok(reply) = reply(&packet, answer) {
                    kept.lock().unwrap_or_else(PoisonError::into_inner).push((Transport::Tcp, packet));
                    let _ = write_message(&mut stream, &reply);
                }
            }
        });
        Ok(Self { asked, over, threads: vec![udp, tcp] })
    }

    /// Everything that it was asked, and over what.
    #[must_use]
    pub fn asked(&self) -> Vec<(Transport, Vec<u8>)> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The names that it was asked for.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let asked = self.asked();
        let messages = asked.iter().filter_map(|(_, packet)| Message::from_vec(packet).ok());
        messages.filter_map(|message| Some(message.queries.first()?.name().to_ascii())).collect()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// The answer of an [`Upstream`]: the address for questions of type A, nothing for others; EDNS comes back as it came.
fn reply(packet: &[u8], address: Ipv4Addr) -> Result<Vec<u8>> {
    let asked = Message::from_vec(packet)?;
    let mut reply = Message::response(asked.metadata.id, OpCode::Query);
    reply.metadata.recursion_desired = asked.metadata.recursion_desired;
    let question = asked.queries.first().context("a message asks something")?;
    if question.query_type() == RecordType::A {
        reply.add_answer(Record::from_rdata(question.name().clone(), 60, RData::A(A(address))));
    }
    reply.add_query(question.clone());
    reply.edns.clone_from(&asked.edns);
    Ok(reply.to_vec()?)
}

fn read_message(stream: &mut TcpStream) -> Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message)?;
    Ok(message)
}

fn write_message(stream: &mut TcpStream, message: &[u8]) -> Result<()> {
    let Ok(length) = u16::try_from(message.len()) else { bail!("a message of {} bytes", message.len()) };
    Ok(stream.write_all(&[&length.to_be_bytes(), message].concat())?)
}

/// Replaces what a file says, as a DHCP client does that keeps the file.
pub fn name_servers(file: &std::path::Path, servers: &[&str]) -> Result<()> {
    let lines: Vec<String> = servers.iter().map(|server| format!("nameserver {server}")).collect();
    Ok(fs::write(file, lines.join("\n") + "\n")?)
}
