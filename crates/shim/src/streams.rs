//! A process's standard streams and who listens to them: output goes from its pipes (or terminal) to the log
//! and to every attachment, input from the attachments to its pipe. One slow attachment holds the output
//! back, for then the pipe is not read; it never holds back anything else of the shim.
//!
//! ```text
//!  process ──stdout/stderr──► Source ──► Log (init only)
//!                                  └───► Attachment… ──► client
//!  process ◄──────stdin────── Input ◄─── Attachment… ◄── client
//! ```

use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use rustix::io::Errno;

use crate::attachment::{Attachment, Wants};
use crate::input::Input;
use crate::log::{Log, Stream};
use crate::poller::{Interest, Poller, Token};

/// Attachments to one process at the most.
pub(crate) const ATTACHMENTS_MAX: usize = 64;

/// Bytes that a pipe holds at the most, unless root made it larger (`/proc/sys/fs/pipe-max-size`).
const DRAIN_BYTES_MAX: usize = 1 << 20;

/// What every operation on streams needs from the loop.
pub(crate) struct Context<'a> {
    /// The loop's poller.
    pub(crate) poller: &'a Poller,
    /// Where bytes pass through.
    pub(crate) scratch: &'a mut [u8],
    /// Where output is kept; `None` for an exec.
    pub(crate) log: Option<&'a mut Log>,
}

/// The shim's ends, all non-blocking.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    /// Writing end of standard input.
    pub(crate) stdin: Option<OwnedFd>,
    /// Reading end of standard output; the terminal's master where there is one.
    pub(crate) stdout: Option<OwnedFd>,
    /// Reading end of standard error.
    pub(crate) stderr: Option<OwnedFd>,
    /// The terminal's master once more, for its size.
    pub(crate) terminal: Option<OwnedFd>,
}

/// One process's streams.
#[derive(Debug)]
pub(crate) struct Streams {
    slot: u32,
    sources: [Source; 2],
    input: Input,
    terminal: Option<OwnedFd>,
    attachments: Vec<Attachment>,
    next_serial: u32,
    /// Whether the process is over for its listeners: what still comes is only logged.
    finished: bool,
}

/// Where one stream of output comes from.
#[derive(Debug)]
struct Source {
    stream: Stream,
    end: Option<OwnedFd>,
    interest: Interest,
}

/// What one read gave.
enum Read {
    Some,
    Nothing,
    End,
}

impl Streams {
    /// Starts to watch the output.
    pub(crate) fn new(slot: u32, ends: Ends, poller: &Poller) -> Self {
        let source = |stream, end| Source { stream, end, interest: Interest::NONE };
        let mut streams = Self {
            slot,
            input: Input::new(slot, ends.stdin, ends.terminal.is_some()),
            sources: [source(Stream::Stdout, ends.stdout), source(Stream::Stderr, ends.stderr)],
            terminal: ends.terminal,
            attachments: Vec::new(),
            next_serial: 1,
            finished: false,
        };
        streams.settle(poller);
        streams
    }

    /// Adds a listener.
    pub(crate) fn attach(&mut self, socket: OwnedFd, wants: Wants, poller: &Poller) {
        let serial = self.next_serial;
        self.next_serial = self.next_serial.wrapping_add(1);
        self.attachments.push(Attachment::new(self.slot, serial, socket, wants));
        self.settle(poller);
    }

    /// Listeners now.
    pub(crate) fn attachments(&self) -> usize {
        self.attachments.len()
    }

    /// The terminal's master, if there is one.
    pub(crate) fn terminal(&self) -> Option<&OwnedFd> {
        self.terminal.as_ref()
    }

    /// Whether input given now reaches the process.
    pub(crate) fn is_input_open(&self) -> bool {
        self.input.is_open()
    }

    /// Ends the input behind what waits.
    pub(crate) fn close_input(&mut self, poller: &Poller) {
        self.input.close(poller);
        self.settle(poller);
    }

    /// The process wrote, or closed its output.
    pub(crate) fn on_output(&mut self, stream: Stream, context: &mut Context<'_>) {
        self.read_once(index(stream), context);
        self.settle(context.poller);
    }

    /// The process's input takes more.
    pub(crate) fn on_input(&mut self, poller: &Poller) {
        self.input.flush(poller);
        self.settle(poller);
    }

    /// An attachment sent something, takes more, or left.
    pub(crate) fn on_attachment(&mut self, serial: u32, hung_up: bool, context: &mut Context<'_>) {
        if let Some(attachment) = self.attachments.iter_mut().find(|one| one.serial() == serial) {
            attachment.receive(hung_up, context.scratch, &mut self.input, context.poller);
            attachment.flush();
        }
        self.settle(context.poller);
    }

    /// Reads what is there now, whether attachments take it or not: at the most what a pipe holds, for others may
    /// still be writing. Returns whether all output has ended.
    pub(crate) fn drain(&mut self, context: &mut Context<'_>) -> bool {
        for source in 0..self.sources.len() {
            let reads = (0..DRAIN_BYTES_MAX).step_by(context.scratch.len().max(1));
            // As many as it takes; the last tells that there is no more.
            let _ = reads.into_iter().find(|_| !matches!(self.read_once(source, context), Read::Some));
        }
        self.settle(context.poller);
        self.is_output_over()
    }

    /// Whether nobody can write any more.
    pub(crate) fn is_output_over(&self) -> bool {
        self.sources.iter().all(|source| source.end.is_none())
    }

    /// The process is over: attachments are told, and have until `deadline` to read the rest. Output that
    /// others still write (a daemon the process left behind) is read and dropped, so that they never block.
    pub(crate) fn finish(&mut self, deadline: Instant, poller: &Poller) {
        self.finished = true;
        self.input.shut(poller);
        self.terminal = None;
        for attachment in &mut self.attachments {
            attachment.finish(deadline);
        }
        self.settle(poller);
    }

    /// Stops reading output altogether.
    pub(crate) fn close_output(&mut self, poller: &Poller) {
        for source in &mut self.sources {
            source.close(self.slot, poller);
        }
    }

    /// Until when the first attachment may read the rest; `None` while the process lives.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.attachments.iter().filter_map(Attachment::deadline).min()
    }

    /// Drops attachments whose time is over.
    pub(crate) fn expire(&mut self, now: Instant, poller: &Poller) {
        self.drop_attachments(poller, |one| one.deadline().is_some_and(|deadline| deadline <= now));
    }

    /// Drops all attachments at once.
    pub(crate) fn detach_all(&mut self, poller: &Poller) {
        self.drop_attachments(poller, |_| true);
    }

    fn read_once(&mut self, source: usize, context: &mut Context<'_>) -> Read {
        let Some(end) = &self.sources[source].end else { return Read::End };
        let stream = self.sources[source].stream;
        match rustix::io::read(end, &mut *context.scratch) {
            Ok(count) if count > 0 => {
                let bytes = &context.scratch[..count];
                if let Some(log) = &mut context.log {
                    log.append(stream, bytes);
                }
                for attachment in &mut self.attachments {
                    attachment.output(stream, bytes);
                }
                Read::Some
            }
            Err(Errno::INTR) => Read::Some,
            Err(Errno::AGAIN) => Read::Nothing,
            // The end; a terminal says it with EIO when its last process has closed it.
            Ok(_) | Err(_) => {
                self.sources[source].close(self.slot, context.poller);
                Read::End
            }
        }
    }

    /// Drops who is gone and registers everybody for what can be acted on now.
    fn settle(&mut self, poller: &Poller) {
        self.drop_attachments(poller, Attachment::is_over);
        let input_full = self.input.is_full();
        for attachment in &mut self.attachments {
            attachment.watch(input_full, poller);
        }
        let held_back = !self.finished && self.attachments.iter().any(Attachment::is_full);
        for source in &mut self.sources {
            source.watch(self.slot, held_back, poller);
        }
    }

    fn drop_attachments(&mut self, poller: &Poller, mut over: impl FnMut(&Attachment) -> bool) {
        let input = &mut self.input;
        self.attachments.retain_mut(|attachment| {
            if !over(attachment) {
                return true;
            }
            attachment.unwatch(poller);
            if attachment.wants().stdin && attachment.wants().close_stdin_at_detach {
                input.close(poller);
            }
            false
        });
    }
}

impl Source {
    fn watch(&mut self, slot: u32, held_back: bool, poller: &Poller) {
        let Some(end) = &self.end else { return };
        let wanted = if held_back { Interest::NONE } else { Interest::READ };
        if self.interest.change(poller, end.as_fd(), Token::Output(slot, self.stream), wanted).is_err() {
            self.end = None;
        }
    }

    fn close(&mut self, slot: u32, poller: &Poller) {
        if let Some(end) = self.end.take() {
            // A terminal's master has duplicates, which would keep the registration alive.
            let _ = self.interest.change(poller, end, Token::Output(slot, self.stream), Interest::NONE);
        }
    }
}

fn index(stream: Stream) -> usize {
    match stream {
        Stream::Stdout => 0,
        Stream::Stderr => 1,
    }
}

#[cfg(test)]
mod tests {
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
                    Token::Listener | Token::Connection(_) | Token::Process(_) | Token::OutOfMemory => {
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
}
