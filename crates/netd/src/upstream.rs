//! Who is asked what netd does not know: the name servers of the host's resolv.conf(5). It is looked at when a
//! question is passed on, at most once a second, so a change is seen however the file is replaced or linked. netd is in the
//! host's network namespace: servers on its loopback (systemd-resolved's 127.0.0.53) work.
//!
//! A file that names nobody means nobody: no public resolver is asked without being named.

use std::fs;
use std::io::Read as _;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How long what was seen is believed.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Servers at the most; the C library takes three.
const SERVERS_MAX: usize = 8;
/// Bytes of the file that are read.
const FILE_BYTES_MAX: u64 = 64 << 10;
/// The port of DNS.
pub(crate) const PORT: u16 = 53;

/// What makes one state of the file another than the last.
type Stamp = (u64, u64, i64, i64, u64);

/// The host's resolvers.
#[derive(Debug)]
pub(crate) struct Upstreams {
    path: PathBuf,
    looked: Option<Instant>,
    stamp: Option<Stamp>,
    servers: Rc<[SocketAddr]>,
}

impl Upstreams {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, looked: None, stamp: None, servers: [].into() }
    }

    /// Who they are now.
    pub(crate) fn servers(&mut self, now: Instant) -> Rc<[SocketAddr]> {
        if self.looked.is_none_or(|looked| now.duration_since(looked) >= LOOK_AGAIN) {
            self.looked = Some(now);
            self.look();
        }
        Rc::clone(&self.servers)
    }

    /// Who they were at the last look.
    pub(crate) fn last_seen(&self) -> &[SocketAddr] {
        &self.servers
    }

    fn look(&mut self) {
        let stamp = fs::metadata(&self.path)
            .map(|file| (file.dev(), file.ino(), file.mtime(), file.mtime_nsec(), file.size()))
            .ok();
        if stamp.is_some() && stamp == self.stamp {
            return;
        }
        self.stamp = stamp;
        let mut bytes = Vec::new();
        // A file that is away for a moment while it is replaced: the servers of before are better than none.
        let read =
            fs::File::open(&self.path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes));
        if read.is_ok() {
            self.servers = parse(&String::from_utf8_lossy(&bytes)).into();
        }
    }
}

/// The servers that the text of a resolv.conf names.
fn parse(text: &str) -> Vec<SocketAddr> {
    let mut servers: Vec<SocketAddr> = Vec::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        if words.next() != Some("nameserver") {
            continue;
        }
        let server = words.next().and_then(server);
        servers.extend(server.filter(|server| !servers.contains(server)));
    }
    servers.truncate(SERVERS_MAX);
    servers
}

/// An address, which may end in `%` and an interface.
fn server(text: &str) -> Option<SocketAddr> {
    let Some((address, interface)) = text.split_once('%') else {
        return text.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, PORT));
    };
    let address: Ipv6Addr = address.parse().ok()?;
    let index = interface.parse().ok().or_else(|| interface_index(interface))?;
    Some(SocketAddr::V6(SocketAddrV6::new(address, PORT, 0, index)))
}

/// The index of an interface; `None` where there is no such one.
pub(crate) fn interface_index(name: &str) -> Option<u32> {
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None);
    rustix::net::netdevice::name_to_index(socket.ok()?, name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_are_taken_and_everything_else_is_passed_over() {
        let text = "# comment\nsearch example.org\nnameserver 127.0.0.53\n nameserver\t2001:db8::1 \n\
                    nameserver 127.0.0.53\nnameserver nonsense\nnameserver fe80::1%1\noptions edns0 trust-ad\n\
                    nameserver fe80::1%no-such-interface\n;nameserver 192.0.2.1\n";
        let expected: Vec<SocketAddr> = ["127.0.0.53:53", "[2001:db8::1]:53", "[fe80::1%1]:53"]
            .iter()
            .map(|text| text.parse().expect("an address"))
            .collect();
        assert_eq!(parse(text), expected);
    }

    #[test]
    fn a_replaced_file_is_seen_within_a_second_and_a_missing_one_changes_nothing() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("resolv.conf");
        let mut upstreams = Upstreams::new(path.clone());
        let start = Instant::now();
        assert!(upstreams.servers(start).is_empty());
        fs::write(&path, "nameserver 192.0.2.1\n").expect("written");
        assert!(upstreams.servers(start).is_empty(), "not looked at yet");
        assert_eq!(upstreams.servers(start + LOOK_AGAIN).len(), 1);
        fs::remove_file(&path).expect("removed");
        assert_eq!(upstreams.servers(start + 2 * LOOK_AGAIN).len(), 1);
        fs::write(&path, "nameserver 192.0.2.1\nnameserver 192.0.2.2\n").expect("written");
        assert_eq!(upstreams.servers(start + 3 * LOOK_AGAIN).len(), 2);
    }
}
