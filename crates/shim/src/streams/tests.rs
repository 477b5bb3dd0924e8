//! Streams with a "process" played by the test on the other side of real pipes and sockets.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use gantry_api::shim::stdio::{self, StdioReader, Tag};
use rustix::pipe::{PipeFlags, pipe_with};

use super::*;
use crate::clock;

const ALL: Wants = Wants { stdin: true, stdout: true, stderr: true, close_stdin_at_detach: false };

/// Streams with a "process" on the other side, and what the loop would hold.
struct Bench {
    poller: Poller,
    scratch: Vec<u8>,
    streams: Streams,
    stdin: File,
    stdout: Option<File>,
}

impl Bench {
    fn new() -> Self {
        let poller = Poller::new().expect("epoll");
        let pipe = || pipe_with(PipeFlags::CLOEXEC).expect("pipe");
        let ((stdin, write), (read, stdout)) = (pipe(), pipe());
        for end in [&write, &read] {
            rustix::io::ioctl_fionbio(end, true).expect("non-blocking");
        }
        let ends = Ends { stdin: Some(write), stdout: Some(read), stderr: None, terminal: None };
        let streams = Streams::new(0, ends, &poller);
        Self { poller, scratch: vec![0; 4096], streams, stdin: stdin.into(), stdout: Some(stdout.into()) }
    }

    fn attach(&mut self, wants: Wants) -> Client {
        let (ours, theirs) = UnixStream::pair().expect("socketpair");
        theirs.set_nonblocking(true).expect("non-blocking");
        self.streams.attach(ours.into(), wants, &self.poller);
        Client { socket: theirs, reader: StdioReader::new() }
    }

    /// Does what is possible now; how many things that were.
    fn turn(&mut self) -> usize {
        let mut ready = Vec::new();
        self.poller.wait(Some(Duration::ZERO), &mut ready).expect("wait");
        let mut context = Context { poller: &self.poller, scratch: &mut self.scratch, log: None };
        for one in &ready {
            match one.token {
                Token::Output(_, stream) => self.streams.on_output(stream, &mut context),
                Token::Input(_) => self.streams.on_input(context.poller),
                Token::Attachment(_, serial) => {
                    self.streams.on_attachment(serial, one.hung_up, &mut context);
                }
                Token::Listener
                | Token::Connection(_)
                | Token::Process(_)
                | Token::OutOfMemory
                | Token::Children => {
                    panic!("not watched here")
                }
            }
        }
        ready.len()
    }

    /// Writes as the process until nothing moves any more.
    fn fill(&mut self, stdout: &mut File) -> usize {
        rustix::io::ioctl_fionbio(&*stdout, true).expect("non-blocking");
        let mut written = 0;
        loop {
            match stdout.write(&[b'x'; 4096]) {
                Ok(count) => written += count,
                Err(_) if self.turn() == 0 => return written,
                Err(_) => {}
            }
        }
    }

    fn settle(&mut self) {
        let turns = (0..10_000).find(|_| self.turn() == 0);
        assert!(turns.is_some(), "the loop spins");
    }
}

/// The other end of an attachment.
struct Client {
    socket: UnixStream,
    reader: StdioReader,
}

impl Client {
    /// What has arrived since the last time.
    fn frames(&mut self) -> Vec<(Tag, Vec<u8>)> {
        let mut bytes = Vec::new();
        // Until it would block, or the end.
        let _ = self.socket.read_to_end(&mut bytes);
        self.reader.extend(&bytes);
        let mut frames = Vec::new();
        while let Some((tag, payload)) = self.reader.next_frame().expect("well formed") {
            frames.push((tag, payload.to_vec()));
        }
        frames
    }
}

#[test]
fn every_attachment_gets_what_it_wants_and_nothing_else() {
    let mut bench = Bench::new();
    let mut all = bench.attach(ALL);
    let mut deaf = bench.attach(Wants { stdout: false, ..ALL });
    bench.stdout.as_mut().expect("open").write_all(b"hello").expect("written");
    bench.settle();
    assert_eq!(all.frames(), [(Tag::Stdout, b"hello".to_vec())]);
    assert_eq!(deaf.frames(), []);
}

#[test]
fn input_of_attachments_reaches_the_process_and_ends_when_they_say_so() {
    let mut bench = Bench::new();
    let mut one = bench.attach(ALL);
    let mut other = bench.attach(Wants { stdin: false, ..ALL });
    let mut bytes = Vec::new();
    stdio::encode(Tag::Stdin, b"in", &mut bytes);
    stdio::encode(Tag::CloseStdin, b"", &mut bytes);
    other.socket.write_all(&bytes).expect("sent");
    bench.settle();
    assert!(bench.streams.is_input_open());
    one.socket.write_all(&bytes).expect("sent");
    bench.settle();
    let mut text = String::new();
    bench.stdin.read_to_string(&mut text).expect("to the end of file");
    assert_eq!(text, "in");
}

#[test]
fn a_detach_leaves_the_input_open_unless_it_was_asked_to_end_it() {
    let mut bench = Bench::new();
    drop(bench.attach(ALL));
    bench.settle();
    assert_eq!((bench.streams.attachments(), bench.streams.is_input_open()), (0, true));
    drop(bench.attach(Wants { close_stdin_at_detach: true, ..ALL }));
    bench.settle();
    assert_eq!((bench.streams.attachments(), bench.streams.is_input_open()), (0, false));
}

#[test]
fn an_attachment_that_does_not_read_holds_back_the_process_until_it_goes() {
    let mut bench = Bench::new();
    let stuck = bench.attach(ALL);
    let mut stdout = bench.stdout.take().expect("open");
    let written = bench.fill(&mut stdout);
    // A pipe, a socket's buffer and what may wait in between.
    assert!(written < 1 << 20, "{written} bytes are held somewhere");
    drop(stuck);
    // Its leaving is seen by the write that waits.
    bench.settle();
    assert_eq!(bench.streams.attachments(), 0);
    assert!(stdout.write(&[b'x'; 4096]).is_ok(), "the output flows again");
}

#[test]
fn after_the_end_a_slow_attachment_gets_the_rest_and_a_stuck_one_is_given_up() {
    let mut bench = Bench::new();
    let mut slow = bench.attach(ALL);
    let stuck = bench.attach(ALL);
    let mut stdout = bench.stdout.take().expect("open");
    let written = bench.fill(&mut stdout);
    drop(stdout);
    let mut context = Context { poller: &bench.poller, scratch: &mut bench.scratch, log: None };
    assert!(bench.streams.drain(&mut context), "all output has ended");
    let deadline = clock::steady() + Duration::from_secs(1000);
    bench.streams.finish(deadline, &bench.poller);
    let mut frames = Vec::new();
    while frames.last() != Some(&(Tag::End, Vec::new())) {
        let before = frames.len();
        frames.extend(slow.frames());
        bench.settle();
        assert!(frames.len() > before, "the rest does not come");
    }
    assert_eq!(frames.iter().map(|(_, payload)| payload.len()).sum::<usize>(), written);
    assert_eq!((bench.streams.attachments(), bench.streams.deadline()), (1, Some(deadline)));
    bench.streams.expire(deadline, &bench.poller);
    assert_eq!(bench.streams.attachments(), 0);
    drop(stuck);
}

#[test]
fn a_peer_that_half_closes_and_leaves_later_is_dropped_while_nothing_is_written() {
    let mut bench = Bench::new();
    let listener = bench.attach(ALL);
    listener.socket.shutdown(std::net::Shutdown::Write).expect("open");
    bench.settle();
    assert_eq!(bench.streams.attachments(), 1, "it still listens");
    drop(listener);
    bench.settle();
    assert_eq!(bench.streams.attachments(), 0);
}

#[test]
fn a_peer_that_speaks_another_protocol_is_hung_up_on() {
    let mut bench = Bench::new();
    let mut odd = bench.attach(ALL);
    odd.socket.write_all(b"GET / HTTP/1.1\r\n").expect("sent");
    bench.settle();
    assert_eq!(bench.streams.attachments(), 0);
    assert_eq!(odd.socket.read(&mut [0]).ok(), Some(0));
}

#[test]
fn input_that_the_process_does_not_read_is_bounded() {
    let mut bench = Bench::new();
    let mut one = bench.attach(ALL);
    let mut frame = Vec::new();
    stdio::encode(Tag::Stdin, &[b'x'; 4096], &mut frame);
    let mut sent = 0;
    loop {
        match one.socket.write(&frame) {
            // A frame cut short by a full socket would be another test.
            Ok(count) if count == frame.len() => sent += count,
            Ok(_) | Err(_) => break,
        }
        bench.settle();
    }
    assert!(sent < 1 << 20, "{sent} bytes are held somewhere");
    drop(one);
    bench.settle();
    let mut taken = vec![0; sent];
    rustix::io::ioctl_fionbio(&bench.stdin, true).expect("non-blocking");
    let mut total = 0;
    while let Ok(count) = bench.stdin.read(&mut taken)
        && count > 0
    {
        total += count;
        bench.settle();
    }
    assert!(total >= sent / (frame.len()) * 4096, "all that was sent arrives, though the sender is gone");
    assert_eq!(bench.streams.attachments(), 0);
}
