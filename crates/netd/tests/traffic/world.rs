//! The world of one test: namespaces, links, a state folder, and the netd that serves it.

use std::fs::File;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use gantry_linux::clone::Namespaces;
use gantry_linux::namespace;
use gantry_network::netd::{Endpoint, Folder, Network, Port, Status};
use gantry_types::Protocol;
use hickory_proto::op::{DnsResponse, Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};

/// How long a condition is waited for.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);
/// netd's address on the network of the tests.
pub(crate) const GATEWAY: &str = "10.88.1.1";
/// The bridge of the network of the tests.
pub(crate) const BRIDGE: &str = "gtbr1";

/// A network namespace.
#[derive(Debug)]
pub(crate) struct Netns(OwnedFd);

impl Netns {
    pub(crate) fn new() -> Self {
        let made = std::thread::spawn(|| {
            namespace::unshare(Namespaces::NETWORK).expect("unshare");
            gantry_linux::network::bring_loopback_up().expect("lo");
            namespace::open_own(Namespaces::NETWORK).expect("the namespace")
        });
        Self(made.join().expect("a namespace"))
    }

    /// Does something inside.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                namespace::enter(self.0.as_fd(), Namespaces::NETWORK).expect("setns");
                work()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs a program inside, and wants it to end well.
    pub(crate) fn command(&self, line: &str) -> String {
        let output = self.output(line);
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    pub(crate) fn output(&self, line: &str) -> Output {
        self.run(|| command(line).output().unwrap_or_else(|error| panic!("{line}: {error}")))
    }

    pub(crate) fn spawn(&self, line: &str) -> Running {
        self.run(|| {
            let child = command(line).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
            Running(child.unwrap_or_else(|error| panic!("{line}: {error}")))
        })
    }

    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "tests start the programs they test and the tools that look at them"
)]
pub(crate) fn command(line: &str) -> Command {
    let mut words = line.split_ascii_whitespace();
    let mut command = Command::new(words.next().expect("a program"));
    command.args(words);
    command
}

/// A program that ends with the test.
#[derive(Debug)]
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A host with one bridge, and netd's files.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) host: Netns,
    pub(crate) state: tempfile::TempDir,
    pub(crate) folder: Folder,
    links: std::sync::atomic::AtomicU32,
}

impl World {
    /// `None` without the rights, and says so.
    pub(crate) fn new() -> Option<Self> {
        if gantry_linux::process::effective_uid() != 0 {
            say("skipped: needs root");
            return None;
        }
        let state =
            tempfile::Builder::new().prefix("gantry-netd-test-").tempdir().expect("a temporary folder");
        let folder = Folder::create(state.path()).expect("created");
        let host = Netns::new();
        let world = Self { host, state, folder, links: std::sync::atomic::AtomicU32::new(0) };
        world.bridge(BRIDGE, GATEWAY);
        std::fs::write(world.resolv_conf(), "").expect("written");
        Some(world)
    }

    pub(crate) fn bridge(&self, name: &str, gateway: &str) {
        self.host.command(&format!("ip link add {name} type bridge"));
        self.host.command(&format!("ip addr add {gateway}/24 dev {name}"));
        self.host.command(&format!("ip link set {name} up"));
    }

    pub(crate) fn resolv_conf(&self) -> PathBuf {
        self.state.path().join("resolv.conf")
    }

    /// A container on a bridge.
    pub(crate) fn container(&self, bridge: &str, address: &str) -> Netns {
        let container = Netns::new();
        let number = self.links.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let peer = container.path();
        self.host.command(&format!("ip link add gtv{number} type veth peer name eth0 netns {peer}"));
        self.host.command(&format!("ip link set gtv{number} master {bridge} up"));
        container.command(&format!("ip addr add {address}/24 dev eth0"));
        container.command("ip link set eth0 up");
        let port = format!("ip -d link show dev gtv{number}");
        until("the bridge lets packets through", || self.host.command(&port).contains("state forwarding"));
        container
    }

    /// Starts netd, and waits until it serves.
    pub(crate) fn netd(&self) -> Running {
        let running = self.start_netd("");
        until("netd serves", || self.status().is_some_and(|status| status.pid == running.0.id()));
        running
    }

    pub(crate) fn start_netd(&self, more: &str) -> Running {
        let program = env!("CARGO_BIN_EXE_gantry-netd");
        let (state, resolv_conf) = (self.state.path().display(), self.resolv_conf());
        self.host.spawn(&format!("{program} --state {state} --resolv-conf {} {more}", resolv_conf.display()))
    }

    pub(crate) fn status(&self) -> Option<Status> {
        self.folder.status().expect("the status can be read")
    }

    /// Writes the network of the tests, and waits until netd listens if it runs.
    pub(crate) fn put_network(&self, network: &Network) {
        self.folder.write_network(network).expect("written");
    }
}

/// The network of the tests.
pub(crate) fn network(id: &str, bridge: &str, gateway: &str) -> Network {
    let gateway: IpAddr = gateway.parse().expect("an address");
    Network {
        id: id.to_owned(),
        name: format!("net-{id}"),
        bridge: bridge.to_owned(),
        gateways: vec![gateway],
        subnets: vec![ipnet::IpNet::new(gateway, 24).expect("a subnet").trunc()],
        internal: false,
        dns: true,
        rules: vec![],
    }
}

pub(crate) fn endpoint(id: &str, network: &str, address: &str, names: &[&str]) -> Endpoint {
    Endpoint {
        id: id.to_owned(),
        network: network.to_owned(),
        container: format!("container-{id}"),
        addresses: vec![address.parse().expect("an address")],
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        ports: vec![Port { name: "http".to_owned(), protocol: Protocol::Tcp, number: 80 }],
        dns_servers: vec![],
        rules: vec![],
    }
}

/// Tells who reads the test's output.
#[expect(clippy::print_stderr, reason = "a skip prints its reason")]
pub(crate) fn say(text: &str) {
    eprintln!("{text}");
}

/// Waits for a condition.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < DEADLINE, "in vain: {what}");
        std::thread::yield_now();
    }
}

pub(crate) fn query(id: u16, name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).expect("a name"), kind));
    message.to_vec().expect("encoded")
}

/// Asks over UDP from where the caller is; `None` when nobody answers in time.
pub(crate) fn ask(server: &str, name: &str, kind: RecordType, patience: Duration) -> Option<Message> {
    let socket = UdpSocket::bind("0.0.0.0:0").expect("bound");
    socket.set_read_timeout(Some(patience)).expect("set");
    socket.connect(SocketAddr::new(server.parse().expect("an address"), 53)).expect("connected");
    socket.send(&query(9, name, kind)).ok()?;
    let mut packet = [0; 4096];
    let length = socket.recv(&mut packet).ok()?;
    Some(DnsResponse::from_buffer(packet[..length].to_vec()).expect("an answer").into_message())
}

/// The addresses that a name has for who asks from where the caller is.
pub(crate) fn addresses(server: &str, name: &str) -> Vec<String> {
    let answer = ask(server, name, RecordType::A, Duration::from_secs(2));
    let records = answer.map(|answer| answer.answers).unwrap_or_default();
    records.iter().map(|record| record.data.to_string()).collect()
}

/// KiB of memory of its own that a process has in RAM: without the program, which differs from build to build.
pub(crate) fn own_memory_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Whether a file is there that a program writes when it is ready.
pub(crate) fn exists(path: &Path) -> bool {
    File::open(path).is_ok()
}
