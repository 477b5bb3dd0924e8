//! The process that shims are copies of.

use std::ffi::CString;
use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use gantry_api::shim::v1::HelloRequest;
use gantry_api::shim::v1::request::Action;
use gantry_api::shim::v1::response::Result as Answer;
use gantry_api::shim::{NURSERY_ARGUMENT, SHIM_NAME_BYTES_MAX, VERSION, VERSION_MIN};
use gantry_linux::socket::{self, Kind};
use gantry_linux::spawn::{Spawn, Spawned};

use crate::bench::{Daemon, programme, until};

/// A nursery and the daemon's end of its socket.
fn nursery() -> (Spawned, OwnedFd) {
    let (ours, theirs) = socket::pair(Kind::SequencedPacket, false).expect("socketpair");
    let null = File::options().read(true).write(true).open("/dev/null").expect("a kernel device");
    let room = " ".repeat(SHIM_NAME_BYTES_MAX);
    let args = ["gantry-shim", NURSERY_ARGUMENT, &room].map(|arg| CString::new(arg).expect("no NUL"));
    let descriptors = vec![(null.as_fd(), 0), (null.as_fd(), 1), (null.as_fd(), 2), (theirs.as_fd(), 3)];
    let programme = programme();
    let spawn = Spawn { programme: programme.as_fd(), args: args.into(), env: Vec::new(), descriptors };
    (spawn.start().expect("the nursery starts"), ours)
}

/// Has a shim made; returns its id beside the connection.
fn born(nursery: &OwnedFd, name: &str) -> (u32, Daemon) {
    let (ours, theirs) = UnixStream::pair().expect("socketpair");
    socket::send(nursery.as_fd(), name.as_bytes(), &[theirs.as_fd()]).expect("asked");
    drop(theirs);
    let mut daemon = Daemon::new(ours);
    let hello = HelloRequest { version: VERSION, version_min: VERSION_MIN, daemon_release: String::new() };
    let Ok(Answer::Hello(answer)) = daemon.ask(Action::Hello(hello)) else { panic!("no answer to Hello") };
    (answer.shim_pid, daemon)
}

/// Fields of proc_pid_stat(5): parent and session.
fn parent_and_session(pid: u32) -> (u32, u32) {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let fields: Vec<&str> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
    (fields[1].parse().expect("a number"), fields[3].parse().expect("a number"))
}

fn ended(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .map_or(true, |stat| stat.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" Z")))
}

#[test]
fn shims_of_a_nursery_are_nobodys_children_and_show_their_own_names() {
    let (spawned, socket) = nursery();
    let mother = spawned.pid.as_raw().unsigned_abs();
    let (first, first_connection) = born(&socket, "default/0123456789ab");
    let (second, _second_connection) = born(&socket, &"n".repeat(SHIM_NAME_BYTES_MAX));
    assert_ne!(first, second);
    assert_eq!(parent_and_session(first), (parent_and_session(mother).0, first));
    let command_line = fs::read(format!("/proc/{first}/cmdline")).expect("it runs");
    let words: Vec<&[u8]> = command_line.split(|byte| *byte == 0).filter(|word| !word.is_empty()).collect();
    assert_eq!(words, [&b"gantry-shim"[..], b"default/0123456789ab"]);
    let open = fs::read_dir(format!("/proc/{first}/fd")).expect("it runs").count();
    assert_eq!(open, 5, "the standard descriptors, the connection and the poller");
    // One that nobody knows of any more ends; the others live on.
    drop(first_connection);
    until("the first shim to end", || ended(first));
    assert!(!ended(second) && !ended(mother));
}

#[test]
fn a_nursery_ends_with_its_daemon_and_its_shims_do_not() {
    let (spawned, socket) = nursery();
    let (shim, mut connection) = born(&socket, "default/0123456789ab");
    drop(socket);
    let mother = spawned.pid.as_raw().unsigned_abs();
    until("the nursery to end", || ended(mother));
    assert_eq!(connection.state().phase(), gantry_api::shim::v1::Phase::Born);
    drop(connection);
    until("the shim to end", || ended(shim));
}
