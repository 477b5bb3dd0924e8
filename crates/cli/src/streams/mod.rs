//! Joining this process's standard streams to a container's: what is typed goes there, what it writes comes
//! here, until it exits, the detach keys are pressed, or the daemon goes away. `attach` and `exec` differ only
//! in their messages, which is what [`Wire`] hides.

mod input;
mod signals;
mod terminal;

use bytes::Bytes;
use gantry_api::containers::v1::{Exit, OutputChunk, OutputStream, TerminalSize};
use tokio::sync::mpsc;
use tonic::Streaming;

pub(crate) use self::signals::{SignalTarget, until_signalled};
pub(crate) use self::terminal::{RawTerminal, is_terminal, size};
use crate::failure::Failure;
use crate::output;
use crate::parse::keys::DetachKeys;

/// Messages that may wait to be sent; further input waits in the terminal or the pipe.
const OUTGOING_MAX: usize = 16;

/// What goes to the container.
#[derive(Debug)]
pub(crate) enum Outgoing {
    /// Input.
    Stdin(Bytes),
    /// The terminal's new size.
    Resize(TerminalSize),
    /// The end of input.
    CloseStdin,
}

/// What comes from it.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// The stream stands.
    Ready,
    /// Output.
    Output(OutputChunk),
    /// The end.
    Exit(Exit),
}

/// The messages of one kind of stream.
pub(crate) trait Wire {
    /// What the client sends.
    type Request: Send + 'static;
    /// What the daemon sends.
    type Response;
    /// A message to send.
    fn request(outgoing: Outgoing) -> Self::Request;
    /// What a message means; `None` when nothing to this client.
    fn incoming(response: Self::Response) -> Option<Incoming>;
}

/// How a joined process left us.
#[derive(Debug)]
pub(crate) enum Ending {
    /// It ended.
    Exited(Exit),
    /// The detach keys were pressed.
    Detached,
}

/// What of this process takes part.
#[derive(Debug)]
pub(crate) struct Local {
    /// Whether standard input is passed on.
    pub(crate) stdin: bool,
    /// Whether the process has a terminal, so that ours is made raw and its size is passed on.
    pub(crate) terminal: bool,
    /// What detaches.
    pub(crate) detach_keys: DetachKeys,
    /// Where signals go; `None` keeps them.
    pub(crate) signals: Option<SignalTarget>,
}

/// The sending half, with the first message in it.
pub(crate) fn outgoing<R>(first: R) -> (mpsc::Sender<R>, tokio_stream::wrappers::ReceiverStream<R>) {
    let (sender, receiver) = mpsc::channel(OUTGOING_MAX);
    sender.try_send(first).unwrap_or_else(|_| unreachable!("the channel is empty and open"));
    (sender, tokio_stream::wrappers::ReceiverStream::new(receiver))
}

/// Waits until the daemon says that the stream stands; nothing is missed from then on.
pub(crate) async fn ready<W: Wire>(responses: &mut Streaming<W::Response>) -> Result<(), Failure> {
    match next::<W>(responses).await? {
        Incoming::Ready => Ok(()),
        Incoming::Output(_) | Incoming::Exit(_) => Err(Failure::new("the daemon answered out of order")),
    }
}

/// Passes everything both ways until one side ends.
pub(crate) async fn join<W: Wire>(
    sender: mpsc::Sender<W::Request>,
    mut responses: Streaming<W::Response>,
    local: Local,
) -> Result<Ending, Failure> {
    let raw = if local.terminal && local.stdin { RawTerminal::enter()? } else { None };
    let mut signals = signals::Signals::listen(local.signals, raw.is_some())?;
    let mut resized = signals::Resized::listen(local.terminal)?;
    let mut detached =
        input::forward(local.stdin, local.terminal, &local.detach_keys, sender.clone(), W::request);
    loop {
        tokio::select! {
            incoming = next::<W>(&mut responses) => match incoming? {
                Incoming::Ready => {}
                Incoming::Output(chunk) => write(&chunk)?,
                Incoming::Exit(exit) => return Ok(Ending::Exited(exit)),
            },
            () = &mut detached => {
                drop(raw);
                return Ok(Ending::Detached);
            }
            size = resized.next() => {
                let sender = sender.clone();
                // Input that waits to be sent must not keep the output from being read.
                tokio::spawn(async move { sender.send(W::request(Outgoing::Resize(size))).await });
            }
            ended = signals.next() => return Err(Failure::silent(ended)),
        }
    }
}

/// The next thing from the container. Cancel safe: a message is taken whole or not at all.
async fn next<W: Wire>(responses: &mut Streaming<W::Response>) -> Result<Incoming, Failure> {
    loop {
        match responses.message().await? {
            Some(response) => {
                if let Some(incoming) = W::incoming(response) {
                    return Ok(incoming);
                }
            }
            None => {
                return Err(Failure::new("the daemon ended the stream before the process ended")
                    .hint("the container may still run: see 'gantry ps'"));
            }
        }
    }
}

fn write(chunk: &OutputChunk) -> Result<(), Failure> {
    match chunk.stream() {
        OutputStream::Stderr => output::error_bytes(&chunk.data),
        OutputStream::Stdout | OutputStream::Unspecified => output::bytes(&chunk.data),
    }
}
