use super::*;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

fn shell() -> File {
    File::open("/bin/sh").expect("a shell")
}

/// Runs a script whose output comes through descriptor 5.
fn output_of(script: &str, env: &[&str], more: &[(BorrowedFd<'_>, u32)]) -> (Spawned, String) {
    let (mut reader, writer) = std::io::pipe().expect("pipe");
    let shell = shell();
    let null = File::open("/dev/null").expect("open");
    let mut descriptors = vec![(null.as_fd(), 0), (writer.as_fd(), 5), (null.as_fd(), 1)];
    descriptors.extend_from_slice(more);
    let string = |text: &&str| CString::new(*text).expect("no zero");
    let spawn = Spawn {
        programme: shell.as_fd(),
        args: ["sh", "-c", script].iter().map(string).collect(),
        env: env.iter().map(string).collect(),
        descriptors,
    };
    let spawned = spawn.start().expect("spawn");
    drop(writer);
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("read");
    (spawned, text)
}

fn ended(spawned: &Spawned) -> bool {
    let mut poll = [rustix::event::PollFd::new(&spawned.pidfd, rustix::event::PollFlags::IN)];
    let limit = rustix::event::Timespec { tv_sec: 10, tv_nsec: 0 };
    rustix::event::poll(&mut poll, Some(&limit)).expect("poll") == 1
}

#[test]
fn a_programme_runs_in_its_own_session_as_nobodys_child_of_ours() {
    let script =
        "read -r pid comm state ppid pgrp session rest </proc/$$/stat; echo $$ $ppid $session $A >&5";
    let (spawned, text) = output_of(script, &["A=b"], &[]);
    let words: Vec<&str> = text.split_whitespace().collect();
    assert_eq!(words[0], spawned.pid.to_string());
    assert_ne!(words[1], std::process::id().to_string(), "it was given away");
    assert_eq!(words[2], words[0], "it leads a session");
    assert_eq!(words[3], "b");
    assert!(ended(&spawned));
}

#[test]
fn only_the_mapped_descriptors_are_open_even_when_numbers_cross() {
    // Two descriptors without close-on-exec that must not get through, and two whose numbers are swapped.
    let leak = rustix::io::fcntl_dupfd_cloexec(shell(), 60).expect("dup");
    rustix::io::fcntl_setfd(&leak, rustix::io::FdFlags::empty()).expect("fcntl");
    // High numbers, away from the ones that every programme here gets.
    let open = |path| rustix::io::fcntl_dupfd_cloexec(File::open(path).expect("open"), 50).expect("dup");
    let (first, second) = (open("/dev/zero"), open("/dev/full"));
    let (a, b) = (first.as_raw_fd().cast_unsigned(), second.as_raw_fd().cast_unsigned());
    let script = "cd /proc/$$/fd; for n in *; do [ -e $n ] && echo $n=$(readlink $n); done >&5";
    let (spawned, text) =
        output_of(script, &["PATH=/usr/bin:/bin"], &[(first.as_fd(), b), (second.as_fd(), a)]);
    assert!(ended(&spawned));
    let open: Vec<&str> = text.lines().filter(|line| !line.contains("pipe:")).collect();
    let expected = |number: u32, path: &str| open.contains(&format!("{number}={path}").as_str());
    assert!(expected(b, "/dev/zero") && expected(a, "/dev/full"), "{text}");
    let leaked = format!("{}=", leak.as_raw_fd());
    assert!(open.iter().all(|line| !line.starts_with(&leaked)), "{text}");
}

#[test]
fn signals_are_default_and_unblocked_in_it() {
    let before = signal::set_blocked(SignalSet::of(&[signal::Signal::USR1])).expect("block");
    let (spawned, text) = output_of("while read -r line; do echo $line >&5; done </proc/$$/status", &[], &[]);
    signal::set_blocked(before).expect("restore");
    assert!(ended(&spawned));
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
    assert_eq!(field("SigBlk:"), "0000000000000000");
    // A shell may ignore some of its own accord, but never this one.
    let ignored = u64::from_str_radix(field("SigIgn:"), 16).expect("a mask");
    let pipe = 1 << (signal::Signal::PIPE.number() - 1);
    assert_eq!(ignored & pipe, 0, "Rust ignores SIGPIPE, and that must not travel");
}

#[test]
fn a_file_that_cannot_be_executed_is_told_and_leaves_nothing() {
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(b"\x7fELF but not really").expect("write");
    let spawn =
        Spawn { programme: file.as_fd(), args: vec![c"x".into()], env: Vec::new(), descriptors: Vec::new() };
    let error = spawn.start().expect_err("it is no programme");
    assert_eq!(error.call, "execveat");
    assert!([Errno::ACCESS, Errno::NOEXEC].contains(&error.errno), "{error:?}");
    let children = std::fs::read_to_string("/proc/thread-self/children").expect("read");
    assert_eq!(children, "", "the middle is reaped, and the failed programme was never ours");
}

#[test]
fn many_threads_spawn_at_once_and_each_gets_its_own_programme() {
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                for round in 0..10 {
                    let want = format!("{thread}.{round}");
                    let (spawned, text) = output_of(&format!("echo $$ {want} >&5"), &[], &[]);
                    assert_eq!(text.trim(), format!("{} {want}", spawned.pid));
                }
            });
        }
    });
}

#[test]
fn the_cost_does_not_grow_with_the_callers_memory() {
    let spawn_once = || {
        let shell = File::open("/bin/true").expect("open");
        let null = File::open("/dev/null").expect("open");
        let begin = Instant::now();
        let spawn = Spawn {
            programme: shell.as_fd(),
            args: vec![c"true".into()],
            env: Vec::new(),
            descriptors: vec![(null.as_fd(), 0), (null.as_fd(), 1), (null.as_fd(), 2)],
        };
        let spawned = spawn.start().expect("spawn");
        let took = begin.elapsed();
        assert!(ended(&spawned));
        took
    };
    // The fastest of some: the machine may be busy with something else meanwhile.
    let fastest = || (0..31).map(|_| spawn_once()).min().expect("thirty-one");
    let small = fastest();
    let ballast = vec![1u8; 256 << 20];
    let large = fastest();
    assert_eq!(ballast[ballast.len() - 1], 1);
    eprintln_measure(small, large);
    // fork(2) would add 5 ms here, and ten times that in emulation: the bound only has to tell the two apart.
    assert!(large < small * 3 + Duration::from_millis(3), "{small:?} grew to {large:?}");
}

#[expect(clippy::print_stderr, reason = "a measurement for whoever reads the test's output")]
fn eprintln_measure(small: Duration, large: Duration) {
    eprintln!("spawn: {small:?} as it is, {large:?} with 256 MiB more");
}
