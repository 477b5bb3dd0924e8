//! Can a client or a container use up the daemon? Floods of connections, attachments, output and HTTP/2 frames: while they go
//! on and after them it answers, and what it holds goes back to what it was.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use futures_util::StreamExt as _;
use gantry_api::connect::{Address, connect};
use gantry_api::containers::v1 as containers;
use gantry_api::containers::v1::AttachContainerRequest;
use gantry_api::containers::v1::attach_container_request::Message;
use gantry_api::containers::v1::container_service_client::ContainerServiceClient;
use gantry_tests::cli::{gantry, run};
use gantry_tests::daemon::Daemon;
use gantry_tests::trial::World;
use gantry_tests::wait::{seconds, until_true};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, socket};
use tonic::IntoStreamingRequest;

tests![
    more_connections_than_descriptors_do_not_end_the_daemon,
    ten_thousand_aborted_attachments_leave_nothing,
    output_without_end_does_not_grow_the_daemon,
    a_flood_of_resets_headers_and_empty_frames_is_survived,
];

/// How much a flood may add to a process's memory: what allocators keep, and nothing that grows with the flood.
const GROWTH_KIB: u64 = 24 << 10;

/// A number of `/proc/<pid>/status`.
fn status(pid: u32, field: &str) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)).context("the field is there")?;
    let number = line.trim_start_matches(':').split_whitespace().next().context("it has a value")?;
    Ok(number.parse()?)
}

fn descriptors(pid: u32) -> Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

/// The container's shim, which has written its id into its bundle.
fn shim_of(daemon: &Daemon, id: &str) -> Result<u32> {
    Ok(fs::read_to_string(daemon.path("run/shims/default").join(id).join("pid"))?.trim().parse()?)
}

fn more_connections_than_descriptors_do_not_end_the_daemon(world: &World) -> Result<()> {
    const DESCRIPTORS: usize = 128;
    let mut daemon = Daemon::prepare()?;
    daemon.wrap(&["prlimit", &format!("--nofile={DESCRIPTORS}")]);
    daemon.restart()?;
    let address = UnixAddr::new(&daemon.socket())?;
    let mut held = Vec::new();
    for _ in 0..2 * DESCRIPTORS {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let stream = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
        // The kernel's queue may be full, which is as good.
        let _ = nix::sys::socket::connect(std::os::fd::AsRawFd::as_raw_fd(&stream), &address);
        held.push(stream);
    }
    until_true("the descriptors to be used up", seconds(20), || {
        Ok(daemon.log().contains("a connection was not accepted"))
    })?;
    drop(held);
    daemon.ok(&["version"])?;
    let pid = daemon.pid()?;
    until_true("the connections to be gone", seconds(20), || Ok(descriptors(pid)? < DESCRIPTORS / 2))?;
    daemon.ok(&["pull", "-q", &world.shared.busybox.reference])?;
    daemon.gantry(&["run", "--rm", &world.shared.busybox.reference, "true"])?.exits(0)?;
    world.done(daemon);
    Ok(())
}

fn ten_thousand_aborted_attachments_leave_nothing(world: &World) -> Result<()> {
    const ROUNDS: usize = 10_000;
    const AT_ONCE: usize = 20;
    let (mut daemon, image) = world.daemon_with_busybox()?;
    // A line of the log for each would be most of the work.
    daemon.stop()?;
    daemon.set_log_level("warn");
    daemon.restart()?;
    let id = daemon.ok(&["run", "-d", "-i", &image, "cat"])?;
    let (pid, shim) = (daemon.pid()?, shim_of(&daemon, &id)?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let attach_and_abort = |rounds: usize| {
        runtime.block_on(async {
            let channel = connect(&Address::Unix(daemon.socket()), None).await?;
            for _ in 0..rounds / AT_ONCE {
                let calls = (0..AT_ONCE).map(|_| {
                    let mut client = ContainerServiceClient::new(channel.clone());
                    let selection = containers::AttachSelection {
                        container: id.clone(),
                        stdin: true,
                        ..Default::default()
                    };
                    let first = AttachContainerRequest { message: Some(Message::Select(selection)) };
                    tokio::spawn(async move {
                        loop {
                            let (requests, open) = only(first.clone());
                            let answers = client.attach_container(requests).await;
                            match answers.map(tonic::Response::into_inner) {
                                Ok(mut answers) => {
                                    let attached = answers.message().await.map(|_| ());
                                    drop((answers, open));
                                    return attached;
                                }
                                // Those that were given up are still being cleared away.
                                Err(status) if status.code() == tonic::Code::ResourceExhausted => {}
                                Err(status) => return Err(status),
                            }
                        }
                    })
                });
                for call in calls.collect::<Vec<_>>() {
                    call.await?.context("attaching")?;
                }
            }
            anyhow::Ok(())
        })
    };
    attach_and_abort(AT_ONCE * 10)?;
    let before = (descriptors(pid)?, status(pid, "Threads")?, descriptors(shim)?, status(pid, "VmRSS")?);
    attach_and_abort(ROUNDS)?;
    until_true("everything to be closed", seconds(30), || {
        Ok(descriptors(pid)? <= before.0 + 2 && descriptors(shim)? <= before.2 + 2)
    })
    .with_context(|| format!("before: {before:?}"))?;
    let threads = status(pid, "Threads")?;
    ensure!(threads <= before.1 + 4, "{threads} threads, {} before", before.1);
    let memory = status(pid, "VmRSS")?;
    ensure!(memory < before.3 + GROWTH_KIB, "{memory} KiB, {} before", before.3);
    ensure!(daemon.ok(&["exec", &id, "echo", "alive"])? == "alive");
    world.done(daemon);
    Ok(())
}

/// One message, and then nothing until the other part is dropped.
fn only(
    first: AttachContainerRequest,
) -> (impl IntoStreamingRequest<Message = AttachContainerRequest>, impl Send) {
    let (open, mut held) = tokio::sync::mpsc::channel(1);
    let rest = futures_util::stream::poll_fn(move |context| held.poll_recv(context));
    (futures_util::stream::once(std::future::ready(first)).chain(rest), open)
}

fn output_without_end_does_not_grow_the_daemon(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    // One that only logs, one whose client does not read, and one that is read to its end.
    let id = daemon.ok(&["run", "-d", &image, "yes"])?;
    let (pid, shim) = (daemon.pid()?, shim_of(&daemon, &id)?);
    let (memory, shims) = (status(pid, "VmRSS")?, status(shim, "VmRSS")?);
    let mut stalled = gantry(&daemon.socket(), &["exec", &id, "yes"]);
    let mut stalled = stalled.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let script = "yes | head -c 100000000";
    let read = run(Command::new("sh")
        .args(["-c", "\"$@\" | wc -c", "sh"])
        .arg(gantry_tests::programs::program("gantry"))
        .args(["-H", &format!("unix://{}", daemon.socket().display()), "exec", &id, "sh", "-c", script]));
    let (after, shims_after) = (status(pid, "VmRSS")?, status(shim, "VmRSS")?);
    stalled.kill()?;
    stalled.wait()?;
    ensure!(read?.ok()?.trim() == "100000000");
    ensure!(after < memory + GROWTH_KIB, "the daemon has {after} KiB, {memory} before");
    ensure!(shims_after < shims + 4096, "the shim has {shims_after} KiB, {shims} before");
    let kept = run(Command::new("du").args(["-sk"]).arg(daemon.path("root/containers")))?.ok()?;
    let kept: u64 = kept.split_whitespace().next().context("a size")?.parse()?;
    ensure!(kept < (5 * (16 << 10)), "{kept} KiB of log are kept");
    world.done(daemon);
    Ok(())
}

/// The beginning of an HTTP/2 connection: preface and empty settings (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// The frames of a flood, by their number.
type Flood<'a> = &'a dyn Fn(u32) -> Vec<u8>;

/// A frame: length, type, flags, stream, payload (RFC 9113 section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a small payload").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn a_flood_of_resets_headers_and_empty_frames_is_survived(world: &World) -> Result<()> {
    const FRAMES: u32 = 50_000;
    let mut daemon = Daemon::prepare()?;
    daemon.set_log_level("warn");
    daemon.restart()?;
    let pid = daemon.pid()?;
    // POST, http, /, from HPACK's static table (RFC 7541, appendix A).
    let head = [0x83, 0x86, 0x84];
    let resets = |number: u32| {
        let stream = 2 * number + 1;
        [frame(1, 0x5, stream, &head), frame(3, 0, stream, &8_u32.to_be_bytes())].concat()
    };
    let headers = |number: u32| {
        if number == 0 {
            frame(1, 0, 1, &head)
        } else {
            frame(9, 0, 1, &[0x40, 1, b'a', 1, b'b'].repeat(500))
        }
    };
    let empty = |number: u32| {
        if number == 0 { frame(1, 0x4, 1, &head) } else { frame(0, 0, 1, &[]) }
    };
    let settings = |_: u32| frame(4, 0, 0, &[]);
    let floods: [(&str, Flood<'_>); 4] =
        [("resets", &resets), ("headers", &headers), ("empty data", &empty), ("settings", &settings)];
    for (name, flood) in floods {
        let before = status(pid, "VmRSS")?;
        let mut stream = UnixStream::connect(daemon.socket())?;
        stream.set_write_timeout(Some(seconds(20)))?;
        stream.set_read_timeout(Some(seconds(20)))?;
        let mut drain = stream.try_clone()?;
        // What the daemon answers is read and dropped, so that it is never the one who waits.
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while drain.read(&mut buffer).is_ok_and(|count| count > 0) {}
        });
        let mut written = stream.write_all(PREFACE);
        for number in 0..FRAMES {
            written = written.and_then(|()| stream.write_all(&flood(number)));
        }
        // The daemon may hang up, which is best, or swallow it; it may not stop reading.
        ensure!(
            written.as_ref().err().is_none_or(|error| error.kind() != ErrorKind::WouldBlock),
            "{name}: {written:?}"
        );
        daemon.ok(&["version"])?;
        let after = status(pid, "VmRSS")?;
        ensure!(after < before + GROWTH_KIB, "{name}: {after} KiB, {before} before");
        let _ = stream.shutdown(std::net::Shutdown::Both);
        reader.join().expect("the reader does not panic");
    }
    world.done(daemon);
    Ok(())
}
