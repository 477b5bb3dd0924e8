//! Standard input on its way to the container. A thread reads it, because files and terminals cannot be waited
//! for in one way; a task looks for the detach keys and sends. The thread is never joined: it may wait for a
//! key that is never pressed, and ends with the process.

use std::future::Future;
use std::io::Read as _;
use std::pin::Pin;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::Outgoing;
use crate::parse::keys::{DetachKeys, DetachScan};

/// Bytes of one message; the API allows 64 KiB.
const CHUNK_BYTES: usize = 32 << 10;

/// Passes standard input on when `stdin` says so. The future completes when the detach keys were pressed.
pub(super) fn forward<R>(
    stdin: bool,
    terminal: bool,
    keys: &DetachKeys,
    sender: mpsc::Sender<R>,
    request: fn(Outgoing) -> R,
) -> Pin<Box<dyn Future<Output = ()>>>
where
    R: Send + 'static,
{
    if !stdin {
        return Box::pin(std::future::pending());
    }
    let (detach, detached) = oneshot::channel();
    let scan = terminal.then(|| DetachScan::new(keys));
    tokio::spawn(send(read(), scan, sender, request, detach));
    Box::pin(async move {
        if detached.await.is_err() {
            // Input ended, or nobody takes it any more; neither detaches.
            std::future::pending::<()>().await;
        }
    })
}

/// What is read of standard input; the end of the channel is the end of input.
fn read() -> mpsc::Receiver<Vec<u8>> {
    let (chunks, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        let mut buffer = vec![0; CHUNK_BYTES];
        let mut stdin = std::io::stdin().lock();
        loop {
            match stdin.read(&mut buffer) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                // A terminal that is gone and a closed descriptor end the input too.
                Ok(0) | Err(_) => return,
                Ok(count) => {
                    if chunks.blocking_send(buffer[..count].to_vec()).is_err() {
                        return;
                    }
                }
            }
        }
    });
    receiver
}

async fn send<R>(
    mut chunks: mpsc::Receiver<Vec<u8>>,
    mut scan: Option<DetachScan>,
    sender: mpsc::Sender<R>,
    request: fn(Outgoing) -> R,
    detach: oneshot::Sender<()>,
) {
    while let Some(chunk) = chunks.recv().await {
        let passed = match &mut scan {
            Some(scan) => scan.pass(&chunk),
            None => Some(chunk),
        };
        let Some(passed) = passed else {
            // Whoever waited for it is gone when this fails.
            let _ = detach.send(());
            return;
        };
        if !passed.is_empty() && sender.send(request(Outgoing::Stdin(Bytes::from(passed)))).await.is_err() {
            return;
        }
    }
    // The stream is over already when this fails.
    let _ = sender.send(request(Outgoing::CloseStdin)).await;
}
