//! How fast does a container get a name's address, from netd and from its peers on the same zone? Each server runs in a
//! network namespace of its own that plays the host, with a bridge and one container on it that asks.
//!
//!     GANTRY_PROGRAMS=$(deploy/build | tail -n 1) cargo bench --package gantry-netd --bench dns
//!
//! Peers come from Debian (aardvark-dns, docker.io) and are measured where they are installed. dockerd's zone is small,
//! because each of its names needs a running container; the others are measured with that size too.
//!
//! On a busy machine, run the built bench under `chrt --rr 10`: servers and asker are then before their neighbours, for the
//! seconds that it takes.
//!
//! Prints, for each: answers per second with 32 questions under way, the time of one answer (median and 99th
//! percentile), answers per second of the server's own CPU time, and its memory. The best of several passes: a neighbour's
//! burst is not the server's.
//!
//! Built as a bench of `gantry-netd`, which needs less than the other benches do.

#![expect(clippy::disallowed_methods, reason = "it starts the servers that it measures")]
#![expect(clippy::print_stdout, reason = "a table for people")]

use std::fmt::Write as _;
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gantry_linux::clone::Namespaces;
use gantry_linux::namespace;
use gantry_network::netd::{Endpoint, Folder, Network, Ruleset};

const GATEWAY: &str = "10.88.0.1";
const NAMES: usize = 1000;
const NAMES_SMALL: usize = 10;
const WINDOW: usize = 32;
const PASSES: usize = 7;
const PASS: Duration = Duration::from_secs(1);

fn main() {
    let folder = tempfile::Builder::new().prefix("gantry-bench-dns-").tempdir().expect("a folder");
    println!("| server | names | answers/s | median us | p99 us | answers per CPU second | resident KiB |");
    println!("|---|---|---|---|---|---|---|");
    let netd = |size| netd(folder.path(), size);
    let aardvark = |size| aardvark(folder.path(), size);
    for size in [NAMES, NAMES_SMALL] {
        report("gantry-netd", size, &netd(size));
        if let Some(peer) = aardvark(size) {
            report("aardvark-dns", size, &peer);
        }
    }
    match docker(folder.path()) {
        Some(peer) => report("dockerd", NAMES_SMALL, &peer),
        None => println!("dockerd: not measured (not installed, or it did not start)"),
    }
    println!();
    heal(folder.path());
}

/// A server that runs, and where to ask it.
struct Peer {
    /// Held until the measurement is over.
    _process: Running,
    /// The process that answers.
    pid: u32,
    client: OwnedFd,
    server: SocketAddr,
    _host: OwnedFd,
}

struct Running {
    child: Child,
    /// The child, or the daemon that it left behind.
    pid: u32,
}

impl Drop for Running {
    fn drop(&mut self) {
        // dockerd stops its containers when it is asked.
        let pid = i32::try_from(self.pid).ok().and_then(gantry_linux::Pid::from_raw);
        if let Some(pid) = pid {
            let _ = gantry_linux::signal::send(pid, gantry_linux::signal::Signal::TERM);
        }
        let _ = self.child.wait();
    }
}

fn report(name: &str, size: usize, peer: &Peer) {
    let pid = peer.pid;
    let queries: Vec<Vec<u8>> = (0..size).map(|number| query(&format!("container-{number}"))).collect();
    let mut best = Pass::default();
    for _ in 0..PASSES {
        let before = cpu_seconds(pid);
        let mut pass = inside(&peer.client, || measure(peer.server, &queries));
        pass.per_cpu_second = f64::from(pass.answers) / (cpu_seconds(pid) - before).max(0.01);
        if pass.per_second > best.per_second {
            best = pass;
        }
    }
    println!(
        "| {name} | {size} | {:.0} | {} | {} | {:.0} | {} |",
        best.per_second,
        best.median_us,
        best.p99_us,
        best.per_cpu_second,
        resident_kib(pid)
    );
}

#[derive(Default)]
struct Pass {
    answers: u32,
    per_second: f64,
    per_cpu_second: f64,
    median_us: u128,
    p99_us: u128,
}

/// Keeps `WINDOW` questions under way for the time of one pass.
fn measure(server: SocketAddr, queries: &[Vec<u8>]) -> Pass {
    let socket = UdpSocket::bind("0.0.0.0:0").expect("bound");
    socket.connect(server).expect("connected");
    socket.set_read_timeout(Some(Duration::from_millis(500))).expect("set");
    let mut packet = [0u8; 2048];
    let mut sent = [Instant::now(); WINDOW];
    let mut next = 0;
    let mut times = Vec::with_capacity(1 << 20);
    let mut ask = |slot: usize, sent: &mut [Instant; WINDOW]| {
        let mut query = queries[next % queries.len()].clone();
        next += 1;
        query[..2].copy_from_slice(&u16::try_from(slot).expect("small").to_be_bytes());
        sent[slot] = Instant::now();
        socket.send(&query).expect("sent");
    };
    (0..WINDOW).for_each(|slot| ask(slot, &mut sent));
    let start = Instant::now();
    while start.elapsed() < PASS {
        let Ok(length) = socket.recv(&mut packet) else {
            // Lost ones are asked again.
            (0..WINDOW).for_each(|slot| ask(slot, &mut sent));
            continue;
        };
        assert!(length > 12 && packet[3] & 0xf < 1 && packet[7] >= 1, "no answer: {:?}", &packet[..length]);
        let slot = usize::from(u16::from_be_bytes([packet[0], packet[1]]));
        times.push(sent[slot].elapsed());
        ask(slot, &mut sent);
    }
    let took = start.elapsed().as_secs_f64();
    times.sort_unstable();
    let at = |percent: usize| times.get(times.len() * percent / 100).map_or(0, Duration::as_micros);
    let answers = u32::try_from(times.len()).expect("within a pass");
    Pass {
        answers,
        per_second: f64::from(answers) / took,
        per_cpu_second: 0.0,
        median_us: at(50),
        p99_us: at(99),
    }
}

/// A query for the address of a name.
fn query(name: &str) -> Vec<u8> {
    let mut bytes = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    bytes.push(u8::try_from(name.len()).expect("short"));
    bytes.extend(name.as_bytes());
    bytes.extend([0, 0, 1, 0, 1]);
    bytes
}

fn address(number: usize) -> String {
    format!("10.88.{}.{}", 2 + number / 250, 1 + number % 250)
}

fn netd(folder: &Path, size: usize) -> Peer {
    let (host, client) = world();
    let state = folder.join(format!("netd-{size}"));
    fs::create_dir(&state).expect("made");
    write_zone(&Folder::create(&state).expect("made"), size);
    let process = start(&host, &format!("{} --state {}", netd_program().display(), state.display()));
    ready(Peer { pid: process.pid, _process: process, client, server: server(GATEWAY), _host: host })
}

fn write_zone(files: &Folder, size: usize) {
    let network = Network {
        id: "one".to_owned(),
        name: "net".to_owned(),
        bridge: "gtbench0".to_owned(),
        gateways: vec![GATEWAY.parse().expect("an address")],
        subnets: vec!["10.88.0.0/16".parse().expect("a subnet")],
        internal: false,
        dns: true,
        rules: vec![],
    };
    files.write_network(&network).expect("written");
    for number in 0..size {
        let id = format!("{number:064x}");
        let endpoint = Endpoint {
            id: id.clone(),
            network: "one".to_owned(),
            container: id.clone(),
            addresses: vec![address(number).parse().expect("an address")],
            names: vec![format!("container-{number}"), id[..12].to_owned(), id],
            ports: vec![],
            dns_servers: vec![],
            rules: vec![],
        };
        files.write_endpoint(&endpoint).expect("written");
    }
}

/// The program as it is installed, else as cargo built it for this bench.
fn netd_program() -> PathBuf {
    let built = std::env::var_os("GANTRY_PROGRAMS").map(|folder| PathBuf::from(folder).join("gantry-netd"));
    built.unwrap_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_gantry-netd")))
}

fn aardvark(folder: &Path, size: usize) -> Option<Peer> {
    const PROGRAM: &str = "/usr/lib/podman/aardvark-dns";
    if !Path::new(PROGRAM).exists() {
        println!("aardvark-dns: not measured (not installed)");
        return None;
    }
    let (host, client) = world();
    let config = folder.join(format!("aardvark-{size}"));
    fs::create_dir(&config).expect("made");
    let mut text = format!("{GATEWAY}\n");
    for number in 0..size {
        writeln!(text, "{number:064x} {}  container-{number},{number:012x}", address(number))
            .expect("a string");
    }
    // Whoever asks is a container too, or it gets no answers.
    writeln!(text, "{:064x} 10.88.0.9  asker", 0xffff).expect("a string");
    fs::write(config.join("net"), text).expect("written");
    let mut process = start(&host, &format!("{PROGRAM} --config {} --port 53 run", config.display()));
    // It goes into the background, and says there who it is.
    let daemon = || fs::read_to_string(config.join("aardvark.pid")).ok()?.trim().parse().ok();
    until("aardvark-dns says who it is", || daemon().is_some())?;
    process.pid = daemon()?;
    Some(ready(Peer { pid: process.pid, _process: process, client, server: server(GATEWAY), _host: host }))
}

/// dockerd with its own containerd in a namespace of its own, and a container that asks its resolver.
fn docker(folder: &Path) -> Option<Peer> {
    let host = netns();
    let folder = folder.join("docker");
    fs::create_dir(&folder).expect("made");
    fs::write(folder.join("docker.json"), "{}").expect("written");
    let path = folder.display();
    let line = format!(
        "chrt --other 0 dockerd --data-root {path}/data --exec-root {path}/run --pidfile {path}/pid --host unix://{path}/sock \
         --config-file {path}/docker.json --storage-driver overlay2"
    );
    if !Path::new("/usr/sbin/dockerd").exists() {
        return None;
    }
    let process = start(&host, &line);
    let docker = |words: &str| -> Option<String> {
        let line = format!("docker --host unix://{path}/sock {words}");
        let output = inside(&host, || command(&line).output()).ok()?;
        if !output.status.success() {
            println!("{line}: {}", String::from_utf8_lossy(&output.stderr).trim());
            return None;
        }
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let socket = folder.join("sock");
    until("dockerd listens", || std::os::unix::net::UnixStream::connect(&socket).is_ok())?;
    let image = folder.join("image.tar");
    let root = folder.join("root");
    fs::create_dir_all(root.join("bin")).ok()?;
    fs::copy("/bin/busybox", root.join("bin/busybox")).ok()?;
    let packed = command(&format!("tar -C {} -cf {} .", root.display(), image.display())).status().ok()?;
    packed.success().then_some(())?;
    docker(&format!("import {} bench", image.display()))?;
    docker("network create bench")?;
    for number in 0..NAMES_SMALL {
        docker(&format!(
            "run --detach --network bench --name container-{number} bench /bin/busybox sleep 3600"
        ))?;
    }
    let pid = docker("inspect --format {{.State.Pid}} container-0")?;
    let client = OwnedFd::from(fs::File::open(format!("/proc/{pid}/ns/net")).ok()?);
    if is_real_time() {
        // Control groups refuse real-time processes, so it is made one only now that its containers run.
        let line = format!("chrt --all-tasks --rr --pid 10 {}", process.pid);
        command(&line).stdout(Stdio::null()).status().ok()?.success().then_some(())?;
    }
    Some(ready(Peer {
        pid: process.pid,
        _process: process,
        client,
        server: server("127.0.0.11"),
        _host: host,
    }))
}

/// How long a flushed table is away, with 1,000 endpoints of one chain each.
fn heal(folder: &Path) {
    let (host, _client) = world();
    let state = folder.join("heal");
    fs::create_dir(&state).expect("made");
    let files = Folder::create(&state).expect("made");
    write_zone(&files, NAMES);
    files.write_ruleset(&Ruleset { rules: set() }).expect("written");
    for id in files.endpoint_ids().expect("listed") {
        let mut endpoint = files.endpoint(&id).expect("read").expect("there");
        endpoint.rules = element(endpoint.addresses[0]);
        files.write_endpoint(&endpoint).expect("written");
    }
    let _netd = start(&host, &format!("{} --state {}", netd_program().display(), state.display()));
    let heals = || files.status().ok().flatten().map_or((0, 0), |status| (status.heals, status.last_heal_us));
    until("the rules are there", || heals().0 == 1);
    let mut away = Vec::new();
    let mut own = Vec::new();
    for round in 2..22 {
        assert!(inside(&host, || command("nft flush ruleset").status()).is_ok_and(|status| status.success()));
        let flushed = Instant::now();
        until("the rules are back", || heals().0 == round);
        away.push(flushed.elapsed().as_micros());
        own.push(heals().1);
    }
    away.sort_unstable();
    own.sort_unstable();
    let elements = inside(&host, || command("nft list table inet gantry").output()).expect("listed").stdout;
    let count = String::from_utf8_lossy(&elements).matches("10.88.").count();
    assert_eq!(count, NAMES, "all elements are back");
    println!(
        "healing after `nft flush ruleset`, {NAMES} endpoints with an element each: away for {} us (median), {} us (most) \
         after nft ended; reading the files and the batch {} us (median)",
        away[away.len() / 2],
        away[away.len() - 1],
        own[own.len() / 2]
    );
}

/// A set of IPv4 addresses, as the engine would encode it.
fn set() -> Vec<u8> {
    let number = |value: u32| value.to_be_bytes();
    nft(0x0a09, &[(1, b"gantry\0"), (2, b"addresses\0"), (4, &number(7)), (5, &number(4)), (10, &number(1))])
}

/// An element of that set.
fn element(address: std::net::IpAddr) -> Vec<u8> {
    let std::net::IpAddr::V4(address) = address else { return Vec::new() };
    let value = attribute(1, &address.octets());
    let key = attribute(1 | 0x8000, &value);
    let element = attribute(1 | 0x8000, &key);
    nft(0x0a0c, &[(2, b"addresses\0"), (1, b"gantry\0"), (3 | 0x8000, &element)])
}

fn nft(kind: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
    // NFPROTO_INET.
    let mut body = vec![1, 0, 0, 0];
    for (number, value) in attributes {
        body.extend(attribute(*number, value));
    }
    let length = u32::try_from(16 + body.len()).expect("short");
    // NLM_F_REQUEST | NLM_F_CREATE.
    let head = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &0x0401u16.to_ne_bytes(), &[0; 8]].concat();
    [head, body].concat()
}

fn attribute(number: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = u16::try_from(4 + value.len()).expect("short").to_ne_bytes().to_vec();
    bytes.extend(number.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn server(address: &str) -> SocketAddr {
    SocketAddr::new(address.parse().expect("an address"), 53)
}

fn ready(peer: Peer) -> Peer {
    let asked = until("the server answers", || {
        inside(&peer.client, || {
            let socket = UdpSocket::bind("0.0.0.0:0").expect("bound");
            socket.set_read_timeout(Some(Duration::from_millis(200))).expect("set");
            socket.connect(peer.server).expect("connected");
            socket.send(&query("container-0")).is_ok() && socket.recv(&mut [0; 512]).is_ok()
        })
    });
    asked.expect("the server answers");
    peer
}

/// A host with a bridge, and a container on it.
fn world() -> (OwnedFd, OwnedFd) {
    let (host, client) = (netns(), netns());
    let run = |netns: &OwnedFd, line: &str| {
        let status = inside(netns, || command(line).status());
        assert!(status.is_ok_and(|status| status.success()), "{line}");
    };
    let place = format!("/proc/{}/fd/{}", std::process::id(), client.as_raw_fd());
    run(&host, "ip link add gtbench0 type bridge");
    run(&host, &format!("ip addr add {GATEWAY}/16 dev gtbench0"));
    run(&host, "ip link set gtbench0 up");
    run(&host, &format!("ip link add gtbench1 type veth peer name eth0 netns {place}"));
    run(&host, "ip link set gtbench1 master gtbench0 up");
    run(&client, "ip addr add 10.88.0.9/16 dev eth0");
    run(&client, "ip link set eth0 up");
    (host, client)
}

fn netns() -> OwnedFd {
    let made = std::thread::spawn(|| {
        namespace::unshare(Namespaces::NETWORK).expect("unshare");
        gantry_linux::network::bring_loopback_up().expect("lo");
        namespace::open_own(Namespaces::NETWORK).expect("the namespace")
    });
    made.join().expect("a namespace")
}

fn inside<T: Send>(netns: &OwnedFd, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            namespace::enter(netns.as_fd(), Namespaces::NETWORK).expect("setns");
            work()
        });
        thread.join().expect("the work is done")
    })
}

fn start(host: &OwnedFd, line: &str) -> Running {
    let child = inside(host, || command(line).stdout(Stdio::null()).stderr(Stdio::null()).spawn());
    let child = child.expect("it starts");
    Running { pid: child.id(), child }
}

fn command(line: &str) -> Command {
    let mut words = line.split_ascii_whitespace();
    let mut command = Command::new(words.next().expect("a program"));
    command.args(words);
    command
}

fn until(what: &str, mut holds: impl FnMut() -> bool) -> Option<()> {
    let start = Instant::now();
    while !holds() {
        if start.elapsed() > Duration::from_secs(30) {
            println!("in vain: {what}");
            return None;
        }
        std::thread::yield_now();
    }
    Some(())
}

/// Whether the bench itself is a real-time process, and so the servers that it starts.
fn is_real_time() -> bool {
    let text = fs::read_to_string("/proc/self/stat").expect("this process");
    // The 41st field; the third comes after the name.
    let after = text.rsplit_once(") ").expect("a name").1;
    after.split_ascii_whitespace().nth(38).is_some_and(|policy| policy != "0")
}

fn cpu_seconds(pid: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let after = text.rsplit_once(')').expect("a name").1;
    let fields: Vec<f64> = after.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect();
    // utime and stime, the 14th and 15th field; the name and the state's letter are not among these. In hundredths.
    (fields[10] + fields[11]) / 100.0
}

fn resident_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
