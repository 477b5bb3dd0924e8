//! Do packets of containers travel as fast as those of links that somebody made by hand? The same two programmes' worth
//! of sockets, once in containers and once in plain namespaces on a plain bridge with three rules of nftables, in turn:
//! neighbour to neighbour, and from outside to a published port.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Result;
use gantry_tests::network::{HOST, Namespace, Stage, inside};
use gantry_tests::wait::{seconds, until};

use crate::gantry::Gantry;
use crate::stats::Samples;
use crate::table::Table;

/// How often each is measured, and how long.
const ROUNDS: usize = 9;
const ROUND: Duration = Duration::from_secs(1);
const CHUNK_BYTES: usize = 128 << 10;

/// The rules of the plain host: what everybody writes who publishes a port by hand.
const RULES: &str = "nft -f - <<'END'
table ip plain {
    chain in { type nat hook prerouting priority dstnat; tcp dport 8080 dnat to 10.77.0.2:80; }
    chain out { type nat hook postrouting priority srcnat; ip saddr 10.77.0.0/24 oifname != \"br0\" masquerade; }
    chain through { type filter hook forward priority filter; ct state established,related accept; }
}
END
echo 1 >/proc/sys/net/ipv4/ip_forward";

/// Who sends to whom.
struct Way {
    server: u32,
    client: u32,
    listen: SocketAddr,
    connect: SocketAddr,
}

pub(crate) fn measure(gantry: &Gantry, stage: &Stage, table: &mut Table) {
    table.line("## Throughput\n");
    table.line(&format!(
        "One TCP connection, {ROUNDS} rounds of {ROUND:?} in turn, medians; min and max of the rounds.\n"
    ));
    table.line("| way | Gantry, Gbit/s | plain veth, bridge and nftables, Gbit/s | ratio |");
    table.line("| --- | ---: | ---: | ---: |");
    if let Err(error) = rows(gantry, stage, table) {
        table.not_measured("throughput", &error);
    }
    table.line("\nGoal: within 3 % of plain.\n");
}

fn rows(gantry: &Gantry, stage: &Stage, table: &mut Table) -> Result<()> {
    let daemon = &gantry.daemon;
    for (name, flags) in [("server", &["-p", "8080:80"][..]), ("client", &[])] {
        let words = [
            &["run", "-d", "--name", name, "--network", "bench"],
            flags,
            &[gantry.image(), "sleep", "100000"],
        ];
        daemon.ok(&words.concat())?;
    }
    let address = daemon.inspect("server", "{{.NetworkSettings.Networks.bench.IPAddress}}")?;
    let (server, client) = (daemon.container_pid("server")?, daemon.container_pid("client")?);
    let plain = Plain::make()?;
    let at = |address: &str, port| anyhow::Ok(SocketAddr::new(address.parse()?, port));
    let listen = at("0.0.0.0", 80)?;
    let ours = |client, connect| Way { server, client, listen, connect };
    let theirs = |client, connect| Way { server: plain.server.process(), client, listen, connect };
    let pairs = [
        (
            "container to container",
            ours(client, at(&address, 80)?),
            theirs(plain.client.process(), at("10.77.0.2", 80)?),
        ),
        (
            "outside to published port",
            ours(stage.outside_process(), at(HOST, 8080)?),
            theirs(plain.stage.outside_process(), at(HOST, 8080)?),
        ),
    ];
    for (name, ours, theirs) in &pairs {
        let (mut gantry, mut plain) = (Samples::default(), Samples::default());
        for round in 0..=ROUNDS {
            let (one, other) = (ours.send()?, theirs.send()?);
            // The first one warms up.
            if round > 0 {
                gantry.push_microseconds(one);
                plain.push_microseconds(other);
            }
        }
        // Megabits a second were pushed as microseconds, so what comes out as milliseconds are gigabits.
        let show = |samples: &Samples| {
            let [median, min, max] = [50, 0, 100].map(|percent| samples.percentile_ms(percent));
            format!("{median:.2} ({min:.2} to {max:.2})")
        };
        let ratio = gantry.median_ms() / plain.median_ms();
        table.line(&format!("| {name} | {} | {} | {ratio:.3} |", show(&gantry), show(&plain)));
    }
    daemon.ok(&["rm", "-f", "server", "client"])?;
    Ok(())
}

impl Way {
    /// Megabits a second that arrive.
    fn send(&self) -> Result<u64> {
        let listener = inside(self.server, || Ok(TcpListener::bind(self.listen)?))?;
        let mut sender = inside(self.client, || {
            until("a connection", seconds(10), || {
                Ok(TcpStream::connect_timeout(&self.connect, seconds(1)).ok())
            })
        })?;
        let (mut receiver, _) = listener.accept()?;
        let start = Instant::now();
        let receiving = std::thread::spawn(move || {
            let mut buffer = vec![0; CHUNK_BYTES];
            let mut bytes = 0_u64;
            while let Ok(length @ 1..) = receiver.read(&mut buffer) {
                bytes += length as u64;
            }
            (bytes, Instant::now())
        });
        let chunk = vec![7; CHUNK_BYTES];
        while start.elapsed() < ROUND {
            sender.write_all(&chunk)?;
        }
        drop(sender);
        let (bytes, end) = receiving.join().unwrap_or((0, start));
        let took = u64::try_from((end - start).as_micros())?.max(1);
        Ok(bytes * 8 / took)
    }
}

/// Two namespaces on a bridge of a host of their own.
struct Plain {
    stage: Stage,
    server: Namespace,
    client: Namespace,
}

impl Plain {
    fn make() -> Result<Self> {
        let plain = Self { stage: Stage::make()?, server: Namespace::make()?, client: Namespace::make()? };
        let host = |line: &str| plain.stage.host(line)?.exits(0).map(drop);
        host("ip link add br0 type bridge && ip addr add 10.77.0.1/24 dev br0 && ip link set br0 up")?;
        for (number, namespace) in [(2, &plain.server), (3, &plain.client)] {
            let process = namespace.process();
            host(&format!("ip link add v{number} type veth peer name eth0 netns {process}"))?;
            host(&format!("ip link set v{number} master br0 up"))?;
            host(&format!(
                "nsenter --net=/proc/{process}/ns/net sh -c 'ip addr add 10.77.0.{number}/24 dev eth0 && \
                 ip link set eth0 up && ip link set lo up && ip route add default via 10.77.0.1'"
            ))?;
        }
        host(RULES)?;
        Ok(plain)
    }
}
