//! Accepting connections: a bounded number at once, and no error of accept(2) ends it (tonic's own loop
//! once did, RUSTSEC-2024-0376).

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use gantry_api::authority::Mended;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::transport::server::Connected;

use crate::tasks::Tasks;

/// Pause after an accept that failed, most likely for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Counts open connections; cloning shares the count.
#[derive(Debug, Clone)]
pub(super) struct Connections {
    permits: Arc<Semaphore>,
}

/// Who is at the other end.
#[derive(Debug, Clone)]
pub(crate) enum Peer {
    /// A process of this machine, by what the kernel says of it (SO_PEERCRED, unix(7)).
    Local {
        /// Its process id, 0 when unknown.
        pid: i32,
        /// Its user id.
        uid: u32,
    },
    /// A client with a certificate.
    Remote {
        /// Its address.
        address: SocketAddr,
    },
}

/// One client.
#[derive(Debug)]
pub(super) struct Connection<S> {
    stream: S,
    peer: Peer,
    _permit: OwnedSemaphorePermit,
}

/// Something that clients connect to.
pub(super) trait Listen: Send + Sync + 'static {
    /// A client's byte stream.
    type Stream: Send + Unpin + 'static;

    /// The next client. Cancel safe.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, Peer)>> + Send;
}

impl Listen for UnixListener {
    /// Some clients send an authority that HTTP/2 does not allow; see the wrapper.
    type Stream = Mended<UnixStream>;

    async fn accept(&self) -> io::Result<(Self::Stream, Peer)> {
        let (stream, _) = Self::accept(self).await?;
        let credentials = stream.peer_cred()?;
        let peer = Peer::Local { pid: credentials.pid().unwrap_or(0), uid: credentials.uid() };
        Ok((Mended::new(stream), peer))
    }
}

impl Listen for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<(Self::Stream, Peer)> {
        let (stream, address) = Self::accept(self).await?;
        stream.set_nodelay(true)?;
        Ok((stream, Peer::Remote { address }))
    }
}

impl Connections {
    pub(super) fn new(connections_max: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(connections_max)) }
    }

    /// Clients of `listener`, until `tasks` are told to end. While as many as may be are open, the next ones
    /// wait in the kernel's queue.
    pub(super) fn accept<L: Listen>(
        &self,
        listener: L,
        tasks: Tasks,
    ) -> impl Stream<Item = io::Result<Connection<L::Stream>>> + Send + use<L> {
        let permits = Arc::clone(&self.permits);
        futures_util::stream::unfold((listener, permits, tasks), |(listener, permits, tasks)| async move {
            let permit = Arc::clone(&permits).acquire_owned().await.expect("the semaphore is never closed");
            let (stream, peer) = loop {
                let accepted = tokio::select! {
                    () = tasks.cancelled() => return None,
                    accepted = listener.accept() => accepted,
                };
                match accepted {
                    Ok(accepted) => break accepted,
                    Err(error) => {
                        tracing::warn!(error = %error, "a connection was not accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            };
            Some((Ok(Connection { stream, peer, _permit: permit }), (listener, permits, tasks)))
        })
    }
}

impl<S> Connected for Connection<S> {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
