//! Makes unmodified grpcio clients (Python, C++, Ruby, PHP) work over a unix socket. They send the socket's
//! percent-encoded path as `:authority`, `run%2Fgantry%2Fgantry.sock`; RFC 3986 allows it, but h2 0.4 takes
//! only what the `http` crate calls an authority, and answers RST_STREAM PROTOCOL_ERROR (h2 pull request 487
//! is open, and there is no setting). So a stream is wrapped that turns each `%` of that value into `-`, in
//! place, before h2 sees it. Lengths stay, so frames and the HPACK table stay as the client believes them.
//!
//! Deliberately absent: Huffman-coded values (no client that sends a path codes it so), and the name given as
//! an index into the dynamic table. Those pass through as they are, as does everything that is not HTTP/2.

mod block;
mod frame;

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;

/// A stream whose received `:authority` is valid.
#[derive(Debug)]
pub struct Mended<S> {
    stream: S,
    frames: frame::Frames,
}

impl<S> Mended<S> {
    /// Wraps a stream from which nothing has been read yet.
    pub fn new(stream: S) -> Self {
        Self { stream, frames: frame::Frames::default() }
    }

    /// The stream within.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Mended<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.frames.mend(&mut buf.filled_mut()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Mended<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
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

impl<S: Connected> Connected for Mended<S> {
    type ConnectInfo = S::ConnectInfo;

    fn connect_info(&self) -> S::ConnectInfo {
        self.stream.connect_info()
    }
}

#[cfg(test)]
mod tests;
