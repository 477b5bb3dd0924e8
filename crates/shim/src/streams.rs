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
mod tests;
