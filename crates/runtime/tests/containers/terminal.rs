//! A container with a pseudo terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use gantry_linux::wait::wait_pidfd;
use gantry_runtime::execute::{self, Process, Stdio};
use serde_json::json;

use crate::support::{Bundle, remove};

#[test]
fn the_command_has_a_terminal_with_its_size_and_the_console_is_it() {
    let Some(mut bundle) = Bundle::new_or_skip() else { return };
    bundle.spec["process"]["terminal"] = json!(true);
    bundle.spec["process"]["consoleSize"] = json!({"height": 30, "width": 100});
    for init in [false, true] {
        bundle.init = init;
        let plan = bundle.plan(&["sh", "-c", "tty; stty size; test -c /dev/console && echo console > /dev/console; read line; echo got $line > /dev/tty"]);
        let created = execute::create(&plan, Stdio::Terminal).expect("created");
        let running = created.start().expect("started");
        assert_eq!(talk(running.process, "hello\n"), "/dev/pts/0\r\n30 100\r\nconsole\r\ngot hello\r\n");
        remove(running.cgroup);
    }
}

/// Writes to the terminal, reads it to its end without the echo, and reaps the process.
pub(crate) fn talk(process: Process, text: &str) -> String {
    let master = process.terminal.expect("a terminal");
    let mut file = File::from(master.try_clone().expect("dup"));
    file.write_all(text.as_bytes()).expect("write");
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut seen = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        assert!(Instant::now() < deadline, "no end; seen {:?}", String::from_utf8_lossy(&seen));
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => seen.extend_from_slice(&buffer[..length]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => wait_readable(&master),
            // The kernel's way of telling that the last of the other side closed.
            Err(error) if error.raw_os_error() == Some(5) => break,
            Err(error) => panic!("{error}"),
        }
    }
    wait_pidfd(process.pidfd.as_fd()).expect("waitid");
    let echo = text.replace('\n', "\r\n");
    String::from_utf8(seen).expect("utf-8").replacen(&echo, "", 1)
}

fn wait_readable(master: &OwnedFd) {
    let poller = gantry_linux::event::Poller::new().expect("epoll");
    poller.add(master.as_fd(), 0, gantry_linux::event::Readiness::IN).expect("epoll_ctl");
    poller.wait(Some(Duration::from_secs(10)), |_| {}).expect("epoll_wait");
}
